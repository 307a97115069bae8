// Package volumemounts is the built-in policy volumemounts: it says which
// volumes the containers of pods, and of what makes pods, may mount, by name.
package volumemounts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/library/internal/problems"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of volumemounts.
type Settings struct {
	// Reject says which containers are refused: those that mount a volume with
	// one of the names (anyIn, the default), one with another name (anyNotIn),
	// all of the names together (allAreUsed), or not all of them
	// (notAllAreUsed). Containers that mount nothing are never refused.
	Reject Operator `json:"reject"`
	// Operator is another name of Reject: the documentation of the Kubewarden
	// policy says reject, its code reads operator.
	Operator Operator `json:"operator"`
	// VolumeMountsNames are names of volumes. At least one must be given.
	VolumeMountsNames []string `json:"volumeMountsNames"`
}

// Operator is a way to compare names. Case does not matter.
type Operator string

// The operators that settings know.
const (
	AnyIn         Operator = "anyIn"
	AnyNotIn      Operator = "anyNotIn"
	AllAreUsed    Operator = "allAreUsed"
	NotAllAreUsed Operator = "notAllAreUsed"
)

// SettingsSchema lists the operators, in their usual spelling and in any other.
func (Operator) SettingsSchema() string {
	return `{"type": "string", "anyOf": [
		{"enum": ["", "anyIn", "anyNotIn", "allAreUsed", "notAllAreUsed"]},
		{"pattern": "^([aA][nN][yY]([nN][oO][tT])?[iI][nN]|([nN][oO][tT])?[aA][lL][lL][aA][rR][eE][uU][sS][eE][dD])$"}]}`
}

// Validate reports everything that is wrong, and makes Reject the operator.
func (s *Settings) Validate() error {
	var errs []error
	errs = append(errs, s.Reject.normalise("reject"), s.Operator.normalise("operator"))
	switch {
	case s.Reject != "" && s.Operator != "" && s.Reject != s.Operator:
		errs = append(errs, fmt.Errorf("reject is %s and operator is %s: give one of them", s.Reject, s.Operator))
	case s.Reject == "" && s.Operator == "":
		s.Reject = AnyIn
	case s.Reject == "":
		s.Reject = s.Operator
	}
	if len(s.VolumeMountsNames) == 0 {
		errs = append(errs, errors.New("volumeMountsNames is empty"))
	}
	return errors.Join(errs...)
}

// normalise gives the operator its usual spelling.
func (o *Operator) normalise(setting string) error {
	known := []string{string(AnyIn), string(AnyNotIn), string(AllAreUsed), string(NotAllAreUsed)}
	for _, name := range known {
		if strings.EqualFold(name, string(*o)) {
			*o = Operator(name)
			return nil
		}
	}
	if *o == "" {
		return nil
	}
	if near := sdk.Nearest(string(*o), known); near != "" {
		return fmt.Errorf("%s: %q is none; did you mean %s?", setting, string(*o), near)
	}
	return fmt.Errorf("%s: %q is none; known are %s", setting, string(*o), strings.Join(known, ", "))
}

// Policy returns the policy volumemounts.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	var found problems.List
	for c := range spec.Containers() {
		fields := c.Fields("name", "volumeMounts")
		name, mounts := fields[0].String(), fields[1]
		var names []string
		for _, mount := range mounts.Elements() {
			names = append(names, mount.Get("name").String())
		}
		if problem := s.problem(names); problem != "" {
			found.Add(func() string {
				return fmt.Sprintf("container %s is invalid: %s, in %s", name, problem, mounts.Path())
			})
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if found.Empty() {
		return sdk.Accept(), nil
	}
	return sdk.Reject(found.Join("\n") + "\n" + s.advice()), nil
}

func (s *Settings) advice() string {
	rule := map[Operator]string{
		AnyIn:         "Containers must mount none of ",
		AnyNotIn:      "Containers may mount only ",
		AllAreUsed:    "Containers must not mount all of ",
		NotAllAreUsed: "Containers that mount something must mount all of ",
	}
	return rule[s.Reject] + strings.Join(s.VolumeMountsNames, ", ")
}

// problem says why a container that mounts these volumes is refused, "" if it
// is not.
func (s *Settings) problem(mounted []string) string {
	if len(mounted) == 0 {
		return ""
	}
	var inside, outside, missing []string
	for _, name := range mounted {
		if slices.Contains(s.VolumeMountsNames, name) {
			inside = append(inside, name)
		} else {
			outside = append(outside, name)
		}
	}
	for _, name := range s.VolumeMountsNames {
		if !slices.Contains(mounted, name) {
			missing = append(missing, name)
		}
	}
	switch {
	case s.Reject == AnyIn && len(inside) > 0:
		return "volumeMount names not allowed: " + list(inside)
	case s.Reject == AnyNotIn && len(outside) > 0:
		return "volumeMount names not allowed: " + list(outside)
	case s.Reject == AllAreUsed && len(missing) == 0:
		return "volumeMount names not allowed together: " + list(inside)
	case s.Reject == NotAllAreUsed && len(missing) > 0:
		return "volumeMount names are missing: " + list(missing)
	}
	return ""
}

// list prints names as the Kubewarden policy does, sorted: ["a", "b"].
func list(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	for i, name := range names {
		names[i] = strconv.Quote(name)
	}
	return "[" + strings.Join(names, ", ") + "]"
}
