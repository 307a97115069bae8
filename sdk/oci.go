package sdk

import (
	"context"
	"encoding/json"
)

// ManifestConfig is an image's manifest with its configuration.
type ManifestConfig struct {
	Manifest json.RawMessage `json:"manifest"` // an OCI image manifest
	Digest   string          `json:"digest"`   // sha256:<hex> of the manifest
	Config   json.RawMessage `json:"config"`   // the config blob
}

// ManifestDigest returns the digest (sha256:<hex>) that an image reference
// stands for. It needs the capability oci/v1/manifest_digest.
func ManifestDigest(ctx context.Context, image string) (string, error) {
	answer, err := ask[struct {
		Digest string `json:"digest"`
	}](ctx, "oci", "v1/manifest_digest", image)
	return answer.Digest, err
}

// Manifest returns the manifest or index of an image as JSON. It needs the
// capability oci/v1/oci_manifest.
func Manifest(ctx context.Context, image string) (json.RawMessage, error) {
	return askRaw(ctx, "oci", "v1/oci_manifest", image)
}

// ManifestAndConfig returns the manifest of an image (of an index, the entry
// of the host's own platform) and its configuration. It needs the capability
// oci/v1/oci_manifest_config.
func ManifestAndConfig(ctx context.Context, image string) (ManifestConfig, error) {
	return ask[ManifestConfig](ctx, "oci", "v1/oci_manifest_config", image)
}
