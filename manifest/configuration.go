package manifest

import (
	"iter"
	"maps"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/warder-dev/warder/api/v1"
)

// Labels and annotations of webhook configurations.
const (
	// LabelLegacy was Kubewarden's label before 1.16, with the value "true".
	LabelLegacy = "kubewarden"

	annotationPolicy    = "kubewardenPolicyName"
	annotationNamespace = "kubewardenPolicyNamespace"
)

func annotationsOf(pol v1.Policy) map[string]string {
	return map[string]string{annotationPolicy: pol.Object.GetName(), annotationNamespace: pol.Object.GetNamespace()}
}

// bundledLabels tell whose bundles they are.
func bundledLabels(server string) map[string]string {
	return map[string]string{LabelPartOf: PartOf, LabelManagedBy: ManagedBy, LabelPolicyServer: server}
}

// configuration is a webhook configuration of either kind. Those of mutating
// webhooks have all that the others have.
type configuration struct {
	labels, annotations map[string]string
	owners              []metav1.OwnerReference
	uid                 types.UID
	hooks               []admissionv1.MutatingWebhook
}

func (c configuration) clone() configuration {
	hooks := make([]admissionv1.MutatingWebhook, len(c.hooks))
	for i := range c.hooks {
		c.hooks[i].DeepCopyInto(&hooks[i])
	}
	c.labels, c.annotations, c.owners, c.hooks = maps.Clone(c.labels), maps.Clone(c.annotations), slices.Clone(c.owners), hooks
	return c
}

// hook is the webhook of that name, nil if there is none.
func (c configuration) hook(name string) *admissionv1.MutatingWebhook {
	i := slices.IndexFunc(c.hooks, func(h admissionv1.MutatingWebhook) bool { return h.Name == name })
	if i < 0 {
		return nil
	}
	return &c.hooks[i]
}

// isOf says whether the configuration, which has one of the policy's names, is of
// that policy: old names can be of two.
func (c configuration) isOf(pol v1.Policy) bool {
	name, ok := c.annotations[annotationPolicy]
	return !ok || name == pol.Object.GetName() && c.annotations[annotationNamespace] == pol.Object.GetNamespace()
}

// takeCurrent takes the configurations that are of this policy server.
func (p *plan) takeCurrent() {
	for _, c := range p.Validating {
		hooks := make([]admissionv1.MutatingWebhook, 0, len(c.Webhooks))
		for _, h := range c.Webhooks {
			hooks = append(hooks, mutating(h))
		}
		p.take(key{false, c.Name}, c.ObjectMeta, hooks)
	}
	for _, c := range p.Mutating {
		p.take(key{true, c.Name}, c.ObjectMeta, c.Webhooks)
	}
}

func (p *plan) take(k key, meta metav1.ObjectMeta, hooks []admissionv1.MutatingWebhook) {
	c := configuration{labels: meta.Labels, annotations: meta.Annotations, owners: meta.OwnerReferences, uid: meta.UID, hooks: hooks}
	if k.name == BundledName(p.server) || p.pointsHere(c) {
		p.current[k] = c
	}
}

// pointsHere says whether the webhooks of a configuration of Kubewarden's or
// ours ask this policy server.
func (p *plan) pointsHere(c configuration) bool {
	if c.labels[LabelPartOf] != PartOf && c.labels[LabelLegacy] != "true" {
		return false
	}
	return slices.ContainsFunc(c.hooks, func(h admissionv1.MutatingWebhook) bool {
		if s := h.ClientConfig.Service; s != nil {
			return s.Name == ServerName(p.server) && s.Namespace == p.Options.namespace()
		}
		to, ok := p.Options.URLs[p.server]
		return ok && h.ClientConfig.URL != nil && strings.HasPrefix(*h.ClientConfig.URL, strings.TrimSuffix(to, "/")+"/validate/")
	})
}

