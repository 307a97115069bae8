// Package allowedprocmounttypespsp is the built-in policy
// allowed-proc-mount-types-psp: it refuses pods, and what makes pods, with
// containers that see the whole of /proc.
package allowedprocmounttypespsp

import (
	"context"
	"errors"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of allowed-proc-mount-types-psp.
type Settings struct {
	// AllowUnmaskedProcMountType lets containers have procMount: Unmasked.
	// Default false.
	AllowUnmaskedProcMountType bool `json:"allow_unmasked_proc_mount_type"`
}

// Policy returns the policy allowed-proc-mount-types-psp.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if errors.Is(err, sdk.ErrNoPodSpec) && req.Raw == nil {
		return sdk.Accept(), nil
	}
	if err != nil {
		return sdk.Verdict{}, err
	}
	var places sdk.Places
	for c := range spec.Containers() {
		if field := c.Get("securityContext", "procMount"); field.String() == "Unmasked" && !s.AllowUnmaskedProcMountType {
			places.Add(field)
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	if places.Len() > 0 {
		return sdk.Reject("Pod has at least one container with Unmasked procMount: " + places.String() + ". Remove the field or set it to Default"), nil
	}
	return sdk.Accept(), nil
}
