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

// creation asks for a pod with the network of its node.
func creation() *sdk.Request {
	kind, resource := sdk.GroupVersionKind{Version: "v1", Kind: "Pod"}, sdk.GroupVersionResource{Version: "v1", Resource: "pods"}
	return &sdk.Request{
		UID: "1", Operation: sdk.Create, Name: "web", Namespace: "shop", Kind: kind, Resource: resource, RequestKind: &kind, RequestResource: &resource,
		UserInfo: sdk.UserInfo{Username: "alice", UID: "7", Groups: []string{"dev"}, Extra: map[string][]string{"scope": {"a", "b"}}},
		Options:  json.RawMessage(`{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1","fieldManager":"kubectl"}`),
		Object: json.RawMessage(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop","labels":{"app":"web"}},` +
			`"spec":{"hostNetwork":true,"priority":10,"containers":[{"name":"a","image":"registry.local/a:1","ports":[{"containerPort":80}]}],"unknown":{"x":1.5}}}`),
	}
}

// deletion asks for its deletion.
func deletion() *sdk.Request {
	req := creation()
	req.Operation, req.Object, req.OldObject, req.Options = sdk.Delete, nil, req.Object, nil
	return req
}

// validations are validations of expressions alone.
func validations(expressions ...string) []admissionv1.Validation {
	var all []admissionv1.Validation
	for _, e := range expressions {
		all = append(all, admissionv1.Validation{Expression: e})
	}
	return all
}

func conditionsOf(expressions ...string) []admissionv1.MatchCondition {
	var all []admissionv1.MatchCondition
	for i, e := range expressions {
		all = append(all, admissionv1.MatchCondition{Name: fmt.Sprintf("c%d", i), Expression: e})
	}
	return all
}

func mustProgram(t testing.TB, spec Spec, opts Options) *Program {
	t.Helper()
	p, err := Compile(spec, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// said is a verdict, or why there is none, in one line.
func said(v sdk.Verdict, err error) string {
	switch {
	case err != nil:
		return "error: " + err.Error()
	case v.Accepted && v.MutatedObject != nil:
		return "mutated"
	case v.Accepted:
		return "accepted"
	default:
		return fmt.Sprintf("%d: %s", v.Code, v.Message)
	}
}

func TestExpressionsSeeTheRequest(t *testing.T) {
	p := func(expression string) *Program {
		return mustProgram(t, Spec{Validations: validations(expression)}, Options{})
	}
	yes := true
	for _, tt := range []struct {
		expression string
		req        func(*sdk.Request)
	}{
		{"object.metadata.name == 'web'", nil},
		{"object.spec.priority == 10 && type(object.spec.priority) == int", nil},
		{"object.spec.unknown.x == 1.5", nil},
		{"oldObject == null", nil},
		{"request.operation == 'CREATE' && request.name == 'web' && request.namespace == 'shop'", nil},
		{"request.kind.kind == 'Pod' && request.kind.version == 'v1' && request.kind.group == ''", nil},
		{"request.resource.resource == 'pods' && request.requestResource.resource == 'pods'", nil},
		{"request.userInfo.username == 'alice' && request.userInfo.uid == '7' && request.userInfo.groups == ['dev']", nil},
		{"request.userInfo.extra['scope'] == ['a', 'b']", nil},
		{"request.options.fieldManager == 'kubectl' && request.options.kind == 'CreateOptions'", nil},
		{"!request.dryRun", nil},
		{"request.dryRun", func(r *sdk.Request) { r.DryRun = &yes }},
		{"request.subResource == 'status' && request.requestSubResource == 'status'", func(r *sdk.Request) { r.SubResource, r.RequestSubResource = "status", "status" }},
		{"request.kind.version == 'v1' && request.requestKind.version == 'v1beta1'", func(r *sdk.Request) {
			r.RequestKind = &sdk.GroupVersionKind{Version: "v1beta1", Kind: "Pod"}
		}},
		{"object == null && oldObject.metadata.name == 'web' && request.operation == 'DELETE'", func(r *sdk.Request) { *r = *deletion() }},
		{"request.options == null", func(r *sdk.Request) { *r = *deletion() }},
		{"object.metadata.name == oldObject.metadata.name", func(r *sdk.Request) { r.Operation, r.OldObject = sdk.Update, r.Object }},
		{"object.container == 'a' && request.operation == 'CONNECT'", func(r *sdk.Request) {
			r.Operation, r.SubResource, r.Object = sdk.Connect, "exec", json.RawMessage(`{"kind":"PodExecOptions","apiVersion":"v1","container":"a"}`)
		}},
		{"quantity('1Gi').isGreaterThan(quantity('1Mi')) && 'a-1'.find('[0-9]') == '1' && isURL('https://x') && ip('10.0.0.1').family() == 4", nil},
		{"object.?spec.?absent.orValue('x') == 'x' && sets.contains([1, 2], [1]) && '%s'.format(['a']) == 'a'", nil},
		{"namespaceObject == null", func(r *sdk.Request) { r.Namespace = "" }},
	} {
		req := creation()
		if tt.req != nil {
			tt.req(req)
		}
		if have := said(p(tt.expression).Evaluate(t.Context(), req)); have != "accepted" {
			t.Errorf("%s: %s", tt.expression, have)
		}
	}
}

func TestTheMessageOfAValidation(t *testing.T) {
	forbidden, large := metav1.StatusReasonForbidden, metav1.StatusReasonRequestEntityTooLarge
	for _, tt := range []struct {
		name string
		v    admissionv1.Validation
		want string
	}{
		{"is the expression when there is none", admissionv1.Validation{Expression: " 1 == 2 "}, "422: failed expression: 1 == 2"},
		{"is what the policy says", admissionv1.Validation{Expression: "false", Message: " no "}, "422: no"},
		{"is computed", admissionv1.Validation{Expression: "false", MessageExpression: "' not ' + object.metadata.name", Message: "no"}, "422: not web"},
		{"is the fixed one when the other errs", admissionv1.Validation{Expression: "false", MessageExpression: "object.absent", Message: "no"}, "422: no"},
		{"is the fixed one when the other is blank", admissionv1.Validation{Expression: "false", MessageExpression: "' '", Message: "no"}, "422: no"},
		{"is the fixed one when the other has lines", admissionv1.Validation{Expression: "false", MessageExpression: "'a\\nb'", Message: "no"}, "422: no"},
		{"is the fixed one when the other is too long", admissionv1.Validation{
			Expression: "false", MessageExpression: "'" + strings.Repeat("x", 6000) + "'", Message: "no"}, "422: no"},
		{"reason Forbidden", admissionv1.Validation{Expression: "false", Message: "no", Reason: &forbidden}, "403: no"},
		{"reason RequestEntityTooLarge", admissionv1.Validation{Expression: "false", Message: "no", Reason: &large}, "413: no"},
		{"is nothing when it holds", admissionv1.Validation{Expression: "true", Message: "no"}, "accepted"},
	} {
		if tt.v.MessageExpression == "object.absent" {
			tt.v.MessageExpression = "string(object.absent)"
		}
		p := mustProgram(t, Spec{Validations: []admissionv1.Validation{tt.v}}, Options{})
		if have := said(p.Evaluate(t.Context(), creation())); have != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, have, tt.want)
		}
	}
}

