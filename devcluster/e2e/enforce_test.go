package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warder-dev/warder/devcluster/stage"
)

// capOf is a ClusterAdmissionPolicy about pods that are created, without the
// settings if there are none.
func capOf(name, module, settings string) string {
	if settings == "" {
		settings = "{}"
	}
	return fmt.Sprintf(`
apiVersion: policies.kubewarden.io/v1
kind: ClusterAdmissionPolicy
metadata: {name: %s}
spec:
  module: %s
  settings: %s
  mutating: false
  rules:
  - {apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}
`, name, module, settings)
}

// labelled wants a label of pods.
func labelled(name, label string) string {
	return capOf(name, "builtin://safe-labels", fmt.Sprintf(`{"mandatory_labels": [%q]}`, label))
}

func TestPoliciesAreEnforcedAndNoMore(t *testing.T) {
	t.Parallel()
	s := stage.New(t)
	if err := s.CreatePod("default", stage.Pod("p", stage.Privileged)); err != nil {
		t.Fatalf("nothing is installed that could refuse: %v", err)
	}
	p := s.Apply(capOf("no-privileged", "builtin://pod-privileged", ""))
	s.Ready(p)
	// An API server hears of its own webhooks a moment later.
	s.Eventually(func() string {
		err := s.CreatePod("default", stage.Pod("p", stage.Privileged))
		if err == nil || !strings.Contains(err.Error(), "kw.cap.no-privileged: Privileged container is not allowed") {
			return fmt.Sprintf("error = %v, want the policy's reason", err)
		}
		return ""
	})
	if err := s.CreatePod("default", stage.Pod("p")); err != nil {
		t.Errorf("a pod that nothing is wrong with is refused: %v", err)
	}
	if err := s.CreatePod(stage.Namespace, stage.Pod("p", stage.Privileged)); err != nil {
		t.Errorf("a pod in the namespace of warder is judged: %v", err)
	}
	s.Delete(p)
	s.Eventually(func() string {
		if err := s.CreatePod("default", stage.Pod("p", stage.Privileged)); err != nil {
			return fmt.Sprintf("the policy is gone, and the pod is refused: %v", err)
		}
		return ""
	})

	t.Run("four reasons in one answer", func(t *testing.T) {
		for _, label := range []string{"team", "owner", "cost", "stage"} {
			s.Ready(s.Apply(labelled("needs-"+label, label)))
		}
		var err error
		s.Eventually(func() string {
			err = s.CreatePod("default", stage.Pod("p"))
			for _, label := range []string{"team", "owner", "cost", "stage"} {
				if err == nil || !strings.Contains(err.Error(), "kw.cap.needs-"+label+": ") {
					return fmt.Sprintf("no reason of needs-%s in: %v", label, err)
				}
			}
			return ""
		})
		t.Log(err)
	})

	t.Run("bad settings are refused in the policy's own words", func(t *testing.T) {
		// The controller registers its webhooks once it can answer.
		s.Eventually(func() string {
			_, err := s.TryApply(capOf("bad", "builtin://safe-labels", `{"mandatory_labels": ["a"], "denied_labels": ["a"]}`))
			if err == nil || !strings.Contains(err.Error(), "spec.settings: Invalid value") ||
				!strings.Contains(err.Error(), "These labels cannot be mandatory and denied at the same time: a") {
				return fmt.Sprintf("error = %v, want the policy's own about its settings", err)
			}
			return ""
		})
		_, err := s.TryApply(capOf("bad", "builtin://pod-privilege", ""))
		if err == nil || !strings.Contains(err.Error(), "did you mean") {
			t.Errorf("error = %v, want a suggestion for the module", err)
		}
	})

	t.Run("from apply to enforced", func(t *testing.T) {
		var took []time.Duration
		for i := range 50 {
			name := fmt.Sprintf("quick-%d", i)
			start := time.Now()
			s.Apply(labelled(name, name))
			s.Eventually(func() string {
				if err := s.CreatePod("default", stage.Pod("p")); err == nil || !strings.Contains(err.Error(), "kw.cap."+name+":") {
					return fmt.Sprintf("%s does not judge yet: %v", name, err)
				}
				return ""
			})
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		t.Logf("apply to enforced, 50 policies: median %s, 90%% %s, longest %s", took[25], took[45], took[49])
	})
	for _, pod := range s.Pods("") {
		if n := pod.Status.ContainerStatuses[0].RestartCount; n != 0 {
			t.Errorf("%s has restarted %d times", pod.Name, n)
		}
	}
}
