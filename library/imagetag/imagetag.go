// Package imagetag is the built-in policy image-tag: it wants the images of
// containers to name their version.
package imagetag

import (
	"context"
	"strings"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of image-tag. The zero value wants a tag other than
// latest, or a digest.
type Settings struct {
	// AllowLatest lets images have the tag latest, if they say so.
	AllowLatest bool `json:"allowLatest"`
	// RequireDigest wants a digest; a tag is not enough then, since somebody can
	// move it.
	RequireDigest bool `json:"requireDigest"`
}

// Policy returns the policy image-tag.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Pods(req, func(spec sdk.Value) string {
		var places sdk.Places
		for c := range spec.Containers() {
			if image := c.Get("image"); image.String() != "" && !s.allows(image.String()) {
				places.Addf(image, " is %q", image.String())
			}
		}
		switch {
		case places.Len() == 0:
			return ""
		case s.RequireDigest:
			return "Images must have a digest: " + places.String() + ". Somebody can move a tag: add @sha256:… to it"
		}
		return "Images must name their version: " + places.String() +
			". What such a name stands for changes from one start to the next: add a tag, or a digest"
	})
}

func (s *Settings) allows(image string) bool {
	name, _, digest := strings.Cut(image, "@")
	if digest || s.RequireDigest {
		return digest
	}
	_, tag, _ := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], ":")
	return tag != "" && (tag != "latest" || s.AllowLatest)
}
