package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/warder-dev/warder/api/v1"
)

// Defaults of webhooks, which a policy has that does not say. Source:
// k8s.io/kubernetes pkg/apis/admissionregistration/v1/defaults.go, and
// Kubewarden's own 10 s.
const (
	defaultFailurePolicy = "Fail"
	defaultMatchPolicy   = "Equivalent"
	defaultSideEffects   = "None"
	defaultTimeout       = 10
)

// FromResource returns the policy of a custom resource as a server of that spec
// has it. A resource that the API server has taken is valid, but for what its
// schema cannot say: the error is that of Validate.
func FromResource(r v1.Policy, server v1.PolicyServerSpec) (Policy, error) {
	p := Policy{
		ID:            ID(r.UniqueName()),
		Aliases:       []ID{ID(r.OldName())}, // what an upstream installation has left may ask for it
		Namespace:     r.Object.GetNamespace(),
		Mode:          cmp.Or(Mode(r.Serving.Mode), Protect),
		FailurePolicy: FailurePolicy(orDefault(r.Matching.FailurePolicy, defaultFailurePolicy)),
		Bundles:       []string{BundleOf(r)},
		Rules:         RulesOf(r),
		Workloads:     WorkloadsOf(r, server),
	}
	if p.Workloads == ExpandWorkloads {
		p.WorkloadTemplates = server.WorkloadTemplates
	}
	grants := []string{"*"}
	if r.Kind.Namespaced() && server.NamespacedPoliciesCapabilities != nil {
		grants = server.NamespacedPoliciesCapabilities
	}
	switch {
	case r.Group != nil:
		p.Group = &Group{Expression: r.Group.Expression, Message: r.Group.Message, Members: map[string]Policy{}}
		for name, m := range r.Members {
			member := moduleOf(m.ModuleSpec, m.ContextAwareResources)
			member.HostCapabilities = grants
			p.Group.Members[name] = member
		}
	default:
		m := moduleOf(r.Single.ModuleSpec, r.Context)
		p.Module, p.Settings, p.CEL, p.Timeout, p.ContextAwareResources = m.Module, m.Settings, m.CEL, m.Timeout, m.ContextAwareResources
		p.HostCapabilities = grants
		p.AllowedToMutate, p.Message, p.Order = r.Single.Mutating, r.Single.Message, int(r.Single.Order)
	}
	return p, p.Validate()
}

// moduleOf is the part of a policy that members of groups have as well.
func moduleOf(m v1.ModuleSpec, context []v1.ContextAwareResource) Policy {
	p := Policy{Module: m.Module, CEL: m.CEL.DeepCopy()}
	if p.Module != "" && !strings.Contains(p.Module, "://") {
		p.Module = "registry://" + p.Module
	}
	if raw := m.Settings.Raw; len(raw) > 0 && string(raw) != "null" {
		p.Settings = json.RawMessage(raw)
	}
	if m.TimeoutEvalSeconds != nil {
		p.Timeout = time.Duration(*m.TimeoutEvalSeconds) * time.Second
	}
	for _, c := range context {
		p.ContextAwareResources = append(p.ContextAwareResources, Resource{APIVersion: c.APIVersion, Kind: c.Kind})
	}
	return p
}

// WorkloadsOf says whether a policy of that server expands workloads.
func WorkloadsOf(r v1.Policy, server v1.PolicyServerSpec) Workloads {
	return cmp.Or(Workloads(r.Serving.Workloads), Workloads(server.Workloads), IgnoreWorkloads)
}

// RulesOf are the rules of a policy. One of a namespace judges nothing that is
// in none.
func RulesOf(r v1.Policy) []Rule {
	var rules []Rule
	for _, rule := range r.Matching.Rules {
		out := Rule{APIGroups: rule.APIGroups, APIVersions: rule.APIVersions, Resources: rule.Resources}
		for _, op := range rule.Operations {
			out.Operations = append(out.Operations, string(op))
		}
		switch {
		case r.Kind.Namespaced():
			out.Scope = Namespaced
		case rule.Scope != nil:
			out.Scope = Scope(*rule.Scope)
		}
		rules = append(rules, out)
	}
	return rules
}

