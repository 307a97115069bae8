// Package imagepullpolicy is the built-in policy image-pull-policy: it limits the
// imagePullPolicy of containers.
package imagepullpolicy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of image-pull-policy. The zero value wants Always:
// then a node asks the registry each time, for the image of today and for the
// right to have it.
type Settings struct {
	// Allowed are the policies that containers may have: Always, IfNotPresent,
	// Never. Default: Always.
	Allowed []string `json:"allowed"`
	// SkipDigests leaves alone the containers whose image has a digest: it is the
	// same image each time.
	SkipDigests bool `json:"skipDigests"`
}

// Validate reports a policy that is none.
func (s *Settings) Validate() error {
	if len(s.Allowed) == 0 {
		s.Allowed = []string{"Always"}
	}
	for i, name := range s.Allowed {
		if name != "Always" && name != "IfNotPresent" && name != "Never" {
			return fmt.Errorf("allowed[%d]: want Always, IfNotPresent or Never, have %q", i, name)
		}
	}
	return nil
}

// Policy returns the policy image-pull-policy.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Pods(req, func(spec sdk.Value) string {
		var places sdk.Places
		for c := range spec.Containers() {
			image := c.Get("image").String()
			digest := strings.Contains(image, "@")
			policy := c.Get("imagePullPolicy").String()
			if policy == "" {
				policy = defaultFor(image)
			}
			if !slices.Contains(s.Allowed, policy) && !(digest && s.SkipDigests) {
				places.Addf(c, " has %s", policy)
			}
		}
		if places.Len() == 0 {
			return ""
		}
		return "imagePullPolicy must be " + strings.Join(s.Allowed, " or ") + ": " + places.String() + ". Set it in the container"
	})
}

// defaultFor is the policy of a container that has none. Source:
// https://kubernetes.io/docs/concepts/containers/images/#imagepullpolicy-defaulting.
func defaultFor(image string) string {
	_, tag, _ := strings.Cut(image[strings.LastIndexByte(image, '/')+1:], ":")
	if !strings.Contains(image, "@") && (tag == "" || tag == "latest") {
		return "Always"
	}
	return "IfNotPresent"
}
