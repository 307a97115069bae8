// Package seccomppsp is the built-in policy seccomp-psp: it restricts the
// seccomp profiles of pods, and of what makes pods.
package seccomppsp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of seccomp-psp. The zero value allows no profile to
// be named.
type Settings struct {
	// AllowedProfiles are profiles as annotations named them, before there were
	// fields: runtime/default, docker/default, unconfined, localhost/PATH. They
	// are allowed in fields too.
	AllowedProfiles []string `json:"allowed_profiles"`
	// ProfileTypes are the types that are allowed in fields: RuntimeDefault,
	// Unconfined, Localhost.
	ProfileTypes []string `json:"profile_types"`
	// LocalhostProfiles are the paths that are allowed with type Localhost.
	LocalhostProfiles []string `json:"localhost_profiles"`
}

const (
	localhost       = "Localhost"
	localhostPrefix = "localhost/"
)

// Validate reports every type that is unknown, and Localhost without paths.
func (s *Settings) Validate() error {
	var errs []error
	for _, t := range s.ProfileTypes {
		if t != localhost && t != "RuntimeDefault" && t != "Unconfined" {
			errs = append(errs, fmt.Errorf("Invalid Seccomp profile type: %s: want Localhost, RuntimeDefault or Unconfined", t)) //nolint:staticcheck // upstream's text
		}
	}
	if slices.Contains(s.ProfileTypes, localhost) && len(s.LocalhostProfiles) == 0 {
		errs = append(errs, errors.New("Seccomp type 'Localhost' requires some 'localhost_profiles' value")) //nolint:staticcheck // upstream's text
	}
	return errors.Join(errs...)
}

// allowsType reports whether fields may have the type.
func (s *Settings) allowsType(t string) bool {
	return slices.Contains(s.ProfileTypes, t) || slices.ContainsFunc(s.AllowedProfiles, func(profile string) bool {
		switch profile {
		case "runtime/default", "docker/default":
			return t == "RuntimeDefault"
		case "unconfined":
			return t == "Unconfined"
		}
		return t == localhost && strings.HasPrefix(profile, localhostPrefix)
	})
}

// allowsPath reports whether fields may name the profile of type Localhost.
func (s *Settings) allowsPath(path string) bool {
	return slices.Contains(s.LocalhostProfiles, path) || slices.Contains(s.AllowedProfiles, localhostPrefix+path)
}

// Policy returns the policy seccomp-psp.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	way := sdk.PodTemplatePath(req.Kind.Kind)
	if way == nil && req.Raw == nil {
		return sdk.Accept(), nil
	}
	if way == nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	pod := req.ViewObject().Get(way[:len(way)-1]...)
	spec := pod.Get("spec")
	f := finding{Settings: s}
	f.annotations(pod.Get("metadata", "annotations"))
	f.note(spec.Get("securityContext", "seccompProfile"))
	f.flush("podspec")
	for _, list := range spec.Fields("containers", "initContainers", "ephemeralContainers") {
		for _, c := range list.Elements() {
			f.note(c.Get("securityContext", "seccompProfile"))
		}
		f.flush("container")
	}
	if err := pod.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	if len(f.violations) > 0 {
		return sdk.Reject("Resource violations: " + strings.Join(f.violations, ". ") + ": " + f.places.String() + ". " + s.advice()), nil
	}
	return sdk.Accept(), nil
}

// finding is what is wrong with a pod, in the words of the Kubewarden policy,
// and where.
type finding struct {
	*Settings
	violations []string
	places     sdk.Places

	// Of the pod, or the list of containers, that is looked at.
	types, profiles []string
	unset           bool
}

// maxNames bounds the names in each part of a message.
const maxNames = 10

func (f *finding) add(names *[]string, name string, place sdk.Value) {
	if len(*names) < maxNames && !slices.Contains(*names, name) {
		*names = append(*names, name)
	}
	f.places.Add(place)
}

// annotations looks at the annotations that named profiles before there were
// fields.
func (f *finding) annotations(annotations sdk.Value) {
	var wrong []string
	for key, value := range annotations.Members() {
		named := strings.HasPrefix(key, "container.seccomp.security.alpha.kubernetes.io") || key == "seccomp.security.alpha.kubernetes.io/pod"
		if profile := value.String(); named && !slices.Contains(f.AllowedProfiles, profile) {
			f.add(&wrong, profile, value)
		}
	}
	if len(wrong) > 0 {
		f.violations = append(f.violations, fmt.Sprintf("Seccomp profiles '%s' are not allowed", strings.Join(wrong, ",")))
	}
}

// note looks at one seccompProfile.
func (f *finding) note(profile sdk.Value) {
	if !profile.Exists() {
		return
	}
	kind, path := profile.Get("type").String(), profile.Get("localhostProfile")
	if !f.allowsType(kind) {
		f.add(&f.types, kind, profile)
	}
	switch {
	case kind != localhost:
	case !path.Exists():
		f.unset = true
		f.places.Add(profile)
	case !f.allowsPath(path.String()):
		f.add(&f.profiles, path.String(), path)
	}
}

// flush says what was noted, of the pod spec or of a list of containers.
func (f *finding) flush(what string) {
	var parts []string
	if len(f.types) > 0 {
		parts = append(parts, "Invalid "+what+" seccomp profile types: "+strings.Join(f.types, ","))
	}
	if len(f.profiles) > 0 {
		parts = append(parts, "Invalid "+what+" seccomp profile: "+strings.Join(f.profiles, ","))
	}
	if f.unset {
		parts = append(parts, "The "+what+" localhost seccomp profile must be set")
	}
	if len(parts) > 0 {
		f.violations = append(f.violations, strings.Join(parts, "; "))
	}
	f.types, f.profiles, f.unset = nil, nil, false
}

func (s *Settings) advice() string {
	if len(s.AllowedProfiles)+len(s.ProfileTypes) == 0 {
		return "No profile may be named: remove them"
	}
	var allowed []string
	for _, list := range []struct {
		name   string
		values []string
	}{{"allowed_profiles", s.AllowedProfiles}, {"profile_types", s.ProfileTypes}, {"localhost_profiles", s.LocalhostProfiles}} {
		if len(list.values) > 0 {
			allowed = append(allowed, list.name+" "+strings.Join(list.values, ", "))
		}
	}
	return "Allowed are " + strings.Join(allowed, "; ")
}
