package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime/cel"
	"github.com/warder-dev/warder/runtime/celpolicy"
)

// celRuntime is the runtime of policies in CEL, and of the built-in whose
// settings are CEL.
const celRuntime = "cel"

// namespaceKind is the kind of namespaceObject.
func namespaceKind() cel.Kind { return cel.Kind{APIVersion: "v1", Kind: "Namespace"} }

// compileCEL makes the program of a policy in CEL.
func (e *Engine) compileCEL(ent *entry, grants policy.Grants) *LoadError {
	p := ent.policy
	opts := cel.Options{Host: e.hostFor(p, grants), Namespace: p.Namespace}
	if p.FailurePolicy == policy.Ignore {
		opts.FailurePolicy = "Ignore"
	}
	program, err := cel.Compile(cel.Spec(*p.CEL), opts)
	if err != nil {
		return &LoadError{p.ID, StageCompile, inCEL(err)}
	}
	ent.program, ent.runtime, ent.closed = program, celRuntime, program.Close
	return nil
}

// inCEL says of each mistake in a policy in CEL where it is in the policy.
func inCEL(err error) error {
	joined, ok := err.(interface{ Unwrap() []error }) // the joined one itself, not one inside
	if !ok {
		return fmt.Errorf("cel.%w", err)
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, inCEL(one))
	}
	return errors.Join(all...)
}

// readsOfCEL are the kinds that a policy in CEL reads without being granted them:
// it says itself what it needs, where everybody sees it.
func readsOfCEL(p policy.Policy) []cel.Kind {
	if p.CEL == nil {
		return nil
	}
	return cel.Reads(cel.Spec(*p.CEL))
}

// grantCEL lets a host answer what a policy in CEL says that it reads.
func grantCEL(h *capability.Host, p policy.Policy) {
	kinds := readsOfCEL(p)
	if len(kinds) == 0 {
		return
	}
	granted := h.Allows
	h.Allows = func(capability string) bool {
		return granted(capability) || strings.HasPrefix(capability, "kubernetes/") && capability != "kubernetes/can_i"
	}
	for _, k := range kinds {
		if r := capability.Resource(k); !slices.Contains(h.Resources, r) {
			h.Resources = append(h.Resources, r)
		}
	}
	h.OwnNamespace = slices.Contains(kinds, namespaceKind())
}

// watchedOf are the kinds that are watched while a policy is loaded. A
// namespaceObject is got by its name, and so Namespaces are not among them
// because of it.
func watchedOf(p policy.Policy) []capability.Resource {
	all := resources(p)
	for _, k := range readsOfCEL(p) {
		if r := capability.Resource(k); k != namespaceKind() && !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all
}

// Builtin returns the policy that needs no module and has that name, and whether
// there is one: one of the library, or cel-policy.
func Builtin(name string) (library.Builtin, bool) {
	if name == celpolicy.Name {
		return library.Builtin{
			Name: name, Summary: "Judges objects by expressions in CEL, which are its settings.", AsksHost: true, Policy: celpolicy.Policy(),
		}, true
	}
	return library.Lookup(name)
}

// BuiltinNames returns the names of all policies that Builtin has, sorted.
func BuiltinNames() []string {
	names := append(library.Names(), celpolicy.Name)
	slices.Sort(names)
	return names
}
