// Package guest runs WebAssembly modules for the runtimes wapc, wasi and rego: it
// compiles a module once, makes instances of it, takes them back to a snapshot
// between two requests, and stops them when their time or their memory is up.
//
// An instance belongs to one evaluation at a time. Nothing that a guest can do
// reaches further than its own instance, which is thrown away when it traps,
// overruns a limit or cannot be restored.
package guest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/warder-dev/warder/sdk"
)

// Options bound what guests may use. The zero value works.
type Options struct {
	// CacheDir keeps compiled code between runs; only the user who runs the
	// process may write there, since what is in it is executed. Empty keeps
	// it in memory.
	CacheDir string
	// MemoryLimit bounds the linear memory of one instance, in bytes, rounded
	// down to 64 KiB. Default 256 MiB: the largest policies in Kubewarden's
	// catalogue (a Kyverno engine of 62 MB of code) start in under 128 MiB.
	MemoryLimit uint64
	// OutputLimit bounds what one evaluation may write as its answer, in
	// bytes. Default 16 MiB: five times the largest object that etcd stores,
	// in the JSON it arrives as.
	OutputLimit int
	// Log gets what guests print. Default: nowhere.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.MemoryLimit == 0 {
		o.MemoryLimit = 256 << 20
	}
	if o.OutputLimit == 0 {
		o.OutputLimit = 16 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// wasmPage is the unit of linear memory. Source: the WebAssembly core
// specification, 4.2.8.
const wasmPage = 64 << 10

// Compiler compiles modules. It is safe for concurrent use.
type Compiler struct {
	opts    Options
	cache   wazero.CompilationCache
	spare   wazero.CompilationCache // in memory, where CacheDir fails
	pagemap *os.File
}

// NewCompiler returns a compiler with the given bounds. The error is about
// CacheDir.
func NewCompiler(opts Options) (*Compiler, error) {
	c := &Compiler{opts: opts.withDefaults(), pagemap: openPagemap(), spare: wazero.NewCompilationCache()}
	if opts.CacheDir == "" {
		c.cache = c.spare
		return c, nil
	}
	if err := os.MkdirAll(opts.CacheDir, 0o700); err != nil {
		return nil, fmt.Errorf("compilation cache: %w", err)
	}
	cache, err := wazero.NewCompilationCacheWithDir(opts.CacheDir)
	if err != nil {
		return nil, fmt.Errorf("compilation cache: %w", err)
	}
	c.cache = cache
	return c, nil
}

// Close frees the compiled code. No module of the compiler may be in use.
func (c *Compiler) Close() error {
	err := errors.Join(c.cache.Close(context.Background()), c.spare.Close(context.Background()))
	if c.pagemap != nil {
		err = errors.Join(err, c.pagemap.Close())
	}
	return err
}

// Link adds the functions that a module may import to a runtime.
type Link func(ctx context.Context, r wazero.Runtime) error

// Module is compiled code, ready to be instantiated. It is safe for concurrent
// use.
type Module struct {
	Layout   Layout
	opts     Options
	pagemap  *os.File
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	epoch    time.Time // zero of the guests' monotonic clock
}

func (m *Module) nanotime() int64 { return int64(time.Since(m.epoch)) }

// features are those of WebAssembly that modules of the field use: 2.0, and
// what Go 1.26 with Binaryen and recent LLVM emit.
const features = api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall |
	experimental.CoreFeaturesExtendedConst | experimental.CoreFeaturesTypedFunctionReferences |
	experimental.CoreFeaturesExceptionHandling

// Compile checks, rewrites and compiles a module, or finds its code in the
// cache. The error says what is wrong with the module. A disk that is full, or
// code that was damaged on it, costs time and a line in the log, and no policy.
func (c *Compiler) Compile(ctx context.Context, wasm []byte, link Link) (*Module, error) {
	wasm, layout, err := rewrite(wasm)
	if err != nil {
		return nil, err
	}
	compile := func(cache wazero.CompilationCache) (*Module, error) {
		config := wazero.NewRuntimeConfig().
			WithCoreFeatures(features).
			WithCompilationCache(cache).
			WithMemoryLimitPages(uint32(c.opts.MemoryLimit / wasmPage)).
			WithCloseOnContextDone(!layout.checked).
			WithDebugInfoEnabled(false)
		r := wazero.NewRuntimeWithConfig(ctx, config)
		m := &Module{Layout: layout, opts: c.opts, pagemap: c.pagemap, runtime: r, epoch: time.Now()}
		if err := m.build(ctx, wasm, link); err != nil {
			return nil, errors.Join(err, m.Close())
		}
		return m, nil
	}
	m, err := compile(c.cache)
	if err != nil && c.opts.CacheDir != "" && isOfCache(err) {
		c.opts.Log.Warn("compiled module not kept, or not to be read: it is compiled at each start", "folder", c.opts.CacheDir, "error", err)
		m, err = compile(c.spare)
	}
	return m, err
}

// isOfCache reports whether an error of compiling is about the folder of compiled
// code and not about the module. wazero says of damaged code only in its text
// that it was the cache's.
func isOfCache(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	return errors.As(err, &path) || errors.As(err, &link) || strings.Contains(err.Error(), "compile: compilationcache: ")
}

func (m *Module) build(ctx context.Context, wasm []byte, link Link) error {
	if err := linkWASI(ctx, m.runtime); err != nil {
		return err
	}
	if err := link(ctx, m.runtime); err != nil {
		return err
	}
	compiled, err := compiled(experimental.WithCompilationWorkers(ctx, 2), m.runtime, wasm)
	if err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	m.compiled = compiled
	return m.checkImports()
}

// compiled compiles a module. wazero panics on some that are not valid (found by
// fuzzing: branches to labels that are not there), which is the module's mistake
// and shall cost nobody else anything.
func compiled(ctx context.Context, r wazero.Runtime, module []byte) (c wazero.CompiledModule, err error) {
	defer func() {
		if p := recover(); p != nil {
			c, err = nil, fmt.Errorf("invalid module: the engine gave up on it: %v", p)
		}
	}()
	return r.CompileModule(ctx, module)
}

// checkImports names the first import that no host module has, in words of our
// own: an instance would only say it at its first request.
func (m *Module) checkImports() error {
	for _, f := range m.compiled.ImportedFunctions() {
		from, name, _ := f.Import()
		host := m.runtime.Module(from)
		if host == nil {
			return fmt.Errorf("it imports %s.%s: there is no host module %q", from, name, from)
		}
		if _, ok := host.ExportedFunctionDefinitions()[name]; !ok {
			return fmt.Errorf("it imports %s.%s: host module %q has no such function", from, name, from)
		}
	}
	return nil
}

// Close frees the module's code and what instances are left.
func (m *Module) Close() error { return m.runtime.Close(context.Background()) }

// Stdin feeds a guest that reads its standard input.
type Stdin interface {
	// Read copies what is next into to, none at the end. It may hold the
	// guest until there is more; restart means that the guest shall be told
	// to try again (EINTR).
	Read(ctx context.Context, to []byte) (n int, restart bool)
}

// Instance is one instance of a module and what it has said so far.
type Instance struct {
	module *Module
	mod    api.Module
	memory *linear
	life   context.Context // of the instance; what its guest functions run in
	cancel context.CancelFunc

	interrupt api.MutableGlobal // nil when the engine does it
	killed    atomic.Bool
	globals   []api.MutableGlobal

	// Of the evaluation under way.
	ctx    context.Context
	host   sdk.Host
	stdin  Stdin
	stdout []byte
	stderr []byte
	closed [3]bool // standard streams that the guest has closed

	// OnExit is called when the guest calls proc_exit, before it unwinds.
	OnExit func(ctx context.Context, code uint32)
	// Protocol is what the runtime keeps beside the instance.
	Protocol any
}

type instanceKey struct{}

// Current returns the instance whose guest has called a host function.
func Current(ctx context.Context) *Instance {
	in, _ := ctx.Value(instanceKey{}).(*Instance)
	return in
}

// New makes an instance with the given arguments, its memory as the module
// has it. Start functions other than the module's own start section are not
// run. The instance lives until Close.
func (m *Module) New(ctx context.Context, args ...string) (*Instance, error) {
	in := &Instance{module: m, ctx: ctx}
	life := context.WithValue(context.Background(), instanceKey{}, in)
	in.life, in.cancel = context.WithCancel(life)
	var memoryErr error
	allocator := experimental.MemoryAllocatorFunc(func(_, limit uint64) experimental.LinearMemory {
		in.memory, memoryErr = newLinear(limit, m.pagemap)
		if memoryErr != nil {
			in.memory = &linear{}
			panic(memoryErr)
		}
		return in.memory
	})
	config := wazero.NewModuleConfig().
		WithName("").
		WithStartFunctions().
		WithArgs(args...).
		WithSysWalltime().
		WithNanotime(m.nanotime, sys.ClockResolution(time.Microsecond.Nanoseconds())).
		WithRandSource(rand.Reader)
	if !m.Layout.checked {
		defer context.AfterFunc(ctx, in.cancel)()
	}
	mod, err := m.instantiate(experimental.WithMemoryAllocator(in.life, allocator), config)
	if err != nil {
		in.cancel()
		if in.memory != nil {
			in.memory.Free() // wazero forgets it when, say, a data segment does not fit
		}
		return nil, fmt.Errorf("instantiate: %w", in.explain(err))
	}
	in.mod = mod
	if in.memory == nil {
		in.Close()
		return nil, errors.New("instantiate: the module has no memory of its own")
	}
	if err := in.findGlobals(); err != nil {
		in.Close()
		return nil, fmt.Errorf("instantiate: %w", err)
	}
	if err := in.runStart(ctx); err != nil {
		in.Close()
		return nil, fmt.Errorf("instantiate: start function: %w", err)
	}
	return in, nil
}

// runStart runs the module's own start function, if rewriting has put it off.
func (in *Instance) runStart(ctx context.Context) error {
	if !in.module.Layout.start {
		return nil
	}
	in.Begin(ctx, nil, nil)
	defer in.Watch(ctx)()
	_, err := in.Function(startName).Call(in.life)
	return in.explain(err)
}

// findGlobals finds the globals that rewriting has exported.
func (in *Instance) findGlobals() error {
	find := func(name string) (api.MutableGlobal, error) {
		global, ok := in.mod.ExportedGlobal(name).(api.MutableGlobal)
		if !ok {
			return nil, fmt.Errorf("%s is not a mutable global", name)
		}
		return global, nil
	}
	var err error
	if in.module.Layout.checked {
		if in.interrupt, err = find(interruptName); err != nil {
			return err
		}
	}
	for i := range in.module.Layout.globals {
		global, err := find(globalName(i))
		if err != nil {
			return err
		}
		in.globals = append(in.globals, global)
	}
	return nil
}

// kill stops the guest, wherever it is. It may be called at any time, from any
// goroutine: the flag is one word, which the guest only reads.
func (in *Instance) kill() {
	in.cancel() // first: whoever sees the trap asks whether it was meant
	if in.interrupt != nil && in.killed.CompareAndSwap(false, true) {
		in.interrupt.Set(1)
	}
}

// instantiate turns a panic of the allocator into an error.
func (m *Module) instantiate(ctx context.Context, config wazero.ModuleConfig) (mod api.Module, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("memory: %v", r)
		}
	}()
	return m.runtime.InstantiateModule(ctx, m.compiled, config)
}

