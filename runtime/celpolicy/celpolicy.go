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
	"encoding/json"
	"fmt"

	"github.com/warder-dev/warder/sdk"
)

// Name is the name of the built-in.
const Name = "cel-policy"

// Program is the policy with its settings, compiled. It is safe for concurrent
// use.
type Program struct {
	judge sdk.Judge
	host  sdk.Host
}

// New compiles the expressions of settings, a JSON object. Host is what they
// may ask, nil for none. The error says what is wrong with the settings, a line
// for each place.
func New(settings json.RawMessage, host sdk.Host) (*Program, error) {
	judge, err := Policy().Load(settings)
	if err != nil {
		return nil, err
	}
	return &Program{judge: judge, host: host}, nil
}

// Evaluate judges one request. The error means that there is no verdict: an
// expression has no value and failurePolicy is Fail, or ctx is done.
func (p *Program) Evaluate(ctx context.Context, req *sdk.Request) (v sdk.Verdict, err error) {
	defer func() {
		if r := recover(); r != nil {
			v, err = sdk.Verdict{}, fmt.Errorf("the policy panicked: %v", r)
		}
	}()
	if p.host != nil {
		ctx = sdk.WithHost(ctx, p.host)
	}
	return p.judge(ctx, req)
}

// Close does nothing: a program holds nothing.
func (p *Program) Close() {}

// Policy returns the policy before it has its settings.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return s.rules.judge(ctx, req)
}
