package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// shelf is a host of modules: what it has, by URI, and who asked for what.
type shelf struct {
	mu      sync.Mutex
	modules map[string]Fetched
	asked   []string
}

func (s *shelf) put(uri string, got Fetched) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.modules[uri] = got
}

func (s *shelf) fetch(_ context.Context, uri string) (Fetched, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, uri)
	got, ok := s.modules[uri]
	if !ok {
		return Fetched{}, errors.New("404 Not Found")
	}
	return got, nil
}

func newShelf() *shelf { return &shelf{modules: map[string]Fetched{}} }

func portableModule(t *testing.T) []byte {
	t.Helper()
	wasm, err := os.ReadFile(strings.TrimPrefix(portable(t, sdktest.WaPC), "file://"))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// come makes the time of the next attempt come for every policy.
func come(e *Engine) {
	for _, ent := range e.state.Load().byID {
		ent.retry = time.Now().Add(-time.Second)
	}
}

func TestFiftyPoliciesOverTwentyModulesFetchEachModuleOnce(t *testing.T) {
	host := newShelf()
	wasm := portableModule(t)
	var policies []policy.Policy
	for i := range 50 {
		uri := fmt.Sprintf("registry://example.com/policies/p%d:v1", i%20)
		host.put(uri, Fetched{Wasm: wasm, Reference: uri + "@sha256:0"})
		policies = append(policies, guestRevision(fmt.Sprint("p", i), uri, i))
	}
	e := newEngine(t, Options{Fetch: host.fetch})
	mustApply(t, e, policies...)
	if len(host.asked) != 20 || len(slices.Compact(slices.Sorted(slices.Values(host.asked)))) != 20 {
		t.Errorf("%d modules were fetched, want 20, each once: %q", len(host.asked), host.asked)
	}
	if n := len(e.modules.byDigest); n != 1 {
		t.Errorf("%d modules were compiled, want the one that all 20 are", n)
	}
	for _, i := range []int{0, 19, 20, 49} {
		if n, err := revisionOf(evaluate(t, e, policy.ID(fmt.Sprint("p", i)), plainPod(t))); n != i || err != nil {
			t.Errorf("policy %d answers as %d, %v", i, n, err)
		}
	}
	mustApply(t, e, policies...)
	if len(host.asked) != 20 {
		t.Errorf("%d modules were fetched by a change that changes nothing, want none", len(host.asked)-20)
	}
}

func TestAModuleThatCannotBeFetchedCostsItsPolicyAloneAndIsFetchedLater(t *testing.T) {
	const uri = "registry://example.com/policies/late:v1"
	host, registry := newShelf(), prometheus.NewRegistry()
	e := newEngine(t, Options{Fetch: host.fetch, Metrics: registry})
	err := e.Apply(t.Context(), []policy.Policy{guestRevision("late", uri, 1), revision("other", 1)})
	const want = `policy "late": fetch: Error while downloading policy 'late' from ` + uri + `: 404 Not Found`
	if err == nil || err.Error() != want {
		t.Errorf("Apply = %v, want %s", err, want)
	}
	if n, err := revisionOf(evaluate(t, e, "other", plainPod(t))); n != 1 || err != nil {
		t.Errorf("the other policy answers as %d, %v", n, err)
	}
	message := messageOf(evaluate(t, e, "late", plainPod(t)).Response)
	if want := "bootstrap failure: late: Error while downloading policy 'late' from " + uri + ": 404 Not Found"; !strings.HasPrefix(message, want) {
		t.Errorf("message = %q, want it to begin with %q", message, want)
	}
	if lines := samples(t, registry); !slices.Contains(lines, `warder_policy_load_failed{policy="late",stage="fetch"} 1`) {
		t.Errorf("metrics do not name the policy: %q", lines)
	}
	s := e.Statuses()[0]
	if s.State != Failed || s.Stage != StageFetch || s.Retry == nil || s.Retry.Before(time.Now()) {
		t.Errorf("status = %+v, want it failed at fetch with a retry to come", s)
	}
	if e.Refresh(t.Context()); len(host.asked) != 1 {
		t.Errorf("asked %d times, want once before the time for another attempt has come", len(host.asked))
	}
	come(e)
	if changed := e.Refresh(t.Context()); !changed || len(host.asked) != 2 || e.state.Load().byID["late"].failures != 2 {
		t.Errorf("Refresh = %t after %d attempts, %+v", changed, len(host.asked), e.Statuses()[0])
	}
	host.put(uri, Fetched{Wasm: portableModule(t), Reference: "registry://example.com/policies/late@sha256:1"})
	come(e)
	e.Refresh(t.Context())
	if n, err := revisionOf(evaluate(t, e, "late", plainPod(t))); n != 1 || err != nil {
		t.Errorf("after the registry has come back: %d, %v", n, err)
	}
	if s := e.Statuses()[0]; s.State != Loaded || s.Retry != nil || s.Reference == "" {
		t.Errorf("status = %+v, want it loaded, with its reference", s)
	}
	come(e)
	if e.Refresh(t.Context()) || len(host.asked) != 3 {
		t.Error("a policy that is as it should be was loaded again")
	}
}

func TestAModuleFromTheStoreServesAndItsHostIsAskedAgain(t *testing.T) {
	const uri = "registry://example.com/policies/p:latest"
	host, registry := newShelf(), prometheus.NewRegistry()
	host.put(uri, Fetched{Wasm: portableModule(t), Away: errors.New("connection refused")})
	e := newEngine(t, Options{Fetch: host.fetch, Metrics: registry})
	mustApply(t, e, guestRevision("p", uri, 1))
	if n, err := revisionOf(evaluate(t, e, "p", plainPod(t))); n != 1 || err != nil {
		t.Errorf("the policy answers as %d, %v", n, err)
	}
	if s := e.Statuses()[0]; s.State != Loaded || s.Away != "connection refused" || s.Retry == nil {
		t.Errorf("status = %+v, want it loaded, with the reason and a retry to come", s)
	}
	if lines := samples(t, registry); !slices.Contains(lines, `warder_policy_module_away{policy="p"} 1`) {
		t.Errorf("metrics do not name the policy: %q", lines)
	}
	host.put(uri, Fetched{Wasm: portableModule(t)})
	come(e)
	e.Refresh(t.Context())
	if s := e.Statuses()[0]; s.Away != "" || s.Retry != nil {
		t.Errorf("status = %+v, want nothing of the registry that was away", s)
	}
}

func TestARevisionThatDidNotLoadIsTriedAgainWhileTheOldOneServes(t *testing.T) {
	const uri = "registry://example.com/policies/p:v2"
	host := newShelf()
	e := newEngine(t, Options{Fetch: host.fetch})
	mustApply(t, e, revision("p", 1))
	newer := guestRevision("p", uri, 2)
	for range 2 {
		if err := e.Load(t.Context(), newer); err == nil {
			t.Fatal("a module was loaded that nobody has")
		}
		if n, err := revisionOf(evaluate(t, e, "p", plainPod(t))); n != 1 || err != nil {
			t.Errorf("meanwhile revision %d answers, %v", n, err)
		}
	}
	host.put(uri, Fetched{Wasm: portableModule(t)})
	come(e)
	e.Refresh(t.Context())
	if n, err := revisionOf(evaluate(t, e, "p", plainPod(t))); n != 2 || err != nil {
		t.Errorf("revision %d answers, %v, want 2", n, err)
	}
}

func TestARefreshDoesNotUndoAChangeThatWasMadeMeanwhile(t *testing.T) {
	const uri = "registry://example.com/policies/p:v1"
	asked, answer := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	wasm := portableModule(t)
	e := newEngine(t, Options{Fetch: func(context.Context, string) (Fetched, error) {
		if calls.Add(1) == 1 {
			return Fetched{}, errors.New("not yet")
		}
		close(asked)
		<-answer
		return Fetched{Wasm: wasm}, nil
	}})
	_ = e.Apply(t.Context(), []policy.Policy{guestRevision("p", uri, 1), revision("gone", 1)}) // the module is not there yet
	come(e)
	done := make(chan bool)
	go func() { done <- e.Refresh(context.Background()) }()
	<-asked
	mustApply(t, e, revision("p", 7)) // is not held up
	close(answer)
	if <-done {
		t.Error("Refresh says that it has changed something")
	}
	if n, err := revisionOf(evaluate(t, e, "p", plainPod(t))); n != 7 || err != nil {
		t.Errorf("revision %d answers, %v, want 7", n, err)
	}
	if n := len(e.modules.byDigest); n != 0 || e.Has("gone") {
		t.Errorf("%d modules are held, and the policy that was removed is there: %t", n, e.Has("gone"))
	}
}

func TestRetriesComeLessOftenUpToABound(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		1: firstRetry, 2: 2 * firstRetry, 5: 16 * firstRetry, 8: 128 * firstRetry, 9: lastRetry, 10: lastRetry, 1000000: lastRetry,
	} {
		if have := retryAfter(failures); have < want*9/10 || have > want*11/10 {
			t.Errorf("after %d failures: %s, want about %s", failures, have, want)
		}
	}
}

