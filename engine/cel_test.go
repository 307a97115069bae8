package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/sdk"
)

// celPolicy is a policy in CEL: text is the rest of the entry in policies.yml.
func celPolicy(t testing.TB, id, text string) policy.Policy {
	t.Helper()
	all, warnings, err := policy.ParseFile("policies.yml", []byte(id+": {"+text+"}"))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, %v", err, warnings)
	}
	return all[0]
}

const noPrivileged = `cel: {validations: [{
	expression: "object.spec.containers.all(c, !c.?securityContext.?privileged.orValue(false))",
	messageExpression: "'privileged: ' + object.spec.containers[0].name", reason: Forbidden}]}`

func TestAPolicyInCELJudgesLikeOthers(t *testing.T) {
	e := newEngine(t, Options{})
	mustApply(t, e, celPolicy(t, "p", noPrivileged))
	if s := status(t, e, "p"); s.State != Loaded || s.Runtime != celRuntime || s.Module != "" || s.Digest != "" {
		t.Errorf("status = %+v", s)
	}
	if d := evaluate(t, e, "p", plainPod(t)); !d.Response.Allowed || d.Err != nil {
		t.Errorf("a plain pod: %s", answer(d.Response))
	}
	d := evaluate(t, e, "p", privilegedPod(t))
	if d.Response.Allowed || d.Response.Status.Code != 403 || messageOf(d.Response) != "privileged: "+nameOfFirst(t, privilegedPod(t)) {
		t.Errorf("a privileged pod: %s", answer(d.Response))
	}
	monitored := celPolicy(t, "p", noPrivileged)
	monitored.Mode = policy.Monitor
	mustApply(t, e, monitored)
	if d := evaluate(t, e, "p", privilegedPod(t)); !d.Response.Allowed {
		t.Errorf("monitored: %s", answer(d.Response))
	}
}

func nameOfFirst(t testing.TB, req *sdk.Request) string {
	t.Helper()
	var of struct {
		Spec struct{ Containers []struct{ Name string } }
	}
	if err := json.Unmarshal(req.Object, &of); err != nil {
		t.Fatal(err)
	}
	return of.Spec.Containers[0].Name
}

func TestAnExpressionThatFailsIsNoVerdict(t *testing.T) {
	const text = `cel: {validations: [{expression: "object.spec.nope == 1"}]}`
	const want = "expression 'object.spec.nope == 1' resulted in error: no such key: nope"
	e := newEngine(t, Options{})
	mustApply(t, e, celPolicy(t, "p", text))
	d := evaluate(t, e, "p", plainPod(t))
	if evaluation := (*EvaluationError)(nil); !errors.As(d.Err, &evaluation) || d.Response.Allowed || !strings.HasPrefix(messageOf(d.Response), want) {
		t.Errorf("error %v, %s", d.Err, answer(d.Response))
	}
	mustApply(t, e, celPolicy(t, "p", text+", failurePolicy: Ignore"))
	d = evaluate(t, e, "p", plainPod(t))
	if !d.Response.Allowed || d.Err == nil || len(d.Response.Warnings) != 1 || !strings.Contains(d.Response.Warnings[0], want) {
		t.Errorf("with failurePolicy Ignore: error %v, %s", d.Err, answer(d.Response))
	}
	// What it says otherwise depends on the failurePolicy: that is compiled in.
	both := `cel: {validations: [{expression: "object.spec.nope == 1"}, {expression: "false", message: no}]}`
	mustApply(t, e, celPolicy(t, "p", both+", failurePolicy: Ignore"))
	if d := evaluate(t, e, "p", plainPod(t)); d.Response.Allowed || messageOf(d.Response) != "no" {
		t.Errorf("one fails, one refuses: %s", answer(d.Response))
	}
}

func TestWhyAPolicyInCELDoesNotLoad(t *testing.T) {
	e := newEngine(t, Options{})
	p := celPolicy(t, "p", `cel: {variables: [{name: a, expression: "1 +"}], validations: [{expression: "object.x == 1"}, {expression: "1"}]}`)
	err := e.Load(t.Context(), p)
	load := (*LoadError)(nil)
	if !errors.As(err, &load) || load.At != StageCompile {
		t.Fatalf("Load = %v, want a *LoadError of the stage compile", err)
	}
	for _, want := range []string{"cel.variables[0].expression: ", "cel.validations[1].expression: must evaluate to bool"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Load = %v, want it to say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "validations[0]") {
		t.Errorf("Load = %v, and there is nothing wrong with the first validation", err)
	}
}

