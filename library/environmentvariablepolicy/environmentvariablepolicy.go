// Package environmentvariablepolicy is the built-in policy
// environment-variable-policy: it compares the names of the environment
// variables of each container with a list.
package environmentvariablepolicy

import (
	"context"

	"github.com/warder-dev/warder/library/internal/criteria"
	"github.com/warder-dev/warder/library/internal/problems"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of environment-variable-policy. Both must be given.
type Settings struct {
	// Criteria says how the names of a container's variables are compared with
	// Values: containsAnyOf, doesNotContainAnyOf, containsAllOf,
	// doesNotContainAllOf, containsOtherThan (at least one that is not among
	// Values) or doesNotContainOtherThan (none that is not among Values).
	Criteria criteria.Criteria `json:"criteria"`
	// Values are names: letters, digits and "_", no digit first.
	Values []string `json:"values"`
}

// Validate reports an unknown criteria, no values, and values that are no names.
func (s *Settings) Validate() error { return s.rule().Validate(malformed) }

func (s *Settings) rule() criteria.Rule {
	return criteria.Rule{Criteria: s.Criteria, Values: s.Values, Noun: "environment variable"}
}

func malformed(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if digit := '0' <= c && c <= '9'; !letter && (!digit || i == 0) {
			return true
		}
	}
	return name == ""
}

// Policy returns the policy environment-variable-policy.
func Policy() sdk.Policy { return sdk.Define(judge) }

// judge looks at the names in env. What envFrom brings is known only to the
// node that starts the container.
func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if err != nil {
		return sdk.Verdict{}, err
	}
	rule := s.rule()
	var found problems.List
	for c := range spec.Containers() {
		fields := c.Fields("name", "env")
		name := fields[0].String()
		var names []string
		for _, variable := range fields[1].Elements() {
			names = append(names, variable.Get("name").String())
		}
		if problem := rule.Problem(names); problem != "" {
			found.Add(func() string { return name + ": " + problem + " (" + c.Path() + ".env)" })
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	if found.Empty() {
		return sdk.Accept(), nil
	}
	return sdk.Reject(found.String()), nil
}
