package artifact

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Scheme says how a module is got.
type Scheme string

// The schemes there are. A reference without one is of a registry.
const (
	Registry Scheme = "registry"
	HTTPS    Scheme = "https"
	HTTP     Scheme = "http"
	File     Scheme = "file"
	Builtin  Scheme = "builtin"
)

// Reference is where a module is.
type Reference struct {
	// Scheme says which of the other methods have an answer.
	Scheme Scheme

	text  string         // behind ://, with the tag that was left out
	image name.Reference // of a registry
}

// ParseReference reads what a person has written: registry://ghcr.io/acme/p:v1,
// https://host/p.wasm, file:///p.wasm, builtin://name, or an image without a
// scheme, whose registry and tag may be left out as with Docker.
func ParseReference(uri string) (Reference, error) {
	uri = strings.TrimSpace(uri)
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok {
		scheme, rest = string(Registry), uri
	}
	r := Reference{Scheme: Scheme(strings.ToLower(scheme)), text: rest}
	var err error
	switch r.Scheme {
	case Registry:
		err = r.parseImage()
	case HTTP, HTTPS:
		err = r.parseURL()
	case File:
		err = r.parseFile()
	case Builtin:
		if rest == "" || strings.ContainsAny(rest, "/: ") {
			err = fmt.Errorf("%q is not the name of a built-in policy", rest)
		}
	default:
		return Reference{}, fmt.Errorf("reference %q: unknown scheme: %s; want registry, https, http, file or builtin", redact(uri), scheme)
	}
	if err != nil {
		return Reference{}, fmt.Errorf("reference %q: %w", redact(uri), err)
	}
	return r, nil
}

func (r *Reference) parseImage() error {
	if r.text == "" {
		return fmt.Errorf("it names no image")
	}
	image, err := imageReference(r.text)
	if err != nil {
		return err
	}
	r.image = image
	if tag, ok := image.(name.Tag); ok && !strings.HasSuffix(r.text, ":"+tag.TagStr()) {
		r.text += ":" + tag.TagStr()
	}
	if !strings.Contains(r.text, "/") { // busybox: kwctl has no place for it
		r.text = "docker.io/library/" + r.text
	}
	_, err = parseImage(r.text) // a name that is short enough may be too long in full
	return err
}

// imageReference reads an image as Docker does. What the path of a file could be
// made of is refused, and digests that nobody uses.
func imageReference(text string) (name.Reference, error) {
	image, err := name.ParseReference(text)
	if err != nil {
		return nil, fmt.Errorf("not an image: %w", err)
	}
	for element := range strings.SplitSeq(image.Context().Name(), "/") {
		if strings.Trim(element, ".") == "" {
			return nil, fmt.Errorf("not an image: %q is no part of a repository", element)
		}
	}
	if tag, ok := image.(name.Tag); ok && strings.ContainsAny(tag.TagStr()[:1], ".-") {
		return nil, fmt.Errorf("not an image: a tag does not start with %q", tag.TagStr()[:1])
	}
	if d, ok := image.(name.Digest); ok && !strings.HasPrefix(d.DigestStr(), "sha256:") {
		return nil, fmt.Errorf("digest %q: want sha256", d.DigestStr())
	}
	return image, nil
}

func (r *Reference) parseURL() error {
	u, err := url.Parse(string(r.Scheme) + "://" + r.text)
	if err != nil {
		return fmt.Errorf("not a URL: %w", unwrapURL(err))
	}
	if strings.Trim(u.Hostname(), ".") == "" || strings.ContainsAny(u.Host, "/\\\x00") {
		return fmt.Errorf("it names no host")
	}
	u.Host, u.Fragment = strings.ToLower(u.Host), ""
	if strings.HasSuffix(u.Path, "/") || u.Path == "" {
		return fmt.Errorf("it names no file: the path ends with a slash")
	}
	for element := range strings.SplitSeq(u.EscapedPath(), "/") {
		plain, err := url.PathUnescape(element)
		if err != nil || plain == "." || plain == ".." || strings.ContainsAny(plain, "/\\\x00") {
			return fmt.Errorf("path element %q: want the path without detours", element)
		}
	}
	r.text = strings.TrimPrefix(u.String(), string(r.Scheme)+"://")
	return nil
}

func (r *Reference) parseFile() error {
	if plain, err := url.PathUnescape(r.text); err == nil {
		r.text = plain
	}
	if !filepath.IsAbs(r.text) {
		return fmt.Errorf("want the absolute path of a file, as in file:///path/policy.wasm")
	}
	return nil
}

