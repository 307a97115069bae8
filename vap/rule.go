package vap

import (
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
)

// intersection are the rules of what both the policy's and the binding's rules
// match. A request is shown in the version that the policy's rules name.
func (c *conversion) intersection(policy, binding matching) []admissionv1.NamedRuleWithOperations {
	var all []admissionv1.NamedRuleWithOperations
	narrowing := binding.rules
	if binding.policy == admissionv1.Equivalent {
		for _, b := range binding.rules {
			if twin, ok := eventsTwin(b); ok {
				narrowing = append(narrowing[:len(narrowing):len(narrowing)], twin)
			}
		}
	}
	for _, p := range policy.rules {
		for _, b := range narrowing {
			if r, ok := c.common(policy, binding, p, b); ok {
				all = append(all, r)
			}
		}
	}
	return all
}

// common is the rule of what two rules have in common, if there is anything.
func (c *conversion) common(policy, binding matching, p, b admissionv1.NamedRuleWithOperations) (r admissionv1.NamedRuleWithOperations, ok bool) {
	scope, ok := commonScope(scopeOf(p), scopeOf(b))
	if !ok {
		return r, false
	}
	if scope != admissionv1.AllScopes {
		r.Scope = &scope
	}
	r.Operations, r.APIGroups, r.Resources = commonOf(p.Operations, b.Operations), commonOf(p.APIGroups, b.APIGroups), commonResources(p.Resources, b.Resources)
	r.ResourceNames = p.ResourceNames
	if len(b.ResourceNames) > 0 {
		r.ResourceNames = b.ResourceNames
		if len(p.ResourceNames) > 0 {
			if r.ResourceNames = commonOf(p.ResourceNames, b.ResourceNames); len(r.ResourceNames) == 0 {
				return r, false
			}
		}
	}
	if len(r.Operations) == 0 || len(r.Resources) == 0 {
		return r, false
	}
	at := binding.field + ".resourceRules"
	if len(r.APIGroups) == 0 {
		return r, false
	}
	r.APIVersions = p.APIVersions
	if _, twin := eventsTwin(r); twin && policy.policy == admissionv1.Equivalent && binding.policy == admissionv1.Exact {
		c.refuse(binding.object, binding.field+".matchPolicy", `is Exact, and the policy's is Equivalent, which has the events of the groups "" and "events.k8s.io" as the same; give both the same`)
	}
	shared := commonOf(p.APIVersions, b.APIVersions)
	switch {
	case binding.policy == admissionv1.Equivalent && covers(b.APIVersions, p.APIVersions):
	case binding.policy == admissionv1.Equivalent:
		// The policy sees a request in its version whatever the binding's is.
		c.refuse(binding.object, at, `apiVersions %q are equivalent to the policy's %q only if the API server serves them; write the policy's, or ["*"]`, b.APIVersions, p.APIVersions)
	case policy.policy == admissionv1.Exact || slices.Contains(b.APIVersions, "*"):
		r.APIVersions = shared
	default:
		c.refuse(binding.object, binding.field+".matchPolicy", `is Exact with apiVersions %q, and the policy's is Equivalent; give both the same, or write apiVersions ["*"]`, b.APIVersions)
	}
	return r, len(r.APIVersions) > 0
}

// eventsTwin is the rule for the events that are equivalent to those of a rule
// which is about the events of one of their two groups.
func eventsTwin(r admissionv1.NamedRuleWithOperations) (admissionv1.NamedRuleWithOperations, bool) {
	core, other := slices.Contains(r.APIGroups, ""), slices.Contains(r.APIGroups, eventsGroup)
	if core == other || slices.Contains(r.APIGroups, "*") || !isAbout(r, "events") || !covers(r.APIVersions, []string{"v1"}) {
		return r, false
	}
	group := eventsGroup
	if other {
		group = ""
	}
	r.APIGroups, r.APIVersions, r.Resources = []string{group}, []string{"*"}, []string{"events"}
	return r, true
}

func commonScope(a, b admissionv1.ScopeType) (admissionv1.ScopeType, bool) {
	switch {
	case a == admissionv1.AllScopes:
		return b, true
	case b == admissionv1.AllScopes || a == b:
		return a, true
	}
	return "", false
}

// commonOf is what two lists have in common, "*" being everything.
func commonOf[T ~string](a, b []T) []T {
	switch {
	case slices.Contains(a, "*"):
		return alone(b)
	case slices.Contains(b, "*"):
		return a
	}
	return slices.DeleteFunc(slices.Clone(a), func(e T) bool { return !slices.Contains(b, e) })
}

// commonResources are patterns of the resources that patterns of both lists match:
// "pods/*" and "*/log" have "pods/log" in common.
func commonResources(a, b []string) []string {
	var all []string
	for _, x := range a {
		for _, y := range b {
			if r, ok := commonResource(x, y); ok && !slices.Contains(all, r) {
				all = append(all, r)
			}
		}
	}
	return all
}

func commonResource(a, b string) (string, bool) {
	resourceA, subA, _ := strings.Cut(a, "/")
	resourceB, subB, _ := strings.Cut(b, "/")
	part := func(x, y string) (string, bool) {
		switch {
		case x == "*":
			return y, true
		case y == "*" || x == y:
			return x, true
		}
		return "", false
	}
	resource, ok := part(resourceA, resourceB)
	sub, also := part(subA, subB)
	if sub != "" {
		resource += "/" + sub
	}
	return resource, ok && also
}

// overlaps says whether two rules can match one request in some version of its
// resource.
func overlaps(a, b admissionv1.NamedRuleWithOperations) bool {
	_, scope := commonScope(scopeOf(a), scopeOf(b))
	return scope && len(commonOf(a.APIGroups, b.APIGroups)) > 0 && len(commonResources(a.Resources, b.Resources)) > 0 &&
		len(commonOf(a.Operations, b.Operations)) > 0
}

// covers says whether a list has everything of another one.
func covers(wide, narrow []string) bool {
	return slices.Contains(wide, "*") ||
		!slices.ContainsFunc(narrow, func(e string) bool { return !slices.Contains(wide, e) })
}

func sameSet(a, b []string) bool { return covers(a, b) && covers(b, a) }

// isAbout says whether a rule can match a resource, whatever its group.
func isAbout(r admissionv1.NamedRuleWithOperations, resource string) bool {
	return len(commonResources(r.Resources, []string{resource})) > 0
}