func TestTheBuiltInOfCELHasTheSettingsOfKubewardens(t *testing.T) {
	e := newEngine(t, Options{})
	mustApply(t, e, builtinPolicy("p", "cel-policy", `{"validations":[{"expression":"object.metadata.name != 'bad'","message":"no"}]}`))
	if s := status(t, e, "p"); s.State != Loaded || s.Runtime != celRuntime {
		t.Errorf("status = %+v", s)
	}
	bad := plainPod(t)
	bad.Object = json.RawMessage(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bad"}}`)
	if d := evaluate(t, e, "p", bad); d.Response.Allowed || messageOf(d.Response) != "no" {
		t.Errorf("response = %s", answer(d.Response))
	}
	err := e.Load(t.Context(), builtinPolicy("p", "cel-policy", `{"validations":[{"expression":"object."}]}`))
	if load, refused := (*LoadError)(nil), (*runtime.SettingsError)(nil); !errors.As(err, &load) || load.At != StageSettings || !errors.As(err, &refused) {
		t.Errorf("Load = %v, want a refusal of the settings", err)
	}
	if err := e.Load(t.Context(), builtinPolicy("p", "cel-polcy", "")); err == nil || !strings.HasSuffix(err.Error(), "did you mean cel-policy?") {
		t.Errorf("Load = %v, want it to suggest the name", err)
	}
}

func TestPoliciesInCELExpandWorkloads(t *testing.T) {
	e := newEngine(t, Options{})
	p := celPolicy(t, "p", `cel: {validations: [{expression: "object.kind == 'Pod' && !object.spec.containers[0].?securityContext.?privileged.orValue(false)", message: "spec.containers[0] is privileged"}]}`)
	mustApply(t, e, bundled(p, expanding))
	for _, k := range workloadKinds() {
		if d := evaluateBundle(t, e, k.create(t, plainTemplate)); !d.Response.Allowed {
			t.Errorf("%s, harmless: %s", k.kind, messageOf(d.Response))
		}
		d := evaluateBundle(t, e, k.create(t, privilegedTemplate))
		if have := messageOf(d.Response); d.Response.Allowed || !strings.HasPrefix(have, "p: "+k.way+".spec.containers[0] is privileged") {
			t.Errorf("%s: allowed %t, %q", k.kind, d.Response.Allowed, have)
		}
	}
}

func TestPoliciesInCELMutateInTheirOrder(t *testing.T) {
	appends := func(id, expression string, order int) policy.Policy {
		return bundled(celPolicy(t, id, "allowedToMutate: true, cel: {mutations: [{"+expression+"}]}"), at(order))
	}
	e := newEngine(t, Options{})
	mustApply(t, e,
		appends("a", `patchType: JSONPatch, jsonPatch: {expression: "[JSONPatch{op: 'replace', path: '/metadata/labels/trail', value: object.metadata.labels.trail + '1'}]"}`, 2),
		appends("b", `patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{metadata: Object.metadata{labels: {'trail': object.metadata.labels.trail + '2'}}}"}`, 1),
		bundled(celPolicy(t, "c", `cel: {validations: [{expression: "object.metadata.labels.trail == '021'"}]}`)),
	)
	req := pod(t, "")
	req.Object = json.RawMessage(strings.Replace(string(req.Object), `"metadata":{`, `"metadata":{"labels":{"trail":"0"},`, 1))
	d := evaluateBundle(t, e, req)
	if want := `[{"op":"replace","path":"/metadata/labels/trail","value":"021"}]`; !d.Response.Allowed || string(d.Response.Patch) != want {
		t.Errorf("allowed %t with patch %s, want %s: %s", d.Response.Allowed, d.Response.Patch, want, messageOf(d.Response))
	}
}

func TestMembersOfAGroupMayBeInCEL(t *testing.T) {
	e := newEngine(t, Options{})
	mustApply(t, e, groupOf("inCEL() && !builtin()", map[string]policy.Policy{
		"inCEL": celPolicy(t, "x", noPrivileged), "builtin": refuses(),
	}))
	if s := status(t, e, "g"); s.State != Loaded || s.Members[1].Runtime != celRuntime {
		t.Errorf("status = %+v", s)
	}
	if d := evaluate(t, e, "g", privilegedPod(t)); d.Response.Allowed || !strings.Contains(answer(d.Response), "privileged: ") {
		t.Errorf("response = %s", answer(d.Response))
	}
}

// celCluster is an API server with two Namespaces, a ConfigMap that changes, and
// an opinion about who may do what.
func celCluster(t *testing.T) (cluster *capability.Cluster, max *atomic.Int32) {
	t.Helper()
	max = &atomic.Int32{}
	namespace := func(name string) string {
		return fmt.Sprintf(`{"kind":"Namespace","apiVersion":"v1","metadata":{"name":%q,"labels":{"name":%q}}}`, name, name)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/api/v1":
			fmt.Fprint(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[`+
				`{"name":"configmaps","kind":"ConfigMap","namespaced":true},{"name":"namespaces","kind":"Namespace","namespaced":false}]}`)
		case "/api/v1/namespaces/shop":
			fmt.Fprint(w, namespace("shop"))
		case "/api/v1/namespaces/bank":
			fmt.Fprint(w, namespace("bank"))
		case "/api/v1/configmaps":
			switch {
			case r.FormValue("sendInitialEvents") != "":
				w.WriteHeader(http.StatusUnprocessableEntity)
				fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
				return
			case r.FormValue("watch") != "":
				w.WriteHeader(http.StatusOK)
				w.(http.Flusher).Flush() //nolint:forcetypeassert // net/http's
				<-r.Context().Done()
				return
			}
			fmt.Fprintf(w, `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[`+
				`{"metadata":{"name":"limits","namespace":"shop"},"data":{"max":"%d"}},{"metadata":{"name":"limits","namespace":"bank"},"data":{"max":"9"}}]}`, max.Load())
		case "/apis/authorization.k8s.io/v1/subjectaccessreviews":
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1","status":{"allowed":false,"denied":true,"reason":"r"}}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
		}
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	cluster, err := capability.NewCluster(&rest.Config{Host: server.URL}, capability.ClusterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, max
}

func TestAPolicyInCELReadsWhatItNamesWithoutAGrant(t *testing.T) {
	cluster, max := celCluster(t)
	max.Store(1)
	e := newEngine(t, Options{Services: services{Cluster: cluster, Cache: capability.NewCache()}})
	const (
		labels = `cel: {validations: [{expression: "namespaceObject.metadata.labels.name == 'x'", messageExpression: "namespaceObject.metadata.labels.name"}]}`
		params = `cel: {paramKind: {apiVersion: v1, kind: ConfigMap}, paramRef: {name: limits, parameterNotFoundAction: Deny},
			validations: [{expression: "params.data.max == '0'", messageExpression: "'at most ' + params.data.max"}]}`
		asks = `cel: {validations: [{expression: "authorizer.group('apps').resource('deployments').namespace('shop').check('create').allowed()", message: "may not"}]}`
		own  = `, namespacedName: {Namespace: shop, Name: p}`
	)
	for _, tt := range []struct{ name, policy, namespace, want string }{
		{"namespaceObject", labels, "shop", "shop"},
		{"params of the request's namespace", params, "shop", "at most 1"},
		{"params of another one", params, "bank", "at most 9"},
		{"authorizer", asks + `, hostCapabilities: [kubernetes/can_i]`, "shop", "may not"},
		{"authorizer without its grant", asks, "shop", "Policy has not been granted access to the 'kubernetes/can_i' host capability."},
		{"namespaced, namespaceObject", labels + own, "shop", "shop"},
		{"namespaced, namespaceObject of another one", labels + own, "bank", "Policy of namespace 'shop' has not been granted access to cluster wide v1/Namespace resources."},
		{"namespaced, params", params + own, "shop", "at most 1"},
		{"namespaced, authorizer", asks + own + `, hostCapabilities: ["*"]`, "shop", "may not"},
	} {
		mustApply(t, e, celPolicy(t, "p", tt.policy))
		req := plainPod(t)
		req.Namespace = tt.namespace
		if d := evaluate(t, e, "p", req); d.Response.Allowed || !strings.Contains(messageOf(d.Response), tt.want) {
			t.Errorf("%s: %s, want %q", tt.name, answer(d.Response), tt.want)
		}
	}
}

func TestWhatAPolicyInCELWatches(t *testing.T) {
	of := func(text string) []capability.Resource { return watchedOf(celPolicy(t, "p", text)) }
	have := of(`cel: {paramKind: {apiVersion: v1, kind: ConfigMap}, paramRef: {name: limits, parameterNotFoundAction: Deny}, validations: [{expression: "namespaceObject == null"}]}`)
	if diff := cmp.Diff([]capability.Resource{{APIVersion: "v1", Kind: "ConfigMap"}}, have); diff != "" {
		t.Errorf("watched (-want +have):\n%s", diff)
	}
	if have := of(noPrivileged); have != nil {
		t.Errorf("watched without need: %v", have)
	}
}