func TestEveryReasonIsInTheAnswer(t *testing.T) {
	const absent = "expression 'object.absent == 1' resulted in error: no such key: absent"
	forbidden := metav1.StatusReasonForbidden
	no := func(message string) admissionv1.Validation {
		return admissionv1.Validation{Expression: "false", Message: message}
	}
	errs, holds := validations("object.absent == 1")[0], validations("true")[0]
	first := no("a")
	first.Reason = &forbidden
	for _, tt := range []struct {
		name         string
		all          []admissionv1.Validation
		fail, ignore string
	}{
		{"none", []admissionv1.Validation{holds}, "accepted", "accepted"},
		{"one", []admissionv1.Validation{holds, no("a")}, "422: a", "422: a"},
		{"two", []admissionv1.Validation{first, holds, no("b")}, "403: 2 reasons to refuse this request:\n- a\n- b", "403: 2 reasons to refuse this request:\n- a\n- b"},
		{"the same twice", []admissionv1.Validation{no("a"), no("a")}, "422: a", "422: a"},
		{"an error alone", []admissionv1.Validation{holds, errs}, "error: " + absent, "error: " + absent}, // the engine lets it through
		{"an error before one", []admissionv1.Validation{errs, no("a")}, "422: 2 reasons to refuse this request:\n- " + absent + "\n- a", "422: a"},
		{"an error after one", []admissionv1.Validation{first, errs}, "403: 2 reasons to refuse this request:\n- a\n- " + absent, "403: a"},
	} {
		for policy, want := range map[admissionv1.FailurePolicyType]string{"": tt.fail, admissionv1.Fail: tt.fail, admissionv1.Ignore: tt.ignore} {
			p := mustProgram(t, Spec{Validations: tt.all}, Options{FailurePolicy: policy})
			if have := said(p.Evaluate(t.Context(), creation())); have != want {
				t.Errorf("%s, failurePolicy %q: %s\nwant %s", tt.name, policy, have, want)
			}
		}
	}
}

