package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Push puts a module into a registry as kwctl does, with annotations in its
// manifest, and returns host/repository@sha256:HEX. The same module with the
// same annotations has the same digest.
func (c *Client) Push(ctx context.Context, module []byte, uri string, annotations map[string]string) (string, error) {
	r, err := ParseReference(uri)
	if err != nil {
		return "", err
	}
	digest, err := c.push(ctx, module, r, annotations)
	if err != nil {
		return "", fmt.Errorf("push %s: %w", r, err)
	}
	return hubName(r.image.Context().Name()) + "@" + digest, nil
}

func (c *Client) push(ctx context.Context, module []byte, r Reference, annotations map[string]string) (string, error) {
	tag, ok := r.image.(name.Tag)
	switch {
	case r.Scheme != Registry:
		return "", errors.New("want a registry, as in registry://ghcr.io/acme/policy:v1")
	case !ok:
		return "", errors.New("a module is pushed to a tag: its digest is known afterwards")
	case len(module) > MaxModuleBytes:
		return "", tooLarge(int64(len(module)))
	}
	if err := checkModule(module); err != nil {
		return "", err
	}
	config := []byte("{}")
	manifest, err := json.Marshal(imageManifest{
		SchemaVersion: 2,
		Config:        &descriptor{MediaType: mediaConfig, Digest: digestOf(config), Size: int64(len(config))},
		Layers:        []descriptor{{MediaType: mediaModule, Digest: digestOf(module), Size: int64(len(module))}},
		Annotations:   annotations,
	})
	if err != nil {
		return "", err
	}
	options, err := c.ReachForPush(ctx, tag)
	if err != nil {
		return "", err
	}
	for _, blob := range []v1.Layer{
		static.NewLayer(config, mediaConfig),
		countedLayer{static.NewLayer(module, mediaModule), int64(len(module)), c.pushed},
	} {
		if err := remote.WriteLayer(tag.Context(), blob, options...); err != nil {
			return "", c.failed(tag.Context(), err)
		}
	}
	if err := remote.Put(tag, pushedManifest(manifest), options...); err != nil {
		return "", c.failed(tag.Context(), err)
	}
	return digestOf(manifest), nil
}

// countedLayer tells how much of it was read.
type countedLayer struct {
	v1.Layer
	size     int64
	progress func(done, total int64)
}

// Compressed implements v1.Layer.
func (l countedLayer) Compressed() (io.ReadCloser, error) {
	body, err := l.Layer.Compressed()
	if err != nil || l.progress == nil {
		return body, err
	}
	l.progress(0, l.size)
	return struct {
		io.Reader
		io.Closer
	}{&counted{body, 0, l.size, l.progress}, body}, nil
}

// pushedManifest is a manifest as go-containerregistry takes it.
type pushedManifest []byte

func (m pushedManifest) RawManifest() ([]byte, error)        { return m, nil }
func (m pushedManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// ManifestAnnotations are the annotations of a policy's metadata as its manifest
// has them: those of more than one line are left out, and the source is also
// where other tools look for it.
func ManifestAnnotations(metadata map[string]string) map[string]string {
	const source = "org.opencontainers.image.source"
	out := map[string]string{}
	for key, value := range metadata {
		if value = strings.TrimSpace(value); !strings.Contains(value, "\n") {
			out[key] = value
		}
	}
	if from := out["io.kubewarden.policy.source"]; from != "" && out[source] == "" {
		out[source] = from
	}
	return out
}
