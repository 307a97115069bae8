package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/runtime/celpolicy"
	"github.com/warder-dev/warder/runtime/native"
	"github.com/warder-dev/warder/runtime/rego"
	"github.com/warder-dev/warder/runtime/wapc"
	"github.com/warder-dev/warder/runtime/wasi"
	"github.com/warder-dev/warder/sdk"
)

// program is a module with its settings, ready to be asked. Every runtime
// makes one.
type program interface {
	// Evaluate judges one request. The error means that there is no verdict.
	Evaluate(ctx context.Context, req *sdk.Request) (sdk.Verdict, error)
	// Close frees what the program holds. No request is under way.
	Close()
}

// guestProgram is a program that runs in WebAssembly.
type guestProgram interface {
	Isolation() (mode runtime.Isolation, reason string)
}

// startTimeout bounds what a module does before it serves: checking its settings
// and judging a sample. It is the longest that a webhook may take, so who needs
// more could not answer either.
const startTimeout = 30 * time.Second

// Names of the runtimes, as execution modes of Kubewarden are called.
const (
	nativeRuntime     = "native"
	wapcRuntime       = "kubewarden-wapc"
	wasiRuntime       = "wasi"
	opaRuntime        = string(rego.OPA)
	gatekeeperRuntime = string(rego.Gatekeeper)
)

// builtinScheme is how the URIs of built-ins start.
const builtinScheme = "builtin://"

// module is compiled code that several policies may share.
type module struct {
	digest  string
	runtime string
	wapc    *wapc.Module // one of the three
	wasi    *wasi.Module
	rego    *rego.Module

	ready chan struct{} // closed when it is compiled, or not
	err   error
	refs  int
}

// modules keeps one compiled module for each content.
type modules struct {
	compiler *runtime.Compiler
	mode     artifact.ExecutionMode // see Options
	slots    chan struct{}          // held by whoever compiles

	mu       sync.Mutex
	byDigest map[string]*module
}

// get returns the compiled module of these bytes. Calls for the same bytes
// compile them once: the first does, also when its context ends, for the others
// wait for it. It is to be put back.
func (m *modules) get(ctx context.Context, digest string, wasm []byte) (*module, error) {
	m.mu.Lock()
	mod, ok := m.byDigest[digest]
	if !ok {
		mod = &module{digest: digest, ready: make(chan struct{})}
		m.byDigest[digest] = mod
	}
	mod.refs++
	m.mu.Unlock()
	if !ok {
		m.slots <- struct{}{}
		compiling, cancel := context.WithTimeout(context.WithoutCancel(ctx), compileTimeout)
		mod.err = mod.compile(compiling, m, wasm)
		cancel()
		<-m.slots
		close(mod.ready)
	}
	select {
	case <-mod.ready:
	case <-ctx.Done():
		m.put(mod)
		return nil, context.Cause(ctx)
	}
	if err := mod.err; err != nil {
		m.put(mod)
		return nil, err
	}
	return mod, nil
}

// put lets go of a module; the last one frees its code.
func (m *modules) put(mod *module) {
	m.mu.Lock()
	mod.refs--
	last := mod.refs == 0
	if last {
		delete(m.byDigest, mod.digest)
	}
	m.mu.Unlock()
	switch {
	case !last:
	case mod.wapc != nil:
		_ = mod.wapc.Close() // its instances are gone: nothing is left that could fail
	case mod.wasi != nil:
		_ = mod.wasi.Close()
	case mod.rego != nil:
		_ = mod.rego.Close()
	}
}

// compile finds out which runtime a module is for, and compiles it.
func (mod *module) compile(ctx context.Context, with *modules, wasm []byte) error {
	c := with.compiler
	layout, err := runtime.Inspect(wasm)
	if err != nil {
		return err
	}
	meta, err := artifact.ReadMetadata(wasm)
	if err != nil {
		return err
	}
	if mod.runtime, err = executionMode(layout.Exports, meta, with.mode); err != nil {
		return err
	}
	switch mod.runtime {
	case wasiRuntime:
		mod.wasi, err = wasi.Compile(ctx, c, wasm)
	case opaRuntime, gatekeeperRuntime:
		mod.rego, err = rego.Compile(ctx, c, wasm)
	default:
		mod.wapc, err = wapc.Compile(ctx, c, wasm)
	}
	return err
}

// program gives the module its settings. What belongs to Rego alone is made from
// the policy.
func (mod *module) program(ctx context.Context, opts runtime.ProgramOptions, forRego rego.Options) (program, error) {
	switch {
	case mod.wasi != nil:
		return mod.wasi.NewProgram(ctx, opts)
	case mod.rego != nil:
		forRego.ProgramOptions, forRego.Flavour = opts, rego.Flavour(mod.runtime)
		return mod.rego.NewProgram(ctx, forRego)
	}
	return mod.wapc.NewProgram(ctx, opts)
}

// compileEntry makes the program of a policy and fills in the entry. What the
// policy reads of the cluster is watched from then on.
func (e *Engine) compileEntry(ctx context.Context, ent *entry, w wants) *LoadError {
	if err := e.compileModule(ctx, ent, w); err != nil {
		return err
	}
	cluster, watched := e.opts.Services.Cluster, watchedOf(ent.policy)
	if cluster == nil || len(watched) == 0 {
		return nil
	}
	release, closed := cluster.Watch(watched), ent.closed
	ent.closed = func() {
		if closed != nil {
			closed()
		}
		release()
	}
	return nil
}

