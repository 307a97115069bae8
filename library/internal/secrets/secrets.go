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

	names, values []pattern
}

// pattern is an expression, which is tried where one of the literals is, or
// everywhere if there are none: values are up to 1 MiB long.
type pattern struct {
	expression *regexp.Regexp
	literals   []string
}

func (p pattern) in(text string) bool {
	likely := len(p.literals) == 0
	for _, literal := range p.literals {
		likely = likely || strings.Contains(text, literal)
	}
	return likely && p.expression.MatchString(text)
}

func defaultNames() []string {
	return []string{
		`(?i)passw(or)?d$`,
		`(?i)(^|[^a-z])(secret|token|bearer|passphrase|credentials?)$`,
		`(?i)(api|access|secret|private|encryption|signing|account)[-_.]?key$`,
	}
}

// defaultValues are patterns of private keys, and of keys and tokens whose makers
// gave them a form to be known by.
func defaultValues() []pattern {
	known := func(expression string, literals ...string) pattern {
		return pattern{regexp.MustCompile(expression), literals}
	}
	return []pattern{
		known(`-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----`, "PRIVATE KEY"),
		known(`\b(AKIA|ASIA)[0-9A-Z]{16}\b`, "AKIA", "ASIA"),                                                             // AWS
		known(`\b(gh[pousr]_[0-9A-Za-z]{36}|github_pat_\w{22,})`, "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"), // GitHub
		known(`\bAIza[0-9A-Za-z_-]{35}\b`, "AIza"),                                                                       // Google
		known(`\bxox[abeprs]-[0-9A-Za-z-]{10,}`, "xox"),                                                                  // Slack
		known(`\b[rs]k_live_[0-9A-Za-z]{16,}`, "k_live_"),                                                                // Stripe
		known(`\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}`, "eyJ"),                                                       // JSON Web Token
	}
}

// Validate compiles the expressions and reports everything that is wrong.
func (s *Settings) Validate() error {
	names := s.Names
	if names == nil {
		names = defaultNames()
	}
	var errName, errValue error
	s.names, errName = compile("names", names)
	s.values, errValue = compile("values", s.Values)
	if s.Values == nil {
		s.values = defaultValues()
	}
	return errors.Join(errName, errValue)
}

func compile(field string, expressions []string) (compiled []pattern, err error) {
	for i, text := range expressions {
		expression, wrong := regexp.Compile(text)
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("%s[%d]: %w", field, i, wrong))
			continue
		}
		compiled = append(compiled, pattern{expression, nil})
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
	for _, pattern := range s.values {
		if pattern.in(value) {
			return "its value looks like a key or token"
		}
	}
	if harmless(value) {
		return ""
	}
	for _, pattern := range s.names {
		if pattern.in(name) {
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