func TestAModuleThatChangesIsLoadedAtOnceAndOneThatDidNotLoadWaits(t *testing.T) {
	const uri = "registry://example.com/policies/p:v1"
	host := newShelf()
	var stamp atomic.Value
	stamp.Store("1")
	host.put(uri, Fetched{Wasm: portableModule(t)})
	e := newEngine(t, Options{Fetch: host.fetch, Stamp: func(string) string { return stamp.Load().(string) }})
	mustApply(t, e, guestRevision("p", uri, 1))
	if e.Refresh(t.Context()) {
		t.Error("something was loaded again that has not changed")
	}
	host.put(uri, Fetched{Wasm: []byte("MZ")})
	stamp.Store("2")
	if !e.Refresh(t.Context()) || e.Statuses()[0].State != Stale {
		t.Errorf("status = %+v, want it stale", e.Statuses()[0])
	}
	if e.Refresh(t.Context()) || len(host.asked) != 2 {
		t.Errorf("asked %d times, want no attempt before its time with the same stamp", len(host.asked))
	}
	host.put(uri, Fetched{Wasm: portableModule(t)})
	stamp.Store("3")
	if !e.Refresh(t.Context()) || e.Statuses()[0].State != Loaded {
		t.Errorf("status = %+v, want it loaded", e.Statuses()[0])
	}
}

