package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/runtime/wapc"
	"github.com/warder-dev/warder/runtime/wasi"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// cacheVariable names the folder of guests and their compiled code that all
// tests share.
const cacheVariable = "WARDER_TEST_CACHE"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "warder-runtime-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system cleans up after us
	if err := os.Setenv(cacheVariable, dir); err != nil {
		panic(err)
	}
	m.Run()
}

// guest returns a guest of testdata/guests, built once.
func guest(t testing.TB, name string, form sdktest.Form) []byte {
	t.Helper()
	file := filepath.Join(os.Getenv(cacheVariable), name+"."+string(form))
	if _, err := os.Stat(file); err != nil {
		if err := sdktest.BuildFile(filepath.Join("testdata", "guests", name), form, file); err != nil {
			t.Fatal(err)
		}
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// raw returns a module of the testdata of one of the runtimes.
func raw(t testing.TB, name string, form sdktest.Form) []byte {
	t.Helper()
	wasm, err := os.ReadFile(filepath.Join(string(form), "testdata", name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// program is a module of either runtime with its settings.
type program interface {
	Evaluate(ctx context.Context, req *sdk.Request) (sdk.Verdict, error)
	Isolation() (mode runtime.Isolation, reason string)
	Close()
}

// module is a module of either runtime.
type module struct {
	wapc *wapc.Module
	wasi *wasi.Module
}

func (m module) Close() error {
	if m.wapc != nil {
		return m.wapc.Close()
	}
	return m.wasi.Close()
}

func (m module) program(t testing.TB, opts runtime.ProgramOptions) program {
	t.Helper()
	var p program
	var err error
	if m.wapc != nil {
		p, err = m.wapc.NewProgram(t.Context(), opts)
	} else {
		p, err = m.wasi.NewProgram(t.Context(), opts)
	}
	if err != nil {
		t.Fatal(err)
	}
	if mode, why := p.Isolation(); opts.Isolation != "" && mode != opts.Isolation {
		t.Fatalf("isolation %s: %s; want %s", mode, why, opts.Isolation)
	}
	return p
}

// compiler bounds guests to 24 MiB of memory and 1 MiB of output.
func compiler(t testing.TB) *runtime.Compiler {
	t.Helper()
	c, err := runtime.NewCompiler(runtime.Options{
		CacheDir: os.Getenv(cacheVariable), MemoryLimit: 24 << 20, OutputLimit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func compile(t testing.TB, c *runtime.Compiler, wasm []byte) (m module) {
	t.Helper()
	layout, err := runtime.Inspect(wasm)
	if err != nil {
		t.Fatal(err)
	}
	if layout.Has("__guest_call") {
		m.wapc, err = wapc.Compile(t.Context(), c, wasm)
	} else {
		m.wasi, err = wasi.Compile(t.Context(), c, wasm)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// start compiles a module and makes a program of it; both are closed when the
// test ends.
func start(t testing.TB, wasm []byte, opts runtime.ProgramOptions) program {
	t.Helper()
	m := compile(t, compiler(t), wasm)
	t.Cleanup(func() { m.Close() })
	p := m.program(t, opts)
	t.Cleanup(p.Close)
	return p
}

// each runs a test for both forms of a Go guest and both isolations.
func each(t *testing.T, name string, test func(t *testing.T, wasm []byte, isolation runtime.Isolation)) {
	t.Helper()
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		wasm := guest(t, name, form)
		for _, isolation := range []runtime.Isolation{runtime.Snapshot, runtime.Fresh} {
			t.Run(fmt.Sprint(form, "/", isolation), func(t *testing.T) { test(t, wasm, isolation) })
		}
	}
}

// dns answers every question with no addresses.
type dns struct{}

func (dns) Call(context.Context, sdk.HostCall) ([]byte, error) { return []byte(`{"ips":[]}`), nil }

// do is a request that the guest misbehave does.
func do(what string) *sdk.Request {
	return &sdk.Request{UID: "request-1", Operation: sdk.Create, Object: json.RawMessage(`{"do":"` + what + `"}`)}
}

// bounded is a context that ends soon enough to notice a test that hangs.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// misbehaviour is something that a policy does, and what it is told then.
type misbehaviour struct {
	do    string
	stage string
	wasi  string // in the text of the failure
	wapc  string
}

func misbehaviours() []misbehaviour {
	const internal, call = "internal server error: ", "internal server error: Guest call failure: "
	const undecoded = internal + "Cannot deserialize policy validation response: "
	const invalid = internal + "invalid response from policy: "
	return []misbehaviour{
		{"recurse", "call", "out of memory", "out of memory"},
		{"allocate", "call", "out of memory", "out of memory"},
		{"panic", "call", "panic: I do not like request-1", call + "unreachable: panic: I do not like request-1"},
		{"error", "call", "no opinion on request-1", call + "no opinion on request-1"},
		{"exit-3", "call", "I am leaving", call + "exit status 3: I am leaving"},
		{"exit-0", "decode", undecoded + "the policy gave no answer", ""},
		{"exit-0", "call", "", call + "exit status 0"},
		{"garbage", "decode", undecoded + "invalid character ']'", invalid + "invalid character ']'"},
		{"trailing", "decode", undecoded + "trailing characters at offset ", invalid + "trailing characters at offset "},
		{"types", "decode", undecoded + "json: cannot unmarshal number", invalid + "json: cannot unmarshal number"},
		{"deep", "decode", undecoded + "invalid character '[' exceeded max depth", invalid + "invalid character '[' exceeded max depth"},
		{"huge-output", "call", internal + "the policy wrote more than 1048576 bytes of output",
			call + "the policy wrote more than 1048576 bytes of output"},
		{"huge-stderr", "call", "yyyyyyyy", call + "exit status 1: yyyyyyyy"},
	}
}

func TestMisbehaviourIsAFailureOfItsOwnRequest(t *testing.T) {
	each(t, "misbehave", func(t *testing.T, wasm []byte, isolation runtime.Isolation) {
		p := start(t, wasm, runtime.ProgramOptions{Isolation: isolation, Host: dns{}})
		for _, tt := range misbehaviours() {
			want := tt.wasi
			if strings.Contains(t.Name(), "/wapc/") {
				want = tt.wapc
			}
			if want == "" {
				continue
			}
			t.Run(tt.do, func(t *testing.T) {
				v, err := p.Evaluate(bounded(t), do(tt.do))
				f := (*runtime.Failure)(nil)
				if !errors.As(err, &f) {
					t.Fatalf("verdict %+v, error %v; want a failure", v, err)
				}
				if f.Stage() != tt.stage || !strings.Contains(f.Text, want) {
					t.Errorf("failure at %s: %.300s; want one at %s: %s", f.Stage(), f.Text, tt.stage, want)
				}
				if len(f.Text) > 70_000 {
					t.Errorf("the text has %d bytes", len(f.Text))
				}
				accepts(t, p)
			})
		}
	})
}

func TestDeadlineInterruptsTheGuest(t *testing.T) {
	each(t, "misbehave", func(t *testing.T, wasm []byte, isolation runtime.Isolation) {
		p := start(t, wasm, runtime.ProgramOptions{Isolation: isolation, Host: dns{}})
		for _, what := range []string{"loop", "loop-call", "fibonacci", "host-calls", "sleep"} {
			t.Run(what, func(t *testing.T) {
				const limit = 100 * time.Millisecond
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				began := time.Now()
				v, err := p.Evaluate(ctx, do(what))
				t.Logf("%v after the deadline", time.Since(began)-limit)
				f := (*runtime.Failure)(nil)
				if !errors.As(err, &f) || !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("verdict %+v, error %v; want a timeout", v, err)
				}
				if want := "Policy execution interrupted because it exceeded the allowed execution time"; f.Text != want {
					t.Errorf("text %q, want %q", f.Text, want)
				}
				accepts(t, p)
			})
		}
	})
}

// accepts demands that the next request gets a right verdict.
func accepts(t *testing.T, p program) {
	t.Helper()
	if v, err := p.Evaluate(bounded(t), do("ok")); err != nil || !v.Accepted {
		t.Errorf("the next request: %+v, error %v; want it accepted", v, err)
	}
}

// childVariable is set in the process that TestLoopsDoNotStopTheProcess risks.
const childVariable = "WARDER_TEST_CHILD"

// A guest is compiled code, which the scheduler cannot interrupt by itself: a
// collection of garbage waits for every goroutine, and so would the timers of
// deadlines. A process that this stops cannot say so, so it is a child.
func TestLoopsDoNotStopTheProcess(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		loopAndCollect(t)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestLoopsDoNotStopTheProcess$", "-test.v")
	child.Env = append(os.Environ(), childVariable+"=1")
	said, err := child.CombinedOutput()
	t.Logf("%s", said)
	if err != nil {
		t.Errorf("the process with guests in loops: %v", err)
	}
}

func loopAndCollect(t *testing.T) {
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		p := start(t, raw(t, "raw", form), runtime.ProgramOptions{Instances: 4})
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		const guests = 4
		done := make(chan error, guests)
		for range guests {
			go func() {
				_, err := p.Evaluate(ctx, &sdk.Request{Object: json.RawMessage(`"~H"`)})
				done <- err
			}()
		}
		for ctx.Err() == nil {
			goruntime.GC()
		}
		for range guests {
			if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: error %v, want a timeout", form, err)
			}
		}
	}
}
