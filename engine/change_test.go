package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-dev/warder/policy"
)

// gates is a host whose modules come when their gate is opened.
type gates struct {
	wasm  []byte
	asked chan string // the URI, once for each fetch
	count atomic.Int32

	mu   sync.Mutex
	open map[string]chan struct{}
}

func newGates(t *testing.T) *gates {
	return &gates{wasm: portableModule(t), asked: make(chan string, 1000), open: map[string]chan struct{}{}}
}

func (g *gates) gate(uri string) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[uri] == nil {
		g.open[uri] = make(chan struct{})
	}
	return g.open[uri]
}

func (g *gates) fetch(ctx context.Context, uri string) (Fetched, error) {
	g.count.Add(1)
	g.asked <- uri
	select {
	case <-g.gate(uri):
		return Fetched{Wasm: g.wasm}, nil
	case <-ctx.Done():
		return Fetched{}, context.Cause(ctx)
	}
}

// loadLater loads a policy, and returns when its module is asked for.
func (g *gates) loadLater(t *testing.T, e *Engine, p policy.Policy) chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- e.Load(context.Background(), p) }()
	if uri := <-g.asked; uri != p.Module {
		t.Fatalf("%s is fetched, want %s", uri, p.Module)
	}
	return done
}

func checkRevision(t *testing.T, e *Engine, id policy.ID, want int) {
	t.Helper()
	if n, err := revisionOf(evaluate(t, e, id, plainPod(t))); n != want || err != nil {
		t.Errorf("revision %d of %q answers, %v, want %d", n, id, err, want)
	}
}

func checkNothingHeld(t *testing.T, e *Engine) {
	t.Helper()
	mustApply(t, e)
	if len(e.modules.byDigest) != 0 || len(e.fetches.byKey) != 0 || len(e.loading) != 0 || len(e.compiles) != 0 {
		t.Errorf("%d modules, %d fetches, %d tasks and %d slots are held by nobody",
			len(e.modules.byDigest), len(e.fetches.byKey), len(e.loading), len(e.compiles))
	}
	deadline := time.Now().Add(time.Minute)
	for host, slots := range e.fetches.hosts {
		for len(slots) != 0 { // a fetch that was cancelled ends when it notices
			if <-time.After(time.Millisecond); time.Now().After(deadline) {
				t.Fatalf("%d slots of %s are held by nobody", len(slots), host)
			}
		}
	}
}

func TestASlowLoadHoldsUpNoOtherOne(t *testing.T) {
	g := newGates(t)
	e := newEngine(t, Options{Workers: 1, Fetch: g.fetch})
	var slow []chan error
	for i := range atOnce {
		slow = append(slow, g.loadLater(t, e, guestRevision(fmt.Sprint("slow", i), fmt.Sprintf("registry://slow/%d:v1", i), 1)))
	}
	if err := e.Load(t.Context(), revision("builtin", 1)); err != nil {
		t.Errorf("Load of a built-in = %v", err)
	}
	close(g.gate("registry://other/p:v1"))
	if err := e.Load(t.Context(), guestRevision("guest", "registry://other/p:v1", 2)); err != nil {
		t.Errorf("Load from another host = %v", err)
	}
	checkRevision(t, e, "builtin", 1)
	checkRevision(t, e, "guest", 2)
	e.Unload("builtin")
	if s, ok := e.Status("guest"); !ok || s.State != Loaded || e.Has("builtin") || e.Has("slow0") {
		t.Errorf("status = %+v, %t, want guest loaded and neither builtin nor slow0 there", s, ok)
	}
	for i, done := range slow {
		close(g.gate(fmt.Sprintf("registry://slow/%d:v1", i)))
		if err := <-done; err != nil {
			t.Errorf("Load of slow%d = %v", i, err)
		}
	}
	checkNothingHeld(t, e)
}

