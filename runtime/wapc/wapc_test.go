package wapc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-dev/warder/runtime/internal/guest"
	"github.com/warder-dev/warder/sdk"
)

// cacheVariable names the folder of compiled code that all tests share.
const cacheVariable = "WARDER_TEST_CACHE"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "warder-wapc-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system cleans up after us
	if err := os.Setenv(cacheVariable, dir); err != nil {
		panic(err)
	}
	m.Run()
}

// compile compiles a module. 1 MiB of output and 32 MiB of memory are the
// bounds.
func compile(t testing.TB, wasm []byte) (*Module, error) {
	t.Helper()
	c, err := guest.NewCompiler(guest.Options{
		CacheDir: os.Getenv(cacheVariable), MemoryLimit: 32 << 20, OutputLimit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	m, err := Compile(t.Context(), c, wasm)
	if err == nil {
		t.Cleanup(func() { m.Close() })
	}
	return m, err
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	wasm, err := os.ReadFile(filepath.Join("testdata", name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func load(t testing.TB, name string) *Module {
	t.Helper()
	m, err := compile(t, read(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func program(t testing.TB, m *Module, opts guest.ProgramOptions) *Program {
	t.Helper()
	p, err := m.NewProgram(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// wish is a request whose object asks raw.wat for something.
func wish(letter string) *sdk.Request {
	return &sdk.Request{UID: "1", Operation: sdk.Create, Object: json.RawMessage(`{"do":"~` + letter + `"}`)}
}

// host answers {"ips":[]} to every call, or with an error.
type host struct {
	err   error
	calls atomic.Int64
}

func (h *host) Call(_ context.Context, call sdk.HostCall) ([]byte, error) {
	h.calls.Add(1)
	if h.err != nil {
		return nil, h.err
	}
	return fmt.Appendf(nil, `{"accepted":false,"message":"%s %s %s %s"}`, call.Binding, call.Namespace, call.Operation, call.Payload), nil
}

// isolations are both ways to keep requests apart.
func isolations() []guest.Isolation { return []guest.Isolation{guest.Snapshot, guest.Fresh} }

// bounded is a context that ends soon enough to notice a test that hangs.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

const (
	callFailed = "internal server error: Guest call failure: "
	outside    = "out of bounds memory access: host function "
	notUTF8    = "host function reads text that is not UTF-8"
)

func TestRawGuest(t *testing.T) {
	module := load(t, "raw")
	tests := []struct {
		name, letter string
		stage        guest.Stage // "" for a verdict
		want         string      // text of the failure, or message of the verdict
	}{
		{"an error text and 0 is a failure", "b", guest.StageCall, callFailed + "no thanks"},
		{"1 and nothing said is a failure", "c", guest.StageCall, callFailed + "No error message OR response set for call success"},
		{"0 and nothing said is a failure", "d", guest.StageCall, callFailed + "No error message set for call failure"},
		{"1 with an error text is a failure", "e", guest.StageCall, callFailed + "no thanks"},
		{"an empty answer is a success that does not decode", "f", guest.StageDecode,
			"internal server error: invalid response from policy: the policy gave no answer"},
		{"an error text that is not UTF-8 traps", "g", guest.StageCall, callFailed + notUTF8},
		{"an answer outside memory traps", "h", guest.StageCall, callFailed + outside + "reads 32 bytes at 4294967280"},
		{"the operation cannot be put outside memory", "i", guest.StageCall, callFailed + outside + "writes 8 bytes at 4294967280"},
		{"the payload cannot be put outside memory", "j", guest.StageCall, callFailed + outside + "writes "},
		{"an error text outside memory traps", "k", guest.StageCall, callFailed + outside + "reads 32 bytes at 4294967280"},
		{"a binding outside memory traps", "l", guest.StageCall, callFailed + outside + "reads 32"},
		{"a namespace outside memory traps", "m", guest.StageCall, callFailed + outside + "reads 32"},
		{"an operation outside memory traps", "n", guest.StageCall, callFailed + outside + "reads 32"},
		{"a payload outside memory traps", "o", guest.StageCall, callFailed + outside + "reads 32"},
		{"a binding that is not UTF-8 traps", "p", guest.StageCall, callFailed + notUTF8},
		{"a namespace that is not UTF-8 traps", "q", guest.StageCall, callFailed + notUTF8},
		{"an operation that is not UTF-8 traps", "r", guest.StageCall, callFailed + notUTF8},
		{"a log line outside memory traps", "s", guest.StageCall, callFailed + outside + "reads 32"},
		{"a log line that is not UTF-8 traps", "t", guest.StageCall, callFailed + notUTF8},
		{"a host call is answered", "u", "", "kubewarden test echo {}"},
		{"the host's answer cannot be put outside memory", "w", guest.StageCall, callFailed + outside + "writes "},
		{"an instruction that traps", "y", guest.StageCall, callFailed + "unreachable"},
		{"a stack that is used up", "z", guest.StageCall, callFailed + "stack overflow"},
		{"proc_exit(0) in a call is no answer", "A", guest.StageCall, callFailed + "exit status 0"},
		{"proc_exit(3) in a call is no answer", "B", guest.StageCall, callFailed + "exit status 3"},
		{"memory may grow", "C", "", ""},
		{"an answer has a limit", "F", guest.StageCall, callFailed + "the policy wrote more than 1048576 bytes of output"},
		{"an error text has a limit", "J", guest.StageCall, callFailed + "the policy wrote more than 1048576 bytes of output"},
		{"what it prints does no harm", "G", "", ""},
	}
	for _, isolation := range isolations() {
		p := program(t, module, guest.ProgramOptions{Isolation: isolation, Host: &host{}})
		for _, tt := range tests {
			t.Run(fmt.Sprint(isolation, "/", tt.name), func(t *testing.T) {
				got, err := p.Evaluate(bounded(t), wish(tt.letter))
				f := (*Failure)(nil)
				switch {
				case tt.stage == "" && err != nil:
					t.Fatalf("error %v, want a verdict", err)
				case tt.stage == "" && got.Message != tt.want:
					t.Errorf("message %q, want %q", got.Message, tt.want)
				case tt.stage != "" && (!errors.As(err, &f) || f.At != tt.stage || !strings.HasPrefix(f.Text, tt.want)):
					t.Errorf("got %+v, error %v; want a failure at %s: %s", got, err, tt.stage, tt.want)
				}
				accepts(t, p)
			})
		}
	}
}

// accepts demands that the next request gets a right verdict.
func accepts(t *testing.T, p *Program) {
	t.Helper()
	if got, err := p.Evaluate(bounded(t), wish("a")); err != nil || !got.Accepted {
		t.Errorf("the next request: %+v, error %v; want it accepted", got, err)
	}
}

func TestHostErrorReachesTheGuest(t *testing.T) {
	module := load(t, "raw")
	for _, isolation := range isolations() {
		p := program(t, module, guest.ProgramOptions{Isolation: isolation, Host: &host{err: errors.New("not today")}})
		_, err := p.Evaluate(bounded(t), wish("v"))
		if err == nil || err.Error() != callFailed+"not today" {
			t.Errorf("%s: error %v, want %snot today", isolation, err, callFailed)
		}
		if _, err = p.Evaluate(bounded(t), wish("x")); err == nil || !strings.HasPrefix(err.Error(), callFailed+outside+"writes 9") {
			t.Errorf("%s: error %v, want one about memory", isolation, err)
		}
		accepts(t, p)
	}
	p := program(t, module, guest.ProgramOptions{})
	_, err := p.Evaluate(bounded(t), wish("v"))
	if want := callFailed + "Cannot process Wasm guest request: callback channel not provided"; err == nil || err.Error() != want {
		t.Errorf("without a host: error %v, want %s", err, want)
	}
}

func TestDeadlineEndsEveryGuest(t *testing.T) {
	module := load(t, "raw")
	for _, isolation := range isolations() {
		h := &host{}
		p := program(t, module, guest.ProgramOptions{Isolation: isolation, Host: h})
		for _, tt := range []struct{ name, letter string }{
			{"a loop", "H"}, {"growing memory", "D"}, {"filling memory", "E"}, {"asking the host", "I"},
		} {
			t.Run(fmt.Sprint(isolation, "/", tt.name), func(t *testing.T) {
				timedOut(t, func(ctx context.Context) error {
					_, err := p.Evaluate(ctx, wish(tt.letter))
					return err
				}, guest.StageCall)
				accepts(t, p)
			})
		}
		if h.calls.Load() == 0 {
			t.Errorf("%s: no host call, want many", isolation)
		}
	}
}

// timedOut demands that run ends because its time is up, with Kubewarden's
// words.
func timedOut(t *testing.T, run func(context.Context) error, stage guest.Stage) {
	t.Helper()
	const limit = 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	start := time.Now()
	err := run(ctx)
	t.Logf("%v after the deadline", time.Since(start)-limit)
	f := (*Failure)(nil)
	if !errors.As(err, &f) || f.At != stage || f.Text != guest.ErrTimeout || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %#v, want a timeout at %s", err, stage)
	}
}

func TestInitialisation(t *testing.T) {
	const twice = "Initialization failed: Initialization failed: "
	tests := []struct {
		module string
		want   string // text of the failure; "" accepts, guest.ErrTimeout times out
		cause  string
	}{
		{"start_exit_0", "", ""},
		{"start_exit_1", twice + "exit status 1", "exit status 1"},
		{"init_trap", twice + "unreachable", "unreachable"},
		{"init_loop", guest.ErrTimeout, "wapc_init init interrupted, execution deadline exceeded: context deadline exceeded"},
		{"start_loop", guest.ErrTimeout, "_start init interrupted, execution deadline exceeded: context deadline exceeded"},
		{"initialize_loop", guest.ErrTimeout, "_initialize init interrupted, execution deadline exceeded: context deadline exceeded"},
		{"section_loop", guest.ErrTimeout, "instantiate: start function: context deadline exceeded"},
		{"section_trap", "internal server error: instantiate: start function: unreachable", "instantiate: start function: unreachable"},
		{"section_log", "", ""},
		{"data_outside", "internal server error: instantiate: data[1]: out of bounds memory access", "instantiate: data[1]: out of bounds memory access"},
		{"wrong_call", "internal server error: Guest call function (__guest_call) not exported by wasm module.",
			"Guest call function (__guest_call) not exported by wasm module."},
		{"no_memory", "internal server error: instantiate: the module has no memory of its own", "instantiate: the module has no memory of its own"},
	}
	for _, tt := range tests {
		for _, isolation := range isolations() {
			t.Run(fmt.Sprint(tt.module, "/", isolation), func(t *testing.T) {
				m := load(t, tt.module)
				ctx := bounded(t)
				if tt.want == guest.ErrTimeout {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
					defer cancel()
				}
				p, err := m.NewProgram(ctx, guest.ProgramOptions{Isolation: isolation})
				if tt.want == "" {
					if err != nil {
						t.Fatal(err)
					}
					defer p.Close()
					accepts(t, p)
					accepts(t, p)
					return
				}
				f := (*Failure)(nil)
				if !errors.As(err, &f) || f.At != guest.StageInstantiate || f.Text != tt.want || f.Err.Error() != tt.cause {
					t.Errorf("error %v of %v, want %s of %s", err, errors.Unwrap(err), tt.want, tt.cause)
				}
			})
		}
	}
}

func TestStartFunctionsRunInOrder(t *testing.T) {
	p := program(t, load(t, "order"), guest.ProgramOptions{})
	got, err := p.Evaluate(bounded(t), wish("a"))
	if err != nil || got.Message != "isw" {
		t.Errorf("message %q, error %v; want _initialize, _start and wapc_init: isw", got.Message, err)
	}
}

func TestCompileRefuses(t *testing.T) {
	tests := []struct{ name, want string }{
		{"no_call", "Guest call function (__guest_call) not exported by wasm module."},
		{"unknown_import", `it imports wapc.__time_travel: host module "wapc" has no such function`},
		{"unknown_module", `it imports env.abort: there is no host module "env"`},
		{"memory_4g", "compile: section memory: min 65536 pages (4 Gi) over limit of 512 pages (32 Mi)"},
		{"memory_10g", "compile: section memory: min 163840 pages (10 Gi) over limit of 512 pages (32 Mi)"},
		{"reserved_export", `export "warder:interrupt": names that start with "warder:" are the host's own`},
	}
	for _, tt := range tests {
		_, err := compile(t, read(t, tt.name))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.want)
		}
	}
	if _, err := compile(t, []byte("MZ")); err == nil || !strings.Contains(err.Error(), "not a WebAssembly module") {
		t.Errorf("error %v for what is not a module", err)
	}
}

func TestFallsBackToFresh(t *testing.T) {
	tests := []struct{ module, want string }{
		{"table_set", "it changes its tables"},
		{"vector_global", "it has a mutable global that is a vector or a reference"},
		{"data_drop", "it drops passive segments"},
	}
	for _, tt := range tests {
		p := program(t, load(t, tt.module), guest.ProgramOptions{})
		if mode, why := p.Isolation(); mode != guest.Fresh || why != tt.want {
			t.Errorf("%s: isolation %s, %q; want fresh, %q", tt.module, mode, why, tt.want)
		}
		accepts(t, p)
		accepts(t, p)
	}
	p := program(t, load(t, "ok"), guest.ProgramOptions{Isolation: guest.Fresh})
	if mode, why := p.Isolation(); mode != guest.Fresh || why != "asked for" {
		t.Errorf("isolation %s, %q; want the one asked for", mode, why)
	}
}

func TestTableCannotGrowWithoutEnd(t *testing.T) {
	p := program(t, load(t, "table_grow"), guest.ProgramOptions{})
	timedOut(t, func(ctx context.Context) error {
		_, err := p.Evaluate(ctx, wish("a"))
		return err
	}, guest.StageCall)
}

func TestAGuestThatCannotSayItsProtocolIsAnError(t *testing.T) {
	for name, want := range map[string]string{
		"ok":        `the policy answers "{\"valid\":true,\"accepted\":true}", want "v1" or "Unknown"`,
		"init_trap": "Initialization failed: Initialization failed: ",
	} {
		version, err := load(t, name).ProtocolVersion(bounded(t))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: ProtocolVersion = %q, %v, want %s", name, version, err, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if version, err := load(t, "init_loop").ProtocolVersion(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a guest that never starts: %q, %v, want context.DeadlineExceeded", version, err)
	}
}
