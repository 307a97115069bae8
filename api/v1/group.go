package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// GroupSpec is what AdmissionPolicyGroup and ClusterAdmissionPolicyGroup have in
// common.
type GroupSpec struct {
	Serving  `json:",inline"`
	Matching `json:",inline"`

	// expression says which members have to accept: a CEL expression of calls of
	// members with !, &&, || and parentheses: "signed() || !(latest() && root())".
	//
	// +kubebuilder:validation:MinLength=1
	Expression string `json:"expression"`

	// message is what is said when the group rejects; the messages of the members
	// are among the details.
	//
	// +kubebuilder:validation:MinLength=1
	Message string `json:"message"`
}

// GroupMember is a member of an AdmissionPolicyGroup.
//
// +kubebuilder:validation:XValidation:rule="!has(self.cel) || !has(self.cel.mutations) || size(self.cel.mutations) == 0",message="a member of a group cannot mutate",fieldPath=".cel.mutations"
type GroupMember struct {
	ModuleSpec `json:",inline"`
}

// ClusterGroupMember is a member of a ClusterAdmissionPolicyGroup.
//
// +kubebuilder:validation:XValidation:rule="!has(self.cel) || !has(self.cel.mutations) || size(self.cel.mutations) == 0",message="a member of a group cannot mutate",fieldPath=".cel.mutations"
type ClusterGroupMember struct {
	ModuleSpec  `json:",inline"`
	ContextSpec `json:",inline"`
}

// AdmissionPolicyGroupSpec is the spec of an AdmissionPolicyGroup.
//
// +kubebuilder:validation:XValidation:rule="self.policies.all(n, n.matches('^[_a-zA-Z][_a-zA-Z0-9]*$') && !(n in ['true','false','null','in','as','break','const','continue','else','for','function','if','import','let','loop','package','namespace','return','var','void','while']))",message="names of policies must be identifiers that the expression can call: letters, digits and underscores, and no reserved word of CEL",fieldPath=".policies"
// +kubebuilder:validation:XValidation:rule="!has(self.timeoutSeconds) || self.policies.all(n, !has(self.policies[n].timeoutEvalSeconds) || self.policies[n].timeoutEvalSeconds <= self.timeoutSeconds)",message="timeoutEvalSeconds of a policy cannot be greater than timeoutSeconds of the group",fieldPath=".policies"
// +kubebuilder:validation:XValidation:rule="self.rules.all(r, !('*' in r.apiGroups && ('*' in r.resources || '*/*' in r.resources)))",message="apiGroups/resources cannot use wildcards when using AdmissionPolicy or AdmissionPolicyGroup",fieldPath=".rules"
// +kubebuilder:validation:XValidation:rule="self.rules.all(r, !('wgpolicyk8s.io' in r.apiGroups && r.resources.exists(n, n.startsWith('policyreports') || n.startsWith('*'))))",message="{APIGroup: wgpolicyk8s.io, Resource: policyreports} resources cannot be targeted by AdmissionPolicy or AdmissionPolicyGroup",fieldPath=".rules"
// +kubebuilder:validation:XValidation:rule="self.rules.all(r, !('openreports.io' in r.apiGroups && r.resources.exists(n, n.startsWith('reports') || n.startsWith('*'))))",message="{APIGroup: openreports.io, Resource: reports} resources cannot be targeted by AdmissionPolicy or AdmissionPolicyGroup",fieldPath=".rules"
type AdmissionPolicyGroupSpec struct {
	GroupSpec `json:",inline"`

	// policies are the members, by the name that the expression calls them.
	//
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=64
	Policies map[string]GroupMember `json:"policies"`
}

