package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/policy"
)

// Ports of a policy server that says none.
const (
	defaultWebhookPort        = 8443
	defaultReadinessProbePort = 8081
)

// serverCheck is the check of one policy server.
type serverCheck struct {
	finding

	spec *v1.PolicyServerSpec
	at   *field.Path
}

func (c *serverCheck) add(errs ...*field.Error) { c.errs = append(c.errs, errs...) }

// policyServer checks a policy server.
func (w *kindWebhooks) policyServer(ctx context.Context, server *v1.PolicyServer) finding {
	c := &serverCheck{spec: &server.Spec, at: field.NewPath("spec")}
	c.name(server.Name)
	c.disruption()
	c.resources()
	c.capabilities()
	c.ports()
	c.topology()
	c.templates()
	c.authorities()
	c.add(metav1validation.ValidateLabels(c.spec.Labels, c.at.Child("labels"))...)
	c.add(apivalidation.ValidateAnnotations(c.spec.Annotations, c.at.Child("annotations"))...)
	if c.spec.Replicas != nil && *c.spec.Replicas < 0 {
		c.add(field.Invalid(c.at.Child("replicas"), *c.spec.Replicas, "must be greater than or equal to 0"))
	}
	c.pullSecret(ctx, w.opts)
	c.trustConfig(ctx, w.opts)
	c.verification(ctx, w.opts)
	return c.finding
}

func (c *serverCheck) name(name string) {
	if len(name) > validation.DNS1035LabelMaxLength {
		c.add(field.Invalid(field.NewPath("metadata", "name"), name, "the PolicyServer name cannot be longer than 63 characters"))
		return
	}
	if name == "" {
		return // it is generated
	}
	for _, problem := range validation.IsDNS1035Label("policy-server-" + name) {
		c.warnings = append(c.warnings, fmt.Sprintf("metadata.name: the Service policy-server-%s cannot be made: %s", name, problem))
	}
}

func (c *serverCheck) disruption() {
	if c.spec.MinAvailable != nil && c.spec.MaxUnavailable != nil {
		c.add(field.Forbidden(c.at, "minAvailable and maxUnavailable cannot be both set"))
	}
	for name, value := range map[string]*intstr.IntOrString{"minAvailable": c.spec.MinAvailable, "maxUnavailable": c.spec.MaxUnavailable} {
		switch {
		case value == nil:
		case value.Type == intstr.Int && value.IntVal < 0:
			c.add(field.Invalid(c.at.Child(name), value.IntVal, "must be greater than or equal to 0"))
		case value.Type == intstr.String && (len(validation.IsValidPercent(value.StrVal)) > 0 || len(value.StrVal) > 3 && value.StrVal != "100%"):
			c.add(field.Invalid(c.at.Child(name), value.StrVal, "must be an integer or a percentage from 0% to 100%"))
		}
	}
}

