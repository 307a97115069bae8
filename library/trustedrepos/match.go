package trustedrepos

import "strings"

// isPattern reports whether a setting is a pattern and not a literal.
func isPattern(text string) bool { return strings.ContainsAny(text, "*?") }

// glob reports whether the whole text matches: "*" stands for any run of
// characters, "?" for one.
func glob(pattern, text string) bool {
	p, s := []rune(pattern), []rune(text)
	i, j := 0, 0
	star, resume := -1, 0 // the last star, and where its run ends for now
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, resume = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == s[j]):
			i, j = i+1, j+1
		case star >= 0: // let the star take one more
			resume++
			i, j = star+1, resume
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// matches reports whether a setting, a literal or a pattern, is the text.
func matches(setting, text string) bool {
	if isPattern(setting) {
		return glob(setting, text)
	}
	return setting == text
}

// imageSetting is one entry of images.allow or images.reject.
type imageSetting struct {
	text string
	ref  reference // of a literal
}

// matches reports whether the entry means the image:
//   - a literal with a tag or a digest, the same reference;
//   - one without, the same repository with any tag; if the entry names no
//     registry, in any registry too;
//   - a pattern, the whole reference, or, if it has neither tag nor digest, the
//     name with or without its registry.
func (s imageSetting) matches(image reference) bool {
	if isPattern(s.text) {
		if glob(s.text, image.String()) {
			return true
		}
		return !strings.ContainsAny(s.text, ":@") && (glob(s.text, image.name()) || glob(s.text, image.repository))
	}
	if s.ref.plain {
		return s.ref.name() == image.name() || s.text == image.repository
	}
	return s.ref.String() == image.String()
}
