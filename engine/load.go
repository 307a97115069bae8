package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/sdk"
)

// LoadStage says how far a policy came before it failed to load.
type LoadStage string

// The stages of loading.
const (
	StageFetch    LoadStage = "fetch"
	StageVerify   LoadStage = "verify"
	StageCompile  LoadStage = "compile"
	StageSettings LoadStage = "settings"
	// StageExpression and StageMembers are of groups.
	StageExpression LoadStage = "expression"
	StageMembers    LoadStage = "members"
)

// LoadError says why a policy has no program.
type LoadError struct {
	Policy policy.ID
	At     LoadStage
	Err    error
}

func (e *LoadError) Error() string { return fmt.Sprintf("policy %q: %s: %v", e.Policy, e.At, e.Err) }

// Unwrap returns the cause.
func (e *LoadError) Unwrap() error { return e.Err }

// Stage returns how far the policy came.
func (e *LoadError) Stage() string { return string(e.At) }

// message is what the API server is told, in the words of Kubewarden's policy
// server.
func (e *LoadError) message() string {
	if bad := (*runtime.SettingsError)(nil); errors.As(e.Err, &bad) {
		return bad.Error()
	}
	if e.At == StageExpression {
		return groupErrorText + e.Error()
	}
	return fmt.Sprintf("bootstrap failure: %s: %v", e.Policy, e.Err)
}

// atOnce is how many policies are loaded at the same time. Most of the time they
// wait for registries; compiling is bounded by Options.Workers besides.
const atOnce = 8

// fetchTimeout bounds the fetching of one module. While a policy is fetched
// nothing else can be changed by Apply: a registry that never answers shall not
// hold it up for longer than somebody who waits for it would.
const fetchTimeout = time.Minute

// loadTimeout bounds the loading of one policy: compiling the largest module in
// Kubewarden's catalogue takes about 40 s on two cores.
const loadTimeout = 5 * time.Minute

// Apply makes the engine's policies these and no others. What has not changed
// is not touched; what has is loaded beside what serves, and takes its place in
// one step. A policy that does not load becomes an entry that answers by its
// failurePolicy, or, if an older revision serves, leaves that one in place; the
// others are not touched either way. The error joins a *LoadError for each.
func (e *Engine) Apply(ctx context.Context, policies []policy.Policy) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.change(ctx, policies, func(old map[policy.ID]*entry) map[policy.ID]*entry {
		return map[policy.ID]*entry{}
	})
}

// Load adds one policy or replaces the one of its ID, as Apply does. The error
// is a *LoadError.
func (e *Engine) Load(ctx context.Context, p policy.Policy) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.change(ctx, []policy.Policy{p}, maps.Clone[map[policy.ID]*entry])
}

// Unload removes one policy. Requests under way end with it; it is no error
// when there is none.
func (e *Engine) Unload(id policy.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.change(context.Background(), nil, func(old map[policy.ID]*entry) map[policy.ID]*entry {
		rest := maps.Clone(old)
		delete(rest, id)
		return rest
	}) // nothing is loaded, nothing can fail
}

// change loads policies, adds them to what base keeps of the old ones, and
// publishes the result.
func (e *Engine) change(ctx context.Context, policies []policy.Policy,
	base func(old map[policy.ID]*entry) map[policy.ID]*entry,
) error {
	old := e.state.Load().byID
	next := base(old)
	f := e.newFetches()
	loaded := make([]*entry, len(policies))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, p := range policies {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			loaded[i] = e.entryFor(ctx, p, old[p.ID], f)
		})
	}
	wg.Wait()
	var errs []error
	for i, p := range policies {
		ent := loaded[i]
		next[p.ID] = ent
		switch {
		case ent.err != nil:
			errs = append(errs, ent.err)
		case ent.stale != nil:
			errs = append(errs, ent.stale)
		case ent.degraded != nil:
			errs = append(errs, ent.degraded)
		}
	}
	e.state.Store(newState(next))
	for id, ent := range old {
		if next[id] != ent {
			ent.release()
			e.metrics.forget(ent, next[id])
			if next[id] == nil {
				e.opts.Log.Info("policy unloaded", "policy", id)
			}
		}
	}
	return errors.Join(errs...)
}

func newState(byID map[policy.ID]*entry) *state {
	s := &state{byID: byID, bundles: map[string][]*entry{}}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		if name := byID[id].policy.Bundle; name != "" {
			s.bundles[name] = append(s.bundles[name], byID[id])
		}
	}
	for _, all := range s.bundles {
		slices.SortStableFunc(all, func(a, b *entry) int { return a.policy.Order - b.policy.Order })
	}
	return s
}