func TestAModuleThatIsNotSignedAnyMoreDoesNotGoOn(t *testing.T) {
	const uri, other = "registry://example.com/policies/p:v1", "registry://example.com/policies/p:v2"
	unsigned := &artifact.VerifyError{Problem: "Image verification failed: missing signatures"}
	var verification atomic.Pointer[artifact.VerifyError]
	var stamp atomic.Value
	stamp.Store("1")
	wasm := portableModule(t)
	registry := prometheus.NewRegistry()
	e := newEngine(t, Options{
		Stamp: func(string) string { return stamp.Load().(string) }, Metrics: registry,
		Fetch: func(_ context.Context, asked string) (Fetched, error) {
			if err := verification.Load(); err != nil {
				return Fetched{}, fmt.Errorf("pull %s: %w", asked, err)
			}
			return Fetched{Wasm: wasm}, nil
		},
	})
	mustApply(t, e, guestRevision("p", uri, 1))
	verification.Store(unsigned)

	// Another module that nobody has signed does not take the place of this one.
	if err := e.Load(t.Context(), guestRevision("p", other, 2)); err == nil {
		t.Fatal("an unsigned module was loaded")
	}
	if n, err := revisionOf(evaluate(t, e, "p", plainPod(t))); n != 1 || err != nil {
		t.Errorf("revision %d answers, %v, want the one that was signed", n, err)
	}
	if s := e.Statuses()[0]; s.State != Stale || s.Stage != StageVerify {
		t.Errorf("status = %+v, want it stale at verify", s)
	}

	// The same module, which is held to other signers now.
	mustNotVerify := func(change func()) {
		t.Helper()
		change()
		message := messageOf(evaluate(t, e, "p", plainPod(t)).Response)
		const want = "bootstrap failure: p: Policy 'p' cannot be verified: pull " + uri + ": Image verification failed: missing signatures"
		if !strings.HasPrefix(message, want) {
			t.Errorf("message = %q, want it to begin with %q", message, want)
		}
		if s := e.Statuses()[0]; s.State != Failed || s.Stage != StageVerify {
			t.Errorf("status = %+v, want it failed at verify", s)
		}
	}
	verification.Store(nil)
	mustApply(t, e, guestRevision("p", uri, 1))
	verification.Store(unsigned)
	mustNotVerify(func() { stamp.Store("2"); e.Refresh(t.Context()) })
	if lines := samples(t, registry); !slices.Contains(lines, `warder_policy_load_failed{policy="p",stage="verify"} 1`) {
		t.Errorf("metrics do not say so: %q", lines)
	}
	verification.Store(nil)
	stamp.Store("3")
	if e.Refresh(t.Context()); e.Statuses()[0].State != Loaded {
		t.Errorf("status = %+v, want it loaded again", e.Statuses()[0])
	}
}

