// Package safeannotations is the built-in policy safe-annotations: it denies annotations,
// requires them, or constrains their values, on objects of any kind.
package safeannotations

import (
	"context"

	"github.com/warder-dev/warder/library/internal/safekeys"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of safe-annotations. The zero value accepts everything.
type Settings struct {
	// DeniedAnnotations are keys that no object may have.
	DeniedAnnotations []string `json:"denied_annotations"`
	// MandatoryAnnotations are keys that every object must have.
	MandatoryAnnotations []string `json:"mandatory_annotations"`
	// ConstrainedAnnotations are regular expressions (RE2, found anywhere in the
	// value) by the key whose value must match. The key may be absent.
	ConstrainedAnnotations map[string]string `json:"constrained_annotations"`

	rules safekeys.Rules
}

// Validate compiles the constraints and reports everything that is wrong.
func (s *Settings) Validate() error {
	s.rules = safekeys.Rules{
		Field:       "annotations",
		Denial:      "are not allowed",
		Denied:      s.DeniedAnnotations,
		Mandatory:   s.MandatoryAnnotations,
		Constrained: s.ConstrainedAnnotations,
	}
	return s.rules.Compile()
}

// Policy returns the policy safe-annotations.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return s.rules.Judge(req)
}
