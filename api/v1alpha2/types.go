// Package v1alpha2 is the old version of policies.kubewarden.io, which is served
// for clients that still use it: the fields of v1 that it has mean the same, and
// the others are left out. Nothing in warder but the CustomResourceDefinitions
// is made of it.
//
// +kubebuilder:object:generate=true
// +groupName=policies.kubewarden.io
package v1alpha2

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	v1 "github.com/warder-dev/warder/api/v1"
)

// PolicySpec is what both kinds of policies have in common.
type PolicySpec struct {
	// policyServer names the PolicyServer that hosts the policy. It cannot be
	// changed. Default "default".
	//
	// +kubebuilder:default=default
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the field is immutable"
	// +optional
	PolicyServer string `json:"policyServer"`

	// mode "monitor" lets everything through and records the verdicts. It can
	// become "protect", and not the other way round. Default "protect".
	//
	// +kubebuilder:default=protect
	// +kubebuilder:validation:XValidation:rule="!(oldSelf == 'protect' && self == 'monitor')",message="field cannot transition from protect to monitor. Recreate instead."
	// +optional
	Mode v1.Mode `json:"mode,omitempty"`

	// module is where the module is: builtin://NAME, registry://HOST/PATH:TAG,
	// https://, http:// or file://. Without a scheme it is registry://.
	//
	// +kubebuilder:validation:MinLength=1
	Module string `json:"module"`

	// settings are the policy's own; its documentation says what they may be.
	//
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Type=object
	// +nullable
	// +optional
	Settings runtime.RawExtension `json:"settings,omitzero"`

	// rules say which requests the policy judges.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +listType=atomic
	Rules []v1.Rule `json:"rules"`

	// failurePolicy says what happens to a request for which there is no verdict.
	//
	// +kubebuilder:validation:Enum=Ignore;Fail
	// +optional
	FailurePolicy *admissionv1.FailurePolicyType `json:"failurePolicy,omitempty"`

	// mutating lets the policy change objects.
	Mutating bool `json:"mutating"`

	// matchPolicy is "Equivalent", the default, or "Exact".
	//
	// +kubebuilder:validation:Enum=Exact;Equivalent
	// +optional
	MatchPolicy *admissionv1.MatchPolicyType `json:"matchPolicy,omitempty"`

	// objectSelector narrows the objects by their labels.
	//
	// +optional
	ObjectSelector *metav1.LabelSelector `json:"objectSelector,omitempty"`

	// sideEffects says whether the policy changes anything outside of its answer.
	//
	// +kubebuilder:validation:Enum=Unknown;None;Some;NoneOnDryRun
	// +optional
	SideEffects *admissionv1.SideEffectClass `json:"sideEffects,omitempty"`

	// timeoutSeconds is how long the API server waits for the verdict.
	//
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=30
	// +optional
	TimeoutSeconds *int32 `json:"timeoutSeconds,omitempty"`
}

// ClusterPolicySpec is the spec of a ClusterAdmissionPolicy.
type ClusterPolicySpec struct {
	PolicySpec `json:",inline"`

	// namespaceSelector narrows the namespaces by their labels.
	//
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
}

// PolicyServerSpec says how a policy server runs.
type PolicyServerSpec struct {
	// image of the policy server.
	//
	// +optional
	Image string `json:"image,omitempty"`

	// replicas is how many pods serve.
	//
	// +kubebuilder:validation:Minimum=0
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`

	// annotations of the Deployment and its pods.
	//
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// env are more environment variables of the container.
	//
	// +listType=atomic
	// +optional
	Env []corev1.EnvVar `json:"env,omitempty"`

	// serviceAccountName is who the server is when its policies read the cluster.
	// It may be null, as examples of Kubewarden have it.
	//
	// +nullable
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// imagePullSecret is a Secret with which policies are pulled.
	//
	// +optional
	ImagePullSecret string `json:"imagePullSecret,omitempty"`

	// insecureSources are hosts from which policies are pulled over plain HTTP.
	//
	// +listType=atomic
	// +optional
	InsecureSources []string `json:"insecureSources,omitempty"`

	// sourceAuthorities are certificate authorities by host.
	//
	// +optional
	SourceAuthorities map[string][]string `json:"sourceAuthorities,omitempty"`

	// verificationConfig is a ConfigMap that says who must have signed a policy.
	//
	// +optional
	VerificationConfig string `json:"verificationConfig,omitempty"`
}

// AdmissionPolicy judges what is asked for in its namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:deprecatedversion:warning="This version is deprecated. Please, consider using v1"
// +kubebuilder:resource:shortName=ap
// +kubebuilder:printcolumn:name="Policy Server",type=string,JSONPath=`.spec.policyServer`,description="Bound to Policy Server"
// +kubebuilder:printcolumn:name="Mutating",type=boolean,JSONPath=`.spec.mutating`,description="Whether the policy is mutating"
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`,description="Policy deployment mode"
// +kubebuilder:printcolumn:name="Observed mode",type=string,JSONPath=`.status.mode`,description="Policy deployment mode observed on the assigned Policy Server"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.policyStatus`,description="Status of the policy"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AdmissionPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec PolicySpec `json:"spec,omitempty"`
	// +optional
	Status v1.PolicyStatus `json:"status,omitzero"`
}

// ClusterAdmissionPolicy judges what is asked for in the whole cluster.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:deprecatedversion:warning="This version is deprecated. Please, consider using v1"
// +kubebuilder:resource:scope=Cluster,shortName=cap
// +kubebuilder:printcolumn:name="Policy Server",type=string,JSONPath=`.spec.policyServer`,description="Bound to Policy Server"
// +kubebuilder:printcolumn:name="Mutating",type=boolean,JSONPath=`.spec.mutating`,description="Whether the policy is mutating"
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`,description="Policy deployment mode"
// +kubebuilder:printcolumn:name="Observed mode",type=string,JSONPath=`.status.mode`,description="Policy deployment mode observed on the assigned Policy Server"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.policyStatus`,description="Status of the policy"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ClusterAdmissionPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ClusterPolicySpec `json:"spec,omitempty"`
	// +optional
	Status v1.PolicyStatus `json:"status,omitzero"`
}

// PolicyServer is a Deployment of warder that judges requests by the policies which name it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:deprecatedversion:warning="This version is deprecated. Please, consider using v1"
// +kubebuilder:resource:scope=Cluster,shortName=ps
// +kubebuilder:printcolumn:name="Replicas",type=string,JSONPath=`.spec.replicas`,description="Policy Server replicas"
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.spec.image`,description="Policy Server image"
type PolicyServer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec PolicyServerSpec `json:"spec,omitempty"`
	// +optional
	Status v1.PolicyServerStatus `json:"status,omitzero"`
}