func orDefault[T ~string](value *T, otherwise T) T {
	if value == nil || *value == "" {
		return otherwise
	}
	return *value
}

// attributes are what the API server knows of a webhook besides its rules: two
// policies with the same can share one.
type attributes struct {
	Namespace         string                // of a policy of one namespace
	InsideOwn         bool                  // it may judge warder's own namespace
	NamespaceSelector *metav1.LabelSelector // nil selects everything
	ObjectSelector    *metav1.LabelSelector
	MatchConditions   []v1.MatchCondition
	FailurePolicy     string
	MatchPolicy       string
	SideEffects       string
	Timeout           int32
	// Versions keep policies apart that ask for one resource in different
	// versions: the API server converts a request for each webhook to a version
	// that it asks for, but to one only.
	Versions []string
	Spared   []Spared `json:",omitempty"`
}

// BundleOf names the bundle that a policy is in: policies of one server with the
// same name share a webhook. It is ValidatingBundle or, of mutating ones,
// "mutate-", and sixteen hexadecimal digits of what the API server knows of the
// webhook.
func BundleOf(r v1.Policy) string {
	a := attributes{
		Namespace:       r.Object.GetNamespace(),
		ObjectSelector:  normal(r.Matching.ObjectSelector),
		MatchConditions: r.Matching.MatchConditions,
		FailurePolicy:   string(orDefault(r.Matching.FailurePolicy, defaultFailurePolicy)),
		MatchPolicy:     string(orDefault(r.Matching.MatchPolicy, defaultMatchPolicy)),
		SideEffects:     string(orDefault(r.Matching.SideEffects, defaultSideEffects)),
		Timeout:         defaultTimeout,
		Versions:        versions(r.Matching.Rules),
		Spared:          SparedOf(r),
	}
	if t := r.Matching.TimeoutSeconds; t != nil {
		a.Timeout = *t
	}
	if c := r.Cluster; c != nil {
		a.InsideOwn, a.NamespaceSelector = c.AllowInsideAdmissionControllerNamespace, normal(c.NamespaceSelector)
	}
	text, err := json.Marshal(a)
	if err != nil { // strings, numbers and lists of them always encode
		panic(fmt.Sprintf("policy: attributes of %s: %v", r.UniqueName(), err))
	}
	sum := sha256.Sum256(text)
	prefix := ValidatingBundle
	if r.Mutating() {
		prefix = "mutate-"
	}
	return prefix + hex.EncodeToString(sum[:8])
}

// normal is a selector without what makes no difference: nil for one that
// selects everything, lists in order.
func normal(s *metav1.LabelSelector) *metav1.LabelSelector {
	if s == nil || len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0 {
		return nil
	}
	out := s.DeepCopy()
	for i := range out.MatchExpressions {
		slices.Sort(out.MatchExpressions[i].Values)
	}
	slices.SortFunc(out.MatchExpressions, func(a, b metav1.LabelSelectorRequirement) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Operator, b.Operator), slices.Compare(a.Values, b.Values))
	})
	return out
}

// versions are the pairs of group and version that keep policies apart: those of
// each group of which a version other than v1 is asked for, "*" being all groups.
// Most policies ask for v1 alone and have none.
func versions(rules []v1.Rule) []string {
	other := map[string]bool{}
	for _, r := range rules {
		for _, group := range r.APIGroups {
			if slices.ContainsFunc(r.APIVersions, func(version string) bool { return version != "v1" }) {
				other[group] = true
			}
		}
	}
	var pairs []string
	for _, r := range rules {
		for _, group := range r.APIGroups {
			if !other["*"] && !other[group] && (group != "*" || len(other) == 0) {
				continue
			}
			for _, version := range r.APIVersions {
				pairs = append(pairs, group+"/"+version)
			}
		}
	}
	slices.Sort(pairs)
	return slices.Compact(pairs)
}
