// Package annotations is the built-in policy annotations: it compares the annotations of
// objects of any kind with a list.
package annotations

import (
	"context"

	"github.com/warder-dev/warder/library/internal/criteria"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of annotations. Both must be given.
type Settings struct {
	// Criteria says how the keys of the object's annotations are compared with
	// Values: containsAnyOf, doesNotContainAnyOf, containsAllOf,
	// doesNotContainAllOf, containsOtherThan (at least one that is not among
	// Values) or doesNotContainOtherThan (none that is not among Values).
	Criteria criteria.Criteria `json:"criteria"`
	// Values are keys of annotations.
	Values []string `json:"values"`
}

// Validate reports an unknown criteria, no values, and keys that no object can
// have.
func (s *Settings) Validate() error {
	return s.rule().Validate(func(key string) bool { return !criteria.ValidKey(key) })
}

func (s *Settings) rule() criteria.Rule {
	return criteria.Rule{Criteria: s.Criteria, Values: s.Values, Noun: "annotation"}
}

// Policy returns the policy annotations.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return s.rule().JudgeMetadata(ctx, "annotations", req)
}
