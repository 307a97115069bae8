package controller

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
)

// aPolicy is a policy called p as the API server has it.
func aPolicy(generation int64, resourceVersion string) v1.Policy {
	view, _ := v1.View(&v1.ClusterAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "uid", Generation: generation, ResourceVersion: resourceVersion},
		Spec:       v1.ClusterAdmissionPolicySpec{SingleSpec: v1.SingleSpec{Serving: v1.Serving{PolicyServer: "s"}}},
	})
	return view
}

// aReplica has come to the resource version with the policies of the cluster.
func aReplica(name, observed string, exceptions ...v1alpha1.Exception) v1alpha1.PolicyServerReplica {
	return v1alpha1.PolicyServerReplica{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
		Spec:       v1alpha1.ReplicaSpec{PolicyServer: "s", LeaseDurationSeconds: 10},
		Status: v1alpha1.ReplicaStatus{
			Ready: true,
			Observed: []v1alpha1.Observed{
				{Resource: "clusteradmissionpolicies", ResourceVersion: observed}, {Resource: "policyservers", ResourceVersion: "30"},
			},
			Exceptions: exceptions,
		},
	}
}

func except(generation int64, state v1alpha1.PolicyState) v1alpha1.Exception {
	return v1alpha1.Exception{Policy: "kw.cap.p", Generation: generation, State: state, Stage: "settings", Message: "bad"}
}

