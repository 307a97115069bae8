package guest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hostPage is the unit in which the kernel tells what was touched: 4 KiB on
// the machines we know, whatever the true page size (a larger true page only
// makes neighbours look touched together).
const hostPage = 4096

// maxKeptPages bounds how many touched pages an instance keeps between two
// requests, 1024 × 4 KiB = 4 MiB. To find and copy back 1,000 pages costs 0.4 µs
// each, 10 pages 2.8 µs each, most of it for reading the pagemap; to give them to
// the kernel and fault them in again costs 4 to 13 µs each (BenchmarkReset, on a
// busy 2-core virtual machine). The bound is there for memory, not for time: one
// large request shall not make an instance large for ever.
const maxKeptPages = 1024

// linear is the linear memory of one instance: a reservation of address space
// of the largest size it may have, so that it never moves. It implements
// wazero's experimental.LinearMemory.
//
// Before a snapshot it is ordinary zeroed memory. After capture or attach, its
// first image.file bytes are a private mapping of the image, and the rest is
// untouched: what the kernel then says was written to is what a request has
// changed.
type linear struct {
	reserved []byte
	size     int // in bytes, as the guest sees it
	pagemap  *os.File
	entries  []byte // scratch for the pagemap
	dirty    []int  // scratch: pages written to
}

// image is the content of a linear memory at one moment. Several instances may
// be attached to it; then it must not be updated.
type image struct {
	fd   int
	view []byte // shared mapping of the file, the pages up to the last non-zero one
	size int    // of the linear memory, bytes
}

func newLinear(limit uint64, pagemap *os.File) (*linear, error) {
	if limit == 0 {
		return &linear{pagemap: pagemap}, nil
	}
	reserved, err := unix.Mmap(-1, 0, int(limit), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of memory: %w", limit, err)
	}
	// Huge pages would make one touched byte cost 2 MiB.
	_ = unix.Madvise(reserved, unix.MADV_NOHUGEPAGE) // a kernel without them refuses, and needs no advice
	return &linear{reserved: reserved, pagemap: pagemap}, nil
}

// openPagemap opens what tells touched pages, nil where the kernel does not.
func openPagemap() *os.File {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil
	}
	return f
}

// Reallocate implements experimental.LinearMemory. Nil is "no more".
func (l *linear) Reallocate(size uint64) []byte {
	if size > uint64(len(l.reserved)) {
		return nil
	}
	l.size = int(size)
	return l.reserved[:size:len(l.reserved)]
}

// Free implements experimental.LinearMemory.
func (l *linear) Free() {
	if l.reserved != nil {
		_ = unix.Munmap(l.reserved) // the mapping is ours: it cannot fail
	}
	l.reserved, l.size = nil, 0
}

func (i *image) free() {
	if i.view != nil {
		_ = unix.Munmap(i.view)
	}
	if i.fd >= 0 {
		_ = unix.Close(i.fd)
	}
	i.view, i.fd = nil, -1
}

// capture makes an image of the memory as it is and attaches the memory to it.
func (l *linear) capture() (*image, error) {
	last := l.size
	for last > 0 && isZero(l.reserved[max(0, last-hostPage):last]) {
		last -= hostPage
	}
	last = max(last, hostPage)
	if last > l.size {
		return nil, errors.New("the module has no memory")
	}
	fd, err := unix.MemfdCreate("warder-snapshot", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	img := &image{fd: fd, size: l.size}
	if err := unix.Ftruncate(fd, int64(last)); err != nil {
		img.free()
		return nil, fmt.Errorf("memfd: size %d: %w", last, err)
	}
	if img.view, err = unix.Mmap(fd, 0, last, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		img.free()
		return nil, fmt.Errorf("memfd: map: %w", err)
	}
	for at := 0; at < last; at += hostPage {
		if page := l.reserved[at : at+hostPage]; !isZero(page) {
			copy(img.view[at:], page)
		}
	}
	if err := l.attach(img); err != nil {
		img.free()
		return nil, err
	}
	return img, nil
}

// attach makes the memory what the image is. Its size must be the image's.
func (l *linear) attach(img *image) error {
	if l.size != img.size {
		return fmt.Errorf("memory of %d bytes does not fit a snapshot of %d", l.size, img.size)
	}
	base := unsafe.Pointer(unsafe.SliceData(l.reserved))
	file := len(img.view)
	if _, err := unix.MmapPtr(img.fd, 0, base, uintptr(file), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_FIXED); err != nil {
		return fmt.Errorf("snapshot: map: %w", err)
	}
	if file < len(l.reserved) {
		if err := unix.Madvise(l.reserved[file:], unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("snapshot: release: %w", err)
		}
	}
	return nil
}

// Bits of an entry of /proc/self/pagemap.
// Source: Documentation/admin-guide/mm/pagemap.rst of Linux.
const (
	pagePresent = 1 << 63
	pageSwapped = 1 << 62
	pageOfFile  = 1 << 61
)

// written returns the pages that were written to since the memory was attached,
// in ascending order. ok is false where the kernel does not tell.
func (l *linear) written() (pages []int, ok bool) {
	if l.pagemap == nil || os.Getpagesize() != hostPage {
		return nil, false
	}
	count := l.size / hostPage
	if cap(l.entries) < count*8 {
		l.entries = make([]byte, count*8)
	}
	entries := l.entries[:count*8]
	first := int64(uintptr(unsafe.Pointer(unsafe.SliceData(l.reserved))) / hostPage)
	if _, err := l.pagemap.ReadAt(entries, first*8); err != nil {
		return nil, false
	}
	l.dirty = l.dirty[:0]
	for i := range count {
		e := binary.NativeEndian.Uint64(entries[i*8:])
		if e&(pagePresent|pageSwapped) != 0 && e&pageOfFile == 0 {
			l.dirty = append(l.dirty, i)
		}
	}
	return l.dirty, true
}

// restore makes the memory what the image is again. It must have the image's
// size.
func (l *linear) restore(img *image) error {
	if l.size != img.size {
		return errGrown
	}
	pages, ok := l.written()
	if !ok || len(pages) > maxKeptPages {
		if err := unix.Madvise(l.reserved, unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("snapshot: release: %w", err)
		}
		return nil
	}
	for _, page := range pages {
		at := page * hostPage
		if at < len(img.view) {
			copy(l.reserved[at:at+hostPage], img.view[at:])
		} else {
			clear(l.reserved[at : at+hostPage])
		}
	}
	return nil
}

// update makes the image what the memory is, which nobody else is attached to.
func (l *linear) update(img *image) error {
	if l.size != img.size {
		return errGrown
	}
	pages, ok := l.written()
	if !ok {
		pages = l.dirty[:0]
		for page := range l.size / hostPage {
			pages = append(pages, page)
		}
	}
	for _, page := range pages {
		at := page * hostPage
		now := l.reserved[at : at+hostPage]
		switch {
		case at >= len(img.view):
			if !isZero(now) {
				return errGrown // the image would need another page
			}
		case !bytes.Equal(now, img.view[at:at+hostPage]):
			copy(img.view[at:at+hostPage], now)
		}
	}
	return nil
}
