// Package podprivileged is the built-in policy pod-privileged: it refuses pods,
// and what makes pods, with privileged containers.
package podprivileged

import (
	"context"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of pod-privileged. The zero value looks at every
// container.
type Settings struct {
	// SkipInitContainers lets init containers be privileged.
	SkipInitContainers bool `json:"skip_init_containers"`
	// SkipEphemeralContainers lets ephemeral containers be privileged.
	SkipEphemeralContainers bool `json:"skip_ephemeral_containers"`
}

// Policy returns the policy pod-privileged.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	lists := []struct {
		name, reason string
		skip         bool
	}{
		{"containers", "Privileged container is not allowed", false},
		{"initContainers", "Privileged init container is not allowed", s.SkipInitContainers},
		{"ephemeralContainers", "Privileged ephemeral container is not allowed", s.SkipEphemeralContainers},
	}
	var reasons []string
	containers := spec.Fields(lists[0].name, lists[1].name, lists[2].name)
	for i, list := range lists {
		if list.skip {
			continue
		}
		if places := privileged(containers[i]); places != "" {
			reasons = append(reasons, list.reason+": "+places)
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if len(reasons) == 0 {
		return sdk.Accept(), nil
	}
	return sdk.Reject(strings.Join(reasons, "; ") +
		". A privileged container can do what root can do on the node: remove the field or set it to false"), nil
}

// privileged names the fields that make containers of the list privileged, ""
// if there are none.
func privileged(list sdk.Value) string {
	var places sdk.Places
	for _, c := range list.Elements() {
		if field := c.Get("securityContext", "privileged"); field.Bool() {
			places.Add(field)
		}
	}
	return places.String()
}