// Close frees the instance. Its guest must not be running.
func (in *Instance) Close() {
	in.kill()
	if in.mod != nil {
		_ = in.mod.Close(context.Background()) // it has no resources but memory
	}
}

// Begin gives the instance to an evaluation: host calls go to host and end
// with ctx, and reads of standard input go to stdin, nil for none.
func (in *Instance) Begin(ctx context.Context, host sdk.Host, stdin Stdin) {
	in.ctx, in.host, in.stdin = ctx, host, stdin
	in.stdout, in.stderr, in.closed = in.stdout[:0], in.stderr[:0], [3]bool{}
}

// Life is the context that guest functions run in: of the instance, not of one
// evaluation.
func (in *Instance) Life() context.Context { return in.life }

// Watch kills the instance when ctx is done, until the returned function is
// called. That one reports whether the instance lives.
func (in *Instance) Watch(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, in.kill)
}

// Function returns an exported function, nil if there is none.
func (in *Instance) Function(name string) api.Function { return in.mod.ExportedFunction(name) }

// Memory is the guest's memory.
func (in *Instance) Memory() api.Memory { return in.mod.Memory() }

// Global returns the value of an exported global, 0 if there is none.
func (in *Instance) Global(name string) uint64 {
	if global := in.mod.ExportedGlobal(name); global != nil {
		return global.Get()
	}
	return 0
}

