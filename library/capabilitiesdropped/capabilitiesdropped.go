// Package capabilitiesdropped is the built-in policy capabilities-dropped: it wants
// containers to drop capabilities, and drops none for them, as capabilities-psp
// does.
package capabilitiesdropped

import (
	"context"
	"slices"
	"strings"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of capabilities-dropped.
type Settings struct {
	// Required are the capabilities that each container must drop, with or without
	// CAP_, in capitals or not. Who drops ALL drops them. Default: ALL.
	Required []string `json:"required"`
}

// Validate fills in the default, and reports a name that is none.
func (s *Settings) Validate() (err error) {
	if len(s.Required) == 0 {
		s.Required = []string{"ALL"}
	}
	s.Required, err = check.Capabilities("required", s.Required)
	return err
}

// Policy returns the policy capabilities-dropped.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Pods(req, func(spec sdk.Value) string {
		if spec.Get("os", "name").String() == "windows" {
			return "" // which has none
		}
		var places sdk.Places
		for c := range spec.Containers() {
			var dropped []string
			for _, capability := range c.Get("securityContext", "capabilities", "drop").Elements() {
				dropped = append(dropped, check.Capability(capability.String()))
			}
			left := slices.DeleteFunc(slices.Clone(s.Required), func(name string) bool { return slices.Contains(dropped, name) })
			if len(left) > 0 && !slices.Contains(dropped, "ALL") {
				places.Addf(c, " does not drop %s", strings.Join(left, ", "))
			}
		}
		if places.Len() == 0 {
			return ""
		}
		return "Containers must drop capabilities that they do not need: " + places.String() +
			". Set securityContext.capabilities.drop to ALL, and add those that are needed"
	})
}
