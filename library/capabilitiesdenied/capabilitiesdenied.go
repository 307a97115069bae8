// Package capabilitiesdenied is the built-in policy capabilities-denied: it refuses
// containers that add capabilities which are on a list. capabilities-psp has the
// list of those that they may add.
package capabilitiesdenied

import (
	"context"
	"slices"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of capabilities-denied.
type Settings struct {
	// Denied are the capabilities that no container may add, with or without CAP_,
	// in capitals or not. Default: ALL, NET_ADMIN, SYS_ADMIN. ALL is denied in any
	// case, as it has all the others.
	Denied []string `json:"denied"`
}

// Validate fills in the default, and reports a name that is none.
func (s *Settings) Validate() error {
	if len(s.Denied) == 0 {
		s.Denied = []string{"NET_ADMIN", "SYS_ADMIN"}
	}
	denied, err := check.Capabilities("denied", s.Denied)
	s.Denied = append(denied, "ALL")
	return err
}

// Policy returns the policy capabilities-denied.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Pods(req, func(spec sdk.Value) string {
		var places sdk.Places
		for c := range spec.Containers() {
			for _, capability := range c.Get("securityContext", "capabilities", "add").Elements() {
				if slices.Contains(s.Denied, check.Capability(capability.String())) {
					places.Addf(capability, " is %q", capability.String())
				}
			}
		}
		if places.Len() == 0 {
			return ""
		}
		return "Containers may not add these capabilities: " + places.String() +
			". They are as good as root on the node: remove them, or add the one of the others that is needed"
	})
}
