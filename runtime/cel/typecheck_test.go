package cel

import (
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// widgets is the schema of one kind.
type widgets struct{}

func (widgets) ResolveSchema(kind schema.GroupVersionKind) (*spec.Schema, error) {
	if kind.Kind != "Widget" {
		return nil, fmt.Errorf("%w: %v", resolver.ErrSchemaNotFound, kind)
	}
	object := func(fields map[string]spec.Schema) spec.Schema {
		return spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Properties: fields}}
	}
	of := object(map[string]spec.Schema{"spec": object(map[string]spec.Schema{"replicas": *spec.Int64Property(), "name": *spec.StringProperty()})})
	return &of, nil
}

func TestTypesAreCheckedAgainstTheSchema(t *testing.T) {
	group := schema.GroupVersion{Group: "example.org", Version: "v1"}
	kinds := meta.NewDefaultRESTMapper([]schema.GroupVersion{group})
	kinds.Add(group.WithKind("Widget"), meta.RESTScopeNamespace)
	kinds.Add(group.WithKind("Gadget"), meta.RESTScopeNamespace)
	checker := TypeChecker{Schemas: widgets{}, Kinds: kinds}
	rules := func(resource string) []admissionv1.RuleWithOperations {
		return []admissionv1.RuleWithOperations{{Rule: admissionv1.Rule{APIGroups: []string{"example.org"}, APIVersions: []string{"v1"}, Resources: []string{resource}}}}
	}
	tests := Spec{
		Variables: []admissionv1.Variable{{Name: "n", Expression: "object.spec.replicas"}},
		Validations: []admissionv1.Validation{
			{Expression: "variables.n <= 5"},
			{Expression: "object.spec.replcas <= 5", MessageExpression: "object.spec.name + object.spec.replicas"},
			{Expression: "object.spec.name > 5"},
		},
	}
	want := []struct{ field, problem string }{
		{"validations[1].expression", "undefined field 'replcas'"},
		{"validations[1].messageExpression", "found no matching overload for '_+_' applied to '(string, int)'"},
		{"validations[2].expression", "found no matching overload for '_>_' applied to '(string, int)'"},
	}
	have := checker.Check(tests, rules("widgets"))
	if len(have) != len(want) {
		t.Fatalf("%d warnings, want %d: %v", len(have), len(want), have)
	}
	for i, w := range want {
		if have[i].Field != w.field || !strings.Contains(have[i].Problem, w.problem) || !strings.Contains(have[i].Problem, "Kind=Widget") {
			t.Errorf("%+v\nwant %s: %s", have[i], w.field, w.problem)
		}
	}
	for _, resource := range []string{"gadgets", "absent", "*"} {
		if have := checker.Check(tests, rules(resource)); have != nil {
			t.Errorf("%s, of which there is no schema: %v", resource, have)
		}
	}
}
