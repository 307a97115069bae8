// Package linuxhardening is the built-in policy linux-hardening: it wants containers
// to be confined by one means of the Linux kernel at least.
package linuxhardening

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of linux-hardening: there are none.
type Settings struct{}

// Policy returns the policy linux-hardening.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Pods(req, func(spec sdk.Value) string {
		fields := spec.Fields("securityContext", "os")
		if fields[1].Get("name").String() == "windows" {
			return ""
		}
		pod := fields[0]
		var places sdk.Places
		for c := range spec.Containers() {
			own := c.Get("securityContext")
			if !confined(pod, own) && !drops(own) {
				places.Add(c)
			}
		}
		if places.Len() == 0 {
			return ""
		}
		return "Containers must be confined by seccomp, AppArmor or SELinux, or drop capabilities: " + places.String() +
			". Set securityContext.seccompProfile.type to RuntimeDefault, or securityContext.capabilities.drop to ALL"
	})
}

// confined reports whether the container has a profile, of its own or the pod's.
// Its own goes before.
func confined(pod, own sdk.Value) bool {
	for _, profile := range []string{"seccompProfile", "appArmorProfile"} {
		kind := own.Get(profile, "type").String()
		if inherited := pod.Get(profile, "type").String(); kind == "" {
			kind = inherited
		}
		if kind == "RuntimeDefault" || kind == "Localhost" {
			return true
		}
	}
	options := own.Get("seLinuxOptions")
	if !options.Exists() {
		options = pod.Get("seLinuxOptions")
	}
	for range options.Members() {
		return true
	}
	return false
}

// drops reports whether the container drops capabilities.
func drops(own sdk.Value) bool {
	for range own.Get("capabilities", "drop").Elements() {
		return true
	}
	return false
}
