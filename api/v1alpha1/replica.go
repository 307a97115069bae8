package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ResourceReplicas is the name of PolicyServerReplicas in URLs.
const ResourceReplicas = "policyserverreplicas"

// PolicyServerReplica is what one replica of a policy server says of itself: that
// it is alive, how much of what is in the API server it has taken up, and which
// policies it could not. Only the replica writes it. It is small however many
// policies there are.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=psr
// +kubebuilder:printcolumn:name="Policy Server",type=string,JSONPath=`.spec.policyServer`
// +kubebuilder:printcolumn:name="Ready",type=boolean,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Policies",type=integer,JSONPath=`.status.policies`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.failed`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PolicyServerReplica struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ReplicaSpec `json:"spec"`
	// +optional
	Status ReplicaStatus `json:"status,omitzero"`
}

// ReplicaSpec says whose replica it is.
type ReplicaSpec struct {
	// policyServer names the PolicyServer.
	//
	// +kubebuilder:validation:MinLength=1
	PolicyServer string `json:"policyServer"`

	// leaseDurationSeconds is how long after renewTime the replica counts as
	// alive.
	//
	// +kubebuilder:validation:Minimum=1
	LeaseDurationSeconds int32 `json:"leaseDurationSeconds"`
}

// ReplicaStatus is what the replica says.
type ReplicaStatus struct {
	// renewTime is when the replica has last said that it is alive.
	RenewTime metav1.MicroTime `json:"renewTime"`

	// ready says that the replica answers requests, or is about to.
	//
	// +optional
	Ready bool `json:"ready,omitempty"`

	// version of warder.
	//
	// +optional
	Version string `json:"version,omitempty"`

	// policies is how many policies the replica knows, and failed how many of
	// them it could not load.
	//
	// +optional
	Policies int32 `json:"policies,omitempty"`
	// +optional
	Failed int32 `json:"failed,omitempty"`

	// observed says how far the replica has come: everything up to these resource
	// versions is taken up, but for what exceptions has.
	//
	// +listType=map
	// +listMapKey=resource
	// +optional
	Observed []Observed `json:"observed,omitempty"`

	// exceptions are the policies that the replica does not serve as their
	// generation says: the first 1000, of which those come first that do not work,
	// and each in the order of their names. failed counts all.
	//
	// +listType=map
	// +listMapKey=policy
	// +optional
	Exceptions []Exception `json:"exceptions,omitempty"`

	// exceptionsLeftOut counts the exceptions that are not in the list.
	//
	// +optional
	ExceptionsLeftOut int32 `json:"exceptionsLeftOut,omitempty"`
}

// MaxExceptions is how many exceptions a replica lists. Of a policy that is not
// among them while there are more nobody knows whether it is held, so that there
// are as many as fit.
const MaxExceptions = 1000

// Observed is how far a replica has come with one kind of resource.
type Observed struct {
	// resource is "policyservers", "clusteradmissionpolicies" and so on.
	Resource string `json:"resource"`

	// resourceVersion up to which everything has been taken up.
	ResourceVersion string `json:"resourceVersion"`
}

// PolicyState is how a policy stands with a replica.
//
// +kubebuilder:validation:Enum=Loading;Failed;Stale;Degraded
type PolicyState string

// The states of a policy that is an exception.
const (
	// Loading is a policy that is being fetched or compiled; if an older
	// generation was served before, it is still.
	Loading PolicyState = "Loading"
	// Failed is a policy that did not load: it answers by its failurePolicy.
	Failed PolicyState = "Failed"
	// Stale is a policy of which an older generation is served, since this one
	// did not load.
	Stale PolicyState = "Stale"
	// Degraded is a group of which some members did not load.
	Degraded PolicyState = "Degraded"
)

// Exception is a policy that is not served as its generation says.
type Exception struct {
	// policy is the policy's unique name.
	Policy string `json:"policy"`

	// generation that is meant.
	Generation int64 `json:"generation"`

	// state of that generation.
	State PolicyState `json:"state"`

	// stage says how far loading came: fetch, verify, compile, settings,
	// expression or members; it is spec when the resource itself is wrong.
	//
	// +optional
	Stage string `json:"stage,omitempty"`

	// message says what is wrong, in at most 512 bytes.
	//
	// +optional
	Message string `json:"message,omitempty"`
}

// PolicyServerReplicaList is a list of PolicyServerReplica.
//
// +kubebuilder:object:root=true
type PolicyServerReplicaList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PolicyServerReplica `json:"items"`
}
