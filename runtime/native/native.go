// Package native runs policies that are compiled into warder: a plain function
// call.
package native

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/warder-dev/warder/sdk"
)

// Program is a built-in policy with its settings. It is safe for concurrent
// use.
type Program struct {
	judge sdk.Judge
	host  sdk.Host
}

// New gives a built-in its settings, a JSON object, and the host that it may
// ask, nil for none. The error says what is wrong with the settings.
func New(p sdk.Policy, settings json.RawMessage, host sdk.Host) (*Program, error) {
	judge, err := p.Load(settings)
	if err != nil {
		return nil, err
	}
	return &Program{judge: judge, host: host}, nil
}

// Evaluate judges one request. A policy that panics gives no verdict.
func (p *Program) Evaluate(ctx context.Context, req *sdk.Request) (v sdk.Verdict, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the policy panicked: %v", r)
		}
	}()
	if p.host != nil {
		ctx = sdk.WithHost(ctx, p.host)
	}
	if v, err = p.judge(ctx, req); err != nil {
		return sdk.Verdict{}, err
	}
	return v.Resolve(req)
}

// Close does nothing: a built-in holds nothing.
func (p *Program) Close() {}
