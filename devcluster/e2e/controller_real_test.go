package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/warder-dev/warder/devcluster/stage"
)

// TestNoRequestIsMissedWhileAPolicyMoves changes what decides on the webhook of a
// policy, while somebody tries all the time to do what it refuses.
func TestNoRequestIsMissedWhileAPolicyMoves(t *testing.T) {
	t.Parallel()
	s := stage.New(t)
	p := s.Apply(capOf("no-privileged", "builtin://pod-privileged", ""))
	s.Ready(p)
	policies := s.Dynamic.Resource(resource("clusteradmissionpolicies"))
	servers := s.Dynamic.Resource(resource("policyservers"))

	ctx, cancel := context.WithCancel(t.Context())
	var tried, missed, other atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			err := s.CreatePod("default", stage.Pod("p", stage.Privileged))
			tried.Add(1)
			switch {
			case err == nil:
				missed.Add(1)
			case !strings.Contains(err.Error(), "Privileged container is not allowed"):
				if other.Add(1) == 1 {
					t.Errorf("after %d requests: %v", tried.Load(), err)
				}
			}
		}
	}()
	moves := []struct {
		name, patch string
		server      bool
	}{
		{"another bundle", `{"spec": {"timeoutSeconds": 7}}`, false},
		{"one webhook per policy", `{"spec": {"webhooks": "PerPolicy"}}`, true},
		{"mutating", `{"spec": {"mutating": true}}`, false},
		{"bundled", `{"spec": {"webhooks": "Bundled"}}`, true},
		{"not mutating, another bundle", `{"spec": {"mutating": false, "timeoutSeconds": 8}}`, false},
	}
	for _, m := range moves {
		before := where(t, s)
		r, name := policies, "no-privileged"
		if m.server {
			r, name = servers, "default"
		}
		if _, err := r.Patch(t.Context(), name, "application/merge-patch+json", []byte(m.patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		s.Eventually(func() string {
			if now := where(t, s); now == before {
				return fmt.Sprintf("%s: it is still asked for at %s", m.name, now)
			}
			return ""
		})
		s.Ready(p)
	}
	cancel()
	<-done
	t.Logf("%d requests, %d missed, %d with another error", tried.Load(), missed.Load(), other.Load())
	if missed.Load() > 0 {
		t.Errorf("%d of %d requests were allowed", missed.Load(), tried.Load())
	}
}

// where is where the API server asks for the policy.
func where(t *testing.T, s *stage.Stage) string {
	t.Helper()
	o, err := s.Dynamic.Resource(resource("clusteradmissionpolicies")).Get(t.Context(), "no-privileged", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	at, _, _ := unstructured.NestedMap(o.Object, "status", "enforced")
	delete(at, "generation")
	return fmt.Sprint(at)
}
