package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// maxImageConfigBytes bounds the configuration of an image that a policy asks for.
const maxImageConfigBytes = 8 << 20

// Digest returns the digest of the manifest or index of an image. It is asked
// for with HEAD, and where that gives none, by reading it.
func (c *Client) Digest(ctx context.Context, image string) (string, error) {
	ref, err := imageReference(image)
	if err != nil {
		return "", err
	}
	digest, err := c.digest(ctx, ref)
	if err != nil {
		return "", fmt.Errorf("%s: %w", ref, err)
	}
	return digest, nil
}

func (c *Client) digest(ctx context.Context, ref name.Reference) (string, error) {
	options, err := c.options(ctx, ref.Context(), transport.PullScope)
	if err != nil {
		return "", err
	}
	head, err := remote.Head(ref, options...)
	if err == nil {
		return head.Digest.String(), nil
	}
	if err := classify(err); ctx.Err() != nil || errors.Is(err, ErrUnavailable) {
		return "", err
	}
	_, digest, err := c.manifest(ctx, ref) // which also says why
	return digest, err
}

// Manifest returns the manifest or index of an image as JSON, with what
// Kubewarden gives to policies.
func (c *Client) Manifest(ctx context.Context, image string) (json.RawMessage, error) {
	ref, err := imageReference(image)
	if err != nil {
		return nil, err
	}
	raw, _, err := c.manifest(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	manifest, index, err := parseManifest(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", ref, err)
	case index != nil:
		return json.Marshal(index)
	}
	return json.Marshal(manifest)
}

// Config returns the manifest of an image, its digest and its configuration; of
// an index those of the entry for linux and the processor that this runs on.
func (c *Client) Config(ctx context.Context, image string) (manifest json.RawMessage, digest string, config json.RawMessage, err error) {
	ref, err := imageReference(image)
	if err != nil {
		return nil, "", nil, err
	}
	parsed, digest, err := c.image(ctx, ref)
	if err == nil {
		config, err = c.config(ctx, ref.Context(), *parsed.Config)
	}
	if err == nil {
		manifest, err = json.Marshal(parsed)
	}
	if err != nil {
		return nil, "", nil, fmt.Errorf("%s: %w", ref, err)
	}
	return manifest, digest, config, nil
}

// image reads the manifest of an image, and follows an index to it.
func (c *Client) image(ctx context.Context, ref name.Reference) (*imageManifest, string, error) {
	raw, digest, err := c.manifest(ctx, ref)
	if err != nil {
		return nil, "", err
	}
	manifest, index, err := parseManifest(raw)
	if err != nil || manifest != nil {
		return manifest, digest, err
	}
	if digest, err = index.own(); err != nil {
		return nil, "", err
	}
	if raw, _, err = c.manifest(ctx, ref.Context().Digest(digest)); err != nil {
		return nil, "", err
	}
	manifest, index, err = parseManifest(raw)
	if err == nil && index != nil {
		err = errors.New("the index names another index")
	}
	return manifest, digest, err
}

// own is the digest of the entry for this platform.
func (m *indexManifest) own() (string, error) {
	for _, e := range m.Manifests {
		if e.Platform != nil && e.Platform.OS == "linux" && e.Platform.Architecture == runtime.GOARCH && isSHA256(e.Digest) {
			return e.Digest, nil
		}
	}
	return "", fmt.Errorf("index: none of its %d entries is for linux/%s", len(m.Manifests), runtime.GOARCH)
}

func (c *Client) config(ctx context.Context, repo name.Repository, d descriptor) (json.RawMessage, error) {
	if !isSHA256(d.Digest) || d.Size < 0 || d.Size > maxImageConfigBytes {
		return nil, fmt.Errorf("config: digest %q, %d bytes; want sha256 and at most %d bytes", d.Digest, d.Size, maxImageConfigBytes)
	}
	text, err := c.blob(ctx, repo, d, nil)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if !json.Valid(text) {
		return nil, errors.New("config: it is not JSON")
	}
	return text, nil
}

// manifest reads a manifest or index, and returns it with its digest.
func (c *Client) manifest(ctx context.Context, ref name.Reference) (raw []byte, digest string, err error) {
	options, err := c.options(ctx, ref.Context(), transport.PullScope)
	if err != nil {
		return nil, "", err
	}
	d, err := remote.Get(ref, options...)
	if err != nil {
		return nil, "", c.failed(ref.Context(), err)
	}
	return d.Manifest, d.Digest.String(), nil
}

// blob reads a blob, whose size and digest must be those of d. progress, if
// not nil, is told how much is there.
func (c *Client) blob(ctx context.Context, repo name.Repository, d descriptor, progress func(done, total int64)) ([]byte, error) {
	ref := repo.Digest(d.Digest)
	options, err := c.options(ctx, ref.Context(), transport.PullScope)
	if err != nil {
		return nil, err
	}
	layer, err := remote.Layer(ref, options...)
	if err != nil {
		return nil, c.failed(repo, err)
	}
	body, err := layer.Compressed()
	if err != nil {
		return nil, c.failed(repo, err)
	}
	defer body.Close()
	data, err := readAll(body, d.Size, progress)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, &kindError{ErrUnavailable, fmt.Errorf("blob %s: it ends after %d of %d bytes", d.Digest, len(data), d.Size)}
	case err != nil:
		return nil, fmt.Errorf("blob %s: %w", d.Digest, classify(err))
	}
	if have := digestOf(data); have != d.Digest {
		return nil, fmt.Errorf("blob %s: its digest is %s: the registry sent something else", d.Digest, have)
	}
	return data, nil
}

// readAll reads exactly size bytes.
func readAll(r io.Reader, size int64, progress func(done, total int64)) ([]byte, error) {
	if progress != nil {
		progress(0, size)
		r = &counted{r, 0, size, progress}
	}
	data := make([]byte, 0, min(size, 1<<20)+1) // a size is only a claim
	for int64(len(data)) <= size {
		if len(data) == cap(data) {
			grown := make([]byte, len(data), min(2*int64(cap(data)), size+1))
			copy(grown, data)
			data = grown
		}
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case errors.Is(err, io.EOF) && int64(len(data)) < size:
			return data, io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return data, tooLong(data, size)
		case err != nil:
			return data, err
		}
	}
	return data, tooLong(data, size)
}

func tooLong(data []byte, size int64) error {
	if int64(len(data)) > size {
		return fmt.Errorf("it has more than %d bytes", size)
	}
	return nil
}

// counted tells how much was read of it.
type counted struct {
	io.Reader
	done, total int64
	progress    func(done, total int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.done += int64(n)
	c.progress(c.done, c.total)
	return n, err
}

// digestOf is the digest of bytes, sha256: and 64 digits.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
