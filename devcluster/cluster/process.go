package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// stopTimeout is how long a component may take to end when it is asked to.
const stopTimeout = 20 * time.Second

// process is one component, as a child of ours.
type process struct {
	part Part
	cmd  *exec.Cmd
	// lifeline is what the child reads from: when we die, however we do, it
	// reads the end and dies too.
	lifeline io.Closer
	log      string
	expected atomic.Bool   // its end was asked for
	done     chan struct{} // closed when it has ended
	err      error         // how it ended; only to be read after done
}

// command is what to start.
type command struct {
	binary string
	part   Part
	args   []string
	dir    string // where logs go and the process runs
}

// start starts c. Its log is appended to a file below dir.
func (c command) start() (*process, error) {
	logFile := filepath.Join(c.dir, string(c.part)+".log")
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	cmd := exec.Command(c.binary, append([]string{string(c.part)}, c.args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, log, log
	cmd.Env = withoutProxy(os.Environ())
	// In a group of its own it is not the terminal that stops it on ^C, but
	// us, one after the other.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.part, err)
	}
	p := &process{part: c.part, cmd: cmd, lifeline: lifeline, log: logFile, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// withoutProxy drops what would send requests to webhooks through a proxy.
func withoutProxy(env []string) []string {
	var kept []string
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		switch strings.ToUpper(name) {
		case "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY":
		default:
			kept = append(kept, v)
		}
	}
	return kept
}

// ended says that the process is gone, and nobody wanted it to.
func (p *process) ended() error {
	return &EndedError{Part: p.part, Log: p.log, Err: p.err}
}

// stop asks the process to end, and kills it when it does not within
// stopTimeout or until ctx is done.
func (p *process) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	p.expected.Store(true)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.part, err)
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return p.kill()
	}
}

// kill ends the process as kill -9 does, and returns when it is gone.
func (p *process) kill() error {
	p.expected.Store(true)
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.part, err)
	}
	<-p.done
	return nil
}

// EndedError reports that a component ended by itself.
type EndedError struct {
	Part Part
	Log  string // the file that it logged to
	Err  error  // nil when it ended with code 0
}

func (e *EndedError) Error() string {
	how := "exit status 0"
	if e.Err != nil {
		how = e.Err.Error()
	}
	text := fmt.Sprintf("%s ended: %s; its log is %s", e.Part, how, e.Log)
	if last := lastLine(e.Log); last != "" {
		text += ", which ends with: " + last
	}
	return text
}

func (e *EndedError) Unwrap() error { return e.Err }

// lastLine is the last line of a log that says something, for a person to read.
func lastLine(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // it was only read
	const tail = 8 << 10
	if info, err := f.Stat(); err == nil && info.Size() > tail {
		if _, err := f.Seek(-tail, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
