package vap

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/policy"
)

// matching is what a policy or a binding matches, with the API server's defaults.
type matching struct {
	object, field string // for messages
	rules         []admissionv1.NamedRuleWithOperations
	excluded      []admissionv1.NamedRuleWithOperations
	namespaces    *metav1.LabelSelector
	objects       *metav1.LabelSelector
	policy        admissionv1.MatchPolicyType
}

func matchingOf(object, path string, m *admissionv1.MatchResources) matching {
	out := matching{object: object, field: path, policy: admissionv1.Equivalent}
	if m == nil {
		return out
	}
	out.rules, out.excluded = m.ResourceRules, m.ExcludeResourceRules
	out.namespaces, out.objects = m.NamespaceSelector, m.ObjectSelector
	out.policy = or(m.MatchPolicy, admissionv1.Equivalent)
	return out
}

// match says in our words what both the policy and its binding match.
func (c *conversion) match() {
	judged := matchingOf(c.policy(), "spec.matchConstraints", c.Policy.Spec.MatchConstraints)
	binding := matchingOf(c.binding(), "spec.matchResources", c.Binding.Spec.MatchResources)
	if len(judged.rules) == 0 {
		c.refuse(judged.object, judged.field+".resourceRules", "is empty; say what the policy judges")
		return
	}
	sound := true
	for _, m := range []matching{judged, binding} {
		sound = c.sound(m) && sound
	}
	if !sound {
		return
	}
	rules := judged.rules
	if len(binding.rules) > 0 {
		rules = c.intersection(judged, binding)
	}
	switch {
	case len(rules) == 0 && len(c.errs) == 0:
		c.refuse(binding.object, binding.field+".resourceRules", "has nothing in common with the policy's: the binding puts nothing into force; leave it away")
	case len(rules) > maxRules:
		c.refuse(binding.object, binding.field+".resourceRules", "together with the policy's they are %d rules, of which a policy can have %d; "+
			"make several policies of it", len(rules), maxRules)
	}
	for _, r := range rules {
		c.out.Spec.Rules = append(c.out.Spec.Rules, ours(r))
	}
	c.out.Spec.MatchPolicy = &judged.policy
	c.names(judged, rules)
	c.excluded(judged, rules)
	c.excluded(binding, rules)
	c.unasked(judged, rules)
	c.out.Spec.NamespaceSelector = both(judged.namespaces, binding.namespaces)
	c.out.Spec.ObjectSelector = judged.objects
	switch {
	case selectsAll(judged.objects):
		c.out.Spec.ObjectSelector = binding.objects
	case !selectsAll(binding.objects):
		// One of the old and the new object is enough, for each of the two: no
		// selector says that.
		c.terms = append(c.terms, selecting(binding.objects))
	}
	if selectsAll(c.out.Spec.ObjectSelector) {
		c.out.Spec.ObjectSelector = nil
	}
}

// sound refuses what the API server would refuse.
func (c *conversion) sound(m matching) bool {
	before := len(c.errs)
	opts := validation.LabelSelectorValidationOptions{}
	problems := validation.ValidateLabelSelector(m.namespaces, opts, field.NewPath(m.field+".namespaceSelector"))
	for _, p := range append(problems, validation.ValidateLabelSelector(m.objects, opts, field.NewPath(m.field+".objectSelector"))...) {
		c.refuse(m.object, p.Field, "%s", p.ErrorBody())
	}
	if m.policy != admissionv1.Exact && m.policy != admissionv1.Equivalent {
		c.refuse(m.object, m.field+".matchPolicy", "is %q; want Exact or Equivalent", m.policy)
	}
	for _, name := range []string{".resourceRules", ".excludeResourceRules"} {
		rules := m.rules
		if name == ".excludeResourceRules" {
			rules = m.excluded
		}
		for i, r := range rules {
			if len(r.APIGroups) == 0 || len(r.APIVersions) == 0 || len(r.Resources) == 0 || len(r.Operations) == 0 {
				c.refuse(m.object, fmt.Sprintf("%s%s[%d]", m.field, name, i), "matches nothing; want apiGroups, apiVersions, resources and operations")
			}
			if s := scopeOf(r); s != admissionv1.AllScopes && s != admissionv1.NamespacedScope && s != admissionv1.ClusterScope {
				c.refuse(m.object, fmt.Sprintf("%s%s[%d].scope", m.field, name, i), "is %q; want Cluster, Namespaced or *", s)
			}
		}
	}
	return len(c.errs) == before
}

// ours is a rule without the names of resources.
func ours(r admissionv1.NamedRuleWithOperations) v1.Rule {
	out := v1.Rule{APIGroups: alone(r.APIGroups), APIVersions: alone(r.APIVersions), Resources: r.Resources}
	for _, op := range alone(r.Operations) {
		out.Operations = append(out.Operations, v1.Operation(op))
	}
	if s := scopeOf(r); s != admissionv1.AllScopes {
		out.Scope = &s
	}
	return out
}

func scopeOf(r admissionv1.NamedRuleWithOperations) admissionv1.ScopeType {
	return or(r.Scope, admissionv1.AllScopes)
}

