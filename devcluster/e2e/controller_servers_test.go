package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// setReady says of the pods of a policy server, which no node runs, whether they
// are ready.
func (p *plane) setReady(server string, ready corev1.ConditionStatus) {
	p.Helper()
	eventually(p.T, "pods of "+server, func(ctx context.Context) error {
		pods, err := p.kube.CoreV1().Pods(warderNamespace).List(ctx, metav1.ListOptions{LabelSelector: "kubewarden/policy-server=" + server})
		if err != nil {
			return err
		}
		if len(pods.Items) == 0 {
			return errors.New("there are none")
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			pod.Status.Phase = corev1.PodRunning
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
			if _, err := p.kube.CoreV1().Pods(warderNamespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
				return err
			}
		}
		d, err := p.kube.AppsV1().Deployments(warderNamespace).Get(ctx, "policy-server-"+server, metav1.GetOptions{})
		if err == nil && (d.Status.AvailableReplicas > 0) != (ready == corev1.ConditionTrue) {
			err = fmt.Errorf("%d are available", d.Status.AvailableReplicas)
		}
		return err
	})
}

func TestTheFirstWebhookWaitsUntilTheServiceLeadsToAReplica(t *testing.T) {
	p := startPlane(t)
	p.startController()
	p.policyServer("inside", "replicas: 1")
	p.replica("inside", "one")
	p.create("clusteradmissionpolicies", capolicy("first", "policyServer: inside"))
	p.wantStatus("clusteradmissionpolicies", "", "first", "pending", "Loaded", "True/HeldByAllReplicas")
	p.wantStatus("clusteradmissionpolicies", "", "first", "pending", "Ready", "False/NoReplicaAvailable")
	configs := p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := configs.Get(t.Context(), "policy-server-inside.warder", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a webhook that nobody answers: %v, want not found", err)
	}
	p.setReady("inside", corev1.ConditionTrue)
	p.wantStatus("clusteradmissionpolicies", "", "first", "active", "Ready", "True/Enforced")

	// Now that there is one, to wait would keep nobody from being refused.
	p.setReady("inside", corev1.ConditionFalse)
	p.create("clusteradmissionpolicies", capolicy("second", "policyServer: inside"))
	p.wantStatus("clusteradmissionpolicies", "", "second", "active", "Ready", "True/Enforced")
}

func TestAPolicyServerThatIsMadeAgainOwnsWhatIsLeft(t *testing.T) {
	p := startPlane(t)
	p.startController()
	owner := func(ctx context.Context) (uid string, err error) {
		s, err := p.kube.CoreV1().Secrets(warderNamespace).Get(ctx, "policy-server-again", metav1.GetOptions{})
		if err == nil && len(s.OwnerReferences) == 1 {
			return string(s.OwnerReferences[0].UID), nil
		}
		return "", errors.Join(err, fmt.Errorf("owners %v", s.OwnerReferences))
	}
	owned := func() {
		t.Helper()
		eventually(t, "owner of the Secret", func(ctx context.Context) error {
			ps, err := p.get(ctx, "policyservers", "", "again")
			if err != nil {
				return err
			}
			uid, err := owner(ctx)
			if err == nil && uid != string(ps.GetUID()) {
				err = fmt.Errorf("owner %s, want %s", uid, ps.GetUID())
			}
			return err
		})
	}
	p.policyServer("again", "replicas: 1")
	owned()
	orphan := metav1.DeletePropagationOrphan
	err := p.dynamic.Resource(resource("policyservers")).Delete(t.Context(), "again", metav1.DeleteOptions{PropagationPolicy: &orphan})
	if err != nil {
		t.Fatal(err)
	}
	p.wantGone("policyservers", "", "again")
	p.policyServer("again", "replicas: 1")
	owned()
}
