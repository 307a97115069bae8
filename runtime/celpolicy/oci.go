package celpolicy

import (
	"context"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/warder-dev/warder/sdk"
)

// ociFunctions are kw.oci:
//
//	kw.oci.image('ghcr.io/a/b:1').manifestConfig().config.architecture == 'amd64'
func ociFunctions() []function {
	client := cel.ObjectType("kw.oci.OCIClient")
	// asking is a function that asks the host about the image.
	asking := func(name string, result *cel.Type, ask func(ctx context.Context, image string) (ref.Val, error)) function {
		return function{name: name, on: client, result: result, ask: func(ctx context.Context, args []ref.Val) ref.Val {
			v, err := ask(ctx, as[string](args[0]))
			if err != nil {
				return failed("cannot get oci manifest: %w", err)
			}
			return v
		}}
	}
	return []function{
		{name: "kw.oci.image", args: []*cel.Type{cel.StringType}, result: client, build: func(args []ref.Val) ref.Val {
			return object{client, as[string](args[0])}
		}},
		asking("manifest", cel.DynType, func(ctx context.Context, image string) (ref.Val, error) {
			manifest, err := sdk.Manifest(ctx, image)
			return fromJSON(manifest), err
		}),
		asking("manifestDigest", cel.StringType, func(ctx context.Context, image string) (ref.Val, error) {
			digest, err := sdk.ManifestDigest(ctx, image)
			return types.String(digest), err
		}),
		asking("manifestConfig", cel.DynType, func(ctx context.Context, image string) (ref.Val, error) {
			m, err := sdk.ManifestAndConfig(ctx, image)
			if err != nil {
				return nil, err
			}
			return types.DefaultTypeAdapter.NativeToValue(map[string]any{
				"manifest": fromJSON(m.Manifest), "digest": m.Digest, "config": fromJSON(m.Config),
			}), nil
		}),
	}
}
