// Package priorityclasspolicy is the built-in policy priority-class-policy: it
// says which priority classes pods, and what makes pods, may have, and gives one
// to those that have none.
package priorityclasspolicy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of priority-class-policy. Exactly one of the lists
// must be given.
type Settings struct {
	// AllowedPriorityClasses are the only ones that pods may have.
	AllowedPriorityClasses []string `json:"allowed_priority_classes"`
	// DeniedPriorityClasses are those that no pod may have.
	DeniedPriorityClasses []string `json:"denied_priority_classes"`
	// DefaultPriorityClass is given to pods without one. By default they stay
	// without.
	DefaultPriorityClass *string `json:"default_priority_class"`
}

// Validate reports everything that is wrong.
func (s *Settings) Validate() error {
	var errs []error
	allowed, denied := len(s.AllowedPriorityClasses) > 0, len(s.DeniedPriorityClasses) > 0
	switch {
	case allowed && denied:
		errs = append(errs, errors.New("Both allowed and denied priority calls lists cannot be set at the same time")) //nolint:staticcheck // the text is upstream's, and users see it
	case !allowed && !denied:
		errs = append(errs, errors.New("The priority class lists cannot be empty")) //nolint:staticcheck // as above
	}
	switch name := s.DefaultPriorityClass; {
	case name == nil:
	case *name == "":
		errs = append(errs, errors.New("default_priority_class: is empty; leave it out to give no class to pods without one"))
	case allowed && !slices.Contains(s.AllowedPriorityClasses, *name):
		errs = append(errs, fmt.Errorf("default_priority_class: %q is not among allowed_priority_classes", *name))
	case slices.Contains(s.DeniedPriorityClasses, *name):
		errs = append(errs, fmt.Errorf("default_priority_class: %q is among denied_priority_classes", *name))
	}
	return errors.Join(errs...)
}

// Policy returns the policy priority-class-policy.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	class := spec.Get("priorityClassName")
	name := class.String()
	if err := spec.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	switch {
	case name == "":
		return s.giveDefault(spec, req), nil
	case slices.Contains(s.DeniedPriorityClasses, name):
		return sdk.Rejectf("Priority class %q is denied: %s. Choose another one", name, class.Path()), nil
	case len(s.AllowedPriorityClasses) > 0 && !slices.Contains(s.AllowedPriorityClasses, name):
		return sdk.Rejectf("Priority class %q is not allowed: %s. Allowed are %s", name, class.Path(), s.allowed()), nil
	}
	return sdk.Accept(), nil
}

func (s *Settings) allowed() string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(s.AllowedPriorityClasses))), ", ")
}

// giveDefault gives the default class to a pod without one.
func (s *Settings) giveDefault(spec sdk.Value, req *sdk.Request) sdk.Verdict {
	v := sdk.Accept()
	kind := req.Kind.Kind
	// Kubernetes lets nobody change the class of a pod, or a job, that exists:
	// with a patch the user could not change its labels either.
	fixed := req.Operation == sdk.Update && (kind == "Pod" || kind == "Job")
	if s.DefaultPriorityClass == nil || !spec.Exists() || fixed {
		return v
	}
	way := spec.Pointer()
	v.Patch.Set(way+"/priorityClassName", *s.DefaultPriorityClass)
	// The API server has put there what follows from having no class, and
	// refuses the pod when that is not what follows from the new one.
	for _, derived := range []string{"priority", "preemptionPolicy"} {
		if kind == "Pod" && spec.Get(derived).Exists() {
			v.Patch.Remove(way + "/" + derived)
		}
	}
	return v
}
