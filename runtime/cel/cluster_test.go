package cel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/warder-dev/warder/sdk"
)

// cluster answers as a host does, from the objects of one kind.
type cluster struct {
	objects []string // NAMESPACE/NAME LABEL=VALUE DATA
	access  string   // the answer of can_i
	refuses string   // the error of can_i

	mu    sync.Mutex
	asked []string
}

func (c *cluster) Call(_ context.Context, call sdk.HostCall) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, call.Operation+" "+string(call.Payload))
	var q sdk.ListQuery
	if err := json.Unmarshal(call.Payload, &q); err != nil {
		return nil, err
	}
	switch call.Operation {
	case "get_resource":
		return []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop","labels":{"team":"payments"},"managedFields":[{"manager":"x"}]},"status":{"phase":"Active"}}`), nil
	case "can_i":
		if c.refuses != "" {
			return nil, errors.New(c.refuses)
		}
		return []byte(c.access), nil
	}
	var items []string
	for _, o := range c.objects {
		words := strings.Fields(o)
		namespace, name, _ := strings.Cut(words[0], "/")
		key, value, _ := strings.Cut(words[1], "=")
		if q.Namespace != "" && namespace == "" {
			return nil, errors.New("is cluster wide. Cannot search for it inside of a namespace")
		}
		if q.Namespace != "" && q.Namespace != namespace || q.FieldSelector != "" && q.FieldSelector != "metadata.name="+name ||
			q.LabelSelector != "" && q.LabelSelector != words[1] {
			continue
		}
		metadata := fmt.Sprintf(`{"name":%q,"namespace":%q,"labels":{%q:%q}}`, name, namespace, key, value)
		if namespace == "" {
			metadata = fmt.Sprintf(`{"name":%q,"labels":{%q:%q}}`, name, key, value)
		}
		items = append(items, fmt.Sprintf(`{"metadata":%s,"data":{"max":%q}}`, metadata, words[2]))
	}
	return []byte(`{"apiVersion":"v1","kind":"ConfigMapList","metadata":{},"items":[` + strings.Join(items, ",") + `]}`), nil
}

// limits is a policy that takes the highest priority from its params.
func limits(ref admissionv1.ParamRef) Spec {
	if ref.ParameterNotFoundAction == nil {
		deny := admissionv1.DenyAction
		ref.ParameterNotFoundAction = &deny
	}
	return Spec{
		ParamKind: &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}, ParamRef: &ref,
		Validations: []admissionv1.Validation{{Expression: "object.spec.priority <= int(params.data.max)", MessageExpression: "'at most ' + params.data.max + ' by ' + params.metadata.name + params.kind"}},
	}
}

func TestParams(t *testing.T) {
	allow := admissionv1.AllowAction
	const none = "error: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
	prod := &metav1.LabelSelector{MatchLabels: map[string]string{"env": "prod"}}
	inNamespaces := []string{"shop/low env=prod 5", "shop/high env=prod 50", "shop/other env=test 1", "ops/low env=prod 6", "ops/only env=prod 7"}
	inCluster := []string{"/low env=prod 5", "/high env=prod 50"}
	for _, tt := range []struct {
		name      string
		objects   []string
		ref       admissionv1.ParamRef
		namespace string // of the request
		want      string
	}{
		{"by name, in the namespace of the request", inNamespaces, admissionv1.ParamRef{Name: "low"}, "shop", "422: at most 5 by lowConfigMap"},
		{"by name, in another namespace", inNamespaces, admissionv1.ParamRef{Name: "low", Namespace: "ops"}, "shop", "422: at most 6 by lowConfigMap"},
		{"a name that allows it", inNamespaces, admissionv1.ParamRef{Name: "high"}, "shop", "accepted"},
		{"a name of another namespace", inNamespaces, admissionv1.ParamRef{Name: "only"}, "shop", none},
		{"a name of nobody", inNamespaces, admissionv1.ParamRef{Name: "x"}, "shop", none},
		{"a name of nobody, which is allowed", inNamespaces, admissionv1.ParamRef{Name: "x", ParameterNotFoundAction: &allow}, "shop", "accepted"},
		{"all that are selected judge", inNamespaces, admissionv1.ParamRef{Selector: prod}, "shop", "422: at most 5 by lowConfigMap"},
		{"none is selected", inNamespaces, admissionv1.ParamRef{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"env": "x"}}}, "shop", none},
		{"an empty selector selects all", inNamespaces, admissionv1.ParamRef{Selector: &metav1.LabelSelector{}}, "shop",
			"422: 2 reasons to refuse this request:\n- at most 5 by lowConfigMap\n- at most 1 by otherConfigMap"},
		{"of a kind in no namespace", inCluster, admissionv1.ParamRef{Name: "low"}, "shop", "422: at most 5 by lowConfigMap"},
		{"of a kind in no namespace, for a request in none", inCluster, admissionv1.ParamRef{Name: "low"}, "", "422: at most 5 by lowConfigMap"},
		{"of a kind in no namespace, by a namespace", inCluster, admissionv1.ParamRef{Name: "low", Namespace: "shop"}, "shop",
			"error: failed to configure binding: paramRef.namespace must not be provided for a cluster-scoped `paramKind`"},
		{"of a kind in namespaces, for a request in none", inNamespaces, admissionv1.ParamRef{Name: "low"}, "",
			"error: failed to configure binding: cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"},
		{"of a kind in namespaces, for a request in none, by a namespace", inNamespaces, admissionv1.ParamRef{Name: "low", Namespace: "ops"}, "", "422: at most 6 by lowConfigMap"},
	} {
		p := mustProgram(t, limits(tt.ref), Options{Host: &cluster{objects: tt.objects}})
		req := creation()
		req.Namespace = tt.namespace
		for _, time := range []string{"first", "second"} { // the scope is known from the first on
			if have := said(p.Evaluate(t.Context(), req)); have != tt.want {
				t.Errorf("%s, %s time: %s\nwant %s", tt.name, time, have, tt.want)
			}
		}
	}
}

