package capability

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/sdk"
)

// kubernetesHost returns a host that may read pods, namespaces and deployments
// of the server's cluster, and what it logs.
func kubernetesHost(t testing.TB, s *apiServer) (*Host, *bytes.Buffer) {
	t.Helper()
	h, log := hostFor(everything)
	h.Resources = []Resource{pods, namespaces, deployments}
	h.Services.Cluster = s.cluster(t, ClusterOptions{})
	return h, log
}

func askCluster(t testing.TB, h *Host, operation, payload string) (string, error) {
	t.Helper()
	answer, err := h.Call(t.Context(), call("kubernetes", operation, payload))
	return string(answer), err
}

func mustAsk(t testing.TB, h *Host, operation, payload string) string {
	t.Helper()
	answer, err := askCluster(t, h, operation, payload)
	if err != nil {
		t.Fatalf("%s %s: %v", operation, payload, err)
	}
	return answer
}

func TestKubernetesOperations(t *testing.T) {
	const list, all, get, can = "list_resources_by_namespace", "list_resources_all", "get_resource", "can_i"
	const failed = "Callback evaluation failure: "
	const refused = "Policy has not been granted access to Kubernetes %s resources. The violation has been reported."
	s := newAPIServer(t)
	a := s.put("pods", `{"metadata":{"name":"a","namespace":"x","labels":{"app":"web"},"managedFields":[{"manager":"m"}]},"spec":{"containers":[{"image":"i","name":"c"}],"nodeName":"n1"}}`)
	s.put("pods", `{"metadata":{"name":"b","namespace":"y","labels":{"app":"db"}}}`)
	s.put("namespaces", `{"metadata":{"name":"x"}}`)
	s.review = `,"status":{"allowed":true,"reason":"r","evaluationError":"e","denied":false,"more":1}`
	const itemA = `{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"app":"web"},"name":"a","namespace":"x","resourceVersion":"101","annotations":{},"managedFields":[]},"spec":{"containers":[{"image":"i","name":"c"}],"nodeName":"n1"}}`
	const masked = `{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"app":"web"},"name":"a","namespace":"x","resourceVersion":"101","annotations":{},"managedFields":[]},"spec":{"containers":[{"image":"i"}]}}`
	of := func(items ...string) string {
		return `{"apiVersion":"v1","kind":"PodList","metadata":{},"items":[` + strings.Join(items, ",") + `]}`
	}
	h, _ := kubernetesHost(t, s)
	for _, tt := range []struct{ name, operation, payload, want, err string }{
		{"list of a namespace", list, `{"api_version":"v1","kind":"Pod","namespace":"x"}`, of(itemA), ""},
		{"list of an empty namespace", list, `{"api_version":"v1","kind":"Pod","namespace":"z"}`, of(), ""},
		{"nulls are as good as nothing", list, `{"api_version":"v1","kind":"Pod","namespace":"x","label_selector":null,"field_selector":null,"field_masks":null}`, of(itemA), ""},
		{"no masks prune nothing", list, `{"api_version":"v1","kind":"Pod","namespace":"x","field_masks":[]}`, of(itemA), ""},
		{"masks", list, `{"api_version":"v1","kind":"Pod","namespace":"x","field_masks":["spec.containers.image"]}`, of(masked), ""},
		{"unknown fields are ignored", list, `{"api_version":"v1","kind":"Pod","namespace":"x","more":[1]}`, of(itemA), ""},
		{"a label selector", all, `{"api_version":"v1","kind":"Pod","label_selector":"app=web"}`, of(itemA), ""},
		{"a field selector", all, `{"api_version":"v1","kind":"Pod","field_selector":"spec.nodeName=n1"}`, of(itemA), ""},
		{"a namespace is nothing to list all", all, `{"api_version":"v1","kind":"Pod","namespace":"y","label_selector":"app=web"}`, of(itemA), ""},
		{"a bad label selector", all, `{"api_version":"v1","kind":"Pod","label_selector":"a=b=c"}`, "",
			failed + `label_selector "a=b=c": found '=', expected: ',' or 'end of string'`},
		{"a bad field selector", all, `{"api_version":"v1","kind":"Pod","field_selector":"a"}`, "",
			failed + `field_selector "a": invalid selector: 'a'; can't understand 'a'`},
		{"a field that is no text", all, `{"api_version":"v1","kind":"Pod","field_selector":"spec.containers=c"}`, "",
			failed + `field_selector: spec.containers is no string, number or boolean in x/a`},
		{"a cluster wide kind in a namespace", list, `{"api_version":"v1","kind":"Namespace","namespace":"x"}`, "",
			failed + "resource v1/Namespace is cluster wide. Cannot search for it inside of a namespace"},
		{"list without apiVersion", list, `{"kind":"Pod","namespace":"x"}`, "", "missing field `api_version`"},
		{"list without kind", all, `{"api_version":"v1"}`, "", "missing field `kind`"},
		{"list without namespace", list, `{"api_version":"v1","kind":"Pod"}`, "", "missing field `namespace`"},
		{"a null is missing", list, `{"api_version":"v1","kind":"Pod","namespace":null}`, "", "field `namespace` is null"},
		{"list of no JSON", list, `{`, "", "unexpected end of JSON input"},
		{"list of another type", all, `{"api_version":1,"kind":"Pod"}`, "", "json: cannot unmarshal number into Go struct field listAllFields.kindFields.api_version of type string"},
		{"list of what is not granted", all, `{"api_version":"v1","kind":"Secret"}`, "", fmt.Sprintf(refused, "v1/Secret")},
		{"grants are exact", all, `{"api_version":"v1","kind":"pod"}`, "", fmt.Sprintf(refused, "v1/pod")},

		{"get", get, `{"api_version":"v1","kind":"Pod","name":"a","namespace":"x","disable_cache":false}`, `{"kind":"Pod","apiVersion":"v1",` + a[1:], ""},
		{"get without disable_cache", get, `{"api_version":"v1","kind":"Pod","name":"a","namespace":"x"}`, `{"kind":"Pod","apiVersion":"v1",` + a[1:], ""},
		{"get with masks", get, `{"api_version":"v1","kind":"Pod","name":"a","namespace":"x","field_masks":["spec.nodeName","metadata.name"]}`,
			`{"kind":"Pod","apiVersion":"v1","metadata":{"labels":{"app":"web"},"managedFields":[{"manager":"m"}],"name":"a","namespace":"x","resourceVersion":"101"},"spec":{"nodeName":"n1"}}`, ""},
		{"get of a cluster wide kind", get, `{"api_version":"v1","kind":"Namespace","name":"x"}`, `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"x","resourceVersion":"103"}}`, ""},
		{"its namespace is ignored", get, `{"api_version":"v1","kind":"Namespace","name":"x","namespace":"y"}`, `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"x","resourceVersion":"103"}}`, ""},
		{"get without namespace", get, `{"api_version":"v1","kind":"Pod","name":"a"}`, "", failed + "Resource v1/Pod is namespaced, but no namespace was provided"},
		{"get of nothing", get, `{"api_version":"v1","kind":"Pod","name":"q","namespace":"x"}`, "", failed + `Cannot find v1/Pod named 'q' inside of namespace 'Some("x")'`},
		{"get of nothing cluster wide", get, `{"api_version":"v1","kind":"Namespace","name":"q"}`, "", failed + "Cannot find v1/Namespace named 'q' inside of namespace 'None'"},
		{"get of a path", get, `{"api_version":"v1","kind":"Pod","name":"../../secrets","namespace":"x"}`, "",
			failed + `get v1/Pod: invalid resource name "../../secrets": [may not contain '/']`},
		{"get without name", get, `{"api_version":"v1","kind":"Pod"}`, "", "missing field `name`"},
		{"get of no name", get, `{"api_version":"v1","kind":"Pod","name":"","namespace":"x"}`, "", failed + "get v1/Pod: resource name may not be empty"},
		{"get of what is not granted", get, `{"api_version":"v1","kind":"Secret","name":"a","namespace":"x"}`, "", fmt.Sprintf(refused, "v1/Secret")},
		{"get of no JSON", get, `[]`, "", "json: cannot unmarshal array into Go value of type map[string]json.RawMessage"},

		{"can_i", can, `{"subject_access_review":{"groups":["g"],"resource_attributes":{"group":"apps","name":"","namespace":"x","resource":"deployments","subresource":null,"verb":"create","version":"v1"},"user":"alice"},"disable_cache":false}`,
			`{"allowed":true,"reason":"r","evaluationError":"e"}`, ""},
		{"can_i as Go's SDK spells it", can, `{"subject_access_review":{"groups":null,"resourceAttributes":{"resource":"pods","verb":"get"},"user":"bob"}}`, `{"allowed":true,"reason":"r","evaluationError":"e"}`, ""},
		{"can_i list what selectors select", can, `{"subject_access_review":{"user":"u","uid":"7","extra":{"k":["v"]},"resource_attributes":{"verb":"list","resource":"pods",` +
			`"field_selector":[{"key":"spec.nodeName","operator":"In","values":["n1"]}],"label_selector":[{"key":"app","operator":"Exists"}]}}}`, `{"allowed":true,"reason":"r","evaluationError":"e"}`, ""},
		{"can_i read a path", can, `{"subject_access_review":{"user":"u","non_resource_attributes":{"path":"/healthz","verb":"get"}}}`, `{"allowed":true,"reason":"r","evaluationError":"e"}`, ""},
		{"can_i of a path and a resource", can, `{"subject_access_review":{"user":"u","non_resource_attributes":{"path":"/","verb":"get"},"resource_attributes":{"verb":"get","resource":"pods"}}}`,
			"", "`resource_attributes` and `non_resource_attributes` exclude each other"},
		{"can_i of no path", can, `{"subject_access_review":{"user":"u","non_resource_attributes":{"verb":"get"}}}`, "", "missing field `path`"},
		{"can_i without review", can, `{}`, "", "missing field `subject_access_review`"},
		{"can_i without attributes", can, `{"subject_access_review":{"user":"a"}}`, "", "missing field `resource_attributes`"},
		{"can_i without user", can, `{"subject_access_review":{"resource_attributes":{"resource":"pods","verb":"get"}}}`, "", "missing field `user`"},
		{"can_i without resource", can, `{"subject_access_review":{"user":"a","resource_attributes":{"verb":"get"}}}`, "", "missing field `resource`"},
		{"can_i without verb", can, `{"subject_access_review":{"user":"a","resource_attributes":{"resource":"pods"}}}`, "", "missing field `verb`"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			have, err := askCluster(t, h, tt.operation, tt.payload)
			if diff := cmp.Diff(tt.want, have); diff != "" {
				t.Errorf("answer (-want +have):\n%s", diff)
			}
			if said := fmt.Sprint(err); tt.err != "" && said != tt.err || tt.err == "" && err != nil {
				t.Errorf("error %s\n want %s", said, tt.err)
			}
		})
	}
	want := []string{
		`{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","metadata":{},"spec":{"user":"alice","groups":["g"],"resourceAttributes":{"group":"apps","name":"","namespace":"x","resource":"deployments","verb":"create","version":"v1"}}}`,
		`{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","metadata":{},"spec":{"user":"bob","resourceAttributes":{"resource":"pods","verb":"get"}}}`,
		`{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","metadata":{},"spec":{"user":"u","uid":"7","extra":{"k":["v"]},"resourceAttributes":{"resource":"pods","verb":"list",` +
			`"fieldSelector":{"requirements":[{"key":"spec.nodeName","operator":"In","values":["n1"]}]},"labelSelector":{"requirements":[{"key":"app","operator":"Exists"}]}}}}`,
		`{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","metadata":{},"spec":{"user":"u","nonResourceAttributes":{"path":"/healthz","verb":"get"}}}`,
	}
	if diff := cmp.Diff(want, s.reviewed); diff != "" {
		t.Errorf("reviews (-want +have):\n%s", diff)
	}
}

