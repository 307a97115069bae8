package trustedrepos

import (
	"strings"

	"github.com/warder-dev/warder/library/internal/image"
)

// matches reports whether a setting, a literal or a pattern, is the text.
func matches(setting, text string) bool {
	if image.IsPattern(setting) {
		return image.Glob(setting, text)
	}
	return setting == text
}

// imageSetting is one entry of images.allow or images.reject.
type imageSetting struct {
	text string
	ref  image.Reference // of a literal
}

// matches reports whether the entry means the image:
//   - a literal with a tag or a digest, the same reference;
//   - one without, the same repository with any tag; if the entry names no
//     registry, in any registry too;
//   - a pattern, the whole reference, or, if it has neither tag nor digest, the
//     name with or without its registry.
func (s imageSetting) matches(ref image.Reference) bool {
	if image.IsPattern(s.text) {
		if image.Glob(s.text, ref.String()) {
			return true
		}
		return !strings.ContainsAny(s.text, ":@") && (image.Glob(s.text, ref.Name()) || image.Glob(s.text, ref.Repository))
	}
	if s.ref.Plain {
		return s.ref.Name() == ref.Name() || s.text == ref.Repository
	}
	return s.ref.String() == ref.String()
}
