package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// scratchVariable names the folder that all tests of one run share: what they
// build, and the code that is compiled of it.
const scratchVariable = "WARDER_ENGINE_TEST_SCRATCH"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "warder-engine-test-")
	if err != nil {
		panic(err)
	}
	if err := os.Setenv(scratchVariable, dir); err != nil {
		panic(err)
	}
	m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func scratch() string { return os.Getenv(scratchVariable) }

// newEngine returns an engine that shares compiled code with those of the other
// tests. It gives evaluations all the time that a busy machine may need.
func newEngine(t testing.TB, opts Options) *Engine {
	t.Helper()
	if opts.Guests.CacheDir == "" {
		opts.Guests.CacheDir = filepath.Join(scratch(), "compiled")
	}
	if opts.Timeout == 0 {
		opts.Timeout = time.Minute
	}
	e, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return e
}

// portable returns the URI of the module testdata/portable in one of its forms.
// It is built once.
func portable(t testing.TB, form sdktest.Form) string {
	t.Helper()
	file := filepath.Join(scratch(), "portable-"+string(form)+".wasm")
	if _, err := os.Stat(file); err != nil {
		if err := sdktest.BuildFile("testdata/portable", form, file); err != nil {
			t.Fatal(err)
		}
	}
	return "file://" + file
}

// builtinPolicy returns a policy that is built in, as policies.yml would have it
// with nothing but its settings.
func builtinPolicy(id, name, settings string) policy.Policy {
	return policy.Policy{
		ID: policy.ID(id), Module: "builtin://" + name, Settings: json.RawMessage(settings),
		Mode: policy.Protect, FailurePolicy: policy.Fail,
	}
}

// guestPolicy is builtinPolicy in WebAssembly.
func guestPolicy(id, module string, inner innerPolicy) policy.Policy {
	p := builtinPolicy(id, "", inner.String())
	p.Module = module
	return p
}

// innerPolicy is the settings of testdata/portable.
type innerPolicy struct {
	Policy   string          `json:"policy"`
	Settings json.RawMessage `json:"settings,omitempty"`
}

func (p innerPolicy) String() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// script returns the settings of the policy that says what it is told to.
func script(text string) innerPolicy { return innerPolicy{"scripted", json.RawMessage(text)} }

// pod is a request to create a Pod with these fields beside its metadata.
func pod(t testing.TB, fields string) *sdk.Request {
	t.Helper()
	return sdktest.Request(t, "Pod", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"}`+fields+`}`)
}

func privilegedPod(t testing.TB) *sdk.Request {
	t.Helper()
	return pod(t, `,"spec":{"containers":[{"name":"c","securityContext":{"privileged":true}}]}`)
}

// mustApply loads policies that are all to be loaded.
func mustApply(t testing.TB, e *Engine, policies ...policy.Policy) {
	t.Helper()
	if err := e.Apply(t.Context(), policies); err != nil {
		t.Fatal(err)
	}
}

// evaluate asks a policy that is there.
func evaluate(t testing.TB, e *Engine, id policy.ID, req *sdk.Request) Decision {
	t.Helper()
	d, err := e.Evaluate(t.Context(), id, req)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// answer is a response as the API server gets it.
func answer(r review.Response) string {
	return string((&review.Review{}).AppendAnswer(nil, r))
}

// status returns how one policy stands.
func status(t testing.TB, e *Engine, id policy.ID) Status {
	t.Helper()
	for _, s := range e.Statuses() {
		if s.ID == id {
			return s
		}
	}
	t.Fatalf("policy %q has no status", id)
	return Status{}
}

// logLines keeps what is logged.
type logLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// count returns how many lines have all these words.
func (l *logLines) count(words ...string) int {
	n := 0
lines:
	for line := range strings.Lines(l.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		n++
	}
	return n
}

func (l *logLines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestOptionsThatCannotWorkAreAllNamed(t *testing.T) {
	_, err := New(Options{Timeout: -time.Second, Isolation: "some", Record: &capability.Session{}, Replay: &capability.Session{}})
	const want = "isolation: want snapshot or fresh, have \"some\"\nrecord and replay: what is replayed need not be recorded again\ntimeout: -1s is negative"
	if err == nil || err.Error() != want {
		t.Errorf("New = %v, want %q", err, want)
	}
}

func TestACacheFolderThatIsNoneIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(Options{Guests: runtime.Options{CacheDir: file}})
	if err == nil || !strings.HasPrefix(err.Error(), "compilation cache: ") {
		t.Errorf("New = %v, want an error about the compilation cache", err)
	}
}

func TestAnUnknownPolicyIsATypedError(t *testing.T) {
	e := newEngine(t, Options{})
	mustApply(t, e, builtinPolicy("known", "pod-privileged", ""))
	_, evaluated := e.Evaluate(t.Context(), "nope", privilegedPod(t))
	_, audited := e.Audit(t.Context(), "nope", privilegedPod(t))
	_, bundled := e.EvaluateBundle(t.Context(), "nope", privilegedPod(t))
	for what, err := range map[string]error{"Evaluate": evaluated, "Audit": audited, "EvaluateBundle": bundled} {
		if want := (&UnknownPolicyError{"nope"}); err == nil || err.Error() != want.Error() {
			t.Errorf("%s = %v, want %v", what, err, want)
		}
	}
	if e.Has("nope") || !e.Has("known") || e.HasBundle("known") {
		t.Errorf("Has(nope) = %t, Has(known) = %t, HasBundle(known) = %t, want only the second",
			e.Has("nope"), e.Has("known"), e.HasBundle("known"))
	}
}
