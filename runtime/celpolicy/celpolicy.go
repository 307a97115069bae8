// Package celpolicy is the built-in policy cel-policy: Kubewarden's policy of
// that name, whose settings are expressions in CEL, evaluated natively. Beside
// what the API server's own expressions have, they have the functions kw.k8s,
// kw.oci, kw.sigstore, kw.net and kw.crypto, which ask the host under the same
// grants as a Wasm module does.
//
// It is not in package library because it is made of the API server's packages.
package celpolicy

import (
	"context"

	"github.com/warder-dev/warder/sdk"
)

// Name is the name of the built-in.
const Name = "cel-policy"

// Policy returns the policy before it has its settings.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return s.rules.judge(ctx, req)
}
