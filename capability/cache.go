package capability

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// cache keeps answers for a while, within a bound of bytes. Calls for one key
// that are in flight at the same time are made once, and no call waits for
// another key. Only successes are kept: a failure is asked again.
//
// It evicts the oldest answer that nobody has asked for since it was last
// looked at (second chance), so that a hit needs no more than a read lock.
type cache struct {
	maxBytes int
	ttl      time.Duration

	mu      sync.RWMutex // held for look-ups and book-keeping, never for a load
	entries map[string]*list.Element
	order   *list.List // of *cached; the newest is at the front
	bytes   int
	flights map[string]*flight
}

// cached is one answer.
type cached struct {
	key    string
	answer []byte
	until  time.Time
	asked  atomic.Bool // since eviction last passed
}

// cachedBytes is what an entry costs besides its key and its answer: the
// struct, the list element and a slot of the map, on 64 bits, rounded up.
const cachedBytes = 256

func (e *cached) size() int { return len(e.key) + cap(e.answer) + cachedBytes }

// flight is a load that runs, for everybody who waits for it.
type flight struct {
	waiting int // under the cache's lock; the last to leave cancels
	cancel  context.CancelFunc
	done    chan struct{} // closed when answer and err are set
	answer  []byte
	err     error
}

// newCache returns a cache that keeps an answer for ttl, and at most maxBytes
// of answers.
func newCache(maxBytes int, ttl time.Duration) *cache {
	return &cache{
		maxBytes: maxBytes, ttl: ttl,
		entries: map[string]*list.Element{}, order: list.New(), flights: map[string]*flight{},
	}
}

// get returns the answer for key, from the cache or from load, whose context
// has the values of the first caller's and lives as long as somebody waits. It
// returns when ctx is done. The answer is shared: nobody may change it.
func (c *cache) get(ctx context.Context, key string, load func(ctx context.Context) ([]byte, error)) ([]byte, error) {
	return c.getIf(ctx, key, func([]byte) bool { return true }, load)
}

// getIf is get for answers that may be outdated before their time: what is kept
// and not good is loaded again.
func (c *cache) getIf(ctx context.Context, key string, good func(answer []byte) bool, load func(ctx context.Context) ([]byte, error)) ([]byte, error) {
	if answer, ok := c.kept(key); ok && good(answer) {
		return answer, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f := c.join(ctx, key, load)
	select {
	case <-f.done:
		return f.answer, f.err
	case <-ctx.Done():
		c.leave(key, f)
		return nil, ctx.Err()
	}
}

// kept returns an answer that is still good.
func (c *cache) kept(key string) ([]byte, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	element, ok := c.entries[key]
	if !ok {
		return nil, false
	}
	e := element.Value.(*cached)
	if !time.Now().Before(e.until) {
		return nil, false
	}
	if !e.asked.Load() { // hits of one key do not fight over the cache line
		e.asked.Store(true)
	}
	return e.answer, true
}

// join waits for the flight of key, which it starts when there is none.
func (c *cache) join(ctx context.Context, key string, load func(context.Context) ([]byte, error)) *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.flights[key]; ok {
		f.waiting++
		return f
	}
	loading, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{waiting: 1, cancel: cancel, done: make(chan struct{})}
	c.flights[key] = f
	go func() {
		defer cancel()
		f.answer, f.err = safely(loading, load)
		c.land(key, f)
		close(f.done)
	}()
	return f
}

// safely turns a panic into an error: it is on nobody's stack but the flight's,
// where it would end the process.
func safely(ctx context.Context, load func(context.Context) ([]byte, error)) (answer []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			answer, err = nil, fmt.Errorf("panic: %v", r)
		}
	}()
	return load(ctx)
}

// leave gives up waiting. A flight that nobody waits for is cancelled, and
// nobody joins it any more.
func (c *cache) leave(key string, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.waiting--
	if f.waiting == 0 && c.flights[key] == f {
		delete(c.flights, key)
		f.cancel()
	}
}

// land keeps what a flight brought.
func (c *cache) land(key string, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[key] == f {
		delete(c.flights, key)
	}
	if f.err != nil {
		return
	}
	e := &cached{key: key, answer: f.answer, until: time.Now().Add(c.ttl)}
	if old, ok := c.entries[key]; ok {
		c.remove(old)
	}
	if e.size() > c.maxBytes {
		return
	}
	c.entries[key] = c.order.PushFront(e)
	c.bytes += e.size()
	c.evict(time.Now())
}

// forget drops the answer of a key.
func (c *cache) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.entries[key]; ok {
		c.remove(element)
	}
}

// evict drops what has expired at the old end, and then as much as is too much.
func (c *cache) evict(now time.Time) {
	for oldest := c.order.Back(); oldest != nil; oldest = c.order.Back() {
		e := oldest.Value.(*cached)
		switch expired := !now.Before(e.until); {
		case expired:
			c.remove(oldest)
		case c.bytes <= c.maxBytes:
			return
		case e.asked.Swap(false):
			c.order.MoveToFront(oldest)
		default:
			c.remove(oldest)
		}
	}
}

func (c *cache) remove(element *list.Element) {
	e := c.order.Remove(element).(*cached)
	delete(c.entries, e.key)
	c.bytes -= e.size()
}
