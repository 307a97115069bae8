package replica

import (
	"context"
	"time"

	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
)

// work has a worker load what is wanted of a policy. There is one worker for
// each policy that changes; what comes meanwhile it takes up afterwards, the
// newest alone. The engine bounds how many load at the same time. The lock is
// held.
func (k *keeper) work(h *held) {
	if !h.working {
		h.working = true
		k.workers.Go(func() { k.loadAll(h) })
	}
}

// loadUntil makes ctx that of all loads.
func (k *keeper) loadUntil(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ctx = ctx
}

// loadAll is a worker: it loads until there is nothing more to load.
func (k *keeper) loadAll(h *held) {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() { h.working = false }()
	for k.ctx.Err() == nil {
		switch {
		case h.expired:
			k.unload(h)
			if h.expired { // and was not made again meanwhile
				delete(k.held, h.id)
				k.changed()
				return
			}
		case h.renewing:
			k.unload(h)
			h.renewing, h.served = false, h.uid
		case h.loaded < h.revision:
			k.load(h)
		default:
			return
		}
	}
}

// load loads what is wanted. The lock is held, but not while the engine loads.
func (k *keeper) load(h *held) {
	p, revision, uid := h.wanted, h.revision, h.uid
	ctx, cancel := context.WithCancel(k.ctx)
	defer cancel()
	h.trying, h.cancel = p, cancel
	k.mu.Unlock()
	_ = k.engine.Load(ctx, p) // its status says the same
	k.mu.Lock()
	h.trying, h.cancel = policy.Policy{}, nil
	h.loaded = revision
	if status, ok := k.engine.Status(h.id); ok && status.State != engine.Stale && h.uid == uid {
		h.served, h.renewAt = uid, time.Time{}
	}
	if h.loaded == h.revision && h.goneUntil.IsZero() {
		k.evict(h)
	}
	k.changed()
	k.tell(matters)
}

// unload takes the policy out of the engine. The lock is held, but not
// meanwhile.
func (k *keeper) unload(h *held) {
	k.mu.Unlock()
	k.engine.Unload(h.id)
	k.mu.Lock()
	h.loaded = 0
	k.changed()
	k.tell(matters)
}

// servesAnother says whether the program of a policy is that of one which had
// its name before. The lock is held.
func (k *keeper) servesAnother(h *held) bool {
	if h.served == h.uid {
		return false
	}
	status, ok := k.engine.Status(h.id)
	return ok && status.State == engine.Stale
}

// wakeSweep has the sweeper look when it has to come next.
func (k *keeper) wakeSweep() {
	select {
	case k.sweep <- struct{}{}:
	default:
	}
}

// sweepUntilDone lets go of what has lingered for long enough, until ctx is
// done. It is what ends loads, too.
func (k *keeper) sweepUntilDone(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := k.expire()
		timer.Reset(next)
		select {
		case <-k.sweep:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// expire lets go of what has lingered for long enough, and returns when it has
// to be called next.
func (k *keeper) expire() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	next := now.Add(time.Hour)
	due := func(at time.Time) bool {
		if at.IsZero() || !now.Before(at) {
			return !at.IsZero()
		}
		if at.Before(next) {
			next = at
		}
		return false
	}
	for _, h := range k.held {
		switch {
		case !h.goneUntil.IsZero():
			if due(h.goneUntil) && !h.expired {
				h.expired = true
				if h.cancel != nil {
					h.cancel()
				}
				k.work(h)
			}
			continue
		case due(h.renewAt):
			h.renewAt = time.Time{}
			if k.servesAnother(h) {
				h.renewing = true
				k.work(h)
			}
		}
		left := false
		for _, until := range h.leaving {
			left = due(until) || left
		}
		if left {
			k.want(h)
		}
	}
	return next.Sub(now)
}
