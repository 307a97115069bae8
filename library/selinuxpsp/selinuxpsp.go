// Package selinuxpsp is the built-in policy selinux-psp: it controls the SELinux
// options of pods, and of what makes pods, and of their containers.
package selinuxpsp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of selinux-psp.
type Settings struct {
	// Rule is MustRunAs, with one of the options at least, or RunAsAny, with
	// none. It must be given.
	Rule string `json:"rule"`
	// User, Role and Type are what the options must be; one that is not given
	// must not be set.
	User *string `json:"user"`
	Role *string `json:"role"`
	Type *string `json:"type"`
	// Level is what the level must be where one is set. Categories may come in
	// any order: s0:c1,c2 is s0:c2,c1.
	Level *string `json:"level"`

	filling json.RawMessage // the options, for what has none
}

// Validate reports a rule that is unknown or that does not fit the options.
func (s *Settings) Validate() error {
	given := map[string]string{}
	for name, want := range map[string]*string{"user": s.User, "role": s.Role, "type": s.Type, "level": s.Level} {
		if want != nil {
			given[name] = *want
		}
	}
	switch {
	case s.Rule == "":
		return errors.New("rule: missing: want MustRunAs or RunAsAny")
	case s.Rule == "RunAsAny" && len(given) > 0:
		return errors.New("rule: RunAsAny goes with no user, role, type or level")
	case s.Rule == "RunAsAny":
		return nil
	case s.Rule != "MustRunAs":
		return fmt.Errorf("rule: unknown rule %q: want MustRunAs or RunAsAny", s.Rule)
	case len(given) == 0:
		return errors.New("you have to provide at least a user, group, type or level settings")
	}
	var err error
	s.filling, err = json.Marshal(given)
	return err
}

// Policy returns the policy selinux-psp.
func Policy() sdk.Policy { return sdk.Define(judge) }

const failed = "SELinux validation failed"

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if errors.Is(err, sdk.ErrNoPodSpec) && req.Raw == nil {
		return sdk.Accept(), nil
	}
	if err != nil {
		return sdk.Verdict{}, err
	}
	if s.Rule == "RunAsAny" || !spec.Exists() {
		return sdk.Accept(), nil
	}
	var wrong sdk.Places
	var patch sdk.Patch
	// The API server refuses the options in pods for Windows.
	complete := spec.Get("os", "name").String() != "windows"
	check := func(subject sdk.Value, pointer func() string) {
		options := subject.Get("securityContext", "seLinuxOptions")
		if options.Exists() {
			s.compare(options, &wrong)
		} else if complete {
			patch.Set(pointer()+"/securityContext/seLinuxOptions", s.filling)
		}
	}
	way := spec.Pointer()
	check(spec, func() string { return way })
	lists := []string{"initContainers", "containers", "ephemeralContainers"}
	for n, list := range spec.Fields(lists...) {
		for i, c := range list.Elements() {
			if c.Exists() {
				check(c, func() string { return way + "/" + lists[n] + "/" + strconv.Itoa(i) })
			}
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	if wrong.Len() > 0 {
		return sdk.Reject(failed + ": " + wrong.String() + ". Remove seLinuxOptions, or set it to " + string(s.filling)), nil
	}
	return sdk.Verdict{Accepted: true, Patch: patch}, nil
}

// compare notes each option that is not as it must be.
func (s *Settings) compare(options sdk.Value, wrong *sdk.Places) {
	wanted := [...]*string{s.User, s.Role, s.Type, s.Level}
	names := [...]string{"user", "role", "type", "level"}
	for i, have := range options.Fields(names[:]...) {
		want, level := wanted[i], names[i] == "level"
		switch {
		case level && (want == nil || !have.Exists() || sameLevel(*want, have.String())):
		case want == nil && have.Exists():
			wrong.Addf(have, " is %q and must not be set", have.String())
		case want == nil:
		case !have.Exists():
			wrong.Addf(options, " has no %s", names[i])
		case level || have.String() != *want:
			wrong.Addf(have, " is %q", have.String())
		}
	}
}

// sameLevel reports whether two levels have the same sensitivity and the same
// set of categories.
func sameLevel(a, b string) bool {
	sensitivityA, categoriesA, foundA := strings.Cut(a, ":")
	sensitivityB, categoriesB, foundB := strings.Cut(b, ":")
	if a == b || !foundA || !foundB || sensitivityA != sensitivityB {
		return a == b
	}
	set := func(list string) []string {
		categories := strings.Split(list, ",")
		slices.Sort(categories)
		return slices.Compact(categories)
	}
	return slices.Equal(set(categoriesA), set(categoriesB))
}