// String returns the reference with its scheme and its tag.
func (r Reference) String() string { return string(r.Scheme) + "://" + r.text }

// Path returns the path of a file, and the name of a built-in policy.
func (r Reference) Path() string {
	if r.Scheme == File || r.Scheme == Builtin {
		return r.text
	}
	return ""
}

// Image returns the full name of an image, docker.io and all; it is empty
// when the reference is of something else.
func (r Reference) Image() string {
	if r.image == nil {
		return ""
	}
	return hubName(r.image.Name())
}

// Repository returns the full name of an image without tag and digest; it is
// empty when the reference is of something else.
func (r Reference) Repository() string {
	if r.image == nil {
		return ""
	}
	return hubName(r.image.Context().Name())
}

// hubName names Docker Hub as people do, not by the host that answers for it.
func hubName(image string) string {
	if rest, ok := strings.CutPrefix(image, name.DefaultRegistry+"/"); ok {
		return "docker.io/" + rest
	}
	return image
}

// Pinned returns the reference to what the digest of an image is, whatever its
// tag comes to mean; it is empty when the reference is of something else.
func (r Reference) Pinned(digest string) string {
	if r.image == nil {
		return ""
	}
	return string(Registry) + "://" + r.Repository() + "@" + digest
}

// Digest returns the digest that the reference is pinned to, if any.
func (r Reference) Digest() string {
	if d, ok := r.image.(name.Digest); ok {
		return d.DigestStr()
	}
	return ""
}

// moves reports whether the registry has to be asked each time.
func (r Reference) moves() bool {
	tag, ok := r.image.(name.Tag)
	return ok && tag.TagStr() == "latest"
}

// StorePath returns the path of the module below the root of a store, with
// slashes; it is empty for what is not kept in one. It is Kubewarden's, so that
// kwctl finds what warder has pulled.
func (r Reference) StorePath() string {
	switch r.Scheme {
	case Registry:
		return encodePath(path.Join(string(r.Scheme), r.text), runtime.GOOS)
	case HTTP, HTTPS:
		u, err := url.Parse(r.String())
		if err != nil {
			return ""
		}
		return encodePath(path.Join(string(r.Scheme), u.Host, u.EscapedPath()), runtime.GOOS)
	}
	return ""
}

// referenceAt is the reference of a store path: the other way round.
func referenceAt(storePath string) (Reference, error) {
	plain, err := decodePath(storePath, runtime.GOOS)
	if err != nil {
		return Reference{}, err
	}
	scheme, rest, ok := strings.Cut(plain, "/")
	if s := Scheme(scheme); !ok || s != Registry && s != HTTP && s != HTTPS {
		return Reference{}, fmt.Errorf("path %q: it does not start with registry, https or http", storePath)
	}
	r, err := ParseReference(scheme + "://" + rest)
	if err != nil {
		return Reference{}, err
	}
	if r.StorePath() != storePath {
		return Reference{}, fmt.Errorf("path %q: it belongs to no reference", storePath)
	}
	return r, nil
}

// encodePath makes each element but the scheme base64 on Windows, whose file
// names have no colons.
func encodePath(p, goos string) string {
	if goos != "windows" {
		return p
	}
	elements := strings.Split(p, "/")
	for i := range elements[1:] {
		elements[i+1] = base64.RawURLEncoding.EncodeToString([]byte(elements[i+1]))
	}
	return strings.Join(elements, "/")
}

func decodePath(p, goos string) (string, error) {
	if goos != "windows" {
		return p, nil
	}
	elements := strings.Split(p, "/")
	for i := range elements[1:] {
		plain, err := base64.RawURLEncoding.DecodeString(elements[i+1])
		if err != nil {
			return "", fmt.Errorf("path %q: %w", p, err)
		}
		elements[i+1] = string(plain)
	}
	return strings.Join(elements, "/"), nil
}

// redact takes the password out of a URL that goes into a message.
func redact(uri string) string {
	if u, err := url.Parse(uri); err == nil && u.User != nil {
		return u.Redacted()
	}
	return uri
}

// unwrapURL takes off what repeats the URL, password and all.
func unwrapURL(err error) error {
	if e, ok := err.(*url.Error); ok { //nolint:errorlint // url.Parse returns no other
		return e.Err
	}
	return err
}
