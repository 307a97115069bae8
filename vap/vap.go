// Package vap turns the API server's own policies, ValidatingAdmissionPolicy and
// MutatingAdmissionPolicy with their bindings, into ours. What narrows the
// requests that a policy judges is kept, or the policy is refused: nothing judges
// more or less than it did. The way back is manifest.NativeOf.
package vap

import (
	"errors"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/warder-dev/warder/api/v1"
)

// Pair is a policy of the API server's with one of its bindings.
type Pair struct {
	// Policy has the fields of a ValidatingAdmissionPolicy or, with Mutations, of a
	// MutatingAdmissionPolicy.
	Policy Policy
	// Binding is what puts it into force.
	Binding Binding
}

// Policy is a ValidatingAdmissionPolicy or a MutatingAdmissionPolicy.
type Policy struct {
	Name string
	// Mutating says which of the two it is.
	Mutating bool
	// Spec is that of a ValidatingAdmissionPolicy, without validations if the
	// policy mutates.
	Spec admissionv1.ValidatingAdmissionPolicySpec
	// Mutations and Reinvocation are of a MutatingAdmissionPolicy.
	Mutations    []admissionv1.Mutation
	Reinvocation admissionv1.ReinvocationPolicyType
}

// Kind is the policy's kind.
func (p Policy) Kind() string {
	if p.Mutating {
		return kindMutating
	}
	return kindValidating
}

// Binding is the binding of either kind of policy. That of a mutating one has no
// validationActions.
type Binding struct {
	Name     string
	Mutating bool
	Spec     admissionv1.ValidatingAdmissionPolicyBindingSpec
}

// Kinds of admissionregistration.k8s.io.
const (
	kindValidating = "ValidatingAdmissionPolicy"
	kindMutating   = "MutatingAdmissionPolicy"
	bindingSuffix  = "Binding"
)

// RefusedError is a field of a policy or a binding that ours cannot have.
type RefusedError struct {
	// Object is its kind and name, Field the path in it.
	Object, Field string
	// Problem says what is wrong, and what to do.
	Problem string
}

func (e *RefusedError) Error() string { return e.Object + ": " + e.Field + ": " + e.Problem }

// matchName is the match condition that says what rules and selectors of ours
// cannot.
const matchName = "warder.dev/match"

// maxConditions and maxRules are how many a policy of ours may have.
const (
	maxConditions = 64
	maxRules      = 128
)

// conversion is the making of a policy of ours.
type conversion struct {
	Pair
	out      *v1.ClusterAdmissionPolicy
	terms    []string // of matchName
	warnings []string
	errs     []error
}

// Convert returns the policy of ours, which has the binding's name, and what of
// the pair it has in another way. It is one of the whole cluster. The error joins
// a *RefusedError for each field that it cannot have.
func Convert(p Pair) (*v1.ClusterAdmissionPolicy, []string, error) {
	c := &conversion{Pair: p, out: &v1.ClusterAdmissionPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1.GroupVersion().String(), Kind: string(v1.KindClusterAdmissionPolicy)},
		ObjectMeta: metav1.ObjectMeta{Name: p.Binding.Name},
	}}
	spec := p.Policy.Spec
	c.out.Spec.BackgroundAudit, c.out.Spec.PolicyServer = true, "default"
	c.out.Spec.Mutating = p.Policy.Mutating
	c.out.Spec.FailurePolicy = new(or(spec.FailurePolicy, admissionv1.Fail))
	c.out.Spec.CEL = &v1.CELSpec{
		ParamKind: spec.ParamKind, ParamRef: p.Binding.Spec.ParamRef, MatchConditions: slices.Clone(spec.MatchConditions),
		Variables: spec.Variables, Validations: spec.Validations, AuditAnnotations: spec.AuditAnnotations, Mutations: p.Policy.Mutations,
	}
	c.bound()
	c.match()
	c.condition()
	if len(c.errs) > 0 {
		return nil, c.warnings, errors.Join(c.errs...)
	}
	c.warn(`%s: policy %q does not judge the namespace that warder is in: set spec.allowInsideAdmissionControllerNamespace if it shall`,
		c.policy(), c.out.Name)
	return c.out, c.warnings, nil
}

