// Command teamlabel is an example of a policy: every namespaced workload says
// in a label which team it belongs to, on itself and on the pods that it makes.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

func main() { sdk.Main(Policy()) }

// Policy returns the policy teamlabel.
func Policy() sdk.Policy { return sdk.Define(judge) }

// Settings are the settings of teamlabel.
type Settings struct {
	// Teams are the values that the label may have. At least one is required.
	Teams []string `json:"teams"`
	// Label is the key of the label. Default "team".
	Label string `json:"label"`
}

// maxValueLen bounds the value of a label. Source: the Kubernetes documentation,
// "Labels and Selectors".
const maxValueLen = 63

// Validate fills in the default and reports everything that is wrong: a team
// that is no value of a label would be one that nothing can belong to.
func (s *Settings) Validate() error {
	if s.Label == "" {
		s.Label = "team"
	}
	var errs []error
	if len(s.Teams) == 0 {
		errs = append(errs, errors.New("teams: want at least one, or every workload would be refused"))
	}
	for i, team := range s.Teams {
		if !isLabelValue(team) {
			errs = append(errs, fmt.Errorf("teams[%d]: %q cannot be the value of a label: "+
				"want 1 to %d letters, digits, '-', '_' or '.', the first and last a letter or digit", i, team, maxValueLen))
		}
	}
	return errors.Join(errs...)
}

func isLabelValue(s string) bool {
	inside := func(r rune) bool {
		return r == '-' || r == '_' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	return s != "" && len(s) <= maxValueLen && strings.Trim(s, "-_.") == s &&
		!strings.ContainsFunc(s, func(r rune) bool { return !inside(r) })
}

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, errors.New("want a request to the API server, have another document")
	}
	object := sdk.View(req.Object)
	switch {
	case !object.Exists(), req.Namespace == "", req.SubResource != "":
		return sdk.Accept(), nil // a deletion, nobody's in particular, or without labels of its own
	case object.Get("metadata", "deletionTimestamp").Exists():
		return sdk.Accept(), nil // else what came before this policy could never go
	}
	var problems []string
	for i, name := range sdk.PodTemplatePath(req.Kind.Kind) {
		if name == "spec" { // what has a spec has metadata beside it
			way := sdk.PodTemplatePath(req.Kind.Kind)[:i]
			problems = append(problems, s.problem(object, append(slices.Clone(way), "metadata", "labels"))...)
		}
	}
	if err := object.Err(); err != nil {
		return sdk.Reject("the " + req.Kind.Kind + " cannot be read: " + err.Error()), nil
	}
	if len(problems) == 0 {
		return sdk.Accept(), nil
	}
	return sdk.Reject(strings.Join(problems, "; ") + ". Set it to one of " + strings.Join(s.Teams, ", ")), nil
}

// problem says what is wrong with the labels at way, in a list of one, or of
// none when they are right.
func (s *Settings) problem(object sdk.Value, way []string) []string {
	value := object.Get(append(way, s.Label)...)
	team, where := value.String(), strings.Join(way, ".")
	switch {
	case !value.Exists():
		return []string{fmt.Sprintf("%s has no %q, so nobody knows whose this is", where, s.Label)}
	case slices.Contains(s.Teams, team):
		return nil
	}
	problem := fmt.Sprintf("%s is %q, which is not a team", value.Path(), team)
	if near := sdk.Nearest(team, s.Teams); near != "" {
		problem += fmt.Sprintf(" (did you mean %q?)", near)
	}
	return []string{problem}
}