// alone is "*" if it is in the list.
func alone[T ~string](list []T) []T {
	if slices.Contains(list, "*") {
		return []T{"*"}
	}
	return list
}

// names keeps resourceNames.
func (c *conversion) names(m matching, rules []admissionv1.NamedRuleWithOperations) {
	named := func(r admissionv1.NamedRuleWithOperations) bool { return len(r.ResourceNames) > 0 }
	if !slices.ContainsFunc(rules, named) {
		return
	}
	same := !slices.ContainsFunc(rules, func(r admissionv1.NamedRuleWithOperations) bool {
		return !slices.Equal(r.ResourceNames, rules[0].ResourceNames)
	})
	if same {
		c.terms = append(c.terms, nameIn(rules[0].ResourceNames))
		return
	}
	var terms []string
	for i, r := range rules {
		for _, other := range rules[:i] {
			if m.policy != admissionv1.Equivalent || !named(r) && !named(other) {
				continue
			}
			// The API server goes on to another version when the name is none of the
			// rule's; what it asks of us then is not known here.
			if twin, ok := eventsTwin(other); ok && overlaps(r, twin) {
				c.refuse(m.object, m.field+".resourceRules", `rules with resourceNames and matchPolicy Equivalent are about events of the groups "" and "events.k8s.io"; `+
					"name both groups in one rule, or set matchPolicy Exact")
			}
			if overlaps(r, other) && !sameSet(r.APIVersions, other.APIVersions) {
				c.refuse(m.object, m.field+".resourceRules", "rules with resourceNames and matchPolicy Equivalent are about one resource in the versions %q and %q; "+
					"give both rules the same apiVersions, or set matchPolicy Exact", other.APIVersions, r.APIVersions)
			}
		}
		terms = append(terms, ruleTerm(r, m.policy))
	}
	c.terms = append(c.terms, "("+joined(terms, " || ")+")")
}

// excluded keeps excludeResourceRules of the policy or of the binding. Rules are
// those of both.
func (c *conversion) excluded(m matching, rules []admissionv1.NamedRuleWithOperations) {
	for i, e := range m.excluded {
		at := fmt.Sprintf("%s.excludeResourceRules[%d]", m.field, i)
		for _, r := range rules {
			// What else is excluded as equivalent depends on the versions that the
			// API server serves, which is not known here.
			if m.policy == admissionv1.Equivalent && overlaps(r, e) && !covers(e.APIVersions, r.APIVersions) {
				c.refuse(m.object, at+".apiVersions", "%q also exclude other versions, since matchPolicy is Equivalent, and the rules are about %q; "+
					`write ["*"] to exclude them all, or set matchPolicy Exact`, e.APIVersions, r.APIVersions)
				break
			}
		}
		c.terms = append(c.terms, "!"+ruleTerm(e, m.policy))
	}
}

// unasked refuses what no webhook is asked about, and tells what of everything it
// is not.
func (c *conversion) unasked(m matching, rules []admissionv1.NamedRuleWithOperations) {
	own := []string{
		"validatingwebhookconfigurations", "mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
		"mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
	}
	everything := false
	for _, r := range rules {
		all := slices.ContainsFunc(r.Resources, func(p string) bool { return strings.HasPrefix(p, "*") })
		named := slices.Contains(r.APIGroups, "admissionregistration.k8s.io")
		everything = everything || all && (named || slices.Contains(r.APIGroups, "*"))
		if !named {
			continue
		}
		for _, resource := range r.Resources {
			if slices.Contains(own, resource) {
				c.refuse(m.object, m.field+".resourceRules", "the API server asks no webhook about %s.admissionregistration.k8s.io; "+
					"leave them away, or leave the policy to the API server", resource)
			}
		}
	}
	if everything {
		c.warn("%s: the API server asks no webhook about webhook configurations and its own policies", m.object)
	}
	view, _ := v1.View(c.out)
	if spared := policy.SparedOf(view); len(spared) > 0 {
		c.warn("%s: so that a cluster can be repaired, warder does not judge %q of everything; a rule that names them does", m.object, spared)
	}
}

// both is a selector of what both select. A label that they want with two values
// is in no namespace.
func both(a, b *metav1.LabelSelector) *metav1.LabelSelector {
	switch {
	case selectsAll(a) && selectsAll(b):
		return nil
	case selectsAll(a):
		return b.DeepCopy()
	case selectsAll(b):
		return a.DeepCopy()
	}
	out := a.DeepCopy()
	for _, key := range slices.Sorted(maps.Keys(b.MatchLabels)) {
		value, taken := out.MatchLabels[key]
		switch {
		case taken && value != b.MatchLabels[key]:
			out.MatchExpressions = append(out.MatchExpressions, metav1.LabelSelectorRequirement{
				Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{b.MatchLabels[key]},
			})
		case !taken:
			if out.MatchLabels == nil {
				out.MatchLabels = map[string]string{}
			}
			out.MatchLabels[key] = b.MatchLabels[key]
		}
	}
	out.MatchExpressions = append(out.MatchExpressions, b.DeepCopy().MatchExpressions...)
	return out
}

func selectsAll(s *metav1.LabelSelector) bool {
	return s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0
}