func TestEachOfSeveralParamsIsAJudgementOfItsOwn(t *testing.T) {
	spec := limits(admissionv1.ParamRef{Selector: &metav1.LabelSelector{}})
	spec.AuditAnnotations = []admissionv1.AuditAnnotation{{Key: "max", ValueExpression: "string(params.data.max)"}}
	p := mustProgram(t, spec, Options{Host: &cluster{objects: []string{"shop/a a=a 5", "shop/b a=a 50", "shop/c a=a 50"}}})
	d, err := p.Decide(t.Context(), creation())
	if err != nil {
		t.Fatal(err)
	}
	want := Decision{Judgements: []Judgement{
		{Params: "shop/a", Outcomes: []Outcome{{Deny, "at most 5 by aConfigMap", "Invalid"}}, AuditAnnotations: map[string]string{"max": "5"}},
		{Params: "shop/b", Outcomes: []Outcome{{Result: Admit}}, AuditAnnotations: map[string]string{"max": "50"}},
		{Params: "shop/c", Outcomes: []Outcome{{Result: Admit}}, AuditAnnotations: map[string]string{"max": "50"}},
	}}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("Decide (-want +have):\n%s", diff)
	}
	v, err := p.Evaluate(t.Context(), creation())
	if v.AuditAnnotations["max"] != "5, 50" || err != nil {
		t.Errorf("annotations = %v, %v, want 5, 50", v.AuditAnnotations, err)
	}
}

func TestAPolicyOfANamespaceAsksForParamsThereAlone(t *testing.T) {
	host := &cluster{objects: []string{"shop/low a=a 5", "ops/low a=a 6"}}
	p := mustProgram(t, limits(admissionv1.ParamRef{Name: "low"}), Options{Host: host, Namespace: "shop"})
	req := creation()
	req.Namespace = "ops"
	if have := said(p.Evaluate(t.Context(), req)); have != "422: at most 5 by lowConfigMap" {
		t.Error(have)
	}
	for _, asked := range host.asked {
		if !strings.HasPrefix(asked, "list_resources_by_namespace ") || !strings.Contains(asked, `"namespace":"shop"`) {
			t.Errorf("it asked %s", asked)
		}
	}
	_, err := Compile(limits(admissionv1.ParamRef{Name: "low", Namespace: "ops"}), Options{Namespace: "shop"})
	if want := `paramRef.namespace: a policy of namespace shop has its params there: leave it out, have "ops"`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	p = mustProgram(t, limits(admissionv1.ParamRef{Name: "low"}), Options{Host: &cluster{objects: []string{"/low a=a 5"}}, Namespace: "shop"})
	if have := said(p.Evaluate(t.Context(), creation())); !strings.Contains(have, "is cluster wide") {
		t.Errorf("a kind in no namespace: %s", have)
	}
}

