package controller

import (
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
)

func TestStatusOfAPolicy(t *testing.T) {
	at := func(generation int64) *v1.Enforcement {
		return &v1.Enforcement{Generation: generation, Configuration: "c", Bundle: "b"}
	}
	held := tally{live: 2, held: 2}
	failed := tally{live: 2, held: 1, failed: 1, replica: "web-x", holding: holding{state: v1alpha1.Failed, stage: "settings", message: "bad"}}
	degraded := tally{live: 2, held: 2, failed: 1, replica: "web-x", holding: holding{held: true, state: v1alpha1.Degraded, stage: "members", message: "a"}}
	loadedBefore := []metav1.Condition{{Type: v1.ConditionLoaded, Status: metav1.ConditionTrue, Reason: reasonHeld, Message: "m", ObservedGeneration: 2}}
	tests := []struct {
		name  string
		s     standing
		was   v1.PolicyStatus
		state v1.PolicyState
		mode  v1.ObservedMode
		// reasons of the conditions, and the message of Ready
		ready, loaded, enforced, upToDate, message string
	}{
		{
			"no server", standing{}, v1.PolicyStatus{Mode: "protect"}, v1.Scheduled, v1.UnknownMode,
			"False/PolicyServerMissing", "False/PolicyServerMissing", "False/NotRegistered", "Unknown/UnknownConfigurationVersion",
			`policy server "s" does not exist, or is being deleted`,
		},
		{
			"no replica", standing{server: true}, v1.PolicyStatus{}, v1.Pending, v1.UnknownMode,
			"False/NoReplicas", "False/NoReplicas", "False/NotRegistered", "Unknown/UnknownConfigurationVersion",
			`no replica of policy server "s" is ready`,
		},
		{
			"loading", standing{server: true, tally: tally{live: 2, held: 1}}, v1.PolicyStatus{}, v1.Pending, v1.UnknownMode,
			"False/Loading", "False/Loading", "False/NotRegistered", "False/ConfigurationVersionMismatch",
			`waiting for every replica of policy server "s" to hold generation 2`,
		},
		{
			"failed", standing{server: true, tally: failed}, v1.PolicyStatus{}, v1.Pending, v1.UnknownMode,
			"False/LoadFailed", "False/LoadFailed", "False/NotRegistered", "False/ConfigurationVersionMismatch",
			"1 of 2 replicas hold generation 2: replica web-x: settings: bad",
		},
		{
			"enforced", standing{server: true, tally: held, enforced: at(2)}, v1.PolicyStatus{}, v1.Active, "protect",
			"True/Enforced", "True/HeldByAllReplicas", "True/Enforced", "True/ConfigurationVersionMatch",
			`generation 2 is enforced by webhook configuration "c"`,
		},
		{
			"enforced, and the next generation fails", standing{server: true, tally: failed, enforced: at(1)}, v1.PolicyStatus{Mode: "monitor"}, v1.Active, "monitor",
			"False/LoadFailed", "False/LoadFailed", "False/OlderGeneration", "False/ConfigurationVersionMismatch",
			"1 of 2 replicas hold generation 2: replica web-x: settings: bad",
		},
		{
			"members fail", standing{server: true, tally: degraded, enforced: at(2)}, v1.PolicyStatus{}, v1.Active, "protect",
			"False/MembersFailed", "False/MembersFailed", "True/Enforced", "True/ConfigurationVersionMatch",
			"2 of 2 replicas hold generation 2: replica web-x: members: a",
		},
		{
			"a new replica reads", standing{server: true, tally: tally{live: 3, held: 2}, enforced: at(2)}, v1.PolicyStatus{Mode: "protect", Conditions: loadedBefore}, v1.Active, "protect",
			"True/Enforced", "True/HeldByAllReplicas", "True/Enforced", "True/ConfigurationVersionMatch",
			`generation 2 is enforced by webhook configuration "c"`,
		},
		{
			"nobody would be reached", standing{server: true, tally: held}, v1.PolicyStatus{}, v1.Pending, "protect",
			"False/NoReplicaAvailable", "True/HeldByAllReplicas", "False/NoReplicaAvailable", "True/ConfigurationVersionMatch",
			`no replica of policy server "s" is available yet: its Service leads nowhere`,
		},
		{
			"invalid", standing{server: true, tally: held, invalid: errors.New("module: bad")}, v1.PolicyStatus{}, v1.Pending, "protect",
			"False/Invalid", "False/Invalid", "False/NotRegistered", "False/ConfigurationVersionMismatch", "module: bad",
		},
		{
			"refused", standing{server: true, tally: held, refused: errors.New("name too long")}, v1.PolicyStatus{}, v1.Pending, "protect",
			"False/WebhookRefused", "True/HeldByAllReplicas", "False/WebhookRefused", "True/ConfigurationVersionMatch", "name too long",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.s.policy, tt.s.held, tt.s.reachable = aPolicy(2, "42"), true, tt.enforced != "False/"+reasonNotReached
			*tt.s.policy.Status = tt.was
			got := tt.s.status()
			if got.PolicyStatus != tt.state || got.Mode != tt.mode || got.ObservedGeneration != 2 {
				t.Errorf("%s, mode %s, generation %d, want %s, %s, 2", got.PolicyStatus, got.Mode, got.ObservedGeneration, tt.state, tt.mode)
			}
			for kind, want := range map[string]string{
				v1.ConditionReady: tt.ready, v1.ConditionLoaded: tt.loaded, v1.ConditionEnforced: tt.enforced, v1.ConditionConfigurationUpToDate: tt.upToDate,
			} {
				c := meta.FindStatusCondition(got.Conditions, kind)
				if have := string(c.Status) + "/" + c.Reason; have != want {
					t.Errorf("%s is %s, want %s", kind, have, want)
				}
			}
			if c := meta.FindStatusCondition(got.Conditions, v1.ConditionReady); c.Message != tt.message {
				t.Errorf("message %q, want %q", c.Message, tt.message)
			}
			*tt.s.policy.Status = got
			if again := tt.s.status(); !equality.Semantic.DeepEqual(again, got) {
				t.Errorf("a second look has news:\n%+v\n%+v", got, again)
			}
		})
	}
}
