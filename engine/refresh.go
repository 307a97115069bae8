package engine

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warder-dev/warder/policy"
)

// A policy that did not load is loaded again after firstRetry, then after twice
// as long each time, up to lastRetry: a registry that comes back is noticed
// within minutes, and one that does not is asked twelve times an hour.
const (
	firstRetry = 2 * time.Second
	lastRetry  = 5 * time.Minute
)

// retryAfter is how long to wait after so many failures, give or take a tenth:
// replicas that failed together shall not ask together for ever.
func retryAfter(failures int) time.Duration {
	wait := lastRetry
	if failures < 10 { // 2 s << 8 is more than lastRetry
		wait = min(firstRetry<<max(failures-1, 0), lastRetry)
	}
	return time.Duration(float64(wait) * (0.9 + rand.Float64()/5))
}

// unsettled reports whether the entry is not what is wanted: the policy failed
// to load, or a member of it, or its module came from the store since its host
// was away.
func (ent *entry) unsettled() bool {
	return ent.err != nil || ent.stale != nil || ent.degraded != nil || ent.away != nil
}

// again notes when the entry is to be loaded again, if it is not what is
// wanted. Before is the entry in whose place it comes, nil for none.
func (ent *entry) again(before *entry) {
	if !ent.unsettled() {
		return
	}
	ent.failures = 1
	if before != nil && before.unsettled() {
		ent.failures = before.failures + 1
	}
	ent.retry = time.Now().Add(retryAfter(ent.failures))
}

// Refresh loads again what has changed where it comes from (see Options.Stamp),
// what did not load, and what came from the store because its host was away;
// the last two once their time has come. It does not hold up Apply, Load and
// Unload, which win when they change the same policy meanwhile. Each policy takes
// its place as soon as it is loaded. It may be called while another call is under
// way, and then leaves alone what that one loads. It reports whether it has
// changed anything.
func (e *Engine) Refresh(ctx context.Context) (changed bool) {
	var wg sync.WaitGroup
	var some atomic.Bool
	for _, t := range e.due(ctx) {
		wg.Go(func() {
			e.load(t)
			if e.refreshed(t) {
				some.Store(true)
			}
		})
	}
	wg.Wait()
	return some.Load()
}

// due returns a task for each policy that is to be loaded again, and is not being
// loaded already.
func (e *Engine) due(ctx context.Context) (tasks []*task) {
	now := time.Now()
	for id, ent := range e.state.Load().byID {
		p := ent.wanted()
		again := ent.unsettled() && now.After(ent.retry) || ent.stamp != e.stampOf(p)
		if !again {
			continue
		}
		e.mu.Lock()
		if e.loading[id] != nil || e.refreshing[ent] || !ent.acquire() {
			e.mu.Unlock()
			continue
		}
		e.refreshing[ent] = true
		e.mu.Unlock()
		t := &task{policy: p, old: ent}
		t.ctx, t.cancel = context.WithCancel(ctx)
		tasks = append(tasks, t)
	}
	for _, t := range tasks {
		e.want(t)
	}
	return tasks
}

// refreshed publishes what came of a task of Refresh, unless somebody else has
// changed the policy. It reports whether it has.
func (e *Engine) refreshed(t *task) bool {
	id, ent := t.old.policy.ID, t.entry
	loose := []holder{t.old}
	e.mu.Lock()
	delete(e.refreshing, t.old)
	changed := false
	switch {
	case ent == t.old: // its stamp has changed back meanwhile
	case e.state.Load().byID[id] != t.old || t.ctx.Err() != nil:
		loose = append(loose, ent)
	default:
		changed = true
		ent.turn = t.old.turn
		loose = append(loose, e.publish(map[policy.ID]*entry{id: ent})...)
	}
	t.cancel()
	e.mu.Unlock()
	if changed {
		e.report(t)
	}
	for _, one := range loose {
		one.release()
	}
	return changed
}

// wanted is the policy that the entry would have if it had loaded.
func (ent *entry) wanted() policy.Policy {
	if ent.stale != nil {
		return ent.newer
	}
	return ent.policy
}
