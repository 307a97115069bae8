package engine

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
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
// Unload, which win when they change the same policy meanwhile. It reports
// whether it has changed anything.
func (e *Engine) Refresh(ctx context.Context) (changed bool) {
	type attempt struct{ old, now *entry }
	var due []*attempt
	now := time.Now()
	for _, ent := range e.state.Load().byID {
		again := ent.unsettled() && now.After(ent.retry) || ent.stamp != e.stampOf(ent.wanted())
		if again && ent.acquire() {
			due = append(due, &attempt{old: ent})
		}
	}
	if len(due) == 0 {
		return false
	}
	f := e.newFetches()
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for _, a := range due {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			a.now = e.entryFor(ctx, a.old.wanted(), a.old, f)
		})
	}
	wg.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	next := maps.Clone(e.state.Load().byID)
	for _, a := range due {
		id := a.old.policy.ID
		if a.now == a.old { // its stamp has changed back meanwhile
			a.old.release()
			continue
		}
		if next[id] == a.old && ctx.Err() == nil {
			next[id] = a.now
			changed = true
			e.metrics.forget(a.old, a.now)
			defer a.old.release() // of the state
		} else {
			defer a.now.release() // somebody else has changed the policy
		}
		defer a.old.release() // of the attempt
	}
	if changed {
		e.state.Store(newState(next))
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