func (c *serverCheck) resources() {
	limits, requests := c.at.Child("limits"), c.at.Child("requests")
	for _, name := range slices.Sorted(maps.Keys(c.spec.Limits)) {
		if q := c.spec.Limits[name]; q.Sign() < 0 {
			c.add(field.Invalid(limits.Key(string(name)), q.String(), fmt.Sprintf("%s limit must be greater than or equal to 0", name)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.spec.Requests)) {
		q := c.spec.Requests[name]
		if q.Sign() < 0 {
			c.add(field.Invalid(requests.Key(string(name)), q.String(), fmt.Sprintf("%s request must be greater than or equal to 0", name)))
		}
		if limit, ok := c.spec.Limits[name]; ok && q.Cmp(limit) > 0 {
			c.add(field.Invalid(requests.Key(string(name)), q.String(), fmt.Sprintf("request must be less than or equal to %s limit", name)))
		}
	}
}

func (c *serverCheck) capabilities() {
	for i, pattern := range c.spec.NamespacedPoliciesCapabilities {
		if _, err := policy.ParseGrants([]string{pattern}); err != nil {
			c.add(field.Invalid(c.at.Child("namespacedPoliciesCapabilities").Index(i), pattern, err.Error()))
		}
	}
}

func (c *serverCheck) ports() {
	port := func(name string, value *int32, otherwise int32) int32 {
		if value == nil {
			return otherwise
		}
		for _, problem := range validation.IsValidPortNum(int(*value)) {
			c.add(field.Invalid(c.at.Child(name), *value, problem))
		}
		return *value
	}
	webhook := port("webhookPort", c.spec.WebhookPort, defaultWebhookPort)
	probes := port("readinessProbePort", c.spec.ReadinessProbePort, defaultReadinessProbePort)
	port("metricsPort", c.spec.MetricsPort, 0)
	if webhook == probes {
		c.add(field.Invalid(c.at.Child("readinessProbePort"), probes, "readinessProbePort and webhookPort must be different"))
	}
}

// topology checks what the API server would refuse in the Deployment.
func (c *serverCheck) topology() {
	type key struct {
		topology string
		action   corev1.UnsatisfiableConstraintAction
	}
	seen := map[key]bool{}
	for i, t := range c.spec.TopologySpreadConstraints {
		at := c.at.Child("topologySpreadConstraints").Index(i)
		if t.MaxSkew < 1 {
			c.add(field.Invalid(at.Child("maxSkew"), t.MaxSkew, "must be greater than zero"))
		}
		if t.TopologyKey == "" {
			c.add(field.Required(at.Child("topologyKey"), "can not be empty"))
		} else {
			c.add(metav1validation.ValidateLabelName(t.TopologyKey, at.Child("topologyKey"))...)
		}
		actions := []corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway}
		if !slices.Contains(actions, t.WhenUnsatisfiable) {
			c.add(field.NotSupported(at.Child("whenUnsatisfiable"), t.WhenUnsatisfiable, actions))
		}
		c.add(metav1validation.ValidateLabelSelector(t.LabelSelector, metav1validation.LabelSelectorValidationOptions{}, at.Child("labelSelector"))...)
		k := key{t.TopologyKey, t.WhenUnsatisfiable}
		if seen[k] {
			c.add(field.Duplicate(at, fmt.Sprintf("{%s, %s}", k.topology, k.action)))
		}
		seen[k] = true
	}
}

// templates checks where the pod templates of other makers of pods are.
func (c *serverCheck) templates() {
	for _, key := range slices.Sorted(maps.Keys(c.spec.WorkloadTemplates)) {
		at, path := c.at.Child("workloadTemplates").Key(key), c.spec.WorkloadTemplates[key]
		resource, group, _ := strings.Cut(key, ".")
		if len(validation.IsDNS1123Label(resource)) > 0 || len(validation.IsDNS1123Subdomain(group)) > 0 {
			c.add(field.Invalid(at, key, `want the name of a custom resource definition, the plural in lower case and the group as in "rollouts.argoproj.io"`))
		}
		identifier := func(s string) bool { return len(validation.IsCIdentifier(s)) == 0 }
		if slices.ContainsFunc(strings.Split(path, "."), func(s string) bool { return !identifier(s) }) {
			c.add(field.Invalid(at, path, `want the names that lead to the pod template, with dots between them as in "spec.template"`))
		}
	}
}

// read reads the object of that name in warder's namespace, and says whether there
// is one. What could not be read is an error of the field.
func (c *serverCheck) read(ctx context.Context, o KindOptions, at *field.Path, object client.Object) bool {
	if o.Client == nil {
		return false
	}
	err := o.Client.Get(ctx, types.NamespacedName{Namespace: o.Namespace, Name: object.GetName()}, object)
	if err != nil && !apierrors.IsNotFound(err) {
		c.add(field.InternalError(at, err))
	}
	return err == nil
}

// missing reports whether nothing was said of a field yet: what it names was
// looked for, and is not there.
func (c *serverCheck) missing(at *field.Path) bool {
	return !slices.ContainsFunc(c.errs, func(e *field.Error) bool { return e.Field == at.String() })
}

func (c *serverCheck) pullSecret(ctx context.Context, o KindOptions) {
	name, at := c.spec.ImagePullSecret, c.at.Child("imagePullSecret")
	if name == "" {
		return
	}
	secret := corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}
	switch found := c.read(ctx, o, at, &secret); {
	case found && secret.Type != corev1.SecretTypeDockerConfigJson:
		c.add(field.Invalid(at, name, fmt.Sprintf("secret %q is not of type %s but %s", name, corev1.SecretTypeDockerConfigJson, secret.Type)))
	case !found && c.missing(at):
		c.add(field.Invalid(at, name, fmt.Sprintf("there is no secret %q in namespace %q; create it first", name, o.Namespace)))
	}
}

// Keys of the ConfigMaps that policy servers read.
const (
	trustConfigKey  = "sigstore-trust-config"
	verificationKey = "verification-config"
)

func (c *serverCheck) trustConfig(ctx context.Context, o KindOptions) {
	name, at := c.spec.SigstoreTrustConfig, c.at.Child("sigstoreTrustConfig")
	if name == "" {
		return
	}
	config := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
	found := c.read(ctx, o, at, &config)
	_, hasKey := config.Data[trustConfigKey]
	switch {
	case found && !hasKey:
		c.add(field.Invalid(at, name, fmt.Sprintf("configmap %q has no key %q", name, trustConfigKey)))
	case !found && c.missing(at):
		c.add(field.Invalid(at, name, fmt.Sprintf("there is no configmap %q in namespace %q; create it first", name, o.Namespace)))
	}
}

// verification only warns: Kubewarden takes a name of nothing, and the pods wait
// for it.
func (c *serverCheck) verification(ctx context.Context, o KindOptions) {
	name := c.spec.VerificationConfig
	if name == "" || o.Client == nil {
		return
	}
	config := corev1.ConfigMap{}
	err := o.Client.Get(ctx, types.NamespacedName{Namespace: o.Namespace, Name: name}, &config)
	_, hasKey := config.Data[verificationKey]
	switch {
	case apierrors.IsNotFound(err):
		c.warnings = append(c.warnings, fmt.Sprintf("spec.verificationConfig: there is no configmap %q in namespace %q: the pods of the policy server wait for it", name, o.Namespace))
	case err == nil && !hasKey:
		c.warnings = append(c.warnings, fmt.Sprintf("spec.verificationConfig: configmap %q has no key %q", name, verificationKey))
	}
}
