// Package rego runs policies that OPA has compiled to WebAssembly (`opa build
// -t wasm`), in the two flavours that Kubewarden knows (execution modes "opa"
// and "gatekeeper"). They differ in what the policy is given and in how its
// result is read.
//
// What OPA cannot compile, about half of its built-in functions, its own Go
// implementation does (see builtin.go).
package rego

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/warder-dev/warder/runtime/internal/guest"
	"github.com/warder-dev/warder/sdk"
)

// Failure is why a policy gave no verdict.
type Failure = guest.Failure

// Flavour is how a policy is asked and how its result is read.
type Flavour string

// The flavours, as execution modes of Kubewarden are called. OPA has the
// request as input.request, its settings as data, and answers with an
// AdmissionResponse; Gatekeeper has input.review and input.parameters, and
// answers with violations.
const (
	OPA        Flavour = "opa"
	Gatekeeper Flavour = "gatekeeper"
)

// Options are what a program needs beside its module.
type Options struct {
	guest.ProgramOptions

	// Flavour has no default.
	Flavour Flavour
	// Kinds are what the policy may see of the cluster.
	Kinds []Kind
	// Inventory is where it sees it. Nil has nothing to show: a policy with
	// Kinds gives no verdict then.
	Inventory Inventory
	// Log gets what the policy prints. Default: where other guests print.
	Log *slog.Logger
}

// Module is a compiled guest. It is safe for concurrent use.
type Module struct{ *guest.Module }

// Compile compiles a module. The error says what is wrong with it.
func Compile(ctx context.Context, c *guest.Compiler, wasm []byte) (*Module, error) {
	m, err := c.Compile(ctx, wasm, link)
	if err != nil {
		return nil, err
	}
	for _, name := range exports() {
		if !m.Layout.Has(name) {
			return nil, errors.Join(fmt.Errorf("it does not export %s, as modules built with `opa build -t wasm` do", name), m.Close())
		}
	}
	return &Module{m}, nil
}

// Program is a module with its settings, ready to be asked. It is safe for
// concurrent use.
type Program struct {
	module   *Module
	opts     Options
	settings map[string]json.RawMessage
	builtins map[uint32]builtin
	strays   atomic.Int32
	fresh    string // why there are no snapshots, "" if there are
	document []byte // data, nil when there is an inventory to come with each request

	// base has the document in it; nil without snapshots.
	base *edition
	// building is held by whoever makes an edition.
	building chan struct{}
	mu       sync.Mutex
	current  *edition     // with the inventory in it; nil before the first request
	begun    atomic.Int64 // editions begun
	retired  sync.WaitGroup
}

// NewProgram checks that the host has what the module needs and, unless the
// module does not lend itself to it, makes the snapshot. The error is a
// *guest.SettingsError when the settings are no object.
func (m *Module) NewProgram(ctx context.Context, opts Options) (*Program, error) {
	opts.ProgramOptions = opts.WithDefaults()
	if string(bytes.TrimSpace(opts.Settings)) == "null" {
		opts.Settings = json.RawMessage("{}")
	}
	if opts.Log == nil {
		opts.Log = m.Log()
	}
	p := &Program{module: m, opts: opts, building: make(chan struct{}, 1)}
	var err error
	if p.settings, err = members(opts.Settings); err != nil {
		return nil, &guest.SettingsError{Message: err.Error()}
	}
	if _, ok := p.settings["kubernetes"]; ok && opts.Flavour == OPA && len(opts.Kinds) > 0 {
		opts.Log.Warn("the setting kubernetes is hidden by what the policy sees of the cluster")
	}
	if len(opts.Kinds) == 0 {
		p.document = []byte("{}")
		if opts.Flavour == OPA {
			p.document = opts.Settings
		}
	}
	first, err := p.instantiate(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.check(ctx, first); err != nil {
		first.in.Close()
		return nil, p.failed(ctx, guest.StageInstantiate, err)
	}
	if p.fresh = m.Layout.Fresh; opts.Isolation == guest.Fresh {
		p.fresh = "asked for"
	}
	if p.fresh != "" {
		first.in.Close()
		return p, nil
	}
	p.base, err = p.newEdition(ctx, first, p.document)
	if none := (*snapshotError)(nil); errors.As(err, &none) {
		p.fresh = none.Error()
		return p, nil
	}
	if err != nil {
		return nil, p.failed(ctx, guest.StageInstantiate, err)
	}
	return p, nil
}

// check reads what the module says of itself.
func (p *Program) check(ctx context.Context, i *instance) error {
	defer i.begin(ctx)()
	if version := i.in.Global("opa_wasm_abi_version"); version > abiVersion {
		return fmt.Errorf("version %d of OPA's ABI, want %d", version, abiVersion)
	}
	table, err := i.table("builtins")
	if err != nil {
		return err
	}
	if p.builtins, err = builtinsOf(table); err != nil {
		return err
	}
	entrypoints, err := i.table("entrypoints")
	if err != nil {
		return err
	}
	for _, number := range entrypoints {
		if number == 0 {
			return nil
		}
	}
	text, err := json.Marshal(entrypoints)
	if err != nil {
		return err
	}
	return fmt.Errorf("Rego wasm error: Cannot find the specified entrypoint 0 inside of %s", text) //nolint:staticcheck // upstream's text
}

// Isolation says how requests are kept apart, and why not by snapshots.
func (p *Program) Isolation() (mode guest.Isolation, reason string) {
	if p.base == nil {
		return guest.Fresh, p.fresh
	}
	return guest.Snapshot, ""
}

// Close frees the instances and waits until they are gone. No request may be
// under way.
func (p *Program) Close() {
	p.mu.Lock()
	current := p.current
	p.current = nil
	p.mu.Unlock()
	for _, e := range []*edition{p.base, current} {
		if e != nil {
			e.close()
		}
	}
	p.retired.Wait()
}

// Evaluate judges one request. The error is a *Failure.
func (p *Program) Evaluate(ctx context.Context, req *sdk.Request) (sdk.Verdict, error) {
	input, err := p.opts.Flavour.input(req, p.opts.Settings)
	if err != nil {
		return sdk.Verdict{}, p.failed(ctx, guest.StageCall, err)
	}
	result, err := p.ask(ctx, input)
	if err != nil {
		return sdk.Verdict{}, err
	}
	v, err := p.opts.Flavour.verdict(req, result)
	if err != nil {
		return sdk.Verdict{}, p.failed(ctx, guest.StageDecode, err)
	}
	return v, nil
}
