package podsecurity

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/library/internal/image"
	"github.com/warder-dev/warder/sdk"
)

// Levels of the Pod Security Standards. The third, privileged, has no checks.
const (
	baseline   = "baseline"
	restricted = "restricted"
)

// newest is the minor version of Kubernetes whose standards are the latest here.
const newest = 37

// Settings are the settings of pod-security. The zero value is the level
// baseline in its latest version.
type Settings struct {
	// Level is baseline or restricted. Default baseline.
	Level string `json:"level"`
	// Version is that of the standards: latest, or one of Kubernetes as in v1.30.
	// One that is newer than all that are known here is the latest. Default latest.
	Version string `json:"version"`
	// DisabledChecks are left out. Without one of the level restricted, the check
	// of the level baseline counts whose place it has taken.
	DisabledChecks []string `json:"disabledChecks"`
	// Exceptions are what is not refused all the same.
	Exceptions []Exception `json:"exceptions"`

	minor  int
	checks []standard
}

// Exception is what is not refused. Where it says several things, all of them
// must be so.
type Exception struct {
	// Checks are those that it is from. Default: every check.
	Checks []string `json:"checks"`
	// Namespaces are those of the pods; "team-*" stands for all that start so.
	Namespaces []string `json:"namespaces"`
	// RuntimeClasses are the runtime classes of the pods.
	RuntimeClasses []string `json:"runtimeClasses"`
	// Images are those of the containers, with "*" for any characters. What a pod
	// says for all of its containers is excepted if all have such images.
	Images []string `json:"images"`
	// Values are what is there and would be refused: a capability, a port, a
	// sysctl, a type of volume and so on, with "*" for any characters.
	Values []string `json:"values"`
	// Reason is for those who read it later.
	Reason string `json:"reason"`
}

// Validate prepares the checks, and says everything that is wrong.
func (s *Settings) Validate() error {
	var errs []error
	switch s.Level {
	case "":
		s.Level = baseline
	case baseline, restricted:
	default:
		errs = append(errs, fmt.Errorf("level: want %s or %s, have %q", baseline, restricted, s.Level))
	}
	minor, err := minorOf(s.Version)
	if err != nil {
		errs = append(errs, err)
	}
	s.minor = minor
	errs = append(errs, known("disabledChecks", s.DisabledChecks)...)
	for i, e := range s.Exceptions {
		errs = append(errs, e.validate(fmt.Sprintf("exceptions[%d]", i))...)
	}
	s.checks = s.standards()
	return errors.Join(errs...)
}

// minorOf is the minor version of the standards.
func minorOf(version string) (int, error) {
	if version == "" || version == "latest" {
		return newest, nil
	}
	digits, ok := strings.CutPrefix(version, "v1.")
	minor, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil || strconv.FormatUint(minor, 10) != digits {
		return 0, fmt.Errorf("version: want latest, or a version as in v1.%d, have %q", newest, version)
	}
	return min(int(minor), newest), nil
}

// known says which of the names is no check.
func known(path string, names []string) []error {
	var ids []string
	for _, c := range standards() {
		ids = append(ids, c.id)
	}
	var errs []error
	for i, name := range names {
		if slices.Contains(ids, name) {
			continue
		}
		if near := sdk.Nearest(name, ids); near != "" {
			errs = append(errs, fmt.Errorf("%s[%d]: there is no check %q; did you mean %s?", path, i, name, near))
		} else {
			errs = append(errs, fmt.Errorf("%s[%d]: there is no check %q; there are %s", path, i, name, strings.Join(ids, ", ")))
		}
	}
	return errs
}

func (e Exception) validate(path string) []error {
	errs := known(path+".checks", e.Checks)
	switch {
	case len(e.Namespaces)+len(e.RuntimeClasses)+len(e.Images)+len(e.Values) == 0:
		errs = append(errs, fmt.Errorf("%s: says neither namespaces nor runtimeClasses, images or values, and would be for every pod; "+
			"what is never to be checked belongs in disabledChecks", path))
	case len(e.Values) > 0 && len(e.Checks) == 0:
		errs = append(errs, fmt.Errorf("%s.values: mean something for each check; say which in %s.checks", path, path))
	}
	return errs
}

// standards are the checks of the level and the version: at the level restricted
// those of baseline too, but for those that have a stricter one in their place.
func (s *Settings) standards() []standard {
	var chosen []standard
	var replaced []string
	for _, c := range standards() {
		if c.level == restricted && s.Level != restricted || s.minor < c.since || slices.Contains(s.DisabledChecks, c.id) {
			continue
		}
		chosen = append(chosen, c)
		replaced = append(replaced, c.replaces)
	}
	return slices.DeleteFunc(chosen, func(c standard) bool { return slices.Contains(replaced, c.id) })
}

// excepts reports whether one of the exceptions is for what the check has found
// in the owner: a pod, or a container of it.
func (s *Settings) excepts(p *pod, id string, o *owner, value string) bool {
	return slices.ContainsFunc(s.Exceptions, func(e Exception) bool {
		switch {
		case len(e.Checks) > 0 && !slices.Contains(e.Checks, id),
			len(e.Namespaces) > 0 && (p.namespace == "" || !check.Listed(p.namespace, e.Namespaces)),
			len(e.RuntimeClasses) > 0 && !slices.Contains(e.RuntimeClasses, p.runtimeClass.String()),
			len(e.Values) > 0 && (value == "" || !globbed(e.Values, value)):
			return false
		case len(e.Images) == 0:
			return true
		case o != &p.owner:
			return globbed(e.Images, o.image.String())
		}
		for i := range p.containers {
			if !globbed(e.Images, p.containers[i].image.String()) {
				return false
			}
		}
		return len(p.containers) > 0
	})
}

func globbed(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return image.Glob(pattern, text) })
}