func TestAReplicaHoldsAGeneration(t *testing.T) {
	full := aReplica("r", "100", v1alpha1.Exception{Policy: "kw.cap.a", Generation: 1, State: v1alpha1.Failed})
	full.Status.ExceptionsLeftOut = 1
	blank := aReplica("r", "100")
	blank.Status.Observed = nil
	// Failures come first, so that the names are in no order.
	unsorted := aReplica("r", "100", v1alpha1.Exception{Policy: "kw.cap.z", Generation: 1, State: v1alpha1.Failed},
		except(2, v1alpha1.Loading), v1alpha1.Exception{Policy: "kw.cap.a", Generation: 1, State: v1alpha1.Loading})
	tests := []struct {
		name    string
		replica v1alpha1.PolicyServerReplica
		want    holding
	}{
		{"it has come further", aReplica("r", "100"), holding{held: true}},
		{"it has come just as far", aReplica("r", "42"), holding{held: true}},
		{"it has not come that far", aReplica("r", "41"), holding{}},
		{"fewer digits are less", aReplica("r", "9"), holding{}},
		{"what it says cannot be compared", aReplica("r", "x42"), holding{}},
		{"it says nothing of the kind", blank, holding{}},
		{"loading", aReplica("r", "100", except(2, v1alpha1.Loading)), holding{state: v1alpha1.Loading, stage: "settings", message: "bad"}},
		{"failed", aReplica("r", "100", except(2, v1alpha1.Failed)), holding{state: v1alpha1.Failed, stage: "settings", message: "bad"}},
		{"an older generation is served", aReplica("r", "100", except(2, v1alpha1.Stale)), holding{state: v1alpha1.Stale, stage: "settings", message: "bad"}},
		{"some members do not work", aReplica("r", "100", except(2, v1alpha1.Degraded)), holding{held: true, state: v1alpha1.Degraded, stage: "settings", message: "bad"}},
		{"the exception is of the generation before", aReplica("r", "100", except(1, v1alpha1.Failed)), holding{}},
		{"others fail", unsorted, holding{state: v1alpha1.Loading, stage: "settings", message: "bad"}},
		{"there may be an exception that is left out", full, holding{state: v1alpha1.Loading, message: "it may be among the exceptions that the replica has no room for"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := holdingOf(&tt.replica, aPolicy(2, "42"), revision{generation: 2, resourceVersion: "42"})
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(holding{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTheLowestVersionOfAGenerationIsRemembered(t *testing.T) {
	r := revisions{}
	steps := []struct {
		generation      int64
		version, wanted string
	}{
		{1, "10", "10"}, {1, "12", "10"}, {1, "9", "9"}, {2, "13", "13"}, {2, "20", "13"},
	}
	for _, s := range steps {
		if got := r.see(aPolicy(s.generation, s.version).Object); got.resourceVersion != s.wanted || got.generation != s.generation {
			t.Errorf("generation %d at %s: %+v, want %s", s.generation, s.version, got, s.wanted)
		}
	}
	r.keep("server", nil)
	if len(r) != 0 {
		t.Errorf("%d revisions of policies that are gone", len(r))
	}
}

func TestAPolicyIsSettledWhenEveryLiveReplicaHoldsIt(t *testing.T) {
	p, wanted := aPolicy(2, "42"), revision{generation: 2, resourceVersion: "42"}
	behind := aReplica("b", "50")
	behind.Status.Observed[1].ResourceVersion = "29"
	tests := []struct {
		name     string
		replicas []v1alpha1.PolicyServerReplica
		settled  bool
		text     string
	}{
		{"nobody serves", nil, false, "0 of 0 replicas hold generation 2"},
		{"all hold it", []v1alpha1.PolicyServerReplica{aReplica("a", "42"), aReplica("b", "50")}, true, "2 of 2 replicas hold generation 2"},
		{"one has not taken up the server", []v1alpha1.PolicyServerReplica{aReplica("a", "42"), behind}, false, "1 of 2 replicas hold generation 2"},
		{"one is behind", []v1alpha1.PolicyServerReplica{aReplica("a", "42"), aReplica("b", "41")}, false, "1 of 2 replicas hold generation 2"},
		{
			"one has failed", []v1alpha1.PolicyServerReplica{aReplica("a", "42"), aReplica("b", "50", except(2, v1alpha1.Failed))}, false,
			"1 of 2 replicas hold generation 2: replica b: settings: bad",
		},
		{
			"the worst is named", []v1alpha1.PolicyServerReplica{aReplica("a", "42", except(2, v1alpha1.Degraded)), aReplica("b", "50", except(2, v1alpha1.Failed))}, false,
			"1 of 2 replicas hold generation 2: replica b: settings: bad",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tallyOf(tt.replicas, p, wanted, revision{generation: 1, resourceVersion: "30"})
			if got.settled() != tt.settled || got.describe(2) != tt.text {
				t.Errorf("settled %t, %q, want %t, %q", got.settled(), got.describe(2), tt.settled, tt.text)
			}
		})
	}
}

func TestAReplicaLivesByOurClock(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	renewed := func(r v1alpha1.PolicyServerReplica, at time.Time) []v1alpha1.PolicyServerReplica {
		r.Status.RenewTime = metav1.NewMicroTime(at)
		return []v1alpha1.PolicyServerReplica{r}
	}
	r := aReplica("r", "1")
	p := pulses{}
	steps := []struct {
		name         string
		renewed, now time.Duration // since start
		live         int
		due          time.Duration
	}{
		{"its clock is 30 s behind", -30 * time.Second, 0, 1, 10 * time.Second},
		{"it has said nothing new", -30 * time.Second, 9 * time.Second, 1, 10 * time.Second},
		{"its lease is over", -30 * time.Second, 10 * time.Second, 0, -1},
		{"it is back", -15 * time.Second, 15 * time.Second, 1, 25 * time.Second},
	}
	for _, s := range steps {
		live, due := p.liveOf(renewed(r, start.Add(s.renewed)), start.Add(s.now))
		if len(live) != s.live || s.due >= 0 && !due.Equal(start.Add(s.due)) || s.due < 0 && !due.IsZero() {
			t.Errorf("%s: %d live until %s, want %d until %s", s.name, len(live), due, s.live, start.Add(s.due))
		}
	}
	if live, _ := (pulses{}).liveOf(renewed(r, start.Add(-time.Hour)), start); len(live) != 0 {
		t.Error("one that was last heard an hour ago lives for a controller that has just started")
	}
	r.Status.Ready = false
	if live, due := (pulses{}).liveOf(renewed(r, start), start); len(live) != 0 || due.IsZero() {
		t.Errorf("one that is not ready: %d live, due %s", len(live), due)
	}
}

func TestManyChangesAreFewRounds(t *testing.T) {
	var p pacer
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	if wait := p.wait("s", start); wait != 0 {
		t.Errorf("the first change waits %s", wait)
	}
	p.done("s", start.Add(20*time.Millisecond))
	if wait := p.wait("s", start.Add(30*time.Millisecond)); wait != 40*time.Millisecond {
		t.Errorf("the next waits %s, want 40ms", wait)
	}
	if wait := p.wait("other", start.Add(30*time.Millisecond)); wait != 0 {
		t.Errorf("another server waits %s", wait)
	}
	if wait := p.wait("s", start.Add(70*time.Millisecond)); wait != 0 {
		t.Errorf("after the pace it waits %s", wait)
	}
}
