// Package runtime is what the engine sees of the runtimes for WebAssembly as a
// whole: how guests are bounded, what a module says of itself, and why a guest
// gave no verdict. The runtimes themselves are the packages below it.
package runtime

import "github.com/warder-dev/warder/runtime/internal/guest"

// Compiler compiles modules for all runtimes, with one cache.
type Compiler = guest.Compiler

// Options bound what guests may use.
type Options = guest.Options

// ProgramOptions are what a program needs beside its module.
type ProgramOptions = guest.ProgramOptions

// Layout is what a module says of itself.
type Layout = guest.Layout

// Isolation is how the requests of one policy are kept apart.
type Isolation = guest.Isolation

// The two ways: an instance goes back to its snapshot, or there is a new one
// for every request.
const (
	Snapshot = guest.Snapshot
	Fresh    = guest.Fresh
)

// Failure is why a guest gave no verdict.
type Failure = guest.Failure

// SettingsError says that a policy refuses its settings.
type SettingsError = guest.SettingsError

// Trap is the cause of a Failure when an instruction could not be executed.
type Trap = guest.Trap

// Exit is the cause of a Failure when the guest left with an error.
type Exit = guest.Exit

// LimitError is the cause of a Failure when the guest used more than it may.
type LimitError = guest.LimitError

// NewCompiler returns a compiler with the given bounds. The error is about the
// cache.
func NewCompiler(opts Options) (*Compiler, error) { return guest.NewCompiler(opts) }

// Inspect reads a module's sections. The error is about bytes that are not a
// module.
func Inspect(wasm []byte) (Layout, error) { return guest.Inspect(wasm) }
