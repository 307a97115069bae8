// Package check is what built-ins share that look at one object and refuse it
// for one reason.
package check

import (
	"errors"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Pods asks about the pod spec of a Pod, and of what makes pods: why is it
// refused, "" if it is not. Other kinds are accepted.
func Pods(req *sdk.Request, refuses func(spec sdk.Value) (reason string)) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	spec, err := req.PodSpec()
	if errors.Is(err, sdk.ErrNoPodSpec) {
		return sdk.Accept(), nil
	}
	if err != nil {
		return misshapen(err), nil
	}
	if !spec.Exists() {
		return sdk.Accept(), nil // a deletion, or an object that the API server refuses
	}
	return verdict(refuses(spec), spec), nil
}

// Kinds asks about an object of one of the kinds: why is it refused, "" if it is
// not. Other kinds, and deletions, are accepted.
func Kinds(req *sdk.Request, kinds []string, refuses func(object sdk.Value) (reason string)) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	if req.Object == nil || !slices.Contains(kinds, req.Kind.Kind) {
		return sdk.Accept(), nil
	}
	object := req.ViewObject()
	return verdict(refuses(object), object), nil
}

// verdict refuses for the reason, or because something in the document of v is
// not what it was taken for.
func verdict(reason string, v sdk.Value) sdk.Verdict {
	if err := v.Err(); err != nil {
		return misshapen(err)
	}
	if reason != "" {
		return sdk.Reject(reason)
	}
	return sdk.Accept()
}

func misshapen(err error) sdk.Verdict {
	return sdk.Reject("Cannot parse validation request: " + err.Error())
}

// Listed reports whether a name is on a list, where "team-*" stands for all that
// start with "team-".
func Listed(name string, list []string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		prefix, wild := strings.CutSuffix(entry, "*")
		return name == entry || wild && strings.HasPrefix(name, prefix)
	})
}

// ErrNoNamespace is what to return when other objects of the request's namespace
// are needed, and it has none.
var ErrNoNamespace = errors.New("the request has no namespace")

// BootstrapUser is who makes the API server's own roles when it starts.
const BootstrapUser = "system:apiserver"

// NotFound reports whether an error of the host says that there is no such
// object. A guest is told an error as text, and nothing else: there is no type to
// go by.
func NotFound(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.HasPrefix(text, "cannot find ") || strings.Contains(text, "not found")
}
