// Package engine holds the programs of one server by policy ID, and asks them.
// Everything that judges (the policy server, and later the audit and the command
// line) enters at Evaluate: there is no second way to judge.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	goruntime "runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/sdk"
)

// Options are the bounds of an engine. The zero value works.
type Options struct {
	// Timeout bounds one evaluation of a policy that has no timeout of its
	// own, host calls included. Default 2s; NoTimeout is none.
	Timeout time.Duration
	// Workers bounds the evaluations that use a processor at the same time, and
	// apart from them the modules that are compiled. An evaluation that waits for
	// the host does not count, nor does a built-in that may not ask it: that takes
	// microseconds. Default: the processors.
	Workers int
	// Isolation is how requests are kept apart. Default runtime.Snapshot.
	Isolation runtime.Isolation
	// Fetch gets the module that a URI names, other than built-ins. Default:
	// files alone.
	Fetch func(ctx context.Context, uri string) (Fetched, error)
	// Stamp returns what changes when Fetch would give something else for a
	// URI, and costs little: it is asked for each policy at each Refresh.
	// Default: size and time of files, nothing for others.
	Stamp func(uri string) string
	// Services are what policies ask through the host.
	Services capability.Services
	// Record, when not nil, gets what policies ask and are told; Replay, when not
	// nil, answers them in place of Services.
	Record, Replay *capability.Session
	// Mode is the execution mode of modules that have no metadata to say it; those
	// with metadata must say the same. Default: what the module itself shows.
	Mode artifact.ExecutionMode
	// Guests bounds what WebAssembly modules may use.
	Guests runtime.Options
	// Judged is told what each policy judged, before the answer leaves, by several
	// goroutines at once. It has to be quick. Default: nobody is told.
	Judged func(context.Context, Judgement)
	// Log gets what happens to policies. Default: nowhere.
	Log *slog.Logger
	// Metrics is where the engine's metrics are registered. Default: nowhere.
	Metrics prometheus.Registerer
}

// NoTimeout is the Timeout of an engine that does not bound evaluations.
const NoTimeout = -1

// DefaultTimeout is the Timeout of an engine that is told none. Source:
// Kubewarden's --policy-timeout.
const DefaultTimeout = 2 * time.Second

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Workers <= 0 {
		o.Workers = goruntime.GOMAXPROCS(0)
	}
	if o.Isolation == "" {
		o.Isolation = runtime.Snapshot
	}
	if o.Fetch == nil {
		o.Fetch = fetchFile
	}
	if o.Stamp == nil {
		o.Stamp = FileStamp
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Guests.Log == nil {
		o.Guests.Log = o.Log
	}
	return o
}

// Validate reports every option that cannot work.
func (o Options) Validate() error {
	var errs []error
	if o.Isolation != "" && o.Isolation != runtime.Snapshot && o.Isolation != runtime.Fresh {
		errs = append(errs, fmt.Errorf("isolation: want %s or %s, have %q", runtime.Snapshot, runtime.Fresh, o.Isolation))
	}
	if o.Record != nil && o.Replay != nil {
		errs = append(errs, errors.New("record and replay: what is replayed need not be recorded again"))
	}
	if o.Timeout < NoTimeout {
		errs = append(errs, fmt.Errorf("timeout: %s is negative", o.Timeout))
	}
	return errors.Join(errs...)
}

// Engine holds programs and asks them. It is safe for concurrent use.
type Engine struct {
	opts     Options
	compiler *runtime.Compiler
	modules  *modules
	fetches  *fetches
	permits  chan struct{}
	compiles chan struct{} // held by whoever compiles or starts a module
	metrics  *metrics

	state atomic.Pointer[state]

	mu         sync.Mutex // held by whoever puts policies in place, and never while they are loaded
	turn       uint64     // of the last change that was asked for
	applied    uint64     // of the last Apply
	loading    map[policy.ID]*task
	refreshing map[*entry]bool
}

// New returns an engine without policies. The error is about the options, or
// the folder of compiled code.
func New(opts Options) (*Engine, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	compiler, err := runtime.NewCompiler(opts.Guests)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		opts:     opts,
		compiler: compiler,
		fetches:  newFetches(opts),
		permits:  make(chan struct{}, opts.Workers),
		compiles: make(chan struct{}, opts.Workers),

		loading: map[policy.ID]*task{}, refreshing: map[*entry]bool{},
	}
	e.modules = &modules{compiler: compiler, mode: opts.Mode, slots: e.compiles, byDigest: map[string]*module{}}
	e.state.Store(newState(map[policy.ID]*entry{}))
	e.metrics = newMetrics(e, opts.Metrics)
	return e, nil
}

// Close unloads every policy. No evaluation and no change may be under way.
func (e *Engine) Close() error {
	e.mu.Lock()
	old := e.state.Swap(newState(map[policy.ID]*entry{}))
	e.mu.Unlock()
	for _, b := range old.bundles {
		b.release()
	}
	for _, ent := range old.byID {
		ent.release()
	}
	return e.compiler.Close()
}

// UnknownPolicyError says that there is no policy or bundle of that ID.
type UnknownPolicyError struct{ ID policy.ID }

func (e *UnknownPolicyError) Error() string { return fmt.Sprintf("unknown policy: %s", e.ID) }

