package manifest

import (
	"cmp"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/warder-dev/warder/api/v1"
)

// Names of the webhook configurations for warder's own kinds. They and the names
// and paths of the webhooks are Kubewarden's, so an installation of it is taken
// over in place.
const (
	KindsMutatingName   = "kubewarden-controller-mutating-webhook-configuration"
	KindsValidatingName = "kubewarden-controller-validating-webhook-configuration"
)

// KindPolicyServer is the kind that is no policy.
const KindPolicyServer = "PolicyServer"

// WebhookKinds returns the kinds that the controller validates and completes.
func WebhookKinds() []string {
	kinds := []string{KindPolicyServer}
	for _, kind := range v1.Kinds() {
		kinds = append(kinds, string(kind))
	}
	return kinds
}

// ValidatingPath is where the controller validates objects of a kind.
func ValidatingPath(kind string) string {
	return "/validate-policies-kubewarden-io-v1-" + strings.ToLower(kind)
}

// MutatingPath is where the controller completes objects of a kind.
func MutatingPath(kind string) string {
	return "/mutate-policies-kubewarden-io-v1-" + strings.ToLower(kind)
}

// KindWebhooks says where the controller's webhooks for warder's own kinds are.
type KindWebhooks struct {
	// Namespace that warder is in, and Service of the controller in it. The
	// default of Service is WebhookService.
	Namespace string
	Service   string
	// URL, when it is not empty, is used in place of the Service: the controller
	// runs outside of the cluster. Paths are added to it.
	URL string
	// CABundle, in PEM, is whom the API server trusts.
	CABundle []byte
	// Labels of the objects, besides those by which they are found.
	Labels map[string]string
}

// notBeingDeleted leaves out what is being deleted: its finalizers can be
// removed while the controller is down.
func notBeingDeleted() []admissionv1.MatchCondition {
	return []admissionv1.MatchCondition{{
		Name:       "not-being-deleted",
		Expression: "!has(object.metadata.deletionTimestamp)",
	}}
}

// KindValidating makes the configuration of the webhooks that validate warder's
// own kinds.
func KindValidating(k KindWebhooks) *admissionv1.ValidatingWebhookConfiguration {
	config := &admissionv1.ValidatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "ValidatingWebhookConfiguration"},
		ObjectMeta: k.meta(KindsValidatingName),
	}
	for _, kind := range WebhookKinds() {
		hook := k.hook("v", kind, ValidatingPath(kind))
		hook.AdmissionReviewVersions = reviewVersions(kind)
		config.Webhooks = append(config.Webhooks, validating(hook))
	}
	return config
}

// KindMutating makes the configuration of the webhooks that complete warder's
// own kinds: they add the finalizer, and the policy server that was left out.
func KindMutating(k KindWebhooks) *admissionv1.MutatingWebhookConfiguration {
	config := &admissionv1.MutatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "MutatingWebhookConfiguration"},
		ObjectMeta: k.meta(KindsMutatingName),
	}
	for _, kind := range WebhookKinds() {
		config.Webhooks = append(config.Webhooks, k.hook("m", kind, MutatingPath(kind)))
	}
	return config
}

// hook is the webhook of a kind.
func (k KindWebhooks) hook(prefix, kind, path string) admissionv1.MutatingWebhook {
	return admissionv1.MutatingWebhook{
		Name:                    prefix + strings.ToLower(kind) + ".kb.io",
		ClientConfig:            k.client(path),
		Rules:                   rulesOfKind(kind),
		FailurePolicy:           new(admissionv1.Fail),
		MatchPolicy:             new(admissionv1.Equivalent),
		NamespaceSelector:       &metav1.LabelSelector{},
		ObjectSelector:          &metav1.LabelSelector{},
		SideEffects:             new(admissionv1.SideEffectClassNone),
		TimeoutSeconds:          new(int32(10)),
		ReinvocationPolicy:      new(admissionv1.NeverReinvocationPolicy),
		AdmissionReviewVersions: []string{"v1", "v1beta1"},
		MatchConditions:         notBeingDeleted(),
	}
}

func (k KindWebhooks) meta(name string) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{Name: name, Labels: map[string]string{}}
	for key, value := range k.Labels {
		meta.Labels[key] = value
	}
	meta.Labels[LabelPartOf] = PartOf
	return meta
}

func (k KindWebhooks) client(path string) admissionv1.WebhookClientConfig {
	config := admissionv1.WebhookClientConfig{CABundle: k.CABundle}
	if k.URL != "" {
		config.URL = new(strings.TrimSuffix(k.URL, "/") + path)
		return config
	}
	config.Service = &admissionv1.ServiceReference{
		Namespace: k.Namespace, Name: cmp.Or(k.Service, WebhookService), Path: &path, Port: new(int32(443)),
	}
	return config
}

func rulesOfKind(kind string) []admissionv1.RuleWithOperations {
	resource, scope := v1.ResourcePolicyServers, admissionv1.ClusterScope
	if policy := v1.Kind(kind); kind != KindPolicyServer {
		resource = policy.Resource()
		if policy.Namespaced() {
			scope = admissionv1.NamespacedScope
		}
	}
	return []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule: admissionv1.Rule{
			APIGroups: []string{v1.GroupVersion().Group}, APIVersions: []string{v1.GroupVersion().Version},
			Resources: []string{resource}, Scope: &scope,
		},
	}}
}

// reviewVersions are Kubewarden's for validation, which has one less of policy
// servers.
func reviewVersions(kind string) []string {
	if kind == KindPolicyServer {
		return []string{"v1"}
	}
	return []string{"v1", "v1beta1"}
}
