// Package envvariablesecretsscanner is the built-in policy
// env-variable-secrets-scanner: it refuses pods, and what makes pods, with
// secrets in the values of environment variables.
package envvariablesecretsscanner

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/warder-dev/warder/library/internal/problems"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of env-variable-secrets-scanner: there are none.
type Settings struct {
	rules []rule
}

// Validate prepares the rules.
func (s *Settings) Validate() error {
	s.rules = newRules()
	return nil
}

// Policy returns the policy env-variable-secrets-scanner.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	var found problems.List
	for c := range spec.Containers() {
		fields := c.Fields("name", "env")
		container := fields[0].String()
		for _, variable := range fields[1].Elements() {
			fields := variable.Fields("name", "value")
			name := fields[0].String()
			for _, reason := range s.scan(fields[1].String()) {
				found.Add(func() string {
					return fmt.Sprintf("container: %s, key: %s, reason: %s", container, name, reason)
				})
			}
			if ctx.Err() != nil {
				return sdk.Verdict{}, ctx.Err()
			}
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if found.Empty() {
		return sdk.Accept(), nil
	}
	return sdk.Reject("The following secrets were found in environment variables -> " + found.Join(". ") +
		". Put them into a Secret and refer to it with valueFrom"), nil
}

// scan returns the names of the rules that find something in the value, or if
// none does, in what it encodes in Base64.
func (s *Settings) scan(value string) (reasons []string) {
	if reasons = s.scanText(value); len(reasons) > 0 {
		return reasons
	}
	if decoded, err := base64.StdEncoding.DecodeString(value); err == nil {
		return s.scanText(string(decoded))
	}
	return nil
}

func (s *Settings) scanText(text string) (reasons []string) {
	lower := fold(text)
	for _, r := range s.rules {
		if !r.possible(lower) {
			continue
		}
		for line := range strings.SplitSeq(text, "\n") {
			if r.matches(line) {
				reasons = append(reasons, r.name)
				break
			}
		}
	}
	return reasons
}

// fold makes of every letter that an expression takes for an ASCII one, whatever
// its case, the small ASCII one. Two of them are no ASCII letters.
func fold(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case r == '\u017f': // long s
			return 's'
		case r == '\u212a': // the sign for kelvin
			return 'k'
		}
		return r
	}, text)
}
