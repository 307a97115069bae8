package guest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero/sys"
)

// Stage says how far an evaluation came before it failed.
type Stage string

// The stages of an evaluation.
const (
	StageInstantiate Stage = "instantiate" // a new instance was made or initialised
	StageCall        Stage = "call"        // the guest was judging
	StageDecode      Stage = "decode"      // the guest's answer was read
)

// Failure is why a guest gave no verdict.
type Failure struct {
	At Stage
	// Text is what the API server is told, in the words of Kubewarden's policy
	// server where it has some.
	Text string
	// Err is the cause: a *Trap, an *Exit, a *LimitError, the error of a
	// context, what a decoder said.
	Err error
}

func (f *Failure) Error() string { return f.Text }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Stage returns how far the evaluation came.
func (f *Failure) Stage() string { return string(f.At) }

// Trap is an instruction that could not be executed, or the stack that was
// used up.
type Trap struct {
	// Cause is the engine's text: "unreachable", "out of bounds memory access".
	Cause string
	// Trace is the guest's stack, innermost first, a line each.
	Trace string
}

func (t *Trap) Error() string { return t.Cause }

// Exit is a guest that left through proc_exit.
type Exit struct{ Code uint32 }

func (e *Exit) Error() string { return fmt.Sprintf("exit status %d", e.Code) }

// LimitError is a guest that used more than it may.
type LimitError struct {
	What  string // "output"
	Limit int    // in bytes
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("the policy wrote more than %d bytes of %s", e.Limit, e.What)
}

// explain turns an error of the engine into one of ours: the context's when
// the time was up, *Exit, *Trap, or what a host function panicked with.
func (in *Instance) explain(err error) error {
	if err == nil {
		return nil
	}
	if in.stopped() {
		return context.Cause(in.ctx)
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return &Exit{exit.ExitCode()}
	}
	var limit *LimitError
	if errors.As(err, &limit) {
		return limit
	}
	cause, trace, _ := strings.Cut(err.Error(), "\n")
	cause = strings.TrimPrefix(cause, "wasm error: ")
	cause = strings.TrimSuffix(cause, " (recovered by wazero)")
	return &Trap{Cause: cause, Trace: trace}
}

// stopped reports whether the guest was stopped because its evaluation is over.
func (in *Instance) stopped() bool { return in.life.Err() != nil && in.ctx.Err() != nil }

// Explain is the cause of an error that a guest function returned.
func (in *Instance) Explain(err error) error { return in.explain(err) }

// ErrTimeout is the text for a guest that was stopped because its time was up.
const ErrTimeout = "Policy execution interrupted because it exceeded the allowed execution time"

// TimedOut reports whether err says that time was up or nobody waits any more.
func TimedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
