// Package apparmorpsp is the built-in policy apparmor-psp: it restricts the
// AppArmor profiles of pods, and of what makes pods.
package apparmorpsp

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of apparmor-psp. The zero value allows no profile to
// be named.
type Settings struct {
	// AllowedProfiles are profiles as annotations name them: runtime/default,
	// unconfined, localhost/NAME.
	AllowedProfiles []string `json:"allowed_profiles"`
	// Compat looks at annotations alone, as the Kubewarden policy does, and not
	// at the fields that Kubernetes has since 1.30. Default false.
	Compat bool `json:"compat"`
}

// Policy returns the policy apparmor-psp.
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
	var wrong finding
	for key, value := range pod.Get("metadata", "annotations").Members() {
		if strings.HasPrefix(key, "container.apparmor.security.beta.kubernetes.io/") {
			s.check(value.String(), value, &wrong)
		}
	}
	spec := pod.Get("spec")
	if !s.Compat {
		s.field(spec, &wrong)
		for c := range spec.Containers() {
			s.field(c, &wrong)
		}
	}
	if err := pod.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	if len(wrong.profiles) > 0 {
		return sdk.Reject("These AppArmor profiles are not allowed: " + set(wrong.profiles) + ", in " + wrong.places.String() + ". " + s.advice()), nil
	}
	return sdk.Accept(), nil
}

// finding is profiles that are not allowed, and where they are.
type finding struct {
	profiles []string
	places   sdk.Places
}

// maxProfiles bounds the profiles in a message.
const maxProfiles = 10

func (s *Settings) check(profile string, place sdk.Value, wrong *finding) {
	if slices.Contains(s.AllowedProfiles, profile) {
		return
	}
	if len(wrong.profiles) < maxProfiles {
		wrong.profiles = append(wrong.profiles, profile)
	}
	wrong.places.Add(place)
}

// field checks the profile of a pod or a container.
func (s *Settings) field(subject sdk.Value, wrong *finding) {
	field := subject.Get("securityContext", "appArmorProfile")
	if !field.Exists() {
		return
	}
	profile := field.Get("type").String()
	switch profile {
	case "RuntimeDefault":
		profile = "runtime/default"
	case "Unconfined":
		profile = "unconfined"
	case "Localhost":
		profile = "localhost/" + field.Get("localhostProfile").String()
	}
	s.check(profile, field, wrong)
}

// set prints names as the Kubewarden policy does, but sorted: {"a", "b"}.
func set(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	for i, name := range names {
		names[i] = strconv.Quote(name)
	}
	return "{" + strings.Join(names, ", ") + "}"
}

func (s *Settings) advice() string {
	if len(s.AllowedProfiles) == 0 {
		return "No profile may be named: remove them"
	}
	return "Allowed are " + strings.Join(s.AllowedProfiles, ", ")
}
