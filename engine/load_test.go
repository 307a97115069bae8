package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// revision is a policy whose rejections say which revision gave them.
func revision(id string, n int) policy.Policy {
	return builtinPolicy(id, "safe-labels", fmt.Sprintf(`{"mandatory_labels":["revision-%d"]}`, n))
}

func guestRevision(id, module string, n int) policy.Policy {
	return guestPolicy(id, module, script(fmt.Sprintf(`{"message":"revision-%d"}`, n)))
}

// revisionOf reads the number that a revision puts into its message.
func revisionOf(d Decision) (n int, err error) {
	message := messageOf(d.Response)
	_, number, ok := strings.Cut(message, "revision-")
	if _, err := fmt.Sscanf(number, "%d", &n); !ok || err != nil {
		return 0, fmt.Errorf("no revision in %q: %w", message, errors.Join(err, d.Err))
	}
	return n, nil
}

// traffic asks one policy without a pause, and knows which revisions may
// answer.
type traffic struct {
	engine  *Engine
	id      policy.ID
	gone    bool         // the policy may be unloaded
	started atomic.Int64 // the newest revision that may answer
	applied atomic.Int64 // the oldest
	asked   atomic.Int64
}

func (tr *traffic) run(ctx context.Context, t *testing.T, req *sdk.Request) {
	for ctx.Err() == nil {
		oldest := tr.applied.Load()
		d, err := tr.engine.Evaluate(context.Background(), tr.id, req)
		newest := tr.started.Load()
		tr.asked.Add(1)
		if unknown := (*UnknownPolicyError)(nil); tr.gone && errors.As(err, &unknown) {
			<-time.After(time.Millisecond) // else it takes the processor from those that load
			continue
		}
		if err != nil {
			t.Errorf("policy %q: lost a request: %v", tr.id, err)
			return
		}
		switch n, err := revisionOf(d); {
		case err != nil:
			t.Errorf("policy %q: %v", tr.id, err)
			return
		case int64(n) < oldest || int64(n) > newest:
			t.Errorf("policy %q: revision %d answers, want %d to %d", tr.id, n, oldest, newest)
			return
		}
	}
}

// replace makes a change that puts revision n in place.
func (tr *traffic) replace(t *testing.T, n int, change func() error) {
	t.Helper()
	tr.started.Store(int64(n))
	if err := change(); err != nil {
		t.Errorf("revision %d of %q: %v", n, tr.id, err)
	}
	tr.applied.Store(int64(n))
}

