package cel

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	admission "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

func TestAMistakeInASpecSaysWhereItIs(t *testing.T) {
	odd := metav1.StatusReason("Teapot")
	action := admissionv1.ParameterNotFoundActionType("Maybe")
	patch := func(expression string) *admissionv1.JSONPatch { return &admissionv1.JSONPatch{Expression: expression} }
	for _, tt := range []struct {
		name string
		spec Spec
		want []string
	}{
		{"nothing", Spec{}, []string{"validations: Required value: validations, auditAnnotations or mutations must be specified"}},
		{"a name that is nearly one", Spec{Validations: validations("true", "objet.spec == 1")},
			[]string{"validations[1].expression: compilation failed: ERROR: <input>:1:1: undeclared reference to 'objet' (in container '')\n | objet.spec == 1\n | ^ did you mean object?"}},
		{"a field that is nearly one", Spec{Validations: validations("request.opration == 'x'")},
			[]string{"validations[0].expression: compilation failed: ERROR: <input>:1:8: undefined field 'opration'\n | request.opration == 'x'\n | .......^ did you mean operation?"}},
		{"a function that is nearly one", Spec{Validations: validations("quantty('1') == 1")}, []string{"did you mean quantity?"}},
		{"a variable that is nearly one", Spec{Variables: []admissionv1.Variable{{Name: "images", Expression: "1"}}, Validations: validations("variables.image == 1")}, []string{"did you mean images?"}},
		{"a variable that comes later", Spec{Variables: []admissionv1.Variable{{Name: "a", Expression: "variables.b"}, {Name: "b", Expression: "1"}}, Validations: validations("true")},
			[]string{"variables[0].expression: compilation failed: ERROR: <input>:1:10: undefined field 'b'"}},
		{"no boolean", Spec{Validations: validations("1", "object.spec")},
			[]string{"validations[0].expression: must evaluate to bool but got int", "validations[1].expression: must evaluate to bool but got dyn"}},
		{"no text", Spec{Validations: []admissionv1.Validation{{Expression: "true", MessageExpression: "1"}}}, []string{"validations[0].messageExpression: must evaluate to string but got int"}},
		{"authorizer in a message", Spec{Validations: []admissionv1.Validation{{Expression: "true", MessageExpression: "authorizer.path('/').check('get').reason()"}}},
			[]string{"validations[0].messageExpression: compilation failed: ERROR: <input>:1:1: undeclared reference to 'authorizer'"}},
		{"params without a kind", Spec{Validations: validations("params == null")}, []string{"undeclared reference to 'params'"}},
		{"no expression", Spec{Validations: validations(" ")}, []string{"validations[0].expression: Required value: an expression"}},
		{"what is not closed", Spec{MatchConditions: conditionsOf("(true"), Validations: validations("true")}, []string{"matchConditions[0].expression: compilation failed: ERROR: <input>:1:6: Syntax error: "}},
		{"an annotation that is no text", Spec{AuditAnnotations: []admissionv1.AuditAnnotation{{Key: "k", ValueExpression: "1"}}},
			[]string{"auditAnnotations[0].valueExpression: must evaluate to one of [string null_type] but got int"}},
		{"lines in a message", Spec{Validations: []admissionv1.Validation{{Expression: "true", Message: "a\nb"}, {Expression: "true ||\nfalse"}, {Expression: "true", Message: " "}}},
			[]string{"validations[0].message: message must not contain line breaks", "validations[1].message: message must be specified if expression contains line breaks",
				"validations[2].message: message must be non-empty if specified"}},
		{"a reason that there is not", Spec{Validations: []admissionv1.Validation{{Expression: "true", Reason: &odd}}},
			[]string{`validations[0].reason: Unsupported value: "Teapot": supported values: ["Forbidden" "Invalid" "RequestEntityTooLarge"]`}},
		{"a variable in a condition", Spec{Variables: []admissionv1.Variable{{Name: "a", Expression: "true"}}, MatchConditions: conditionsOf("variables.a"), Validations: validations("true")},
			[]string{"matchConditions[0].expression: compilation failed: ERROR: <input>:1:1: undeclared reference to 'variables'"}},
		{"a policy that does both", Spec{Validations: validations("true"), Mutations: []admissionv1.Mutation{{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: patch("[JSONPatch{}]")}}},
			[]string{"mutations: a policy either mutates or validates: make two of it"}},
		{"patches of no or two kinds", Spec{Mutations: []admissionv1.Mutation{
			{}, {PatchType: "X"}, {PatchType: admissionv1.PatchTypeJSONPatch}, {PatchType: admissionv1.PatchTypeApplyConfiguration, JSONPatch: patch("[]")},
		}}, []string{
			`mutations[0].patchType: Required value: "ApplyConfiguration" or "JSONPatch"`, `mutations[1].patchType: Unsupported value: "X"`,
			"mutations[2].jsonPatch: must be specified, and alone", "mutations[3].applyConfiguration: must be specified, and alone"}},
		{"patches that are none", Spec{Mutations: []admissionv1.Mutation{
			{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: patch("Object{}")},
			{PatchType: admissionv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionv1.ApplyConfiguration{Expression: "[JSONPatch{}]"}},
		}}, []string{
			"mutations[0].jsonPatch.expression: must evaluate to list(JSONPatch) but got Object", "mutations[1].applyConfiguration.expression: must evaluate to Object but got list(JSONPatch)"}},
		{"a reference to no params", Spec{ParamKind: &admissionv1.ParamKind{}, ParamRef: &admissionv1.ParamRef{}, Validations: validations("true")},
			[]string{"paramKind.apiVersion: Required value", "paramKind.kind: Required value", "paramRef.name: one of name or selector must be specified, and not both",
				`paramRef.parameterNotFoundAction: Required value: "Allow" or "Deny"`}},
		{"a reference without kind", Spec{ParamRef: &admissionv1.ParamRef{Name: "x", Selector: &metav1.LabelSelector{}, ParameterNotFoundAction: &action}, Validations: validations("true")},
			[]string{"paramKind: Required value", "paramRef.name: one of name or selector must be specified, and not both", `paramRef.parameterNotFoundAction: Unsupported value: "Maybe"`}},
	} {
		_, err := Compile(tt.spec, Options{})
		if err == nil {
			t.Errorf("%s: it compiles", tt.name)
			continue
		}
		joined, _ := err.(interface{ Unwrap() []error })
		if joined == nil || len(joined.Unwrap()) != len(tt.want) {
			t.Errorf("%s: want %d mistakes, have\n%v", tt.name, len(tt.want), err)
			continue
		}
		for i, one := range joined.Unwrap() {
			var known *SpecError
			if !errors.As(one, &known) || !strings.Contains(one.Error(), tt.want[i]) {
				t.Errorf("%s: %v\nwant %s", tt.name, one, tt.want[i])
			}
		}
	}
	if _, err := Compile(Spec{Validations: validations("true")}, Options{FailurePolicy: "Maybe"}); err == nil || !strings.Contains(err.Error(), `failurePolicy: Unsupported value: "Maybe"`) {
		t.Errorf("failurePolicy: %v", err)
	}
}

