package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	source   = "https://github.com/warder-dev/warder"
	spdxType = "application/spdx+json"

	// emptyConfig is the type of the config that says nothing, "{}": that of
	// an artifact which is no image.
	emptyConfig = "application/vnd.oci.empty.v1+json"
)

// result is what was made: index names the images of all platforms and their
// SBOMs.
type result struct {
	index  v1.ImageIndex
	images []platformImage
}

// platformImage is the image of one platform.
type platformImage struct {
	platform v1.Platform
	image    v1.Image
	sbom     []byte
}

// assemble makes images of binaries. The SBOMs are referrers of their images,
// and in the index too, so that whoever copies the index copies them.
func assemble(binaries []*binary) (*result, error) {
	at, err := timestamp(binaries[0])
	if err != nil {
		return nil, err
	}
	base, err := layer(system(), at)
	if err != nil {
		return nil, err
	}
	made := &result{}
	var images, sboms []mutate.IndexAddendum
	for _, b := range binaries {
		image, err := newImage(b, base, at)
		if err != nil {
			return nil, err
		}
		sbom, err := newSBOM(b, at)
		if err != nil {
			return nil, err
		}
		subject, err := partial.Descriptor(image)
		if err != nil {
			return nil, err
		}
		attached, err := newReferrer(sbom, subject, at)
		if err != nil {
			return nil, err
		}
		images = append(images, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &b.platform}})
		sboms = append(sboms, mutate.IndexAddendum{Add: attached, Descriptor: v1.Descriptor{
			ArtifactType: spdxType,
			// A runtime takes an entry without platform for one that might fit.
			Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
		}})
		made.images = append(made.images, platformImage{platform: b.platform, image: image, sbom: sbom})
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), append(images, sboms...)...)
	annotated, ok := mutate.Annotations(index, labels(binaries[0], at)).(v1.ImageIndex)
	if !ok {
		return nil, fmt.Errorf("annotated index is a %T", annotated)
	}
	made.index = annotated
	return made, nil
}

// labels describe the image to people and registries.
// Source: https://github.com/opencontainers/image-spec/blob/main/annotations.md.
func labels(b *binary, at time.Time) map[string]string {
	l := map[string]string{
		"org.opencontainers.image.title":       "warder",
		"org.opencontainers.image.description": "Kubernetes policy engine that runs Kubewarden's policies",
		"org.opencontainers.image.source":      source,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     b.version(),
		"org.opencontainers.image.created":     at.Format(time.RFC3339),
	}
	if revision := b.setting("vcs.revision"); revision != "" {
		l["org.opencontainers.image.revision"] = revision
	}
	return l
}

func newImage(b *binary, base v1.Layer, at time.Time) (v1.Image, error) {
	own, err := layer([]file{{name: "warder", mode: 0o755, content: b.content}}, at)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image,
		mutate.Addendum{Layer: base, History: v1.History{Created: v1.Time{Time: at}, CreatedBy: "user, certificates and /tmp"}},
		mutate.Addendum{Layer: own, History: v1.History{Created: v1.Time{Time: at}, CreatedBy: "go build ./cmd/warder"}})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = b.platform.OS, b.platform.Architecture
	config.Created = v1.Time{Time: at}
	config.Config = v1.Config{
		User:       fmt.Sprintf("%d:%d", user, user),
		Entrypoint: []string{"/warder"},
		// Where Kubewarden's policy-server was, nobody names the command.
		Cmd: []string{"serve"},
		// A pod with a read-only root can write to /tmp alone.
		Env:        []string{"PATH=/", "HOME=/home/warder", "XDG_CACHE_HOME=/tmp/cache"},
		WorkingDir: "/",
		Labels:     labels(b, at),
	}
	return mutate.ConfigFile(image, config)
}

// referrer is a manifest that says something of another one, its subject.
type referrer struct {
	manifest []byte
	layer    v1.Layer
}

// newReferrer makes the artifact that attaches an SBOM to an image.
func newReferrer(sbom []byte, subject *v1.Descriptor, at time.Time) (v1.Image, error) {
	content := static.NewLayer(sbom, spdxType)
	described, err := partial.Descriptor(content)
	if err != nil {
		return nil, err
	}
	config, err := partial.Descriptor(static.NewLayer([]byte("{}"), emptyConfig))
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: spdxType,
		Config: *config, Layers: []v1.Descriptor{*described},
		Subject:     &v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest},
		Annotations: map[string]string{"org.opencontainers.image.created": at.Format(time.RFC3339)},
	})
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(referrer{manifest: manifest, layer: content})
}

func (r referrer) RawManifest() ([]byte, error)        { return r.manifest, nil }
func (r referrer) RawConfigFile() ([]byte, error)      { return []byte("{}"), nil }
func (r referrer) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (r referrer) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if have, err := r.layer.Digest(); err != nil || have != h {
		return nil, fmt.Errorf("no layer %s", h)
	}
	return r.layer, nil
}

// replaceable says whether a folder may be made anew: only an OCI layout, or
// nothing, may go.
func replaceable(folder string) error {
	entries, err := os.ReadDir(folder)
	switch {
	case os.IsNotExist(err):
		return nil
	case err != nil:
		return fmt.Errorf("--out: %w", err)
	}
	if _, err := os.Stat(filepath.Join(folder, "oci-layout")); err != nil && len(entries) > 0 {
		return fmt.Errorf("--out %s: there are files, but no OCI layout; name a folder that is new or empty", folder)
	}
	return nil
}

// write makes an OCI layout in a folder, with the SBOMs beside it.
func (r *result) write(folder, tag string) error {
	if err := replaceable(folder); err != nil {
		return err
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	path, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	err = path.AppendIndex(r.index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": tag,
		"io.containerd.image.name":          tag, // what containerd looks for first
	}))
	if err != nil {
		return err
	}
	for _, i := range r.images {
		file := filepath.Join(folder, "sbom-"+i.platform.Architecture+".spdx.json")
		if err := os.WriteFile(file, i.sbom, 0o644); err != nil {
			return err
		}
	}
	return nil
}
