package admission

import (
	"context"
	"crypto/sha256"
	"io"
	"os"
	"time"
)

// watch knows what files had in them.
type watch struct {
	files []string
	seen  [sha256.Size]byte
}

func newWatch(files []string) *watch {
	w := &watch{files: files}
	w.seen = w.sum()
	return w
}

// run calls changed each time the content of one of the files is another than
// before, until ctx is done. It looks every so often (default 1 s) and compares
// what it reads, so that it sees what Kubernetes does to the files of a volume: a
// symlink to their folder is swapped, and none of them is written. A file that
// appears or goes away has changed too. What counts as before is what they had
// when newWatch was called.
func (w *watch) run(ctx context.Context, every time.Duration, changed func()) {
	if every <= 0 {
		every = time.Second
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if now := w.sum(); now != w.seen {
				w.seen = now
				changed()
			}
		}
	}
}

// sum is a hash of the hashes of all files; one that cannot be read has none.
func (w *watch) sum() (all [sha256.Size]byte) {
	h := sha256.New()
	for _, name := range w.files {
		content := sha256.New()
		if f, err := os.Open(name); err == nil {
			_, err = io.Copy(content, f)
			_ = f.Close() // only read
			if err == nil {
				h.Write(content.Sum(nil))
			}
		}
		h.Write([]byte{0})
	}
	copy(all[:], h.Sum(nil))
	return all
}
