package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/warder-dev/warder/api/v1"
)

const everyKeyOfCEL = `
limits:
  cel:
    paramKind: {apiVersion: v1, kind: ConfigMap}
    paramRef:
      namespace: config
      selector:
        matchLabels: {app: limits}
        matchExpressions: [{key: tier, operator: In, values: [a, b]}]
      parameterNotFoundAction: Deny
    matchConditions: [{name: not-system, expression: "request.userInfo.username != 'x'"}]
    variables: [{name: max, expression: "int(params.data.max)"}]
    validations:
    - expression: object.spec.replicas <= variables.max
      messageExpression: "'at most ' + string(variables.max)"
      reason: Forbidden
    - {expression: "true", message: fine, reason: ~}
    auditAnnotations: [{key: replicas, valueExpression: string(object.spec.replicas)}]
  rules: [{apiGroups: [apps], apiVersions: [v1], resources: [deployments], operations: [CREATE]}]
sidecar:
  allowedToMutate: true
  cel:
    paramKind: {apiVersion: example.org/v1, kind: Limit}
    paramRef: {name: x, parameterNotFoundAction: Allow}
    mutations:
    - {patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{}"}}
    - {patchType: JSONPatch, jsonPatch: {expression: "[]"}}
either:
  expression: inCEL() || module()
  message: neither
  policies:
    inCEL: {cel: {validations: [{expression: "true"}]}}
    module: {module: builtin://x}
`

func TestParseFileReadsPoliciesInCEL(t *testing.T) {
	have, warnings, err := ParseFile("policies.yml", []byte(everyKeyOfCEL))
	if err != nil || warnings != nil {
		t.Fatalf("error %v, warnings %v", err, warnings)
	}
	deny, allow, forbidden := admissionv1.DenyAction, admissionv1.AllowAction, metav1.StatusReasonForbidden
	want := []Policy{
		{ID: "either", Mode: Protect, FailurePolicy: Fail, Group: &Group{Expression: "inCEL() || module()", Message: "neither", Members: map[string]Policy{
			"inCEL":  {CEL: &v1.CELSpec{Validations: []admissionv1.Validation{{Expression: "true"}}}},
			"module": {Module: "builtin://x"},
		}}},
		{ID: "limits", Mode: Protect, FailurePolicy: Fail, CEL: &v1.CELSpec{
			ParamKind: &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
			ParamRef: &admissionv1.ParamRef{
				Namespace: "config", ParameterNotFoundAction: &deny,
				Selector: &metav1.LabelSelector{
					MatchLabels:      map[string]string{"app": "limits"},
					MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: "In", Values: []string{"a", "b"}}},
				},
			},
			MatchConditions: []admissionv1.MatchCondition{{Name: "not-system", Expression: "request.userInfo.username != 'x'"}},
			Variables:       []admissionv1.Variable{{Name: "max", Expression: "int(params.data.max)"}},
			Validations: []admissionv1.Validation{
				{Expression: "object.spec.replicas <= variables.max", MessageExpression: "'at most ' + string(variables.max)", Reason: &forbidden},
				{Expression: "true", Message: "fine"},
			},
			AuditAnnotations: []admissionv1.AuditAnnotation{{Key: "replicas", ValueExpression: "string(object.spec.replicas)"}},
		}, Rules: []Rule{{[]string{"apps"}, []string{"v1"}, []string{"deployments"}, []string{"CREATE"}, ""}}},
		{ID: "sidecar", Mode: Protect, FailurePolicy: Fail, AllowedToMutate: true, CEL: &v1.CELSpec{
			ParamKind: &admissionv1.ParamKind{APIVersion: "example.org/v1", Kind: "Limit"},
			ParamRef:  &admissionv1.ParamRef{Name: "x", ParameterNotFoundAction: &allow},
			Mutations: []admissionv1.Mutation{
				{PatchType: "ApplyConfiguration", ApplyConfiguration: &admissionv1.ApplyConfiguration{Expression: "Object{}"}},
				{PatchType: "JSONPatch", JSONPatch: &admissionv1.JSONPatch{Expression: "[]"}},
			},
		}},
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("ParseFile (-want +have):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"builtin://x"}, have[0].Modules()); diff != "" {
		t.Errorf("modules of a group (-want +have):\n%s", diff)
	}
	if modules := have[1].Modules(); len(modules) > 0 {
		t.Errorf("a policy in CEL has the modules %q", modules)
	}
}

