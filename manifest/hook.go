package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	v1 "github.com/warder-dev/warder/api/v1"
)

// servicePort is the Service's port of verdicts.
const servicePort = 443

// defaultTimeout is Kubewarden's, in seconds.
const defaultTimeout = 10

// hook is a webhook with what the policy says of it. It says all that the API
// server would fill in, so that what is there can be compared with it.
//
// Mutating webhooks are not asked again when another one changes the object
// afterwards (reinvocationPolicy Never, as Kubewarden's): the policies of a bundle
// see each other's changes already, and a second call would double their cost.
// Validating policies see the object in the end.
func (p *plan) hook(pol v1.Policy, name, path string, rules []admissionv1.RuleWithOperations) admissionv1.MutatingWebhook {
	m := pol.Matching
	hook := admissionv1.MutatingWebhook{
		Name:                    name,
		ClientConfig:            p.clientConfig(path),
		Rules:                   rules,
		FailurePolicy:           or(m.FailurePolicy, admissionv1.Fail),
		MatchPolicy:             or(m.MatchPolicy, admissionv1.Equivalent),
		NamespaceSelector:       namespaceSelector(pol, p.Options.namespace()),
		ObjectSelector:          ordered(m.ObjectSelector),
		SideEffects:             or(m.SideEffects, admissionv1.SideEffectClassNone),
		TimeoutSeconds:          or(m.TimeoutSeconds, defaultTimeout),
		AdmissionReviewVersions: []string{"v1"},
		MatchConditions:         conditionsOf(pol, p.Options),
	}
	if pol.Mutating() {
		never := admissionv1.NeverReinvocationPolicy
		hook.ReinvocationPolicy = &never
	}
	return hook
}

func or[T comparable](value *T, otherwise T) *T {
	var zero T
	if value == nil || *value == zero {
		return &otherwise
	}
	copied := *value
	return &copied
}

// clientConfig is how the API server reaches the path on the policy server.
func (p *plan) clientConfig(path string) admissionv1.WebhookClientConfig {
	if to, ok := p.Options.URLs[p.server]; ok {
		to = strings.TrimSuffix(to, "/") + path
		return admissionv1.WebhookClientConfig{URL: &to, CABundle: p.CABundle}
	}
	port := int32(servicePort)
	return admissionv1.WebhookClientConfig{CABundle: p.CABundle, Service: &admissionv1.ServiceReference{
		Namespace: p.Options.namespace(), Name: ServerName(p.server), Path: &path, Port: &port,
	}}
}

// namespaceSelector is the policy's own namespace, or what the policy says
// without the namespace of the installation, which a policy must not be able to
// make useless by accident.
func namespaceSelector(pol v1.Policy, own string) *metav1.LabelSelector {
	if pol.Cluster == nil {
		return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: pol.Object.GetNamespace()}}
	}
	selector := ordered(pol.Cluster.NamespaceSelector)
	if !pol.Cluster.AllowInsideAdmissionControllerNamespace {
		selector.MatchExpressions = append([]metav1.LabelSelectorRequirement{{
			Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: []string{own},
		}}, selector.MatchExpressions...)
	}
	return selector
}

// ordered is a copy of a selector in an order that depends on nothing else; one
// that is not there selects everything.
func ordered(s *metav1.LabelSelector) *metav1.LabelSelector {
	if s == nil {
		return &metav1.LabelSelector{}
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

// ownRules are the rules of a webhook of one policy: the policy's, in its order,
// without what the API server refuses.
func ownRules(pol v1.Policy, server v1.PolicyServerSpec) []admissionv1.RuleWithOperations {
	return wire(rulesOf(pol, server))
}

// refusal says why the API server would not take a webhook of that policy, as far
// as the schemas of our kinds do not say it already. It would not take the other
// webhooks of the configuration either.
func refusal(pol v1.Policy, webhooks v1.Webhooks) error {
	if s := or(pol.Matching.SideEffects, admissionv1.SideEffectClassNone); *s != admissionv1.SideEffectClassNone && *s != admissionv1.SideEffectClassNoneOnDryRun {
		return fmt.Errorf("spec.sideEffects: webhooks cannot have %q: say %q or %q, and keep to it",
			*s, admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun)
	}
	spec := field.NewPath("spec")
	problems := metavalidation.ValidateLabelSelector(pol.Matching.ObjectSelector, metavalidation.LabelSelectorValidationOptions{}, spec.Child("objectSelector"))
	if c := pol.Cluster; c != nil {
		problems = append(problems, metavalidation.ValidateLabelSelector(
			c.NamespaceSelector, metavalidation.LabelSelectorValidationOptions{}, spec.Child("namespaceSelector"))...)
	}
	if len(problems) > 0 {
		return problems.ToAggregate()
	}
	if name := PolicyWebhookName(pol); webhooks == v1.PerPolicy && len(name) > validation.DNS1123SubdomainMaxLength {
		return fmt.Errorf("webhook name %q has %d characters, of which an API server takes %d: give the policy a shorter name, or bundle the webhooks of its policy server",
			name, len(name), validation.DNS1123SubdomainMaxLength)
	}
	return nil
}