func (c *conversion) policy() string { return fmt.Sprintf("%s %q", c.Policy.Kind(), c.Policy.Name) }

func (c *conversion) binding() string {
	return fmt.Sprintf("%s %q", c.Policy.Kind()+bindingSuffix, c.Binding.Name)
}

func (c *conversion) warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

func (c *conversion) refuse(object, field, format string, args ...any) {
	c.errs = append(c.errs, &RefusedError{Object: object, Field: field, Problem: fmt.Sprintf(format, args...)})
}

// bound takes what the binding says but for what it matches.
func (c *conversion) bound() {
	b := c.Binding
	if b.Name == "" {
		c.refuse(c.binding(), "metadata.name", "is missing: it becomes the name of the policy")
	}
	if b.Spec.PolicyName != c.Policy.Name {
		c.refuse(c.binding(), "spec.policyName", "is %q, and the policy's name is %q", b.Spec.PolicyName, c.Policy.Name)
	}
	if b.Spec.ParamRef != nil && c.Policy.Spec.ParamKind == nil {
		c.refuse(c.binding(), "spec.paramRef", "the policy has no spec.paramKind; leave paramRef out, or say of which kind it is")
	}
	if b.Spec.ParamRef == nil && c.Policy.Spec.ParamKind != nil {
		c.refuse(c.binding(), "spec.paramRef", "is missing: the policy has spec.paramKind; say which params it is, or leave paramKind out")
	}
	if c.Policy.Mutating {
		if c.Policy.Reinvocation == admissionv1.IfNeededReinvocationPolicy {
			c.warn("%s: spec.reinvocationPolicy: warder asks a mutating policy once for each request; "+
				"spec.order says which of several comes first", c.policy())
		}
		c.out.Spec.Mode = v1.Protect
		return
	}
	has := func(a admissionv1.ValidationAction) bool { return slices.Contains(b.Spec.ValidationActions, a) }
	for _, a := range b.Spec.ValidationActions {
		if a != admissionv1.Deny && a != admissionv1.Warn && a != admissionv1.Audit {
			c.refuse(c.binding(), "spec.validationActions", "%q is none; want Deny, Warn or Audit", a)
		}
	}
	c.out.Spec.Mode = v1.Monitor
	switch {
	case len(b.Spec.ValidationActions) == 0:
		c.refuse(c.binding(), "spec.validationActions", "is empty; want [Deny], which becomes mode protect, or [Audit], which becomes monitor")
	case has(admissionv1.Deny) && has(admissionv1.Warn):
		c.refuse(c.binding(), "spec.validationActions", "Deny and Warn exclude each other; leave one out")
	case has(admissionv1.Deny):
		c.out.Spec.Mode = v1.Protect
	case has(admissionv1.Warn):
		c.warn("%s: spec.validationActions: mode monitor records what is wrong, and does not warn who asked", c.binding())
	}
	if has(admissionv1.Audit) {
		c.warn("%s: spec.validationActions: warder records what is wrong in its log, its metrics and its reports, "+
			"and not in the audit log of the API server", c.binding())
	}
}

// condition adds the match condition with what was found to be one.
func (c *conversion) condition() {
	if len(c.terms) == 0 {
		return
	}
	expression := c.terms[0]
	for _, term := range c.terms[1:] {
		expression += " && " + term
	}
	conditions := c.out.Spec.CEL.MatchConditions
	for i, have := range conditions {
		// There is no place for another one, or the name is taken.
		if have.Name == matchName || len(conditions) == maxConditions && i == maxConditions-1 {
			conditions[i].Expression = expression + " && (\n" + have.Expression + "\n)"
			return
		}
	}
	c.out.Spec.CEL.MatchConditions = append(conditions, admissionv1.MatchCondition{Name: matchName, Expression: expression})
}

func or[T ~string](value *T, otherwise T) T {
	if value == nil || *value == "" {
		return otherwise
	}
	return *value
}
