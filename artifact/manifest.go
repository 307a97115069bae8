package artifact

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Media types of an artifact. Source: Kubewarden's policy-fetcher; the second
// type of a layer is that of other tools for WebAssembly.
const (
	mediaModule     = "application/vnd.wasm.content.layer.v1+wasm"
	mediaModuleTool = "application/wasm"
	mediaConfig     = "application/vnd.wasm.config.v1+json"

	mediaImage       = "application/vnd.oci.image.manifest.v1+json"
	mediaIndex       = "application/vnd.oci.image.index.v1+json"
	mediaDockerImage = "application/vnd.docker.distribution.manifest.v2+json"
	mediaDockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// manifestLimit bounds a manifest. Source: registries take 4 MiB at most,
// says the specification of their API.
const manifestLimit = 4 << 20

// The manifests as Kubewarden gives them to policies: what is not here is left
// out. Source: oci-client's manifest types.
type (
	imageManifest struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType,omitempty"`
		Config        *descriptor       `json:"config"`
		Layers        []descriptor      `json:"layers"`
		Subject       *descriptor       `json:"subject,omitempty"`
		ArtifactType  string            `json:"artifactType,omitempty"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}
	descriptor struct {
		MediaType    string            `json:"mediaType"`
		Digest       string            `json:"digest"`
		Size         int64             `json:"size"`
		URLs         []string          `json:"urls,omitempty"`
		Annotations  map[string]string `json:"annotations,omitempty"`
		ArtifactType string            `json:"artifactType,omitempty"`
	}
	indexManifest struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType,omitempty"`
		Manifests     []indexEntry      `json:"manifests"`
		ArtifactType  string            `json:"artifactType,omitempty"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}
	indexEntry struct {
		MediaType    string            `json:"mediaType"`
		Digest       string            `json:"digest"`
		Size         int64             `json:"size"`
		Platform     *platform         `json:"platform,omitempty"`
		Annotations  map[string]string `json:"annotations,omitempty"`
		ArtifactType string            `json:"artifactType,omitempty"`
	}
	platform struct {
		Architecture string   `json:"architecture"`
		OS           string   `json:"os"`
		OSVersion    string   `json:"os.version,omitempty"`
		OSFeatures   []string `json:"os.features,omitempty"`
		Variant      string   `json:"variant,omitempty"`
		Features     []string `json:"features,omitempty"`
	}
)

// parseManifest reads a manifest or an index: one of the two is not nil.
func parseManifest(raw []byte) (*imageManifest, *indexManifest, error) {
	if len(raw) > manifestLimit {
		return nil, nil, fmt.Errorf("manifest: it has %d bytes; %d are the most", len(raw), manifestLimit)
	}
	var shape struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Config        json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(raw, &shape); err != nil {
		return nil, nil, fmt.Errorf("manifest: %w", err)
	}
	isIndex := shape.MediaType == mediaIndex || shape.MediaType == mediaDockerIndex || shape.MediaType == "" && shape.Config == nil && shape.Manifests != nil
	switch {
	case shape.SchemaVersion != 2:
		return nil, nil, fmt.Errorf("manifest: schema version %d, want 2", shape.SchemaVersion)
	case shape.MediaType != "" && !isIndex && shape.MediaType != mediaImage && shape.MediaType != mediaDockerImage:
		return nil, nil, fmt.Errorf("manifest: media type %q is neither that of an image nor of an index", shape.MediaType)
	case isIndex:
		var index indexManifest
		if err := json.Unmarshal(raw, &index); err != nil {
			return nil, nil, fmt.Errorf("index: %w", err)
		}
		if index.Manifests == nil {
			index.Manifests = []indexEntry{}
		}
		return nil, &index, nil
	}
	var image imageManifest
	if err := json.Unmarshal(raw, &image); err != nil {
		return nil, nil, fmt.Errorf("manifest: %w", err)
	}
	if image.Config == nil {
		return nil, nil, fmt.Errorf("manifest: it has neither a config nor manifests")
	}
	if image.Layers == nil {
		image.Layers = []descriptor{}
	}
	return &image, nil, nil
}

// module returns the layer that is the module.
func (m *imageManifest) module() (descriptor, error) {
	if len(m.Layers) == 0 {
		return descriptor{}, fmt.Errorf("empty layers")
	}
	for _, layer := range m.Layers {
		if layer.MediaType != mediaModule && layer.MediaType != mediaModuleTool {
			return descriptor{}, fmt.Errorf("it is no policy: a layer has the media type %q, want %s", layer.MediaType, mediaModule)
		}
	}
	layer := m.Layers[0]
	switch {
	case !isSHA256(layer.Digest):
		return descriptor{}, fmt.Errorf("layer: digest %q: want sha256 and 64 digits", layer.Digest)
	case layer.Size <= 0 || layer.Size > MaxModuleBytes:
		return descriptor{}, fmt.Errorf("layer: %d bytes; a module has 1 to %d", layer.Size, MaxModuleBytes)
	}
	return layer, nil
}

// policy returns the only entry that can be a policy. Entries say little of
// what they are: platforms and types are looked at, signatures left out.
func (m *indexManifest) policy() (indexEntry, error) {
	var images, wasm []indexEntry
	for _, e := range m.Manifests {
		if e.MediaType != mediaImage && e.MediaType != mediaDockerImage || e.Annotations["vnd.docker.reference.type"] != "" {
			continue
		}
		images = append(images, e)
		if e.isWasm() {
			wasm = append(wasm, e)
		}
	}
	candidates := wasm
	if len(wasm) == 0 && len(images) == 1 {
		candidates = images
	}
	switch {
	case len(candidates) == 0:
		return indexEntry{}, fmt.Errorf("index: none of its %d entries is a WebAssembly module", len(m.Manifests))
	case len(candidates) > 1:
		return indexEntry{}, fmt.Errorf("index: %d entries are WebAssembly modules; name one of them by its digest: %s", len(candidates), candidates[0].Digest)
	case !isSHA256(candidates[0].Digest):
		return indexEntry{}, fmt.Errorf("index: digest %q: want sha256 and 64 digits", candidates[0].Digest)
	}
	return candidates[0], nil
}

func (e *indexEntry) isWasm() bool {
	if e.ArtifactType == mediaConfig {
		return true
	}
	return e.Platform != nil && (strings.HasPrefix(e.Platform.Architecture, "wasm") || strings.HasPrefix(e.Platform.OS, "wasi"))
}

// isSHA256 reports whether text is sha256: and 64 digits.
func isSHA256(text string) bool {
	digits, ok := strings.CutPrefix(text, "sha256:")
	return ok && len(digits) == 64 && isHex(digits)
}

func isHex(text string) bool {
	return strings.Trim(text, "0123456789abcdef") == ""
}
