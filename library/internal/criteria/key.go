package criteria

import "strings"

// The most bytes of the parts of a key. Source: k8s.io/apimachinery,
// util/validation, IsQualifiedName.
const (
	maxPrefix = 253
	maxName   = 63
)

// ValidKey reports whether a label or an annotation can have the key: an
// optional DNS name and a slash, then letters, digits, "-", "_" and ".".
func ValidKey(key string) bool {
	name := key
	if prefix, rest, ok := strings.Cut(key, "/"); ok {
		if !validDNSName(prefix) {
			return false
		}
		name = rest
	}
	if name == "" || len(name) > maxName || !isAlphanumeric(name[0]) || !isAlphanumeric(name[len(name)-1]) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !isAlphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func validDNSName(name string) bool {
	if name == "" || len(name) > maxPrefix {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; c != '-' && (!isAlphanumeric(c) || 'A' <= c && c <= 'Z') {
				return false
			}
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
