package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Object is a resource of the API.
//
// +kubebuilder:object:generate=false
type Object interface {
	metav1.Object
	runtime.Object
}

// Kind is one of the four kinds of policies.
type Kind string

// The kinds of policies.
const (
	KindAdmissionPolicy             Kind = "AdmissionPolicy"
	KindClusterAdmissionPolicy      Kind = "ClusterAdmissionPolicy"
	KindAdmissionPolicyGroup        Kind = "AdmissionPolicyGroup"
	KindClusterAdmissionPolicyGroup Kind = "ClusterAdmissionPolicyGroup"
)

// Kinds returns the four kinds of policies.
func Kinds() []Kind {
	return []Kind{KindClusterAdmissionPolicy, KindAdmissionPolicy, KindClusterAdmissionPolicyGroup, KindAdmissionPolicyGroup}
}

// Resource is the kind's name in URLs: "admissionpolicies".
func (k Kind) Resource() string {
	switch k {
	case KindAdmissionPolicy:
		return "admissionpolicies"
	case KindClusterAdmissionPolicy:
		return "clusteradmissionpolicies"
	case KindAdmissionPolicyGroup:
		return "admissionpolicygroups"
	case KindClusterAdmissionPolicyGroup:
		return "clusteradmissionpolicygroups"
	}
	return ""
}

// Namespaced says whether policies of the kind are of one namespace.
func (k Kind) Namespaced() bool {
	return k == KindAdmissionPolicy || k == KindAdmissionPolicyGroup
}

// New returns an empty policy of the kind, nil for none of the four.
func (k Kind) New() Object {
	switch k {
	case KindAdmissionPolicy:
		return &AdmissionPolicy{}
	case KindClusterAdmissionPolicy:
		return &ClusterAdmissionPolicy{}
	case KindAdmissionPolicyGroup:
		return &AdmissionPolicyGroup{}
	case KindClusterAdmissionPolicyGroup:
		return &ClusterAdmissionPolicyGroup{}
	}
	return nil
}

// ResourcePolicyServers is the name of policy servers in URLs.
const ResourcePolicyServers = "policyservers"

// Policy is a view on a policy of any of the four kinds. What it points to is
// the object's own: a change of it changes the object.
//
// +kubebuilder:object:generate=false
type Policy struct {
	Kind     Kind
	Object   Object
	Serving  *Serving
	Matching *Matching
	Status   *PolicyStatus
	// Cluster is nil of a policy of one namespace.
	Cluster *ClusterMatching
	// Single is nil of a group.
	Single *SingleSpec
	// Context is what a single policy may read from the cluster.
	Context []ContextAwareResource
	// Group is nil of a single policy, and Members are those of a group; they are
	// a copy.
	Group   *GroupSpec
	Members map[string]ClusterGroupMember
}

// View returns the view on an object that is a policy, and whether it is one.
func View(o runtime.Object) (Policy, bool) {
	switch p := o.(type) {
	case *AdmissionPolicy:
		return Policy{
			Kind: KindAdmissionPolicy, Object: p, Status: &p.Status,
			Serving: &p.Spec.Serving, Matching: &p.Spec.Matching, Single: &p.Spec.SingleSpec,
		}, true
	case *ClusterAdmissionPolicy:
		return Policy{
			Kind: KindClusterAdmissionPolicy, Object: p, Status: &p.Status,
			Serving: &p.Spec.Serving, Matching: &p.Spec.Matching, Single: &p.Spec.SingleSpec,
			Cluster: &p.Spec.ClusterMatching, Context: p.Spec.ContextAwareResources,
		}, true
	case *AdmissionPolicyGroup:
		members := map[string]ClusterGroupMember{}
		for name, m := range p.Spec.Policies {
			members[name] = ClusterGroupMember{ModuleSpec: m.ModuleSpec}
		}
		return Policy{
			Kind: KindAdmissionPolicyGroup, Object: p, Status: &p.Status,
			Serving: &p.Spec.Serving, Matching: &p.Spec.Matching, Group: &p.Spec.GroupSpec, Members: members,
		}, true
	case *ClusterAdmissionPolicyGroup:
		return Policy{
			Kind: KindClusterAdmissionPolicyGroup, Object: p, Status: &p.Status,
			Serving: &p.Spec.Serving, Matching: &p.Spec.Matching, Group: &p.Spec.GroupSpec, Members: p.Spec.Policies,
			Cluster: &p.Spec.ClusterMatching,
		}, true
	}
	return Policy{}, false
}

// UniqueName names the policy among all policies of the cluster: in URLs, in
// webhooks and in reports. It is that of Kubewarden since 1.37.
func (p Policy) UniqueName() string {
	name, namespace := p.Object.GetName(), p.Object.GetNamespace()
	switch p.Kind {
	case KindAdmissionPolicy:
		return "kw.ap." + namespace + "." + name
	case KindClusterAdmissionPolicy:
		return "kw.cap." + name
	case KindAdmissionPolicyGroup:
		return "kw.apg." + namespace + "." + name
	default:
		return "kw.capg." + name
	}
}

// OldName is the unique name of Kubewarden up to 1.36. Two policies can have the
// same.
func (p Policy) OldName() string {
	name, namespace := p.Object.GetName(), p.Object.GetNamespace()
	switch p.Kind {
	case KindAdmissionPolicy:
		return "namespaced-" + namespace + "-" + name
	case KindClusterAdmissionPolicy:
		return "clusterwide-" + name
	case KindAdmissionPolicyGroup:
		return "namespaced-group-" + namespace + "-" + name
	default:
		return "clusterwide-group-" + name
	}
}

// Mutating says whether the policy may change objects. Groups never do.
func (p Policy) Mutating() bool { return p.Single != nil && p.Single.Mutating }

// AtAPIServer says whether the API server is to enforce the policy by itself.
func (p Policy) AtAPIServer() bool { return p.Single != nil && p.Single.EnforceAt == AtAPIServer }
