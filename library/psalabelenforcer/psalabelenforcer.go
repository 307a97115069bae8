// Package psalabelenforcer is the built-in policy psa-label-enforcer: it gives
// Namespaces the labels that pod security admission goes by.
package psalabelenforcer

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of psa-label-enforcer.
type Settings struct {
	// Modes is what the labels say. At least one of its modes must be set.
	Modes Modes `json:"modes"`
}

// Modes are the modes of pod security admission, each with a level (privileged,
// baseline or restricted) and a version (latest or v1.30). What is not set is
// left as it is.
type Modes struct {
	// Enforce refuses pods that violate the level.
	Enforce Level `json:"enforce"`
	// EnforceVersion is latest or v1.30. It needs Enforce.
	EnforceVersion string `json:"enforce-version"`
	// Audit notes them in the audit log.
	Audit Level `json:"audit"`
	// AuditVersion is latest or v1.30. It needs Audit.
	AuditVersion string `json:"audit-version"`
	// Warn tells whoever makes them.
	Warn Level `json:"warn"`
	// WarnVersion is latest or v1.30. It needs Warn.
	WarnVersion string `json:"warn-version"`
}

// Level is one of the Pod Security Standards.
type Level string

// SettingsSchema lists the levels; "" is as good as none.
func (Level) SettingsSchema() string {
	return `{"type": "string", "enum": ["", "privileged", "baseline", "restricted"]}`
}

// mode is one of the Modes.
type mode struct {
	name    string
	level   Level
	version string
}

func (m Modes) list() []mode {
	return []mode{
		{"enforce", m.Enforce, m.EnforceVersion},
		{"audit", m.Audit, m.AuditVersion},
		{"warn", m.Warn, m.WarnVersion},
	}
}

// Validate reports everything that is wrong.
func (s *Settings) Validate() error {
	if s.Modes == (Modes{}) {
		return errors.New("At least one of the 'enforce', 'audit' or 'warn' configuration must be defined") //nolint:staticcheck // the text is upstream's, and users see it
	}
	version := regexp.MustCompile(`^(latest|v[0-9]+\.(0|[1-9][0-9]*))$`)
	var errs []error
	for _, m := range s.Modes.list() {
		switch m.level {
		case "", "privileged", "baseline", "restricted":
		default:
			errs = append(errs, fmt.Errorf("modes.%s: want privileged, baseline or restricted, have %q", m.name, m.level))
		}
		if m.version == "" {
			continue
		}
		if !version.MatchString(m.version) {
			errs = append(errs, fmt.Errorf("Version %s is invalid. It must follow the v<major>.<minor> pattern or be 'latest' value", m.version)) //nolint:staticcheck // the text is upstream's, and users see it
		}
		if m.level == "" {
			errs = append(errs, fmt.Errorf("cannot define %s version with no %s mode", m.name, m.name))
		}
	}
	return errors.Join(errs...)
}

// Policy returns the policy psa-label-enforcer.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	if req.Kind.Kind != "Namespace" || req.Object == nil {
		return sdk.Accept(), nil
	}
	object := req.ViewObject()
	labels := object.Get("metadata", "labels")
	verdict := sdk.Accept()
	set := func(name, value string) {
		label := "pod-security.kubernetes.io/" + name
		if value != "" && labels.Get(label).String() != value {
			verdict.Patch.Set("/metadata/labels/"+sdk.EscapePointer(label), value)
		}
	}
	for _, m := range s.Modes.list() {
		set(m.name, string(m.level))
		set(m.name+"-version", m.version)
	}
	if err := object.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	return verdict, nil
}
