package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/policy"
)

// Fetched is a module as its host has it.
type Fetched struct {
	Wasm []byte
	// Reference names these bytes for good, as in
	// registry://ghcr.io/acme/policies/labels@sha256:…; empty when nothing does.
	Reference string
	// Away says why the module is the one that was fetched before: its host
	// could not be asked. Nil when it could, or did not need to be.
	Away error
}

// maxModuleBytes bounds a module. Source: the largest in Kubewarden's
// catalogue is 62 MB.
const maxModuleBytes = 256 << 20

// atOnce is how many modules of one host are fetched, or held in memory while
// they are compiled, at the same time. It is for each host: one that does not
// answer holds up nobody but its own.
const atOnce = 8

// fetchTimeout bounds the fetching of one module: a registry that never answers
// shall not hold up its other modules for longer than somebody who waits for it
// would.
const fetchTimeout = time.Minute

// freshFor is how long a module that was fetched is shared with policies that
// come later, while others still load it. A tag may move.
const freshFor = time.Second

// fetches are the modules that are being fetched, and those that policies are
// made of just now: each is fetched once, however many policies want it at the
// same time.
type fetches struct {
	fetch func(ctx context.Context, uri string) (Fetched, error)
	stamp func(uri string) string

	mu    sync.Mutex
	byKey map[string]*fetch
	hosts map[string]chan struct{}
}

func newFetches(opts Options) *fetches {
	return &fetches{fetch: opts.Fetch, stamp: opts.Stamp, byKey: map[string]*fetch{}, hosts: map[string]chan struct{}{}}
}

// fetch is one module on its way, or here.
type fetch struct {
	uri, key string
	done     chan struct{} // closed when the three are there
	got      Fetched
	digest   string
	err      error

	// Guarded by fetches.mu:
	users  int // who may still use it
	active int // who wait for it, or compile it
	cancel context.CancelFunc
	ended  time.Time
	slot   chan struct{} // of its host, while one is taken
}

// wants are the modules of one policy that is being loaded, by URI.
type wants struct {
	from  *fetches
	byURI map[string]*fetch
}

// want says that modules will perhaps be used, until leave.
func (f *fetches) want(uris []string) wants {
	w := wants{f, map[string]*fetch{}}
	for _, uri := range uris {
		if w.byURI[uri] != nil || strings.HasPrefix(uri, builtinScheme) {
			continue
		}
		key := uri + " " + f.stamp(uri)
		f.mu.Lock()
		one := f.byKey[key]
		if one == nil || !one.ended.IsZero() && (one.err != nil || time.Since(one.ended) > freshFor) {
			one = &fetch{uri: uri, key: key, done: make(chan struct{})}
			f.byKey[key] = one
		}
		one.users++
		f.mu.Unlock()
		w.byURI[uri] = one
	}
	return w
}

// leave gives up the modules. What nobody wants is not fetched any further.
func (w wants) leave() {
	w.from.mu.Lock()
	defer w.from.mu.Unlock()
	for _, one := range w.byURI {
		if one.users--; one.users > 0 {
			continue
		}
		if one.cancel != nil {
			one.cancel()
		}
		if w.from.byKey[one.key] == one {
			delete(w.from.byKey, one.key)
		}
	}
}

// use returns a module, which is fetched when nobody has yet. It is to be put
// back, with or without an error, when it has been compiled.
func (w wants) use(ctx context.Context, uri string) (*fetch, error) {
	one := w.byURI[uri]
	w.from.mu.Lock()
	one.active++
	if one.cancel == nil {
		var fetching context.Context
		fetching, one.cancel = context.WithCancel(context.WithoutCancel(ctx)) // others may wait for it too
		go w.from.run(fetching, one)
	}
	w.from.mu.Unlock()
	select {
	case <-one.done:
		return one, one.err
	case <-ctx.Done():
		return one, context.Cause(ctx)
	}
}

// put gives back what use returned.
func (w wants) put(one *fetch) {
	w.from.mu.Lock()
	defer w.from.mu.Unlock()
	one.active--
	one.leaveSlot()
}

// leaveSlot gives the slot to the next one of the host, once nobody needs it.
func (one *fetch) leaveSlot() {
	if one.active == 0 && one.slot != nil && !one.ended.IsZero() {
		<-one.slot
		one.slot = nil
	}
}

// run fetches a module when it is its turn.
func (f *fetches) run(ctx context.Context, one *fetch) {
	defer close(one.done)
	slots := f.host(one.uri)
	select {
	case slots <- struct{}{}:
		bounded, cancel := context.WithTimeout(ctx, fetchTimeout)
		one.got, one.err = f.fetch(bounded, one.uri)
		cancel()
		sum := sha256.Sum256(one.got.Wasm)
		one.digest = "sha256:" + hex.EncodeToString(sum[:])
	case <-ctx.Done():
		slots, one.err = nil, context.Cause(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	one.slot, one.ended = slots, time.Now()
	one.leaveSlot()
}

// host returns the slots of a module's host.
func (f *fetches) host(uri string) chan struct{} {
	scheme, rest, _ := strings.Cut(uri, "://")
	name, _, _ := strings.Cut(rest, "/")
	name = scheme + "://" + name
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hosts[name] == nil {
		f.hosts[name] = make(chan struct{}, atOnce)
	}
	return f.hosts[name]
}

// notFetched says whose module could not be fetched, in upstream's words: they
// are different where the module is there, and not signed by whom it must be.
func notFetched(p policy.Policy, err error) *LoadError {
	stage := StageFetch
	switch {
	case isUnverified(err):
		stage, err = StageVerify, fmt.Errorf("Policy '%s' cannot be verified: %w", p.ID, err) //nolint:staticcheck // upstream's text
	case !strings.HasPrefix(p.Module, "file://"):
		err = fmt.Errorf("Error while downloading policy '%s' from %s: %w", p.ID, p.Module, err)
	}
	return &LoadError{p.ID, stage, err}
}

// isUnverified reports whether a module was not fetched because it is not signed
// by whom it must be.
func isUnverified(err error) bool {
	var unsigned *artifact.VerifyError
	var unusable *artifact.SignerError
	return errors.As(err, &unsigned) || errors.As(err, &unusable)
}

// fetchFile is the Fetch of an engine that is given none.
func fetchFile(_ context.Context, uri string) (Fetched, error) {
	path, ok := strings.CutPrefix(uri, "file://")
	if !ok {
		return Fetched{}, errors.New("nothing is fetched here but builtin:// and file:// modules")
	}
	info, err := os.Stat(path)
	if err != nil {
		return Fetched{}, fmt.Errorf("module %q: %w", uri, err)
	}
	if info.Size() > maxModuleBytes {
		return Fetched{}, fmt.Errorf("module %q: %d bytes are more than the %d that a module may have", uri, info.Size(), maxModuleBytes)
	}
	wasm, err := os.ReadFile(path)
	if err != nil {
		return Fetched{}, fmt.Errorf("module %q: %w", uri, err)
	}
	return Fetched{Wasm: wasm}, nil
}

// FileStamp changes when the file of a module does. It is empty for modules
// that are no files, and for files that cannot be read, which fail to load
// anyway.
func FileStamp(uri string) string {
	path, ok := strings.CutPrefix(uri, "file://")
	if !ok {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprint(info.Size(), info.ModTime().UnixNano())
}
