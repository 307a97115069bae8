// Package secrets tells by their names and values what should be in a Secret.
package secrets

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Settings say what is taken for a secret.
type Settings struct {
	// Names are regular expressions (RE2, found anywhere in the name) of what
	// holds a secret. Default: names that end in password, secret, token,
	// access key and the like.
	Names []string `json:"names"`
	// Values are regular expressions of secrets. Default: private keys, JSON Web
	// Tokens, and keys of AWS, GitHub, Google, Slack and Stripe.
	Values []string `json:"values"`
	// AllowedNames are names that are never taken for one.
	AllowedNames []string `json:"allowedNames"`

	names, values []*regexp.Regexp
}

func defaultNames() []string {
	return []string{
		`(?i)passw(or)?d$`,
		`(?i)(^|[^a-z])(secret|token|bearer|passphrase|credentials?)$`,
		`(?i)(api|access|secret|private|encryption|signing|account)[-_.]?key$`,
	}
}

func defaultValues() []string {
	return []string{
		`-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----`,
		`\b(AKIA|ASIA)[0-9A-Z]{16}\b`,                      // AWS
		`\b(gh[pousr]_[0-9A-Za-z]{36}|github_pat_\w{22,})`, // GitHub
		`\bAIza[0-9A-Za-z_-]{35}\b`,                        // Google
		`\bxox[abeprs]-[0-9A-Za-z-]{10,}`,                  // Slack
		`\b[rs]k_live_[0-9A-Za-z]{16,}`,                    // Stripe
		`\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}`,       // JSON Web Token
	}
}

// Validate compiles the expressions and reports everything that is wrong.
func (s *Settings) Validate() error {
	if s.Names == nil {
		s.Names = defaultNames()
	}
	if s.Values == nil {
		s.Values = defaultValues()
	}
	var errName, errValue error
	s.names, errName = compile("names", s.Names)
	s.values, errValue = compile("values", s.Values)
	return errors.Join(errName, errValue)
}

func compile(field string, expressions []string) (compiled []*regexp.Regexp, err error) {
	for i, text := range expressions {
		expression, wrong := regexp.Compile(text)
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("%s[%d]: %w", field, i, wrong))
			continue
		}
		compiled = append(compiled, expression)
	}
	return compiled, err
}

// Finds says what gives a value away as a secret, "" if nothing does. It never
// quotes the value.
func (s *Settings) Finds(name, value string) string {
	for _, allowed := range s.AllowedNames {
		if name == allowed {
			return ""
		}
	}
	for _, expression := range s.values {
		if expression.MatchString(value) {
			return "its value looks like a key or token"
		}
	}
	if harmless(value) {
		return ""
	}
	for _, expression := range s.names {
		if expression.MatchString(name) {
			return "its name says so"
		}
	}
	return ""
}

// harmless reports whether a value is no secret whatever its name: nothing, a
// reference to another variable, or the path of a file.
func harmless(value string) bool {
	value = strings.TrimSpace(value)
	reference := strings.HasPrefix(value, "$(") && strings.HasSuffix(value, ")")
	path := strings.HasPrefix(value, "/") && !strings.ContainsAny(value, " \t\n") && strings.Count(value, "/") > 1
	return value == "" || value == "true" || value == "false" || reference || path
}