func TestMistakesInCELAreReportedWhereTheyAre(t *testing.T) {
	for _, tt := range []struct{ name, cel, want string }{
		{"no object", "{cel: x}", `1:10: p: cel: want an object, have "x"`},
		{"nothing to do", "{cel: {}}", "1:10: p: cel: has nothing to do: want validations, mutations or auditAnnotations"},
		{"null", "{cel: ~}", "1:1: p: module: is missing: say where the module is"},
		{"near key", "{cel: {validations: [{expresion: a}]}}", "1:26: p: cel.validations[0].expresion: unknown key; did you mean expression?"},
		{"far key", "{cel: {validations: [{expression: a, zz: b}]}}",
			"1:41: p: cel.validations[0].zz: unknown key; known are expression, message, messageExpression, reason"},
		{"near key of the entry", "{cell: {}}", `1:1: p: want a module or cel (one policy) or policies (a group), have neither; is "cell" meant to be "cel"?`},
		{"module and cel", "{module: m, cel: {validations: [{expression: a}]}}", "1:21: p: cel: a policy has a module or is written in CEL; this one has both"},
		{"group and cel", "{policies: {}, cel: {validations: [{expression: a}]}}", "1:5: p: policies: a policy has a module or cel, a group has policies; the entry has both"},
		{"settings", "{settings: {}, cel: {validations: [{expression: a}]}}", "1:15: p: settings: settings are of a module: a policy in CEL has params"},
		{"type", "{cel: {validations: [{expression: 5}]}}", "1:38: p: cel.validations[0].expression: want a string, have 5; quote it"},
		{"list", "{cel: {validations: {expression: a}}}", "1:24: p: cel.validations: want a list, have an object"},
		{"mutating", "{cel: {mutations: [{patchType: JSONPatch, jsonPatch: {expression: a}}]}}", "1:1: p: allowedToMutate: must be true of a policy with cel.mutations"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := ParseFile("policies.yml", []byte("p: "+tt.cel))
			if err == nil {
				t.Fatal("it is taken")
			}
			if diff := cmp.Diff("policies.yml:"+tt.want, err.Error()); diff != "" {
				t.Errorf("error (-want +have):\n%s", diff)
			}
		})
	}
}

