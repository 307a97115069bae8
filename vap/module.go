package vap

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	v1 "github.com/warder-dev/warder/api/v1"
)

// settings are those of Kubewarden's cel-policy, as far as it has what a
// ValidatingAdmissionPolicy has. Source: its README.
type settings struct {
	Variables     []admissionv1.Variable        `json:"variables,omitempty"`
	Validations   []admissionv1.Validation      `json:"validations"`
	FailurePolicy admissionv1.FailurePolicyType `json:"failurePolicy,omitempty"`
	ParamKind     *admissionv1.ParamKind        `json:"paramKind,omitempty"`
	ParamRef      *admissionv1.ParamRef         `json:"paramRef,omitempty"`
}

// WithModule makes a policy that Convert has made one of Kubewarden's cel-policy,
// which is at that URI: what was in spec.cel is in its settings. Its match
// conditions become the webhook's. The error joins a *RefusedError for each field
// that cel-policy cannot have.
func WithModule(policy *v1.ClusterAdmissionPolicy, uri string) (*v1.ClusterAdmissionPolicy, error) {
	out := policy.DeepCopy()
	cel := out.Spec.CEL
	var errs []error
	refuse := func(field, problem string) {
		errs = append(errs, &RefusedError{
			Object: fmt.Sprintf("policy %q", policy.Name), Field: field, Problem: problem + "; leave --cel-policy out, and it is kept in spec.cel",
		})
	}
	if len(cel.Mutations) > 0 {
		refuse("mutations", "cel-policy has none")
	}
	if len(cel.AuditAnnotations) > 0 {
		refuse("auditAnnotations", "cel-policy has none")
	}
	policyOnly := regexp.MustCompile(`\b(params|variables|namespaceObject)\b`)
	for i, m := range cel.MatchConditions {
		if name := policyOnly.FindString(m.Expression); name != "" {
			refuse(fmt.Sprintf("matchConditions[%d]", i), fmt.Sprintf("the match conditions of a webhook have no %s", name))
		}
		out.Spec.MatchConditions = append(out.Spec.MatchConditions, v1.MatchCondition{Name: m.Name, Expression: m.Expression})
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	text, err := json.Marshal(settings{
		Variables: cel.Variables, Validations: cel.Validations, FailurePolicy: or(out.Spec.FailurePolicy, admissionv1.Fail),
		ParamKind: cel.ParamKind, ParamRef: cel.ParamRef,
	})
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	out.Spec.Module, out.Spec.CEL, out.Spec.Settings.Raw = uri, nil, text
	read := func(apiVersion, kind string) {
		r := v1.ContextAwareResource{APIVersion: apiVersion, Kind: kind}
		if !slices.Contains(out.Spec.ContextAwareResources, r) {
			out.Spec.ContextAwareResources = append(out.Spec.ContextAwareResources, r)
		}
	}
	if cel.ParamKind != nil {
		read(cel.ParamKind.APIVersion, cel.ParamKind.Kind)
	}
	if regexp.MustCompile(`\bnamespaceObject\b`).Match(text) {
		read("v1", "Namespace")
	}
	return out, nil
}