// Stdout and Stderr are what the guest has written since Begin. They are valid
// until the next Begin.
func (in *Instance) Stdout() []byte { return in.stdout }

// Stderr is the diagnostic text, cut at maxStderr.
func (in *Instance) Stderr() []byte { return in.stderr }

// Log is where the guests' own words go.
func (m *Module) Log() *slog.Logger { return m.opts.Log }

// Options are the bounds of the instance.
func (in *Instance) Options() Options { return in.module.opts }

// Log is where the guest's own words go.
func (in *Instance) Log() *slog.Logger { return in.module.opts.Log }

// Isolation is how the requests of one policy are kept apart.
type Isolation string

// Snapshot takes an instance back to where it was before the request; Fresh
// makes a new one for every request.
const (
	Snapshot Isolation = "snapshot"
	Fresh    Isolation = "fresh"
)

// SettingsError says that a policy refuses its settings.
type SettingsError struct {
	// Message is the policy's own; it may be empty.
	Message string
}

func (e *SettingsError) Error() string {
	if e.Message == "" {
		return "Policy settings are invalid: no message"
	}
	return "Policy settings are invalid: " + e.Message
}

// ProgramOptions are what a program needs beside its module.
type ProgramOptions struct {
	Settings  json.RawMessage // a JSON object; nil is {}
	Host      sdk.Host        // nil for none
	Isolation Isolation       // default Snapshot
	// Instances bounds the instances kept. Default 4 for each processor: some
	// judge, some go back to their snapshot, some wait for the host.
	Instances int
}

// WithDefaults fills in what is empty.
func (o ProgramOptions) WithDefaults() ProgramOptions {
	if len(o.Settings) == 0 {
		o.Settings = json.RawMessage("{}")
	}
	if o.Isolation == "" {
		o.Isolation = Snapshot
	}
	if o.Instances == 0 {
		o.Instances = 4 * runtime.GOMAXPROCS(0)
	}
	return o
}