func TestTheLastChangeOfAPolicyWins(t *testing.T) {
	const slow, slower = "registry://h/slow:v1", "registry://h/slower:v1"
	ctx := context.Background()
	tests := []struct {
		name   string
		change func(t *testing.T, e *Engine, g *gates) error // while revision 1 is being loaded
		want   int                                           // the revision that answers; 0 for none
	}{
		{"Load", func(_ *testing.T, e *Engine, _ *gates) error { return e.Load(ctx, revision("p", 2)) }, 2},
		{"Load that is slower", func(t *testing.T, e *Engine, g *gates) error {
			done := g.loadLater(t, e, guestRevision("p", slower, 3))
			close(g.gate(slow))
			close(g.gate(slower))
			return <-done
		}, 3},
		{"Unload", func(_ *testing.T, e *Engine, _ *gates) error { e.Unload("p"); return nil }, 0},
		{"Unload and Load", func(_ *testing.T, e *Engine, _ *gates) error { e.Unload("p"); return e.Load(ctx, revision("p", 4)) }, 4},
		{"Apply", func(_ *testing.T, e *Engine, _ *gates) error { return e.Apply(ctx, []policy.Policy{revision("p", 5)}) }, 5},
		{"Apply without it", func(_ *testing.T, e *Engine, _ *gates) error { return e.Apply(ctx, nil) }, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGates(t)
			e := newEngine(t, Options{Fetch: g.fetch})
			mustApply(t, e, revision("p", 0))
			first := g.loadLater(t, e, guestRevision("p", slow, 1))
			if err := tt.change(t, e, g); err != nil {
				t.Errorf("the change = %v", err)
			}
			if err := <-first; !errors.Is(err, ErrSuperseded) {
				t.Errorf("the Load before it = %v, want ErrSuperseded", err)
			}
			if tt.want == 0 && e.Has("p") {
				t.Error("the policy is there")
			} else if tt.want > 0 {
				checkRevision(t, e, "p", tt.want)
			}
			checkNothingHeld(t, e)
		})
	}
}

func TestWhatChangesDuringAnApplyIsNotUndoneByIt(t *testing.T) {
	const slow, other = "registry://h/slow:v1", "registry://h/other:v1"
	g := newGates(t)
	e := newEngine(t, Options{Fetch: g.fetch})
	ctx := context.Background()
	mustApply(t, e, revision("old", 1), revision("unloaded", 1), revision("waiting", 1))
	done := make(chan error, 1)
	go func() {
		done <- e.Apply(ctx, []policy.Policy{guestRevision("listed", slow, 1), revision("loaded", 1), revision("unloaded", 1)})
	}()
	<-g.asked
	for _, p := range []policy.Policy{revision("loaded", 2), revision("new", 2)} {
		if err := e.Load(ctx, p); err != nil {
			t.Error(err)
		}
	}
	e.Unload("unloaded")
	waiting := g.loadLater(t, e, guestRevision("waiting", other, 2))
	close(g.gate(slow))
	if err := <-done; err != nil {
		t.Errorf("Apply = %v", err)
	}
	for id, want := range map[policy.ID]int{"listed": 1, "loaded": 2, "new": 2, "waiting": 1} {
		checkRevision(t, e, id, want)
	}
	if e.Has("old") || e.Has("unloaded") {
		t.Errorf("old is there: %t, unloaded is there: %t, want neither", e.Has("old"), e.Has("unloaded"))
	}
	close(g.gate(other))
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	checkRevision(t, e, "waiting", 2)
	checkNothingHeld(t, e)
}

func TestLoadsOfOneModuleFetchAndCompileItOnce(t *testing.T) {
	const uri, n = "registry://h/shared:v1", 60
	g := newGates(t)
	e := newEngine(t, Options{Fetch: g.fetch})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := e.Load(context.Background(), guestRevision(fmt.Sprint("p", i), uri, i)); err != nil {
				t.Error(err)
			}
		})
	}
	for users := 0; users < n; <-time.After(time.Millisecond) {
		e.fetches.mu.Lock()
		for _, one := range e.fetches.byKey {
			users = one.users
		}
		e.fetches.mu.Unlock()
	}
	close(g.gate(uri))
	wg.Wait()
	if asked := g.count.Load(); asked != 1 {
		t.Errorf("the module was fetched %d times, want once", asked)
	}
	if len(e.modules.byDigest) != 1 {
		t.Errorf("%d modules are compiled, want one", len(e.modules.byDigest))
	}
	checkRevision(t, e, "p7", 7)
	checkNothingHeld(t, e)
}

