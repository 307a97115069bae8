// Package wapc runs policies that are waPC guests (execution mode
// "kubewarden-wapc"): the host calls an exported function with an operation and
// a payload, and both sides fetch and leave their texts through imports.
package wapc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/warder-dev/warder/runtime/internal/guest"
	"github.com/warder-dev/warder/sdk"
)

// Failure is why a policy gave no verdict.
type Failure = guest.Failure

// Module is a compiled guest. It is safe for concurrent use.
type Module struct{ *guest.Module }

// Exports of a waPC guest.
const (
	guestCall = "__guest_call"
	// warmMark is exported by guests made with our SDK: validating settings
	// leaves nothing in them but the settings, loaded, so that the snapshot
	// may be taken afterwards.
	warmMark = "__warder_warm"
)

// Compile compiles a guest. The error says what is wrong with it.
func Compile(ctx context.Context, c *guest.Compiler, wasm []byte) (*Module, error) {
	m, err := c.Compile(ctx, wasm, link)
	if err != nil {
		return nil, err
	}
	if !m.Layout.Has(guestCall) {
		return nil, errors.Join(errors.New("Guest call function (__guest_call) not exported by wasm module."), m.Close()) //nolint:revive,staticcheck // upstream's text
	}
	return &Module{m}, nil
}

// Program is a module with its settings, ready to be asked. It is safe for
// concurrent use.
type Program struct {
	module   *Module
	settings json.RawMessage
	host     sdk.Host
	pool     *guest.Pool[*instance]
	snapshot *guest.State // shared by all instances of the pool
	fresh    string       // why there are no snapshots, "" if there are
}

// NewProgram validates the settings with the policy itself and, unless the
// module does not lend itself to it, makes the snapshot. The error is a
// *guest.SettingsError when the settings are refused.
func (m *Module) NewProgram(ctx context.Context, opts guest.ProgramOptions) (*Program, error) {
	opts = opts.WithDefaults()
	p := &Program{module: m, settings: opts.Settings, host: opts.Host}
	first, err := p.initialised(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if first != nil {
			first.in.Close()
		}
	}()
	if err := p.validateSettings(ctx, first); err != nil {
		return nil, err
	}
	if p.fresh = m.Layout.Fresh; opts.Isolation == guest.Fresh {
		p.fresh = "asked for"
	}
	if p.fresh != "" {
		return p, nil
	}
	if !m.Layout.Has(warmMark) {
		// What the validation has left in this instance is none of the
		// requests' business: begin again.
		first.in.Close()
		if first, err = p.initialised(ctx); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, notInstantiated(err) // the instance may have been stopped at the last moment
	}
	if p.snapshot, err = first.in.Capture(); err != nil {
		p.fresh = err.Error()
		return p, nil
	}
	p.pool = &guest.Pool[*instance]{Make: p.attached, Drop: func(i *instance) { i.in.Close() }, Max: opts.Instances}
	p.pool.Adopt(first)
	first = nil
	return p, nil
}

// ProtocolVersion asks the guest which version of the protocol it speaks: "v1",
// or "Unknown".
func (m *Module) ProtocolVersion(ctx context.Context) (string, error) {
	i, err := (&Program{module: m}).initialised(ctx)
	if err != nil {
		return "", err
	}
	defer i.in.Close()
	answer, err := i.call(ctx, nil, "protocol_version", []byte{})
	if err != nil {
		return "", err
	}
	var version string
	if err := json.Unmarshal(answer, &version); err != nil || version != "v1" && version != "Unknown" {
		return "", fmt.Errorf("the policy answers %.100q, want \"v1\" or \"Unknown\"", answer)
	}
	return version, nil
}

// Isolation says how requests are kept apart, and why not by snapshots.
func (p *Program) Isolation() (mode guest.Isolation, reason string) {
	if p.pool == nil {
		return guest.Fresh, p.fresh
	}
	return guest.Snapshot, ""
}

// Close frees the instances and waits until they are gone. No request may be
// under way.
func (p *Program) Close() {
	if p.pool != nil {
		p.pool.Close()
		p.snapshot.Free()
	}
}

// attached makes an instance from the snapshot, without running anything.
func (p *Program) attached(ctx context.Context) (*instance, error) {
	i, err := p.instantiate(ctx)
	if err != nil {
		return nil, err
	}
	if err := i.in.Attach(p.snapshot); err != nil {
		i.in.Close()
		return nil, &Failure{At: guest.StageInstantiate, Text: "internal server error: " + err.Error(), Err: err}
	}
	return i, nil
}

func (p *Program) validateSettings(ctx context.Context, i *instance) error {
	answer, err := i.call(ctx, p.host, "validate_settings", p.settings)
	if err != nil {
		return &Failure{At: guest.StageCall,
			Text: "Error invoking settings validation callback: " + err.Error(), Err: errors.Unwrap(err)}
	}
	verdict, err := guest.DecodeSettingsVerdict(answer)
	if err != nil {
		return &guest.SettingsError{Message: "error: " + err.Error()}
	}
	if !verdict.Valid {
		return &guest.SettingsError{Message: verdict.Message}
	}
	return nil
}

// Evaluate judges one request. The error is a *Failure.
func (p *Program) Evaluate(ctx context.Context, req *sdk.Request) (sdk.Verdict, error) {
	size := len(p.settings) + len(req.Object) + len(req.OldObject) + len(req.Options) + len(req.Raw) + 1024
	payload := req.AppendJSON(append(make([]byte, 0, size), `{"request":`...))
	payload = fmt.Appendf(payload, `,"settings":%s}`, p.settings)
	answer, err := p.ask(ctx, payload)
	if err != nil {
		return sdk.Verdict{}, err
	}
	v, err := guest.DecodeVerdict(answer)
	if err != nil {
		return sdk.Verdict{}, &Failure{At: guest.StageDecode,
			Text: "internal server error: invalid response from policy: " + err.Error(), Err: err}
	}
	return v, nil
}

func (p *Program) ask(ctx context.Context, payload []byte) ([]byte, error) {
	if p.pool == nil {
		i, err := p.initialised(ctx)
		if err != nil {
			return nil, err
		}
		defer i.in.Close()
		return i.judge(ctx, p.host, payload)
	}
	i, err := p.pool.Get(ctx)
	if err != nil {
		return nil, notInstantiated(err)
	}
	answer, err := i.judge(ctx, p.host, payload)
	if i.dead {
		i.in.Close()
		p.pool.Lost()
		return answer, err
	}
	p.pool.Later(func() {
		if i.in.Restore(p.snapshot) == nil {
			p.pool.Put(i)
			return
		}
		i.in.Close()
		p.pool.Renew()
	})
	return answer, err
}

// notInstantiated is the failure for an error of the pool.
func notInstantiated(err error) *Failure {
	f := (*Failure)(nil)
	switch {
	case errors.As(err, &f):
		return f
	case guest.TimedOut(err):
		return &Failure{At: guest.StageInstantiate, Text: guest.ErrTimeout, Err: err}
	}
	return &Failure{At: guest.StageInstantiate, Text: "internal server error: " + err.Error(), Err: err}
}
