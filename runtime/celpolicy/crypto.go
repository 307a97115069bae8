package celpolicy

import (
	"context"
	"slices"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/warder-dev/warder/sdk"
)

// certificateQuery is what kw.crypto asks.
type certificateQuery struct {
	certificate sdk.Certificate
	chain       []sdk.Certificate
	at          time.Time
}

// cryptoFunctions are kw.crypto:
//
//	kw.crypto.certificate(pem).certificateChain(root).notAfter(timestamp('2030-01-01T00:00:00Z')).verify().isTrusted()
func cryptoFunctions() []function {
	verifier, response := cel.ObjectType("kw.crypto.Verifier"), cel.ObjectType("kw.crypto.Response")
	text := []*cel.Type{cel.StringType}
	pem := func(v ref.Val) sdk.Certificate {
		return sdk.Certificate{Encoding: sdk.PEM, Data: sdk.Octets(as[string](v))}
	}
	return []function{
		{name: "kw.crypto.certificate", args: text, result: verifier, build: func(args []ref.Val) ref.Val {
			return object{verifier, certificateQuery{certificate: pem(args[0])}}
		}},
		{name: "certificateChain", on: verifier, args: text, result: verifier, build: func(args []ref.Val) ref.Val {
			q := as[certificateQuery](args[0])
			q.chain = append(slices.Clip(q.chain), pem(args[1]))
			return object{verifier, q}
		}},
		{name: "notAfter", on: verifier, args: []*cel.Type{cel.TimestampType}, result: verifier, build: func(args []ref.Val) ref.Val {
			q := as[certificateQuery](args[0])
			q.at = as[time.Time](args[1])
			return object{verifier, q}
		}},
		{name: "verify", on: verifier, result: response, ask: func(ctx context.Context, args []ref.Val) ref.Val {
			q := as[certificateQuery](args[0])
			trust, err := sdk.IsCertificateTrusted(ctx, q.certificate, q.chain, q.at)
			if err != nil {
				return failed("cannot verify certificate: %w", err)
			}
			return object{response, trust}
		}},
		{name: "isTrusted", on: response, result: cel.BoolType, build: func(args []ref.Val) ref.Val {
			return types.Bool(as[sdk.CertificateTrust](args[0]).Trusted)
		}},
		{name: "reason", on: response, result: cel.StringType, build: func(args []ref.Val) ref.Val {
			return types.String(as[sdk.CertificateTrust](args[0]).Reason)
		}},
	}
}
