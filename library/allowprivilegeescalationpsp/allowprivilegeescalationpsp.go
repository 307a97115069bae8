// Package allowprivilegeescalationpsp is the built-in policy
// allow-privilege-escalation-psp: it refuses containers whose processes may get
// more privileges than their parent, and forbids it where nothing is said.
package allowprivilegeescalationpsp

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of allow-privilege-escalation-psp. The zero value
// refuses what asks for it, and changes nothing.
type Settings struct {
	// DefaultAllowPrivilegeEscalation is false to set
	// allowPrivilegeEscalation: false on every container that has not. Default
	// true.
	DefaultAllowPrivilegeEscalation *bool `json:"default_allow_privilege_escalation"`
	// AllowPrivilegeEscalation is another name for
	// DefaultAllowPrivilegeEscalation, which the chart of Kubewarden uses.
	AllowPrivilegeEscalation *bool `json:"allowPrivilegeEscalation"`
	// Compat takes no notice of AllowPrivilegeEscalation, as the Kubewarden
	// policy does. Default false.
	Compat bool `json:"compat"`
}

// Validate reports two names that say different things.
func (s *Settings) Validate() error {
	a, b := s.DefaultAllowPrivilegeEscalation, s.AllowPrivilegeEscalation
	if a != nil && b != nil && *a != *b && !s.Compat {
		return errors.New("allowPrivilegeEscalation is another name for default_allow_privilege_escalation, and says otherwise: remove it")
	}
	return nil
}

// forbids reports whether allowPrivilegeEscalation: false is the default.
func (s *Settings) forbids() bool {
	if s.DefaultAllowPrivilegeEscalation == nil && !s.Compat {
		return s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation
	}
	return s.DefaultAllowPrivilegeEscalation != nil && !*s.DefaultAllowPrivilegeEscalation
}

// Policy returns the policy allow-privilege-escalation-psp.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	lists := []struct{ name, reason string }{
		{"initContainers", "one of the init containers has privilege escalation enabled"},
		{"containers", "one of the containers has privilege escalation enabled"},
		{"ephemeralContainers", "one of the ephemeral containers has privilege escalation enabled"},
	}
	var reasons []string
	var patch sdk.Patch
	way := spec.Pointer()
	// The API server refuses the field in pods for Windows, which knows no such thing.
	complete := s.forbids() && spec.Get("os", "name").String() != "windows"
	containers := spec.Fields(lists[0].name, lists[1].name, lists[2].name)
	for n, list := range lists {
		var places sdk.Places
		for i, c := range containers[n].Elements() {
			field := c.Get("securityContext", "allowPrivilegeEscalation")
			switch {
			case field.Bool():
				places.Add(field)
			case complete && c.Exists() && !field.Exists():
				patch.Set(way+"/"+list.name+"/"+strconv.Itoa(i)+"/securityContext/allowPrivilegeEscalation", false)
			}
		}
		if places.Len() > 0 {
			reasons = append(reasons, list.reason+": "+places.String())
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if len(reasons) > 0 {
		return sdk.Reject(strings.Join(reasons, ", ") + ". Remove the field or set it to false"), nil
	}
	return sdk.Verdict{Accepted: true, Patch: patch}, nil
}
