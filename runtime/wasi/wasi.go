// Package wasi runs policies that are WASI commands (execution mode "wasi"):
// the input on standard input, the answer on standard output.
//
// A command reads its input once and exits, so a snapshot of one is taken
// inside its first read that would have to wait: see park.go.
package wasi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/warder-dev/warder/runtime/internal/guest"
	"github.com/warder-dev/warder/sdk"
)

// Failure is why a policy gave no verdict.
type Failure = guest.Failure

// Module is a compiled command. It is safe for concurrent use.
type Module struct{ *guest.Module }

// Compile compiles a command. The error says what is wrong with it.
func Compile(ctx context.Context, c *guest.Compiler, wasm []byte) (*Module, error) {
	m, err := c.Compile(ctx, wasm, link)
	if err != nil {
		return nil, err
	}
	if !m.Layout.Has("_start") {
		return nil, errors.Join(errors.New("cannot find `_start` function inside of module: a WASI policy is a command"), m.Close())
	}
	return &Module{m}, nil
}

// link adds the host call under the two names that guests know it by.
func link(ctx context.Context, r wazero.Runtime) error {
	for _, name := range []string{"host", "kubewarden:javy/host"} {
		b := r.NewHostModuleBuilder(name)
		i32 := api.ValueTypeI32
		b.NewFunctionBuilder().WithGoFunction(api.GoFunc(hostCall),
			[]api.ValueType{i32, i32, i32, i32, i32, i32, i32, i32}, []api.ValueType{i32}).Export("call")
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("host module %s: %w", name, err)
		}
	}
	return nil
}

// hostCall answers 0 for success and 1 for failure; the answer, or the error's
// text, is what the guest reads next.
func hostCall(ctx context.Context, stack []uint64) {
	in := guest.Current(ctx)
	answer, err := in.HostCall(stack)
	stack[0] = 0
	if err != nil {
		answer, stack[0] = []byte(err.Error()), 1
	}
	if more, ok := in.Protocol.(interface{ Push([]byte) }); ok {
		more.Push(answer)
	}
}

// Program is a module with its settings, ready to be asked. It is safe for
// concurrent use.
type Program struct {
	module   *Module
	settings json.RawMessage
	host     sdk.Host
	prefix   []byte // {"settings":S,"request":
	pool     *guest.Pool[*parked]
	fresh    string // why there are no snapshots, "" if there are

	instances sync.WaitGroup // those that are parked, running or dying
}

// NewProgram validates the settings with the policy itself and, unless the
// module does not lend itself to it, makes the first snapshot. The error is a
// *guest.SettingsError when the settings are refused.
func (m *Module) NewProgram(ctx context.Context, opts guest.ProgramOptions) (*Program, error) {
	opts = opts.WithDefaults()
	p := &Program{module: m, settings: opts.Settings, host: opts.Host}
	p.prefix = fmt.Appendf(nil, `{"settings":%s,"request":`, opts.Settings)
	if err := p.validateSettings(ctx); err != nil {
		return nil, err
	}
	if p.fresh = m.Layout.Fresh; opts.Isolation == guest.Fresh {
		p.fresh = "asked for"
	}
	if p.fresh == "" {
		p.keepSnapshots(ctx, opts.Instances)
	}
	return p, nil
}

// keepSnapshots fills the pool with its first instance, or notes why there
// will be none.
func (p *Program) keepSnapshots(ctx context.Context, instances int) {
	pool := &guest.Pool[*parked]{Drop: (*parked).drop, Max: instances}
	pool.Make = func(ctx context.Context) (*parked, error) { return p.park(ctx, pool) }
	p.pool = pool
	if why := p.probe(ctx); why != "" {
		p.pool.Close()
		p.pool, p.fresh = nil, why
	}
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
	}
	p.instances.Wait()
}

// queue is the standard input of a run: what has been pushed and not yet read.
// Its end is not final: a host call pushes more.
type queue struct{ text []byte }

func (q *queue) Read(_ context.Context, to []byte) (int, bool) {
	n := copy(to, q.text)
	q.text = q.text[n:]
	return n, false
}

