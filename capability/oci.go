package capability

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

var errNoImages = errors.New("no client for registries: this process was started without one")

// manifestDigest answers oci/v1/manifest_digest.
func (h *Host) manifestDigest(ctx context.Context, payload []byte) ([]byte, error) {
	return h.askImages(ctx, "digest", payload, func(ctx context.Context, image string) (any, error) {
		digest, err := h.Services.Images.Digest(ctx, image)
		return struct {
			Digest string `json:"digest"`
		}{digest}, err
	})
}

// manifest answers oci/v1/oci_manifest.
func (h *Host) manifest(ctx context.Context, payload []byte) ([]byte, error) {
	return h.askImages(ctx, "manifest", payload, func(ctx context.Context, image string) (any, error) {
		text, err := h.Services.Images.Manifest(ctx, image)
		if err != nil {
			return nil, err
		}
		return knownFields(text)
	})
}

// manifestConfig answers oci/v1/oci_manifest_config.
func (h *Host) manifestConfig(ctx context.Context, payload []byte) ([]byte, error) {
	return h.askImages(ctx, "config", payload, func(ctx context.Context, image string) (any, error) {
		text, digest, config, err := h.Services.Images.Config(ctx, image)
		if err != nil {
			return nil, err
		}
		manifest, err := knownFields(text)
		return struct {
			Manifest any             `json:"manifest"`
			Digest   string          `json:"digest"`
			Config   json.RawMessage `json:"config"`
		}{manifest, digest, config}, err
	})
}

// askImages answers a question about an image, which is known by its reference
// as the policy writes it.
func (h *Host) askImages(ctx context.Context, what string, payload []byte, ask func(context.Context, string) (any, error)) ([]byte, error) {
	image, err := decodeText(payload)
	if err != nil {
		return nil, err
	}
	if h.Services.Images == nil {
		return nil, evaluated(errNoImages)
	}
	return keep(ctx, h.Services.cache().images, what+" "+image, func(ctx context.Context) ([]byte, error) {
		answer, err := ask(ctx, image)
		if err != nil {
			return nil, err
		}
		return json.Marshal(answer)
	})
}

// descriptor and the other types below are what policies see of a manifest.
// Kubewarden drops what they do not name, and so do we: a policy gets the same
// document from both. Layout: https://github.com/opencontainers/image-spec.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

type platform struct {
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
	Variant      string   `json:"variant,omitempty"`
	Features     []string `json:"features,omitempty"`
}

type imageManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Subject       *descriptor       `json:"subject,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type imageIndex struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Manifests     []indexEntry      `json:"manifests"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type indexEntry struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Platform     *platform         `json:"platform,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// knownFields reads a manifest, or the index that has "manifests".
func knownFields(text []byte) (any, error) {
	var kind struct{ Manifests, Layers json.RawMessage }
	if err := json.Unmarshal(text, &kind); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	var manifest any = &imageManifest{}
	switch {
	case kind.Manifests != nil:
		manifest = &imageIndex{}
	case kind.Layers == nil:
		return nil, errors.New("manifest: it has neither layers nor manifests")
	}
	if err := json.Unmarshal(text, manifest); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return manifest, nil
}