func TestPoliciesAreReplacedUnderTrafficWithoutLosingARequest(t *testing.T) {
	module := portable(t, sdktest.WaPC)
	e := newEngine(t, Options{})
	req := pod(t, "")
	mustApply(t, e, revision("native", 1), guestRevision("guest", module, 1), revision("loose", 1))
	all := []*traffic{{engine: e, id: "native"}, {engine: e, id: "guest"}, {engine: e, id: "loose", gone: true}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for _, tr := range all {
		tr.started.Store(1)
		tr.applied.Store(1)
	}
	for i := range 16 {
		wg.Go(func() { all[i%len(all)].run(ctx, t, req) })
	}
	for n := 2; n <= 25; n++ {
		all[0].replace(t, n, func() error { return e.Load(t.Context(), revision("native", n)) })
		all[1].replace(t, n, func() error { return e.Load(t.Context(), guestRevision("guest", module, n)) })
		e.Unload("loose")
		all[2].replace(t, n, func() error {
			return e.Apply(t.Context(), []policy.Policy{
				revision("native", n), guestRevision("guest", module, n), revision("loose", n),
			})
		})
	}
	stop()
	wg.Wait()
	for _, tr := range all {
		t.Logf("policy %q: %d requests", tr.id, tr.asked.Load())
		if tr.asked.Load() < 25 {
			t.Errorf("policy %q was asked %d times, want at least once a revision", tr.id, tr.asked.Load())
		}
	}
	mustApply(t, e)
	if n := len(e.modules.byDigest); n != 0 {
		t.Errorf("%d modules are held after the last policy has gone", n)
	}
}

func TestARequestUnderWayKeepsItsProgramUntilItEnds(t *testing.T) {
	e := newEngine(t, Options{})
	closed := false
	ent := &entry{policy: policy.Policy{ID: "p"}, closed: func() { closed = true }}
	ent.refs.Store(1)
	e.state.Store(newState(map[policy.ID]*entry{"p": ent}))
	held := e.hold("p")
	e.Unload("p")
	if closed || e.hold("p") != nil {
		t.Errorf("closed = %t and the policy is still there: %t, want neither while a request is under way", closed, e.Has("p"))
	}
	held.release()
	if !closed {
		t.Error("the program is open after its last request")
	}
	if ent.acquire() {
		t.Error("an entry that is closed was acquired")
	}
}

func TestAnUnchangedListReloadsNothing(t *testing.T) {
	lines := &logLines{}
	e := newEngine(t, Options{Log: lines.logger()})
	list := func() []policy.Policy {
		return []policy.Policy{revision("native", 1), guestRevision("guest", portable(t, sdktest.WASI), 1)}
	}
	mustApply(t, e, list()...)
	before := e.state.Load().byID
	mustApply(t, e, list()...)
	after := e.state.Load().byID
	for id := range before {
		if before[id].program != after[id].program || before[id] != after[id] {
			t.Errorf("policy %q was loaded again", id)
		}
	}
	changed := list()
	changed[0] = revision("native", 2)
	mustApply(t, e, changed...)
	now := e.state.Load().byID
	if now["native"].program == before["native"].program || now["guest"].program != before["guest"].program {
		t.Error("want the policy that has changed loaded again, and no other")
	}
	if n := lines.count(`msg="policy loaded"`); n != 3 {
		t.Errorf("%d policies were loaded, want 3:\n%s", n, lines)
	}
}

func TestWhatIsNotInTheListIsUnloaded(t *testing.T) {
	lines := &logLines{}
	e := newEngine(t, Options{Log: lines.logger()})
	mustApply(t, e, revision("a", 1), revision("b", 1))
	mustApply(t, e, revision("b", 1))
	if e.Has("a") || !e.Has("b") {
		t.Errorf("Has(a) = %t, Has(b) = %t, want only the second", e.Has("a"), e.Has("b"))
	}
	if lines.count(`msg="policy unloaded"`, "policy=a") != 1 {
		t.Errorf("the log does not say so:\n%s", lines)
	}
	e.Unload("not there")
}

func TestAPolicyThatDoesNotLoadLeavesTheOthersAlone(t *testing.T) {
	e := newEngine(t, Options{})
	bad := builtinPolicy("bad", "pod-privileged", `{"skip_init_container":true}`)
	missing := builtinPolicy("missing", "nope", "")
	err := e.Apply(t.Context(), []policy.Policy{revision("good", 1), bad, missing})
	const first = `policy "bad": settings: Policy settings are invalid: skip_init_container: unknown setting; did you mean skip_init_containers?`
	if err == nil || !strings.Contains(err.Error(), first) || !strings.Contains(err.Error(), `policy "missing": fetch: `) {
		t.Errorf("Apply = %v, want both errors", err)
	}
	var load *LoadError
	if !errors.As(err, &load) || load.Policy != "bad" || load.Stage() != "settings" {
		t.Errorf("errors.As = %+v, want the LoadError of the first", load)
	}
	if n, err := revisionOf(evaluate(t, e, "good", pod(t, ""))); n != 1 || err != nil {
		t.Errorf("good policy: revision %d, %v", n, err)
	}
	if s := status(t, e, "bad"); s.State != Failed || s.Error != first {
		t.Errorf("status = %+v, want failed: %s", s, first)
	}
	if s := status(t, e, "good"); s.State != Loaded || s.Error != "" || s.Runtime != nativeRuntime || s.Since.IsZero() {
		t.Errorf("status = %+v, want loaded", s)
	}
}

func TestARevisionThatDoesNotLoadLeavesTheOlderOneInPlace(t *testing.T) {
	lines := &logLines{}
	e := newEngine(t, Options{Log: lines.logger()})
	mustApply(t, e, revision("p", 1))
	program := e.state.Load().byID["p"].program
	broken := revision("p", 2)
	broken.Settings = []byte(`{"mandatory_label":[]}`)
	for range 3 {
		if err := e.Load(t.Context(), broken); err == nil {
			t.Fatal("a broken revision was loaded")
		}
		if n, err := revisionOf(evaluate(t, e, "p", pod(t, ""))); n != 1 || err != nil {
			t.Errorf("revision %d, %v, want the older one", n, err)
		}
	}
	s := status(t, e, "p")
	if s.State != Stale || !strings.Contains(s.Error, `did you mean mandatory_labels?`) {
		t.Errorf("status = %+v, want stale and why", s)
	}
	if have := e.state.Load().byID["p"].program; have != program {
		t.Error("the older revision has another program than before")
	}
	if lines.count("level=ERROR", "policy not replaced: its older revision serves") != 3 {
		t.Errorf("the log does not say so each time:\n%s", lines)
	}
	mustApply(t, e, revision("p", 3))
	if n, err := revisionOf(evaluate(t, e, "p", pod(t, ""))); n != 3 || err != nil {
		t.Errorf("revision %d, %v, want 3", n, err)
	}
	if s := status(t, e, "p"); s.State != Loaded || s.Error != "" {
		t.Errorf("status = %+v, want loaded", s)
	}
}

func TestAStaleGuestIsClosedWhenItIsReplaced(t *testing.T) {
	module := portable(t, sdktest.WaPC)
	e := newEngine(t, Options{})
	mustApply(t, e, guestRevision("p", module, 1))
	broken := guestPolicy("p", module, innerPolicy{Policy: "nope"})
	for range 2 {
		if err := e.Load(t.Context(), broken); err == nil {
			t.Fatal("a broken revision was loaded")
		}
	}
	if n, err := revisionOf(evaluate(t, e, "p", pod(t, ""))); n != 1 || err != nil {
		t.Errorf("revision %d, %v, want the older one", n, err)
	}
	mustApply(t, e, revision("p", 2))
	if n := len(e.modules.byDigest); n != 0 {
		t.Errorf("%d modules are held by a revision that has gone", n)
	}
}

// replaceFile puts a file in the place of another, as a careful writer does.
func replaceFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestAModuleThatIsReplacedOnDiskIsLoadedAgain(t *testing.T) {
	wasi, err := os.ReadFile(strings.TrimPrefix(portable(t, sdktest.WASI), "file://"))
	if err != nil {
		t.Fatal(err)
	}
	wapc, err := os.ReadFile(strings.TrimPrefix(portable(t, sdktest.WaPC), "file://"))
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, Options{})
	file := filepath.Join(t.TempDir(), "policy.wasm")
	p := guestRevision("p", "file://"+file, 1)
	apply := func(wantRuntime string, wantState State) {
		t.Helper()
		err := e.Apply(t.Context(), []policy.Policy{p})
		if s := status(t, e, "p"); s.Runtime != wantRuntime || s.State != wantState {
			t.Errorf("Apply = %v, status %+v, want %s in runtime %q", err, s, wantState, wantRuntime)
		}
	}
	apply("", Failed)
	replaceFile(t, file, wasi)
	apply(wasiRuntime, Loaded)
	first := status(t, e, "p").Digest
	replaceFile(t, file, wapc)
	apply(wapcRuntime, Loaded)
	if second := status(t, e, "p").Digest; second == first || !strings.HasPrefix(second, "sha256:") {
		t.Errorf("digest = %q after %q, want another", second, first)
	}
	replaceFile(t, file, wasi[:len(wasi)/2])
	apply(wapcRuntime, Stale)
	if n, err := revisionOf(evaluate(t, e, "p", pod(t, ""))); n != 1 || err != nil {
		t.Errorf("revision %d, %v, want the last good module's answer", n, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(t.Context(), []policy.Policy{p}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Apply = %v, want fs.ErrNotExist", err)
	}
}

func TestPoliciesShareTheCodeOfTheirModules(t *testing.T) {
	modules := []string{
		portable(t, sdktest.WASI), portable(t, sdktest.WaPC),
		"file://" + writeModule(t, testModule{exports: []string{"_start"}, memory: true, metadata: `{"rules":[],"mutating":false,"executionMode":"wasi"}`}),
	}
	e := newEngine(t, Options{})
	var list []policy.Policy
	for i := range 50 {
		module := modules[i%2]
		list = append(list, guestRevision(fmt.Sprintf("p%d", i), module, i))
	}
	list[0].Module = modules[2] // compiles, and then answers nothing to its settings
	_ = e.Apply(t.Context(), list)
	seen := map[string]*module{}
	refs := 0
	for digest, mod := range e.modules.byDigest {
		seen[digest] = mod
		refs += mod.refs
	}
	if len(seen) != 2 || refs != 49 {
		t.Errorf("%d modules are held %d times, want 2 by 49 policies", len(seen), refs)
	}
	for i := 1; i < 50; i += 7 {
		id := policy.ID(fmt.Sprintf("p%d", i))
		if n, err := revisionOf(evaluate(t, e, id, pod(t, ""))); n != i || err != nil {
			t.Errorf("policy %q: revision %d, %v", id, n, err)
		}
	}
}

func TestTheSameBytesAreCompiledOnce(t *testing.T) {
	e := newEngine(t, Options{})
	wasm := testModule{exports: []string{"_start"}, memory: true}.encode()
	digest := "sha256:1"
	var wg sync.WaitGroup
	got := make([]*module, 16)
	for i := range got {
		wg.Go(func() {
			mod, err := e.modules.get(t.Context(), digest, wasm)
			if err != nil {
				t.Error(err)
			}
			got[i] = mod
		})
	}
	wg.Wait()
	for _, mod := range got {
		if mod != got[0] || mod.wasi != got[0].wasi {
			t.Error("two callers got two modules")
		}
		e.modules.put(mod)
	}
	if n := len(e.modules.byDigest); n != 0 {
		t.Errorf("%d modules are held by nobody", n)
	}
}

func TestLoadingEndsWithItsContext(t *testing.T) {
	e := newEngine(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	looping := testModule{exports: []string{"_start"}, memory: true, loop: true}
	start := time.Now()
	err := e.Load(ctx, guestPolicy("p", "file://"+writeModule(t, looping), script("{}")))
	if took := time.Since(start); err == nil || took > 5*time.Second {
		t.Errorf("Load = %v after %s, want an error after 200ms", err, took)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Load = %v, want context.DeadlineExceeded", err)
	}
}
