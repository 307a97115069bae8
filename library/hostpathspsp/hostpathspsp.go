// Package hostpathspsp is the built-in policy hostpaths-psp: it restricts which
// paths of the node the containers of pods, and of what makes pods, may mount,
// and whether they may write there.
package hostpathspsp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of hostpaths-psp. The zero value accepts
// everything.
type Settings struct {
	// AllowedHostPaths are the paths that may be mounted. Default: any.
	AllowedHostPaths []HostPath `json:"allowedHostPaths"`
}

// HostPath is a path of the node, with all that is below it. Both fields must
// be given. Of several that hold a path the longest counts, and of the same
// one twice the last.
type HostPath struct {
	// PathPrefix is the path.
	PathPrefix *string `json:"pathPrefix"`
	// ReadOnly is what the mount's readOnly must be.
	ReadOnly *bool `json:"readOnly"`
}

// Validate reports every key that is missing.
func (s *Settings) Validate() error {
	var problems []string
	for _, h := range s.AllowedHostPaths {
		if h.PathPrefix == nil {
			problems = append(problems, "pathPrefix key is missing")
		}
		if h.ReadOnly == nil {
			prefix := ""
			if h.PathPrefix != nil {
				prefix = *h.PathPrefix
			}
			problems = append(problems, fmt.Sprintf("readOnly key for pathPrefix '%s' is missing", prefix))
		}
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

// find returns the longest allowed path that holds the given one.
func (s *Settings) find(hostPath string) (best HostPath, found bool) {
	longest := -1
	for _, h := range s.AllowedHostPaths {
		prefix := path.Clean(*h.PathPrefix)
		if holds(prefix, hostPath) && len(prefix) >= longest {
			best, found, longest = h, true, len(prefix)
		}
	}
	return best, found
}

// holds reports whether a path is the prefix or below it: /foo holds /foo and
// /foo/bar and not /fool. Both are clean, so that /foo/../etc is not in /foo.
func holds(prefix, hostPath string) bool {
	return prefix == hostPath || strings.HasPrefix(hostPath, strings.TrimSuffix(prefix, "/")+"/")
}

// Policy returns the policy hostpaths-psp.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if len(s.AllowedHostPaths) == 0 {
		return sdk.Accept(), nil
	}
	spec, err := req.PodSpec()
	if err != nil {
		return sdk.Verdict{Message: err.Error(), Code: http.StatusBadRequest}, nil
	}
	volumes := map[string]string{} // host path by the volume's name
	for _, v := range spec.Get("volumes").Elements() {
		if source := v.Get("hostPath"); source.Exists() {
			volumes[v.Get("name").String()] = source.Get("path").String()
		}
	}
	var reasons []string
	more := 0
	for c := range spec.Containers() {
		for _, mount := range c.Get("volumeMounts").Elements() {
			hostPath, ok := volumes[mount.Get("name").String()]
			readOnly := mount.Get("readOnly").Bool()
			switch {
			case !ok || s.allows(hostPath, readOnly):
			case len(reasons) < maxReasons:
				reasons = append(reasons, s.refuse(hostPath, mount))
			default:
				more++
			}
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Verdict{Message: err.Error(), Code: http.StatusBadRequest}, nil
	}
	if more > 0 {
		reasons = append(reasons, fmt.Sprintf("and %d more", more))
	}
	if len(reasons) > 0 {
		return sdk.Reject(strings.Join(reasons, "\n")), nil
	}
	return sdk.Accept(), nil
}

// maxReasons bounds what a message says. Nobody reads on, and each place is
// found by reading the object again.
const maxReasons = 10

func (s *Settings) allows(hostPath string, readOnly bool) bool {
	allowed, ok := s.find(path.Clean(hostPath))
	return ok && *allowed.ReadOnly == readOnly
}

// refuse says why the host path may not be mounted as it is.
func (s *Settings) refuse(hostPath string, mount sdk.Value) string {
	name := mount.Get("name").String()
	allowed, ok := s.find(path.Clean(hostPath))
	if ok {
		return fmt.Sprintf("hostPath '%s' mounted as '%s' should be readOnly '%t': %s", hostPath, name, *allowed.ReadOnly, mount.Path())
	}
	prefixes := make([]string, len(s.AllowedHostPaths))
	for i, h := range s.AllowedHostPaths {
		prefixes[i] = *h.PathPrefix
	}
	return fmt.Sprintf("hostPath '%s' mounted as '%s' is not in the AllowedHostPaths list: %s. Allowed are %s",
		hostPath, name, mount.Path(), strings.Join(prefixes, ", "))
}
