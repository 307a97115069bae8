package policy

import (
	"slices"
	"strings"

	v1 "github.com/warder-dev/warder/api/v1"
)

// Spared is a sort of requests for which a policy is not asked though its rules
// match them, because a cluster whose policy servers are dead could not be
// repaired without them.
type Spared string

// What is spared. Of all but SparedSelf and SparedGoing a policy whose rules name
// it is asked all the same: they are spared from "*" alone.
const (
	// SparedSelf is what warder's own ServiceAccounts do.
	SparedSelf Spared = "self"
	// SparedGoing is that an object of warder's kinds is deleted, and its
	// finalizers removed.
	SparedGoing Spared = "going"
	// SparedKinds are objects of warder's kinds, and the definitions of these.
	SparedKinds Spared = "kinds"
	// SparedNodes are nodes, and what kubelets and the API server itself do.
	SparedNodes Spared = "nodes"
	// SparedLeases are leases, by which nodes and controllers say that they live.
	SparedLeases Spared = "leases"
	// SparedTokens are tokens of ServiceAccounts: without them no pod starts.
	SparedTokens Spared = "tokens"
	// SparedRequests of certificates are those of nodes.
	SparedRequests Spared = "certificate requests"
	// SparedReviews are questions for who somebody is and what he may. A policy
	// that asks them would be asked again, without end.
	SparedReviews Spared = "reviews"
)

// Groups of warder's kinds.
const (
	groupKinds    = "policies.kubewarden.io"
	groupReplicas = "policies.warder.dev"
)

// vital is what a cluster lives on: a resource, or "*" for all of a group.
type vital struct {
	group, resource string
	spared          Spared
}

func vitals() []vital {
	return []vital{
		{groupKinds, "*", SparedKinds}, {groupReplicas, "*", SparedKinds},
		{"", "nodes", SparedNodes}, {"storage.k8s.io", "csinodes", SparedNodes},
		{"coordination.k8s.io", "leases", SparedLeases},
		{"", "serviceaccounts/token", SparedTokens},
		{"certificates.k8s.io", "certificatesigningrequests", SparedRequests},
		{"authentication.k8s.io", "*", SparedReviews}, {"authorization.k8s.io", "*", SparedReviews},
	}
}

// SparedOf is what a policy is not asked for, in order. That of most is nothing:
// their rules do not match any of it.
func SparedOf(r v1.Policy) []Spared {
	matched, named := map[Spared]bool{}, map[Spared]bool{}
	self := r.Cluster != nil && r.Cluster.AllowInsideAdmissionControllerNamespace
	for _, rule := range r.Matching.Rules {
		// The controller binds the roles of policy servers.
		self = self || (vital{group: "rbac.authorization.k8s.io", resource: "clusterrolebindings"}).matches(rule)
		for _, v := range vitals() {
			matched[v.spared] = matched[v.spared] || v.matches(rule)
			named[v.spared] = named[v.spared] || v.named(rule)
		}
	}
	var all []Spared
	for _, v := range vitals() {
		if matched[v.spared] && !named[v.spared] && !slices.Contains(all, v.spared) {
			all = append(all, v.spared)
		}
	}
	if named[SparedKinds] {
		all = append(all, SparedGoing)
	}
	if self || len(all) > 0 {
		all = append(all, SparedSelf)
	}
	slices.Sort(all)
	return all
}

// matches says whether a rule matches any of it.
func (v vital) matches(r v1.Rule) bool {
	return (slices.Contains(r.APIGroups, "*") || slices.Contains(r.APIGroups, v.group)) &&
		slices.ContainsFunc(r.Resources, func(pattern string) bool {
			resource, sub, _ := strings.Cut(pattern, "/")
			own, ownSub, isSub := strings.Cut(v.resource, "/")
			return (resource == "*" || resource == own) && (!isSub || sub == "*" || sub == ownSub) ||
				v.resource == "*" && (slices.Contains(r.APIGroups, v.group) || isVital(resource))
		})
}

// isVital says whether a resource, whatever its group, may be one of a group that
// is vital as a whole.
func isVital(resource string) bool {
	return resource == v1.ResourcePolicyServers || resource == "policyserverreplicas" || strings.HasSuffix(resource, "reviews") ||
		slices.ContainsFunc(v1.Kinds(), func(k v1.Kind) bool { return k.Resource() == resource })
}

// named says whether a rule asks for it by name.
func (v vital) named(r v1.Rule) bool {
	if v.resource == "*" {
		return slices.Contains(r.APIGroups, v.group)
	}
	own, _, _ := strings.Cut(v.resource, "/")
	return v.matches(r) && slices.ContainsFunc(r.Resources, func(pattern string) bool {
		resource, _, _ := strings.Cut(pattern, "/")
		return resource == own
	})
}