// Push adds to what will be read.
func (q *queue) Push(text []byte) { q.text = append(bytes.Clone(q.text), text...) }

// outcome is how a run ended.
type outcome struct {
	stdout, stderr []byte
	err            error // nil when the guest returned or left with 0
}

// run runs the command once in an instance of its own.
func (p *Program) run(ctx context.Context, host sdk.Host, operation string, input []byte) (outcome, error) {
	in, err := p.module.New(ctx, "policy.wasm", operation)
	if err != nil {
		return outcome{}, failed(guest.StageInstantiate, err, "")
	}
	defer in.Close()
	stdin := &queue{text: input}
	in.Protocol = stdin
	in.Begin(ctx, host, stdin)
	stop := in.Watch(ctx)
	_, err = in.Function("_start").Call(in.Life())
	stop()
	return outcome{in.Stdout(), in.Stderr(), exited(in, err)}, nil
}

// exited is the error of a run, nil for a guest that left with status 0.
func exited(in *guest.Instance, err error) error {
	err = in.Explain(err)
	if exit := (*guest.Exit)(nil); errors.As(err, &exit) && exit.Code == 0 {
		return nil
	}
	return err
}

func (p *Program) validateSettings(ctx context.Context) error {
	out, err := p.run(ctx, p.host, "validate-settings", p.settings)
	if err != nil {
		return err
	}
	if out.err != nil {
		return failed(guest.StageCall, out.err, string(out.stderr))
	}
	verdict, err := guest.DecodeSettingsVerdict(out.stdout)
	if err != nil {
		return &Failure{At: guest.StageDecode, Text: "Cannot deserialize settings validation response: " + err.Error(), Err: err}
	}
	if !verdict.Valid {
		return &guest.SettingsError{Message: verdict.Message}
	}
	return nil
}

// Evaluate judges one request. The error is a *Failure.
func (p *Program) Evaluate(ctx context.Context, req *sdk.Request) (sdk.Verdict, error) {
	size := len(p.prefix) + len(req.Object) + len(req.OldObject) + len(req.Options) + len(req.Raw) + 1024
	var out outcome
	var err error
	if p.pool == nil {
		input := append(make([]byte, 0, size), p.prefix...)
		out, err = p.run(ctx, p.host, "validate", append(req.AppendJSON(input), '}'))
	} else {
		out, err = p.ask(ctx, append(req.AppendJSON(make([]byte, 0, size)), '}'))
	}
	if err != nil {
		return sdk.Verdict{}, err
	}
	return p.verdict(req, out)
}

// verdict reads the outcome of a run as upstream does.
func (p *Program) verdict(req *sdk.Request, out outcome) (sdk.Verdict, error) {
	stderr := strings.TrimSpace(string(out.stderr))
	if out.err != nil {
		return sdk.Verdict{}, failed(guest.StageCall, out.err, stderr)
	}
	if stderr != "" {
		p.module.Log().Warn("policy wrote to its standard error", "request", req.UID, "operation", "validate", "stderr", stderr)
	}
	if !utf8.Valid(out.stdout) {
		err := errors.New("stdout pipe conversion error: Cannot convert buffer to UTF8 string")
		return sdk.Verdict{}, &Failure{At: guest.StageDecode, Text: "internal server error: " + err.Error(), Err: err}
	}
	v, err := guest.DecodeVerdict(out.stdout)
	if err != nil {
		return sdk.Verdict{}, &Failure{At: guest.StageDecode,
			Text: "internal server error: Cannot deserialize policy validation response: " + err.Error(), Err: err}
	}
	return v, nil
}

// failed makes the failure of a run: the guest's own words when it left with
// an error, what stopped it otherwise.
func failed(at guest.Stage, err error, stderr string) *Failure {
	text := strings.TrimSpace(stderr)
	exit := (*guest.Exit)(nil)
	switch {
	case guest.TimedOut(err):
		text = guest.ErrTimeout
	case text == "":
		text = "internal server error: " + err.Error()
	case !errors.As(err, &exit):
		text = "internal server error: " + err.Error() + ": " + text
	}
	return &Failure{At: at, Text: text, Err: err}
}
