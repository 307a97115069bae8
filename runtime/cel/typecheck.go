package cel

import (
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
)

// TypeChecker looks for mistakes that only the schema of the objects shows: a
// field that they do not have, or of another type. The API server says so in the
// status of a ValidatingAdmissionPolicy.
type TypeChecker struct {
	// Schemas are those of the cluster.
	Schemas resolver.SchemaResolver
	// Kinds says of which kind the objects of a resource are.
	Kinds meta.RESTMapper
}

// Warning is what is odd about an expression.
type Warning struct {
	// Field is where, as in "validations[1].expression".
	Field string
	// Problem is what, for each kind of objects for which there is one.
	Problem string
}

// Check checks validations and their messages against the kinds of the rules,
// ten of each rule at most; rules with wildcards name no kind. What is warned of
// still compiles: an object may have the field in another version.
func (t *TypeChecker) Check(spec Spec, rules []admissionv1.RuleWithOperations) []Warning {
	policy := &admissionv1.ValidatingAdmissionPolicy{Spec: admissionv1.ValidatingAdmissionPolicySpec{
		ParamKind: spec.ParamKind, Variables: spec.Variables, Validations: spec.Validations, MatchConstraints: &admissionv1.MatchResources{},
	}}
	for _, r := range rules {
		policy.Spec.MatchConstraints.ResourceRules = append(policy.Spec.MatchConstraints.ResourceRules, admissionv1.NamedRuleWithOperations{RuleWithOperations: r})
	}
	checker := validating.TypeChecker{SchemaResolver: t.Schemas, RestMapper: t.Kinds}
	var warnings []Warning
	for _, w := range checker.Check(policy) {
		warnings = append(warnings, Warning{Field: strings.TrimPrefix(w.FieldRef, "spec."), Problem: strings.TrimSpace(w.Warning)})
	}
	return warnings
}
