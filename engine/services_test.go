package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// surroundings are a registry and an API server, over HTTP, as policies reach
// them. The API server has one Pod in each of two namespaces; it never answers
// for the Pod "slow", for Secrets, and the registry not for the image "slow".
type surroundings struct {
	image   string // in the registry
	digest  string
	metrics *prometheus.Registry
	services
	engine *Engine

	mu       sync.Mutex
	watching map[string]int // open watches by resource
}

type services = capability.Services

const (
	webPod = `{"metadata":{"name":"web","namespace":"shop"},"spec":{"nodeName":"n1"}}`
	dbPod  = `{"metadata":{"name":"db","namespace":"bank"},"spec":{"nodeName":"n2"}}`
)

func (s *surroundings) serveAPI(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // a server does not notice that a client has gone before
	w.Header().Set("Content-Type", "application/json")
	switch path := r.URL.Path; {
	case path == "/api/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[`+
			`{"name":"pods","kind":"Pod","namespaced":true},{"name":"secrets","kind":"Secret","namespaced":true},{"name":"nodes","kind":"Node","namespaced":false}]}`)
	case strings.HasSuffix(path, "/subjectaccessreviews"):
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1","status":{"allowed":true,"reason":"r"}}`)
	case path == "/api/v1/namespaces/shop/pods/web":
		fmt.Fprint(w, `{"kind":"Pod","apiVersion":"v1",`+webPod[1:])
	case strings.HasSuffix(path, "/slow") || path == "/api/v1/secrets":
		<-r.Context().Done()
	case path == "/api/v1/pods" && r.FormValue("sendInitialEvents") != "":
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
	case path == "/api/v1/pods" && r.FormValue("watch") != "":
		s.watch(w, r)
	case path == "/api/v1/pods":
		fmt.Fprint(w, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[`+dbPod+`,`+webPod+`]}`)
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
	}
}

func (s *surroundings) watch(w http.ResponseWriter, r *http.Request) {
	s.count(1)
	defer s.count(-1)
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush() //nolint:forcetypeassert // net/http's
	<-r.Context().Done()
}

func (s *surroundings) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watching["pods"] += n
}

func (s *surroundings) watches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watching["pods"]
}

// surround makes an engine with one worker whose policies may ask.
func surround(t *testing.T) *surroundings {
	t.Helper()
	s := &surroundings{metrics: prometheus.NewRegistry(), watching: map[string]int{}}
	handler, err := artifact.NewRegistry(t.TempDir(), (&logLines{}).logger())
	if err != nil {
		t.Fatal(err)
	}
	serve := func(h http.HandlerFunc) *httptest.Server {
		server := httptest.NewServer(h)
		t.Cleanup(func() {
			server.CloseClientConnections()
			server.Close()
		})
		return server
	}
	registry := serve(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/slow/") {
			<-r.Context().Done()
			return
		}
		handler.ServeHTTP(w, r)
	})
	host := strings.TrimPrefix(registry.URL, "http://")
	images, err := artifact.NewClient(artifact.ClientOptions{Sources: artifact.Sources{Insecure: []string{host}}, DockerConfig: writeFile(t, "config.json", []byte("{}"))})
	if err != nil {
		t.Fatal(err)
	}
	s.image = host + "/acme/policy:v1"
	reference, err := images.Push(t.Context(), portableModule(t), "registry://"+s.image, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, s.digest, _ = strings.Cut(reference, "@")
	cluster, err := capability.NewCluster(&rest.Config{Host: serve(s.serveAPI).URL}, capability.ClusterOptions{Idle: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	s.services = services{Images: images, Cluster: cluster, Cache: capability.NewCache(), Metrics: capability.NewMetrics(s.metrics)}
	s.engine = newEngine(t, Options{Workers: 1, Services: s.services})
	return s
}

// asking is a policy that makes one call and rejects with what it is told.
func asking(t *testing.T, form sdktest.Form, capability, payload string) policy.Policy {
	t.Helper()
	namespace, operation, _ := strings.Cut(capability, "/")
	p := guestPolicy("p", portable(t, form), script(fmt.Sprintf(`{"ask":{"namespace":%q,"operation":%q,"payload":%s}}`, namespace, operation, payload)))
	p.HostCapabilities = []string{"kubernetes/*", "oci/v1/*"}
	p.ContextAwareResources = []policy.Resource{{APIVersion: "v1", Kind: "Pod"}, {APIVersion: "v1", Kind: "Node"}}
	return p
}

// sees is a policy of Gatekeeper that rejects with the names of what it is given.
func sees(t *testing.T, kind string) policy.Policy {
	t.Helper()
	text := `package policy
violation contains {"msg": concat(" ", sort([sprintf("%s/%s", [ns, name]) | some ns, name; data.inventory.namespace[ns].v1["` + kind + `"][name]]))}`
	return policy.Policy{
		ID: "p", Mode: policy.Protect, HostCapabilities: []string{"kubernetes/*"},
		Module:                regoModule(t, text, "policy/violation", `{"rules":[],"mutating":false,"executionMode":"gatekeeper"}`),
		ContextAwareResources: []policy.Resource{{APIVersion: "v1", Kind: kind}},
	}
}

const violation = " The violation has been reported."

func TestPoliciesAskARegistryAndACluster(t *testing.T) {
	s := surround(t)
	const list, all, get = "kubernetes/list_resources_by_namespace", "kubernetes/list_resources_all", "kubernetes/get_resource"
	of := func(items ...string) string {
		return `{"apiVersion":"v1","kind":"PodList","metadata":{},"items":[` + strings.Join(items, ",") + `]}`
	}
	item := func(pod string) string {
		return `{"apiVersion":"v1","kind":"Pod",` + strings.Replace(pod[1:], `}`, `,"annotations":{},"managedFields":[]}`, 1)
	}
	for _, tt := range []struct{ name, namespace, capability, payload, want string }{
		{"digest", "", "oci/v1/manifest_digest", fmt.Sprintf("%q", s.image), `{"digest":"` + s.digest + `"}`},
		{"capability that is not granted", "", "net/v1/dns_lookup_host", `"localhost"`,
			"Policy has not been granted access to the 'net/v1/dns_lookup_host' host capability." + violation},
		{"capability that is not there", "", "oci/v1/nope", `""`, "unknown operation: v1/nope"},
		{"get", "", get, `{"api_version":"v1","kind":"Pod","name":"web","namespace":"shop"}`, `{"kind":"Pod","apiVersion":"v1",` + webPod[1:]},
		{"get of nothing", "", get, `{"api_version":"v1","kind":"Pod","name":"q","namespace":"shop"}`,
			`Callback evaluation failure: Cannot find v1/Pod named 'q' inside of namespace 'Some("shop")'`},
		{"get of a kind that is not granted", "", get, `{"api_version":"v1","kind":"Secret","name":"web","namespace":"shop"}`,
			"Policy has not been granted access to Kubernetes v1/Secret resources." + violation},
		{"list", "", list, `{"api_version":"v1","kind":"Pod","namespace":"bank"}`, of(item(dbPod))},
		{"list all", "", all, `{"api_version":"v1","kind":"Pod"}`, of(item(dbPod), item(webPod))},
		{"list without kind", "", all, `{"api_version":"v1"}`, "missing field `kind`"},
		{"can_i", "", "kubernetes/can_i", `{"subject_access_review":{"user":"u","resource_attributes":{"resource":"pods","verb":"get"}}}`, `{"allowed":true,"reason":"r"}`},
		{"namespaced, list all", "shop", all, `{"api_version":"v1","kind":"Pod"}`, of(item(webPod))},
		{"namespaced, list of another", "shop", list, `{"api_version":"v1","kind":"Pod","namespace":"bank"}`,
			"Policy of namespace 'shop' has not been granted access to namespace 'bank'." + violation},
		{"namespaced, get of its own", "shop", get, `{"api_version":"v1","kind":"Pod","name":"web","namespace":"shop"}`, `{"kind":"Pod","apiVersion":"v1",` + webPod[1:]},
		{"namespaced, cluster wide", "shop", all, `{"api_version":"v1","kind":"Node"}`,
			"Policy of namespace 'shop' has not been granted access to cluster wide v1/Node resources." + violation},
		{"namespaced, can_i everywhere", "shop", "kubernetes/can_i", `{"subject_access_review":{"user":"u","resource_attributes":{"resource":"pods","verb":"get"}}}`,
			"Policy of namespace 'shop' has not been granted access to all namespaces." + violation},
	} {
		for _, form := range []sdktest.Form{sdktest.WaPC, sdktest.WASI} {
			p := asking(t, form, tt.capability, tt.payload)
			p.Namespace = tt.namespace
			mustApply(t, s.engine, p)
			d := evaluate(t, s.engine, "p", plainPod(t))
			if have := messageOf(d.Response); d.Err != nil || have != tt.want {
				t.Errorf("%s, %s: %v\nhave %s\nwant %s", tt.name, form, d.Err, have, tt.want)
			}
			if tt.namespace != "" {
				continue
			}
			member := p
			member.ID = ""
			mustApply(t, s.engine, groupOf("asks()", map[string]policy.Policy{"asks": member}))
			if diff := cmp.Diff([]string{"spec.policies.asks: " + tt.want}, messages(evaluate(t, s.engine, "g", plainPod(t)).Response.Status.Causes)); diff != "" {
				t.Errorf("%s, %s, in a group (-want +have):\n%s", tt.name, form, diff)
			}
		}
	}
	const calls = `warder_host_calls_total{capability=%q,outcome=%q} %d`
	lines := samples(t, s.metrics)
	for _, want := range []string{
		fmt.Sprintf(calls, "oci/v1/manifest_digest", "answered", 4), fmt.Sprintf(calls, "net/v1/dns_lookup_host", "refused", 4),
		fmt.Sprintf(calls, "unknown", "invalid", 4), fmt.Sprintf(calls, all, "invalid", 4), fmt.Sprintf(calls, get, "failed", 4),
		fmt.Sprintf(calls, get, "refused", 4), fmt.Sprintf(calls, get, "answered", 6),
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no sample %s in\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

func TestRegoIsGivenWhatItsNamespaceAndGrantsLetItSee(t *testing.T) {
	s := surround(t)
	const noGrant = "Policy has not been granted access to the 'kubernetes/list_resources_all' host capability." + violation
	for _, tt := range []struct {
		namespace string
		grants    []string
		want      string
		calls     string
	}{
		{"", []string{"*"}, "bank/db shop/web", `outcome="answered"`},
		{"shop", []string{"kubernetes/*"}, "shop/web", `outcome="answered"`},
		{"", []string{"kubernetes/get_resource"}, noGrant, `outcome="refused"`},
	} {
		p := sees(t, "Pod")
		p.Namespace, p.HostCapabilities = tt.namespace, tt.grants
		mustApply(t, s.engine, p)
		d := evaluate(t, s.engine, "p", plainPod(t))
		if have := messageOf(d.Response); !strings.HasPrefix(have, tt.want) || (d.Err != nil) != (tt.want == noGrant) {
			t.Errorf("namespace %q, grants %q: %q, %v, want %q", tt.namespace, tt.grants, have, d.Err, tt.want)
		}
		if lines := strings.Join(samples(t, s.metrics), "\n"); !strings.Contains(lines, `warder_host_calls_total{capability="kubernetes/list_resources_all",`+tt.calls) {
			t.Errorf("the inventory is not among the calls:\n%s", lines)
		}
	}
}

func TestADeadlineEndsWhatWaitsForARegistryOrACluster(t *testing.T) {
	s := surround(t)
	registry, _, _ := strings.Cut(s.image, "/")
	tests := map[string]policy.Policy{"rego inventory": sees(t, "Secret")}
	for _, form := range []sdktest.Form{sdktest.WaPC, sdktest.WASI} {
		tests[string(form)+" registry"] = asking(t, form, "oci/v1/oci_manifest", fmt.Sprintf("%q", registry+"/slow/image:v1"))
		tests[string(form)+" object"] = asking(t, form, "kubernetes/get_resource", `{"api_version":"v1","kind":"Pod","name":"slow","namespace":"shop"}`)
		list := asking(t, form, "kubernetes/list_resources_all", `{"api_version":"v1","kind":"Secret"}`)
		list.ContextAwareResources = append(list.ContextAwareResources, policy.Resource{APIVersion: "v1", Kind: "Secret"})
		tests[string(form)+" list"] = list
	}
	for name, p := range tests {
		t.Run(name, func(t *testing.T) {
			p.Timeout = 500 * time.Millisecond
			member := p
			member.ID = ""
			mustApply(t, s.engine, p, groupOf("slow()", map[string]policy.Policy{"slow": member}), revision("other", 1))
			asked := make(chan Decision, 2)
			for _, id := range []policy.ID{"p", "g"} {
				go func() {
					d, _ := s.engine.Evaluate(context.Background(), id, plainPod(t)) // it is there
					asked <- d
				}()
			}
			if n, err := revisionOf(evaluate(t, s.engine, "other", plainPod(t))); n != 1 || err != nil {
				t.Errorf("another policy meanwhile: revision %d, %v", n, err)
			}
			for range 2 {
				d := <-asked
				stage := "call"
				if strings.HasPrefix(name, "rego") {
					stage = "instantiate" // no instance can judge yet
				}
				want := timeoutText + ` (policy "p", stage ` + stage + `)`
				if d.Policy == "g" {
					want = groupErrorText + timeoutText + ` (policy "g/slow", stage ` + stage + `)`
				}
				have := inner().ReplaceAllString(messageOf(d.Response), ")")
				if have != want || !errors.Is(d.Err, context.DeadlineExceeded) || d.Response.Status.Code != errorCode {
					t.Errorf("%s: %q, %v\nwant %q", d.Policy, have, d.Err, want)
				}
			}
			if n := len(s.engine.permits); n != 0 {
				t.Errorf("%d permits are held by nobody", n)
			}
		})
	}
	if lines := strings.Join(samples(t, s.metrics), "\n"); !strings.Contains(lines, `outcome="ended"`) {
		t.Errorf("no call has ended in\n%s", lines)
	}
}

func TestAKindIsWatchedFromTheLoadOfAPolicyToItsEnd(t *testing.T) {
	s := surround(t)
	until := func(what string, n int) {
		t.Helper()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range 30_000 {
			if s.watches() == n {
				return
			}
			<-tick.C
		}
		t.Fatalf("%s: %d watches, want %d", what, s.watches(), n)
	}
	const question = `{"api_version":"v1","kind":"Pod"}`
	single, rego := asking(t, sdktest.WaPC, "kubernetes/list_resources_all", question), sees(t, "Pod")
	member := asking(t, sdktest.WASI, "kubernetes/list_resources_all", question)
	single.ContextAwareResources = single.ContextAwareResources[:1] // no Nodes
	member.ContextAwareResources = member.ContextAwareResources[:1]
	rego.ID = "rego"
	group := groupOf("asks()", map[string]policy.Policy{"asks": member})
	mustApply(t, s.engine, single, group, rego)
	until("three policies are loaded and none was asked", 1)
	for _, left := range [][]policy.Policy{{single, group}, {group}} {
		mustApply(t, s.engine, left...)
		if d := evaluate(t, s.engine, left[0].ID, plainPod(t)); d.Err != nil || s.watches() != 1 {
			t.Errorf("%d policies left: %v with %d watches, want 1", len(left), d.Err, s.watches())
		}
	}
	mustApply(t, s.engine)
	until("no policy is left", 0)
}

func TestWithoutServicesAPolicyIsToldSo(t *testing.T) {
	e := newEngine(t, Options{})
	const noCluster = "Callback evaluation failure: kube::Client was not initialized properly"
	for _, form := range []sdktest.Form{sdktest.WaPC, sdktest.WASI} {
		mustApply(t, e, asking(t, form, "kubernetes/list_resources_all", `{"api_version":"v1","kind":"Pod"}`))
		if have := messageOf(evaluate(t, e, "p", plainPod(t)).Response); have != noCluster {
			t.Errorf("%s: %q, want %q", form, have, noCluster)
		}
	}
	mustApply(t, e, sees(t, "Pod"))
	d := evaluate(t, e, "p", &sdk.Request{UID: "u", Object: json.RawMessage("{}")})
	if have := messageOf(d.Response); !strings.HasPrefix(have, noCluster) || d.Response.Status.Code != 500 {
		t.Errorf("rego: %+v, want %q", d.Response.Status, noCluster)
	}
}
