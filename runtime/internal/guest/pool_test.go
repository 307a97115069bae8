package guest

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// thing is an instance of nothing, which notices when two have it.
type thing struct {
	used    atomic.Int32
	dropped atomic.Bool
}

// factory makes things and counts those that live.
type factory struct {
	live, most, made atomic.Int64
	fail             atomic.Bool
}

var errMake = errors.New("no more things")

func (f *factory) pool(most int) *Pool[*thing] {
	return &Pool[*thing]{Make: f.make, Drop: f.drop, Max: most}
}

func (f *factory) make(context.Context) (*thing, error) {
	if f.fail.Load() {
		return nil, errMake
	}
	f.made.Add(1)
	live := f.live.Add(1)
	for most := f.most.Load(); live > most && !f.most.CompareAndSwap(most, live); most = f.most.Load() {
	}
	return &thing{}, nil
}

func (f *factory) drop(x *thing) {
	if x.dropped.Swap(true) {
		panic("dropped twice")
	}
	f.live.Add(-1)
}

func get(t *testing.T, p *Pool[*thing]) *thing {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	x, err := p.Get(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// later is get in a goroutine of its own, for a thing that has to be waited
// for.
func later(t *testing.T, p *Pool[*thing]) <-chan *thing {
	t.Helper()
	got := make(chan *thing, 1)
	go func() {
		x, err := p.Get(t.Context())
		if err != nil {
			t.Error(err)
		}
		got <- x
	}()
	waiters(p, 1)
	return got
}

// waiters waits until n calls of Get wait.
func waiters(p *Pool[*thing], n int) {
	for {
		p.mu.Lock()
		have := len(p.waiting)
		p.mu.Unlock()
		if have == n {
			return
		}
		runtime.Gosched()
	}
}

func TestPoolGivesOutWhatWasUsedLast(t *testing.T) {
	f := &factory{}
	p := f.pool(3)
	a, b := get(t, p), get(t, p)
	p.Put(a)
	p.Put(b)
	if got := get(t, p); got != b {
		t.Error("got the one that was put back first")
	}
	p.Put(b)
	p.Close()
	if f.live.Load() != 0 || f.made.Load() != 2 {
		t.Errorf("%d of %d things live after Close, want none of 2", f.live.Load(), f.made.Load())
	}
	if _, err := p.Get(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed pool: error %v, want %v", err, ErrClosed)
	}
}

func TestPoolMakesWaitersWaitAtItsBound(t *testing.T) {
	f := &factory{}
	p := f.pool(1)
	x := get(t, p)
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error)
	go func() {
		_, err := p.Get(ctx)
		failed <- err
	}()
	waiters(p, 1)
	why := errors.New("changed my mind")
	cancel(why)
	if err := <-failed; !errors.Is(err, why) {
		t.Errorf("a cancelled waiter: error %v, want %v", err, why)
	}
	next := later(t, p)
	p.Put(x)
	if got := <-next; got != x {
		t.Error("the waiter got another thing")
	}
	p.Put(x)
	p.Close()
}

func TestPoolReplacesTheDeadForWhoeverWaits(t *testing.T) {
	f := &factory{}
	p := f.pool(1)
	x := get(t, p)
	next := later(t, p)
	f.drop(x)
	p.Lost()
	got := <-next
	if got == x {
		t.Error("the waiter got a dead thing")
	}
	p.Put(got)
	p.Close()
	if f.live.Load() != 0 || f.most.Load() != 1 {
		t.Errorf("%d live, %d at most; want 0 and 1", f.live.Load(), f.most.Load())
	}
}

func TestPoolRenewsInTheBackground(t *testing.T) {
	f := &factory{}
	p := f.pool(1)
	x := get(t, p)
	p.Later(func() {
		f.drop(x)
		p.Renew()
	})
	got := get(t, p)
	if got == x {
		t.Error("got a thing that has served its time")
	}
	p.Put(got)
	p.Close()
	if f.live.Load() != 0 {
		t.Errorf("%d live after Close, want none", f.live.Load())
	}
}

func TestPoolRecoversFromFailuresToMake(t *testing.T) {
	f := &factory{}
	p := f.pool(1)
	defer p.Close()
	f.fail.Store(true)
	for range 3 {
		if _, err := p.Get(t.Context()); !errors.Is(err, errMake) {
			t.Fatalf("error %v, want %v", err, errMake)
		}
	}
	f.fail.Store(false)
	x := get(t, p)
	f.fail.Store(true)
	f.drop(x)
	p.Later(p.Renew) // fails
	p.work.Wait()
	f.fail.Store(false)
	p.Put(get(t, p))
}

func TestPoolClosesUnderWaiters(t *testing.T) {
	f := &factory{}
	p := f.pool(1)
	x := get(t, p)
	failed := make(chan error)
	go func() {
		_, err := p.Get(t.Context())
		failed <- err
	}()
	waiters(p, 1)
	p.Close()
	if err := <-failed; !errors.Is(err, ErrClosed) {
		t.Errorf("error %v, want %v", err, ErrClosed)
	}
	p.Put(x)
	if !x.dropped.Load() {
		t.Error("a thing that came back to a closed pool was kept")
	}
}

// Whatever happens, no more than Max things live, nobody gets a thing that
// another one has, and no place is lost.
func TestPoolUnderFire(t *testing.T) {
	const most, users, turns = 4, 32, 300
	f := &factory{}
	p := f.pool(most)
	var all sync.WaitGroup
	for user := range users {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(user), 1))
			for range turns {
				poolTurn(t, p, f, random)
			}
		})
	}
	all.Wait()
	held := make([]*thing, most)
	for i := range held {
		held[i] = get(t, p) // all places can be had
	}
	for _, x := range held {
		p.Put(x)
	}
	p.Close()
	if f.live.Load() != 0 || f.most.Load() > most {
		t.Errorf("%d live after Close, %d at most; want 0 and %d", f.live.Load(), f.most.Load(), most)
	}
}

// poolTurn is one request: a thing is had, or not in time, and is given back,
// dies or is renewed.
func poolTurn(t *testing.T, p *Pool[*thing], f *factory, random *rand.Rand) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	hurry := random.IntN(3) == 0
	if hurry {
		time.AfterFunc(time.Duration(random.IntN(100))*time.Microsecond, cancel)
	}
	x, err := p.Get(ctx)
	if err != nil {
		if !hurry {
			t.Errorf("error %v", err)
		}
		return
	}
	if x.used.Add(1) != 1 || x.dropped.Load() {
		t.Error("a thing that somebody else has, or nobody any more")
	}
	for range random.IntN(20) {
		runtime.Gosched()
	}
	x.used.Add(-1)
	switch random.IntN(10) {
	case 0:
		f.drop(x)
		p.Lost()
	case 1:
		p.Later(func() {
			f.drop(x)
			p.Renew()
		})
	case 2, 3, 4:
		p.Later(func() { p.Put(x) })
	default:
		p.Put(x)
	}
}
