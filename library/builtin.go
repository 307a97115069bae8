package library

import (
	"slices"

	"github.com/warder-dev/warder/sdk"
)

// Builtin is a policy that needs no download.
type Builtin struct {
	// Name is what users call it: "pod-privileged".
	Name string
	// Summary is one sentence about what it does.
	Summary string
	// Mutating says that it changes objects, with some settings at least.
	Mutating bool
	// AsksHost says that it asks the host, and so may wait for something. One
	// that does not say so gets no host, whatever its policy is granted.
	AsksHost bool
	// Category is what it is good for: "security", "reliability" or "efficiency".
	// It is the value of the annotation io.kubewarden.policy.category.
	Category string
	// Severity is how bad it is not to hold to it: "critical", "high", "medium" or
	// "low". It is the value of the annotation io.kubewarden.policy.severity.
	Severity string
	Policy   sdk.Policy
}

// Lookup returns the built-in of the name, false if there is none.
func Lookup(name string) (Builtin, bool) {
	for _, b := range All() {
		if b.Name == name {
			return b, true
		}
	}
	return Builtin{}, false
}

// Names returns the names of the built-in policies, sorted.
func Names() []string {
	all := All()
	names := make([]string, len(all))
	for i, b := range all {
		names[i] = b.Name
	}
	slices.Sort(names)
	return names
}
