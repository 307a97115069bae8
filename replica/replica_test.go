package replica

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
)

// recorded is a real engine that keeps what it was asked to load.
type recorded struct {
	*engine.Engine
	before func(p policy.Policy) // called before each load; nil for nothing

	mu    sync.Mutex
	loads []policy.Policy
	tried map[policy.ID]policy.Policy // what was loaded last, by ID
}

func newEngine(t testing.TB) *recorded {
	t.Helper()
	e, err := engine.New(engine.Options{Fetch: func(ctx context.Context, uri string) (engine.Fetched, error) {
		if uri != hangs {
			return engine.Fetched{}, fmt.Errorf("module %q: there is none", uri)
		}
		<-ctx.Done()
		return engine.Fetched{}, ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return &recorded{Engine: e, tried: map[policy.ID]policy.Policy{}}
}

func (e *recorded) Load(ctx context.Context, p policy.Policy) error {
	if e.before != nil {
		e.before(p)
	}
	err := e.Engine.Load(ctx, p)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.loads = append(e.loads, p)
	e.tried[p.ID] = p
	return err
}

// count returns how often a policy was loaded.
func (e *recorded) count(id policy.ID) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.loads {
		if p.ID == id {
			n++
		}
	}
	return n
}

// last returns what was loaded last of a policy.
func (e *recorded) last(id policy.ID) policy.Policy {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tried[id]
}

// server returns the PolicyServer "default".
func server() *v1.PolicyServer {
	return &v1.PolicyServer{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
}

// clusterPolicy returns a policy of the cluster, of the PolicyServer "default".
func clusterPolicy(name, module, settings string) *v1.ClusterAdmissionPolicy {
	p := &v1.ClusterAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.PolicyServer, p.Spec.Module = "default", module
	if settings != "" {
		p.Spec.Settings = runtime.RawExtension{Raw: []byte(settings)}
	}
	p.Spec.Rules = []v1.Rule{{
		Operations: []v1.Operation{"CREATE"}, APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"},
	}}
	return p
}

const (
	privileged = "builtin://pod-privileged"
	labels     = "builtin://safe-labels"
	nowhere    = "builtin://nowhere"
	hangs      = "https://registry.example.com/policy.wasm" // never answers
)

func wantLabel(name string) string { return fmt.Sprintf(`{"mandatory_labels":[%q]}`, name) }

// running is a replica that runs until the test ends.
type running struct {
	*Replica
	api    *apiServer
	engine *recorded
	log    *logText
	ready  chan struct{}
	stop   func()
}

type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func options(api *apiServer, e Engine, log *logText) Options {
	return Options{
		Config: api.config(), PolicyServer: "default", Namespace: "warder", Name: "r", Engine: e,
		LeaseDuration: time.Second, Linger: time.Second, Log: slog.New(slog.NewTextHandler(log, nil)),
	}
}

func start(t *testing.T, api *apiServer, change ...func(*Options)) *running {
	t.Helper()
	r := &running{api: api, engine: newEngine(t), log: &logText{}, ready: make(chan struct{})}
	o := options(api, r.engine, r.log)
	for _, c := range change {
		c(&o)
	}
	var err error
	if r.Replica, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx, func() { close(r.ready) })
	}()
	r.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	t.Cleanup(r.stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", r.log)
		}
	})
	return r
}

func (r *running) isReady() bool {
	select {
	case <-r.ready:
		return true
	default:
		return false
	}
}

// holds waits until the last report has something.
func (r *running) holds(t *testing.T, what string, holds func(s v1alpha1.ReplicaStatus) bool) v1alpha1.ReplicaStatus {
	t.Helper()
	var last v1alpha1.PolicyServerReplica
	defer func() {
		if t.Failed() {
			text, _ := json.MarshalIndent(last.Status, "", " ")
			t.Logf("last report: %s", text)
		}
	}()
	eventually(t, what, func() bool {
		var ok bool
		last, ok = r.api.report()
		return ok && holds(last.Status)
	})
	return last.Status
}

func observed(s v1alpha1.ReplicaStatus, resource string) string {
	for _, o := range s.Observed {
		if o.Resource == resource {
			return o.ResourceVersion
		}
	}
	return ""
}