// sameExpressions are of every kind that the planner knows, and of libraries.
func sameExpressions() []string {
	return []string{
		"object.spec.containers.all(c, c.image.startsWith('registry.local/'))", "object.spec.containers.exists_one(c, c.name == 'a')",
		"object.spec.containers.map(c, c.name) == ['a']", "has(object.spec.x) || !has(object.spec.hostNetwork)", "object.absent == 1",
		"size(object.spec.containers) > 0 && object.spec.containers.size() == 1", "object.spec.priority % 0 == 1", "object.spec.priority / 3 * 2 - 1 >= 5",
		"object.metadata.name.matches('^w.*b$')", "'a' in object.metadata.labels", "object.metadata.labels.app != 'web' ? true : object.spec.priority < 5",
		"string(object.spec.priority) == '10' && int('7') == 7 && double(1) == 1.0 && bool('true')", "-object.spec.priority < 0",
		"timestamp('2026-01-01T00:00:00Z').getFullYear() == 2026 && duration('1h').getMinutes() == 60", "timestamp('2026-01-01T00:00:00Z').getHours('Europe/Vienna') == 1",
		"object.spec.containers[0].ports[0].containerPort == 80", "object.spec.containers[7].name == ''", "type(object.spec.priority) == int",
		"request.userInfo.groups.exists(g, g in ['dev', 'ops'])", "dyn(1) == 1.0 && 1 < 1.5", "b'ab' == bytes('ab')", "{'a': 1}.a == 1 && {'a': 1}['a'] == 1",
		"object.spec.containers.all(c, c.ports.all(p, p.containerPort > 10 && p.containerPort < 100))", "object == oldObject", "'x' + 1 == 'x1' || true",
		"object.metadata.name > 'a' && 'web'.contains('e') && 'web'.endsWith('b')", "namespaceObject == null || namespaceObject.metadata.name == 'x'",
		"[1, 2, 3].filter(x, x > 1).size() == 2", "uint(1) == 1u", "!true || false", "'abc'.charAt(1) == 'b'", "quantity('1Gi').isGreaterThan(quantity('1Mi'))",
		"sets.contains([1, 2], [1])", "[3, 1].sort() == [1, 3]", "object.?spec.?absent.hasValue()", "'a1'.find('[0-9]') == '1'", "ip('10.0.0.1').family() == 4",
		"[1, 2].sum() == 3 && [1, 2].isSorted()", "'%s-%d'.format(['a', 1]) == 'a-1'", "lists.range(3) == [0, 1, 2]", "{'a': 1}.all(k, v, k == 'a' && v == 1)",
		"object.spec.containers.map(c, c.image.contains('a'), c.name.size()).exists(n, n == 1)", "semver('1.2.3').isLessThan(semver('1.2.4'))", "1 / 0 == 1 || true",
		"[1, 'a', object.spec.priority][2] == 10 || true", "object.metadata.labels.exists(k, object.metadata.labels[k] == 'web')", "google.protobuf.Timestamp == google.protobuf.Timestamp",
	}
}

