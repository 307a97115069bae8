package rego

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/tetratelabs/wazero/api"

	"github.com/warder-dev/warder/runtime/internal/guest"
)

// edition is instances with one data document in them, and the snapshot that
// they go back to.
type edition struct {
	program   *Program
	snapshot  *guest.State
	pool      *guest.Pool[*instance]
	data      uint64    // address of the document, 0 without
	inventory []listing // what is in it, without the lists
	number    int64     // how many were begun before it

	// Held by the program's mu.
	users   int
	retired bool // there is a later one; the last user closes it
}

// newEdition makes an edition of an instance, which becomes its first. Without
// data the document is to come with each request. The instance is used up,
// whatever the outcome.
func (p *Program) newEdition(ctx context.Context, first *instance, data []byte) (e *edition, err error) {
	defer func() {
		if err != nil {
			first.in.Close()
		}
	}()
	e = &edition{program: p}
	if err := e.fill(ctx, first, data); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx) // the instance may have been stopped at the last moment
	}
	if e.snapshot, err = first.in.Capture(); err != nil {
		return nil, &snapshotError{err}
	}
	e.pool = &guest.Pool[*instance]{Make: e.attached, Drop: func(i *instance) { i.in.Close() }, Max: p.opts.Instances}
	e.pool.Adopt(first)
	return e, nil
}

// snapshotError says that the system gives no snapshot.
type snapshotError struct{ err error }

func (e *snapshotError) Error() string { return e.err.Error() }
func (e *snapshotError) Unwrap() error { return e.err }

func (e *edition) fill(ctx context.Context, first *instance, data []byte) (err error) {
	defer first.begin(ctx)()
	if data != nil {
		if e.data, err = first.put("opa_json_parse", data); err != nil {
			return fmt.Errorf("data: %w", err)
		}
	}
	return first.widen()
}

// attached makes an instance from the snapshot, without running anything.
func (e *edition) attached(ctx context.Context) (*instance, error) {
	i, err := e.program.instantiate(ctx)
	if err != nil {
		return nil, err
	}
	if err := i.in.Attach(e.snapshot); err != nil {
		i.in.Close()
		return nil, err
	}
	return i, nil
}

// ask has an instance of the pool judge. Data that is not nil is loaded first.
func (e *edition) ask(ctx context.Context, data, input []byte) ([]byte, error) {
	i, err := e.pool.Get(ctx)
	if err != nil {
		return nil, e.program.failed(ctx, guest.StageInstantiate, err)
	}
	result, err := e.program.judge(ctx, i, documents{e.data, data, input})
	if i.dead {
		i.in.Close()
		e.pool.Lost()
		return result, err
	}
	e.pool.Later(func() {
		if i.in.Restore(e.snapshot) == nil {
			e.pool.Put(i)
			return
		}
		i.in.Close()
		e.pool.Renew()
	})
	return result, err
}

func (e *edition) close() {
	e.pool.Close()
	e.snapshot.Free()
}

// instantiate makes an instance that has run nothing but its start function.
func (p *Program) instantiate(ctx context.Context) (*instance, error) {
	in, err := p.module.New(ctx)
	if err != nil {
		return nil, p.failed(ctx, guest.StageInstantiate, err)
	}
	i := &instance{in: in, functions: map[string]api.Function{}, dump: "opa_json_dump", parse: "opa_json_parse"}
	if p.module.Layout.Has("opa_value_dump") && p.module.Layout.Has("opa_value_parse") {
		i.dump, i.parse = "opa_value_dump", "opa_value_parse"
	}
	in.Protocol = i
	return i, nil
}

// documents are what an instance judges.
type documents struct {
	loaded uint64 // address of the data document
	data   []byte // or the document itself
	input  []byte
}

// judge has one instance judge. The error is a *Failure.
func (p *Program) judge(ctx context.Context, i *instance, d documents) ([]byte, error) {
	e := &evaluation{ctx: ctx, log: p.opts.Log, builtins: p.builtins, strays: &p.strays, limit: i.in.Options().OutputLimit}
	defer e.end()
	end := i.begin(ctx)
	result, err := i.judge(e, d)
	end()
	if err != nil {
		i.dead = true
		return nil, p.failed(ctx, guest.StageCall, err)
	}
	return result, nil
}

// once has an instance judge that is made for it.
func (p *Program) once(ctx context.Context, data, input []byte) ([]byte, error) {
	i, err := p.instantiate(ctx)
	if err != nil {
		return nil, err
	}
	defer i.in.Close()
	return p.judge(ctx, i, documents{data: data, input: input})
}