func TestAccessReviewsThatGiveNoAnswer(t *testing.T) {
	const question = `{"subject_access_review":{"resource_attributes":{"resource":"pods","verb":"get"},"user":"a"}}`
	s := newAPIServer(t)
	h, _ := kubernetesHost(t, s)
	for _, tt := range []struct{ review, want string }{
		{``, "Callback evaluation failure: SubjectAccessReview did not return a response"},
		{`,"status":null`, "Callback evaluation failure: SubjectAccessReview did not return a response"},
		{`,"status":7`, "Callback evaluation failure: SubjectAccessReview: json: cannot unmarshal number into Go struct field .Status of type capability.accessStatus"},
	} {
		s.review = tt.review
		if answer, err := askCluster(t, h, "can_i", question); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %s, %v, want %s", tt.review, answer, err, tt.want)
		}
	}
	s.refuse("create", "subjectaccessreviews", 403)
	_, err := askCluster(t, h, "can_i", question)
	if err == nil || !strings.HasPrefix(err.Error(), `Callback evaluation failure: create authorization.k8s.io/v1/SubjectAccessReview: the ServiceAccount of this server needs the verb "create" on subjectaccessreviews.authorization.k8s.io: `) {
		t.Errorf("forbidden: %v", err)
	}
}

func TestObjectsAndReviewsAreAskedOnceInAWhile(t *testing.T) {
	s := newAPIServer(t)
	s.put("pods", pod("x", "a", ""))
	s.review = `,"status":{"allowed":false}`
	h, _ := kubernetesHost(t, s)
	const get = `{"api_version":"v1","kind":"Pod","name":"a","namespace":"x","disable_cache":%t,"field_masks":%s}`
	const can = `{"subject_access_review":{"groups":%s,"resource_attributes":{"resource":"pods","verb":"get"},"user":"a"},"disable_cache":%t}`
	first := mustAsk(t, h, "get_resource", fmt.Sprintf(get, false, "null"))
	for range 3 { // masks come after the cache
		if have := mustAsk(t, h, "get_resource", fmt.Sprintf(get, false, `["status"]`)); strings.Contains(have, "spec") {
			t.Errorf("masked object = %s", have)
		}
	}
	s.put("pods", pod("x", "a", `"new":"label"`))
	if have := mustAsk(t, h, "get_resource", fmt.Sprintf(get, true, "null")); have == first || s.count("get pods") != 2 {
		t.Errorf("past the cache: %s after %d requests, want the new object", have, s.count("get pods"))
	}
	if have := mustAsk(t, h, "get_resource", fmt.Sprintf(get, false, "null")); have != first || s.count("get pods") != 2 {
		t.Errorf("from the cache: %s after %d requests, want what was there before: past the cache nothing is written either", have, s.count("get pods"))
	}
	for range 2 {
		_, _ = askCluster(t, h, "get_resource", `{"api_version":"v1","kind":"Pod","name":"none","namespace":"x"}`)
	}
	if have := s.count("get pods"); have != 4 {
		t.Errorf("%d requests, want 4: failures are not kept", have)
	}
	for _, p := range []string{fmt.Sprintf(can, `["g"]`, false), fmt.Sprintf(can, `["g"]`, false), fmt.Sprintf(can, `["h"]`, false), fmt.Sprintf(can, `["g"]`, true)} {
		if have := mustAsk(t, h, "can_i", p); have != `{"allowed":false}` {
			t.Errorf("can_i = %s", have)
		}
	}
	if have := s.count("create subjectaccessreviews"); have != 3 {
		t.Errorf("%d reviews, want 3: one for each question, and one past the cache", have)
	}
}