func TestMatchConditionsDecideWhetherThePolicyIsAsked(t *testing.T) {
	const errs, text = "object.absent == 1", "expression 'object.absent == 1' resulted in error: no such key: absent"
	for _, tt := range []struct {
		name       string
		conditions []string
		want       string
	}{
		{"all true", []string{"true", "request.operation == 'CREATE'"}, "422: no"},
		{"one false", []string{"true", "request.operation == 'UPDATE'"}, "accepted"},
		{"one without a value", []string{"true", errs}, "error: " + text},
		{"a false one counts more", []string{errs, "false"}, "accepted"},
		{"namespaceObject is null in them", []string{"namespaceObject == null"}, "422: no"},
		{"the word variables means nothing in them", []string{"[1].all(variables, variables == 1)"}, "422: no"},
	} {
		p := mustProgram(t, Spec{
			MatchConditions: conditionsOf(tt.conditions...), Variables: []admissionv1.Variable{{Name: "no", Expression: "object.metadata.name == 'x'"}},
			Validations: []admissionv1.Validation{{Expression: "false", Message: "no"}},
		}, Options{})
		if have := said(p.Evaluate(t.Context(), creation())); have != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, have, tt.want)
		}
	}
}

func TestVariables(t *testing.T) {
	variable := func(name, expression string) admissionv1.Variable {
		return admissionv1.Variable{Name: name, Expression: expression}
	}
	for _, tt := range []struct {
		name       string
		variables  []admissionv1.Variable
		expression string
		want       string
	}{
		{"see those before them", []admissionv1.Variable{variable("a", "1"), variable("b", "variables.a + 1")}, "variables.b == 2", "accepted"},
		{"have the type of their expression", []admissionv1.Variable{variable("a", "object.spec.containers.map(c, string(c.name))")}, "variables.a[0].startsWith('a')", "accepted"},
		{"that nobody looks at do no harm", []admissionv1.Variable{variable("a", "object.absent")}, "true", "accepted"},
		{"that err", []admissionv1.Variable{variable("a", "object.absent")}, "variables.a == 1",
			`error: expression 'variables.a == 1' resulted in error: composited variable "a" fails to evaluate: no such key: absent`},
		{"may be called as keywords are", []admissionv1.Variable{variable("namespace", "object.metadata.namespace")}, "variables.namespace == 'shop'", "accepted"},
		{"are there or not", []admissionv1.Variable{variable("a", "1")}, "has(variables.a)", "accepted"},
	} {
		p, err := Compile(Spec{Variables: tt.variables, Validations: validations(tt.expression)}, Options{})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if have := said(p.Evaluate(t.Context(), creation())); have != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, have, tt.want)
		}
	}
}

func TestPoliciesDoNotSeeEachOthersVariables(t *testing.T) {
	mustProgram(t, Spec{Variables: []admissionv1.Variable{{Name: "theirs", Expression: "1"}}, Validations: validations("variables.theirs == 1")}, Options{})
	_, err := Compile(Spec{Validations: validations("variables.theirs == 1")}, Options{})
	if err == nil || !strings.Contains(err.Error(), "undefined field 'theirs'") {
		t.Errorf("error = %v, want an undefined field", err)
	}
}

func TestExpressionsThatCostTooMuchHaveNoValue(t *testing.T) {
	const loop = "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, a*b*c*d*e*f > 0))))))"
	for _, tt := range []struct{ name, expression, want string }{
		{"one", loop, "operation cancelled: actual cost limit exceeded"},
	} {
		p := mustProgram(t, Spec{Validations: validations(tt.expression)}, Options{})
		if have := said(p.Evaluate(t.Context(), creation())); !strings.Contains(have, tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, have, tt.want)
		}
	}
	// Each is within what one may cost, and all of them are not.
	half := strings.Replace(loop, "[1,2,3,4,5,6,7,8,9,10].all(a, ", "[1].all(a, ", 1)
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprintf("%s && %d > -1", half, i))
	}
	p := mustProgram(t, Spec{Validations: validations(many...)}, Options{})
	const want = "error: validation failed due to running out of cost budget, no further validation rules will be run"
	if have := said(p.Evaluate(t.Context(), creation())); have != want {
		t.Errorf("many: %s, want %s", have, want)
	}
}

