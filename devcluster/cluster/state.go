package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// State is what a folder says of its cluster, the last one if none runs.
type State struct {
	Port int          `json:"port"`
	PID  int          `json:"pid"`            // of the process that started it
	PIDs map[Part]int `json:"pids,omitempty"` // of its components
	// Running says that it is up. It is never read from the file.
	Running bool `json:"-"`
}

// InUseError reports that a cluster runs on the folder.
type InUseError struct{ Dir string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("%s is in use: a cluster runs on it", e.Dir)
}

func statePath(dir string) string { return filepath.Join(dir, "state.json") }

// KubeconfigPath is where the cluster on dir has its kubeconfig.
func KubeconfigPath(dir string) string { return filepath.Join(dir, "kubeconfig") }

// ReadState says whether a cluster runs on dir, and which. The error is
// fs.ErrNotExist if there never was one.
func ReadState(dir string) (State, error) {
	text, err := os.ReadFile(statePath(dir))
	if err != nil {
		return State{}, err
	}
	var s State
	if err := json.Unmarshal(text, &s); err != nil {
		return State{}, fmt.Errorf("%s: %w", statePath(dir), err)
	}
	s.Running = s.PID != 0 && held(dir)
	return s, nil
}

func (c *Cluster) writeState() error {
	s := State{Port: c.port, PID: os.Getpid(), PIDs: map[Part]int{}}
	for _, part := range c.parts() {
		p := c.running(part)
		if p == nil && part == c.parts()[len(c.parts())-1] {
			return nil // it is still starting: not up yet
		}
		if p != nil {
			s.PIDs[part] = p.cmd.Process.Pid
		}
	}
	return saveState(c.dir, s)
}

// removeState keeps the port alone, for the next time.
func removeState(dir string) error {
	s, err := ReadState(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return saveState(dir, State{Port: s.Port})
}

func saveState(dir string, s State) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return writeFile(statePath(dir), text)
}

// lock takes the folder. The kernel gives it back when we end, however that is;
// so no file has to be believed. Somebody who only looks has it for an instant,
// hence more than one attempt.
func lock(ctx context.Context, dir string) (*os.File, error) {
	f, err := openLock(dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err = poll(ctx, func(context.Context) error {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return notYet(&InUseError{Dir: dir})
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// held says whether somebody has the folder.
func held(dir string) bool {
	f, err := openLock(dir)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // gives back what we may have got
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

func openLock(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
}

// Delete deletes all that a cluster which is down left in dir. Of a folder that
// never was a cluster's it deletes nothing.
func Delete(dir string) error {
	state, err := ReadState(dir)
	if err != nil {
		return err
	}
	if state.Running {
		return &InUseError{Dir: dir}
	}
	return os.RemoveAll(dir)
}
