// Package volumespsp is the built-in policy volumes-psp: it restricts the types
// of the volumes of pods, and of what makes pods.
package volumespsp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of volumes-psp. The zero value allows no volume,
// and no pod.
type Settings struct {
	// AllowedTypes are the types that volumes may have, as fields of a volume
	// are called: configMap, emptyDir. "*" alone is every type.
	AllowedTypes []string `json:"allowedTypes"`
	// IgnoreInitContainersVolumes passes over volumes that init containers
	// mount and no other containers do. Default false.
	IgnoreInitContainersVolumes bool `json:"ignoreInitContainersVolumes"`
}

// Validate reports a "*" that makes the other types useless.
func (s *Settings) Validate() error {
	if slices.Contains(s.AllowedTypes, "*") && slices.ContainsFunc(s.AllowedTypes, func(t string) bool { return t != "*" }) {
		return errors.New(`allowedTypes has "*", which is every type, and others: remove it or them`)
	}
	return nil
}

// Policy returns the policy volumes-psp.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if errors.Is(err, sdk.ErrNoPodSpec) && req.Raw == nil {
		return sdk.Accept(), nil
	}
	if err != nil {
		return sdk.Verdict{}, err
	}
	switch {
	case !spec.Exists() || slices.Contains(s.AllowedTypes, "*"):
		return sdk.Accept(), nil
	case len(s.AllowedTypes) == 0:
		return sdk.Reject("No volume type is allowed. Ask for those that the pod needs to be added to allowedTypes"), nil
	}
	var ignored map[string]bool
	if s.IgnoreInitContainersVolumes {
		ignored = onlyInInitContainers(spec)
	}
	var reasons []string
	more := 0
	for _, volume := range spec.Get("volumes").Elements() {
		name := volume.Get("name").String()
		if ignored[name] {
			continue
		}
		for _, kind := range types(volume) {
			switch {
			case slices.Contains(s.AllowedTypes, kind):
			case len(reasons) < maxReasons:
				reasons = append(reasons, fmt.Sprintf("volume '%s' of type '%s' is not in the AllowedTypes list: %s", name, kind, volume.Path()))
			default:
				more++
			}
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	if more > 0 {
		reasons = append(reasons, fmt.Sprintf("and %d more", more))
	}
	if len(reasons) > 0 {
		return sdk.Reject(strings.Join(reasons, "; ") + ". Allowed are " + strings.Join(s.AllowedTypes, ", ")), nil
	}
	return sdk.Accept(), nil
}

// maxReasons bounds what a message says. Nobody reads on, and each place is
// found by reading the object again.
const maxReasons = 10

// types returns the types of a volume: one, unless the API server refuses it.
// Without a type a volume is an emptyDir.
func types(volume sdk.Value) (types []string) {
	for name, value := range volume.Members() {
		if name != "name" && value.Exists() {
			types = append(types, name)
		}
	}
	if len(types) == 0 {
		return []string{"emptyDir"}
	}
	return types
}

// onlyInInitContainers returns the names of the volumes that init containers
// use and no other containers do.
func onlyInInitContainers(spec sdk.Value) map[string]bool {
	only := map[string]bool{}
	use := func(init bool, lists ...string) {
		for c := range spec.Containers(lists...) {
			for _, list := range []string{"volumeMounts", "volumeDevices"} {
				for _, mount := range c.Get(list).Elements() {
					only[mount.Get("name").String()] = init
				}
			}
		}
	}
	use(true, "initContainers")
	use(false, "containers", "ephemeralContainers")
	return only
}
