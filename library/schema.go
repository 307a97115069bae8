package library

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/warder-dev/warder/library/schema"
)

//go:generate go test -run ^TestDescriptionsAreCurrent$ -update .

// descriptions are the comments of the settings of all built-ins. A test holds
// them to the sources.
//
//go:embed descriptions.json
var descriptions string

// Schema returns the JSON Schema (draft 2020-12) of the settings.
func (b Builtin) Schema() (json.RawMessage, error) {
	var docs schema.Docs
	if err := json.Unmarshal([]byte(descriptions), &docs); err != nil {
		return nil, fmt.Errorf("descriptions.json: %w", err)
	}
	text, err := schema.Of(b.Name, b.Policy.Settings(), docs)
	if err != nil {
		return nil, fmt.Errorf("built-in %q: %w", b.Name, err)
	}
	return text, nil
}