// entryFor returns the entry that serves the policy from now on: the old one
// when nothing has changed, a new one otherwise.
func (e *Engine) entryFor(ctx context.Context, p policy.Policy, old *entry, f *fetches) *entry {
	stamp := e.stampOf(p)
	if old.is(p, stamp) {
		return old
	}
	ent := newEntry(p, stamp)
	err := e.compile(ctx, ent, old, f)
	kept := err != nil && old.outlasts(ent, err)
	if ent.group != nil && !kept {
		ent.degraded = err
	} else {
		ent.err = err
	}
	ent.again(old)
	log := e.opts.Log.With("policy", p.ID, "module", p.Module)
	switch {
	case err == nil:
		e.logLoaded(ent)
		if ent.away != nil {
			log.Warn("module comes from the store: its host could not be asked", "error", ent.away, "retry", ent.retry)
		}
	case kept:
		log.Error("policy not replaced: its older revision serves", "error", err, "retry", ent.retry)
		defer ent.release()
		return old.staleBecause(ent)
	case ent.group != nil:
		log.Error("policy group has members that did not load", "failure_policy", p.FailurePolicy, "error", err, "retry", ent.retry)
	default:
		log.Error("policy not loaded", "failure_policy", p.FailurePolicy, "error", err, "retry", ent.retry)
	}
	e.metrics.count(ent)
	return ent
}

// compile makes what the entry answers with.
func (e *Engine) compile(ctx context.Context, ent, old *entry, f *fetches) *LoadError {
	if ent.policy.Group != nil {
		return e.compileGroup(ctx, ent, old, f)
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	return e.compileEntry(ctx, ent, f)
}

// newEntry returns an entry that is held once and has nothing to answer with.
func newEntry(p policy.Policy, stamp string) *entry {
	ent := &entry{policy: p, stamp: stamp, since: time.Now()}
	ent.refs.Store(1)
	return ent
}

// is reports whether the entry is all that is wanted of that policy.
func (ent *entry) is(p policy.Policy, stamp string) bool {
	return ent != nil && !ent.unsettled() && ent.stamp == stamp && reflect.DeepEqual(ent.policy, p)
}

// outlasts reports whether the entry goes on to serve when a newer revision has
// failed for a reason: it has something to answer with. A group that lacks
// members itself makes way for one that does: it knows no better. Nor does a
// module go on that was trusted once and is not signed by whom it must be any
// more.
func (ent *entry) outlasts(failed *entry, why error) bool {
	if ent == nil || ent.err != nil || ent.degraded != nil && failed.group != nil {
		return false
	}
	return !isUnverified(why) || !slices.Equal(ent.policy.Modules(), failed.policy.Modules())
}

func (e *Engine) logLoaded(ent *entry) {
	log := e.opts.Log.With("policy", ent.policy.ID, "module", ent.policy.Module)
	log.Info("policy loaded", "runtime", ent.runtime, "reference", ent.ref, "took", time.Since(ent.since))
	if g, ok := ent.program.(guestProgram); ok {
		if mode, why := g.Isolation(); mode == runtime.Fresh && e.opts.Isolation == runtime.Snapshot {
			log.Warn("policy has a new instance for every request", "reason", why)
		}
	}
}

// stampOf changes when a module of the policy does.
func (e *Engine) stampOf(p policy.Policy) string {
	if p.Group == nil {
		return e.opts.Stamp(p.Module)
	}
	var b strings.Builder
	for _, uri := range p.Modules() {
		fmt.Fprintln(&b, uri, e.opts.Stamp(uri))
	}
	return b.String()
}

// staleBecause returns an entry with the same program that knows why it was not
// replaced. It holds the old one, and lets go of it when it goes itself.
func (ent *entry) staleBecause(failed *entry) *entry {
	if ent.serves != nil {
		ent = ent.serves // another revision has failed before
	}
	held := ent.acquire()
	kept := &entry{
		policy: ent.policy, digest: ent.digest, runtime: ent.runtime, program: ent.program, group: ent.group,
		degraded: ent.degraded, ref: ent.ref, stamp: failed.stamp, since: ent.since, serves: ent, counters: ent.counters,
		stale: failed.err, newer: failed.policy, failures: failed.failures, retry: failed.retry,
		closed: func() {
			if held {
				ent.release()
			}
		},
	}
	kept.refs.Store(1)
	return kept
}

// hostFor is what a policy may ask. While it waits for the answer it leaves its
// permit to others.
func (e *Engine) hostFor(p policy.Policy, grants policy.Grants) sdk.Host {
	return &yieldingHost{engine: e, host: &capability.Host{
		Policy: string(p.ID), Allows: grants.Allows, Granted: grants.String(), Resources: resources(p), Namespace: p.Namespace,
		Log: e.opts.Log, Services: e.opts.Services,
	}}
}

// resources are the kinds that a policy may read from the cluster.
func resources(p policy.Policy) []capability.Resource {
	var all []capability.Resource
	for _, r := range p.ContextAwareResources {
		all = append(all, capability.Resource(r))
	}
	return all
}

type yieldingHost struct {
	engine *Engine
	host   *capability.Host
}

// Call answers tracing/log at once, and the rest without holding a permit.
func (h *yieldingHost) Call(ctx context.Context, c sdk.HostCall) ([]byte, error) {
	permit, ok := ctx.Value(permitKey{}).(*permit)
	if !ok || c.Namespace == "tracing" {
		return h.host.Call(ctx, c)
	}
	permit.yield()
	answer, err := h.host.Call(ctx, c)
	if taken := permit.take(ctx); taken != nil {
		return nil, taken
	}
	return answer, err
}
