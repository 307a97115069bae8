// Package flexvolumedriverspsp is the built-in policy flexvolume-drivers-psp: it
// restricts the drivers of the FlexVolumes of pods, and of what makes pods.
package flexvolumedriverspsp

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of flexvolume-drivers-psp. The zero value allows no
// FlexVolume.
type Settings struct {
	// AllowedFlexVolumes are the drivers that may be used.
	AllowedFlexVolumes []FlexVolume `json:"allowedFlexVolumes"`
}

// FlexVolume names a driver: vendor/driver.
type FlexVolume struct {
	// Driver is vendor/driver.
	Driver string `json:"driver"`
}

// Policy returns the policy flexvolume-drivers-psp.
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
	for _, volume := range spec.Get("volumes").Elements() {
		flex := volume.Get("flexVolume")
		if driver := flex.Get("driver").String(); flex.Exists() && !slices.Contains(s.AllowedFlexVolumes, FlexVolume{driver}) {
			places.Addf(flex, " has driver %q", driver)
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	if places.Len() > 0 {
		return sdk.Reject("Pod has at least one invalid flex volume driver: " + places.String() + ". " + s.advice()), nil
	}
	return sdk.Accept(), nil
}

func (s *Settings) advice() string {
	if len(s.AllowedFlexVolumes) == 0 {
		return "No driver is allowed: use another type of volume"
	}
	drivers := make([]string, len(s.AllowedFlexVolumes))
	for i, v := range s.AllowedFlexVolumes {
		drivers[i] = v.Driver
	}
	return "Allowed are " + strings.Join(drivers, ", ")
}
