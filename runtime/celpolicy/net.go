package celpolicy

import (
	"context"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/warder-dev/warder/sdk"
)

// netFunctions are kw.net:
//
//	kw.net.lookupHost('example.com').all(ip, ip.startsWith('10.'))
func netFunctions() []function {
	return []function{{
		name: "kw.net.lookupHost", args: []*cel.Type{cel.StringType}, result: cel.ListType(cel.StringType),
		ask: func(ctx context.Context, args []ref.Val) ref.Val {
			found, err := sdk.LookupHost(ctx, as[string](args[0]))
			if err != nil {
				return failed("cannot lookup host: %w", err)
			}
			return types.NewStringList(types.DefaultTypeAdapter, found)
		},
	}}
}