// compileModule makes the program of a policy.
func (e *Engine) compileModule(ctx context.Context, ent *entry, w wants) *LoadError {
	p := Answering(ent.policy)
	failed := func(stage LoadStage, err error) *LoadError { return &LoadError{p.ID, stage, err} }
	grants, err := policy.ParseGrants(p.HostCapabilities)
	if err != nil {
		return failed(StageSettings, fmt.Errorf("hostCapabilities: %w", err))
	}
	if p.CEL != nil {
		return e.compileCEL(ent, grants)
	}
	opts := runtime.ProgramOptions{Settings: p.Settings, Host: e.hostFor(p, grants), Isolation: e.opts.Isolation}
	if name, ok := strings.CutPrefix(p.Module, builtinScheme); ok {
		b, err := builtin(name)
		if err != nil {
			return failed(StageFetch, err)
		}
		host := opts.Host
		if ent.runtime, ent.quick = nativeRuntime, !b.AsksHost; ent.quick {
			host = nil
		}
		if name == celpolicy.Name {
			ent.runtime = celRuntime
		}
		if ent.program, err = native.New(b.Policy, p.Settings, host); err != nil {
			bad := &runtime.SettingsError{Message: err.Error()}
			if instead(ent.policy) != "" {
				bad.Message += " (" + p.Module + " answers in place of " + ent.policy.Module + ")"
			}
			return failed(StageSettings, bad)
		}
		return nil
	}
	one, err := w.use(ctx, p.Module)
	defer w.put(one)
	if err != nil {
		return notFetched(p, err)
	}
	ent.ref, ent.away = one.got.Reference, one.got.Away
	mod, err := e.modules.get(ctx, one.digest, one.got.Wasm)
	if err != nil {
		return failed(StageCompile, fmt.Errorf("module %q: %w", p.Module, err))
	}
	ent.digest, ent.runtime = mod.digest, mod.runtime
	e.compiles <- struct{}{} // from here on it takes no longer than startTimeout
	defer func() { <-e.compiles }()
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	prog, err := mod.program(starting, opts, e.regoOptions(p, opts.Host))
	if err != nil {
		e.modules.put(mod)
		if bad := (*runtime.SettingsError)(nil); errors.As(err, &bad) {
			return failed(StageSettings, bad)
		}
		return failed(StageCompile, fmt.Errorf("module %q: %w", p.Module, err))
	}
	ent.program = prog
	ent.closed = func() {
		prog.Close()
		e.modules.put(mod)
	}
	return nil
}

func builtin(name string) (library.Builtin, error) {
	if b, ok := Builtin(name); ok {
		return b, nil
	}
	if near := sdk.Nearest(name, BuiltinNames()); near != "" {
		return library.Builtin{}, fmt.Errorf("module %q: no built-in policy has this name; did you mean %s?", "builtin://"+name, near)
	}
	return library.Builtin{}, fmt.Errorf("module %q: no built-in policy has this name; there are %s",
		"builtin://"+name, strings.Join(BuiltinNames(), ", "))
}

// executionMode says which runtime a module is for: what its metadata says, or
// what is asked, or what its exports show when it has none. The texts are
// upstream's.
func executionMode(exports []string, m *artifact.Metadata, asked artifact.ExecutionMode) (string, error) {
	switch {
	case asked == "":
	case m == nil:
		m = &artifact.Metadata{ExecutionMode: asked, ProtocolVersion: artifact.ProtocolV1}
	case m.ExecutionMode != asked:
		return "", fmt.Errorf("the module is for the execution mode %s, as its metadata say, and not for %s", m.ExecutionMode, asked)
	}
	if m == nil {
		mode, err := artifact.DetectMode(exports)
		if err != nil {
			return "", err
		}
		if mode == artifact.OPA {
			return "", errors.New("The policy has been created with Rego, please specify which Opa runtime has to be used: " + //nolint:staticcheck // upstream's text
				"annotate the module with executionMode: opa or gatekeeper in its metadata")
		}
		m = &artifact.Metadata{ExecutionMode: mode, ProtocolVersion: artifact.ProtocolV1}
	}
	if err := m.CheckVersion(); err != nil {
		return "", err
	}
	switch m.ExecutionMode {
	case artifact.Ferricel:
		return "", artifact.ErrCompiledCEL
	case artifact.WASI:
		return wasiRuntime, nil
	case artifact.OPA:
		return opaRuntime, nil
	case artifact.Gatekeeper:
		return gatekeeperRuntime, nil
	case artifact.WaPC:
		switch m.ProtocolVersion {
		case artifact.ProtocolV1:
			return wapcRuntime, nil
		case "":
			return "", errors.New("Policy is missing protocol version, which is required for KubewardenWapc execution mode") //nolint:staticcheck // upstream's text
		}
		return "", fmt.Errorf("Policy uses protocol version %s but only V1 is supported", m.ProtocolVersion) //nolint:staticcheck // upstream's text
	}
	return "", fmt.Errorf("execution mode %q: there is no runtime for it", m.ExecutionMode)
}
