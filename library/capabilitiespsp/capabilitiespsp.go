// Package capabilitiespsp is the built-in policy capabilities-psp: it controls
// which Linux capabilities containers may add, and adds or drops those that
// they must have or lose.
package capabilitiespsp

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// anyCapability stands for all capabilities in Settings.AllowedCapabilities.
const anyCapability = "*"

// Settings are the settings of capabilities-psp. Names are written as in a
// container: without CAP_, NET_ADMIN. The zero value allows no container to add
// any.
type Settings struct {
	// AllowedCapabilities are what containers may add; "*" is everything.
	AllowedCapabilities []string `json:"allowed_capabilities"`
	// RequiredDropCapabilities are what every container drops.
	RequiredDropCapabilities []string `json:"required_drop_capabilities"`
	// DefaultAddCapabilities are what every container adds.
	DefaultAddCapabilities []string `json:"default_add_capabilities"`
}

// Validate reports every contradiction between the lists.
func (s *Settings) Validate() error {
	var errs []error
	contradiction := func(names []string, why string) {
		if len(names) > 0 {
			errs = append(errs, errors.New("These capabilities cannot be "+why+": "+set(names)))
		}
	}
	required := func(name string) bool { return slices.Contains(s.RequiredDropCapabilities, name) }
	contradiction(filter(s.AllowedCapabilities, required), "allowed because they are also required to be dropped")
	contradiction(filter(s.DefaultAddCapabilities, required), "added by default because they are also required to be dropped")
	contradiction(filter(s.DefaultAddCapabilities, s.forbids), "added by default because they are not allowed")
	return errors.Join(errs...)
}

// forbids reports whether a container may not add the capability.
func (s *Settings) forbids(name string) bool {
	return !slices.Contains(s.AllowedCapabilities, name) && !slices.Contains(s.AllowedCapabilities, anyCapability)
}

func filter(names []string, keep func(string) bool) (kept []string) {
	for _, name := range names {
		if keep(name) {
			kept = append(kept, name)
		}
	}
	return kept
}

// set prints names as the Kubewarden policy does, but sorted: {"A", "B"}.
func set(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	for i, name := range names {
		names[i] = strconv.Quote(name)
	}
	return "{" + strings.Join(names, ", ") + "}"
}

// Policy returns the policy capabilities-psp.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if err != nil {
		return sdk.Verdict{}, err
	}
	way := spec.Pointer()
	var forbidden, mustDrop finding
	var patch sdk.Patch
	for _, list := range []string{"initContainers", "containers", "ephemeralContainers"} {
		for i, c := range spec.Get(list).Elements() {
			add, added := capabilities(c, "add")
			drop, dropped := capabilities(c, "drop")
			forbidden.note(add, filter(added, s.forbids))
			mustDrop.note(add, filter(added, func(name string) bool { return slices.Contains(s.RequiredDropCapabilities, name) }))
			if c.Exists() {
				at := way + "/" + list + "/" + strconv.Itoa(i) + "/securityContext/capabilities/"
				complete(&patch, at+"add", add, missing(s.DefaultAddCapabilities, added))
				complete(&patch, at+"drop", drop, missing(s.RequiredDropCapabilities, dropped))
			}
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	return verdict(forbidden, mustDrop, patch), nil
}

func verdict(forbidden, mustDrop finding, patch sdk.Patch) sdk.Verdict {
	const refusal = "PSP capabilities policies doesn't allow these capabilities to be added"
	if len(forbidden.names) > 0 {
		return sdk.Reject(refusal + ": " + forbidden.String() + ". Remove them, or ask for them to be added to allowed_capabilities")
	}
	if len(mustDrop.names) > 0 {
		return sdk.Reject(refusal + " because they are on the `required_drop_capabilities` list: " + mustDrop.String() + ". Remove them")
	}
	return sdk.Verdict{Accepted: true, Patch: patch}
}

// finding is capabilities that should not be there, and the lists they are in.
type finding struct {
	names, places []string
	more          int // places that are not named
}

// maxPlaces bounds the places that a message names. Nobody reads on, and each
// is found by reading the object again.
const maxPlaces = 10

func (f *finding) note(list sdk.Value, names []string) {
	f.names = append(f.names, names...)
	switch {
	case len(names) == 0:
	case len(f.places) < maxPlaces:
		f.places = append(f.places, list.Path())
	default:
		f.more++
	}
}

func (f *finding) String() string {
	text := set(f.names) + ", in " + strings.Join(f.places, ", ")
	if f.more > 0 {
		text += " and " + strconv.Itoa(f.more) + " more"
	}
	return text
}

// capabilities returns what the container adds or drops.
func capabilities(container sdk.Value, list string) (place sdk.Value, names []string) {
	place = container.Get("securityContext", "capabilities", list)
	for _, name := range place.Elements() {
		names = append(names, name.String())
	}
	return place, names
}

// missing returns the wanted names that are not there, each once.
func missing(wanted, have []string) (names []string) {
	for _, name := range wanted {
		if !slices.Contains(have, name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// complete appends names to the list at the pointer, which it makes if need be.
func complete(patch *sdk.Patch, at string, list sdk.Value, names []string) {
	if len(names) > 0 && !list.Exists() {
		patch.Set(at, names)
		return
	}
	for _, name := range names {
		patch.Add(at+"/-", name)
	}
}
