// Package allowedfsgroupspsp is the built-in policy allowed-fsgroups-psp: it
// controls the group that owns the volumes of pods, and of what makes pods.
package allowedfsgroupspsp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of allowed-fsgroups-psp.
type Settings struct {
	// Rule is MustRunAs (a group in the ranges, the first of them where there
	// is none), MayRunAs (a group in the ranges, or none) or RunAsAny. It must
	// be given.
	Rule string `json:"rule"`
	// Ranges are needed by MustRunAs and MayRunAs.
	Ranges []Range `json:"ranges"`
}

// Range is a range of groups, both ends included.
type Range struct {
	// Min is the lowest group. Default 0.
	Min int64 `json:"min"`
	// Max is the highest group. Default 0.
	Max int64 `json:"max"`
}

// Validate reports a rule that is unknown, and ranges that cannot be.
func (s *Settings) Validate() error {
	switch s.Rule {
	case "RunAsAny":
		return nil
	case "":
		return errors.New("rule: missing: want MustRunAs, MayRunAs or RunAsAny")
	case "MustRunAs", "MayRunAs":
	default:
		return fmt.Errorf("rule: unknown rule %q: want MustRunAs, MayRunAs or RunAsAny", s.Rule)
	}
	if len(s.Ranges) == 0 {
		return fmt.Errorf("%s must contain at least one range", s.Rule)
	}
	for i, r := range s.Ranges {
		if r.Min > r.Max {
			return fmt.Errorf("all ranges must be valid: ranges[%d]: min %d is greater than max %d", i, r.Min, r.Max)
		}
	}
	return nil
}

func (s *Settings) contains(group int64) bool {
	for _, r := range s.Ranges {
		if r.Min <= group && group <= r.Max {
			return true
		}
	}
	return false
}

// Policy returns the policy allowed-fsgroups-psp.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if errors.Is(err, sdk.ErrNoPodSpec) && req.Raw == nil {
		return sdk.Accept(), nil
	}
	if err != nil {
		return sdk.Verdict{}, err
	}
	if s.Rule == "RunAsAny" || req.Object == nil {
		return sdk.Accept(), nil
	}
	if !spec.Exists() {
		return sdk.Verdict{}, fmt.Errorf("%s: missing", strings.Join(sdk.PodTemplatePath(req.Kind.Kind), "."))
	}
	field := spec.Get("securityContext", "fsGroup")
	group := field.Int()
	// The API server refuses the field in pods for Windows.
	windows := spec.Get("os", "name").String() == "windows"
	if err := spec.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	v := sdk.Accept()
	switch {
	case field.Exists() && !s.contains(group):
		return sdk.Rejectf("fsGroup %d is not included in any range: %s. Allowed are %s", group, field.Path(), s), nil
	case !field.Exists() && s.Rule == "MustRunAs" && !windows:
		v.Patch.Set(spec.Pointer()+"/securityContext/fsGroup", s.Ranges[0].Min)
	}
	return v, nil
}

// String is the ranges: 1000-2000, 3000-4000.
func (s *Settings) String() string {
	texts := make([]string, len(s.Ranges))
	for i, r := range s.Ranges {
		texts[i] = fmt.Sprintf("%d-%d", r.Min, r.Max)
	}
	return strings.Join(texts, ", ")
}
