//go:build linux

package runtime_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// holdings is what instances hold of the process.
type holdings struct {
	goroutines, files int
	images            int    // mappings of snapshots
	reserved          uint64 // KiB of linear memories: mappings without swap space or huge pages
}

func measure(t *testing.T) (h holdings) {
	t.Helper()
	h.goroutines = goruntime.NumGoroutine()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	h.files = len(files)
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	var size uint64
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		line := lines.Text()
		switch {
		case strings.Contains(line, "memfd:warder-snapshot"):
			h.images++
		case strings.HasPrefix(line, "Size:"):
			if _, err := fmt.Sscanf(line, "Size: %d kB", &size); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(line, "VmFlags:") && strings.Contains(line+" ", " nr ") && strings.Contains(line+" ", " nh "):
			h.reserved += size
		}
	}
	return h
}

// settle waits until what is held is no more than want, and returns it.
func settle(t *testing.T, want holdings) (h holdings) {
	t.Helper()
	for range 100 {
		goruntime.GC()
		h = measure(t)
		if h.goroutines <= want.goroutines && h.files <= want.files && h.images <= want.images && h.reserved <= want.reserved {
			return h
		}
		<-time.After(20 * time.Millisecond) // the kernel has no event for it
	}
	return h
}

// steady returns what is held once it no longer changes.
func steady(t *testing.T) holdings {
	t.Helper()
	last := measure(t)
	for same := 0; same < 3; {
		<-time.After(10 * time.Millisecond)
		goruntime.GC()
		now := measure(t)
		if same++; now != last {
			same = 0
		}
		last = now
	}
	return last
}

func TestNothingIsLeftOfAProgram(t *testing.T) {
	c := compiler(t)
	run := func(wasm []byte, isolation runtime.Isolation) {
		m := compile(t, c, wasm)
		defer m.Close()
		p := m.program(t, runtime.ProgramOptions{Isolation: isolation, Host: dns{}})
		defer p.Close()
		if held := measure(t); isolation == runtime.Snapshot && (held.images == 0 || held.reserved == 0) {
			t.Skipf("a program with an instance holds %+v: this kernel does not tell", held)
		}
		for _, what := range []string{"ok", "panic", "exit-0", "allocate", "huge-output"} {
			_, _ = p.Evaluate(bounded(t), do(what)) // TestMisbehaviour looks at the errors
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, _ = p.Evaluate(ctx, do("loop"))
		_, _ = p.Evaluate(ctx, do("ok")) // its time is up already
	}
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		wasm := guest(t, "misbehave", form)
		for _, isolation := range []runtime.Isolation{runtime.Snapshot, runtime.Fresh} {
			run(wasm, isolation) // what is loaded once is loaded
			before := steady(t)
			run(wasm, isolation)
			after := settle(t, before)
			if after.goroutines > before.goroutines || after.files > before.files ||
				after.images > before.images || after.reserved > before.reserved {
				t.Errorf("%s %s: held %+v before and %+v after", form, isolation, before, after)
			}
		}
	}
}

func TestNothingIsLeftOfWhatDoesNotStart(t *testing.T) {
	c := compiler(t)
	run := func(name string, form sdktest.Form) {
		m := compile(t, c, raw(t, name, form))
		defer m.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		var err error
		if m.wapc != nil {
			_, err = m.wapc.NewProgram(ctx, runtime.ProgramOptions{})
		} else {
			_, err = m.wasi.NewProgram(ctx, runtime.ProgramOptions{})
		}
		if err == nil {
			t.Errorf("%s starts", name)
		}
	}
	for name, form := range map[string]sdktest.Form{
		"data_outside": sdktest.WaPC, "init_loop": sdktest.WaPC, "init_trap": sdktest.WaPC, "wrong_call": sdktest.WaPC,
		"section_loop": sdktest.WASI, "start_loop": sdktest.WASI, "start_param": sdktest.WASI,
	} {
		run(name, form)
		before := steady(t)
		for range 3 {
			run(name, form)
		}
		after := settle(t, before)
		if after.goroutines > before.goroutines || after.files > before.files || after.reserved > before.reserved {
			t.Errorf("%s: held %+v before and %+v after", name, before, after)
		}
	}
}

func TestInstancesAreBounded(t *testing.T) {
	const instances, limit = 2, 24 << 10 // KiB, of compiler
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		before := steady(t)
		p := start(t, raw(t, "raw", form), runtime.ProgramOptions{Isolation: runtime.Snapshot, Instances: instances})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for i := range 100 {
					wish := []string{`"~a"`, `"~y"`, `"~C"`, `"~a"`}[i%4] // accept, trap, grow
					_, _ = p.Evaluate(bounded(t), &sdk.Request{Object: json.RawMessage(wish)})
				}
			})
		}
		all.Wait()
		held := steady(t)
		if more := held.reserved - before.reserved; more > instances*limit {
			t.Errorf("%s: %d KiB of memory for %d instances of %d KiB", form, more, instances, limit)
		}
		if more := held.files - before.files; more > instances+1 { // the compiler's pagemap
			t.Errorf("%s: %d more files for %d instances", form, more, instances)
		}
	}
}