func TestParamsThatAreNotReferredToAreNull(t *testing.T) {
	p := mustProgram(t, Spec{ParamKind: &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}, Validations: validations("params == null")}, Options{})
	if have := said(p.Evaluate(t.Context(), creation())); have != "accepted" { // without a host to ask
		t.Error(have)
	}
}

func TestNamespaceObject(t *testing.T) {
	host := &cluster{}
	p := mustProgram(t, Spec{Validations: []admissionv1.Validation{{
		Expression: "namespaceObject == null || namespaceObject.metadata.labels.team == 'x'", MessageExpression: "namespaceObject.metadata.labels.team + namespaceObject.status.phase"}},
	}, Options{Host: host})
	if have := said(p.Evaluate(t.Context(), creation())); have != "422: paymentsActive" {
		t.Error(have)
	}
	for name, change := range map[string]func(*sdk.Request){
		"of what is in no namespace": func(r *sdk.Request) { r.Namespace = "" },
		"of a Namespace itself":      func(r *sdk.Request) { r.RequestKind = &sdk.GroupVersionKind{Version: "v1", Kind: "Namespace"} },
	} {
		req := creation()
		change(req)
		if have := said(p.Evaluate(t.Context(), req)); have != "accepted" {
			t.Errorf("%s: %s, want null", name, have)
		}
	}
	if len(host.asked) != 1 || !strings.HasPrefix(host.asked[0], `get_resource {"api_version":"v1","kind":"Namespace","name":"shop"`) {
		t.Errorf("it asked %q", host.asked)
	}
}

func TestAuthorizer(t *testing.T) {
	for _, tt := range []struct{ expression, access, asked string }{
		{"authorizer.group('').resource('pods').namespace('shop').name('web').check('create').allowed()", `{"allowed":true,"reason":"RBAC"}`,
			`"resource_attributes":{"namespace":"shop","verb":"create","version":"*","resource":"pods","name":"web"},"uid":"7","extra":{"scope":["a","b"]}`},
		{"authorizer.group('apps').resource('deployments').subresource('scale').check('update').reason() == 'RBAC'", `{"allowed":true,"reason":"RBAC"}`,
			`"resource_attributes":{"verb":"update","group":"apps","version":"*","resource":"deployments","subresource":"scale"}`},
		{"!authorizer.requestResource.check('delete').allowed()", `{"allowed":false,"denied":true}`,
			`"resource_attributes":{"namespace":"shop","verb":"delete","version":"*","resource":"pods","name":"web"}`},
		{"authorizer.path('/healthz').check('get').allowed()", `{"allowed":true}`, `"non_resource_attributes":{"path":"/healthz","verb":"get"}`},
		{"authorizer.serviceAccount('shop', 'default').group('').resource('secrets').check('get').errored()", `{"allowed":false,"evaluationError":"e"}`,
			`"user":"system:serviceaccount:shop:default","groups":["system:serviceaccounts","system:serviceaccounts:shop"]`},
		{"authorizer.group('').resource('pods').fieldSelector('spec.nodeName=n1,status.phase!=x').labelSelector('a in (b),!c').check('list').allowed()", `{"allowed":true}`,
			`"field_selector":[{"key":"spec.nodeName","operator":"In","values":["n1"]},{"key":"status.phase","operator":"NotIn","values":["x"]}],` +
				`"label_selector":[{"key":"a","operator":"In","values":["b"]},{"key":"c","operator":"DoesNotExist"}]`},
	} {
		host := &cluster{access: tt.access}
		p := mustProgram(t, Spec{Validations: validations(tt.expression, tt.expression)}, Options{Host: host})
		if have := said(p.Evaluate(t.Context(), creation())); have != "accepted" {
			t.Errorf("%s: %s", tt.expression, have)
		}
		if len(host.asked) != 1 || !strings.Contains(host.asked[0], tt.asked) {
			t.Errorf("%s asked %q\nwant once %s", tt.expression, host.asked, tt.asked)
		}
	}
}

