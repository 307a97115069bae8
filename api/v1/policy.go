package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// ModuleSpec is a module with what one use of it needs, or a policy in CEL.
//
// +kubebuilder:validation:XValidation:rule="has(self.module) != has(self.cel)",message="either module or cel is required, and not both"
// +kubebuilder:validation:XValidation:rule="!has(self.cel) || !has(self.settings)",message="settings are of a module: a policy in cel has params"
type ModuleSpec struct {
	// module is where the module is: builtin://NAME, registry://HOST/PATH:TAG,
	// https://, http:// or file://. Without a scheme it is registry://.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Module string `json:"module,omitempty"`

	// cel is a policy written in CEL, in place of a module: the expressions of a
	// ValidatingAdmissionPolicy or of a MutatingAdmissionPolicy. An extension of
	// warder.
	//
	// +optional
	CEL *CELSpec `json:"cel,omitempty"`

	// settings are the policy's own; its documentation says what they may be.
	//
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Type=object
	// +nullable
	// +optional
	Settings runtime.RawExtension `json:"settings,omitzero"`

	// timeoutEvalSeconds bounds one evaluation, host calls included, from 2 to
	// 30 and at most timeoutSeconds. Default: what the policy server says.
	//
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=30
	// +optional
	TimeoutEvalSeconds *int32 `json:"timeoutEvalSeconds,omitempty"`
}

// ContextSpec is what a policy of the whole cluster may read from it.
type ContextSpec struct {
	// contextAwareResources are the kinds that the policy may read from the
	// cluster.
	//
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	// +optional
	ContextAwareResources []ContextAwareResource `json:"contextAwareResources,omitempty"`
}

// SingleSpec is what AdmissionPolicy and ClusterAdmissionPolicy have in common.
//
// +kubebuilder:validation:XValidation:rule="self.mutating || !has(self.cel) || !has(self.cel.mutations) || size(self.cel.mutations) == 0",message="must be true of a policy with cel.mutations",fieldPath=".mutating"
// +kubebuilder:validation:XValidation:rule="!has(self.enforceAt) || has(self.cel)",message="enforceAt is for policies in cel",fieldPath=".enforceAt"
// +kubebuilder:validation:XValidation:rule="!has(self.enforceAt) || self.enforceAt != 'APIServer' || !self.mutating",message="the API server enforces no mutating policy of warder",fieldPath=".enforceAt"
type SingleSpec struct {
	Serving    `json:",inline"`
	Matching   `json:",inline"`
	ModuleSpec `json:",inline"`

	// mutating lets the policy change objects. If it is false and the policy
	// tries to, the request is rejected.
	Mutating bool `json:"mutating"`

	// order is the policy's place among the mutating ones that change the same
	// request, low first; equal ones are in the order of their names. Default 0.
	// An extension of warder.
	//
	// +optional
	Order int32 `json:"order,omitempty"`

	// message replaces the policy's own message when it rejects; the policy's is
	// then among the details.
	//
	// +optional
	Message string `json:"message,omitempty"`

	// enforceAt says who enforces a policy in CEL: the policy server
	// ("Webhook", the default) or, with "APIServer", the API server itself. An
	// extension of warder.
	//
	// +optional
	EnforceAt EnforceAt `json:"enforceAt,omitempty"`
}

// AdmissionPolicySpec is the spec of an AdmissionPolicy.
//
// +kubebuilder:validation:XValidation:rule="!has(self.timeoutEvalSeconds) || !has(self.timeoutSeconds) || self.timeoutEvalSeconds <= self.timeoutSeconds",message="timeoutEvalSeconds cannot be greater than timeoutSeconds",fieldPath=".timeoutEvalSeconds"
// +kubebuilder:validation:XValidation:rule="self.rules.all(r, !('*' in r.apiGroups && ('*' in r.resources || '*/*' in r.resources)))",message="apiGroups/resources cannot use wildcards when using AdmissionPolicy or AdmissionPolicyGroup",fieldPath=".rules"
// +kubebuilder:validation:XValidation:rule="self.rules.all(r, !('wgpolicyk8s.io' in r.apiGroups && r.resources.exists(n, n.startsWith('policyreports') || n.startsWith('*'))))",message="{APIGroup: wgpolicyk8s.io, Resource: policyreports} resources cannot be targeted by AdmissionPolicy or AdmissionPolicyGroup",fieldPath=".rules"
// +kubebuilder:validation:XValidation:rule="self.rules.all(r, !('openreports.io' in r.apiGroups && r.resources.exists(n, n.startsWith('reports') || n.startsWith('*'))))",message="{APIGroup: openreports.io, Resource: reports} resources cannot be targeted by AdmissionPolicy or AdmissionPolicyGroup",fieldPath=".rules"
type AdmissionPolicySpec struct {
	SingleSpec `json:",inline"`
}

