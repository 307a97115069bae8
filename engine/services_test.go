package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// podServer is an API server with pods in two namespaces.
type podServer struct {
	*httptest.Server
	mu    sync.Mutex
	lists int
	hold  chan struct{} // lists wait until it is closed; nil lets them through
}

func newPodServer(t *testing.T) *podServer {
	t.Helper()
	s := &podServer{}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *podServer) listed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists
}

// ServeHTTP implements http.Handler.
func (s *podServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	query := r.URL.Query()
	switch {
	case r.URL.Path == "/api/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"v1","resources":[`+
			`{"name":"pods","namespaced":true,"kind":"Pod","verbs":["get","list","watch"]}]}`)
	case r.URL.Path == "/apis/authorization.k8s.io/v1/subjectaccessreviews":
		fmt.Fprint(w, `{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1","metadata":{},"spec":{},"status":{"allowed":true}}`)
	case r.URL.Path != "/api/v1/pods":
		http.NotFound(w, r)
	case query.Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusUnprocessableEntity) // one that is too old for it
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
	case query.Get("watch") != "":
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	default:
		s.mu.Lock()
		s.lists++
		hold := s.hold
		s.mu.Unlock()
		if hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
				return
			}
		}
		fmt.Fprint(w, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[`+
			`{"metadata":{"name":"cart","namespace":"shop"}},{"metadata":{"name":"ledger","namespace":"bank"}}]}`)
	}
}

// services are real ones: this cluster, and a registry with one image.
func (s *podServer) services(t *testing.T) (services capability.Services, image string) {
	t.Helper()
	cluster, err := capability.NewCluster(&rest.Config{Host: s.URL}, capability.ClusterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	handler, err := artifact.NewRegistry(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	registry := httptest.NewServer(handler)
	t.Cleanup(registry.Close)
	host := strings.TrimPrefix(registry.URL, "http://")
	client, err := artifact.NewClient(artifact.ClientOptions{Sources: artifact.Sources{Insecure: []string{host}}, DockerConfig: writeFile(t, "config.json", []byte("{}"))})
	if err != nil {
		t.Fatal(err)
	}
	image = host + "/acme/app:v1"
	if _, err := client.Push(t.Context(), []byte("\x00asm\x01\x00\x00\x00"), image, nil); err != nil {
		t.Fatal(err)
	}
	return capability.Services{Cluster: cluster, Images: client, Cache: capability.NewCache()}, image
}

// asks is a policy that puts one question to the host, and says the answer.
func asks(t *testing.T, form sdktest.Form, capability, payload string) policy.Policy {
	t.Helper()
	namespace, operation, _ := strings.Cut(capability, "/")
	text, err := json.Marshal(map[string]any{"ask": map[string]any{
		"namespace": namespace, "operation": operation, "payload": json.RawMessage(payload),
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := guestPolicy("asks", portable(t, form), script(string(text)))
	p.HostCapabilities = []string{capability}
	p.ContextAwareResources = []policy.Resource{{APIVersion: "v1", Kind: "Pod"}}
	return p
}

const (
	allPods  = `{"api_version":"v1","kind":"Pod"}`
	shopPods = `{"api_version":"v1","kind":"Pod","namespace":"shop"}`
	bankPods = `{"api_version":"v1","kind":"Pod","namespace":"bank"}`
	mayGet   = `{"subject_access_review":{"user":"u","resource_attributes":{"verb":"get","resource":"pods","namespace":"shop"}}}`
)

func TestGuestsAskTheClusterAndRegistriesWithinTheirGrants(t *testing.T) {
	server := newPodServer(t)
	services, image := server.services(t)
	no := func(what string) string { return what + ". The violation has been reported." }
	ungranted := func(p *policy.Policy) { p.HostCapabilities = []string{"net/*"} }
	unread := func(p *policy.Policy) { p.ContextAwareResources = nil }
	inShop := func(p *policy.Policy) { p.Namespace = "shop" }
	tests := []struct {
		name, capability, payload string
		change                    func(*policy.Policy)
		has, hasNot               string
	}{
		{"a list", "kubernetes/list_resources_all", allPods, nil, `"name":"cart"`, "violation"},
		{"the list of a namespace", "kubernetes/list_resources_by_namespace", bankPods, nil, `"name":"ledger"`, "cart"},
		{"a review", "kubernetes/can_i", mayGet, nil, `{"allowed":true}`, ""},
		{"a digest", "oci/v1/manifest_digest", fmt.Sprintf("%q", image), nil, `{"digest":"sha256:`, ""},
		{"a capability that is not granted", "kubernetes/list_resources_all", allPods, ungranted,
			no("Policy has not been granted access to the 'kubernetes/list_resources_all' host capability"), "cart"},
		{"a kind that is not granted", "kubernetes/list_resources_all", allPods, unread,
			no("Policy has not been granted access to Kubernetes v1/Pod resources"), "cart"},
		{"a namespaced policy, all", "kubernetes/list_resources_all", allPods, inShop, `"name":"cart"`, "ledger"},
		{"a namespaced policy, its own", "kubernetes/list_resources_by_namespace", shopPods, inShop, `"name":"cart"`, "ledger"},
		{"a namespaced policy, another", "kubernetes/list_resources_by_namespace", bankPods, inShop,
			no("Policy of namespace 'shop' has not been granted access to namespace 'bank'"), "ledger"},
	}
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		e := newEngine(t, Options{Services: services})
		for _, tt := range tests {
			p := asks(t, form, tt.capability, tt.payload)
			if tt.change != nil {
				tt.change(&p)
			}
			grouped := p
			grouped.ID = "group"
			grouped.Group = &policy.Group{Expression: "asks()", Message: "no", Members: map[string]policy.Policy{"asks": p}}
			grouped.Module, grouped.Settings, grouped.HostCapabilities, grouped.ContextAwareResources = "", nil, nil, nil
			mustApply(t, e, p, grouped)
			alone := messageOf(evaluate(t, e, "asks", plainPod(t)).Response)
			inGroup := evaluate(t, e, "group", plainPod(t)).Response.Status
			if inGroup == nil || len(inGroup.Causes) != 1 {
				t.Errorf("%s: %s: in a group %+v, want a refusal with one cause", form, tt.name, inGroup)
				continue
			}
			for how, message := range map[string]string{"alone": alone, "in a group": inGroup.Causes[0].Message} {
				if !strings.Contains(message, tt.has) || tt.hasNot != "" && strings.Contains(message, tt.hasNot) {
					t.Errorf("%s: %s: %s it is told %q, want %q and not %q", form, tt.name, how, message, tt.has, tt.hasNot)
				}
			}
		}
	}
	if n := server.listed(); n != 1 {
		t.Errorf("pods were listed %d times, want once for all policies", n)
	}
}

