package wapc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/warder-dev/warder/runtime/internal/guest"
	"github.com/warder-dev/warder/sdk"
)

// instance is one instance of a guest and the five texts of the call under
// way. A nil text is one that was not set.
type instance struct {
	in   *guest.Instance
	dead bool // it trapped, left or was stopped: it may not be asked again

	operation, payload          []byte
	guestResponse, guestError   []byte
	hostResponse, hostErrorText []byte
}

// link adds the host functions of waPC. Source: https://wapc.io/docs/spec.
func link(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder("wapc")
	for _, f := range []struct {
		name            string
		params, results int
		call            func(i *instance, stack []uint64)
	}{
		{"__guest_request", 2, 0, (*instance).request},
		{"__guest_response", 2, 0, func(i *instance, s []uint64) { i.guestResponse = i.in.ReadAnswer(s[0], s[1]) }},
		{"__guest_error", 2, 0, (*instance).guestFails},
		{"__host_call", 8, 1, (*instance).hostCall},
		{"__host_response_len", 0, 1, func(i *instance, s []uint64) { s[0] = uint64(len(i.hostResponse)) }},
		{"__host_response", 1, 0, func(i *instance, s []uint64) { i.fetch(s[0], i.hostResponse) }},
		{"__host_error_len", 0, 1, func(i *instance, s []uint64) { s[0] = uint64(len(i.hostErrorText)) }},
		{"__host_error", 1, 0, func(i *instance, s []uint64) { i.fetch(s[0], i.hostErrorText) }},
		{"__console_log", 2, 0, (*instance).consoleLog},
	} {
		call := f.call
		b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(ctx context.Context, stack []uint64) {
			call(of(guest.Current(ctx)), stack)
		}), i32s(f.params), i32s(f.results)).Export(f.name)
	}
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("host module wapc: %w", err)
	}
	return nil
}

// of returns the instance of a guest; one that calls from its start section
// does so before it was given one.
func of(in *guest.Instance) *instance {
	if i, ok := in.Protocol.(*instance); ok {
		return i
	}
	return &instance{in: in}
}

func i32s(n int) []api.ValueType {
	types := make([]api.ValueType, n)
	for i := range types {
		types[i] = api.ValueTypeI32
	}
	return types
}

// request copies the payload first, then the operation, as upstream does.
func (i *instance) request(stack []uint64) {
	i.fetch(stack[1], i.payload)
	i.fetch(stack[0], i.operation)
}

// fetch copies a text to the guest; one that was not set is no text at all.
func (i *instance) fetch(to uint64, text []byte) {
	if text != nil {
		i.in.Write(to, text)
	}
}

// guestFails notes the error text. Text that is longer than an answer may be,
// or not UTF-8, is a trap.
func (i *instance) guestFails(stack []uint64) {
	text := i.in.ReadAnswer(stack[0], stack[1])
	if !utf8.Valid(text) {
		panic(errors.New("host function reads text that is not UTF-8"))
	}
	i.guestError = text
}

// hostCall answers 1 for success and 0 for an error.
func (i *instance) hostCall(stack []uint64) {
	i.hostResponse, i.hostErrorText = nil, nil
	answer, err := i.in.HostCall(stack)
	if err != nil {
		i.hostErrorText, stack[0] = []byte(err.Error()), 0
		return
	}
	i.hostResponse, stack[0] = answer, 1
}

func (i *instance) consoleLog(stack []uint64) {
	i.in.Log().Info("policy says", "text", i.in.ReadText(stack[0], stack[1]))
}

// instantiate makes an instance that has run nothing.
func (p *Program) instantiate(ctx context.Context) (*instance, error) {
	in, err := p.module.New(ctx)
	if err != nil {
		return nil, notInstantiated(err)
	}
	i := &instance{in: in}
	in.Protocol = i
	if f := in.Function(guestCall); f == nil || !slices.Equal(f.Definition().ParamTypes(), i32s(2)) || !slices.Equal(f.Definition().ResultTypes(), i32s(1)) {
		in.Close()
		return nil, notInstantiated(errors.New("Guest call function (__guest_call) not exported by wasm module.")) //nolint:revive,staticcheck // upstream's text
	}
	return i, nil
}