// steps compares what is wanted with what is there.
func (p *plan) steps() {
	var changed []key
	for _, k := range slices.SortedFunc(keys(p.wanted), key.compare) {
		now, ok := p.current[k]
		if !ok || !p.wanted[k].satisfiedBy(now) {
			changed = append(changed, k)
		}
	}
	for _, k := range slices.SortedFunc(keys(p.current), key.compare) {
		if _, ok := p.wanted[k]; !ok {
			object := configuration{}.object(k)
			object.SetUID(p.current[k].uid)
			p.set.Delete = append(p.set.Delete, object)
		}
	}
	for _, k := range changed {
		want, now := p.wanted[k], p.current[k]
		both := want.and(now)
		switch {
		case k.name != BundledName(p.server) || both.matchesAs(want):
			p.set.Widen = append(p.set.Widen, want.object(k))
		case both.matchesAs(now):
			p.set.Narrow = append(p.set.Narrow, want.object(k))
		default: // a policy may move from one webhook to another
			p.set.Widen = append(p.set.Widen, both.object(k))
			p.set.Narrow = append(p.set.Narrow, want.object(k))
		}
	}
}

// and is a configuration with the webhooks of both, and the rules of both.
func (c configuration) and(now configuration) configuration {
	both := c.clone()
	for i, h := range both.hooks {
		if was := now.hook(h.Name); was != nil {
			both.hooks[i].Rules = wire(union(slices.Concat(rulesIn(h), rulesIn(*was))))
		}
	}
	for _, h := range now.hooks {
		if c.hook(h.Name) == nil {
			both.hooks = append(both.hooks, *h.DeepCopy())
		}
	}
	return both
}

// matchesAs says whether two configurations match the same requests, as far as
// that can be seen from their rules.
func (c configuration) matchesAs(other configuration) bool {
	return len(c.hooks) == len(other.hooks) && !slices.ContainsFunc(c.hooks, func(h admissionv1.MutatingWebhook) bool {
		same := other.hook(h.Name)
		return same == nil || !sameRules(union(rulesIn(h)), union(rulesIn(*same)))
	})
}

// satisfiedBy says whether there is nothing to write.
func (c configuration) satisfiedBy(now configuration) bool {
	return contains(now.labels, c.labels) && contains(now.annotations, c.annotations) &&
		!slices.ContainsFunc(c.owners, func(o metav1.OwnerReference) bool {
			return !slices.ContainsFunc(now.owners, func(have metav1.OwnerReference) bool { return have.UID == o.UID })
		}) &&
		equality.Semantic.DeepEqual(c.hooks, now.hooks)
}

func contains(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// object is the resource of the API.
func (c configuration) object(k key) v1.Object {
	meta := metav1.ObjectMeta{Name: k.name, Labels: c.labels, Annotations: c.annotations, OwnerReferences: c.owners}
	version := admissionv1.SchemeGroupVersion.String()
	if k.mutating {
		return &admissionv1.MutatingWebhookConfiguration{
			TypeMeta:   metav1.TypeMeta{APIVersion: version, Kind: "MutatingWebhookConfiguration"},
			ObjectMeta: meta, Webhooks: c.hooks,
		}
	}
	out := &admissionv1.ValidatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: version, Kind: "ValidatingWebhookConfiguration"},
		ObjectMeta: meta,
	}
	for _, h := range c.hooks {
		out.Webhooks = append(out.Webhooks, validating(h))
	}
	return out
}

// mutating and validating turn one kind of webhook into the other.
func mutating(h admissionv1.ValidatingWebhook) admissionv1.MutatingWebhook {
	return admissionv1.MutatingWebhook{
		Name: h.Name, ClientConfig: h.ClientConfig, Rules: h.Rules, FailurePolicy: h.FailurePolicy, MatchPolicy: h.MatchPolicy,
		NamespaceSelector: h.NamespaceSelector, ObjectSelector: h.ObjectSelector, SideEffects: h.SideEffects,
		TimeoutSeconds: h.TimeoutSeconds, AdmissionReviewVersions: h.AdmissionReviewVersions, MatchConditions: h.MatchConditions,
	}
}

func validating(h admissionv1.MutatingWebhook) admissionv1.ValidatingWebhook {
	return admissionv1.ValidatingWebhook{
		Name: h.Name, ClientConfig: h.ClientConfig, Rules: h.Rules, FailurePolicy: h.FailurePolicy, MatchPolicy: h.MatchPolicy,
		NamespaceSelector: h.NamespaceSelector, ObjectSelector: h.ObjectSelector, SideEffects: h.SideEffects,
		TimeoutSeconds: h.TimeoutSeconds, AdmissionReviewVersions: h.AdmissionReviewVersions, MatchConditions: h.MatchConditions,
	}
}

// keys are those of a map.
func keys[K comparable, V any](m map[K]V) iter.Seq[K] { return maps.Keys(m) }
