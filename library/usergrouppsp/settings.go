package usergrouppsp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Settings are the settings of user-group-psp. The zero value accepts
// everything.
type Settings struct {
	// RunAsUser is about securityContext.runAsUser and runAsNonRoot of
	// containers. Rules are MustRunAs, MustRunAsNonRoot and RunAsAny.
	RunAsUser Rule `json:"run_as_user"`
	// RunAsGroup is about securityContext.runAsGroup of containers. Rules are
	// MustRunAs, MayRunAs and RunAsAny.
	RunAsGroup Rule `json:"run_as_group"`
	// SupplementalGroups is about securityContext.supplementalGroups of pods.
	// Rules are MustRunAs, MayRunAs and RunAsAny.
	SupplementalGroups Rule `json:"supplemental_groups"`
	// ValidateContainerImageConfiguration looks at the user and the group that
	// images are configured with, too. It needs the capability
	// oci/v1/oci_manifest_config. Default false.
	ValidateContainerImageConfiguration flag `json:"validate_container_image_configuration"`
	// ValidateOnly refuses what is missing instead of adding it. Default false.
	ValidateOnly bool `json:"validate_only"`
}

// Rule says what an ID may be.
type Rule struct {
	// Rule is MustRunAs (an ID in the ranges, the first of them where there is
	// none), MayRunAs (an ID in the ranges, or none), MustRunAsNonRoot or
	// RunAsAny. Default RunAsAny.
	Rule string `json:"rule"`
	// Ranges are needed by MustRunAs and MayRunAs.
	Ranges []Range `json:"ranges"`
	// Overwrite sets the first ID of the ranges whatever is there. It is for
	// MustRunAs. Default false.
	Overwrite bool `json:"overwrite"`
}

// Range is a range of IDs, both ends included.
type Range struct {
	// Min is the lowest ID. Default 0.
	Min int64 `json:"min"`
	// Max is the highest ID. Default 0.
	Max int64 `json:"max"`
}

// The rules.
const (
	mustRunAs        = "MustRunAs"
	mayRunAs         = "MayRunAs"
	mustRunAsNonRoot = "MustRunAsNonRoot"
	runAsAny         = "RunAsAny"
)

// flag is a boolean; one that is none is refused in the words of the
// Kubewarden policy, which scripts look for.
type flag bool

// SettingsSchema is a boolean's.
func (flag) SettingsSchema() string { return `{"type": "boolean"}` }

func (f *flag) UnmarshalJSON(text []byte) error {
	switch text = bytes.TrimSpace(text); string(text) {
	case "true", "false":
		*f = text[0] == 't'
		return nil
	case "null":
		return nil
	}
	var have string
	switch text[0] {
	case '"':
		have = "string " + string(text)
	case '[':
		have = "sequence"
	case '{':
		have = "map"
	default:
		have = "integer `" + string(text) + "`"
		if bytes.ContainsAny(text, ".eE") {
			have = "floating point `" + string(text) + "`"
		}
	}
	return fmt.Errorf("validate_container_image_configuration: invalid type: %s, expected a boolean", have)
}

// Validate reports everything that is wrong with the rules.
func (s *Settings) Validate() error {
	errs := []error{
		s.RunAsUser.validate("run_as_user", mustRunAs, mustRunAsNonRoot),
		s.RunAsGroup.validate("run_as_group", mustRunAs, mayRunAs),
		s.SupplementalGroups.validate("supplemental_groups", mustRunAs, mayRunAs),
	}
	if s.ValidateOnly && (s.RunAsUser.Overwrite || s.RunAsGroup.Overwrite || s.SupplementalGroups.Overwrite) {
		errs = append(errs, errors.New("validate_only cannot be true when overwrite is true"))
	}
	return errors.Join(errs...)
}

// validate reports what is wrong with the setting of the name, for which there
// are these rules and RunAsAny. It fills in the default.
func (r *Rule) validate(name string, rules ...string) error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("invalid %s settings: "+format, append([]any{name}, args...)...))
	}
	if r.Rule == "" {
		r.Rule = runAsAny
	}
	known := r.Rule == runAsAny
	for _, rule := range rules {
		known = known || r.Rule == rule
	}
	if !known {
		wrong("invalid rule %q: want %s or %s", r.Rule, strings.Join(rules, ", "), runAsAny)
	}
	if r.Overwrite && known && r.Rule != mustRunAs {
		wrong("overwrite cannot be true when the rule is %s", r.Rule)
	}
	if r.Rule != mustRunAs && r.Rule != mayRunAs {
		return errors.Join(errs...)
	}
	if len(r.Ranges) == 0 {
		wrong("missing ID range: %s needs at least one", r.Rule)
	}
	for i, limits := range r.Ranges {
		if limits.Min > limits.Max {
			wrong("ranges[%d]: min %d is greater than max %d", i, limits.Min, limits.Max)
		}
	}
	return errors.Join(errs...)
}

// contains reports whether the ID is in one of the ranges.
func (r *Rule) contains(id int64) bool {
	for _, limits := range r.Ranges {
		if limits.Min <= id && id <= limits.Max {
			return true
		}
	}
	return false
}

// String is the ranges: 1000-2000, 3000-4000.
func (r *Rule) String() string {
	texts := make([]string, len(r.Ranges))
	for i, limits := range r.Ranges {
		texts[i] = fmt.Sprintf("%d-%d", limits.Min, limits.Max)
	}
	return strings.Join(texts, ", ")
}
