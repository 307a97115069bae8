// Package safelabels is the built-in policy safe-labels: it denies labels,
// requires them, or constrains their values, on objects of any kind.
package safelabels

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

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

	constraints map[string]*regexp.Regexp
}

// Validate compiles the constraints and reports everything that is wrong.
func (s *Settings) Validate() error {
	s.constraints = make(map[string]*regexp.Regexp, len(s.ConstrainedLabels))
	var problems []string
	for _, key := range slices.Sorted(maps.Keys(s.ConstrainedLabels)) {
		expression, err := regexp.Compile(s.ConstrainedLabels[key])
		if err != nil {
			problems = append(problems, err.Error()+", in the constraint of "+key)
		}
		s.constraints[key] = expression
	}
	if both := common(s.DeniedLabels, slices.Collect(maps.Keys(s.ConstrainedLabels))); both != "" {
		problems = append(problems, "These labels cannot be constrained and denied at the same time: "+both)
	}
	if both := common(s.DeniedLabels, s.MandatoryLabels); both != "" {
		problems = append(problems, "These labels cannot be mandatory and denied at the same time: "+both)
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

// common returns the keys that are in both lists, sorted and joined.
func common(a, b []string) string {
	var both []string
	for _, key := range a {
		if slices.Contains(b, key) {
			both = append(both, key)
		}
	}
	return list(both)
}

// list returns the keys sorted, each once, and joined.
func list(keys []string) string {
	slices.Sort(keys)
	return strings.Join(slices.Compact(keys), ",")
}

// Policy returns the policy safe-labels.
func Policy() sdk.Policy { return sdk.Define(judge) }

// judge keeps the message to the sentences of the Kubewarden policy: scripts
// match its end too.
func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, errors.New("want a request to the API server, have another document")
	}
	if req.Object == nil {
		return sdk.Accept(), nil // a deletion: there is nothing to label
	}
	object := sdk.View(req.Object)
	labels := map[string]string{} // of a key that comes twice the last value counts
	for key, value := range object.Get("metadata", "labels").Members() {
		labels[key] = value.String()
	}
	if err := object.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	return s.judge(labels), nil
}

func (s *Settings) judge(labels map[string]string) sdk.Verdict {
	var denied, violating, missing []string
	for key, value := range labels {
		if slices.Contains(s.DeniedLabels, key) {
			denied = append(denied, key)
		}
		if constraint, ok := s.constraints[key]; ok && !constraint.MatchString(value) {
			violating = append(violating, key)
		}
	}
	for _, key := range s.MandatoryLabels {
		if _, ok := labels[key]; !ok {
			missing = append(missing, key)
		}
	}
	var reasons []string
	if len(denied) > 0 {
		reasons = append(reasons, "The following labels are denied: "+list(denied))
	}
	if len(violating) > 0 {
		reasons = append(reasons, "The following labels are violating user constraints: "+list(violating))
	}
	if len(missing) > 0 {
		reasons = append(reasons, "The following mandatory labels are missing: "+list(missing))
	}
	if len(reasons) > 0 {
		return sdk.Reject(strings.Join(reasons, ". "))
	}
	return sdk.Accept()
}
