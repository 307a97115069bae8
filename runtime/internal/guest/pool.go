package guest

import (
	"context"
	"errors"
	"sync"
	"time"
)

// idleFor is how long an instance that is not the only idle one is kept.
const idleFor = time.Minute

// ErrClosed is the answer of a closed pool.
var ErrClosed = errors.New("the policy was unloaded")

// Pool keeps idle instances of one program and makes new ones up to a bound.
// The one that was used last is given out first: its pages are warm.
type Pool[T any] struct {
	// Make makes an instance.
	Make func(ctx context.Context) (T, error)
	// Drop frees one.
	Drop func(T)
	// Max bounds the instances that exist, idle or not.
	Max int

	mu      sync.Mutex
	idle    []idle[T]
	live    int
	coming  int // of the live, those that will be idle in a moment
	waiting []chan T
	closed  bool
	work    sync.WaitGroup // resets and renewals
}

type idle[T any] struct {
	instance T
	since    time.Time
}

// Get returns an idle instance, a new one, or the first that comes back when
// there may be no more. The error is ctx's, ErrClosed or that of Make.
func (p *Pool[T]) Get(ctx context.Context) (T, error) {
	var none T
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return none, ErrClosed
	}
	if last := len(p.idle) - 1; last >= 0 {
		instance := p.idle[last].instance
		p.idle = p.idle[:last]
		p.mu.Unlock()
		return instance, nil
	}
	// Going back to a snapshot takes a fraction of what making an instance does:
	// whoever can have one that is on its way waits for it.
	if p.live < p.Max && p.coming <= len(p.waiting) {
		p.live++
		p.mu.Unlock()
		return p.create(ctx)
	}
	wait := make(chan T, 1)
	p.waiting = append(p.waiting, wait)
	p.mu.Unlock()
	select {
	case instance, ok := <-wait:
		if !ok {
			return p.replace(ctx)
		}
		return instance, nil
	case <-ctx.Done():
		p.forget(wait)
		return none, context.Cause(ctx)
	}
}

func (p *Pool[T]) create(ctx context.Context) (T, error) {
	instance, err := p.Make(ctx)
	if err != nil {
		p.gone()
	}
	return instance, err
}

// replace makes an instance in the place of one that has died, which is still
// counted as live.
func (p *Pool[T]) replace(ctx context.Context) (T, error) {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		var none T
		return none, ErrClosed
	}
	return p.create(ctx)
}

// forget takes a waiter out of the line, and passes on what it was given.
func (p *Pool[T]) forget(wait chan T) {
	p.mu.Lock()
	for i, w := range p.waiting {
		if w == wait {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			p.mu.Unlock()
			return
		}
	}
	p.mu.Unlock()
	if instance, ok := <-wait; ok {
		p.Put(instance)
	} else {
		p.gone()
	}
}

// Adopt adds an idle instance that the pool did not make.
func (p *Pool[T]) Adopt(instance T) {
	p.mu.Lock()
	p.live++
	p.mu.Unlock()
	p.Put(instance)
}

// Later does what makes an instance ready for the next request, off the path
// of this one; Close waits for it.
func (p *Pool[T]) Later(reset func()) {
	p.Returning()
	p.work.Go(reset)
}

// Returning says that an instance has judged and will be Put or Renewed in a
// moment.
func (p *Pool[T]) Returning() {
	p.mu.Lock()
	p.coming++
	p.mu.Unlock()
}

// Put gives an instance back that is ready for the next request.
func (p *Pool[T]) Put(instance T) {
	p.mu.Lock()
	p.coming = max(0, p.coming-1)
	if p.closed {
		p.live--
		p.mu.Unlock()
		p.Drop(instance)
		return
	}
	if len(p.waiting) > 0 {
		wait := p.waiting[0]
		p.waiting = p.waiting[1:]
		p.mu.Unlock()
		wait <- instance
		return
	}
	now := time.Now()
	p.idle = append(p.idle, idle[T]{instance, now})
	var old []T
	for len(p.idle) > 1 && now.Sub(p.idle[0].since) > idleFor {
		old = append(old, p.idle[0].instance)
		p.idle = p.idle[1:]
		p.live--
	}
	p.mu.Unlock()
	for _, instance := range old {
		p.Drop(instance)
	}
}

// Lost says that an instance has died. Its owner has freed it.
func (p *Pool[T]) Lost() { p.gone() }

// Renew says that an instance has served its time, and makes the next one in
// its place while nobody waits for it. Its owner frees it.
func (p *Pool[T]) Renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.coming = max(0, p.coming-1)
	if p.closed {
		p.live--
		return
	}
	p.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), renewTimeout)
		defer cancel()
		if instance, err := p.create(ctx); err == nil {
			p.Put(instance)
		}
	})
}

// renewTimeout bounds the making of an instance that no request waits for: the
// longest time that a webhook may take.
const renewTimeout = 30 * time.Second

// gone gives the place of a dead instance to whoever waits for one.
func (p *Pool[T]) gone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 && !p.closed {
		wait := p.waiting[0]
		p.waiting = p.waiting[1:]
		close(wait)
		return
	}
	p.live--
}

// Close frees the idle instances; the others are freed as they come back. It
// waits for those that are being reset or made.
func (p *Pool[T]) Close() {
	p.mu.Lock()
	all := p.idle
	p.idle, p.closed = nil, true
	p.live -= len(all)
	for _, wait := range p.waiting {
		close(wait)
	}
	p.waiting = nil
	p.mu.Unlock()
	for _, i := range all {
		p.Drop(i.instance)
	}
	p.work.Wait()
}
