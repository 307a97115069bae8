package image

import "strings"

// IsPattern reports whether a setting is a pattern and not a literal.
func IsPattern(text string) bool { return strings.ContainsAny(text, "*?") }

// Glob reports whether the whole text matches: "*" stands for any run of
// characters, "?" for one.
func Glob(pattern, text string) bool {
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