// entry is one revision of a policy: its program, or why there is none. It
// lives until nobody holds it.
type entry struct {
	policy  policy.Policy
	digest  string // sha256:<hex> of the module, "" when there is none
	runtime string
	quick   bool    // a built-in that waits for nothing
	program program // nil of a group, and when err is not
	group   *group  // nil of a single policy, and when err is not
	err     *LoadError

	degraded *LoadError    // which members of the group did not load
	stale    *LoadError    // why a later revision is not here instead
	newer    policy.Policy // that revision
	serves   *entry        // whose program it is, when it is not its own
	turn     uint64        // of the change that put it in place; guarded by Engine.mu
	away     error         // why the module is the one that was fetched before
	ref      string        // the module's immutable reference, "" if it has none
	since    time.Time

	stamp    string    // of the wanted module, before it was fetched
	failures int       // in a row, of loading what is wanted
	retry    time.Time // when to load it again

	counters counters
	refs     atomic.Int64
	closed   func()
}

// acquire takes hold of the entry, unless it is gone already.
func (ent *entry) acquire() bool { return acquire(&ent.refs) }

// release lets go; the last one closes the program.
func (ent *entry) release() {
	if ent.refs.Add(-1) == 0 && ent.closed != nil {
		ent.closed()
	}
}

// Evaluate judges a request with one policy and says what the API server is to
// be told: after the policy's mode, its right to mutate, its message and its
// failurePolicy. The error is an *UnknownPolicyError.
func (e *Engine) Evaluate(ctx context.Context, id policy.ID, req *sdk.Request) (Decision, error) {
	ent := e.hold(id)
	if ent == nil {
		return Decision{}, &UnknownPolicyError{id}
	}
	defer ent.release()
	return e.answer(ctx, ent, question{req: req}), nil
}

// Audit judges a request with one policy and gives its verdict as it is, with
// neither mode nor any other rule applied. The error is an
// *UnknownPolicyError.
func (e *Engine) Audit(ctx context.Context, id policy.ID, req *sdk.Request) (Decision, error) {
	ent := e.hold(id)
	if ent == nil {
		return Decision{}, &UnknownPolicyError{id}
	}
	defer ent.release()
	return e.judge(ctx, ent, req), nil
}

// Has reports whether there is a policy of that ID, loaded or not. The member
// of a group has the ID "group/member".
func (e *Engine) Has(id policy.ID) bool { return e.state.Load().find(id) != nil }

// HasBundle reports whether any policy is in that bundle.
func (e *Engine) HasBundle(name string) bool { return e.state.Load().bundles[name] != nil }

// State is how a policy stands with the engine.
type State string

// The states of a policy.
const (
	Loaded State = "loaded"
	// Failed is a policy without a program: it answers by its failurePolicy.
	Failed State = "failed"
	// Stale is a policy of which an older revision serves, since the one that
	// is wanted did not load.
	Stale State = "stale"
	// Degraded is a group of which some members did not load: it answers by
	// its failurePolicy where its verdict depends on them.
	Degraded State = "degraded"
)

// Status says how a policy stands.
type Status struct {
	ID     policy.ID `json:"id"`
	State  State     `json:"state"`
	Module string    `json:"module"`
	// Builtin is the built-in that answers in place of Module, empty when none
	// does.
	Builtin   string      `json:"builtin,omitempty"`
	Digest    string      `json:"digest,omitempty"`
	Runtime   string      `json:"runtime,omitempty"`
	Isolation string      `json:"isolation,omitempty"`
	Mode      policy.Mode `json:"mode"`
	// Stage and Error say how far the wanted revision came, and why it is not
	// here.
	Stage LoadStage `json:"stage,omitempty"`
	Error string    `json:"error,omitempty"`
	// Reference is what was loaded, by digest.
	Reference string `json:"reference,omitempty"`
	// Away says why the module is the one that was fetched before.
	Away  string    `json:"away,omitempty"`
	Since time.Time `json:"since"` // when this revision was loaded, or failed to
	// Retry is when the wanted revision is loaded again.
	Retry *time.Time `json:"retry,omitempty"`
	// Members are those of a group.
	Members []Status `json:"members,omitempty"`
}

// Statuses returns how every policy stands, sorted by ID.
func (e *Engine) Statuses() []Status {
	byID := e.state.Load().byID
	all := make([]Status, 0, len(byID))
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		all = append(all, byID[id].status())
	}
	return all
}

// Status returns how one policy stands, false if there is none of that ID.
func (e *Engine) Status(id policy.ID) (Status, bool) {
	ent := e.state.Load().find(id)
	if ent == nil {
		return Status{}, false
	}
	return ent.status(), true
}

func (ent *entry) status() Status {
	s := Status{
		ID: ent.policy.ID, State: Loaded, Module: ent.policy.Module, Digest: ent.digest,
		Runtime: ent.runtime, Mode: ent.policy.Mode, Since: ent.since, Reference: ent.ref, Builtin: instead(ent.policy),
	}
	if g, ok := ent.program.(guestProgram); ok {
		mode, why := g.Isolation()
		if s.Isolation = string(mode); why != "" {
			s.Isolation += " (" + why + ")"
		}
	}
	failed := func(state State, err *LoadError) { s.State, s.Stage, s.Error = state, err.At, err.Error() }
	switch {
	case ent.err != nil:
		failed(Failed, ent.err)
	case ent.stale != nil:
		failed(Stale, ent.stale)
	case ent.degraded != nil && ent.group.loaded():
		failed(Degraded, ent.degraded)
	case ent.degraded != nil:
		failed(Failed, ent.degraded)
	}
	if ent.away != nil {
		s.Away = ent.away.Error()
	}
	if ent.unsettled() && !ent.retry.IsZero() {
		s.Retry = &ent.retry
	}
	if ent.group != nil {
		for _, name := range slices.Sorted(maps.Keys(ent.group.members)) {
			s.Members = append(s.Members, ent.group.members[name].status())
		}
	}
	return s
}