// ClusterAdmissionPolicySpec is the spec of a ClusterAdmissionPolicy.
//
// +kubebuilder:validation:XValidation:rule="!has(self.timeoutEvalSeconds) || !has(self.timeoutSeconds) || self.timeoutEvalSeconds <= self.timeoutSeconds",message="timeoutEvalSeconds cannot be greater than timeoutSeconds",fieldPath=".timeoutEvalSeconds"
type ClusterAdmissionPolicySpec struct {
	SingleSpec      `json:",inline"`
	ClusterMatching `json:",inline"`
	ContextSpec     `json:",inline"`
}

// AdmissionPolicy judges what is asked for in its namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:shortName=ap
// +kubebuilder:printcolumn:name="Policy Server",type=string,JSONPath=`.spec.policyServer`,description="Bound to Policy Server"
// +kubebuilder:printcolumn:name="Mutating",type=boolean,JSONPath=`.spec.mutating`,description="Whether the policy is mutating"
// +kubebuilder:printcolumn:name="BackgroundAudit",type=boolean,JSONPath=`.spec.backgroundAudit`,description="Whether the policy is used in audit checks"
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`,description="Policy deployment mode"
// +kubebuilder:printcolumn:name="Observed mode",type=string,JSONPath=`.status.mode`,description="Policy deployment mode observed on the assigned Policy Server"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.policyStatus`,description="Status of the policy"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Severity",type=string,JSONPath=`.metadata.annotations['io\.kubewarden\.policy\.severity']`,priority=1
// +kubebuilder:printcolumn:name="Category",type=string,JSONPath=`.metadata.annotations['io\.kubewarden\.policy\.category']`,priority=1
type AdmissionPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AdmissionPolicySpec `json:"spec,omitempty"`
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// AdmissionPolicyList is a list of AdmissionPolicy.
//
// +kubebuilder:object:root=true
type AdmissionPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AdmissionPolicy `json:"items"`
}

// ClusterAdmissionPolicy judges what is asked for in the whole cluster.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,shortName=cap
// +kubebuilder:printcolumn:name="Policy Server",type=string,JSONPath=`.spec.policyServer`,description="Bound to Policy Server"
// +kubebuilder:printcolumn:name="Mutating",type=boolean,JSONPath=`.spec.mutating`,description="Whether the policy is mutating"
// +kubebuilder:printcolumn:name="BackgroundAudit",type=boolean,JSONPath=`.spec.backgroundAudit`,description="Whether the policy is used in audit checks"
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`,description="Policy deployment mode"
// +kubebuilder:printcolumn:name="Observed mode",type=string,JSONPath=`.status.mode`,description="Policy deployment mode observed on the assigned Policy Server"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.policyStatus`,description="Status of the policy"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Severity",type=string,JSONPath=`.metadata.annotations['io\.kubewarden\.policy\.severity']`,priority=1
// +kubebuilder:printcolumn:name="Category",type=string,JSONPath=`.metadata.annotations['io\.kubewarden\.policy\.category']`,priority=1
type ClusterAdmissionPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ClusterAdmissionPolicySpec `json:"spec,omitempty"`
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// ClusterAdmissionPolicyList is a list of ClusterAdmissionPolicy.
//
// +kubebuilder:object:root=true
type ClusterAdmissionPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterAdmissionPolicy `json:"items"`
}
