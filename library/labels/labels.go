// Package labels is the built-in policy labels: it compares the labels of
// objects of any kind with a list.
package labels

import (
	"context"

	"github.com/warder-dev/warder/library/internal/criteria"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of labels. Both must be given.
type Settings struct {
	// Criteria says how the keys of the object's labels are compared with
	// Values: containsAnyOf, doesNotContainAnyOf, containsAllOf,
	// doesNotContainAllOf, containsOtherThan (at least one that is not among
	// Values) or doesNotContainOtherThan (none that is not among Values).
	Criteria criteria.Criteria `json:"criteria"`
	// Values are keys of labels.
	Values []string `json:"values"`
}

// Validate reports an unknown criteria, no values, and keys that no object can
// have.
func (s *Settings) Validate() error {
	return s.rule().Validate(func(key string) bool { return !criteria.ValidKey(key) })
}

func (s *Settings) rule() criteria.Rule {
	return criteria.Rule{Criteria: s.Criteria, Values: s.Values, Noun: "label"}
}

// Policy returns the policy labels.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return s.rule().JudgeMetadata(ctx, "labels", req)
}
