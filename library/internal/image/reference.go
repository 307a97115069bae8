// Package image reads image references as containers have them, and patterns of
// them, for the built-ins that judge images.
package image

import (
	"errors"
	"strings"
)

// Reference is an image reference in Docker's normal form: the default registry
// is docker.io, its images without a folder are in "library", and a reference
// with neither tag nor digest has the tag "latest".
type Reference struct {
	Registry   string // lower case, with a port if there is one
	Repository string
	Tag        string // "" when there is only a digest
	Digest     string // "sha256:<hex>", "" when there is none
	Plain      bool   // neither a tag nor a digest was written
}

const (
	defaultRegistry = "docker.io"
	// DefaultTag is the tag of a reference with neither tag nor digest.
	DefaultTag = "latest"
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

// Parse parses an image as it is written in a container.
func Parse(text string) (Reference, error) {
	name, digest, digested := strings.Cut(text, "@")
	if digested && !validDigest(digest) {
		return Reference{}, errFormat
	}
	r := Reference{Digest: digest}
	tagged := false
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, r.Tag, tagged = name[:i], name[i+1:], true
		if !ValidTag(r.Tag) {
			return Reference{}, errFormat
		}
	}
	if r.Plain = !tagged && !digested; r.Plain {
		r.Tag = DefaultTag
	}
	registry, repository, hasRegistry := splitRegistry(name)
	if hasRegistry && !ValidRegistry(registry) {
		return Reference{}, errFormat
	}
	r.Registry, r.Repository = CanonicalRegistry(registry), repository
	if r.Registry == defaultRegistry && !strings.Contains(r.Repository, "/") {
		r.Repository = "library/" + r.Repository
	}
	switch {
	case !validRepository(repository):
		if validRepository(strings.ToLower(repository)) {
			return Reference{}, errUppercase
		}
		return Reference{}, errFormat
	case !hasRegistry && len(name) == 64 && strings.Trim(name, lowerHex) == "":
		return Reference{}, errFormat // an image's ID, which names no registry
	case len(r.Registry)+1+len(r.Repository) > maxNameBytes:
		return Reference{}, errTooLong
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

// CanonicalRegistry is one spelling for the names of one registry.
func CanonicalRegistry(name string) string {
	name = strings.ToLower(name)
	if name == "index.docker.io" {
		return defaultRegistry
	}
	return name
}

// Name is the registry and the repository: docker.io/library/nginx.
func (r Reference) Name() string { return r.Registry + "/" + r.Repository }

// String is the whole reference: docker.io/library/nginx:1.27.
func (r Reference) String() string {
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// ValidRegistry reports whether registry is a host, with a port perhaps.
func ValidRegistry(registry string) bool {
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

// ValidTag reports whether tag is one that the OCI distribution specification
// allows.
func ValidTag(tag string) bool {
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
