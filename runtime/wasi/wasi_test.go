package wasi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warder-dev/warder/runtime/internal/guest"
	"github.com/warder-dev/warder/sdk"
)

// cacheVariable names the folder of compiled code that all tests share.
const cacheVariable = "WARDER_TEST_CACHE"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "warder-wasi-")
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

// host says what it was asked, or an error.
type host struct{ err error }

func (h host) Call(_ context.Context, call sdk.HostCall) ([]byte, error) {
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

// accepts demands that the next request gets a right verdict.
func accepts(t *testing.T, p *Program) {
	t.Helper()
	if got, err := p.Evaluate(bounded(t), wish("a")); err != nil || !got.Accepted {
		t.Errorf("the next request: %+v, error %v; want it accepted", got, err)
	}
}

// isolated demands the isolation that was asked for.
func isolated(t *testing.T, p *Program, want guest.Isolation) {
	t.Helper()
	if got, why := p.Isolation(); got != want {
		t.Fatalf("isolation %s: %s; want %s", got, why, want)
	}
}

const (
	internal = "internal server error: "
	outside  = internal + "out of bounds memory access: host function reads 32 bytes at 4294967280"
)

func TestRawGuest(t *testing.T) {
	module := load(t, "raw")
	tests := []struct {
		name, letter string
		stage        guest.Stage // "" for a verdict
		want         string      // text of the failure, or message of the verdict
	}{
		{"what it says as it leaves is the reason", "b", guest.StageCall, "no thanks"},
		{"no answer does not decode", "c", guest.StageDecode, internal + "Cannot deserialize policy validation response: the policy gave no answer"},
		{"without a reason the status is", "d", guest.StageCall, internal + "exit status 3"},
		{"noise on standard error does no harm", "e", "", ""},
		{"an answer has to be UTF-8", "f", guest.StageDecode, internal + "stdout pipe conversion error: Cannot convert buffer to UTF8 string"},
		{"an answer has to be JSON", "g", guest.StageDecode, internal + "Cannot deserialize policy validation response: invalid character 'o'"},
		{"reading to outside memory is EFAULT", "h", "", ""},
		{"a list of buffers to read to outside memory is EFAULT", "i", "", ""},
		{"a result of reading outside memory is EFAULT", "j", "", ""},
		{"writing from outside memory is EFAULT", "k", "", ""},
		{"a list of buffers to write outside memory is EFAULT", "l", "", ""},
		{"a result of writing outside memory is EFAULT", "m", "", ""},
		{"subscriptions outside memory are EFAULT", "n", "", ""},
		{"events outside memory are EFAULT", "o", "", ""},
		{"a result of polling outside memory is EFAULT", "p", "", ""},
		{"polling for nothing is EINVAL", "q", "", ""},
		{"polling for far too much is EINVAL", "r", "", ""},
		{"streams that there are not are EBADF", "s", "", ""},
		{"a binding outside memory traps", "t", guest.StageCall, outside},
		{"a namespace outside memory traps", "u", guest.StageCall, outside},
		{"an operation outside memory traps", "v", guest.StageCall, outside},
		{"a payload outside memory traps", "w", guest.StageCall, outside},
		{"an operation that is not UTF-8 traps", "x", guest.StageCall, internal + "host function reads text that is not UTF-8"},
		{"an instruction that traps", "y", guest.StageCall, internal + "unreachable"},
		{"a trap after some words", "z", guest.StageCall, internal + "unreachable: no thanks"},
		{"two host calls, by both names", "A", "", "kubewarden test echo {}"},
		{"memory may grow", "C", "", ""},
		{"an answer has a limit", "F", guest.StageCall, internal + "the policy wrote more than 1048576 bytes of output"},
		{"a reason has a limit", "G", guest.StageCall, strings.Repeat("x", 64<<10)},
		{"a stack that is used up", "J", guest.StageCall, internal + "stack overflow"},
	}
	for _, isolation := range isolations() {
		p := program(t, module, guest.ProgramOptions{Isolation: isolation, Host: host{}})
		isolated(t, p, isolation)
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
				if f != nil && len(f.Text) > 64<<10 {
					t.Errorf("a text of %d bytes", len(f.Text))
				}
				accepts(t, p)
			})
		}
	}
}

func TestHostErrorReachesTheGuest(t *testing.T) {
	module := load(t, "raw")
	for _, isolation := range isolations() {
		p := program(t, module, guest.ProgramOptions{Isolation: isolation, Host: host{errors.New("not today")}})
		if _, err := p.Evaluate(bounded(t), wish("B")); err == nil || err.Error() != "not today" {
			t.Errorf("%s: error %v, want not today", isolation, err)
		}
		accepts(t, p)
	}
	p := program(t, module, guest.ProgramOptions{})
	_, err := p.Evaluate(bounded(t), wish("B"))
	if want := "Cannot process Wasm guest request: callback channel not provided"; err == nil || err.Error() != want {
		t.Errorf("without a host: error %v, want %s", err, want)
	}
}

