// Package runasnonroot is the built-in policy run-as-non-root: it wants containers
// not to run as root, and changes nothing. To user-group-psp a user other than root
// is not enough.
package runasnonroot

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of run-as-non-root: there are none.
type Settings struct{}

// Policy returns the policy run-as-non-root.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Pods(req, func(spec sdk.Value) string {
		fields := spec.Fields("securityContext", "os")
		if fields[1].Get("name").String() == "windows" {
			return "" // which has another administrator
		}
		pod := fields[0].Fields("runAsUser", "runAsNonRoot")
		var places sdk.Places
		for c := range spec.Containers() {
			own := c.Get("securityContext").Fields("runAsUser", "runAsNonRoot")
			user, nonRoot := first(own[0], pod[0]), first(own[1], pod[1])
			switch {
			case user.Exists() && user.Int() == 0:
				places.Addf(c, " runs as user 0")
			case !user.Exists() && !nonRoot.Exists():
				places.Addf(c, " runs as the user of its image")
			case !user.Exists() && !nonRoot.Bool():
				places.Addf(c, " has runAsNonRoot: false")
			}
		}
		if places.Len() == 0 {
			return ""
		}
		return "Containers must not run as root: " + places.String() +
			". Set securityContext.runAsNonRoot to true, or runAsUser to a user other than 0"
	})
}

// first returns the value of the container, or else the pod's.
func first(own, pod sdk.Value) sdk.Value {
	if own.Exists() {
		return own
	}
	return pod
}
