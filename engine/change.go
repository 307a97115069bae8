package engine

import (
	"context"
	"errors"
	"sync"

	"github.com/warder-dev/warder/policy"
)

// ErrSuperseded is the error of a change that was not done when a later one of
// the same policy was asked for. The later one counts.
var ErrSuperseded = errors.New("a later change of the policy has come before this one was done")

// task is one policy that is being loaded. Nothing is locked meanwhile.
type task struct {
	policy policy.Policy
	turn   uint64
	old    *entry // that serves, held; nil for none
	ctx    context.Context
	cancel context.CancelFunc
	stamp  string // of its modules, before they are fetched
	wants  wants  // its modules

	entry      *entry // what came of it; the old one if nothing has changed
	reused     bool   // the entry has the program of the old one
	superseded bool   // guarded by Engine.mu
}

// supersede makes the task end without an effect, soon.
func (t *task) supersede() {
	t.superseded = true
	t.cancel()
}

// Apply makes the engine's policies these and no others. What has not changed
// is not touched; what has is loaded beside what serves, and takes its place in
// one step. A policy that does not load becomes an entry that answers by its
// failurePolicy, or, if an older revision serves, leaves that one in place; the
// others are not touched either way. A Load or Unload that is called while Apply
// is under way wins for its policy; a later Apply wins for all, and then the
// error is ErrSuperseded. Otherwise it joins a *LoadError for each policy.
func (e *Engine) Apply(ctx context.Context, policies []policy.Policy) error {
	e.mu.Lock()
	e.turn++
	turn := e.turn
	e.applied = turn
	for _, t := range e.loading {
		t.supersede()
	}
	clear(e.loading)
	tasks := make([]*task, len(policies))
	for i, p := range policies {
		tasks[i] = e.begin(ctx, p)
	}
	e.mu.Unlock()
	for _, t := range tasks {
		e.want(t) // before any is loaded: each module is fetched once for all of them
	}
	var wg sync.WaitGroup
	for _, t := range tasks {
		wg.Go(func() { e.load(t) })
	}
	wg.Wait()
	return e.finish(tasks, func() (gone []policy.ID, err error) {
		if e.applied != turn {
			return nil, ErrSuperseded
		}
		mine := make(map[policy.ID]bool, len(policies))
		for _, p := range policies {
			mine[p.ID] = true
		}
		for id, ent := range e.state.Load().byID {
			if !mine[id] && ent.turn < turn && e.loading[id] == nil {
				gone = append(gone, id)
			}
		}
		return gone, nil
	})
}

// Load adds one policy or replaces the one of its ID, as Apply does. Loads of
// different policies do not wait for each other. Of several changes of one policy
// the one that was called last wins, whichever is done first; the error of the
// others is ErrSuperseded. Otherwise it is a *LoadError.
//
// A change that leaves the program as it is (mode, message, bundles, order,
// rules, failurePolicy, right to mutate, timeout) takes effect at once: nothing is
// fetched, compiled or started.
func (e *Engine) Load(ctx context.Context, p policy.Policy) error {
	e.mu.Lock()
	e.turn++
	t := e.begin(ctx, p)
	e.mu.Unlock()
	e.want(t)
	e.load(t)
	return e.finish([]*task{t}, func() ([]policy.ID, error) {
		if t.superseded {
			return nil, ErrSuperseded
		}
		return nil, nil
	})
}

// Unload removes one policy, also one that is being loaded. Requests under way
// end with it; it is no error when there is none.
func (e *Engine) Unload(id policy.ID) {
	_ = e.finish(nil, func() ([]policy.ID, error) {
		e.turn++
		if t := e.loading[id]; t != nil {
			t.supersede()
			delete(e.loading, id)
		}
		return []policy.ID{id}, nil
	}) // nothing is loaded, nothing can fail
}

// begin makes the task of a policy. The lock is held.
func (e *Engine) begin(ctx context.Context, p policy.Policy) *task {
	if before := e.loading[p.ID]; before != nil {
		before.supersede()
	}
	t := &task{policy: p, turn: e.turn, old: e.state.Load().byID[p.ID]}
	t.ctx, t.cancel = context.WithCancel(ctx)
	if t.old != nil {
		t.old.refs.Add(1) // the state holds it
	}
	e.loading[p.ID] = t
	return t
}

// want says which modules a task may fetch, so that others fetch them with it.
func (e *Engine) want(t *task) {
	t.stamp = e.stampOf(t.policy) // first: what is fetched is never older
	t.wants = e.fetches.want(Answering(t.policy).Modules())
}

// load does the task. It is not published yet.
func (e *Engine) load(t *task) {
	defer t.wants.leave()
	t.entry, t.reused = e.entryFor(t)
}

// finish publishes what came of tasks, and removes the policies that are gone. The
// error joins those of the tasks that were not superseded, and that of gone, with
// which nothing is removed. Gone is called with the lock held.
func (e *Engine) finish(tasks []*task, gone func() ([]policy.ID, error)) error {
	e.mu.Lock()
	changed := map[policy.ID]*entry{}
	var loose []holder
	var done []*task
	var errs []error
	ids, err := gone()
	if err != nil {
		errs = append(errs, err)
	}
	for _, id := range ids {
		if e.state.Load().byID[id] != nil {
			changed[id] = nil
		}
	}
	for _, t := range tasks {
		t.cancel()
		if t.old != nil {
			loose = append(loose, t.old)
		}
		if e.loading[t.policy.ID] == t {
			delete(e.loading, t.policy.ID)
		}
		switch {
		case t.superseded && t.entry != t.old:
			loose = append(loose, t.entry)
		case t.superseded:
		case t.entry == t.old: // or what Refresh has put in its place meanwhile
			if now := e.state.Load().byID[t.policy.ID]; now != nil {
				now.turn = t.turn
			}
		default:
			t.entry.turn = t.turn
			changed[t.policy.ID] = t.entry
			done = append(done, t)
			errs = append(errs, t.entry.problem())
		}
	}
	loose = append(loose, e.publish(changed)...)
	e.mu.Unlock()
	for _, t := range done {
		e.report(t)
	}
	for _, one := range loose {
		one.release()
	}
	return errors.Join(errs...)
}

// holder is something that is held until it is released.
type holder interface{ release() }

// publish puts entries in the place of those of their IDs, nil for policies that
// have gone, and returns what is not held any more by the engine. The lock is
// held: releasing closes programs, which is for when it is not.
func (e *Engine) publish(changed map[policy.ID]*entry) (loose []holder) {
	if len(changed) == 0 {
		return nil
	}
	old := e.state.Load()
	for _, ent := range changed {
		if ent != nil {
			e.metrics.count(ent)
		}
	}
	next, gone := old.with(changed)
	e.state.Store(next)
	for id, ent := range changed {
		before := old.byID[id]
		if before == nil {
			continue
		}
		loose = append(loose, before)
		e.metrics.forget(before, ent)
		if ent == nil {
			e.opts.Log.Info("policy unloaded", "policy", id)
		}
	}
	for _, b := range gone {
		loose = append(loose, b)
	}
	return loose
}
