package v1

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Operation is what a request does: CREATE, UPDATE, DELETE, CONNECT, or "*".
//
// +kubebuilder:validation:Enum=CREATE;UPDATE;DELETE;CONNECT;*
type Operation string

// Rule says which requests a policy judges, as a rule of a webhook
// configuration does: its JSON is that of
// admissionregistration.k8s.io/v1.RuleWithOperations.
type Rule struct {
	// apiGroups are the groups of the resources; "" is the core group, "*" is
	// all. If "*" is there it must be alone.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	APIGroups []string `json:"apiGroups"`

	// apiVersions are the versions of the resources; "*" is all. If "*" is there
	// it must be alone.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=atomic
	APIVersions []string `json:"apiVersions"`

	// resources are "pods", "pods/log", "*" for all but subresources, "pods/*",
	// "*/scale", or "*/*" for everything.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	Resources []string `json:"resources"`

	// operations are what is done to the resources; "*" is all. If "*" is there
	// it must be alone.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	Operations []Operation `json:"operations"`

	// scope narrows the rule to resources of namespaces ("Namespaced") or of the
	// cluster ("Cluster"). Default "*", which is both.
	//
	// +kubebuilder:validation:Enum=Cluster;Namespaced;*
	// +optional
	Scope *admissionv1.ScopeType `json:"scope,omitempty"`
}

// MatchCondition is a CEL expression that must be true of a request for it to be
// judged. The API server evaluates it.
type MatchCondition struct {
	// name identifies the condition in messages of the API server.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	Name string `json:"name"`

	// expression is CEL over object, oldObject, request and authorizer, and
	// gives a boolean.
	//
	// +kubebuilder:validation:MinLength=1
	Expression string `json:"expression"`
}

// ContextAwareResource is a kind that a policy may read from the cluster.
type ContextAwareResource struct {
	// apiVersion of the kind: "v1", "apps/v1".
	//
	// +kubebuilder:validation:MinLength=1
	APIVersion string `json:"apiVersion"`

	// kind is its name: "Pod".
	//
	// +kubebuilder:validation:MinLength=1
	Kind string `json:"kind"`
}

// Mode is what a verdict does.
//
// +kubebuilder:validation:Enum=protect;monitor
type Mode string

// Protect refuses what the policy refuses; Monitor only records it.
const (
	Protect Mode = "protect"
	Monitor Mode = "monitor"
)

// Workloads says whether a policy about pods judges what makes pods as well.
//
// +kubebuilder:validation:Enum=Ignore;Expand
type Workloads string

// Ignore judges pods alone; Expand judges the pods that a Deployment, ReplicaSet,
// StatefulSet, DaemonSet, Job, CronJob or ReplicationController would make, too.
const (
	Ignore Workloads = "Ignore"
	Expand Workloads = "Expand"
)

// Matching is which requests a policy judges, and what becomes of one without a
// verdict. All kinds of policies have it.
type Matching struct {
	// rules say which requests the policy judges.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +listType=atomic
	Rules []Rule `json:"rules"`

	// failurePolicy says what happens to a request for which there is no verdict:
	// "Fail" refuses it, "Ignore" lets it through. Default "Fail".
	//
	// +kubebuilder:validation:Enum=Ignore;Fail
	// +optional
	FailurePolicy *admissionv1.FailurePolicyType `json:"failurePolicy,omitempty"`

	// matchPolicy says whether rules also match a request that was made through
	// another version of their resource: "Equivalent", the default, or "Exact".
	//
	// +kubebuilder:validation:Enum=Exact;Equivalent
	// +optional
	MatchPolicy *admissionv1.MatchPolicyType `json:"matchPolicy,omitempty"`

	// matchConditions must all be true for a request to be judged. Their names
	// are unique.
	//
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=name
	// +optional
	MatchConditions []MatchCondition `json:"matchConditions,omitempty"`

	// objectSelector narrows the objects by their labels. It is evaluated on the
	// old and the new object: one that matches is enough. Users can leave out
	// the labels, so it is no defence against them. Default: all objects.
	//
	// +optional
	ObjectSelector *metav1.LabelSelector `json:"objectSelector,omitempty"`

	// sideEffects says whether the policy changes anything outside of its
	// answer. Default "None".
	//
	// +kubebuilder:validation:Enum=Unknown;None;Some;NoneOnDryRun
	// +optional
	SideEffects *admissionv1.SideEffectClass `json:"sideEffects,omitempty"`

	// timeoutSeconds is how long the API server waits for the verdict, from 2 to
	// 30. Default 10.
	//
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=30
	// +optional
	TimeoutSeconds *int32 `json:"timeoutSeconds,omitempty"`
}

// ClusterMatching is what narrows policies of the whole cluster besides.
type ClusterMatching struct {
	// namespaceSelector narrows the namespaces by their labels. Default: all but
	// the one that warder is in.
	//
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// allowInsideAdmissionControllerNamespace lets the policy judge the namespace
	// that warder is in, too. A policy that refuses warder's own pods can make
	// the cluster unusable.
	//
	// +optional
	AllowInsideAdmissionControllerNamespace bool `json:"allowInsideAdmissionControllerNamespace,omitempty"`
}

// Serving is who answers for a policy, and how. All kinds of policies have it.
type Serving struct {
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
	Mode Mode `json:"mode,omitempty"`

	// backgroundAudit lets the audit scanner judge existing objects with the
	// policy. Default true.
	//
	// +kubebuilder:default=true
	// +optional
	BackgroundAudit bool `json:"backgroundAudit"`

	// workloads "Expand" makes a policy about pods judge Deployments and
	// whatever else makes pods by the pods that they would make, so that a bad
	// one is refused when it is applied. Default: what the PolicyServer says,
	// and "Ignore" if it says nothing. An extension of warder.
	//
	// +optional
	Workloads Workloads `json:"workloads,omitempty"`
}