func TestValidateSaysWhatAPolicyInCELCannotBe(t *testing.T) {
	allow := admissionv1.AllowAction
	valid := func() *v1.CELSpec {
		return &v1.CELSpec{
			ParamKind:   &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
			ParamRef:    &admissionv1.ParamRef{Name: "x", ParameterNotFoundAction: &allow},
			Validations: []admissionv1.Validation{{Expression: "true"}},
		}
	}
	patch := admissionv1.Mutation{PatchType: "JSONPatch", JSONPatch: &admissionv1.JSONPatch{Expression: "[]"}}
	for _, tt := range []struct {
		name   string
		change func(*v1.CELSpec)
		want   string // lines, without `policy "p": cel.`
	}{
		{"nothing", func(*v1.CELSpec) {}, ""},
		{"auditAnnotations alone", func(c *v1.CELSpec) {
			c.Validations, c.AuditAnnotations = nil, []admissionv1.AuditAnnotation{{Key: "k", ValueExpression: "''"}}
		}, ""},
		{"validations and mutations", func(c *v1.CELSpec) { c.Mutations = []admissionv1.Mutation{patch} },
			"mutations: a policy has either validations or mutations; make two of it"},
		{"auditAnnotations and mutations", func(c *v1.CELSpec) {
			c.Validations, c.Mutations = nil, []admissionv1.Mutation{patch}
			c.AuditAnnotations = []admissionv1.AuditAnnotation{{Key: "k", ValueExpression: "''"}}
		}, "auditAnnotations: are for policies with validations; leave them out of one with mutations"},
		{"no paramRef", func(c *v1.CELSpec) { c.ParamRef = nil }, "paramRef: is missing: say which objects of paramKind are the params"},
		{"no paramKind", func(c *v1.CELSpec) { c.ParamKind = nil }, "paramKind: is missing: say of which kind the params of paramRef are"},
		{"half a paramKind", func(c *v1.CELSpec) { *c.ParamKind = admissionv1.ParamKind{APIVersion: "a/b/c"} },
			"paramKind.apiVersion: want GROUP/VERSION or, in the core group, VERSION, have \"a/b/c\"\nparamKind.kind: is missing or empty"},
		{"no name", func(c *v1.CELSpec) { c.ParamRef.Name = "" }, "paramRef: want a name or a selector; selector: {} is all objects of the kind"},
		{"name and selector", func(c *v1.CELSpec) { c.ParamRef.Selector = &metav1.LabelSelector{} }, "paramRef.selector: want a name or a selector, have both"},
		{"operator", func(c *v1.CELSpec) {
			c.ParamRef.Name = ""
			c.ParamRef.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Is"}}}
		}, "paramRef.selector.matchExpressions[0].operator: Invalid value: \"Is\": not a valid selector operator"},
		{"no action", func(c *v1.CELSpec) { c.ParamRef.ParameterNotFoundAction = nil },
			"paramRef.parameterNotFoundAction: is missing: say Allow or Deny, for when there are no params"},
		{"another namespace", func(c *v1.CELSpec) { c.ParamRef.Namespace = "other" },
			`paramRef.namespace: "other" is not the policy's own namespace, and a policy of namespace "own" sees no other; leave it out`},
		{"its own namespace", func(c *v1.CELSpec) { c.ParamRef.Namespace = "own" }, ""},
		{"names", func(c *v1.CELSpec) {
			c.Variables = []admissionv1.Variable{{Name: "a", Expression: "1"}, {Name: "a", Expression: "1"}, {Name: "b-c", Expression: "1"}, {Name: "in", Expression: " "}}
			c.MatchConditions = []admissionv1.MatchCondition{{Name: "x", Expression: "1"}, {Name: "x", Expression: "1"}, {Expression: "1"}}
			c.AuditAnnotations = []admissionv1.AuditAnnotation{{Key: "a/b", ValueExpression: "1"}}
		}, "matchConditions[1].name: \"x\" is there already\nmatchConditions[2].name: is missing or empty\n" +
			"variables[1].name: \"a\" is there already\n" +
			"variables[2].name: \"b-c\" cannot be written after \"variables.\": use letters, digits and underscores, and no reserved word\n" +
			"variables[3].name: \"in\" cannot be written after \"variables.\": use letters, digits and underscores, and no reserved word\n" +
			"variables[3].expression: is missing or empty\n" +
			"auditAnnotations[0].key: \"a/b\" has a slash: the name of the policy is put before it"},
		{"messages", func(c *v1.CELSpec) {
			reason := metav1.StatusReason("No")
			c.Validations = []admissionv1.Validation{
				{Expression: ""}, {Expression: "a &&\nb"}, {Expression: "a", Message: "a\nb"}, {Expression: "a", Message: " "},
				{Expression: "a", MessageExpression: " ", Reason: &reason}, {Expression: "a\n"},
			}
		}, "validations[0].expression: is missing or empty\n" +
			"validations[1].message: is missing: it is needed where the expression has line breaks\n" +
			"validations[2].message: has line breaks; want one line\n" +
			"validations[3].message: is blank; say something, or leave it out\n" +
			"validations[4].messageExpression: is missing or empty\n" +
			`validations[4].reason: want Forbidden, Invalid, RequestEntityTooLarge or Unauthorized, have "No"`},
		{"mutations", func(c *v1.CELSpec) {
			apply := &admissionv1.ApplyConfiguration{Expression: ""}
			c.Validations, c.Mutations = nil, []admissionv1.Mutation{
				patch, {}, {PatchType: "Merge"}, {PatchType: "JSONPatch", ApplyConfiguration: apply}, {PatchType: "ApplyConfiguration", ApplyConfiguration: apply},
			}
		}, "mutations[1].patchType: is missing: want ApplyConfiguration or JSONPatch\n" +
			"mutations[2].patchType: want ApplyConfiguration or JSONPatch, have \"Merge\"\n" +
			"mutations[3].applyConfiguration: has no place beside patchType JSONPatch\n" +
			"mutations[3].jsonPatch: is missing: it has the expression\n" +
			"mutations[4].applyConfiguration.expression: is missing or empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Policy{ID: "p", Namespace: "own", AllowedToMutate: true, CEL: valid()}
			tt.change(p.CEL)
			have := ""
			if err := p.Validate(); err != nil {
				have = strings.ReplaceAll(err.Error(), `policy "p": cel.`, "")
			}
			if diff := cmp.Diff(tt.want, have); diff != "" {
				t.Errorf("problems (-want +have):\n%s", diff)
			}
		})
	}
}

func TestAGroupTakesMembersInCELThatDoNotMutate(t *testing.T) {
	mutation := admissionv1.Mutation{PatchType: "JSONPatch", JSONPatch: &admissionv1.JSONPatch{Expression: "[]"}}
	p := Policy{ID: "g", Namespace: "own", CEL: &v1.CELSpec{}, Group: &Group{Expression: "a() && b()", Message: "m", Members: map[string]Policy{
		"a": {CEL: &v1.CELSpec{Mutations: []admissionv1.Mutation{mutation}}},
		"b": {Module: "m", CEL: &v1.CELSpec{Validations: []admissionv1.Validation{{Expression: " "}}}},
	}}}
	want := `policy "g": cel: a group has no expressions but its own; its members may be written in CEL
policy "g": policies.a.cel.mutations: a member of a group cannot mutate
policy "g": policies.b.cel: a policy has a module or is written in CEL; this one has both
policy "g": policies.b.cel.validations[0].expression: is missing or empty`
	if diff := cmp.Diff(want, p.Validate().Error()); diff != "" {
		t.Errorf("problems (-want +have):\n%s", diff)
	}
}