func TestPoliciesOfTheServerAreServedAndReported(t *testing.T) {
	for name, streams := range map[string]bool{"lists are streamed": true, "lists are not streamed": false} {
		t.Run(name, func(t *testing.T) {
			api := newAPIServer(t)
			api.streams = streams
			api.put(server())
			mine := api.put(clusterPolicy("mine", privileged, ""))
			other := clusterPolicy("other", privileged, "")
			other.Spec.PolicyServer = "somebody-else"
			api.put(other)
			api.put(clusterPolicy("broken", nowhere, ""))
			r := start(t, api)
			eventually(t, "ready", r.isReady)
			s := r.holds(t, "policies are reported", func(s v1alpha1.ReplicaStatus) bool { return s.Ready && s.Policies == 2 && s.Failed == 1 })
			if len(s.Exceptions) != 1 || s.Exceptions[0].Policy != "kw.cap.broken" || s.Exceptions[0].State != v1alpha1.Failed ||
				s.Exceptions[0].Stage != "fetch" || s.Exceptions[0].Generation != 1 || !strings.HasPrefix(s.Exceptions[0].Message, `module "builtin://nowhere": `) {
				t.Errorf("exceptions = %+v, want the broken one", s.Exceptions)
			}
			if at := observed(s, "clusteradmissionpolicies"); at < mine.GetResourceVersion() {
				t.Errorf("observed %s of the policies, want at least %s", at, mine.GetResourceVersion())
			}
			if !r.engine.Has("kw.cap.mine") || r.engine.Has("kw.cap.other") {
				t.Error("want the server's policies in the engine and no others")
			}
			later := api.put(clusterPolicy("later", labels, wantLabel("team")))
			r.holds(t, "what comes later is taken up", func(s v1alpha1.ReplicaStatus) bool {
				return s.Policies == 3 && s.Failed == 1 && observed(s, "clusteradmissionpolicies") == later.GetResourceVersion()
			})
			if p := r.engine.last("kw.cap.later"); string(p.Settings) != wantLabel("team") || len(p.Bundles) != 1 {
				t.Errorf("loaded %+v, want the settings and one bundle", p)
			}
		})
	}
}

func TestReadyIsReportedBeforeTheLastListAndOnlyThenAnswered(t *testing.T) {
	api := newAPIServer(t)
	api.put(server())
	var once sync.Once
	api.check = func(s v1alpha1.ReplicaStatus) {
		if s.Ready { // somebody makes a policy in the very moment, and drops its watches
			once.Do(func() { api.put(clusterPolicy("late", privileged, "")) })
		}
	}
	r := start(t, api)
	eventually(t, "ready", r.isReady)
	if !r.engine.Has("kw.cap.late") {
		t.Error("ready without a policy that was there when the report was taken")
	}
	log := api.asked()
	at := slices.Index(log, "report ready=true")
	for _, resource := range resources() {
		if !slices.Contains(log[at+1:], "list "+resource) {
			t.Errorf("asked %q: want %s listed after the report says ready", log, resource)
		}
	}
}

func TestNothingIsLoadedAgainForAChangeOfStatusOrLabels(t *testing.T) {
	api := newAPIServer(t)
	api.put(server())
	p := clusterPolicy("p", privileged, "")
	api.put(p)
	r := start(t, api)
	eventually(t, "ready", r.isReady)
	p.Status.PolicyStatus = v1.Active
	p.Labels = map[string]string{"a": "b"}
	at := api.put(p).GetResourceVersion()
	r.holds(t, "the change is observed", func(s v1alpha1.ReplicaStatus) bool { return observed(s, "clusteradmissionpolicies") == at })
	p.Spec.BackgroundAudit = true // a new generation, of which the server uses nothing
	p.Generation = 2
	at = api.put(p).GetResourceVersion()
	r.holds(t, "the generation is observed", func(s v1alpha1.ReplicaStatus) bool { return observed(s, "clusteradmissionpolicies") == at })
	if n := r.engine.count("kw.cap.p"); n != 1 {
		t.Errorf("loaded %d times, want once", n)
	}
}

