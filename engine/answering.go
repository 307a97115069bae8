package engine

import (
	"strings"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime/celpolicy"
)

// Answering is a policy with the modules that answer for it: where it prefers
// built-ins, those that stand for the modules it names. A module that a built-in
// stands for is neither fetched nor verified.
func Answering(p policy.Policy) policy.Policy {
	if !p.PreferBuiltin {
		return p
	}
	p.PreferBuiltin, p.Module = false, inPlaceOf(p.Module)
	if p.Group != nil {
		group := *p.Group
		group.Members = make(map[string]policy.Policy, len(p.Group.Members))
		for name, m := range p.Group.Members {
			m.Module = inPlaceOf(m.Module)
			group.Members[name] = m
		}
		p.Group = &group
	}
	return p
}

// inPlaceOf returns the URI of the built-in that stands for a module, or that of
// the module itself.
func inPlaceOf(module string) string {
	ref, err := artifact.ParseReference(module)
	if err != nil {
		return module // it is said where it is fetched
	}
	if b, ok := library.ForImage(ref.Repository()); ok {
		return builtinScheme + b.Name
	}
	if ref.Repository() == celPolicyImage {
		return builtinScheme + celpolicy.Name
	}
	return module
}

// celPolicyImage is the repository of the policy of Kubewarden that celpolicy
// stands for.
const celPolicyImage = "ghcr.io/kubewarden/policies/" + celpolicy.Name

// instead is the name of the built-in that answers in place of the module that
// the policy names, "" if none does.
func instead(p policy.Policy) string {
	module := Answering(p).Module
	if module == p.Module {
		return ""
	}
	return strings.TrimPrefix(module, builtinScheme)
}
