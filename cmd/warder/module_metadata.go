package main

import (
	"encoding/json"
	"fmt"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/wasm"
)

// metadata is what of a policy's metadata push and policies look at.
type metadata struct {
	Annotations           map[string]string `json:"annotations"`
	Mutating              bool              `json:"mutating"`
	ContextAwareResources []any             `json:"contextAwareResources"`
}

// metadataOf reads the metadata of a module; nil when it has none.
func metadataOf(module []byte) (*metadata, error) {
	const name = "io.kubewarden.metadata"
	sections, err := wasm.Sections(module)
	if err != nil {
		return nil, fmt.Errorf("cannot parse custom section of wasm module: %w", err)
	}
	for _, s := range sections {
		r := wasm.Reader{Text: s.Payload}
		if s.ID != wasm.SectionCustom || r.Name() != name || r.Err != nil {
			continue
		}
		var meta metadata
		if err := json.Unmarshal(s.Payload[r.At:], &meta); err != nil {
			return nil, fmt.Errorf("cannot deserialize custom section `%s` of wasm module: %w", name, err)
		}
		return &meta, nil
	}
	return nil, nil
}

// manifestAnnotations are those that the metadata gives the manifest.
func (m *metadata) manifestAnnotations() map[string]string {
	if m == nil {
		return nil
	}
	return artifact.ManifestAnnotations(m.Annotations)
}
