// Package hostprocess is the built-in policy host-process: it refuses containers on
// Windows that run as processes of the node.
package hostprocess

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of host-process: there are none.
type Settings struct{}

// Policy returns the policy host-process.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Pods(req, func(spec sdk.Value) string {
		var places sdk.Places
		note := func(owner sdk.Value) {
			if field := owner.Get("securityContext", "windowsOptions", "hostProcess"); field.Bool() {
				places.Add(field)
			}
		}
		note(spec)
		for c := range spec.Containers() {
			note(c)
		}
		if places.Len() == 0 {
			return ""
		}
		return "HostProcess containers are not allowed: " + places.String() +
			". They can do what the node can do: remove the field or set it to false"
	})
}