func TestTheNewestRevisionIsLoadedAfterTheOneUnderWay(t *testing.T) {
	api := newAPIServer(t)
	api.put(server())
	p := clusterPolicy("p", labels, wantLabel("v1"))
	api.put(p)
	r := start(t, api)
	eventually(t, "ready", r.isReady)
	entered, release := make(chan struct{}), make(chan struct{})
	r.engine.before = func(p policy.Policy) {
		if strings.Contains(string(p.Settings), "v2") {
			close(entered)
			<-release
		}
	}
	change := func(settings string) {
		p.Generation++
		p.Spec.Settings.Raw = []byte(wantLabel(settings))
		api.put(p)
	}
	p.Generation = 1
	change("v2")
	<-entered
	r.holds(t, "it is being loaded", func(s v1alpha1.ReplicaStatus) bool {
		return len(s.Exceptions) == 1 && s.Exceptions[0].State == v1alpha1.Loading && s.Exceptions[0].Generation == 2
	})
	change("v3")
	change("v4")
	r.holds(t, "the newest is meant", func(s v1alpha1.ReplicaStatus) bool {
		return len(s.Exceptions) == 1 && s.Exceptions[0].Generation == 4
	})
	close(release)
	r.holds(t, "nothing is left", func(s v1alpha1.ReplicaStatus) bool { return len(s.Exceptions) == 0 })
	if n := r.engine.count("kw.cap.p"); n != 3 {
		t.Errorf("loaded %d times, want 3: v1, v2 and v4", n)
	}
	if have := string(r.engine.last("kw.cap.p").Settings); have != wantLabel("v4") {
		t.Errorf("settings %s, want those of v4", have)
	}
}

func TestADeletedPolicyIsServedForAWhile(t *testing.T) {
	api := newAPIServer(t)
	api.put(server())
	p := clusterPolicy("p", privileged, "")
	api.put(p)
	r := start(t, api, func(o *Options) { o.Linger = time.Hour })
	eventually(t, "ready", r.isReady)
	p.DeletionTimestamp = new(metav1.Now())
	p.Generation = 2
	at := api.put(p).GetResourceVersion()
	r.holds(t, "deletion is observed", func(s v1alpha1.ReplicaStatus) bool {
		return observed(s, "clusteradmissionpolicies") == at && s.Policies == 1
	})
	api.delete(p)
	r.holds(t, "it is not counted any more", func(s v1alpha1.ReplicaStatus) bool { return s.Policies == 0 })
	if !r.engine.Has("kw.cap.p") {
		t.Error("the policy is unloaded at once")
	}
}

func TestWhatHappensWhileTheWatchIsLostIsTakenUp(t *testing.T) {
	api := newAPIServer(t)
	api.put(server())
	gone, changed := clusterPolicy("gone", privileged, ""), clusterPolicy("changed", labels, wantLabel("v1"))
	api.put(gone)
	api.put(changed)
	r := start(t, api, func(o *Options) { o.Linger = time.Millisecond })
	eventually(t, "ready", r.isReady)
	api.forget(func() {
		api.delete(gone)
		changed.Generation, changed.Spec.Settings.Raw = 2, []byte(wantLabel("v2"))
		api.put(changed)
		api.put(clusterPolicy("new", privileged, ""))
	})
	eventually(t, "the policies are those that there are", func() bool {
		return !r.engine.Has("kw.cap.gone") && r.engine.Has("kw.cap.new") && string(r.engine.last("kw.cap.changed").Settings) == wantLabel("v2")
	})
	r.holds(t, "the report says so", func(s v1alpha1.ReplicaStatus) bool { return s.Policies == 2 && len(s.Exceptions) == 0 })
}

func TestABookmarkIsObserved(t *testing.T) {
	api := newAPIServer(t)
	api.put(server())
	r := start(t, api, func(o *Options) { o.Heartbeat = 50 * time.Millisecond })
	eventually(t, "ready", r.isReady)
	other := clusterPolicy("other", privileged, "")
	other.Spec.PolicyServer = "somebody-else"
	at := api.put(other).GetResourceVersion()
	api.change(func() { api.marks++ })
	r.holds(t, "the bookmark is observed", func(s v1alpha1.ReplicaStatus) bool { return observed(s, "admissionpolicies") == at })
}

