package manifest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/policy"
)

// walk is a cluster in which random things happen to a few policies.
type walk struct {
	t       *testing.T
	r       *rand.Rand
	cluster *cluster
	server  *v1.PolicyServer
	all     []v1.Policy
	settled map[string]bool // held by every replica now
	held    map[string]bool // once
	// asked are the rules with which a policy is registered.
	asked map[string][]admissionv1.RuleWithOperations
	log   []string
	next  int
}

func (w *walk) change(p v1.Policy) {
	timeout := int32(5 + 5*w.r.IntN(2))
	p.Matching.TimeoutSeconds = &timeout
	p.Matching.Rules = nil
	for range 1 + w.r.IntN(2) {
		p.Matching.Rules = append(p.Matching.Rules, v1.Rule{
			APIGroups: []string{""}, APIVersions: []string{"v1"},
			Resources:  somewhat(w.r, "pods", "services", "secrets"),
			Operations: []v1.Operation{v1.Operation(pick(w.r, "CREATE", "UPDATE"))},
		})
	}
	if p.Single != nil {
		p.Single.Mutating = w.r.IntN(3) == 0
	}
	p.Object.SetGeneration(p.Object.GetGeneration() + 1)
	w.settled[p.UniqueName()] = false
}

func (w *walk) event() {
	i := -1
	if len(w.all) > 0 {
		i = w.r.IntN(len(w.all))
	}
	say := func(what string, of ...any) { w.log = append(w.log, fmt.Sprintf(what, of...)) }
	switch n := w.r.IntN(20); {
	case i < 0 || n < 3 && len(w.all) < 6:
		p := single(w.t, fmt.Sprintf("p%d", w.next), "")
		w.next++
		w.change(p)
		w.all = append(w.all, p)
		say("%s is created", p.UniqueName())
	case n < 8:
		w.change(w.all[i])
		say("%s changes", w.all[i].UniqueName())
	case n < 16:
		w.settled[w.all[i].UniqueName()] = true
		say("%s is held", w.all[i].UniqueName())
	case n < 17:
		w.settled[w.all[i].UniqueName()] = false // a replica that starts does not hold it yet
		say("%s is held no more", w.all[i].UniqueName())
	case n < 18:
		say("%s is deleted", w.all[i].UniqueName())
		w.all = slices.Delete(w.all, i, i+1)
	case n < 19:
		if w.server.Spec.Webhooks = v1.PerPolicy; w.r.IntN(2) == 0 {
			w.server.Spec.Webhooks = v1.Bundled
		}
		say("webhooks: %s", w.server.Spec.Webhooks)
	default:
		for _, p := range w.all {
			w.settled[p.UniqueName()] = true
		}
		say("all are held")
	}
}

func (w *walk) input() WebhookInput {
	in := WebhookInput{Server: w.server}
	for _, p := range w.all {
		if w.settled[p.UniqueName()] {
			in.Settled = append(in.Settled, p)
		} else {
			in.Unsettled = append(in.Unsettled, p)
		}
	}
	return w.cluster.into(in)
}

// requests are all that the policies could be asked for.
func requests() []request {
	var all []request
	for _, resource := range []string{"pods", "services", "secrets"} {
		for _, operation := range []admission.Operation{"CREATE", "UPDATE"} {
			all = append(all, request{operation: operation, version: "v1", resource: resource, namespace: "web"})
		}
	}
	return all
}

// answers says whether the policy is behind a webhook: by itself, or in the bundle
// of its spec or in that which its status names.
func answers(h admissionv1.MutatingWebhook, p v1.Policy, was *v1.Enforcement) bool {
	last := (*h.ClientConfig.Service.Path)[strings.LastIndex(*h.ClientConfig.Service.Path, "/")+1:]
	return last == p.UniqueName() || last == policy.BundleOf(p) || was != nil && last == was.Bundle
}

