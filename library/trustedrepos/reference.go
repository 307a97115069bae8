package trustedrepos

import (
	"errors"
	"strings"
)

// reference is an image reference in Docker's normal form: the default registry
// is docker.io, its images without a folder are in "library", and a reference
// with neither tag nor digest has the tag "latest".
type reference struct {
	registry   string // lower case, with a port if there is one
	repository string
	tag        string // "" when there is only a digest
	digest     string // "sha256:<hex>", "" when there is none
	plain      bool   // neither a tag nor a digest was written
}

const (
	defaultRegistry = "docker.io"
	defaultTag      = "latest"
	// maxNameBytes bounds registry and repository together. Source: the
	// distribution project's reference grammar, NameTotalLengthMax.
	maxNameBytes = 255
	// maxTagBytes bounds a tag. Source: OCI distribution specification, "Pull".
	maxTagBytes = 128
)

var (
	errFormat    = errors.New("invalid reference format")
	errUppercase = errors.New("invalid reference format: repository name must be lowercase")
	errTooLong   = errors.New("invalid reference format: name is longer than 255 bytes")
)

// parseReference parses an image as it is written in a container.
func parseReference(text string) (reference, error) {
	name, digest, digested := strings.Cut(text, "@")
	if digested && !validDigest(digest) {
		return reference{}, errFormat
	}
	r := reference{digest: digest}
	tagged := false
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, r.tag, tagged = name[:i], name[i+1:], true
		if !validTag(r.tag) {
			return reference{}, errFormat
		}
	}
	if r.plain = !tagged && !digested; r.plain {
		r.tag = defaultTag
	}
	registry, repository, hasRegistry := splitRegistry(name)
	if hasRegistry && !validRegistry(registry) {
		return reference{}, errFormat
	}
	r.registry, r.repository = canonicalRegistry(registry), repository
	if r.registry == defaultRegistry && !strings.Contains(r.repository, "/") {
		r.repository = "library/" + r.repository
	}
	switch {
	case !validRepository(repository):
		if validRepository(strings.ToLower(repository)) {
			return reference{}, errUppercase
		}
		return reference{}, errFormat
	case !hasRegistry && len(name) == 64 && strings.Trim(name, lowerHex) == "":
		return reference{}, errFormat // an image's ID, which names no registry
	case len(r.registry)+1+len(r.repository) > maxNameBytes:
		return reference{}, errTooLong
	}
	return r, nil
}

const lowerHex = "0123456789abcdef"

// splitRegistry takes the registry off a name. The first part is a registry if
// it cannot be a folder of Docker Hub.
func splitRegistry(name string) (registry, repository string, written bool) {
	first, rest, ok := strings.Cut(name, "/")
	if !ok || !strings.ContainsAny(first, ".:") && first != "localhost" {
		return defaultRegistry, name, false
	}
	return first, rest, true
}

// canonicalRegistry is one spelling for the names of one registry.
func canonicalRegistry(name string) string {
	name = strings.ToLower(name)
	if name == "index.docker.io" {
		return defaultRegistry
	}
	return name
}

// name is the registry and the repository: docker.io/library/nginx.
func (r reference) name() string { return r.registry + "/" + r.repository }

// String is the whole reference: docker.io/library/nginx:1.27.
func (r reference) String() string {
	s := r.name()
	if r.tag != "" {
		s += ":" + r.tag
	}
	if r.digest != "" {
		s += "@" + r.digest
	}
	return s
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func validRegistry(registry string) bool {
	host, port, ported := strings.Cut(registry, ":")
	if strings.HasPrefix(registry, "[") { // an IPv6 address
		end := strings.IndexByte(registry, ']')
		if end < 0 || strings.Trim(strings.ToLower(registry[1:end]), lowerHex+":") != "" {
			return false
		}
		host, port, ported = "v6", strings.TrimPrefix(registry[end+1:], ":"), end+1 < len(registry)
		if ported && registry[end+1] != ':' {
			return false
		}
	}
	if ported && (port == "" || strings.Trim(port, "0123456789") != "") {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || !isAlphanumeric(label[0]) || !isAlphanumeric(label[len(label)-1]) {
			return false
		}
		for i := range len(label) {
			if !isAlphanumeric(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return true
}

func validRepository(repository string) bool {
	for part := range strings.SplitSeq(repository, "/") {
		if !validPathComponent(part) {
			return false
		}
	}
	return true
}

// validPathComponent reports whether part is lower case letters and digits, set
// apart by one dot, one or two underscores, or dashes.
func validPathComponent(part string) bool {
	separator := "-" // none may come first
	for i := range len(part) {
		c := part[i]
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			separator = ""
		case i > 0 && (c == '.' || c == '_' || c == '-'):
			if separator += string(c); separator != "." && separator != "_" && separator != "__" &&
				strings.Trim(separator, "-") != "" {
				return false
			}
		default:
			return false
		}
	}
	return part != "" && separator == ""
}

func validTag(tag string) bool {
	if tag == "" || len(tag) > maxTagBytes || !isAlphanumeric(tag[0]) && tag[0] != '_' {
		return false
	}
	for i := range len(tag) {
		if c := tag[i]; !isAlphanumeric(c) && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// validDigest takes the algorithms that registries know.
func validDigest(digest string) bool {
	algorithm, hex, _ := strings.Cut(digest, ":")
	size := map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}[algorithm]
	return size != 0 && len(hex) == size && strings.Trim(hex, lowerHex) == ""
}
