package artifact

import (
	"context"
	"sync"
)

// flights does what several ask for at the same time once. The zero value works.
type flights[T any] struct {
	mu    sync.Mutex
	calls map[string]*flight[T]
}

type flight[T any] struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiting int
	value   T
	err     error
}

// do returns what f returns, to everybody who asks for key before f is done. f
// ends early when nobody waits for it any more, not when one of them leaves.
func (g *flights[T]) do(ctx context.Context, key string, f func(context.Context) (T, error)) (T, error) {
	g.mu.Lock()
	call, ok := g.calls[key]
	if !ok {
		all, cancel := context.WithCancel(context.WithoutCancel(ctx))
		call = &flight[T]{done: make(chan struct{}), cancel: cancel}
		if g.calls == nil {
			g.calls = map[string]*flight[T]{}
		}
		g.calls[key] = call
		go func() {
			call.value, call.err = f(all)
			g.end(key, call)
			close(call.done)
		}()
	}
	call.waiting++
	g.mu.Unlock()
	select {
	case <-call.done:
		return call.value, call.err
	case <-ctx.Done():
		g.leave(key, call)
		var none T
		return none, context.Cause(ctx)
	}
}

// leave ends the call when nobody waits for it any more; who comes then starts
// a new one.
func (g *flights[T]) leave(key string, call *flight[T]) {
	g.mu.Lock()
	call.waiting--
	last := call.waiting == 0
	g.mu.Unlock()
	if last {
		g.end(key, call)
	}
}

func (g *flights[T]) end(key string, call *flight[T]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls[key] == call {
		delete(g.calls, key)
	}
	call.cancel()
}