func TestDeadlineEndsEveryGuest(t *testing.T) {
	module := load(t, "raw")
	for _, isolation := range isolations() {
		p := program(t, module, guest.ProgramOptions{Isolation: isolation, Host: host{}})
		for _, tt := range []struct{ name, letter string }{
			{"a loop", "H"}, {"growing memory", "D"}, {"filling memory", "E"}, {"asking the host", "I"}, {"sleeping", "K"},
		} {
			t.Run(fmt.Sprint(isolation, "/", tt.name), func(t *testing.T) {
				timedOut(t, func(ctx context.Context) error {
					_, err := p.Evaluate(ctx, wish(tt.letter))
					return err
				}, guest.StageCall)
				accepts(t, p)
			})
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

func TestInitialisationEndsWithItsTime(t *testing.T) {
	for name, stage := range map[string]guest.Stage{"start_loop": guest.StageCall, "section_loop": guest.StageInstantiate} {
		for _, isolation := range isolations() {
			t.Run(fmt.Sprint(name, "/", isolation), func(t *testing.T) {
				m := load(t, name)
				timedOut(t, func(ctx context.Context) error {
					_, err := m.NewProgram(ctx, guest.ProgramOptions{Isolation: isolation})
					return err
				}, stage)
			})
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	tests := []struct{ name, want string }{
		{"no_start", "cannot find `_start` function inside of module: a WASI policy is a command"},
		{"unknown_import", `it imports host.hang_up: host module "host" has no such function`},
	}
	for _, tt := range tests {
		_, err := compile(t, read(t, tt.name))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.want)
		}
	}
	m := load(t, "start_param")
	if _, err := m.NewProgram(bounded(t), guest.ProgramOptions{}); err == nil || !strings.Contains(err.Error(), "expected 1 params, but passed 0") {
		t.Errorf("start_param: error %v, want one about its parameter", err)
	}
}

func TestIsolationSuitsTheGuest(t *testing.T) {
	tests := []struct {
		module string
		mode   guest.Isolation
		why    string
	}{
		{"ok", guest.Snapshot, ""},
		{"returns", guest.Snapshot, ""},
		{"returns_only", guest.Snapshot, ""},
		{"no_retry", guest.Fresh, "unreachable"},
		{"eintr_is_end", guest.Fresh, "it does not ask for its request again after EINTR"},
		{"tells_reads", guest.Fresh, "its answer from a snapshot is not that of a new instance"},
		{"table_set", guest.Fresh, "it changes its tables"},
		{"vector_global", guest.Fresh, "it has a mutable global that is a vector or a reference"},
		{"data_drop", guest.Fresh, "it drops passive segments"},
	}
	for _, tt := range tests {
		t.Run(tt.module, func(t *testing.T) {
			p := program(t, load(t, tt.module), guest.ProgramOptions{})
			if mode, why := p.Isolation(); mode != tt.mode || why != tt.why {
				t.Errorf("isolation %s, %q; want %s, %q", mode, why, tt.mode, tt.why)
			}
			for range 3 {
				accepts(t, p)
			}
			fresh := program(t, load(t, tt.module), guest.ProgramOptions{Isolation: guest.Fresh})
			accepts(t, fresh)
		})
	}
}

// A guest that spoils its way back to the snapshot, when no request waits for
// it, must not use up the places of the pool.
func TestGuestThatDiesBetweenRequests(t *testing.T) {
	for _, name := range []string{"late_exit", "late_trap", "late_loop"} {
		t.Run(name, func(t *testing.T) {
			p := program(t, load(t, name), guest.ProgramOptions{Instances: 1})
			isolated(t, p, guest.Snapshot)
			for end := time.Now().Add(400 * time.Millisecond); time.Now().Before(end); {
				accepts(t, p)
			}
		})
	}
}

// Rust's standard library reads again after EINTR. C's does not, neither read
// nor fread, and a program in C starts as fast as a snapshot is restored.
func TestCommandsInOtherLanguages(t *testing.T) {
	for name, want := range map[string]guest.Isolation{
		"policy_read": guest.Fresh, "policy_fread": guest.Fresh, "policy_rust": guest.Snapshot,
	} {
		module := load(t, name)
		for _, isolation := range isolations() {
			p := program(t, module, guest.ProgramOptions{Isolation: isolation})
			if isolation == guest.Snapshot {
				isolated(t, p, want)
			}
			for i := range 20 {
				object, want := `{"a":"fine"}`, sdk.Accept()
				if i%2 == 1 {
					object, want = `{"a":"forbidden"}`, sdk.Reject("it is forbidden")
				}
				got, err := p.Evaluate(bounded(t), &sdk.Request{Object: json.RawMessage(object)})
				if err != nil || got.Accepted != want.Accepted || got.Message != want.Message {
					t.Errorf("%s, %s: %s is %+v, error %v; want %+v", name, isolation, object, got, err, want)
				}
			}
		}
	}
}

// BenchmarkSmallCommand is why C needs no snapshot.
func BenchmarkSmallCommand(b *testing.B) {
	for _, name := range []string{"policy_read", "policy_rust"} {
		for _, isolation := range isolations() {
			b.Run(fmt.Sprint(name, "/", isolation), func(b *testing.B) {
				p := program(b, load(b, name), guest.ProgramOptions{Isolation: isolation})
				for b.Loop() {
					if got, err := p.Evaluate(b.Context(), wish("a")); err != nil || !got.Accepted {
						b.Fatal(got, err)
					}
				}
			})
		}
	}
}