func TestAReportThatIsLostIsMadeAgainAndGoesAtTheEnd(t *testing.T) {
	api := newAPIServer(t)
	api.put(server())
	r := start(t, api, func(o *Options) { o.Heartbeat = 50 * time.Millisecond })
	eventually(t, "ready", r.isReady)
	api.change(func() { clear(api.reports) })
	r.holds(t, "the report is there again", func(s v1alpha1.ReplicaStatus) bool { return s.Ready })
	r.stop()
	if _, ok := api.report(); ok {
		t.Error("the report is there after the end")
	}
	if log := api.asked(); log[len(log)-1] != "delete report" {
		t.Errorf("the last that was asked is %q, want the report deleted", log[len(log)-1])
	}
}

func TestAReplicaThatCannotReportServesNevertheless(t *testing.T) {
	for name, tt := range map[string]struct {
		code int
		want string
	}{
		"forbidden":  {http.StatusForbidden, "needs the verbs create, patch and delete on policyserverreplicas.policies.warder.dev in namespace"},
		"no such":    {http.StatusNotFound, "the CustomResourceDefinition policyserverreplicas.policies.warder.dev or the namespace"},
		"overloaded": {http.StatusServiceUnavailable, "report not written"},
	} {
		t.Run(name, func(t *testing.T) {
			api := newAPIServer(t)
			api.put(server())
			api.put(clusterPolicy("p", privileged, ""))
			api.refuse = func(verb, resource string) int {
				if resource == v1alpha1.ResourceReplicas {
					return tt.code
				}
				return 0
			}
			r := start(t, api)
			eventually(t, "ready", r.isReady)
			for _, want := range []string{tt.want, "this replica serves although it cannot report"} {
				if n := strings.Count(r.log.String(), want); n != 1 {
					t.Errorf("log has %q %d times, want once", want, n)
				}
			}
			api.change(func() { api.refuse = func(_, _ string) int { return 0 } })
			r.holds(t, "it reports once it can", func(s v1alpha1.ReplicaStatus) bool { return s.Ready && s.Policies == 1 })
		})
	}
}

func TestWithoutItsPolicyServerNothingIsLoaded(t *testing.T) {
	api := newAPIServer(t)
	ns := &v1.AdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "web"}}
	ns.Spec = v1.AdmissionPolicySpec{SingleSpec: clusterPolicy("p", privileged, "").Spec.SingleSpec}
	api.put(ns)
	r := start(t, api)
	s := r.holds(t, "the policy waits", func(s v1alpha1.ReplicaStatus) bool { return len(s.Exceptions) == 1 && len(s.Observed) == 5 })
	if s.Exceptions[0].State != v1alpha1.Loading || s.Exceptions[0].Message != "the PolicyServer default does not exist" || s.Ready {
		t.Errorf("status %+v, want it not ready and the policy loading", s)
	}
	ps := server()
	ps.Spec.NamespacedPoliciesCapabilities = []string{}
	api.put(ps)
	eventually(t, "ready", r.isReady)
	if have := r.engine.last("kw.ap.web.p").HostCapabilities; len(have) != 0 {
		t.Errorf("capabilities %q, want none", have)
	}
	ps.Spec.NamespacedPoliciesCapabilities = []string{"oci/*"}
	api.put(ps)
	eventually(t, "the change of the server is taken up", func() bool {
		return slices.Equal(r.engine.last("kw.ap.web.p").HostCapabilities, []string{"oci/*"})
	})
	api.delete(ps)
	eventually(t, "the end of the server is noticed", func() bool { return strings.Contains(r.log.String(), "does not exist any more") })
	if !r.engine.Has("kw.ap.web.p") {
		t.Error("the policies went with the policy server")
	}
}

