package wasi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero/experimental"

	"github.com/warder-dev/warder/runtime/internal/guest"
	"github.com/warder-dev/warder/sdk"
)

// A parked instance is a command that waits inside fd_read for its request.
//
// It has read its settings, which come first, and asks for more. That read is
// answered with EINTR, after which the runtimes of Go and Rust read again (C's
// library does not, and gets a new instance for each request, which costs a
// program in C no more). In that second read the guest is parked: memory,
// globals and stack of this moment are the snapshot. A request wakes it up; when
// it exits, its answer is handed over, its memory and globals are taken back to
// the snapshot, and its stack to that fd_read, which answers EINTR once more.
// The guest reads again and is parked again, in a snapshot of that moment: a
// stack can be restored only once.
//
// The guest's _start runs in a goroutine of the instance's own, and everything
// that touches the instance happens there.
type parked struct {
	program *Program
	pool    *guest.Pool[*parked] // that it is of
	in      *guest.Instance
	jobs    chan *job
	ready   chan error // the first parking, or why there was none
	phase   phase
	prefix  []byte // what is left of the settings to read
	current *job
	uses    int
	counted bool        // the pool counts it, and is to be told when it dies
	reset   func() bool // ends the watch over a reset; false when it was too late

	snapshot *guest.State
	stack    experimental.Snapshot
}

type phase int

const (
	booting     phase = iota // reads the settings
	interrupted              // was told EINTR, should ask again
	running                  // judges a request
)

// maxUses is how many requests an instance serves before it is replaced. Each
// restored stack is 16 bytes longer than the one before (wazero aligns it
// anew), and copying it is part of each request: 2,048 × 16 = 32 KiB.
const maxUses = 2048

// job is one request for a parked instance.
type job struct {
	queue
	ctx  context.Context
	host sdk.Host
	stop func() bool
	done chan outcome
}

// errUnparkable says that a module cannot be kept in a snapshot.
var errUnparkable = errors.New("it does not ask for its request again after EINTR")

// park makes an instance and waits until it is parked.
func (p *Program) park(ctx context.Context, pool *guest.Pool[*parked]) (*parked, error) {
	in, err := p.module.New(ctx, "policy.wasm", "validate")
	if err != nil {
		return nil, failed(guest.StageInstantiate, err, "")
	}
	w := &parked{program: p, pool: pool, in: in, jobs: make(chan *job), ready: make(chan error, 1), prefix: p.prefix}
	in.OnExit = w.exit
	in.Protocol = w
	in.Begin(ctx, p.host, w)
	stop := in.Watch(ctx)
	p.instances.Add(1)
	ready := w.ready // live forgets it
	go w.live()
	if err := <-ready; err != nil {
		stop()
		return nil, failed(guest.StageInstantiate, err, "")
	}
	if !stop() {
		w.drop()
		return nil, failed(guest.StageInstantiate, context.Cause(ctx), "")
	}
	return w, nil
}

// drop ends a parked instance.
func (w *parked) drop() { close(w.jobs) }

// live runs the guest until it ends, which it does only to die.
func (w *parked) live() {
	defer w.program.instances.Done()
	ctx := experimental.WithSnapshotter(w.in.Life())
	_, err := w.in.Function("_start").Call(ctx)
	err = exited(w.in, err)
	if w.current != nil {
		w.finish(err)
	}
	if w.ready != nil {
		if exit := (*guest.Exit)(nil); err == nil || errors.As(err, &exit) {
			err = errUnparkable
		}
		w.ready <- err
	}
	switch {
	case w.counted && w.phase == interrupted:
		w.renew() // it died on its way back, where the pool waits for it
	case w.counted:
		w.pool.Lost()
	}
	if w.snapshot != nil {
		w.snapshot.Free()
	}
	w.in.Close()
}

// Push adds the answer of a host call to what the guest reads.
func (w *parked) Push(text []byte) {
	if w.current != nil {
		w.current.Push(text)
	}
}

// Read feeds the guest's standard input.
func (w *parked) Read(ctx context.Context, to []byte) (n int, restart bool) {
	switch {
	case w.phase == running:
		return w.current.Read(ctx, to)
	case len(w.prefix) > 0:
		n = copy(to, w.prefix)
		w.prefix = w.prefix[n:]
		return n, false
	case w.phase == booting:
		w.phase = interrupted
		return 0, true
	}
	w.wait(ctx)
	return w.current.Read(ctx, to)
}

// errDropped unwinds a guest that nobody needs any more.
var errDropped = errors.New("the instance was dropped")

// wait takes the snapshot and parks the guest until there is a request.
func (w *parked) wait(ctx context.Context) {
	if err := w.capture(); err != nil {
		w.renew()
		panic(err)
	}
	w.stack = experimental.GetSnapshotter(ctx).Snapshot()
	if w.ready != nil {
		w.counted = true
		w.ready <- nil
		w.ready = nil
	} else if !w.reset() {
		w.renew()
		panic(errDropped)
	} else {
		w.pool.Put(w)
	}
	next, ok := <-w.jobs
	if !ok {
		w.counted = false
		panic(errDropped)
	}
	w.phase, w.current = running, next
	w.uses++
	w.in.Begin(next.ctx, next.host, w)
	next.stop = w.in.Watch(next.ctx)
}

