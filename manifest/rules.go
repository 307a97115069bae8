package manifest

import (
	"cmp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/policy"
)

// rule is a rule of a webhook: it matches what each of its lists matches. The
// lists are in order, and no element includes another.
type rule struct {
	operations, groups, versions, resources []string
	scope                                   admissionv1.ScopeType
}

// maxPruned is how many rules are compared with each other, which takes time by
// the square: 0.1 s. More stay as they are; a webhook of that many rules is
// near the largest object that etcd takes.
const maxPruned = 2048

// rulesOf are the rules with which the API server asks for a policy: its own,
// those of workloads that it expands, and of one in a namespace only what is in
// namespaces.
func rulesOf(p v1.Policy, server v1.PolicyServerSpec) []rule {
	all := policy.RulesOf(p)
	if policy.WorkloadsOf(p, server) == policy.ExpandWorkloads {
		all = append(all, policy.ExpansionRules(all, server.WorkloadTemplates)...)
	}
	rules := make([]rule, 0, len(all))
	for _, r := range all {
		rules = append(rules, newRule(rule{
			operations: r.Operations, groups: r.APIGroups, versions: r.APIVersions, resources: r.Resources,
			scope: admissionv1.ScopeType(cmp.Or(r.Scope, policy.EveryScope)),
		}))
	}
	return rules
}

// rulesIn are the rules that a webhook has.
func rulesIn(hook admissionv1.MutatingWebhook) []rule {
	var rules []rule
	for _, r := range hook.Rules {
		scope := admissionv1.AllScopes
		if r.Scope != nil {
			scope = *r.Scope
		}
		rules = append(rules, newRule(rule{
			operations: texts(r.Operations), groups: r.APIGroups, versions: r.APIVersions, resources: r.Resources, scope: scope,
		}))
	}
	return rules
}

// newRule puts the lists of a rule in order. The API server wants "*" to be
// alone and no resource to be said twice.
func newRule(r rule) rule {
	return rule{
		operations: simple(r.operations), groups: simple(r.groups), versions: simple(r.versions),
		resources: maximal(r.resources), scope: r.scope,
	}
}

func simple(list []string) []string {
	if slices.Contains(list, "*") {
		return []string{"*"}
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

// maximal are the resources that no other one of the list includes.
func maximal(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	list = slices.Compact(list)
	return slices.DeleteFunc(slices.Clone(list), func(r string) bool {
		return slices.ContainsFunc(list, func(wide string) bool { return wide != r && includesResource(wide, r) })
	})
}

// includesResource says whether a pattern of resources matches whatever another
// one does. "pods/*" is also "pods", and "*" is no subresource. Source:
// k8s.io/apiserver pkg/admission/plugin/webhook/predicates/rules.
func includesResource(wide, narrow string) bool {
	wideResource, wideSub, _ := strings.Cut(wide, "/")
	resource, sub, _ := strings.Cut(narrow, "/")
	return (wideResource == "*" || wideResource == resource) && (wideSub == "*" || wideSub == sub)
}

// includes says whether the rule matches whatever the other one does.
func (r rule) includes(other rule) bool {
	all := func(list, of []string) bool {
		return list[0] == "*" || !slices.ContainsFunc(of, func(e string) bool { return !slices.Contains(list, e) })
	}
	return (r.scope == admissionv1.AllScopes || r.scope == other.scope) &&
		all(r.operations, other.operations) && all(r.groups, other.groups) && all(r.versions, other.versions) &&
		!slices.ContainsFunc(other.resources, func(narrow string) bool {
			return !slices.ContainsFunc(r.resources, func(wide string) bool { return includesResource(wide, narrow) })
		})
}

// union returns few rules that together match exactly what the given ones match:
// those which differ in one list become one. The order of the given rules makes
// no difference, and the union of a union with a part of it is itself.
func union(rules []rule) []rule {
	rules = slices.DeleteFunc(slices.Clone(rules), func(r rule) bool {
		return len(r.operations) == 0 || len(r.groups) == 0 || len(r.versions) == 0 || len(r.resources) == 0
	})
	rules = pruned(rules)
	for before := -1; before != len(rules); {
		before = len(rules)
		for _, list := range dimensions() {
			rules = joined(rules, list)
		}
	}
	return pruned(rules)
}

// dimension is one of the lists of a rule.
type dimension func(*rule) *[]string

func dimensions() []dimension {
	return []dimension{
		func(r *rule) *[]string { return &r.operations },
		func(r *rule) *[]string { return &r.resources },
		func(r *rule) *[]string { return &r.versions },
		func(r *rule) *[]string { return &r.groups },
		nil, // the scope
	}
}

// joined makes one rule of those that differ in that dimension alone.
func joined(rules []rule, of dimension) []rule {
	var out []rule
	place := map[string]int{}
	for _, r := range rules {
		rest := r
		if of == nil {
			rest.scope = ""
		} else {
			*of(&rest) = nil
		}
		key := rest.key()
		i, ok := place[key]
		switch {
		case !ok:
			place[key] = len(out)
			out = append(out, r)
		case of != nil:
			*of(&out[i]) = slices.Concat(*of(&out[i]), *of(&r))
		case out[i].scope != r.scope: // in a namespace or not: that is everything
			out[i].scope = admissionv1.AllScopes
		}
	}
	for i := range out {
		out[i] = newRule(out[i])
	}
	return out
}

// pruned are the rules that no other one includes, in order.
func pruned(rules []rule) []rule {
	slices.SortFunc(rules, func(a, b rule) int { return strings.Compare(a.key(), b.key()) })
	rules = slices.CompactFunc(rules, func(a, b rule) bool { return a.key() == b.key() })
	if len(rules) > maxPruned {
		return rules
	}
	return slices.DeleteFunc(slices.Clone(rules), func(r rule) bool {
		return slices.ContainsFunc(rules, func(wide rule) bool { return wide.includes(r) && !r.includes(wide) })
	})
}

// key is the same for equal rules only.
func (r rule) key() string {
	var b strings.Builder
	for _, list := range [][]string{r.groups, r.resources, r.versions, r.operations, {string(r.scope)}} {
		for _, e := range list {
			b.WriteString(e)
			b.WriteByte(0)
		}
		b.WriteByte(1)
	}
	return b.String()
}

func sameRules(a, b []rule) bool {
	return slices.EqualFunc(a, b, func(a, b rule) bool { return a.key() == b.key() })
}

// wire are the rules as webhooks have them, with what the API server would fill
// in.
func wire(rules []rule) []admissionv1.RuleWithOperations {
	var out []admissionv1.RuleWithOperations
	for _, r := range rules {
		w := admissionv1.RuleWithOperations{Rule: admissionv1.Rule{
			APIGroups: r.groups, APIVersions: r.versions, Resources: r.resources, Scope: &r.scope,
		}}
		for _, op := range r.operations {
			w.Operations = append(w.Operations, admissionv1.OperationType(op))
		}
		slices.SortFunc(w.Operations, func(a, b admissionv1.OperationType) int { return cmp.Compare(a, b) })
		out = append(out, w)
	}
	return out
}

func texts[T ~string](list []T) []string {
	var out []string
	for _, e := range list {
		out = append(out, string(e))
	}
	return out
}
