package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/devcluster/stage"
)

// everything is a policy that is asked for all that there is.
func everything(failurePolicy string) string {
	return fmt.Sprintf(`
apiVersion: policies.kubewarden.io/v1
kind: ClusterAdmissionPolicy
metadata: {name: everything}
spec:
  module: builtin://pod-privileged
  mutating: false
  failurePolicy: %s
  timeoutSeconds: 5
  rules:
  - {apiGroups: ["*"], apiVersions: ["*"], resources: ["*/*"], operations: ["*"]}
`, failurePolicy)
}

// setReplicas sets the replicas of a Deployment of warder's, or of the PolicyServer if
// the name is "default".
func setReplicas(s *stage.Stage, name string, replicas int) {
	s.T.Helper()
	patch := fmt.Appendf(nil, `{"spec": {"replicas": %d}}`, replicas)
	s.Eventually(func() string { // while warder comes back nobody may answer its own webhooks
		var err error
		if name == "default" {
			_, err = s.Dynamic.Resource(resource("policyservers")).Patch(s.T.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
		} else {
			_, err = s.Client.AppsV1().Deployments(stage.Namespace).Patch(s.T.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
}

// noPods waits until the Deployment has no pods.
func noPods(s *stage.Stage, prefix string) {
	s.T.Helper()
	s.Eventually(func() string {
		if left := s.Pods(prefix); len(left) > 0 {
			return fmt.Sprintf("%d pods of %s are left", len(left), prefix)
		}
		return ""
	})
}

// judges waits until privileged pods are refused for the policy's reason and others
// are not, and says how long that took.
func judges(s *stage.Stage, policy string) time.Duration {
	s.T.Helper()
	began := time.Now()
	s.Eventually(func() string {
		if err := s.CreatePod("default", stage.Pod("p")); err != nil {
			return fmt.Sprintf("a pod that nothing is wrong with: %v", err)
		}
		err := s.CreatePod("default", stage.Pod("p", stage.Privileged))
		if err == nil || !strings.Contains(err.Error(), "kw.cap."+policy+": Privileged") {
			return fmt.Sprintf("a privileged pod: %v", err)
		}
		return ""
	})
	return time.Since(began).Round(time.Millisecond)
}

// open fails the test unless a pod can be created there.
func open(s *stage.Stage, namespace, when string) {
	s.T.Helper()
	if err := s.CreatePod(namespace, stage.Pod("p", stage.Privileged)); err != nil {
		s.T.Errorf("%s: a pod in %s: %v", when, namespace, err)
	}
}

// closed waits until no pod can be created in "default" because nobody answers.
func closed(s *stage.Stage) {
	s.T.Helper()
	s.Eventually(func() string {
		if err := s.CreatePod("default", stage.Pod("p")); err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
			return fmt.Sprintf("servers are dead, failurePolicy is Fail; a pod: %v", err)
		}
		return ""
	})
}

// restart ends a part of the cluster as kill -9 does, and starts it again.
func restart(s *stage.Stage, part cluster.Part) {
	s.T.Helper()
	if err := s.Cluster.KillPart(part); err != nil {
		s.T.Fatal(err)
	}
	if err := s.Cluster.StartPart(s.T.Context(), part); err != nil {
		s.T.Fatal(err)
	}
}

func TestNothingLocksTheClusterOut(t *testing.T) {
	t.Parallel()
	s := stage.New(t)
	const server, controller = "policy-server-default", "warder-controller"
	policy := s.Apply(everything("Ignore"))
	s.Ready(policy)
	judges(s, "everything")

	setReplicas(s, "default", 0)
	noPods(s, server)
	s.Eventually(func() string {
		if err := s.CreatePod("default", stage.Pod("p", stage.Privileged)); err != nil {
			return fmt.Sprintf("servers are dead, failurePolicy is Ignore: %v", err)
		}
		return ""
	})
	setReplicas(s, "default", 1)
	t.Logf("failurePolicy Ignore: the server is back and judges after %s", judges(s, "everything"))

	s.Ready(s.Apply(everything("Fail")))
	s.Eventually(func() string { return moving(s.Get(policy)) })
	setReplicas(s, "default", 0)
	noPods(s, server)
	closed(s)
	open(s, stage.Namespace, "servers are dead")
	setReplicas(s, "default", 1)
	t.Logf("failurePolicy Fail: the server is back and judges after %s", judges(s, "everything"))

	setReplicas(s, controller, 0)
	noPods(s, controller)
	setReplicas(s, server, 0)
	noPods(s, server)
	closed(s)
	restart(s, cluster.APIServer)
	restart(s, cluster.ControllerManager)
	closed(s)
	setReplicas(s, controller, 2)
	t.Logf("controllers and servers were dead, the cluster's own were restarted: all judges after %s", judges(s, "everything"))

	if err := s.Client.CoreV1().Pods(stage.Namespace).DeleteCollection(t.Context(), *metav1.NewDeleteOptions(0), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("all pods deleted at once: all judges after %s", judges(s, "everything"))

	// Changes of policies are taken while nobody judges, and lift the lock.
	setReplicas(s, "default", 0)
	noPods(s, server)
	closed(s)
	began := time.Now()
	s.Delete(policy)
	s.Eventually(func() string {
		if err := s.CreatePod("default", stage.Pod("p", stage.Privileged)); err != nil {
			return fmt.Sprintf("the policy is deleted: %v", err)
		}
		return ""
	})
	t.Logf("servers dead, policy deleted: lifted after %s", time.Since(began).Round(time.Millisecond))

	setReplicas(s, "default", 1)
	s.Ready(s.Apply(everything("Fail")))
	judges(s, "everything")
	setReplicas(s, controller, 0)
	noPods(s, controller)
	setReplicas(s, server, 0)
	noPods(s, server)
	closed(s)
	if err := s.Of(policy).Delete(t.Context(), policy.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Errorf("controller and servers are dead: kubectl delete: %v", err)
	}
	closed(s)
	began = time.Now()
	s.Warder("uninstall", "--keep-crds", "--yes")
	open(s, "default", "uninstalled")
	t.Logf("everything dead: warder uninstall took %s", time.Since(began).Round(time.Millisecond))
}
