package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// answer is a verdict, or why there was none.
type answer struct {
	Verdict sdk.Verdict
	Err     string
}

func ask(t *testing.T, p program, req *sdk.Request) (a answer) {
	v, err := p.Evaluate(bounded(t), req)
	if a.Verdict = v; err != nil {
		a.Err = err.Error()
	}
	return a
}

// secrets makes requests with a secret each, some of which ask the guest to
// close its standard streams.
func secrets(n int) []*sdk.Request {
	random := rand.New(rand.NewPCG(1, 2))
	requests := make([]*sdk.Request, n)
	for i := range requests {
		streams := [][]int{{}, {}, {0}, {2}, {0, 2}, {2, 2}, {0, 1, 2}}
		object, err := json.Marshal(map[string]any{
			"secret": fmt.Sprintf("secret-%d-%x", i, random.Uint64()),
			"close":  streams[random.IntN(len(streams))],
			"noise":  make([]int, random.IntN(300)),
		})
		if err != nil {
			panic(err) // strings and numbers
		}
		requests[i] = &sdk.Request{UID: fmt.Sprint(i), Operation: sdk.Create, Object: object}
	}
	return requests
}

// A guest that keeps what it can get hold of finds as much of earlier requests
// in an instance that was used before as in a new one: nothing.
func TestNoRequestSeesAnother(t *testing.T) {
	guests := map[string][]byte{
		"go-wasi":  guest(t, "hoard", sdktest.WASI),
		"go-wapc":  guest(t, "hoard", sdktest.WaPC),
		"wat-wasi": raw(t, "hoard", sdktest.WASI),
		"wat-wapc": raw(t, "hoard", sdktest.WaPC),
	}
	requests := secrets(300)
	for name, wasm := range guests {
		t.Run(name, func(t *testing.T) {
			fresh := start(t, wasm, runtime.ProgramOptions{Isolation: runtime.Fresh})
			kept := start(t, wasm, runtime.ProgramOptions{Isolation: runtime.Snapshot, Instances: 3})
			want := make([]answer, len(requests))
			got := make([]answer, len(requests))
			var all sync.WaitGroup
			for worker := range 4 {
				all.Go(func() {
					for i := worker; i < len(requests); i += 4 {
						got[i] = ask(t, kept, requests[i])
						want[i] = ask(t, fresh, requests[i])
					}
				})
			}
			all.Wait()
			different := map[string]bool{}
			for i := range requests {
				if diff := cmp.Diff(want[i], got[i]); diff != "" {
					t.Fatalf("request %s: (-new instance +used instance)\n%s", requests[i].Object[:60], diff)
				}
				different[fmt.Sprint(got[i])] = true
			}
			if len(different) < len(requests)/2 {
				t.Errorf("%d answers to %d requests: the guest tells nothing", len(different), len(requests))
			}
			t.Logf("for example: %.200v", got[0])
		})
	}
}

// More requests than one parked instance serves: it is renewed on the way.
func TestThousandsOfRequestsThroughOneInstance(t *testing.T) {
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		p := start(t, raw(t, "hoard", form), runtime.ProgramOptions{Isolation: runtime.Snapshot, Instances: 1})
		requests := secrets(2)
		want := []answer{ask(t, p, requests[0]), ask(t, p, requests[1])}
		if want[0].Err != "" || want[0].Verdict.Message == want[1].Verdict.Message {
			t.Fatalf("%s: answers %+v, want two that differ", form, want)
		}
		for i := range 5000 {
			if got := ask(t, p, requests[i%2]); got.Err != "" || got.Verdict.Message != want[i%2].Verdict.Message {
				t.Fatalf("%s: request %d: %+v, want %+v", form, i, got, want[i%2])
			}
		}
	}
}

func TestMemoryThatGrewIsReplaced(t *testing.T) {
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		p := start(t, raw(t, "raw", form), runtime.ProgramOptions{Isolation: runtime.Snapshot, Instances: 2})
		for i := range 200 {
			wish := []string{"~C", "~a"}[i%2]
			got := ask(t, p, &sdk.Request{Object: json.RawMessage(`"` + wish + `"`)})
			if got.Err != "" || !got.Verdict.Accepted {
				t.Fatalf("%s: request %d, %s: %+v", form, i, wish, got)
			}
		}
	}
}

// Requests that are given up at any moment, waiting, judged or just answered,
// cost the program none of its places.
func TestRequestsThatAreGivenUpLoseNothing(t *testing.T) {
	const instances = 3
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		// asks is what makes the guest ask the host.
		asks := map[sdktest.Form]string{sdktest.WASI: `"~A"`, sdktest.WaPC: `"~u"`}[form]
		host := &meeting{want: instances, start: make(chan struct{})}
		p := start(t, raw(t, "raw", form), runtime.ProgramOptions{Isolation: runtime.Snapshot, Instances: instances, Host: host})
		var all sync.WaitGroup
		for worker := range 32 {
			all.Go(func() {
				random := rand.New(rand.NewPCG(uint64(worker), 5))
				for range 40 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(3000))*time.Microsecond)
					v, err := p.Evaluate(ctx, &sdk.Request{Object: json.RawMessage([]string{`"~a"`, `"~H"`, `"~y"`, asks}[random.IntN(4)])})
					if err == nil && !v.Accepted {
						t.Errorf("%s: verdict %+v of a guest that never refuses", form, v)
					}
					cancel()
				}
			})
		}
		all.Wait()
		// All places can be had at once: the guests meet in the host.
		host.open.Store(true)
		met := make(chan answer, instances)
		for range instances {
			go func() { met <- ask(t, p, &sdk.Request{Object: json.RawMessage(asks)}) }()
		}
		for range instances {
			if got := <-met; got.Err != "" || !got.Verdict.Accepted {
				t.Errorf("%s: afterwards %+v; want %d guests to meet", form, got, instances)
			}
		}
	}
}

// meeting is a host that answers, once it is open, when enough guests ask.
type meeting struct {
	open  atomic.Bool
	here  atomic.Int32
	want  int32
	start chan struct{}
}

func (m *meeting) Call(ctx context.Context, _ sdk.HostCall) ([]byte, error) {
	if m.open.Load() && m.here.Add(1) == m.want {
		close(m.start)
	}
	select {
	case <-m.start:
		return []byte(`{"accepted":true}`), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
