package v1

import admissionv1 "k8s.io/api/admissionregistration/v1"

// CELSpec is a policy written in CEL, with the fields of a
// ValidatingAdmissionPolicy or, when it has mutations, of a
// MutatingAdmissionPolicy under their names, and with their meaning.
//
// +kubebuilder:validation:XValidation:rule="(has(self.validations) && size(self.validations) > 0) || (has(self.mutations) && size(self.mutations) > 0) || (has(self.auditAnnotations) && size(self.auditAnnotations) > 0)",message="validations, mutations or auditAnnotations are required"
// +kubebuilder:validation:XValidation:rule="!has(self.mutations) || size(self.mutations) == 0 || !has(self.validations) || size(self.validations) == 0",message="a policy has either validations or mutations",fieldPath=".mutations"
// +kubebuilder:validation:XValidation:rule="!has(self.mutations) || size(self.mutations) == 0 || !has(self.auditAnnotations) || size(self.auditAnnotations) == 0",message="auditAnnotations are for policies with validations",fieldPath=".auditAnnotations"
// +kubebuilder:validation:XValidation:rule="has(self.paramKind) == has(self.paramRef)",message="paramKind and paramRef are required together"
// +kubebuilder:validation:XValidation:rule="!has(self.paramKind) || (has(self.paramKind.apiVersion) && has(self.paramKind.kind))",message="paramKind needs apiVersion and kind",fieldPath=".paramKind"
// +kubebuilder:validation:XValidation:rule="!has(self.paramRef) || has(self.paramRef.name) != has(self.paramRef.selector)",message="paramRef has either a name or a selector",fieldPath=".paramRef"
// +kubebuilder:validation:XValidation:rule="!has(self.paramRef) || (has(self.paramRef.parameterNotFoundAction) && self.paramRef.parameterNotFoundAction in ['Allow', 'Deny'])",message="paramRef needs parameterNotFoundAction: Allow or Deny",fieldPath=".paramRef"
// +kubebuilder:validation:XValidation:rule="!has(self.mutations) || self.mutations.all(m, m.patchType == 'ApplyConfiguration' ? has(m.applyConfiguration) && !has(m.jsonPatch) : m.patchType == 'JSONPatch' && has(m.jsonPatch) && !has(m.applyConfiguration))",message="a mutation has patchType ApplyConfiguration with applyConfiguration, or patchType JSONPatch with jsonPatch",fieldPath=".mutations"
type CELSpec struct {
	// paramKind is the kind of the objects that expressions see as params.
	//
	// +optional
	ParamKind *admissionv1.ParamKind `json:"paramKind,omitempty"`

	// paramRef says which objects of paramKind they are: the policy judges once
	// with each.
	//
	// +optional
	ParamRef *admissionv1.ParamRef `json:"paramRef,omitempty"`

	// matchConditions must all be true for a request to be judged. Unlike
	// spec.matchConditions they may use params, and the policy server evaluates
	// them, not the API server.
	//
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=name
	// +optional
	MatchConditions []admissionv1.MatchCondition `json:"matchConditions,omitempty"`

	// variables are expressions with a name: others write variables.NAME. Each
	// may use those before it.
	//
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	// +optional
	Variables []admissionv1.Variable `json:"variables,omitempty"`

	// validations must all be true, or the request is rejected.
	//
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	// +optional
	Validations []admissionv1.Validation `json:"validations,omitempty"`

	// auditAnnotations add what their expressions give to the audit log of the
	// API server.
	//
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	AuditAnnotations []admissionv1.AuditAnnotation `json:"auditAnnotations,omitempty"`

	// mutations change the object, one after the other. A policy has either these
	// or validations; with these, mutating must be true.
	//
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	// +optional
	Mutations []admissionv1.Mutation `json:"mutations,omitempty"`
}

// EnforceAt is who enforces a policy.
//
// +kubebuilder:validation:Enum=Webhook;APIServer
type EnforceAt string

// AtWebhook is a policy server that the API server asks. AtAPIServer is the API
// server itself, through a ValidatingAdmissionPolicy that the controller makes of
// the policy.
const (
	AtWebhook   EnforceAt = "Webhook"
	AtAPIServer EnforceAt = "APIServer"
)