func TestAnInvalidRevisionLeavesTheOldOne(t *testing.T) {
	api := newAPIServer(t)
	api.put(server())
	p := clusterPolicy("p", labels, wantLabel("v1"))
	api.put(p)
	r := start(t, api)
	eventually(t, "ready", r.isReady)
	p.Generation, p.Spec.Rules[0].Resources = 2, []string{"*", "pods"}
	api.put(p)
	s := r.holds(t, "it is refused", func(s v1alpha1.ReplicaStatus) bool { return s.Failed == 1 })
	if e := s.Exceptions[0]; e.State != v1alpha1.Failed || e.Stage != "spec" || e.Generation != 2 || !strings.HasPrefix(e.Message, "rules[0].resources[1]: ") {
		t.Errorf("exception %+v, want rules[0].resources[1] failed", e)
	}
	if n := r.engine.count("kw.cap.p"); n != 1 {
		t.Errorf("loaded %d times, want once", n)
	}
	p.Generation, p.Spec.Rules[0].Resources = 3, []string{"pods"}
	api.put(p)
	r.holds(t, "it is mended", func(s v1alpha1.ReplicaStatus) bool { return s.Failed == 0 && len(s.Exceptions) == 0 })
}

func TestWhatTheEngineDoesByItselfIsReported(t *testing.T) {
	api := newAPIServer(t)
	api.put(server())
	api.put(clusterPolicy("p", nowhere, ""))
	r := start(t, api)
	eventually(t, "ready", r.isReady)
	r.holds(t, "it has failed", func(s v1alpha1.ReplicaStatus) bool { return s.Failed == 1 })
	good := r.engine.last("kw.cap.p")
	good.Module = privileged
	if err := r.engine.Engine.Load(t.Context(), good); err != nil { // as a retry that works does
		t.Fatal(err)
	}
	r.Changed()
	r.holds(t, "it is loaded", func(s v1alpha1.ReplicaStatus) bool { return s.Failed == 0 })
}

// A report must never say that something was taken up which is not served, and
// is no exception.
func TestNoReportClaimsMoreThanIsServed(t *testing.T) {
	api := newAPIServer(t)
	api.put(server())
	r := &running{api: api, engine: newEngine(t), log: &logText{}, ready: make(chan struct{})}
	r.engine.before = func(policy.Policy) { <-time.After(3 * time.Millisecond) }
	versions := sync.Map{} // resource version and settings of each policy, by ID
	type made struct {
		version, settings string
		generation        int64
	}
	wrong := make(chan string, 100)
	api.check = func(s v1alpha1.ReplicaStatus) {
		at := observed(s, "clusteradmissionpolicies")
		versions.Range(func(id, all any) bool {
			var last made
			for _, m := range all.([]made) {
				if len(m.version) < len(at) || len(m.version) == len(at) && m.version <= at {
					last = m
				}
			}
			except := slices.ContainsFunc(s.Exceptions, func(e v1alpha1.Exception) bool { return e.Policy == string(id.(policy.ID)) })
			p := r.engine.last(id.(policy.ID))
			var n int
			if _, err := fmt.Sscanf(string(p.Settings), `{"mandatory_labels":["v%d"]}`, &n); err != nil {
				n = 0
			}
			if last.version != "" && !except && int64(n) < last.generation {
				select {
				case wrong <- fmt.Sprintf("%s: observed %s and no exception, but generation %d is served and not %d", id, at, n, last.generation):
				default:
				}
			}
			return true
		})
	}
	o := options(api, r.engine, r.log)
	var err error
	if r.Replica, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx, func() { close(r.ready) })
	}()
	defer func() {
		cancel()
		<-ended
	}()
	eventually(t, "ready", r.isReady)
	var last string
	for generation := range int64(60) {
		for i := range 5 {
			p := clusterPolicy(fmt.Sprintf("p%d", i), labels, wantLabel(fmt.Sprintf("v%d", generation+1)))
			p.Generation = generation + 1
			last = api.put(p).GetResourceVersion()
			id := policy.ID("kw.cap." + p.Name)
			before, _ := versions.Load(id)
			all, _ := before.([]made)
			versions.Store(id, append(slices.Clone(all), made{last, string(p.Spec.Settings.Raw), p.Generation}))
		}
		<-time.After(10 * time.Millisecond)
	}
	r.holds(t, "everything is taken up", func(s v1alpha1.ReplicaStatus) bool {
		return observed(s, "clusteradmissionpolicies") == last && len(s.Exceptions) == 0
	})
	close(wrong)
	for w := range wrong {
		t.Error(w)
	}
}
