// Package trustedrepos is the built-in policy trusted-repos: it restricts the
// registries, tags and images that the containers of pods, and of what makes
// pods, come from.
package trustedrepos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/library/internal/image"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of trusted-repos. Entries with "*" (any run of
// characters) or "?" (one) are patterns of the whole text. The zero value
// accepts everything.
type Settings struct {
	// Registries are hosts, with a port if there is one: "ghcr.io".
	Registries Lists `json:"registries"`
	Tags       Tags  `json:"tags"`
	// Images are references. One without tag and digest stands for all tags.
	Images Lists `json:"images"`

	allow, reject []imageSetting
}

// Lists are what is allowed (nothing else is) or what is rejected (everything
// else is allowed). Only one of the two may be given; empty ones are as good as
// none.
type Lists struct {
	// Allow is all that there may be.
	Allow []string `json:"allow"`
	// Reject is what there may not be.
	Reject []string `json:"reject"`
}

// Tags are the tags that no image may have. An image without a tag has
// "latest".
type Tags struct {
	// Reject are tags, "latest" for images without one too.
	Reject []string `json:"reject"`
}

// Validate reports everything that is wrong, and prepares the images.
func (s *Settings) Validate() error {
	var problems []string
	if len(s.Registries.Allow) > 0 && len(s.Registries.Reject) > 0 {
		problems = append(problems, "only one of registries allow or reject can be provided")
	}
	if len(s.Images.Allow) > 0 && len(s.Images.Reject) > 0 {
		problems = append(problems, "only one of images allow or reject can be provided")
	}
	var badTags []string
	for _, tag := range s.Tags.Reject {
		if !image.IsPattern(tag) && !image.ValidTag(tag) {
			badTags = append(badTags, strconv.Quote(tag))
		}
	}
	if len(badTags) > 0 {
		problems = append(problems,
			"tags ["+strings.Join(badTags, ", ")+"] are invalid, they must be valid OCI tags or wildcard patterns")
	}
	problems = append(problems, badRegistries("registries.allow", s.Registries.Allow)...)
	problems = append(problems, badRegistries("registries.reject", s.Registries.Reject)...)
	var bad []string
	s.allow, bad = parseImages("images.allow", s.Images.Allow)
	problems = append(problems, bad...)
	s.reject, bad = parseImages("images.reject", s.Images.Reject)
	if problems = append(problems, bad...); len(problems) > 0 {
		return errors.New(strings.Join(problems, ", "))
	}
	return nil
}

func badRegistries(path string, registries []string) (problems []string) {
	for i, registry := range registries {
		if !image.IsPattern(registry) && !image.ValidRegistry(registry) {
			problems = append(problems, fmt.Sprintf("%s[%d]: %q: want a host, with a port if it has one", path, i, registry))
		}
	}
	return problems
}

func parseImages(path string, images []string) (settings []imageSetting, problems []string) {
	for i, text := range images {
		setting := imageSetting{text: text}
		if !image.IsPattern(text) {
			ref, err := image.Parse(text)
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s[%d]: %q: %v", path, i, text, err))
			}
			setting.ref = ref
		}
		settings = append(settings, setting)
	}
	return settings, problems
}

// restricts reports whether the settings refuse anything at all.
func (s *Settings) restricts() bool {
	return len(s.Registries.Allow)+len(s.Registries.Reject)+len(s.Tags.Reject)+len(s.allow)+len(s.reject) > 0
}

func (s *Settings) allowsRegistry(registry string) bool {
	in := func(list []string) bool {
		return slices.ContainsFunc(list, func(entry string) bool { return matches(image.CanonicalRegistry(entry), registry) })
	}
	return !in(s.Registries.Reject) && (len(s.Registries.Allow) == 0 || in(s.Registries.Allow))
}

func (s *Settings) allowsTag(tag string) bool {
	return !slices.ContainsFunc(s.Tags.Reject, func(entry string) bool { return matches(entry, tag) })
}

func (s *Settings) allowsImage(ref image.Reference) bool {
	in := func(list []imageSetting) bool {
		return slices.ContainsFunc(list, func(entry imageSetting) bool { return entry.matches(ref) })
	}
	return !in(s.reject) && (len(s.allow) == 0 || in(s.allow))
}

// Policy returns the policy trusted-repos.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	spec, err := req.PodSpec()
	if errors.Is(err, sdk.ErrNoPodSpec) {
		return sdk.Accept(), nil
	}
	if err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	var bad findings
	for c := range spec.Containers() {
		bad.add(s, c.Get("image"))
	}
	if err := spec.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if len(bad.places) > 0 {
		return sdk.Reject(bad.String()), nil
	}
	return sdk.Accept(), nil
}

// findings are what is not allowed, and where.
type findings struct {
	registries, tags, images, unreadable []string

	places []string
	more   int // places that are not named
}

// maxPlaces bounds the places that a message names. Nobody reads on, and each
// is found by reading the object again.
const maxPlaces = 10

func (f *findings) note(field sdk.Value) {
	if len(f.places) < maxPlaces {
		f.places = append(f.places, field.Path())
		return
	}
	f.more++
}

// add judges the image of one container. A container without one is the API
// server's to refuse.
func (f *findings) add(s *Settings, field sdk.Value) {
	if !s.restricts() || !field.Exists() {
		return
	}
	text := field.String()
	before := f.count()
	ref, err := image.Parse(text)
	if err != nil {
		f.unreadable = append(f.unreadable, fmt.Sprintf("%q (%v)", text, err))
		f.note(field)
		return
	}
	if !s.allowsRegistry(ref.Registry) {
		f.registries = append(f.registries, ref.Registry)
	}
	tag := ref.Tag
	if tag == "" {
		tag = image.DefaultTag
	}
	if !s.allowsTag(tag) {
		f.tags = append(f.tags, tag)
	}
	if !s.allowsImage(ref) {
		f.images = append(f.images, text)
	}
	if f.count() > before {
		f.note(field)
	}
}

func (f *findings) count() int { return len(f.registries) + len(f.tags) + len(f.images) }

// String is the reason of a rejection: the Kubewarden policy's, and where.
func (f *findings) String() string {
	var parts []string
	section := func(title string, items []string) {
		if slices.Sort(items); len(items) > 0 {
			parts = append(parts, title+": "+strings.Join(slices.Compact(items), ", "))
		}
	}
	section("registries not allowed", f.registries)
	section("tags not allowed", f.tags)
	section("images not allowed", f.images)
	section("images that cannot be parsed", f.unreadable)
	reason := "not allowed, reported errors: " + strings.Join(parts, "; ") + ". See " + strings.Join(f.places, ", ")
	if f.more > 0 {
		reason += fmt.Sprintf(" and %d more", f.more)
	}
	return reason
}
