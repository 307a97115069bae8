package v1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Webhooks says how the policies of a server are registered with the API server.
//
// +kubebuilder:validation:Enum=Bundled;PerPolicy
type Webhooks string

// Bundled registers one webhook for all policies with the same selectors,
// failure policy and timeout: one call for each request, and all reasons in one
// answer. PerPolicy registers one for each policy, as Kubewarden does.
const (
	Bundled   Webhooks = "Bundled"
	PerPolicy Webhooks = "PerPolicy"
)

// PolicyServerSecurity are security contexts that replace the default ones.
type PolicyServerSecurity struct {
	// container is the security context of the container. Default: a read-only
	// root file system, no privileges, no capabilities, no root.
	//
	// +optional
	Container *corev1.SecurityContext `json:"container,omitempty"`

	// pod is the security context of the pod. Default: the seccomp profile
	// RuntimeDefault.
	//
	// +optional
	Pod *corev1.PodSecurityContext `json:"pod,omitempty"`
}

// PolicyServerSpec says how a policy server runs.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.minAvailable) && has(self.maxUnavailable))",message="minAvailable and maxUnavailable cannot be both set"
// +kubebuilder:validation:XValidation:rule="(has(self.readinessProbePort) ? self.readinessProbePort : 8081) != (has(self.webhookPort) ? self.webhookPort : 8443)",message="readinessProbePort and webhookPort must be different"
type PolicyServerSpec struct {
	// image of the policy server. Default: the image of the controller. One of
	// Kubewarden's own policy-server, from whichever registry, is replaced by
	// the default too, and an event says so.
	//
	// +optional
	Image string `json:"image,omitempty"`

	// replicas is how many pods serve. Unset leaves the number to whoever else
	// sets it, such as a HorizontalPodAutoscaler.
	//
	// +kubebuilder:validation:Minimum=0
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`

	// minAvailable is how many pods must stay up while nodes are drained: a
	// number or a percentage. Not together with maxUnavailable.
	//
	// +kubebuilder:validation:XIntOrString
	// +optional
	MinAvailable *intstr.IntOrString `json:"minAvailable,omitempty"`

	// maxUnavailable is how many pods may be down while nodes are drained: a
	// number or a percentage. Not together with minAvailable.
	//
	// +kubebuilder:validation:XIntOrString
	// +optional
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// annotations of the Deployment and its pods.
	//
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// labels of the Deployment and its pods; warder's own win.
	//
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// env are more environment variables of the container. KUBEWARDEN_LOG_LEVEL
	// sets what is logged.
	//
	// +listType=atomic
	// +optional
	Env []corev1.EnvVar `json:"env,omitempty"`

	// serviceAccountName is who the server is when its policies read the cluster.
	// It needs the permissions of warder's own policy-server account as well. It
	// may be null, as examples of Kubewarden have it.
	//
	// +nullable
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// imagePullSecret is a Secret of type kubernetes.io/dockerconfigjson, in the
	// namespace of warder, with which policies are pulled.
	//
	// +optional
	ImagePullSecret string `json:"imagePullSecret,omitempty"`

	// insecureSources are hosts from which policies are pulled over plain HTTP, or
	// without checking certificates: "registry.example.com:5000".
	//
	// +listType=atomic
	// +optional
	InsecureSources []string `json:"insecureSources,omitempty"`

	// sourceAuthorities are certificate authorities, in PEM, by the host that they
	// are trusted for.
	//
	// +optional
	SourceAuthorities map[string][]string `json:"sourceAuthorities,omitempty"`

	// verificationConfig is a ConfigMap in the namespace of warder whose key
	// verification-config says who must have signed a policy.
	//
	// +optional
	VerificationConfig string `json:"verificationConfig,omitempty"`

	// sigstoreTrustConfig is a ConfigMap in the namespace of warder whose key
	// sigstore-trust-config is the trust root of a Sigstore of one's own.
	//
	// +optional
	SigstoreTrustConfig string `json:"sigstoreTrustConfig,omitempty"`

	// securityContexts replace the default ones.
	//
	// +optional
	SecurityContexts PolicyServerSecurity `json:"securityContexts,omitzero"`

	// affinity of the pods.
	//
	// +optional
	Affinity corev1.Affinity `json:"affinity,omitzero"`

	// tolerations of the pods.
	//
	// +listType=atomic
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// topologySpreadConstraints of the pods. Default: over nodes and zones, as
	// far as that is possible. An empty list is none. An extension of warder.
	//
	// +listType=atomic
	// +optional
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitzero"`

	// priorityClassName of the pods.
	//
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// limits of the container's resources.
	//
	// +optional
	Limits corev1.ResourceList `json:"limits,omitempty"`

	// requests of the container's resources.
	//
	// +optional
	Requests corev1.ResourceList `json:"requests,omitempty"`

	// namespacedPoliciesCapabilities are patterns of what AdmissionPolicies and
	// AdmissionPolicyGroups may ask of the host: "oci/*", "kubernetes/can_i".
	// Unset is everything; an empty list is nothing.
	//
	// +listType=atomic
	// +optional
	NamespacedPoliciesCapabilities []string `json:"namespacedPoliciesCapabilities,omitzero"`

	// webhookPort is the container's HTTPS port. Default 8443.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	WebhookPort *int32 `json:"webhookPort,omitempty"`

	// readinessProbePort is the container's HTTP port for probes and metrics.
	// Default 8081.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	ReadinessProbePort *int32 `json:"readinessProbePort,omitempty"`

	// metricsPort is the Service's port for metrics. Default 8080.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	MetricsPort *int32 `json:"metricsPort,omitempty"`

	// webhooks "Bundled" registers policies with the same selectors together;
	// "PerPolicy" registers each by itself, as Kubewarden does. Default
	// "Bundled". An extension of warder.
	//
	// +optional
	Webhooks Webhooks `json:"webhooks,omitempty"`

	// workloads is that of policies which do not say: "Expand" makes policies
	// about pods judge Deployments and whatever else makes pods. Default
	// "Ignore". An extension of warder.
	//
	// +optional
	Workloads Workloads `json:"workloads,omitempty"`

	// preferBuiltins lets the built-in policy of the same name answer for modules
	// in ghcr.io/kubewarden/policies, whatever their tag or digest: nothing is
	// pulled, and no signature of the module is asked for, since a built-in is part
	// of the image of the server. Modules without one are pulled as always. Default
	// false. An extension of warder.
	//
	// +optional
	PreferBuiltins bool `json:"preferBuiltins,omitempty"`

	// workloadTemplates are kinds of other makers of pods, for "Expand": by
	// resource and group ("rollouts.argoproj.io") the path of the pod template
	// ("spec.template"). An extension of warder.
	//
	// +optional
	WorkloadTemplates map[string]string `json:"workloadTemplates,omitempty"`
}

