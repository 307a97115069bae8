package controller

import (
	"sync"
	"time"
)

// pace is the least time between two rounds for one policy server: a single
// change is acted on at once, and many at a time in a few rounds.
const pace = 50 * time.Millisecond

// pacer spaces the rounds of each key.
type pacer struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// wait is how long the round for key has to wait; if it need not, it begins now.
func (p *pacer) wait(key string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[string]time.Time{}
	}
	if next := p.last[key].Add(pace); next.After(now) {
		return next.Sub(now)
	}
	p.last[key] = now
	return 0
}

// done says that the round for key has ended.
func (p *pacer) done(key string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last[key] = now
}
