// Package readonlyrootfilesystempsp is the built-in policy
// readonly-root-filesystem-psp: it refuses pods, and what makes pods, with
// containers that may write to their root filesystem.
package readonlyrootfilesystempsp

import (
	"context"
	"errors"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of readonly-root-filesystem-psp: there are none.
type Settings struct{}

// Policy returns the policy readonly-root-filesystem-psp.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if errors.Is(err, sdk.ErrNoPodSpec) && req.Raw == nil {
		return sdk.Accept(), nil
	}
	if err != nil {
		return sdk.Verdict{}, err
	}
	lists := []struct{ name, what string }{
		{"initContainers", "init containers"},
		{"containers", "containers"},
		{"ephemeralContainers", "ephemeral containers"},
	}
	var reasons []string
	containers := spec.Fields(lists[0].name, lists[1].name, lists[2].name)
	for i, list := range lists {
		var places sdk.Places
		for _, c := range containers[i].Elements() {
			if !c.Get("securityContext", "readOnlyRootFilesystem").Bool() {
				places.Add(c)
			}
		}
		if places.Len() > 0 {
			reasons = append(reasons, "One of the "+list.what+" does not have readOnlyRootFilesystem enabled: "+places.String())
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	if len(reasons) > 0 {
		return sdk.Reject(strings.Join(reasons, ", ") +
			". Set securityContext.readOnlyRootFilesystem to true, and mount a volume where the container must write"), nil
	}
	return sdk.Accept(), nil
}