// TestAProgramDoesAndCostsWhatTheAPIServersDoes compares programs with those of
// the API server's own compiler: value, error and what is left of the cost.
func TestAProgramDoesAndCostsWhatTheAPIServersDoes(t *testing.T) {
	theirs, err := admission.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := sharedCompiler()
	if err != nil {
		t.Fatal(err)
	}
	lean := 0
	for _, expression := range sameExpressions() {
		for _, options := range []admission.OptionalVariableDeclarations{{}, {HasAuthorizer: true}, {HasParams: true, HasAuthorizer: true}} {
			e := &validating.ValidationCondition{Expression: expression}
			end := ours.begin()
			have, err := ours.compile(e, options)
			if _, ok := ours.lean.compile(e, options); ok {
				lean++
			}
			end()
			want := theirs.CompileCELExpression(e, options, environment.StoredExpressions)
			if err != nil || want.Error != nil {
				if want.Error == nil || err == nil || !strings.HasPrefix(err.Error(), want.Error.Detail) {
					t.Errorf("%s: error %v, want %v", expression, err, want.Error)
				}
				continue
			}
			if diff := cmp.Diff(outcomeOf(t, want), outcomeOf(t, have)); diff != "" {
				t.Errorf("%s (-theirs +ours):\n%s", expression, diff)
			}
		}
	}
	if lean < 60 {
		t.Errorf("%d expressions are planned here, want those that call CEL's own functions", lean)
	}
}

func outcomeOf(t *testing.T, r admission.CompilationResult) string {
	a, err := attributes(t.Context(), creation())
	if err != nil {
		t.Fatal(err)
	}
	request := admission.CreateAdmissionRequest(a.Attributes, metav1.GroupVersionResource(a.GetResource()), metav1.GroupVersionKind(a.VersionedKind))
	results, budget, err := admission.NewCondition([]admission.CompilationResult{r}).ForInput(t.Context(), a, request, admission.OptionalVariableBindings{}, nil, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(results[0].EvalResult, " ", results[0].Error, " ", budget, " ", r.OutputType)
}