// ClusterAdmissionPolicyGroupSpec is the spec of a ClusterAdmissionPolicyGroup.
//
// +kubebuilder:validation:XValidation:rule="self.policies.all(n, n.matches('^[_a-zA-Z][_a-zA-Z0-9]*$') && !(n in ['true','false','null','in','as','break','const','continue','else','for','function','if','import','let','loop','package','namespace','return','var','void','while']))",message="names of policies must be identifiers that the expression can call: letters, digits and underscores, and no reserved word of CEL",fieldPath=".policies"
// +kubebuilder:validation:XValidation:rule="!has(self.timeoutSeconds) || self.policies.all(n, !has(self.policies[n].timeoutEvalSeconds) || self.policies[n].timeoutEvalSeconds <= self.timeoutSeconds)",message="timeoutEvalSeconds of a policy cannot be greater than timeoutSeconds of the group",fieldPath=".policies"
type ClusterAdmissionPolicyGroupSpec struct {
	GroupSpec       `json:",inline"`
	ClusterMatching `json:",inline"`

	// policies are the members, by the name that the expression calls them.
	//
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=64
	Policies map[string]ClusterGroupMember `json:"policies"`
}

// AdmissionPolicyGroup judges what is asked for in its namespace by an
// expression over several policies.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:shortName=apg
// +kubebuilder:printcolumn:name="Policy Server",type=string,JSONPath=`.spec.policyServer`,description="Bound to Policy Server"
// +kubebuilder:printcolumn:name="Mutating",type=boolean,JSONPath=`.spec.mutating`,description="Whether the policy is mutating"
// +kubebuilder:printcolumn:name="BackgroundAudit",type=boolean,JSONPath=`.spec.backgroundAudit`,description="Whether the policy is used in audit checks"
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`,description="Policy deployment mode"
// +kubebuilder:printcolumn:name="Observed mode",type=string,JSONPath=`.status.mode`,description="Policy deployment mode observed on the assigned Policy Server"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.policyStatus`,description="Status of the policy"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Severity",type=string,JSONPath=`.metadata.annotations['io\.kubewarden\.policy\.severity']`,priority=1
// +kubebuilder:printcolumn:name="Category",type=string,JSONPath=`.metadata.annotations['io\.kubewarden\.policy\.category']`,priority=1
type AdmissionPolicyGroup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AdmissionPolicyGroupSpec `json:"spec,omitempty"`
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// AdmissionPolicyGroupList is a list of AdmissionPolicyGroup.
//
// +kubebuilder:object:root=true
type AdmissionPolicyGroupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AdmissionPolicyGroup `json:"items"`
}

// ClusterAdmissionPolicyGroup judges what is asked for in the whole cluster by an
// expression over several policies.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,shortName=capg
// +kubebuilder:printcolumn:name="Policy Server",type=string,JSONPath=`.spec.policyServer`,description="Bound to Policy Server"
// +kubebuilder:printcolumn:name="Mutating",type=boolean,JSONPath=`.spec.mutating`,description="Whether the policy is mutating"
// +kubebuilder:printcolumn:name="BackgroundAudit",type=boolean,JSONPath=`.spec.backgroundAudit`,description="Whether the policy is used in audit checks"
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`,description="Policy deployment mode"
// +kubebuilder:printcolumn:name="Observed mode",type=string,JSONPath=`.status.mode`,description="Policy deployment mode observed on the assigned Policy Server"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.policyStatus`,description="Status of the policy"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Severity",type=string,JSONPath=`.metadata.annotations['io\.kubewarden\.policy\.severity']`,priority=1
// +kubebuilder:printcolumn:name="Category",type=string,JSONPath=`.metadata.annotations['io\.kubewarden\.policy\.category']`,priority=1
type ClusterAdmissionPolicyGroup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ClusterAdmissionPolicyGroupSpec `json:"spec,omitempty"`
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// ClusterAdmissionPolicyGroupList is a list of ClusterAdmissionPolicyGroup.
//
// +kubebuilder:object:root=true
type ClusterAdmissionPolicyGroupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterAdmissionPolicyGroup `json:"items"`
}
