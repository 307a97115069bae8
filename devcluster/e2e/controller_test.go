package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	bundled = "policy-server-default.warder"
	podRule = `rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]`
)

// capolicy is a ClusterAdmissionPolicy.
func capolicy(name, more string) string {
	return fmt.Sprintf("kind: ClusterAdmissionPolicy\nmetadata: {name: %s}\nspec: {module: 'builtin://pod-privileged', mutating: false, %s, %s}", name, podRule, more)
}

// validating waits until the configuration is as want says.
func (p *plane) validating(name string, want func(*admissionv1.ValidatingWebhookConfiguration) error) {
	p.Helper()
	eventually(p.T, "validating webhooks "+name, func(ctx context.Context) error {
		c, err := p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return want(c)
	})
}

func hooks(n int) func(*admissionv1.ValidatingWebhookConfiguration) error {
	return func(c *admissionv1.ValidatingWebhookConfiguration) error {
		if len(c.Webhooks) != n {
			return fmt.Errorf("%d webhooks, want %d", len(c.Webhooks), n)
		}
		return nil
	}
}

// noConfigurations waits until no webhook of policies is left.
func (p *plane) noConfigurations() {
	p.Helper()
	eventually(p.T, "no webhooks", func(ctx context.Context) error {
		v, err := p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=kubewarden"})
		m, err2 := p.kube.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=kubewarden"})
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		if n := len(v.Items) + len(m.Items); n > 0 {
			return fmt.Errorf("%d webhook configurations", n)
		}
		return nil
	})
}

func TestPoliciesOfAllKindsAreEnforcedAndLetGo(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.startController()
	p.create("clusteradmissionpolicies", capolicy("early", ""))
	p.wantStatus("clusteradmissionpolicies", "", "early", "scheduled", "Loaded", "False/PolicyServerMissing")

	p.policyServer("default", "replicas: 1")
	p.wantStatus("clusteradmissionpolicies", "", "early", "pending", "Loaded", "False/NoReplicas")
	p.replica("default", "one")
	p.wantStatus("clusteradmissionpolicies", "", "early", "active", "Ready", "True/Enforced")

	p.create("admissionpolicies", "kind: AdmissionPolicy\nmetadata: {name: ap, namespace: default}\nspec: {module: 'builtin://pod-privileged', mutating: true, "+podRule+"}")
	p.create("admissionpolicygroups", "kind: AdmissionPolicyGroup\nmetadata: {name: apg, namespace: default}\nspec: {expression: a(), message: refused, policies: {a: {module: 'builtin://pod-privileged'}}, "+podRule+"}")
	p.create("clusteradmissionpolicygroups", "kind: ClusterAdmissionPolicyGroup\nmetadata: {name: capg}\nspec: {expression: a(), message: refused, policies: {a: {module: 'builtin://pod-privileged'}}, "+podRule+"}")
	for plural, o := range map[string][2]string{"admissionpolicies": {"default", "ap"}, "admissionpolicygroups": {"default", "apg"}, "clusteradmissionpolicygroups": {"", "capg"}} {
		p.wantStatus(plural, o[0], o[1], "active", "Ready", "True/Enforced")
	}
	p.validating(bundled, hooks(2)) // the whole cluster, and one namespace
	for _, name := range []string{"early"} {
		o, err := p.get(t.Context(), "clusteradmissionpolicies", "", name)
		if err != nil || len(o.GetFinalizers()) != 1 {
			t.Errorf("finalizers of %s: %v, %v", name, o.GetFinalizers(), err)
		}
	}
	eventually(t, "objects of the policy server", func(ctx context.Context) error {
		_, err := p.kube.AppsV1().Deployments(warderNamespace).Get(ctx, "policy-server-default", metav1.GetOptions{})
		_, err2 := p.kube.CoreV1().Services(warderNamespace).Get(ctx, "policy-server-default", metav1.GetOptions{})
		return errors.Join(err, err2)
	})

	p.delete("admissionpolicies", "default", "ap")
	p.wantGone("admissionpolicies", "default", "ap")
	if _, err := p.kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), bundled, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the mutating webhook of a policy that is gone: %v, want not found", err)
	}
	p.delete("policyservers", "", "default")
	p.wantGone("policyservers", "", "default")
	p.wantStatus("clusteradmissionpolicies", "", "early", "scheduled", "Loaded", "False/PolicyServerMissing")
	p.noConfigurations()
	p.delete("clusteradmissionpolicies", "", "early")
	p.wantGone("clusteradmissionpolicies", "", "early")
}

