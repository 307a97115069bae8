package capability

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// loader counts how often it is asked, and answers with key and count.
type loader struct{ calls atomic.Int64 }

func (l *loader) load(context.Context) ([]byte, error) {
	return fmt.Appendf(nil, "answer %d", l.calls.Add(1)), nil
}

func mustGet(t *testing.T, c *cache, key string, load func(context.Context) ([]byte, error)) string {
	t.Helper()
	answer, err := c.get(t.Context(), key, load)
	if err != nil {
		t.Fatalf("get %q: %v", key, err)
	}
	return string(answer)
}

func TestCacheKeepsAnAnswerForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := newCache(1<<20, 5*time.Second), &loader{}
		for _, step := range []struct {
			wait time.Duration
			want string
		}{{0, "answer 1"}, {0, "answer 1"}, {4999 * time.Millisecond, "answer 1"}, {time.Millisecond, "answer 2"}, {0, "answer 2"}} {
			<-time.After(step.wait)
			if have := mustGet(t, c, "k", l.load); have != step.want {
				t.Errorf("after %s more: %q, want %q", step.wait, have, step.want)
			}
		}
	})
}

func TestAnAnswerThatIsOutdatedOrForgottenIsLoadedAgain(t *testing.T) {
	c, l := newCache(1<<20, time.Hour), &loader{}
	outdated := func(answer []byte) bool { return string(answer) != "answer 1" }
	for _, want := range []string{"answer 1", "answer 2", "answer 2"} {
		if have, err := c.getIf(t.Context(), "k", outdated, l.load); string(have) != want || err != nil {
			t.Errorf("getIf = %q, %v, want %q", have, err, want)
		}
	}
	c.forget("k")
	c.forget("never there")
	if have := mustGet(t, c, "k", l.load); have != "answer 3" || len(c.entries) != 1 {
		t.Errorf("after forget: %q in %d entries", have, len(c.entries))
	}
}

func TestCacheKeepsNoFailure(t *testing.T) {
	c := newCache(1<<20, time.Hour)
	broken := errors.New("broken")
	for range 2 {
		if answer, err := c.get(t.Context(), "k", func(context.Context) ([]byte, error) { return []byte("half"), broken }); !errors.Is(err, broken) {
			t.Fatalf("get = %q, %v, want the failure", answer, err)
		}
	}
	l := &loader{}
	if have := mustGet(t, c, "k", l.load); have != "answer 1" {
		t.Errorf("after failures: %q, want it loaded", have)
	}
	if len(c.flights) != 0 {
		t.Errorf("%d flights are left", len(c.flights))
	}
}

func TestCacheTurnsAPanicIntoAnError(t *testing.T) {
	c := newCache(1<<20, time.Hour)
	_, err := c.get(t.Context(), "k", func(context.Context) ([]byte, error) { panic("oh") })
	if err == nil || err.Error() != "panic: oh" {
		t.Errorf("get = %v, want the panic as an error", err)
	}
}

func TestIdenticalCallsInFlightAreMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := newCache(1<<20, time.Hour), &loader{}
		open := make(chan struct{})
		answers := make(chan string, 50)
		for range cap(answers) {
			go func() {
				answers <- mustGet(t, c, "k", func(ctx context.Context) ([]byte, error) { <-open; return l.load(ctx) })
			}()
		}
		synctest.Wait()
		// No call waits for another key.
		if have := mustGet(t, c, "other", (&loader{}).load); have != "answer 1" {
			t.Errorf("another key = %q", have)
		}
		close(open)
		for range cap(answers) {
			if have := <-answers; have != "answer 1" {
				t.Errorf("answer = %q, want that of the only call", have)
			}
		}
	})
}

func TestACallerThatGivesUpFailsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := newCache(1<<20, time.Hour), &loader{}
		type keyOfValue struct{}
		first, giveUp := context.WithCancel(context.WithValue(t.Context(), keyOfValue{}, "v"))
		open, failed := make(chan struct{}), make(chan error, 1)
		load := func(ctx context.Context) ([]byte, error) {
			if ctx.Value(keyOfValue{}) != "v" {
				t.Error("the values of the first caller's context are lost")
			}
			select {
			case <-open:
				return l.load(ctx)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		go func() { _, err := c.get(first, "k", load); failed <- err }()
		synctest.Wait()
		second := make(chan string, 1)
		go func() { second <- mustGet(t, c, "k", load) }()
		synctest.Wait()
		giveUp()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up gets %v", err)
		}
		synctest.Wait()
		close(open)
		if have := <-second; have != "answer 1" {
			t.Errorf("who waited gets %q", have)
		}
	})
}

func TestACallThatNobodyWaitsForIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(1<<20, time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ended := make(chan error, 1)
		_, err := c.get(ctx, "k", func(ctx context.Context) ([]byte, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return []byte("too late"), nil
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("get = %v, want the deadline", err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the load ends with %v, want it cancelled", err)
		}
		l := &loader{}
		_, err = c.get(ctx, "other", l.load)
		if !errors.Is(err, context.DeadlineExceeded) || l.calls.Load() != 0 {
			t.Errorf("with a context that is done: %v after %d loads, want none", err, l.calls.Load())
		}
	})
}

func TestCacheStaysWithinItsBytes(t *testing.T) {
	const maxBytes = 10 * (100 + 4 + cachedBytes)
	c, l := newCache(maxBytes, time.Hour), &loader{}
	block := func(context.Context) ([]byte, error) { l.calls.Add(1); return make([]byte, 100), nil }
	for i := range 1000 {
		mustGet(t, c, "hot!", block)
		mustGet(t, c, fmt.Sprintf("%04d", i), block)
		if c.bytes > maxBytes || len(c.entries) > 10 || c.order.Len() != len(c.entries) {
			t.Fatalf("after %d answers: %d bytes in %d entries (%d in order), want at most %d", i, c.bytes, len(c.entries), c.order.Len(), maxBytes)
		}
	}
	if have := l.calls.Load(); have != 1001 {
		t.Errorf("%d loads, want 1001: what is asked for all the time stays", have)
	}
	mustGet(t, c, "huge", func(context.Context) ([]byte, error) { return make([]byte, maxBytes), nil })
	if _, ok := c.kept("huge"); ok || len(c.entries) != 10 {
		t.Errorf("an answer larger than the cache is kept, or has emptied it: %d entries", len(c.entries))
	}
}

func TestWhatHasExpiredMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := newCache(1<<20, time.Minute), &loader{}
		for i := range 100 {
			mustGet(t, c, fmt.Sprint(i), l.load)
		}
		<-time.After(time.Minute)
		mustGet(t, c, "new", l.load)
		if len(c.entries) != 1 {
			t.Errorf("%d entries, want the new one alone", len(c.entries))
		}
	})
}

func TestCacheIsSafeForConcurrentUse(t *testing.T) {
	c := newCache(20*(cachedBytes+10), time.Microsecond)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 2000 {
				key := fmt.Sprint(rand.N(40))
				ctx, cancel := context.WithCancel(t.Context())
				if rand.N(10) == 0 {
					cancel()
				}
				answer, err := c.get(ctx, key, func(context.Context) ([]byte, error) { return []byte("of " + key), nil })
				if err == nil && string(answer) != "of "+key || err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("get %q = %q, %v", key, answer, err)
				}
				cancel()
			}
		})
	}
	group.Wait()
	sum := 0
	for key, element := range c.entries {
		if e := element.Value.(*cached); e.key != key || !strings.HasSuffix(string(e.answer), key) {
			t.Errorf("entry %q has %q of %q", key, e.answer, e.key)
		}
		sum += element.Value.(*cached).size()
	}
	if sum != c.bytes || len(c.flights) != 0 || c.order.Len() != len(c.entries) {
		t.Errorf("%d bytes are counted, %d are there; %d flights; %d in order of %d", c.bytes, sum, len(c.flights), c.order.Len(), len(c.entries))
	}
}

func BenchmarkCacheHits(b *testing.B) {
	c := newCache(1<<20, time.Hour)
	l := &loader{}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.get(b.Context(), "k", l.load); err != nil {
				b.Fatal(err)
			}
		}
	})
}
