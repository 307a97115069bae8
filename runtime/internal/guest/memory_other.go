//go:build !linux

package guest

import (
	"errors"
	"os"
)

// linear is the linear memory of one instance where the kernel has no memfd:
// an ordinary slice, restored by copying all of it.
type linear struct {
	buffer []byte
	size   int
	limit  uint64
}

type image struct {
	view []byte
	size int
}

func newLinear(limit uint64, _ *os.File) (*linear, error) { return &linear{limit: limit}, nil }

func openPagemap() *os.File { return nil }

// Reallocate implements experimental.LinearMemory. Nil is "no more".
func (l *linear) Reallocate(size uint64) []byte {
	if size > l.limit {
		return nil
	}
	if size > uint64(cap(l.buffer)) {
		grown := make([]byte, size, min(l.limit, size+size/2))
		copy(grown, l.buffer[:l.size])
		l.buffer = grown
	}
	l.size = int(size)
	return l.buffer[:size]
}

// Free implements experimental.LinearMemory.
func (l *linear) Free() { l.buffer, l.size = nil, 0 }

func (i *image) free() { i.view = nil }

func (l *linear) capture() (*image, error) {
	if l.size == 0 {
		return nil, errors.New("the module has no memory")
	}
	last := l.size
	for last > 0 && l.buffer[last-1] == 0 {
		last--
	}
	return &image{view: append([]byte(nil), l.buffer[:last]...), size: l.size}, nil
}

func (l *linear) attach(img *image) error { return l.restore(img) }

func (l *linear) restore(img *image) error {
	if l.size != img.size {
		return errGrown
	}
	n := copy(l.buffer, img.view)
	clear(l.buffer[n:l.size])
	return nil
}

func (l *linear) update(img *image) error {
	if l.size != img.size || !isZero(l.buffer[len(img.view):l.size]) {
		return errGrown
	}
	copy(img.view, l.buffer)
	return nil
}