// starts are the functions that initialise a guest, in their order. Upstream
// does not call _initialize; a reactor made by the Go compiler needs it.
func starts() []string { return []string{"_initialize", "_start", "wapc_init"} }

// initialised makes an instance and runs its start functions.
func (p *Program) initialised(ctx context.Context) (*instance, error) {
	i, err := p.instantiate(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range starts() {
		if err := i.start(ctx, name); err != nil {
			i.in.Close()
			return nil, err
		}
	}
	return i, nil
}

// start runs a start function if the guest has it. Leaving through proc_exit(0)
// is a good end.
func (i *instance) start(ctx context.Context, name string) error {
	f := i.in.Function(name)
	if f == nil {
		return nil
	}
	i.in.Begin(ctx, nil, nil)
	stop := i.in.Watch(ctx)
	_, err := f.Call(i.in.Life())
	stop()
	err = i.in.Explain(err)
	exit := (*guest.Exit)(nil)
	switch {
	case err == nil || errors.As(err, &exit) && exit.Code == 0:
		return nil
	case guest.TimedOut(err):
		return &Failure{At: guest.StageInstantiate, Text: guest.ErrTimeout,
			Err: fmt.Errorf("%s init interrupted, execution deadline exceeded: %w", name, err)}
	}
	return &Failure{At: guest.StageInstantiate, Text: "Initialization failed: Initialization failed: " + i.withStderr(err), Err: err}
}

// withStderr is the text of an error with what the guest printed before it.
func (i *instance) withStderr(err error) string {
	if said := bytes.TrimSpace(i.in.Stderr()); len(said) > 0 {
		return err.Error() + ": " + string(said)
	}
	return err.Error()
}

// judge asks the guest to validate a request. The error is a *Failure.
func (i *instance) judge(ctx context.Context, host sdk.Host, payload []byte) ([]byte, error) {
	answer, err := i.call(ctx, host, "validate", payload)
	i.printed()
	if err == nil {
		return answer, nil
	}
	cause := errors.Unwrap(err)
	if guest.TimedOut(cause) {
		return nil, &Failure{At: guest.StageCall, Text: guest.ErrTimeout, Err: cause}
	}
	return nil, &Failure{At: guest.StageCall, Text: "internal server error: " + err.Error(), Err: cause}
}

// callError is a call that failed, in upstream's words.
type callError struct {
	text string
	err  error
}

func (e *callError) Error() string { return "Guest call failure: " + e.text }
func (e *callError) Unwrap() error { return e.err }

// call is one operation of waPC. The error is a *callError.
func (i *instance) call(ctx context.Context, host sdk.Host, operation string, payload []byte) ([]byte, error) {
	*i = instance{in: i.in, operation: []byte(operation), payload: payload}
	i.in.Begin(ctx, host, nil)
	stop := i.in.Watch(ctx)
	results, err := i.in.Function(guestCall).Call(i.in.Life(), uint64(len(operation)), uint64(len(payload)))
	alive := stop()
	i.operation, i.payload = nil, nil
	if err != nil {
		i.dead = true
		err = i.in.Explain(err)
		return nil, &callError{i.withStderr(err), err}
	}
	i.dead = !alive
	ok := uint32(results[0]) != 0
	switch {
	case ok && i.guestResponse != nil:
		return i.guestResponse, nil
	case i.guestError != nil:
		return nil, &callError{string(i.guestError), errors.New(string(i.guestError))}
	case ok:
		return nil, &callError{"No error message OR response set for call success", errNothing}
	}
	return nil, &callError{"No error message set for call failure", errNothing}
}

var errNothing = errors.New("the policy gave no answer")

// printed passes on what the guest wrote to its standard streams, which must
// not get into those of the server.
func (i *instance) printed() {
	for name, text := range map[string][]byte{"stdout": i.in.Stdout(), "stderr": i.in.Stderr()} {
		if text = bytes.TrimSpace(text); len(text) > 0 && utf8.Valid(text) {
			i.in.Log().Info("policy printed", "stream", name, "text", string(text))
		}
	}
}
