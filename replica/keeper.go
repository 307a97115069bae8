package replica

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/policy"
)

// keeper knows what policies there are to be, and has an engine load them.
// Everything that it knows changes under one lock, so that a report never says
// of a resource version that it was taken up, and leaves out a policy of it that
// is not loaded.
type keeper struct {
	name   string // of the PolicyServer
	engine Engine
	linger time.Duration
	log    *slog.Logger
	tell   func(urgency) // the reporter

	workers sync.WaitGroup
	sweep   chan struct{} // has one when something lingers

	mu       sync.Mutex
	ctx      context.Context      // of loads
	news     chan struct{}        // closed when anything changes
	server   *v1.PolicyServerSpec // as it was last; nil before there was one
	absent   bool                 // the PolicyServer is gone
	held     map[policy.ID]*held
	observed map[string]string    // resource version by resource
	seen     map[string]time.Time // when the API server last said something of a resource
	synced   map[string]int       // the last list of a resource
}

// held is one policy.
type held struct {
	id         policy.ID
	kind       v1.Kind
	resource   v1.Policy
	uid        types.UID
	generation int64
	invalid    error // why the resource makes no policy

	wanted   policy.Policy // what was last computed of the resource
	revision int           // counts what is wanted; 0 is nothing yet
	loaded   int           // the revision that the engine has tried
	working  bool          // a worker is at it
	trying   policy.Policy // what the engine is loading
	cancel   context.CancelFunc

	leaving   map[string]time.Time // bundles that it has left, and until when it answers there
	goneUntil time.Time            // the object is gone, and the policy unloaded then
	expired   bool                 // it is to be unloaded now

	// A policy that was deleted and made again is another one, although it has the
	// same ID: the old one's program serves until the new one's is there, but not
	// for longer than a deleted policy does.
	served   types.UID // whose program the engine has
	renewAt  time.Time
	renewing bool
}

func newKeeper(o Options) *keeper {
	return &keeper{
		name: o.PolicyServer, engine: o.Engine, linger: o.Linger, log: o.Log, tell: func(urgency) {},
		sweep: make(chan struct{}, 1), ctx: context.Background(), news: make(chan struct{}),
		held: map[policy.ID]*held{}, observed: map[string]string{}, seen: map[string]time.Time{}, synced: map[string]int{},
	}
}

// changed wakes up who waits. The lock is held.
func (k *keeper) changed() {
	close(k.news)
	k.news = make(chan struct{})
}

// wait waits until something holds, which is asked with the lock held. It
// returns false when ctx is done before.
func (k *keeper) wait(ctx context.Context, holds func() bool) bool {
	for {
		k.mu.Lock()
		ok, news := holds(), k.news
		k.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}

// settle waits until everything that is known now was loaded, or has failed to.
func (k *keeper) settle(ctx context.Context) bool {
	k.mu.Lock()
	wanted := map[*held]int{}
	for _, h := range k.held {
		wanted[h] = h.revision
	}
	k.mu.Unlock()
	return k.wait(ctx, func() bool {
		for h, revision := range wanted {
			if h.loaded < revision && k.held[h.id] == h {
				return false
			}
		}
		return true
	})
}

// syncedAll says whether every resource was listed. The lock is held.
func (k *keeper) syncedAll(epoch int) bool {
	for _, resource := range resources() {
		if k.synced[resource] < epoch {
			return false
		}
	}
	return true
}

// count returns how many policies there are.
func (k *keeper) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, h := range k.held {
		if h.goneUntil.IsZero() {
			n++
		}
	}
	return n
}

// listed is what a list is of.
type listed struct {
	resource, version string
	epoch             int
}

// update takes up an object that is new or has changed.
func (k *keeper) update(resource string, o v1.Object) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(o)
	k.at(resource, o.GetResourceVersion())
}

// remove takes up that an object is gone.
func (k *keeper) remove(resource string, o v1.Object) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p, ok := v1.View(o); ok {
		k.gone(k.held[policy.ID(p.UniqueName())])
	} else {
		k.serverGone()
	}
	k.at(resource, o.GetResourceVersion())
}

// replace takes up a whole list.
func (k *keeper) replace(l listed, objects []v1.Object) {
	k.mu.Lock()
	defer k.mu.Unlock()
	there := map[policy.ID]bool{}
	for _, o := range objects {
		if p, ok := v1.View(o); ok {
			there[policy.ID(p.UniqueName())] = true
		}
		k.put(o)
	}
	for _, h := range k.held {
		if h.kind.Resource() == l.resource && !there[h.id] {
			k.gone(h)
		}
	}
	if l.resource == v1.ResourcePolicyServers && len(objects) == 0 {
		k.serverGone()
	}
	k.synced[l.resource] = l.epoch
	k.at(l.resource, l.version)
}

// observe takes up that nothing has happened until a resource version.
func (k *keeper) observe(resource, version string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at(resource, version)
}

// at notes how far a resource is taken up. The lock is held, as it is for all
// that follow.
func (k *keeper) at(resource, version string) {
	k.observed[resource] = version
	k.seen[resource] = time.Now()
	k.changed()
}

