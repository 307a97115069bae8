package controller

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
)

// revision is a generation of a policy, or of a policy server, and the lowest resource version at which
// it has been seen: whoever has come that far has taken it up.
type revision struct {
	generation      int64
	resourceVersion string
}

// revisions remembers the revision of each policy and of their server. After a restart the present
// resource version is all that is known; replicas reach it too.
type revisions map[types.UID]revision

// see returns the revision of the object, which is one of the API server's.
func (r revisions) see(o v1.Object) revision {
	seen, ok := r[o.GetUID()]
	if ok && seen.generation == o.GetGeneration() && !before(o.GetResourceVersion(), seen.resourceVersion) {
		return seen
	}
	seen = revision{generation: o.GetGeneration(), resourceVersion: o.GetResourceVersion()}
	r[o.GetUID()] = seen
	return seen
}

// keep forgets everything but the policy server and these policies.
func (r revisions) keep(server types.UID, policies []v1.Policy) {
	if len(r) <= len(policies) {
		return
	}
	present := map[types.UID]bool{server: true}
	for _, p := range policies {
		present[p.Object.GetUID()] = true
	}
	for uid := range r {
		if !present[uid] {
			delete(r, uid)
		}
	}
}

// before says whether resource version a is older than b. What cannot be compared
// is not.
func before(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}

// reached says whether a replica that has come to observed has seen wanted.
func reached(observed, wanted string) bool {
	order, err := resourceversion.CompareResourceVersion(observed, wanted)
	return err == nil && order >= 0
}

// observed says whether the replica has come as far as a revision of an object of
// that resource.
func observed(r *v1alpha1.PolicyServerReplica, resource string, wanted revision) bool {
	return slices.ContainsFunc(r.Status.Observed, func(o v1alpha1.Observed) bool {
		return o.Resource == resource && reached(o.ResourceVersion, wanted.resourceVersion)
	})
}

// holding is how a replica stands with a revision of a policy.
type holding struct {
	held bool
	// state is empty when the replica has not come that far, or serves the policy
	// as it should be.
	state          v1alpha1.PolicyState
	stage, message string
}

// holdingOf says how the replica stands with the policy.
func holdingOf(r *v1alpha1.PolicyServerReplica, p v1.Policy, wanted revision) holding {
	if !observed(r, p.Kind.Resource(), wanted) {
		return holding{}
	}
	name := p.UniqueName()
	exceptions := r.Status.Exceptions
	i := slices.IndexFunc(exceptions, func(e v1alpha1.Exception) bool { return e.Policy == name })
	switch {
	case i < 0 && r.Status.ExceptionsLeftOut > 0: // those that fail come first
		return holding{state: v1alpha1.Loading, message: "it may be among the exceptions that the replica has no room for"}
	case i < 0:
		return holding{held: true}
	}
	e := exceptions[i]
	h := holding{state: e.State, stage: e.Stage, message: e.Message}
	if e.Generation < wanted.generation {
		return holding{} // it is about to say more
	}
	h.held = e.State == v1alpha1.Degraded
	return h
}

// tally is how the live replicas of a policy server stand with a policy.
type tally struct {
	live, held int
	// failed counts the replicas in which the policy does not work, of which
	// replica is the first that is worst off; stage and message are its.
	failed  int
	replica string
	holding
}

// settled says that every live replica holds the policy.
func (t tally) settled() bool { return t.live > 0 && t.held == t.live }

// tallyOf counts. What a policy judges depends on its server as well: whether it
// expands workloads. A replica that has not taken up the server as it is now holds
// nothing.
func tallyOf(replicas []v1alpha1.PolicyServerReplica, p v1.Policy, wanted, server revision) tally {
	t := tally{live: len(replicas)}
	for i := range replicas {
		h := holdingOf(&replicas[i], p, wanted)
		if h.held && observed(&replicas[i], v1.ResourcePolicyServers, server) {
			t.held++
		}
		if h.state == "" || h.state == v1alpha1.Loading {
			continue
		}
		t.failed++
		if t.replica == "" || t.state == v1alpha1.Degraded && h.state != v1alpha1.Degraded {
			t.replica, t.holding = replicas[i].Name, h
		}
	}
	return t
}

// describe is for people: "2 of 3 replicas hold generation 4: replica web-x:
// settings: ...".
func (t tally) describe(generation int64) string {
	text := fmt.Sprintf("%d of %d replicas hold generation %d", t.held, t.live, generation)
	if t.replica == "" {
		return text
	}
	text += ": replica " + t.replica
	if t.stage != "" {
		text += ": " + t.stage
	}
	if t.message != "" {
		text += ": " + t.message
	}
	return text
}

// skew is how far the clock of a replica may be from ours. It counts only for
// replicas that we have never seen renew.
const skew = time.Minute

// pulse is when a replica has last been seen to say something new.
type pulse struct {
	renewed time.Time // by the replica's clock
	seen    time.Time // by ours
}

// pulses remembers when replicas were last alive, by our own clock: theirs may be
// wrong.
type pulses map[types.UID]pulse

// until says until when the replica counts as alive.
func (p pulses) until(r *v1alpha1.PolicyServerReplica, now time.Time) time.Time {
	lease := time.Duration(r.Spec.LeaseDurationSeconds) * time.Second
	renewed := r.Status.RenewTime.Time
	last, known := p[r.UID]
	if !known || !last.renewed.Equal(renewed) {
		last = pulse{renewed: renewed, seen: now}
		if !known && renewed.Add(lease+skew).Before(now) {
			last.seen = renewed
		}
		p[r.UID] = last
	}
	return last.seen.Add(lease)
}

// keep forgets all replicas but these.
func (p pulses) keep(replicas []v1alpha1.PolicyServerReplica) {
	present := map[types.UID]bool{}
	for i := range replicas {
		present[replicas[i].UID] = true
	}
	for uid := range p {
		if !present[uid] {
			delete(p, uid)
		}
	}
}

// liveOf are the replicas that serve, sorted by name, and when the next of them is
// due to say that it is alive; zero when there is none.
func (p pulses) liveOf(replicas []v1alpha1.PolicyServerReplica, now time.Time) (live []v1alpha1.PolicyServerReplica, due time.Time) {
	for i := range replicas {
		until := p.until(&replicas[i], now)
		if !until.After(now) {
			continue
		}
		if due.IsZero() || until.Before(due) {
			due = until
		}
		if replicas[i].Status.Ready {
			live = append(live, replicas[i])
		}
	}
	slices.SortFunc(live, func(a, b v1alpha1.PolicyServerReplica) int { return cmp.Compare(a.Name, b.Name) })
	return live, due
}
