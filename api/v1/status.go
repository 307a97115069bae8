package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PolicyState is how far a policy is, in Kubewarden's words.
//
// +kubebuilder:validation:Enum=unscheduled;scheduled;pending;active
type PolicyState string

// The states of a policy.
const (
	// Unscheduled is a policy without a policy server.
	Unscheduled PolicyState = "unscheduled"
	// Scheduled is a policy whose policy server does not exist, or is being
	// deleted.
	Scheduled PolicyState = "scheduled"
	// Pending is a policy that not all replicas of its server hold yet.
	Pending PolicyState = "pending"
	// Active is a policy that the API server asks; it stays active while it
	// changes.
	Active PolicyState = "active"
)

// ObservedMode is the mode in which a policy is served.
//
// +kubebuilder:validation:Enum=protect;monitor;unknown
type ObservedMode string

// UnknownMode is the mode of a policy that nobody serves.
const UnknownMode ObservedMode = "unknown"

// Types of the conditions of policies.
const (
	// ConditionReady sums up the others: what the policy's spec says is enforced.
	ConditionReady = "Ready"
	// ConditionLoaded is true when all replicas of the policy server hold the
	// policy's generation.
	ConditionLoaded = "Loaded"
	// ConditionEnforced is true when the API server asks the policy for what its
	// spec says.
	ConditionEnforced = "Enforced"

	// These are Kubewarden's.
	ConditionPolicyActive            = "PolicyActive"
	ConditionConfigurationUpToDate   = "PolicyServerConfigurationUpToDate"
	ConditionPolicyUniquelyReachable = "PolicyUniquelyReachable"
)

// Enforcement is where the API server asks for a policy.
type Enforcement struct {
	// generation of the policy whose rules the webhook has.
	Generation int64 `json:"generation"`

	// configuration is the name of the ValidatingWebhookConfiguration or
	// MutatingWebhookConfiguration; at the API server, of the
	// ValidatingAdmissionPolicy or MutatingAdmissionPolicy and of its binding.
	Configuration string `json:"configuration"`

	// at is "APIServer" if the API server enforces the policy by itself, and empty
	// if it asks a webhook.
	//
	// +optional
	At EnforceAt `json:"at,omitempty"`

	// mutating says which of the two it is.
	//
	// +optional
	Mutating bool `json:"mutating,omitempty"`

	// bundle is the last part of the path that is called, /review/BUNDLE; empty
	// when the policy has a webhook of its own, at /validate/NAME.
	//
	// +optional
	Bundle string `json:"bundle,omitempty"`
}

// PolicyStatus is what became of a policy.
type PolicyStatus struct {
	// policyStatus is how far the policy is: unscheduled, scheduled, pending or
	// active.
	//
	// +optional
	PolicyStatus PolicyState `json:"policyStatus,omitempty"`

	// mode in which the policy server has the policy.
	//
	// +optional
	Mode ObservedMode `json:"mode,omitempty"`

	// observedGeneration is the generation of the policy that the rest is about.
	// An extension of warder.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// enforced is where the API server asks for the policy; without it, nowhere.
	// An extension of warder.
	//
	// +optional
	Enforced *Enforcement `json:"enforced,omitempty"`

	// conditions say Ready, Loaded and Enforced, and what Kubewarden says.
	//
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
