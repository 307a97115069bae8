// Package safelabels is the built-in policy safe-labels: it denies labels,
// requires them, or constrains their values, on objects of any kind.
package safelabels

import (
	"context"

	"github.com/warder-dev/warder/library/internal/safekeys"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of safe-labels. The zero value accepts everything.
type Settings struct {
	// DeniedLabels are keys that no object may have.
	DeniedLabels []string `json:"denied_labels"`
	// MandatoryLabels are keys that every object must have.
	MandatoryLabels []string `json:"mandatory_labels"`
	// ConstrainedLabels are regular expressions (RE2, found anywhere in the
	// value) by the key whose value must match. The key may be absent.
	ConstrainedLabels map[string]string `json:"constrained_labels"`

	rules safekeys.Rules
}

// Validate compiles the constraints and reports everything that is wrong.
func (s *Settings) Validate() error {
	s.rules = safekeys.Rules{
		Field:       "labels",
		Denial:      "are denied",
		Denied:      s.DeniedLabels,
		Mandatory:   s.MandatoryLabels,
		Constrained: s.ConstrainedLabels,
	}
	return s.rules.Compile()
}

// Policy returns the policy safe-labels.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return s.rules.Judge(req)
}
