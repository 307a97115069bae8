// Package safekeys denies keys of an object's metadata, requires them, or
// constrains their values. It is the base of the built-ins safe-annotations and
// safe-labels, in the words of Kubewarden's policies of these names.
package safekeys

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Rules are the settings of one of the built-ins.
type Rules struct {
	// Field is where the keys are in the metadata, and what messages call
	// them: "labels" or "annotations".
	Field string
	// Denial is what a message says of denied keys: "are denied".
	Denial string

	Denied, Mandatory []string
	// Constrained are regular expressions by key.
	Constrained map[string]string

	constraints map[string]*regexp.Regexp
}

// Compile compiles the constraints and reports everything that is wrong. It
// must be called before Judge.
func (r *Rules) Compile() error {
	r.constraints = make(map[string]*regexp.Regexp, len(r.Constrained))
	var problems []string
	for _, key := range slices.Sorted(maps.Keys(r.Constrained)) {
		expression, err := regexp.Compile(r.Constrained[key])
		if err != nil {
			problems = append(problems, err.Error()+", in the constraint of "+key)
		}
		r.constraints[key] = expression
	}
	if both := common(r.Denied, slices.Collect(maps.Keys(r.Constrained))); both != "" {
		problems = append(problems, "These "+r.Field+" cannot be constrained and denied at the same time: "+both)
	}
	if both := common(r.Denied, r.Mandatory); both != "" {
		problems = append(problems, "These "+r.Field+" cannot be mandatory and denied at the same time: "+both)
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

// Judge judges an object of any kind. The message is the sentences of the
// Kubewarden policy alone: scripts match its end too.
func (r *Rules) Judge(req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	if req.Object == nil {
		return sdk.Accept(), nil // a deletion: there is nothing to look at
	}
	object := sdk.View(req.Object)
	have := map[string]string{} // of a key that comes twice the last value counts
	for key, value := range object.Get("metadata", r.Field).Members() {
		have[key] = value.String()
	}
	if err := object.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if reasons := r.reasons(have); len(reasons) > 0 {
		return sdk.Reject(strings.Join(reasons, ". ")), nil
	}
	return sdk.Accept(), nil
}

func (r *Rules) reasons(have map[string]string) (reasons []string) {
	var denied, violating, missing []string
	for key, value := range have {
		if slices.Contains(r.Denied, key) {
			denied = append(denied, key)
		}
		if constraint, ok := r.constraints[key]; ok && !constraint.MatchString(value) {
			violating = append(violating, key)
		}
	}
	for _, key := range r.Mandatory {
		if _, ok := have[key]; !ok {
			missing = append(missing, key)
		}
	}
	if len(denied) > 0 {
		reasons = append(reasons, "The following "+r.Field+" "+r.Denial+": "+list(denied))
	}
	if len(violating) > 0 {
		reasons = append(reasons, "The following "+r.Field+" are violating user constraints: "+list(violating))
	}
	if len(missing) > 0 {
		reasons = append(reasons, "The following mandatory "+r.Field+" are missing: "+list(missing))
	}
	return reasons
}
