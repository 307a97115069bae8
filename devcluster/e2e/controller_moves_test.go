package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// enforced is where a policy says that it is asked for.
func (p *plane) enforced(ctx context.Context, name string) (configuration, bundle string, mutating bool) {
	o, err := p.get(ctx, "clusteradmissionpolicies", "", name)
	if err != nil {
		return "", "", false
	}
	configuration, _, _ = unstructured.NestedString(o.Object, "status", "enforced", "configuration")
	bundle, _, _ = unstructured.NestedString(o.Object, "status", "enforced", "bundle")
	mutating, _, _ = unstructured.NestedBool(o.Object, "status", "enforced", "mutating")
	return configuration, bundle, mutating
}

func (p *plane) ready(name string) {
	p.Helper()
	p.wantStatus("clusteradmissionpolicies", "", name, "active", "Ready", "True/Enforced")
}

// webhookNames are those of both kinds of configurations, by name of the webhook.
func (p *plane) webhookNames(ctx context.Context) []string {
	var all []string
	v, err := p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	m, err := p.kube.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	for _, c := range v.Items {
		for _, w := range c.Webhooks {
			all = append(all, "v:"+w.Name)
		}
	}
	for _, c := range m.Items {
		for _, w := range c.Webhooks {
			all = append(all, "m:"+w.Name)
		}
	}
	slices.Sort(all)
	return all
}

func TestAPolicyThatMovesIsNeverWithoutAWebhook(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.startController()
	p.policyServer("default", "replicas: 1")
	p.replica("default", "one")
	p.create("clusteradmissionpolicies", capolicy("p", ""))
	p.ready("p")

	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan []string, 1)
	go func() { // every look has to find at least one webhook
		var log []string
		for ctx.Err() == nil {
			names := strings.Join(p.webhookNames(ctx), " ")
			if ctx.Err() == nil && (len(log) == 0 || log[len(log)-1] != names) {
				log = append(log, names)
			}
		}
		seen <- log
	}()
	moves := []struct {
		what, plural, name, patch string
		moved                     func(configuration, bundle string, mutating bool) bool
	}{
		{"another bundle", "clusteradmissionpolicies", "p", `{"spec": {"timeoutSeconds": 7}}`, nil},
		{"mutating", "clusteradmissionpolicies", "p", `{"spec": {"mutating": true}}`, func(_, _ string, m bool) bool { return m }},
		{"one webhook per policy", "policyservers", "default", `{"spec": {"webhooks": "PerPolicy"}}`, func(c, b string, _ bool) bool { return c == "kw.cap.p" && b == "" }},
		{"not mutating", "clusteradmissionpolicies", "p", `{"spec": {"mutating": false}}`, func(c, _ string, m bool) bool { return c == "kw.cap.p" && !m }},
		{"bundled again", "policyservers", "default", `{"spec": {"webhooks": "Bundled"}}`, func(c, _ string, m bool) bool { return c == bundled && !m }},
	}
	for _, m := range moves {
		c, b, mut := p.enforced(t.Context(), "p")
		p.patch(m.plural, "", m.name, m.patch)
		eventually(t, m.what, func(ctx context.Context) error {
			c2, b2, mut2 := p.enforced(ctx, "p")
			if c2 == c && b2 == b && mut2 == mut || m.moved != nil && !m.moved(c2, b2, mut2) {
				return fmt.Errorf("enforced at %s %s %t", c2, b2, mut2)
			}
			if names := p.webhookNames(ctx); len(names) != 1 {
				return fmt.Errorf("webhooks %q", names)
			}
			return nil
		})
		p.ready("p")
	}
	cancel()
	log := <-seen
	if slices.Contains(log, "") {
		t.Errorf("at one time there was no webhook: %q", log)
	}
	// A state with both is short, and on a busy machine not each is seen.
	if len(log) <= len(moves) {
		t.Errorf("webhooks were seen as %q: not all moves were seen", log)
	}
}

func TestAWebhookWaitsForEveryReplica(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.startController()
	p.policyServer("default", "replicas: 2")
	p.replica("default", "one")
	p.replica("default", "two", exception{Policy: "kw.cap.p", Generation: 1, State: "Failed", Stage: "settings", Message: "no such field"})
	p.create("clusteradmissionpolicies", capolicy("p", ""))
	p.create("clusteradmissionpolicies", capolicy("q", "timeoutSeconds: 9"))
	p.ready("q")
	p.wantStatus("clusteradmissionpolicies", "", "p", "pending", "Loaded", "False/LoadFailed")
	_, _, message, err := p.status(t.Context(), "clusteradmissionpolicies", "", "p", "Ready")
	if want := "1 of 2 replicas hold generation 1: replica two: settings: no such field"; err != nil || message != want {
		t.Errorf("message %q, %v, want %q", message, err, want)
	}
	p.validating(bundled, hooks(1))
	p.replica("default", "two")
	p.ready("p")
	p.validating(bundled, hooks(2))

	// One that is enforced and fails later keeps what it has.
	p.replica("default", "two", exception{Policy: "kw.cap.p", Generation: 2, State: "Stale", Stage: "fetch", Message: "away"})
	p.patch("clusteradmissionpolicies", "", "p", `{"spec": {"settings": {}, "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["services"], "operations": ["CREATE"]}]}}`)
	p.wantStatus("clusteradmissionpolicies", "", "p", "active", "Loaded", "False/LoadFailed")
	p.validating(bundled, func(c *admissionv1.ValidatingWebhookConfiguration) error {
		for _, w := range c.Webhooks {
			if len(w.Rules) != 1 || w.Rules[0].Resources[0] != "pods" {
				return fmt.Errorf("%s has %v", w.Name, w.Rules)
			}
		}
		return hooks(2)(c)
	})
	eventually(t, "events", func(ctx context.Context) error {
		events, err := p.kube.EventsV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "regarding.name=p"})
		if err != nil {
			return err
		}
		count := map[string]int{}
		for _, e := range events.Items {
			count[e.Reason]++
		}
		if count["LoadFailed"] != 2 || count["Enforced"] != 1 {
			return fmt.Errorf("events %v", count)
		}
		return nil
	})
	p.delete("clusteradmissionpolicies", "", "p")
	p.wantGone("clusteradmissionpolicies", "", "p")
	p.validating(bundled, hooks(1))
}

func TestOneRefusedWebhookDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.startController()
	p.policyServer("default", "replicas: 1")
	p.replica("default", "one")
	p.create("clusteradmissionpolicies", capolicy("bad", "matchConditions: [{name: a, expression: 'nonsense('}]"))
	p.create("clusteradmissionpolicies", capolicy("good", ""))
	p.ready("good")
	p.wantStatus("clusteradmissionpolicies", "", "bad", "pending", "Enforced", "False/WebhookRefused")
	p.patch("clusteradmissionpolicies", "", "bad", `{"spec": {"matchConditions": [{"name": "a", "expression": "true"}]}}`)
	p.ready("bad")
}

func TestWhatKubewardenLeftBehindIsAdopted(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	ctx := t.Context()
	// A webhook of a policy that is gone, under an old name; one of a policy that
	// is there; one of a policy server that is gone; and one of somebody else.
	fail, none := admissionv1.Fail, admissionv1.SideEffectClassNone
	config := func(name, server, policy string, labels map[string]string) {
		path := "/validate/" + name
		_, err := p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &admissionv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: map[string]string{"kubewardenPolicyName": policy, "kubewardenPolicyNamespace": ""}},
			Webhooks: []admissionv1.ValidatingWebhook{{
				Name: name + ".kubewarden.admission", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
				ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: warderNamespace, Name: server, Path: &path}},
				Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{"DELETE"}, Rule: admissionv1.Rule{
					APIGroups: []string{"example.com"}, APIVersions: []string{"v1"}, Resources: []string{"things"},
				}}},
			}},
		}, metav1.CreateOptions{FieldManager: "kubewarden-controller"})
		if err != nil {
			t.Fatal(err)
		}
	}
	kubewarden := map[string]string{"app.kubernetes.io/part-of": "kubewarden"}
	config("clusterwide-there", "policy-server-default", "there", kubewarden)
	config("clusterwide-gone", "policy-server-default", "gone", kubewarden)
	config("clusterwide-older", "policy-server-none", "older", map[string]string{"kubewarden": "true"})
	config("somebody-else", "policy-server-default", "x", nil)
	p.startController()
	p.policyServer("default", "replicas: 1")
	p.replica("default", "one")
	p.create("clusteradmissionpolicies", capolicy("there", ""))
	p.ready("there")
	eventually(t, "old names are gone", func(ctx context.Context) error {
		for _, name := range []string{"clusterwide-there", "clusterwide-gone", "clusterwide-older"} {
			_, err := p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s: %v", name, err)
			}
		}
		return nil
	})
	if _, err := p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, "somebody-else", metav1.GetOptions{}); err != nil {
		t.Errorf("somebody else's webhook: %v", err)
	}

	// Of a Deployment what is not ours any more goes away.
	deployments := p.kube.AppsV1().Deployments(warderNamespace)
	eventually(t, "the Deployment is there", func(ctx context.Context) error {
		_, err := deployments.Patch(ctx, "policy-server-default", "application/strategic-merge-patch+json",
			[]byte(`{"spec": {"template": {"spec": {"containers": [{"name": "policy-server-default", "env": [{"name": "KUBEWARDEN_POLICIES", "value": "/config/policies.yml"}]}]}}}}`),
			metav1.PatchOptions{FieldManager: "kubewarden-controller"})
		return err
	})
	p.patch("policyservers", "", "default", `{"spec": {"priorityClassName": "high"}}`)
	eventually(t, "variables of Kubewarden are gone", func(ctx context.Context) error {
		d, err := deployments.Get(ctx, "policy-server-default", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, e := range d.Spec.Template.Spec.Containers[0].Env {
			if e.Name == "KUBEWARDEN_POLICIES" {
				return fmt.Errorf("%s is there", e.Name)
			}
		}
		return nil
	})
}

// caOf is ca.crt of the Secret, or another of its keys.
func (p *plane) secretKey(ctx context.Context, name, key string) string {
	s, err := p.kube.CoreV1().Secrets(warderNamespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return string(s.Data[key])
}

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
