// Package criteria compares the names that a resource has with those of a rule.
// It is the base of the built-ins annotations, labels,
// environment-variable-policy and image-cve-policy, in the words of Kubewarden's
// policies of these names.
package criteria

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Criteria says how names are compared with the values of a rule.
type Criteria string

// The criteria that settings know.
const (
	// ContainsAnyOf wants at least one of the values.
	ContainsAnyOf Criteria = "containsAnyOf"
	// DoesNotContainAnyOf wants none of the values.
	DoesNotContainAnyOf Criteria = "doesNotContainAnyOf"
	// ContainsAllOf wants every value.
	ContainsAllOf Criteria = "containsAllOf"
	// DoesNotContainAllOf wants that not all values are there together.
	DoesNotContainAllOf Criteria = "doesNotContainAllOf"
	// ContainsOtherThan wants at least one name that is no value.
	ContainsOtherThan Criteria = "containsOtherThan"
	// DoesNotContainOtherThan wants no name that is no value.
	DoesNotContainOtherThan Criteria = "doesNotContainOtherThan"
)

func known() []string {
	return []string{
		string(ContainsAnyOf), string(DoesNotContainAnyOf), string(ContainsAllOf),
		string(DoesNotContainAllOf), string(ContainsOtherThan), string(DoesNotContainOtherThan),
	}
}

// SettingsSchema lists the criteria.
func (Criteria) SettingsSchema() string {
	return `{"type": "string", "enum": ["` + strings.Join(known(), `", "`) + `"]}`
}

// Rule is what the settings of these built-ins say.
type Rule struct {
	Criteria Criteria
	Values   []string
	// Noun is what the names are, in the singular: "label".
	Noun string
}

// Validate reports a rule that cannot be. Malformed says of one value whether
// no resource can have it; nil takes every value.
func (r Rule) Validate(malformed func(value string) bool) error {
	switch name := string(r.Criteria); {
	case name == "":
		return errors.New("criteria: missing; known are " + strings.Join(known(), ", "))
	case !slices.Contains(known(), name):
		if near := sdk.Nearest(name, known()); near != "" {
			return fmt.Errorf("criteria: %q is none; did you mean %s?", name, near)
		}
		return fmt.Errorf("criteria: %q is none; known are %s", name, strings.Join(known(), ", "))
	case len(r.Values) == 0:
		return fmt.Errorf("Empty %s list is not allowed", r.Noun) //nolint:staticcheck // the text is upstream's, and users see it
	case malformed == nil:
		return nil
	}
	var bad []string
	for _, value := range r.Values {
		if malformed(value) {
			bad = append(bad, value)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("Invalid %s names: %s", r.Noun, list(bad)) //nolint:staticcheck // as above
	}
	return nil
}

// Problem says why a resource with these names is refused, "" if it is not.
func (r Rule) Problem(names []string) string {
	outside := func(of []string) func(string) bool {
		return func(name string) bool { return !slices.Contains(of, name) }
	}
	inside := func(of []string) func(string) bool {
		return func(name string) bool { return slices.Contains(of, name) }
	}
	missing := filter(r.Values, outside(names))
	present := filter(r.Values, inside(names))
	others := filter(names, outside(r.Values))
	switch {
	case r.Criteria == ContainsAnyOf && len(present) == 0:
		return r.say("Resource must have at least one of the required %[1]ss specified by the validation rule. "+
			"None of the expected %[1]ss were found", r.Values)
	case r.Criteria == DoesNotContainAnyOf && len(present) > 0:
		return r.say("Resource must not have any of the %[1]ss specified in the validation rule. "+
			"The following invalid %[1]ss were found", present)
	case r.Criteria == ContainsAllOf && len(missing) > 0:
		return r.say("Resource is missing required %[1]ss as specified in the validation rules. "+
			"The following %[1]ss are missing", missing)
	case r.Criteria == DoesNotContainAllOf && len(missing) == 0:
		return r.say("Resource has conflicting %[1]ss set according to the validation rules. "+
			"The following %[1]ss should not be set together", r.Values)
	case r.Criteria == ContainsOtherThan && len(others) == 0:
		// Upstream's sentence says the opposite of what is wanted, and its list
		// is always empty: what is wanted is said too.
		return r.say("Resource must not have any %[1]ss other than those specified in the validation rule. "+
			"The following %[1]ss were found that should not be present", nil) +
			"none; this rule wants at least one that is not among " + list(r.Values)
	case r.Criteria == DoesNotContainOtherThan && len(others) > 0:
		return r.say("Resource must have only %[1]ss from the validation rule. "+
			"The following %[1]ss were found that should not be present", others)
	}
	return ""
}

func (r Rule) say(format string, names []string) string {
	return fmt.Sprintf(format, r.Noun) + ": " + list(names)
}

func filter(names []string, keep func(string) bool) (kept []string) {
	for _, name := range names {
		if keep(name) {
			kept = append(kept, name)
		}
	}
	return kept
}

// list returns the names sorted, each once, and joined.
func list(names []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(names))), ", ")
}