func TestAuditAnnotations(t *testing.T) {
	spec := Spec{
		Validations: []admissionv1.Validation{{Expression: "object.metadata.name == 'web'", Message: "no"}},
		AuditAnnotations: []admissionv1.AuditAnnotation{
			{Key: "who", ValueExpression: "' ' + request.userInfo.username"},
			{Key: "nothing", ValueExpression: "null"},
			{Key: "blank", ValueExpression: "''"},
			{Key: "long", ValueExpression: "'" + strings.Repeat("x", maxAnnotation+1) + "'"},
		},
	}
	want := map[string]string{"who": "alice", "long": strings.Repeat("x", maxAnnotation)}
	v, err := mustProgram(t, spec, Options{}).Evaluate(t.Context(), creation())
	if diff := cmp.Diff(want, v.AuditAnnotations); diff != "" || err != nil || !v.Accepted {
		t.Errorf("%s (-want +have):\n%s", said(v, err), diff)
	}
	req := creation()
	req.Object = json.RawMessage(strings.Replace(string(req.Object), `"web"`, `"x"`, 1))
	v, err = mustProgram(t, spec, Options{}).Evaluate(t.Context(), req)
	if diff := cmp.Diff(want, v.AuditAnnotations); diff != "" || err != nil || v.Accepted {
		t.Errorf("rejected: %s (-want +have):\n%s", said(v, err), diff)
	}
	spec.AuditAnnotations = []admissionv1.AuditAnnotation{{Key: "k", ValueExpression: "string(object.absent)"}}
	if have := said(mustProgram(t, spec, Options{}).Evaluate(t.Context(), creation())); have != "error: expression 'string(object.absent)' resulted in error: no such key: absent" {
		t.Errorf("an error under Fail: %s", have)
	}
	spec.AuditAnnotations = append(spec.AuditAnnotations, admissionv1.AuditAnnotation{Key: "who", ValueExpression: "request.userInfo.username"})
	v, err = mustProgram(t, spec, Options{FailurePolicy: admissionv1.Ignore}).Evaluate(t.Context(), creation())
	if err != nil || !v.Accepted || v.AuditAnnotations["who"] != "alice" ||
		!cmp.Equal(v.Warnings, []string{"failurePolicy Ignore: expression 'string(object.absent)' resulted in error: no such key: absent"}) {
		t.Errorf("an error under Ignore: %s with %v, want the other annotation and a warning", said(v, err), v)
	}
}

func TestWhatIsNoRequestToTheAPIServerHasNoVerdict(t *testing.T) {
	p := mustProgram(t, Spec{Validations: validations("true")}, Options{})
	for _, tt := range []struct {
		req  sdk.Request
		want string
	}{
		{sdk.Request{Raw: json.RawMessage(`{}`)}, "request: a policy in CEL judges requests to the API server, and this is a raw document"},
		{sdk.Request{Operation: sdk.Create, Object: json.RawMessage(`[1]`)}, "request.object: json: cannot unmarshal array into Go value of type map[string]interface {}"},
		{sdk.Request{Operation: sdk.Update, OldObject: json.RawMessage(`{`)}, "request.oldObject: unexpected end of JSON input"},
	} {
		_, err := p.Evaluate(t.Context(), &tt.req)
		var known *EvaluationError
		if !errors.As(err, &known) || known.Stage() != "call" || err.Error() != tt.want {
			t.Errorf("%v\nwant %s", err, tt.want)
		}
	}
}

func TestTheEndOfTheContextIsTheError(t *testing.T) {
	p := mustProgram(t, Spec{Validations: validations("[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, a*b*c > 0)))")}, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, err := p.Evaluate(ctx, creation()); !errors.Is(err, context.Canceled) {
		t.Errorf("%s, want that it was cancelled", said(v, err))
	}
}

// TestProgramsOfOneRequestDecodeItsObjectOnce shows that they do, that the object
// of another request is another one, and that nobody's mutation changes it.
func TestProgramsOfOneRequestDecodeItsObjectOnce(t *testing.T) {
	ctx, req := Shared(t.Context()), creation()
	first, err := decode(ctx, "object", req.Object)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, m := range []admissionv1.Mutation{
		jsonPatch(`[JSONPatch{op: "remove", path: "/spec"}]`), apply(`Object{spec: Object.spec{hostNetwork: false, containers: [Object.spec.containers{name: "a", image: "b"}]}}`),
	} {
		p := mustProgram(t, Spec{Mutations: []admissionv1.Mutation{m}}, Options{})
		all.Go(func() {
			if have := said(p.Evaluate(ctx, req)); have != "mutated" {
				t.Error(have)
			}
		})
	}
	p := mustProgram(t, Spec{Validations: validations("object.spec.hostNetwork && object.spec.containers[0].image == 'registry.local/a:1'")}, Options{})
	for range 4 {
		all.Go(func() {
			if have := said(p.Evaluate(ctx, req)); have != "accepted" {
				t.Error(have)
			}
		})
	}
	all.Wait()
	again, err := decode(ctx, "object", req.Object)
	if again != first || err != nil {
		t.Errorf("the object was decoded again: %v", err)
	}
	fresh, err := decodeObject("object", req.Object)
	if diff := cmp.Diff(fresh, first); diff != "" || err != nil {
		t.Errorf("somebody changed the object (-want +have):\n%s", diff)
	}
	if other, err := decode(ctx, "object", creation().Object); other == first || err != nil {
		t.Errorf("another object is the same one: %v", err)
	}
}
