package artifact

import (
	"context"
	"errors"
	"fmt"
)

// Puller gets modules. Set Client before the first pull; the rest may be left
// out. It is safe for concurrent use.
type Puller struct {
	// Client reaches registries and other hosts.
	Client *Client
	// Store keeps what was pulled. Without one everything is pulled each time.
	Store *Store
	// Verify, when set, says what of an image is signed as it must be: that is
	// pulled and nothing else. What is in no registry is refused then.
	Verify func(ctx context.Context, image string) (Verified, error)
	// Progress is told how many bytes of a reference's module are there, and
	// how many there are in all: -1 when that is not known.
	Progress func(reference string, done, total int64)

	flights flights[fetched]
}

// fetched is a module with the manifests that lead to it, by digest.
type fetched struct {
	*Module
	manifests map[string][]byte
}

// Pull returns the module at uri, checked against the digests that lead to it.
// It is at most MaxModuleBytes.
//
// A digest is looked for in the store first, and so is a tag other than latest,
// or a URL. When the registry cannot answer, the module that the store has for
// the reference is returned with the reason in Stale. A file is read where it is.
//
// The error is ErrNotFound, ErrUnauthorized or ErrUnavailable when a host said
// so; only the last may pass by itself. Two pulls of one digest fetch it once.
func (p *Puller) Pull(ctx context.Context, uri string) (*Module, error) {
	r, err := ParseReference(uri)
	if err != nil {
		return nil, err
	}
	m, err := p.pull(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", redact(r.String()), err)
	}
	return m, nil
}

func (p *Puller) pull(ctx context.Context, r Reference) (*Module, error) {
	if r.Scheme == Builtin {
		return nil, errors.New("it is built in: there is nothing to pull")
	}
	if r.Scheme != Registry && p.Verify != nil {
		return nil, fmt.Errorf("Verification only works with OCI images: Not a valid oci image: %s is signed by nobody; push it to a registry and sign it there", redact(r.String())) //nolint:staticcheck // upstream's text
	}
	switch r.Scheme {
	case File:
		data, err := ReadFile(r.Path())
		if err != nil {
			return nil, err
		}
		return moduleOf(r, &record{}, data).fresh(), nil
	case HTTP, HTTPS:
		return p.pullURL(ctx, r)
	}
	digest := r.Digest()
	if p.Verify != nil {
		verified, err := p.Verify(ctx, r.Image())
		if err != nil {
			return nil, err
		}
		if digest != "" && digest != verified.Digest || !isSHA256(verified.Digest) {
			return nil, fmt.Errorf("digest %s was verified, which is not what was asked for", verified.Digest)
		}
		m, err := p.pullDigest(ctx, r, verified.Digest, nil)
		if err == nil && m.Stale == nil {
			m.Stale = verified.Stale
		}
		return m, err
	}
	if digest != "" {
		return p.pullDigest(ctx, r, digest, nil)
	}
	return p.pullTag(ctx, r)
}

func (m *Module) fresh() *Module {
	m.Cached = false
	return m
}

func (p *Puller) pullURL(ctx context.Context, r Reference) (*Module, error) {
	stored, damage := p.stored(r)
	if stored != nil {
		return stored, nil
	}
	f, err := p.flights.do(ctx, r.String(), func(ctx context.Context) (fetched, error) {
		data, err := p.Client.download(ctx, r.String(), p.progress(r))
		if err == nil {
			err = checkModule(data)
		}
		if err != nil {
			return fetched{}, err
		}
		return fetched{Module: moduleOf(r, &record{}, data).fresh()}, nil
	})
	if err != nil {
		return nil, errors.Join(err, damage)
	}
	return p.keep(r, f), nil
}

// stored looks a reference up in the store.
func (p *Puller) stored(r Reference) (*Module, error) {
	if p.Store == nil {
		return nil, nil
	}
	return p.Store.find(r)
}