func TestNothingIsWrittenWhenNothingChanges(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.startController()
	p.policyServer("default", "replicas: 2")
	p.replica("default", "one")
	for i := range 20 {
		p.create("clusteradmissionpolicies", capolicy(fmt.Sprintf("p%d", i), ""))
	}
	for i := range 20 {
		p.wantStatus("clusteradmissionpolicies", "", fmt.Sprintf("p%d", i), "active", "Ready", "True/Enforced")
	}
	settled := p.settledWrites()
	if settled < 20 {
		t.Fatalf("the audit log has %d writes of the controller: it does not see them", settled)
	}

	// What says nothing new makes no write: a heartbeat, a label of a policy, a
	// new replica that holds everything, a new start.
	p.patch("clusteradmissionpolicies", "", "p1", `{"metadata": {"labels": {"a": "b"}}}`)
	p.patchReplica("one", `{"status": {"renewTime": "2036-01-02T03:04:05.000000Z"}}`)
	if n, what := p.later(settled); n > 0 {
		t.Errorf("%d writes after nothing has changed: %q", n, what)
	}

	// What somebody else changes is put right.
	ctx := t.Context()
	_, err := p.kube.AppsV1().Deployments(warderNamespace).Patch(ctx, "policy-server-default", "application/merge-patch+json",
		[]byte(`{"spec": {"replicas": 7, "template": {"spec": {"serviceAccountName": "evil"}}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "Deployment is put right", func(ctx context.Context) error {
		d, err := p.kube.AppsV1().Deployments(warderNamespace).Get(ctx, "policy-server-default", metav1.GetOptions{})
		if err == nil && (*d.Spec.Replicas != 2 || d.Spec.Template.Spec.ServiceAccountName != "policy-server-default") {
			err = fmt.Errorf("%d replicas, %s", *d.Spec.Replicas, d.Spec.Template.Spec.ServiceAccountName)
		}
		return err
	})
	if err := p.kube.CoreV1().Services(warderNamespace).Delete(ctx, "policy-server-default", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Service is back", func(ctx context.Context) error {
		_, err := p.kube.CoreV1().Services(warderNamespace).Get(ctx, "policy-server-default", metav1.GetOptions{})
		return err
	})
	_, err = p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Patch(ctx, bundled, "application/json-patch+json",
		[]byte(`[{"op": "replace", "path": "/webhooks/0/objectSelector", "value": {"matchLabels": {"none": "such"}}}, {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.validating(bundled, func(c *admissionv1.ValidatingWebhookConfiguration) error {
		if w := c.Webhooks[0]; len(w.ObjectSelector.MatchLabels) > 0 || *w.FailurePolicy != admissionv1.Fail {
			return fmt.Errorf("selector %v, %s", w.ObjectSelector, *w.FailurePolicy)
		}
		return nil
	})
	settled = p.settledWrites()
	if n, what := p.later(settled); n > 0 {
		t.Errorf("%d writes after everything is as it should be: %q", n, what)
	}
}

func TestAControllerOutsideOfTheClusterAnswersItsWebhooks(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p.startController("--webhook-bind-host", "127.0.0.1", "--webhook-server-port", fmt.Sprint(port), "--webhook-url", fmt.Sprintf("https://127.0.0.1:%d", port))
	servers := p.dynamic.Resource(resource("policyservers"))
	refused := func(ctx context.Context) error {
		o := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "policies.kubewarden.io/v1", "kind": "PolicyServer", "metadata": map[string]any{"name": "bad"},
			"spec": map[string]any{"imagePullSecret": "none"},
		}}
		_, err := servers.Create(ctx, o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), `admission webhook "vpolicyserver.kb.io" denied the request`) {
			return fmt.Errorf("error %v, want the webhook's", err)
		}
		return nil
	}
	eventually(t, "a bad policy server is refused", refused)
	made := p.create("clusteradmissionpolicies", capolicy("p", ""))
	if len(made.GetFinalizers()) != 1 {
		t.Errorf("finalizers at creation: %v", made.GetFinalizers())
	}
	// The certificate is another one, and the configuration is gone.
	if err := p.kube.CoreV1().Secrets(warderNamespace).Delete(t.Context(), "kubewarden-ca", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	err = p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(t.Context(), "kubewarden-controller-validating-webhook-configuration", metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a bad policy server is refused again", refused)
}
