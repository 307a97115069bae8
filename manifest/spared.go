package manifest

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/policy"
)

const (
	// sparingName is the match condition that keeps a policy from locking the
	// cluster.
	sparingName = "warder.dev/anti-lockout"
	// maxConditions is how many a webhook may have.
	maxConditions = 64
)

// conditionsOf are the match conditions of a policy, and the one that leaves out
// what is spared.
func conditionsOf(pol v1.Policy, o Options) []admissionv1.MatchCondition {
	if o.NoMatchConditions {
		return nil
	}
	var all []admissionv1.MatchCondition
	for _, c := range pol.Matching.MatchConditions {
		all = append(all, admissionv1.MatchCondition{Name: c.Name, Expression: c.Expression})
	}
	spared := policy.SparedOf(pol)
	if len(spared) == 0 {
		return all
	}
	expression := sparing(spared, o.namespace())
	for i, c := range all {
		// There is no place for another one, or the name is taken.
		if c.Name == sparingName || len(all) == maxConditions && i == maxConditions-1 {
			all[i].Expression = expression + " && (\n" + c.Expression + "\n)"
			return all
		}
	}
	return append(all, admissionv1.MatchCondition{Name: sparingName, Expression: expression})
}

// sparing is the expression that is false of what is spared.
func sparing(spared []policy.Spared, own string) string {
	const kinds = `request.resource.group in ["policies.kubewarden.io", "policies.warder.dev"]`
	terms := map[policy.Spared]string{
		policy.SparedSelf: inGroup("system:serviceaccounts:" + own),
		policy.SparedGoing: "(" + kinds + ` && (request.operation == "DELETE" || ` +
			`object != null && has(object.metadata) && has(object.metadata.deletionTimestamp)))`,
		policy.SparedKinds: "(" + kinds + ` || request.resource.group == "apiextensions.k8s.io" && has(request.name) && ` +
			`(request.name.endsWith(".policies.kubewarden.io") || request.name.endsWith(".policies.warder.dev")))`,
		policy.SparedNodes: `(request.resource.group == "" && request.resource.resource == "nodes" || ` +
			`request.resource.group == "storage.k8s.io" && request.resource.resource == "csinodes" || ` +
			`request.userInfo.username == "system:apiserver" || ` + inGroup("system:nodes") + ")",
		policy.SparedLeases: `request.resource.group == "coordination.k8s.io"`,
		policy.SparedTokens: `(request.resource.group == "" && request.resource.resource == "serviceaccounts" && ` +
			`has(request.subResource) && request.subResource == "token")`,
		policy.SparedRequests: `request.resource.group == "certificates.k8s.io"`,
		policy.SparedReviews:  `request.resource.group in ["authentication.k8s.io", "authorization.k8s.io"]`,
	}
	var all []string
	for _, s := range spared {
		all = append(all, terms[s])
	}
	return "!(" + strings.Join(all, " || ") + ")"
}

func inGroup(name string) string {
	return fmt.Sprintf("(has(request.userInfo.groups) && %q in request.userInfo.groups)", name)
}