// missed checks that every registered policy is asked for what it was registered
// for and, if that has changed, still is.
func (w *walk) missed(was map[string]*v1.Enforcement) {
	for _, p := range w.all {
		name := p.UniqueName()
		if was[name] == nil {
			continue
		}
		for _, r := range requests() {
			want := r.matchedBy(w.asked[name])
			if w.settled[name] {
				want = want && r.matchedBy(wire(rulesOf(p, w.server.Spec)))
			}
			if want && !slices.ContainsFunc(w.cluster.hooks(), func(h admissionv1.MutatingWebhook) bool {
				return answers(h, p, was[name]) && r.matchedBy(h.Rules)
			}) {
				w.t.Fatalf("%s is not asked for %s %s\n%s", name, r.operation, r.resource, strings.Join(w.log, "\n"))
			}
		}
	}
}

// reconcile does what Webhooks says, one write after the other, and writes down
// what is enforced before anything is narrowed. Sometimes it is killed.
func (w *walk) reconcile() (done bool) {
	was, writes := map[string]*v1.Enforcement{}, -1
	for _, p := range w.all {
		was[p.UniqueName()] = p.Status.Enforced
		w.held[p.UniqueName()] = w.held[p.UniqueName()] || w.settled[p.UniqueName()]
	}
	if w.r.IntN(4) == 0 {
		writes = w.r.IntN(4)
	}
	killed := func() bool {
		writes--
		if writes == -1 {
			w.log = append(w.log, "the controller is killed")
		}
		return writes == -1
	}
	set := Webhooks(w.input())
	for _, o := range set.Widen {
		if killed() {
			return false
		}
		w.cluster.apply(o)
		w.missed(was)
	}
	w.note(set)
	for _, o := range set.Narrow {
		if killed() {
			return false
		}
		w.cluster.apply(o)
		w.missed(was)
	}
	for _, o := range set.Delete {
		if killed() {
			return false
		}
		w.cluster.remove(o)
		w.missed(was)
	}
	if again := Webhooks(w.input()); !again.empty() {
		w.t.Fatalf("there is more to do at once: %+v\n%s", again, strings.Join(w.log, "\n"))
	}
	return true
}

// note puts into the policies' status where they are enforced.
func (w *walk) note(set WebhookSet) {
	for _, p := range w.all {
		name := p.UniqueName()
		e, ok := set.Enforced[name]
		switch p.Status.Enforced = nil; {
		case !ok && w.settled[name]:
			w.t.Fatalf("%s is held and not enforced\n%s", name, strings.Join(w.log, "\n"))
		case !ok:
			continue
		case w.settled[name]:
			w.asked[name] = wire(rulesOf(p, w.server.Spec))
		case !w.held[name]:
			w.t.Fatalf("%s is enforced and was never held\n%s", name, strings.Join(w.log, "\n"))
		}
		p.Status.Enforced = &e
	}
}

// exact checks that nothing is asked that nobody is there for, once all settled.
func (w *walk) exact() {
	for _, h := range w.cluster.hooks() {
		for _, r := range requests() {
			want := slices.ContainsFunc(w.all, func(p v1.Policy) bool {
				return p.Mutating() == (h.ReinvocationPolicy != nil) && answers(h, p, p.Status.Enforced) && r.matchedBy(wire(rulesOf(p, w.server.Spec)))
			})
			if got := r.matchedBy(h.Rules); got != want {
				w.t.Fatalf("%s matches %s %s: %t, its policies: %t\n%s", h.Name, r.operation, r.resource, got, want, strings.Join(w.log, "\n"))
			}
		}
	}
}

// TestNoRequestIsMissedWhateverHappens checks after each single write.
func TestNoRequestIsMissedWhateverHappens(t *testing.T) {
	for seed := range uint64(60) {
		w := &walk{
			t: t, r: rand.New(rand.NewPCG(seed, 7)), cluster: newCluster(), server: server(t, "default", "{}"),
			settled: map[string]bool{}, held: map[string]bool{}, asked: map[string][]admissionv1.RuleWithOperations{}, log: []string{fmt.Sprintf("seed %d:", seed)},
		}
		for range 60 {
			for range 1 + w.r.IntN(3) { // the controller does not see everything
				w.event()
			}
			if w.reconcile() && !slices.ContainsFunc(w.all, func(p v1.Policy) bool { return !w.settled[p.UniqueName()] }) {
				w.exact()
			}
		}
		for w.all = nil; !w.reconcile(); {
		}
		if left := w.cluster.names(); len(left) > 0 {
			t.Fatalf("seed %d: all policies are gone, %v are left", seed, left)
		}
	}
}
