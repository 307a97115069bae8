package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

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

// fetches are the modules of one change of the policies: each is fetched once,
// however many policies want it.
type fetches struct {
	fetch func(ctx context.Context, uri string) (Fetched, error)

	mu    sync.Mutex
	byURI map[string]*fetch
}

type fetch struct {
	once sync.Once
	got  Fetched
	err  error
}

func (e *Engine) newFetches() *fetches {
	return &fetches{fetch: e.opts.Fetch, byURI: map[string]*fetch{}}
}

// get returns the module of a URI. The first that asks waits with its own
// context, the others wait for the first.
func (f *fetches) get(ctx context.Context, uri string) (Fetched, error) {
	f.mu.Lock()
	one := f.byURI[uri]
	if one == nil {
		one = &fetch{}
		f.byURI[uri] = one
	}
	f.mu.Unlock()
	one.once.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		one.got, one.err = f.fetch(ctx, uri)
	})
	return one.got, one.err
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
