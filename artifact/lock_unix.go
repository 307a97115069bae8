//go:build unix

package artifact

import (
	"errors"
	"os"
	"syscall"
)

// The kinds of lock on a file, which the kernel takes back when its holder is
// killed.
const (
	lockShared = syscall.LOCK_SH // for who writes
	lockAlone  = syscall.LOCK_EX // waits until nobody writes
	lockIfFree = syscall.LOCK_EX | syscall.LOCK_NB
)

// lock takes a lock on a file, which it makes. It is nil when lockIfFree cannot
// be had. Where the file system has no locks it does as if.
func lock(file string, kind int) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), kind)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return nil, f.Close()
		}
		return func() { _ = f.Close() }, nil
	}
}

// syncDir makes the names in a folder survive a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // this file system does it by itself
	}
	return errors.Join(err, d.Close())
}
