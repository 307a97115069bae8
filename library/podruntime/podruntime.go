// Package podruntime is the built-in policy pod-runtime: it reserves runtime
// classes, and gives pods, and what makes pods, another one instead.
package podruntime

import (
	"context"
	"fmt"
	"slices"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of pod-runtime. The zero value accepts everything.
type Settings struct {
	// ReservedRuntimes are runtime classes that pods may not ask for.
	ReservedRuntimes []string `json:"reservedRuntimes"`
	// FallbackRuntime is the runtime class of pods that name none, and of those
	// that would be refused. Default: none, and these are refused.
	FallbackRuntime *string `json:"fallbackRuntime"`
	// DefaultRuntimeReserved says that pods must name a runtime class. Default
	// false.
	DefaultRuntimeReserved bool `json:"defaultRuntimeReserved"`
	// Compat treats every pod whose runtime class is not reserved as if it named
	// none, as the Kubewarden policy does. Default false.
	Compat bool `json:"compat"`
}

// Validate reports a fallback that is reserved itself.
func (s *Settings) Validate() error {
	if s.FallbackRuntime != nil && slices.Contains(s.ReservedRuntimes, *s.FallbackRuntime) {
		return fmt.Errorf("fallback runtime %s cannot be part of the reserved runtimes", *s.FallbackRuntime)
	}
	return nil
}

// Policy returns the policy pod-runtime.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if err != nil {
		return sdk.Verdict{}, err
	}
	if !spec.Exists() {
		return sdk.Accept(), nil
	}
	field := spec.Get("runtimeClassName")
	class := field.String()
	if err := spec.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	unset := class == "" || s.Compat
	switch {
	case class != "" && slices.Contains(s.ReservedRuntimes, class):
		return s.fallBack(spec, fmt.Sprintf("runtime '%s' is reserved: %s. Ask for another runtime class", class, field.Path())), nil
	case unset && s.DefaultRuntimeReserved:
		return s.fallBack(spec, "Usage of the default runtime is reserved: "+place(req)+" names no other. Ask for another runtime class"), nil
	case unset && s.FallbackRuntime != nil:
		return s.fallBack(spec, ""), nil
	}
	return sdk.Accept(), nil
}

func place(req *sdk.Request) (path string) {
	for _, name := range sdk.PodTemplatePath(req.Kind.Kind) {
		path += name + "."
	}
	return path + "runtimeClassName"
}

// fallBack gives the pod the other runtime class, or refuses it if there is none.
func (s *Settings) fallBack(spec sdk.Value, reason string) sdk.Verdict {
	if s.FallbackRuntime == nil {
		return sdk.Reject(reason)
	}
	v := sdk.Accept()
	if spec.Get("runtimeClassName").String() != *s.FallbackRuntime {
		v.Patch.Set(spec.Pointer()+"/runtimeClassName", *s.FallbackRuntime)
	}
	return v
}