const countPods = `package policy
main := {"response": {"uid": "", "allowed": false, "status": {"message": concat(",", [name | data.kubernetes.pods[_][name]])}}}`

func TestRegoIsGivenTheClusterWithinItsGrants(t *testing.T) {
	services, _ := newPodServer(t).services(t)
	e := newEngine(t, Options{Services: services})
	p := policy.Policy{
		ID: "p", Mode: policy.Protect, FailurePolicy: policy.Fail, HostCapabilities: []string{"kubernetes/*"},
		Module:                regoModule(t, countPods, "policy/main", `{"rules":[],"mutating":false,"executionMode":"opa"}`),
		ContextAwareResources: []policy.Resource{{APIVersion: "v1", Kind: "Pod"}},
	}
	judged := func(change func(*policy.Policy)) string {
		t.Helper()
		changed := p
		change(&changed)
		mustApply(t, e, changed)
		return messageOf(evaluate(t, e, "p", &sdk.Request{UID: "u"}).Response)
	}
	if have := judged(func(*policy.Policy) {}); have != "cart,ledger" && have != "ledger,cart" {
		t.Errorf("it sees %q, want both pods", have)
	}
	if have := judged(func(p *policy.Policy) { p.Namespace = "shop" }); have != "cart" {
		t.Errorf("in a namespace it sees %q, want its own pod", have)
	}
	const refused = "Policy has not been granted access to the 'kubernetes/list_resources_all' host capability. The violation has been reported."
	if have := judged(func(p *policy.Policy) { p.HostCapabilities = nil }); !strings.HasPrefix(have, refused) {
		t.Errorf("without the capability: %q, want %q", have, refused)
	}
}

func TestWhatAPolicyReadsIsWatchedFromItsLoadOn(t *testing.T) {
	server := newPodServer(t)
	services, _ := server.services(t)
	e := newEngine(t, Options{Services: services})
	mustApply(t, e, asks(t, sdktest.WaPC, "kubernetes/list_resources_all", allPods))
	for deadline := time.Now().Add(20 * time.Second); server.listed() == 0; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the pods were not listed before the first request")
		}
	}
}

func TestAHostCallEndsWithThePolicysTimeAndGivesItsWorkerBack(t *testing.T) {
	server := newPodServer(t)
	server.hold = make(chan struct{})
	services, _ := server.services(t)
	registry := prometheus.NewRegistry()
	services.Metrics = capability.NewMetrics(registry)
	lines := &logLines{}
	e := newEngine(t, Options{Services: services, Workers: 1, Log: lines.logger()})
	var policies []policy.Policy
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		p := asks(t, form, "kubernetes/list_resources_all", allPods)
		p.ID, p.Timeout = policy.ID(form), 300*time.Millisecond
		policies = append(policies, p)
	}
	other := revision("other", 1)
	other.HostCapabilities = []string{"net/*"} // it needs a worker
	mustApply(t, e, append(policies, other)...)
	for _, p := range policies {
		asked := make(chan Decision, 1)
		go func() {
			d, _ := e.Evaluate(context.Background(), p.ID, plainPod(t)) // it is there
			asked <- d
		}()
		if n, err := revisionOf(evaluate(t, e, "other", plainPod(t))); n != 1 || err != nil {
			t.Errorf("%s: meanwhile the other policy answers %d, %v", p.ID, n, err)
		}
		d := <-asked
		if !errors.Is(d.Err, context.DeadlineExceeded) || !strings.HasPrefix(messageOf(d.Response), timeoutText+" (policy ") {
			t.Errorf("%s: %v, message %q, want upstream's text of a timeout", p.ID, d.Err, messageOf(d.Response))
		}
		if len(e.permits) != 0 {
			t.Errorf("%s: %d workers are held by nobody", p.ID, len(e.permits))
		}
	}
	ended := slices.ContainsFunc(samples(t, registry), func(line string) bool {
		return strings.HasPrefix(line, `warder_host_calls_total{capability="kubernetes/list_resources_all",outcome="ended"}`)
	})
	if !ended {
		t.Errorf("metrics have no call that ended: %q", samples(t, registry))
	}
	close(server.hold)
	// What they waited for is there now, for a policy with more time.
	p := policies[0]
	p.Timeout = time.Minute
	mustApply(t, e, p)
	if message := messageOf(evaluate(t, e, p.ID, plainPod(t)).Response); !strings.Contains(message, "cart") {
		t.Errorf("afterwards it is told %q, want the pods", message)
	}
	if bytes.Contains([]byte(lines.String()), []byte("ledger")) {
		t.Error("the log has objects of the cluster in it")
	}
}