func (p *Puller) progress(r Reference) func(done, total int64) {
	if p.Progress == nil {
		return nil
	}
	return func(done, total int64) { p.Progress(redact(r.String()), done, total) }
}

// keep puts a module into the store. It returns a copy for the caller alone.
func (p *Puller) keep(r Reference, f fetched) *Module {
	own := *f.Module
	if own.Digest != "" {
		own.Reference = r.Pinned(own.Digest) // who fetched it may have named another repository
	}
	if p.Store != nil {
		own.Unstored = p.Store.put(r, &own, f.manifests)
	}
	return &own
}

// pullTag finds out the digest of a tag, from the store if that will do.
func (p *Puller) pullTag(ctx context.Context, r Reference) (*Module, error) {
	stored, damage := p.stored(r)
	if stored != nil && !r.moves() {
		return stored, nil
	}
	raw, digest, err := p.Client.manifest(ctx, r.image)
	var m *Module
	if err == nil {
		m, err = p.pullDigest(ctx, r, digest, raw)
	}
	switch {
	case err == nil:
		return m, nil
	case stored != nil && errors.Is(err, ErrUnavailable) && !errors.Is(ctx.Err(), context.Canceled):
		stored.Stale = err
		return stored, nil
	}
	return nil, errors.Join(err, damage)
}

// pullDigest returns the module of a manifest or index, whose bytes are raw when
// the registry has sent them already.
func (p *Puller) pullDigest(ctx context.Context, r Reference, digest string, raw []byte) (*Module, error) {
	f, err := p.byDigest(ctx, r, digest, raw)
	if err == nil && p.Verify != nil {
		err = f.oneLayer()
	}
	if err != nil {
		return nil, err
	}
	return p.keep(r, f), nil
}

func (p *Puller) byDigest(ctx context.Context, r Reference, digest string, raw []byte) (fetched, error) {
	var damage error
	if p.Store != nil {
		m, manifests, err := p.Store.byDigest(r, digest)
		if m != nil {
			return fetched{m, manifests}, nil
		}
		damage = err
	}
	f, err := p.flights.do(ctx, digest, func(ctx context.Context) (fetched, error) { return p.fetch(ctx, r, digest, raw) })
	if err != nil {
		return fetched{}, errors.Join(err, damage)
	}
	return f, nil
}

// oneLayer refuses a manifest with other layers than the module's: with what is
// verified there is no question of which one was meant.
func (f fetched) oneLayer() error {
	for _, raw := range f.manifests {
		manifest, _, err := parseManifest(raw)
		if err != nil {
			return err
		}
		if manifest != nil && len(manifest.Layers) != 1 {
			return errors.New("Cannot verify local file integrity, the remote manifest doesn't have only one WASM layer") //nolint:staticcheck // upstream's text
		}
	}
	return nil
}

// fetch goes from a manifest or index to the module. Bytes that are in the store
// without their manifest, as kwctl keeps them, are not fetched again.
func (p *Puller) fetch(ctx context.Context, r Reference, digest string, raw []byte) (fetched, error) {
	repo := r.image.Context()
	get := func(digest string) ([]byte, error) {
		raw, _, err := p.Client.manifest(ctx, repo.Digest(digest)) // which is checked
		return raw, err
	}
	if raw == nil {
		var err error
		if raw, err = get(digest); err != nil {
			return fetched{}, err
		}
	}
	layer, manifests, err := resolve(digest, raw, get)
	if err != nil {
		return fetched{}, err
	}
	if p.Store != nil {
		if data, err := readStored(p.Store.visible(r.StorePath())); err == nil && digestOf(data) == layer.Digest {
			return fetched{moduleOf(r, &record{Manifest: digest}, data), manifests}, nil
		}
	}
	data, err := p.Client.blob(ctx, repo, layer, p.progress(r))
	if err == nil {
		err = checkModule(data)
	}
	if err != nil {
		return fetched{}, err
	}
	return fetched{moduleOf(r, &record{Manifest: digest}, data).fresh(), manifests}, nil
}
