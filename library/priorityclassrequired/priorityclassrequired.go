// Package priorityclassrequired is the built-in policy priority-class-required: it
// wants pods to say how important they are. Which classes they may have is the
// business of priority-class-policy.
package priorityclassrequired

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of priority-class-required: there are none.
type Settings struct{}

// Policy returns the policy priority-class-required.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Pods(req, func(spec sdk.Value) string {
		if spec.Get("priorityClassName").String() != "" {
			return ""
		}
		return spec.Path() + ".priorityClassName is missing: when the cluster is full nobody knows whether these pods go first. " +
			"Set it to a PriorityClass"
	})
}
