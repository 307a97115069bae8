package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	bundled = "policy-server-default.warder"
	podRule = `rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]`
)

// capolicy is a ClusterAdmissionPolicy.
func capolicy(name, more string) string {
	return fmt.Sprintf("kind: ClusterAdmissionPolicy\nmetadata: {name: %s}\nspec: {module: 'builtin://host-network', mutating: false, %s, %s}", name, podRule, more)
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
	p := startPlane(t)
	p.startController()
	p.create("clusteradmissionpolicies", capolicy("early", ""))
	p.wantStatus("clusteradmissionpolicies", "", "early", "scheduled", "Loaded", "False/PolicyServerMissing")

	p.policyServer("default", "replicas: 1")
	p.wantStatus("clusteradmissionpolicies", "", "early", "pending", "Loaded", "False/NoReplicas")
	p.replica("default", "one")
	p.wantStatus("clusteradmissionpolicies", "", "early", "active", "Ready", "True/Enforced")

	p.create("admissionpolicies", "kind: AdmissionPolicy\nmetadata: {name: ap, namespace: default}\nspec: {module: 'builtin://host-network', mutating: true, "+podRule+"}")
	p.create("admissionpolicygroups", "kind: AdmissionPolicyGroup\nmetadata: {name: apg, namespace: default}\nspec: {expression: a(), message: refused, policies: {a: {module: 'builtin://host-network'}}, "+podRule+"}")
	p.create("clusteradmissionpolicygroups", "kind: ClusterAdmissionPolicyGroup\nmetadata: {name: capg}\nspec: {expression: a(), message: refused, policies: {a: {module: 'builtin://host-network'}}, "+podRule+"}")
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
	if _, err := p.kube.AppsV1().Deployments(warderNamespace).Get(t.Context(), "policy-server-default", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}

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
