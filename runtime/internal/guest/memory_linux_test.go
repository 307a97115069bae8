package guest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// everything is a copy of an instance's memory.
func everything(t testing.TB, in *Instance) []byte {
	t.Helper()
	text, ok := in.Memory().Read(0, in.Memory().Size())
	if !ok {
		t.Fatal("memory cannot be read")
	}
	return bytes.Clone(text)
}

// spoil writes to n pages of 4 KiB, from the given one on.
func spoil(t testing.TB, in *Instance, from, n int) {
	t.Helper()
	for page := from; page < from+n; page++ {
		if !in.Memory().WriteUint64Le(uint32(page*hostPage+page%hostPage&^7), 0xdeadbeef+uint64(page)) {
			t.Fatal("page outside memory")
		}
	}
}

func TestRestoreTakesBackWhateverWasWritten(t *testing.T) {
	for _, kernel := range []string{"tells what was written", "does not tell"} {
		t.Run(kernel, func(t *testing.T) {
			in := instance(t, load(t, "memory"))
			if _, ok := in.Memory().Grow(128); !ok {
				t.Fatal("no memory")
			}
			spoil(t, in, 3, 40) // initialisation
			state, err := in.Capture()
			if err != nil {
				t.Fatal(err)
			}
			defer state.Free()
			if kernel != "tells what was written" {
				in.memory.pagemap = nil
			}
			want := everything(t, in)
			pages := len(want) / hostPage
			random := rand.New(rand.NewPCG(3, 4))
			for round := range 60 {
				n := []int{0, 1, 17, maxKeptPages, maxKeptPages + 1, pages}[round%6]
				spoil(t, in, random.IntN(pages-n+1), n)
				if err := in.Restore(state); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(everything(t, in), want) {
					t.Fatalf("round %d: %d pages: memory is not that of the snapshot", round, n)
				}
			}
		})
	}
}

func TestAttachMakesAnotherInstanceTheSame(t *testing.T) {
	a, b := instance(t, load(t, "memory")), instance(t, load(t, "memory"))
	if _, ok := a.Memory().Grow(10); !ok {
		t.Fatal("no memory")
	}
	spoil(t, a, 100, 100)
	state, err := a.Capture()
	if err != nil {
		t.Fatal(err)
	}
	want := everything(t, a)
	spoil(t, b, 0, 256) // what b was before does not matter
	if err := b.Attach(state); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(everything(t, b), want) {
		t.Error("the second instance is not what the first was")
	}
	spoil(t, b, 0, 300)
	if !bytes.Equal(everything(t, a), want) {
		t.Error("what one instance writes is seen by the other")
	}
	state.Free() // those attached keep what they have
	if !bytes.Equal(everything(t, a), want) {
		t.Error("the memory went with the snapshot")
	}
}

func TestSnapshotOfAMemoryThatGrew(t *testing.T) {
	in := instance(t, load(t, "memory"))
	state, err := in.Capture()
	if err != nil {
		t.Fatal(err)
	}
	defer state.Free()
	if _, ok := in.Memory().Grow(1); !ok {
		t.Fatal("no memory")
	}
	if err := in.Restore(state); !errors.Is(err, errGrown) {
		t.Errorf("Restore: error %v, want %v", err, errGrown)
	}
	if err := in.Update(state); !errors.Is(err, errGrown) {
		t.Errorf("Update: error %v, want %v", err, errGrown)
	}
	if err := in.Attach(state); err == nil {
		t.Error("Attach takes a memory that is larger than the snapshot")
	}
}

func TestUpdateMovesTheSnapshot(t *testing.T) {
	for _, kernel := range []string{"tells what was written", "does not tell"} {
		in := instance(t, load(t, "memory"))
		spoil(t, in, 0, 200) // the image ends after page 199
		state, err := in.Capture()
		if err != nil {
			t.Fatal(err)
		}
		defer state.Free()
		if kernel != "tells what was written" {
			in.memory.pagemap = nil
		}
		spoil(t, in, 7, 3)
		in.Memory().WriteUint64Le(8*hostPage, 42)
		want := everything(t, in)
		if err := in.Update(state); err != nil {
			t.Fatal(err)
		}
		spoil(t, in, 0, 256)
		if err := in.Restore(state); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(everything(t, in), want) {
			t.Errorf("the kernel %s: memory is not what it was at Update", kernel)
		}
		in.Memory().WriteUint64Le(250*hostPage, 1)
		if err := in.Update(state); !errors.Is(err, errGrown) {
			t.Errorf("content past the image: error %v, want %v", err, errGrown)
		}
	}
}

func TestMemoryThatIsAllZero(t *testing.T) {
	in := instance(t, load(t, "memory"))
	in.Memory().Write(0, make([]byte, 80_000))
	state, err := in.Capture()
	if err != nil {
		t.Fatal(err)
	}
	defer state.Free()
	spoil(t, in, 0, 20)
	if err := in.Restore(state); err != nil || !isZero(everything(t, in)) {
		t.Errorf("memory is not zero again, error %v", err)
	}
}

// BenchmarkReset is what it costs to take touched pages back and have the next
// request touch them again: copied back, or given to the kernel and faulted in.
func BenchmarkReset(b *testing.B) {
	for _, pages := range []int{10, 100, 1000} {
		for _, way := range []string{"copy", "release"} {
			b.Run(fmt.Sprintf("%s/%d-pages", way, pages), func(b *testing.B) {
				memory, img := benchMemory(b)
				defer memory.Free()
				defer img.free()
				for b.Loop() {
					for page := range pages {
						memory.reserved[page*hostPage+8] = 1
					}
					if way == "copy" {
						if err := memory.restore(img); err != nil {
							b.Fatal(err)
						}
					} else if err := unix.Madvise(memory.reserved, unix.MADV_DONTNEED); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pages), "ns/page")
			})
		}
	}
}

// benchMemory is a memory of 8 MiB in a reservation of 256 MiB, with 6 MiB of
// content.
func benchMemory(b *testing.B) (*linear, *image) {
	b.Helper()
	pagemap := openPagemap()
	b.Cleanup(func() { pagemap.Close() })
	memory, err := newLinear(256<<20, pagemap)
	if err != nil {
		b.Fatal(err)
	}
	memory.Reallocate(8 << 20)
	for at := 0; at < 6<<20; at += 512 {
		memory.reserved[at] = 7
	}
	img, err := memory.capture()
	if err != nil {
		b.Fatal(err)
	}
	return memory, img
}