func TestAChangeThatIsNotTheProgramsKeepsIt(t *testing.T) {
	const uri = "registry://h/p:v1"
	g := newGates(t)
	close(g.gate(uri))
	group := groupOf("a() && b()", map[string]policy.Policy{"a": {Module: uri, Settings: guestRevision("", uri, 1).Settings}, "b": {Module: "builtin://pod-privileged"}})
	group.ID = "p"
	tests := []struct {
		name   string
		policy policy.Policy
	}{{"native", revision("p", 1)}, {"guest", guestRevision("p", uri, 1)}, {"group", group}}
	changes := []struct {
		name   string
		change func(p *policy.Policy)
		keeps  bool
	}{
		{"mode", func(p *policy.Policy) { p.Mode = policy.Monitor }, true},
		{"message", func(p *policy.Policy) { p.Message = "another" }, true},
		{"failurePolicy", func(p *policy.Policy) { p.FailurePolicy = policy.Ignore }, true},
		{"bundles", func(p *policy.Policy) { p.Bundles = []string{"a", "b"} }, true},
		{"order", func(p *policy.Policy) { p.Order = 7 }, true},
		{"timeout", func(p *policy.Policy) { p.Timeout = 9 }, true},
		{"rules", func(p *policy.Policy) {
			p.Rules = []policy.Rule{{APIGroups: []string{"x"}, APIVersions: []string{"*"}, Resources: []string{"*"}, Operations: []string{"*"}}}
		}, true},
		{"grants", func(p *policy.Policy) { p.HostCapabilities = []string{"*"} }, false},
		{"namespace", func(p *policy.Policy) { p.Namespace = "n" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEngine(t, Options{Fetch: g.fetch})
			mustApply(t, e, tt.policy)
			p := tt.policy
			for _, c := range changes {
				before, fetched := e.state.Load().byID["p"], g.count.Load()
				c.change(&p)
				if err := e.Load(t.Context(), p); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
				after := e.state.Load().byID["p"]
				kept := after.program == before.program && after.group == before.group
				if kept != c.keeps || kept && g.count.Load() != fetched || before == after {
					t.Errorf("%s: the program goes on: %t, want %t; %d fetches", c.name, kept, c.keeps, g.count.Load()-fetched)
				}
			}
			if !e.HasBundle("a") || !e.HasBundle("b") {
				t.Error("the policy is not in its bundles")
			}
			checkNothingHeld(t, e)
		})
	}
}

func TestARevisionIsTakenBackWithoutLoadingItAgain(t *testing.T) {
	g := newGates(t)
	close(g.gate("registry://h/p:v1"))
	e := newEngine(t, Options{Fetch: g.fetch})
	one := guestRevision("p", "registry://h/p:v1", 1)
	one.Bundles = []string{"validate-old"}
	mustApply(t, e, one)
	broken := builtinPolicy("p", "nope", "")
	broken.Bundles = []string{"validate-new"}
	if err := e.Load(t.Context(), broken); err == nil {
		t.Error("Load of a module that nobody has = nil")
	}
	if s, _ := e.Status("p"); s.State != Stale || !e.HasBundle("validate-old") || !e.HasBundle("validate-new") {
		t.Errorf("status = %+v, want it stale and in both bundles", s)
	}
	one.Mode = policy.Monitor
	if err := e.Load(t.Context(), one); err != nil {
		t.Error(err)
	}
	if s, _ := e.Status("p"); s.State != Loaded || s.Mode != policy.Monitor || g.count.Load() != 1 || e.HasBundle("validate-new") {
		t.Errorf("status = %+v after %d fetches, want it loaded with one", s, g.count.Load())
	}
	checkNothingHeld(t, e)
}

func TestStatusOfAnUnknownPolicy(t *testing.T) {
	e := newEngine(t, Options{})
	if s, ok := e.Status("nope"); ok {
		t.Errorf("Status = %+v, want none", s)
	}
}