// renew asks the pool for another instance in the place of this one.
func (w *parked) renew() {
	if w.counted {
		w.counted = false
		w.pool.Renew()
	}
}

// capture makes the snapshot that of this moment.
func (w *parked) capture() (err error) {
	if w.snapshot == nil {
		w.snapshot, err = w.in.Capture()
		return err
	}
	return w.in.Update(w.snapshot)
}

// resetTimeout bounds the way of a guest from its snapshot to its next read,
// which is a few instructions unless it is up to no good.
const resetTimeout = time.Second

// exit is called when the guest leaves: its answer is handed over, and then,
// off the path of the request, the guest goes back to its snapshot.
func (w *parked) exit(_ context.Context, code uint32) {
	if w.phase != running {
		return // it dies before it was asked
	}
	var err error
	if code != 0 {
		err = &guest.Exit{Code: code}
	}
	w.pool.Returning()
	if !w.finish(err) || w.uses >= maxUses || w.in.Restore(w.snapshot) != nil {
		w.renew()
		return
	}
	w.phase = interrupted
	limit, cancel := context.WithTimeout(context.Background(), resetTimeout)
	w.in.Begin(limit, nil, w)
	stop := w.in.Watch(limit)
	w.reset = func() bool { defer cancel(); return stop() }
	w.stack.Restore([]uint64{errnoIntr})
}

// errnoIntr is EINTR. Source: wasi_snapshot_preview1, $errno.
const errnoIntr = 27

// finish hands the outcome of the current job over and reports whether the
// instance can serve another one.
func (w *parked) finish(err error) bool {
	done := w.current
	w.current = nil
	alive := done.stop()
	if err != nil && w.phase == running && !alive && done.ctx.Err() != nil {
		err = context.Cause(done.ctx)
	}
	done.done <- outcome{bytes.Clone(w.in.Stdout()), bytes.Clone(w.in.Stderr()), err}
	return alive
}

// ask wakes up a parked instance for one request.
func (p *Program) ask(ctx context.Context, input []byte) (outcome, error) {
	w, err := p.pool.Get(ctx)
	if err != nil {
		if f := (*Failure)(nil); errors.As(err, &f) {
			return outcome{}, f
		}
		return outcome{}, failed(guest.StageInstantiate, err, "")
	}
	return w.judge(ctx, p.host, input), nil
}

func (w *parked) judge(ctx context.Context, host sdk.Host, input []byte) outcome {
	j := &job{queue: queue{text: input}, ctx: ctx, host: host, done: make(chan outcome, 1)}
	w.jobs <- j
	return <-j.done
}

// probe asks an instance from a snapshot twice and a new one once, with a
// request that is nobody's and no host to ask, and says why the snapshots cannot be trusted.
func (p *Program) probe(ctx context.Context) string {
	w, err := p.pool.Get(ctx)
	if err != nil {
		return cause(err)
	}
	input := append(probeRequest().AppendJSON(nil), '}')
	first := w.judge(ctx, nil, input)
	if w, err = p.pool.Get(ctx); err != nil {
		return cause(err)
	}
	second := w.judge(ctx, nil, input)
	fresh, err := p.run(ctx, nil, "validate", append(bytes.Clone(p.prefix), input...))
	if err != nil {
		return cause(err)
	}
	if !first.equal(fresh) || !second.equal(fresh) {
		return "its answer from a snapshot is not that of a new instance"
	}
	return ""
}

func cause(err error) string {
	if f := (*Failure)(nil); errors.As(err, &f) && f.Err != nil {
		return f.Err.Error()
	}
	return err.Error()
}

func (o outcome) equal(other outcome) bool {
	return bytes.Equal(o.stdout, other.stdout) && bytes.Equal(o.stderr, other.stderr) &&
		fmt.Sprint(o.err) == fmt.Sprint(other.err)
}

// probeRequest is a pod that most policies have something to say about.
func probeRequest() *sdk.Request {
	return &sdk.Request{
		UID:       "warder-probe",
		Kind:      sdk.GroupVersionKind{Version: "v1", Kind: "Pod"},
		Resource:  sdk.GroupVersionResource{Version: "v1", Resource: "pods"},
		Name:      "probe",
		Namespace: "default",
		Operation: sdk.Create,
		UserInfo:  sdk.UserInfo{Username: "warder:probe"},
		Object: json.RawMessage(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"probe","namespace":"default",` +
			`"labels":{"app":"probe"}},"spec":{"containers":[{"name":"probe","image":"registry.example/probe:1.0",` +
			`"securityContext":{"privileged":true}}]}}`),
	}
}
