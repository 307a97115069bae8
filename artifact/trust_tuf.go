package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata/fetcher"
	"golang.org/x/sync/singleflight"
)

// TUFOptions say where a trust root is fetched from. The zero value is the
// public Sigstore, and nothing is kept.
type TUFOptions struct {
	// CacheDir is a folder to keep what was fetched in. Default: none.
	CacheDir string
	// Mirror is the address of the repository, and Root the first root.json
	// that is trusted. Default: those of the public Sigstore.
	Mirror string
	Root   []byte
	// Log gets failures to fetch it again. Default: nowhere.
	Log *slog.Logger
}

const (
	// refreshAfter is how old a trust root becomes before it is fetched
	// again: as with Sigstore's own clients.
	refreshAfter = 24 * time.Hour
	// retryAfter is how long a failure is answered with before the next try:
	// a webhook must not wait for a mirror that is away, again and again.
	retryAfter = 30 * time.Second
	// tufTimeout bounds one request to the mirror.
	tufTimeout = 15 * time.Second
)

// FetchTrustRoot returns a trust root that is fetched from a TUF repository
// when the first keyless signature is to be verified, and again every day. One
// that was fetched stays in use while the mirror is away.
func FetchTrustRoot(o TUFOptions) *TrustRoot {
	o.Mirror = cmp.Or(o.Mirror, tuf.DefaultMirror)
	if o.Root == nil {
		o.Root = tuf.DefaultRoot()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &tufRoot{options: o, now: time.Now}
	return &TrustRoot{from: "TUF repository " + o.Mirror, load: f.get}
}

// tufRoot is a trust root that comes from a TUF repository.
type tufRoot struct {
	options TUFOptions
	now     func() time.Time
	flight  singleflight.Group

	mu       sync.Mutex
	material root.TrustedMaterial
	err      error     // of the last try
	next     time.Time // when the next try is due
}

func (t *tufRoot) get(ctx context.Context) (root.TrustedMaterial, error) {
	material, due, err := t.known()
	if !due {
		return material, err
	}
	// The fetch is everybody's: it goes on when the one who has asked first
	// has no more time.
	fetched := t.flight.DoChan("", func() (any, error) { t.refresh(); return nil, nil })
	if material != nil {
		return material, nil // which will do until the fetch is done
	}
	select {
	case <-fetched:
		material, _, err = t.known()
		return material, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// known returns what the last try has brought, and whether the next is due.
func (t *tufRoot) known() (material root.TrustedMaterial, due bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	due = !t.now().Before(t.next)
	if t.material != nil {
		return t.material, due, nil
	}
	return nil, due, t.err
}

func (t *tufRoot) refresh() {
	if _, due, _ := t.known(); !due {
		return // somebody else was quicker
	}
	material, err := t.fetch()
	log := t.options.Log.With("mirror", t.options.Mirror)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.material, t.err, t.next = material, nil, t.now().Add(refreshAfter)
		log.Info("sigstore trust root fetched", "content", describeRoot(material))
	case t.material != nil:
		t.next = t.now().Add(retryAfter)
		log.Warn("sigstore trust root not fetched again: the older one stays in use", "error", err)
	default:
		t.err, t.next = err, t.now().Add(retryAfter)
		log.Warn("Cannot create Sigstore trust root, verification relying on Rekor and Fulcio will fail", "error", err)
	}
}

func (t *tufRoot) fetch() (material root.TrustedMaterial, err error) {
	defer func() {
		if r := recover(); r != nil { // what the mirror says is decoded by code that is not ours
			material, err = nil, fmt.Errorf("it cannot be read: %v", r)
		}
	}()
	download := fetcher.NewDefaultFetcher()
	download.SetHTTPClient(&http.Client{Timeout: tufTimeout})
	client, err := tuf.New(&tuf.Options{
		Root:              t.options.Root,
		RepositoryBaseURL: t.options.Mirror,
		CachePath:         t.options.CacheDir,
		DisableLocalCache: t.options.CacheDir == "",
		Fetcher:           download,
	})
	if err != nil {
		return nil, err
	}
	text, err := client.GetTarget("trusted_root.json")
	if err != nil {
		return nil, err
	}
	if len(text) > maxTrustRootBytes {
		return nil, errors.New("it is too large")
	}
	return parseTrustRoot(text)
}
