package cel

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/warder-dev/warder/sdk"
)

// Spec is a policy in CEL: what a ValidatingAdmissionPolicy and its binding say
// or, with Mutations, a MutatingAdmissionPolicy. Source of all semantics:
// https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy.
type Spec struct {
	ParamKind        *admissionv1.ParamKind
	ParamRef         *admissionv1.ParamRef
	MatchConditions  []admissionv1.MatchCondition
	Variables        []admissionv1.Variable
	Validations      []admissionv1.Validation
	AuditAnnotations []admissionv1.AuditAnnotation
	Mutations        []admissionv1.Mutation
}

// Options are what a program needs besides its Spec.
type Options struct {
	// Host answers what expressions ask of the cluster: namespaceObject, params
	// and authorizer. Nil: there is no cluster, and what needs one has no value.
	Host sdk.Host
	// FailurePolicy is what an expression without a value means, as the API
	// server has it: it decides which reasons a rejection names. Default Fail.
	FailurePolicy admissionv1.FailurePolicyType
	// Namespace is that of a namespaced policy: its params are of that
	// namespace. Empty for a policy of the whole cluster.
	Namespace string
}