// Types of the conditions of policy servers; the first is warder's, the others
// are Kubewarden's.
const (
	ConditionServing                       = "Ready"
	ConditionCertSecretReconciled          = "CertSecretReconciled"
	ConditionConfigMapReconciled           = "ConfigMapReconciled"
	ConditionPodDisruptionBudgetReconciled = "PodDisruptionBudgetReconciled"
	ConditionDeploymentReconciled          = "DeploymentReconciled"
	ConditionServiceReconciled             = "ServiceReconciled"
	ConditionPolicyWebhooksCleanedUp       = "PolicyWebhooksCleanedUp"
)

// Reasons of the conditions of policy servers.
const (
	ReasonReconciliationSucceeded = "ReconciliationSucceeded"
	ReasonReconciliationFailed    = "ReconciliationFailed"
)

// PolicyServerStatus is what became of a policy server.
type PolicyServerStatus struct {
	// observedGeneration is the generation of the server that the rest is about.
	// An extension of warder.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// replicas is how many replicas report, and readyReplicas how many of them
	// serve. An extension of warder.
	//
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// +optional
	ReadyReplicas int32 `json:"readyReplicas,omitempty"`

	// policies is how many policies name the server, and failedPolicies how many
	// of them some replica could not load. An extension of warder.
	//
	// +optional
	Policies int32 `json:"policies,omitempty"`
	// +optional
	FailedPolicies int32 `json:"failedPolicies,omitempty"`

	// conditions say what of the server is as it should be.
	//
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// PolicyServer is a Deployment of warder that judges requests by the policies
// which name it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,shortName=ps
// +kubebuilder:printcolumn:name="Replicas",type=string,JSONPath=`.spec.replicas`,description="Policy Server replicas"
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.spec.image`,description="Policy Server image"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the PolicyServer name cannot be longer than 63 characters"
type PolicyServer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec PolicyServerSpec `json:"spec,omitempty"`
	// +optional
	Status PolicyServerStatus `json:"status,omitzero"`
}

// PolicyServerList is a list of PolicyServer.
//
// +kubebuilder:object:root=true
type PolicyServerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PolicyServer `json:"items"`
}