// ask finds the instances to judge with. The error is a *Failure.
func (p *Program) ask(ctx context.Context, input []byte) ([]byte, error) {
	switch {
	case p.document != nil && p.base != nil:
		return p.base.ask(ctx, nil, input)
	case p.document != nil:
		return p.once(ctx, p.document, input)
	}
	inventory, err := p.gather(ctx)
	if err != nil {
		return nil, p.blind(ctx, err)
	}
	if p.base != nil && sameRevisions(inventory, inventory) {
		e, err := p.edition(ctx, inventory)
		if err != nil {
			return nil, err
		}
		defer p.leave(e)
		return e.ask(ctx, nil, input)
	}
	data, err := p.data(inventory)
	switch {
	case err != nil:
		return nil, p.blind(ctx, err)
	case p.base != nil:
		return p.base.ask(ctx, data, input)
	}
	return p.once(ctx, data, input)
}

// edition returns the edition of an inventory, to be left. Whoever finds none
// makes it, one at a time: those who wait take what was begun after they came,
// even when the cluster has changed again meanwhile. So an inventory that
// changes all the time costs a request the making of two editions at most, and
// all that wait share them.
func (p *Program) edition(ctx context.Context, inventory []listing) (*edition, error) {
	came := p.begun.Load()
	if e := p.use(inventory, never); e != nil {
		return e, nil
	}
	select {
	case p.building <- struct{}{}:
		defer func() { <-p.building }()
	case <-ctx.Done():
		return nil, p.failed(ctx, guest.StageInstantiate, context.Cause(ctx))
	}
	if e := p.use(nil, came); e != nil {
		return e, nil
	}
	number := p.begun.Add(1) - 1
	inventory, err := p.gather(ctx) // it may have changed while we waited
	if err != nil {
		return nil, p.blind(ctx, err)
	}
	if e := p.use(inventory, never); e != nil {
		return e, nil
	}
	return p.renew(ctx, number, inventory)
}

// never is after all editions.
const never = math.MaxInt64

// use returns the current edition, to be left, if it is of this inventory or
// one of those begun since the given number of them; nil otherwise.
func (p *Program) use(inventory []listing, since int64) *edition {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.current
	if e == nil || e.number < since && !sameRevisions(e.inventory, inventory) {
		return nil
	}
	e.users++
	return e
}

// renew makes an edition and puts it in the place of the current one.
func (p *Program) renew(ctx context.Context, number int64, inventory []listing) (*edition, error) {
	data, err := p.data(inventory)
	if err != nil {
		return nil, p.blind(ctx, err)
	}
	first, err := p.base.attached(ctx)
	if err != nil {
		return nil, p.failed(ctx, guest.StageInstantiate, err)
	}
	e, err := p.newEdition(ctx, first, data)
	if err != nil {
		return nil, p.failed(ctx, guest.StageInstantiate, err)
	}
	e.number, e.users = number, 1
	for n := range inventory {
		inventory[n].list = nil
	}
	e.inventory = inventory
	p.mu.Lock()
	old := p.current
	p.current = e
	if old != nil {
		old.retired = true
		p.discard(old)
	}
	p.mu.Unlock()
	return e, nil
}

// leave says that an edition has judged for somebody.
func (p *Program) leave(e *edition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.users--
	p.discard(e)
}

// discard closes an edition that nobody uses or will use. It is called with mu
// held.
func (p *Program) discard(e *edition) {
	if e.retired && e.users == 0 {
		p.retired.Go(e.close)
	}
}

// blind is the failure to see the cluster. The text is the error's own, as
// upstream.
func (p *Program) blind(ctx context.Context, err error) *Failure {
	f := p.failed(ctx, guest.StageInstantiate, err)
	if ctx.Err() == nil {
		f.Text = err.Error()
	}
	return f
}

// timedOut is upstream's text in these modes.
const timedOut = "internal server error: guest code interrupted, execution deadline exceeded"

// failed is the failure for an error, in upstream's words.
func (p *Program) failed(ctx context.Context, stage guest.Stage, err error) *Failure {
	f, trap := (*Failure)(nil), (*guest.Trap)(nil)
	switch {
	case errors.As(err, &f):
		return f
	case ctx.Err() != nil:
		return &Failure{At: stage, Text: timedOut, Err: context.Cause(ctx)}
	case errors.As(err, &trap):
		return &Failure{At: stage, Text: "internal server error: wasm engine error: " + err.Error(), Err: err}
	}
	return &Failure{At: stage, Text: "internal server error: " + err.Error(), Err: err}
}