func TestIdenticalGetsInFlightAreMadeOnce(t *testing.T) {
	s := newAPIServer(t)
	s.put("pods", pod("x", "a", ""))
	h, _ := kubernetesHost(t, s)
	mustAsk(t, h, "list_resources_all", `{"api_version":"v1","kind":"Pod"}`) // discovered
	open := make(chan struct{})
	s.change(func() { s.hold = func(*http.Request) { <-open } })
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			mustAsk(t, h, "get_resource", `{"api_version":"v1","kind":"Pod","name":"a","namespace":"x"}`)
		})
	}
	until(t, "in flight", func() bool {
		c := h.Services.Cluster.objects
		c.mu.RLock()
		defer c.mu.RUnlock()
		for _, f := range c.flights {
			return f.waiting == 20
		}
		return false
	})
	close(open)
	group.Wait()
	if have := s.count("get pods"); have != 1 {
		t.Errorf("%d requests, want 1", have)
	}
}

func TestAReadOfTheClusterEndsWithItsContext(t *testing.T) {
	for operation, payload := range map[string]string{
		"list_resources_all":          `{"api_version":"v1","kind":"Pod"}`,
		"list_resources_by_namespace": `{"api_version":"v1","kind":"Pod","namespace":"x"}`,
		"get_resource":                `{"api_version":"v1","kind":"Pod","name":"a","namespace":"x"}`,
		"can_i":                       `{"subject_access_review":{"resource_attributes":{"resource":"pods","verb":"get"},"user":"a"},"disable_cache":true}`,
	} {
		s := newAPIServer(t)
		asked := make(chan struct{}, 10)
		s.hold = func(r *http.Request) { asked <- struct{}{}; <-r.Context().Done() }
		h, _ := kubernetesHost(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		if answer, err := h.Call(ctx, call("kubernetes", operation, payload)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %s, %v, want it cancelled", operation, answer, err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
		if answer, err := h.Call(ctx, call("kubernetes", operation, payload)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s = %s, %v, want the deadline", operation, answer, err)
		}
		cancel()
	}
}

func TestAPolicyOfANamespaceStaysInIt(t *testing.T) {
	const list, all, get, can = "list_resources_by_namespace", "list_resources_all", "get_resource", "can_i"
	const refused = "Policy of namespace 'x' has not been granted access to %s. The violation has been reported."
	s := newAPIServer(t)
	s.put("pods", pod("x", "a", `"app":"web"`))
	s.put("pods", pod("y", "b", `"app":"web"`))
	s.put("namespaces", `{"metadata":{"name":"x"}}`)
	s.review = `,"status":{"allowed":true}`
	h, log := kubernetesHost(t, s)
	h.Namespace = "x"
	for _, tt := range []struct{ name, operation, payload, want, err, requested string }{
		{"its own namespace", list, `{"api_version":"v1","kind":"Pod","namespace":"x"}`, "x/a", "", ""},
		{"another one", list, `{"api_version":"v1","kind":"Pod","namespace":"y"}`, "", fmt.Sprintf(refused, "namespace 'y'"), "namespace y"},
		{"no namespace", list, `{"api_version":"v1","kind":"Pod","namespace":""}`, "", fmt.Sprintf(refused, "all namespaces"), "namespace "},
		{"all is all of its own", all, `{"api_version":"v1","kind":"Pod"}`, "x/a", "", ""},
		{"however selected", all, `{"api_version":"v1","kind":"Pod","label_selector":"app=web","field_selector":"metadata.namespace=y"}`, "", "", ""},
		{"all of a cluster wide kind", all, `{"api_version":"v1","kind":"Namespace"}`, "", fmt.Sprintf(refused, "cluster wide v1/Namespace resources"), "v1/Namespace"},
		{"an object of its own", get, `{"api_version":"v1","kind":"Pod","name":"a","namespace":"x"}`, "", "", ""},
		{"an object of another", get, `{"api_version":"v1","kind":"Pod","name":"b","namespace":"y"}`, "", fmt.Sprintf(refused, "namespace 'y'"), "namespace y"},
		{"an object that is cluster wide", get, `{"api_version":"v1","kind":"Namespace","name":"x"}`, "", fmt.Sprintf(refused, "cluster wide v1/Namespace resources"), "v1/Namespace"},
		{"even with its namespace", get, `{"api_version":"v1","kind":"Namespace","name":"y","namespace":"x"}`, "", fmt.Sprintf(refused, "cluster wide v1/Namespace resources"), "v1/Namespace"},
		{"an object without namespace", get, `{"api_version":"v1","kind":"Pod","name":"a"}`, "", "Callback evaluation failure: Resource v1/Pod is namespaced, but no namespace was provided", ""},
		{"the grant comes first", list, `{"api_version":"v1","kind":"Secret","namespace":"y"}`, "", "Policy has not been granted access to Kubernetes v1/Secret resources. The violation has been reported.", "v1/Secret"},
		{"a review of its own", can, `{"subject_access_review":{"resource_attributes":{"resource":"pods","verb":"get","namespace":"x"},"user":"a"}}`, "", "", ""},
		{"a review of another", can, `{"subject_access_review":{"resource_attributes":{"resource":"pods","verb":"get","namespace":"y"},"user":"a"}}`, "", fmt.Sprintf(refused, "namespace 'y'"), "namespace y"},
		{"a review of all", can, `{"subject_access_review":{"resource_attributes":{"resource":"pods","verb":"get"},"user":"a"}}`, "", fmt.Sprintf(refused, "all namespaces"), "namespace "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log.Reset()
			answer, err := askCluster(t, h, tt.operation, tt.payload)
			if said := fmt.Sprint(err); tt.err != "" && said != tt.err || tt.err == "" && err != nil {
				t.Fatalf("error %s\n want %s", said, tt.err)
			}
			if have := names(t, []byte(answer)); have != tt.want {
				t.Errorf("answer = %s, want %q", answer, tt.want)
			}
			want := ""
			if tt.requested != "" {
				want = fmt.Sprintf(`{"level":"ERROR","msg":"kubernetes resource refused","policy":"p","resource_requested":%q,"resources_allowed":["v1/Pod","v1/Namespace","apps/v1/Deployment"],"namespace":"x"}`+"\n", tt.requested)
			}
			if diff := cmp.Diff(want, log.String()); diff != "" {
				t.Errorf("log (-want +have):\n%s", diff)
			}
		})
	}
}

func TestWithoutAClusterKubernetesSaysSo(t *testing.T) {
	h, _ := hostFor(everything)
	h.Resources = []Resource{pods}
	for operation, payload := range map[string]string{
		"list_resources_all":          `{"api_version":"v1","kind":"Pod"}`,
		"list_resources_by_namespace": `{"api_version":"v1","kind":"Pod","namespace":"x"}`,
		"get_resource":                `{"api_version":"v1","kind":"Pod","name":"a","namespace":"x"}`,
		"can_i":                       `{"subject_access_review":{"resource_attributes":{"resource":"pods","verb":"get"},"user":"a"}}`,
	} {
		if _, err := askCluster(t, h, operation, payload); err == nil || err.Error() != "Callback evaluation failure: kube::Client was not initialized properly" {
			t.Errorf("%s: %v", operation, err)
		}
	}
	if _, _, _, err := h.Inventory(t.Context(), "v1", "Pod"); err == nil || err.Error() != "Callback evaluation failure: kube::Client was not initialized properly" {
		t.Errorf("Inventory: %v", err)
	}
}

func TestTheInventoryIsBehindTheSameGrants(t *testing.T) {
	s := newAPIServer(t)
	s.put("pods", pod("x", "a", ""))
	s.put("pods", pod("y", "b", ""))
	h, log := kubernetesHost(t, s)
	plural, list, first, err := h.Inventory(t.Context(), "v1", "Pod")
	if plural != "pods" || string(list) != mustAsk(t, h, "list_resources_all", `{"api_version":"v1","kind":"Pod"}`) || first == 0 || err != nil {
		t.Errorf("Inventory = %q, %s, %d, %v", plural, list, first, err)
	}
	if _, _, again, _ := h.Inventory(t.Context(), "v1", "Pod"); again != first {
		t.Errorf("revision %d after %d, want the same of the same list", again, first)
	}
	s.remove("pods", "x/a")
	until(t, "a new revision", func() bool { _, _, revision, _ := h.Inventory(t.Context(), "v1", "Pod"); return revision > first })
	h.Namespace = "x"
	if _, list, _, err = h.Inventory(t.Context(), "v1", "Pod"); err != nil || names(t, list) != "" {
		t.Errorf("of a namespace: %s, %v", list, err)
	}
	for _, tt := range []struct {
		kind   string
		allows func(string) bool
		want   string
	}{
		{"Namespace", everything, "Policy of namespace 'x' has not been granted access to cluster wide v1/Namespace resources. The violation has been reported."},
		{"Secret", everything, "Policy has not been granted access to Kubernetes v1/Secret resources. The violation has been reported."},
		{"Pod", nil, "Policy has not been granted access to the 'kubernetes/list_resources_all' host capability. The violation has been reported."},
		{"Pod", func(c string) bool { return c != "kubernetes/list_resources_all" }, "Policy has not been granted access to the 'kubernetes/list_resources_all' host capability. The violation has been reported."},
	} {
		log.Reset()
		h.Allows = tt.allows
		plural, list, revision, err := h.Inventory(t.Context(), "v1", tt.kind)
		if plural != "" || list != nil || revision != 0 || err == nil || err.Error() != tt.want {
			t.Errorf("%s: Inventory = %q, %s, %d, %v, want %s", tt.kind, plural, list, revision, err, tt.want)
		}
		if !strings.Contains(log.String(), `"level":"ERROR"`) {
			t.Errorf("%s: log = %s, want the violation", tt.kind, log)
		}
	}
}

// TestTheSDKAsksWhatTheHostAnswers joins the two ends of a call.
func TestTheSDKAsksWhatTheHostAnswers(t *testing.T) {
	s := newAPIServer(t)
	s.put("pods", pod("x", "a", ""))
	s.review = `,"status":{"allowed":true}`
	h, _ := kubernetesHost(t, s)
	ctx := sdk.WithHost(t.Context(), h)
	list, err := sdk.ListResources(ctx, sdk.ListQuery{APIVersion: "v1", Kind: "Pod", Namespace: "x", FieldMasks: []string{"spec"}})
	if err != nil || names(t, list) != "x/a" {
		t.Errorf("ListResources = %s, %v", list, err)
	}
	object, err := sdk.GetResource(ctx, sdk.GetQuery{APIVersion: "v1", Kind: "Pod", Namespace: "x", Name: "a"})
	if err != nil || !json.Valid(object) {
		t.Errorf("GetResource = %s, %v", object, err)
	}
	access, err := sdk.CanI(ctx, sdk.AccessReview{User: "a", Attributes: sdk.ResourceAttributes{Verb: "get", Resource: "pods"}})
	if err != nil || !access.Allowed {
		t.Errorf("CanI = %+v, %v", access, err)
	}
}

func TestItsOwnNamespaceIsGotByItsNameAlone(t *testing.T) {
	s := newAPIServer(t)
	s.put("namespaces", `{"metadata":{"name":"x"}}`)
	s.put("namespaces", `{"metadata":{"name":"y"}}`)
	h, _ := kubernetesHost(t, s)
	h.Namespace, h.OwnNamespace = "x", true
	const refused = "Policy of namespace 'x' has not been granted access to cluster wide v1/Namespace resources. The violation has been reported."
	for _, tt := range []struct{ operation, payload, err string }{
		{"get_resource", `{"api_version":"v1","kind":"Namespace","name":"x"}`, ""},
		{"get_resource", `{"api_version":"v1","kind":"Namespace","name":"y"}`, refused},
		{"list_resources_all", `{"api_version":"v1","kind":"Namespace"}`, refused},
	} {
		_, err := askCluster(t, h, tt.operation, tt.payload)
		if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%s %s: %v, want %q", tt.operation, tt.payload, err, tt.err)
		}
	}
}