// TestNobodyToAskIsNoAnswer shows that a policy does not take "nobody answers"
// for "no".
func TestNobodyToAskIsNoAnswer(t *testing.T) {
	const notAllowed = "!authorizer.group('').resource('pods').check('get').allowed()"
	spec := Spec{Validations: validations(notAllowed)}
	for _, tt := range []struct {
		name string
		spec Spec
		host sdk.Host
		want string
	}{
		{"authorizer without a host", spec, nil, "this policy runs without a host to ask: it needs a cluster to ask, and kubernetes/can_i among hostCapabilities"},
		{"authorizer without the grant", spec, &cluster{refuses: "not granted"}, "authorizer: not granted: it needs a cluster to ask, and kubernetes/can_i among hostCapabilities"},
		{"in a variable", Spec{Variables: []admissionv1.Variable{{Name: "v", Expression: notAllowed}}, Validations: validations("variables.v")}, nil, "without a host to ask"},
		{"in a match condition", Spec{MatchConditions: conditionsOf(notAllowed), Validations: validations("true")}, nil, "without a host to ask"},
		{"namespaceObject", Spec{Validations: validations("namespaceObject == null")}, nil,
			"namespaceObject: kubernetes/get_resource: this policy runs without a host to ask: connect a cluster, or replay a recorded session"},
		{"params", limits(admissionv1.ParamRef{Name: "x"}), nil, "this policy runs without a host to ask: connect a cluster, or replay a recorded session"},
	} {
		p := mustProgram(t, tt.spec, Options{Host: tt.host})
		v, err := p.Evaluate(t.Context(), creation())
		var known *EvaluationError
		if !errors.As(err, &known) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %s\nwant %s", tt.name, said(v, err), tt.want)
		}
	}
}

func TestReads(t *testing.T) {
	configMap := Kind{"v1", "ConfigMap"}
	namespace := Kind{"v1", "Namespace"}
	for _, tt := range []struct {
		name string
		spec Spec
		want []Kind
	}{
		{"nothing", Spec{Validations: validations("object.namespaceObject == 'namespaceObject'")}, nil},
		{"params", limits(admissionv1.ParamRef{Name: "x"}), []Kind{configMap}},
		{"the namespace of a validation", Spec{Validations: validations("namespaceObject.metadata.name == 'x'")}, []Kind{namespace}},
		{"of a message", Spec{Validations: []admissionv1.Validation{{Expression: "true", MessageExpression: "string(namespaceObject)"}}}, []Kind{namespace}},
		{"of a variable", Spec{Variables: []admissionv1.Variable{{Name: "v", Expression: "[1].map(x, namespaceObject)"}}}, []Kind{namespace}},
		{"of a mutation", Spec{Mutations: []admissionv1.Mutation{{JSONPatch: &admissionv1.JSONPatch{Expression: "namespaceObject == null ? [] : []"}}}}, []Kind{namespace}},
		{"but not of a match condition, where it is null", Spec{MatchConditions: conditionsOf("namespaceObject == null")}, nil},
		{"what does not compile", Spec{Validations: validations("namespaceObject ==")}, nil},
	} {
		if diff := cmp.Diff(tt.want, Reads(tt.spec)); diff != "" {
			t.Errorf("%s (-want +have):\n%s", tt.name, diff)
		}
	}
}

func TestConditionsOfAWebhook(t *testing.T) {
	for _, tt := range []struct {
		conditions []string
		want       string
	}{
		{nil, "true <nil>"},
		{[]string{"true", "object.metadata.name == 'web'"}, "true <nil>"},
		{[]string{"true", "request.userInfo.username != 'alice'"}, "false <nil>"},
		{[]string{"object.absent == 1", "false"}, "false <nil>"},
		{[]string{"object.absent == 1"}, "false expression 'object.absent == 1' resulted in error: no such key: absent"},
		{[]string{"authorizer.requestResource.check('get').allowed()"}, "true <nil>"},
	} {
		c, err := CompileConditions(conditionsOf(tt.conditions...))
		if err != nil {
			t.Fatal(err)
		}
		ctx := sdk.WithHost(t.Context(), &cluster{access: `{"allowed":true}`})
		if match, err := c.Match(ctx, creation()); fmt.Sprint(match, " ", err) != tt.want {
			t.Errorf("%q = %t %v, want %s", tt.conditions, match, err, tt.want)
		}
	}
	_, err := CompileConditions(conditionsOf("true", "params.x == 1", "1"))
	if err == nil || !strings.Contains(err.Error(), "matchConditions[1].expression: compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'") ||
		!strings.Contains(err.Error(), "matchConditions[2].expression: must evaluate to bool but got int") {
		t.Errorf("error %v", err)
	}
}
