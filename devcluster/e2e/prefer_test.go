package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// There is no registry here, so nobody but a built-in can answer for the module.
func TestAReplicaPrefersBuiltinsWhenItsPolicyServerSaysSo(t *testing.T) {
	t.Parallel()
	r := startReplica(t)
	alone := r.create(clusterPolicy("alone", "registry://ghcr.io.invalid/kubewarden/policies/safe-labels:v1", wantsLabel("a")))
	policy := r.create(clusterPolicy("preferred", "ghcr.io/kubewarden/policies/safe-labels:v1.0.4", wantsLabel("a")))
	server := r.patch(policyServer(), `{"spec":{"preferBuiltins":true}}`)
	if kept, _, _ := unstructured.NestedBool(server.Object, "spec", "preferBuiltins"); !kept {
		t.Errorf("spec %v, want preferBuiltins kept", server.Object["spec"])
	}
	r.holds(policy)
	r.answers("kw.cap.preferred", "a", allowed)
	r.answers("kw.cap.preferred", "b", rejected)
	eventually(t, "the other one is not answered by a built-in", func(ctx context.Context) error {
		s, _, err := r.report(ctx)
		if err != nil || s.Status.Failed != 1 || s.Status.Exceptions[0].Policy != "kw.cap."+alone.GetName() {
			return errors.Join(fmt.Errorf("status %+v", s.Status), err)
		}
		return nil
	})
}