func TestAStampThatChangesBackDuringARefreshClosesNothing(t *testing.T) {
	var stamps []string // the next ones; then "same"
	stamp := func(string) string {
		if len(stamps) == 0 {
			return "same"
		}
		next := stamps[0]
		stamps = stamps[1:]
		return next
	}
	e := newEngine(t, Options{Stamp: stamp})
	mustApply(t, e, revision("p", 1))
	for range 3 {
		stamps = []string{"other"} // when it is looked for, and never again
		if e.Refresh(t.Context()) {
			t.Error("a policy was replaced by itself")
		}
		if refs := e.state.Load().byID["p"].refs.Load(); refs != 1 {
			t.Fatalf("the policy that serves is held %d times, want once", refs)
		}
	}
}

func TestARegistryThatDoesNotAnswerDoesNotHoldUpTheOthers(t *testing.T) {
	wasm := portableModule(t)
	silent := make(chan struct{})
	var waiting atomic.Int32
	e := newEngine(t, Options{Workers: 1, Fetch: func(ctx context.Context, uri string) (Fetched, error) {
		if !strings.Contains(uri, "silent") {
			return Fetched{Wasm: wasm}, nil
		}
		waiting.Add(1)
		select {
		case <-silent:
		case <-ctx.Done():
		}
		return Fetched{}, errors.New("no answer")
	}})
	var policies []policy.Policy
	for i := range 6 {
		policies = append(policies, guestRevision(fmt.Sprint("lost", i), fmt.Sprintf("registry://silent/p%d:v1", i), 1))
	}
	policies = append(policies, guestRevision("there", "registry://there/p:v1", 1))
	done := make(chan error)
	go func() { done <- e.Apply(context.Background(), policies) }()
	for deadline := time.Now().Add(time.Minute); waiting.Load() < 6; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait for the registry at the same time, want 6 with one worker", waiting.Load())
		}
	}
	close(silent)
	if err := <-done; err == nil {
		t.Error("Apply = nil, want that the registry gives no answer")
	}
	if n, err := revisionOf(evaluate(t, e, "there", plainPod(t))); n != 1 || err != nil {
		t.Errorf("the other policy answers %d, %v", n, err)
	}
}
