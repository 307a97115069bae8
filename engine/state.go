package engine

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
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
	if group, name, ok := strings.Cut(string(id), "/"); ok {
		return s.byID[policy.ID(group)].member(name)
	}
	return s.aliased(id)
}

// aliased returns the entry of the one policy with that alias, nil if there are
// more. It looks at all of them: whoever asks for an alias does not do so for long.
func (s *state) aliased(id policy.ID) *entry {
	var found *entry
	for _, ent := range s.byID {
		switch {
		case !slices.Contains(ent.policy.Aliases, id):
		case found != nil:
			return nil
		default:
			found = ent
		}
	}
	return found
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

	mu      sync.Mutex // held by whoever adds a line-up
	lineups atomic.Pointer[map[shape]*lineup]
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
	b.lineups.Store(&map[shape]*lineup{})
	return b
}

// shape is all of a request that decides which rules match it.
type shape struct {
	raw, inside bool
	operation   sdk.Operation
	resource    sdk.GroupVersionResource
	sub         string
}

// lineup is which policies of a bundle judge requests of one shape.
type lineup struct{ mutating, builtins, guests []seat }

// seat is a policy in its place in the bundle.
type seat struct {
	place int
	entry *entry
}

// maxLineups bounds the line-ups that a bundle keeps: more than a cluster has of
// resources and operations. Whoever makes up resources shall not take the memory.
const maxLineups = 2048

// lineup returns who judges a request. A policy whose rules do not match is looked
// at once for each shape of a request, and costs nothing after that.
func (b *bundle) lineup(req *sdk.Request) *lineup {
	of := shape{raw: req.Raw != nil}
	if !of.raw {
		of = shape{false, policy.InNamespace(req), req.Operation, req.Resource, req.SubResource}
	}
	known := *b.lineups.Load()
	if who := known[of]; who != nil {
		return who
	}
	who := &lineup{}
	for i, ent := range b.all {
		switch s := (seat{i, ent}); {
		case !ent.matches(req):
		case b.mutates && ent.policy.AllowedToMutate:
			who.mutating = append(who.mutating, s)
		case ent.runtime == nativeRuntime || ent.err != nil:
			who.builtins = append(who.builtins, s)
		default:
			who.guests = append(who.guests, s)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if known = *b.lineups.Load(); len(known) < maxLineups {
		more := maps.Clone(known)
		more[of.clone()] = who
		b.lineups.Store(&more)
	}
	return who
}

// clone returns the shape without the text of the request that it comes from.
func (s shape) clone() shape {
	return shape{
		raw: s.raw, inside: s.inside, operation: sdk.Operation(strings.Clone(string(s.operation))), sub: strings.Clone(s.sub),
		resource: sdk.GroupVersionResource{
			Group: strings.Clone(s.resource.Group), Version: strings.Clone(s.resource.Version), Resource: strings.Clone(s.resource.Resource),
		},
	}
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