// put takes up one object.
func (k *keeper) put(o v1.Object) {
	if s, ok := o.(*v1.PolicyServer); ok {
		k.putServer(s)
		return
	}
	p, ok := v1.View(o)
	if !ok {
		return // the store gives nothing else
	}
	id := policy.ID(p.UniqueName())
	h := k.held[id]
	if p.Serving.PolicyServer != k.name {
		k.gone(h)
		return
	}
	o.SetManagedFields(nil)
	o.SetAnnotations(nil)
	p.Status.Conditions = nil // nobody reads these here, and they are as large as the rest
	if h == nil {
		h = &held{id: id, kind: p.Kind, served: o.GetUID(), leaving: map[string]time.Time{}}
		k.held[id] = h
	}
	urgent := minor
	if h.generation != o.GetGeneration() || h.uid != o.GetUID() || !h.goneUntil.IsZero() {
		urgent = matters
	}
	h.resource, h.uid, h.generation = p, o.GetUID(), o.GetGeneration()
	h.goneUntil, h.expired = time.Time{}, false
	if h.served != h.uid && h.renewAt.IsZero() {
		h.renewAt = time.Now().Add(k.linger)
		k.wakeSweep()
	}
	k.want(h)
	k.tell(urgent)
}

// putServer takes up the PolicyServer. A change of it may change what every
// policy is.
func (k *keeper) putServer(s *v1.PolicyServer) {
	if k.absent {
		k.log.Info("policy server is there again", "policy_server", k.name)
	}
	k.absent = false
	if k.server != nil && reflect.DeepEqual(*k.server, s.Spec) {
		k.tell(minor)
		return
	}
	k.server = s.Spec.DeepCopy()
	for _, h := range k.held {
		if h.goneUntil.IsZero() {
			k.want(h)
		}
	}
	k.tell(matters)
}

// serverGone takes up that there is no PolicyServer. What there is stays: while
// it has webhooks a finalizer keeps the PolicyServer, so nobody asks any more,
// or somebody has removed the finalizer, and then no answer would be worse.
func (k *keeper) serverGone() {
	if k.server != nil && !k.absent {
		k.log.Warn("policy server does not exist any more: its policies stay as they are", "policy_server", k.name)
	}
	k.absent = true
	k.tell(matters)
}

// gone takes up that a policy is none of ours any more; nil is one that never
// was.
func (k *keeper) gone(h *held) {
	if h == nil || !h.goneUntil.IsZero() {
		return
	}
	h.goneUntil = time.Now().Add(k.linger)
	if h.revision > 0 {
		k.want(h)
	}
	k.log.Info("policy is gone: it is unloaded after a while", "policy", h.id, "linger", k.linger)
	k.wakeSweep()
	k.tell(matters)
}

// want computes what is wanted of a policy, and has it loaded when that is
// something else than before.
func (k *keeper) want(h *held) {
	if k.server == nil {
		return
	}
	p, err := policy.FromResource(h.resource, *k.server)
	if err != nil && (h.invalid == nil || h.invalid.Error() != err.Error()) {
		k.log.Error("policy makes no sense: an older revision of it goes on to serve, if there is one", "policy", h.id, "error", err)
	}
	h.invalid = err
	if err != nil && h.revision > 0 {
		return
	}
	// What is wrong and the first that we see is loaded nevertheless: the engine
	// refuses what it cannot use, and the policy then answers by its failurePolicy.
	// Without it, a bundle would let through what the policy is there for.
	p.Bundles = k.bundles(h)
	if h.revision > 0 && h.served == h.uid && reflect.DeepEqual(p, h.wanted) {
		return
	}
	h.wanted = p
	h.revision++
	if h.cancel != nil && (h.trying.PreferBuiltin != p.PreferBuiltin || !slices.Equal(h.trying.Modules(), p.Modules())) {
		h.cancel() // a registry that does not answer shall not hold up the way out
	}
	k.work(h)
}

// bundles are those that a policy answers in: that of its spec, the one where its
// webhook still points while it moves, and for a while those that it has left,
// which are all of them when it is gone. It lingers only where nobody else is:
// so that the API server finds the bundle while it does not know yet that its
// webhook is gone, and not to judge what is sent to the bundle for others.
func (k *keeper) bundles(h *held) []string {
	names := map[string]bool{}
	if h.goneUntil.IsZero() {
		if !h.resource.AtAPIServer() {
			names[policy.BundleOf(h.resource)] = true
		}
		if e := h.resource.Status.Enforced; e != nil && e.Bundle != "" && !strings.Contains(e.Bundle, "/") {
			names[e.Bundle] = true
		}
	}
	for name := range names {
		delete(h.leaving, name)
	}
	now := time.Now()
	for _, name := range h.wanted.Bundles {
		if _, is := h.leaving[name]; !names[name] && !is {
			h.leaving[name] = now.Add(k.linger)
			k.wakeSweep()
		}
	}
	for name, until := range h.leaving {
		switch {
		case !now.Before(until):
			delete(h.leaving, name)
		case !k.inhabited(name):
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// inhabited says whether a policy is in a bundle to stay, and answers there.
func (k *keeper) inhabited(bundle string) bool {
	for _, h := range k.held {
		if _, leaves := h.leaving[bundle]; !leaves && h.goneUntil.IsZero() && h.loaded == h.revision && slices.Contains(h.wanted.Bundles, bundle) {
			return true
		}
	}
	return false
}

// evict has those leave the bundles of a policy that only linger there, now that
// it answers in them.
func (k *keeper) evict(newcomer *held) {
	for _, h := range k.held {
		lingers := func(name string) bool {
			_, leaves := h.leaving[name]
			return leaves && slices.Contains(h.wanted.Bundles, name)
		}
		if h != newcomer && slices.ContainsFunc(newcomer.wanted.Bundles, lingers) {
			k.want(h)
		}
	}
}

// stageOf says what part of a resource makes no sense.
func stageOf(err error) string {
	invalid := (*policy.InvalidError)(nil)
	if errors.As(err, &invalid) && strings.HasPrefix(invalid.Path, "settings") {
		return "settings"
	}
	return "spec"
}
