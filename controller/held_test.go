package controller

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
)

// TestAReplicaHoldsWhatItHasTakenUpAndDoesNotExcept has the exceptions in the order
// of reports: what stays until somebody does something first.
func TestAReplicaHoldsWhatItHasTakenUpAndDoesNotExcept(t *testing.T) {
	replica := &v1alpha1.PolicyServerReplica{Status: v1alpha1.ReplicaStatus{
		Observed: []v1alpha1.Observed{{Resource: "clusteradmissionpolicies", ResourceVersion: "100"}},
		Exceptions: []v1alpha1.Exception{
			{Policy: "kw.cap.m", Generation: 2, State: v1alpha1.Failed},
			{Policy: "kw.cap.z", Generation: 2, State: v1alpha1.Stale},
			{Policy: "kw.cap.b", Generation: 2, State: v1alpha1.Degraded},
			{Policy: "kw.cap.a", Generation: 2, State: v1alpha1.Loading},
			{Policy: "kw.cap.old", Generation: 1, State: v1alpha1.Failed},
		},
	}}
	full := replica.DeepCopy()
	full.Status.ExceptionsLeftOut = 1
	tests := []struct {
		name    string
		replica *v1alpha1.PolicyServerReplica
		policy  string
		version string
		held    bool
		state   v1alpha1.PolicyState
	}{
		{"no exception", replica, "fine", "100", true, ""},
		{"not taken up", replica, "fine", "101", false, ""},
		{"failed", replica, "m", "90", false, v1alpha1.Failed},
		{"stale", replica, "z", "90", false, v1alpha1.Stale},
		{"degraded is served", replica, "b", "90", true, v1alpha1.Degraded},
		{"loading", replica, "a", "90", false, v1alpha1.Loading},
		{"failed in an older generation", replica, "old", "90", false, ""},
		{"maybe left out", full, "fine", "100", false, v1alpha1.Failed},
		{"listed though some are left out", full, "b", "100", true, v1alpha1.Degraded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := v1.View(&v1.ClusterAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: tt.policy}})
			h := holdingOf(tt.replica, p, revision{generation: 2, resourceVersion: tt.version})
			if h.held != tt.held || h.state != tt.state {
				t.Errorf("held %v, state %q; want %v, %q", h.held, h.state, tt.held, tt.state)
			}
		})
	}
}
