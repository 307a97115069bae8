package engine

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk"
)

// state is what policies there are at one moment. It is never changed: a change
// makes another one, that has in common with it what has not changed.
type state struct {
	byID    map[policy.ID]*entry
	bundles map[string]*bundle
}

// newState is the state with these policies.
func newState(byID map[policy.ID]*entry) *state {
	s := &state{byID: byID, bundles: map[string]*bundle{}}
	members := map[string][]*entry{}
	for _, ent := range byID {
		for _, name := range ent.bundles() {
			members[name] = append(members[name], ent)
		}
	}
	for name, all := range members {
		s.bundles[name] = newBundle(name, all)
	}
	return s
}

// with is the state after a change: nil stands for a policy that has gone. It
// costs two small maps, and the bundles that the changed policies are or were
// in; gone are those that it does not have any more.
func (s *state) with(changed map[policy.ID]*entry) (next *state, gone []*bundle) {
	next = &state{byID: maps.Clone(s.byID), bundles: s.bundles}
	touched := map[string]bool{}
	for id, ent := range changed {
		for _, one := range []*entry{s.byID[id], ent} {
			for _, name := range one.bundles() {
				touched[name] = true
			}
		}
		if ent == nil {
			delete(next.byID, id)
		} else {
			next.byID[id] = ent
		}
	}
	if len(touched) == 0 {
		return next, nil
	}
	next.bundles = maps.Clone(s.bundles)
	for name := range touched {
		all := []*entry{}
		if old := s.bundles[name]; old != nil {
			gone = append(gone, old)
			for _, ent := range old.all {
				if _, ok := changed[ent.policy.ID]; !ok {
					all = append(all, ent)
				}
			}
		}
		for _, ent := range changed {
			if slices.Contains(ent.bundles(), name) {
				all = append(all, ent)
			}
		}
		if delete(next.bundles, name); len(all) > 0 {
			next.bundles[name] = newBundle(name, all)
		}
	}
	return next, gone
}

// find returns the entry of a policy, or of the member of a group ("group/member").
func (s *state) find(id policy.ID) *entry {
	if ent, ok := s.byID[id]; ok {
		return ent
	}
	group, name, _ := strings.Cut(string(id), "/")
	return s.byID[policy.ID(group)].member(name)
}

// bundles are those that the policy answers in. When an older revision serves,
// they are those of both: whoever asks may have either.
func (ent *entry) bundles() []string {
	if ent == nil {
		return nil
	}
	all := ent.policy.Bundles
	if ent.stale == nil {
		return all
	}
	for _, name := range ent.newer.Bundles {
		if !slices.Contains(all, name) {
			all = append(all[:len(all):len(all)], name)
		}
	}
	return all
}

// matches reports whether a bundle asks the policy. When an older revision serves,
// the webhook may have the rules of either.
func (ent *entry) matches(req *sdk.Request) bool {
	return ent.policy.Matches(req) || ent.stale != nil && ent.newer.Matches(req)
}

// bundle is the policies of one bundle. It holds them until nobody holds it.
type bundle struct {
	mutates bool
	all     []*entry // in the order of evaluation
	refs    atomic.Int64
}

func newBundle(name string, all []*entry) *bundle {
	slices.SortFunc(all, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.policy.Order, b.policy.Order), cmp.Compare(a.policy.ID, b.policy.ID))
	})
	all = slices.Compact(all) // a policy may name a bundle twice
	b := &bundle{mutates: policy.Mutates(name), all: all}
	for _, ent := range all {
		ent.refs.Add(1) // the state holds it
	}
	b.refs.Store(1)
	return b
}

// acquire takes hold of the bundle and its policies, unless it is gone already.
func (b *bundle) acquire() bool { return acquire(&b.refs) }

// release lets go; the last one lets go of the policies.
func (b *bundle) release() {
	if b.refs.Add(-1) > 0 {
		return
	}
	for _, ent := range b.all {
		ent.release()
	}
}

// acquire adds one to the number of those who hold something, unless it is gone.
func acquire(refs *atomic.Int64) bool {
	for {
		n := refs.Load()
		if n == 0 {
			return false
		}
		if refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// hold returns the entry of a policy, to be released, nil if there is none.
func (e *Engine) hold(id policy.ID) *entry {
	for {
		ent := e.state.Load().find(id)
		if ent == nil || ent.acquire() {
			return ent
		}
		// It was replaced between the two: look again.
	}
}

// holdBundle is hold for a bundle.
func (e *Engine) holdBundle(name string) *bundle {
	for {
		b := e.state.Load().bundles[name]
		if b == nil || b.acquire() {
			return b
		}
	}
}
