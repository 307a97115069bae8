// Package podndots is the built-in policy pod-ndots: it sets the resolver option
// ndots of pods, and of what makes pods.
package podndots

import (
	"context"
	"errors"
	"strconv"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of pod-ndots.
type Settings struct {
	// Ndots is how many dots make a name one that is asked for as it is, before
	// the cluster's search domains are tried. Default 1; Kubernetes' own is 5.
	Ndots *uint `json:"ndots"`
}

// Policy returns the policy pod-ndots.
func Policy() sdk.Policy { return sdk.Define(judge) }

// option is an entry of dnsConfig.options.
type option struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

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
	// Kubernetes lets nobody change this of a pod, or a job, that exists: with
	// a patch the user could not change its labels either.
	if kind := req.Kind.Kind; req.Operation == sdk.Update && (kind == "Pod" || kind == "Job") || !spec.Exists() {
		return sdk.Accept(), nil
	}
	v := sdk.Accept()
	s.set(spec, &v.Patch)
	if err := spec.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	return v, nil
}

func (s *Settings) set(spec sdk.Value, patch *sdk.Patch) {
	want := option{Name: "ndots", Value: "1"}
	if s.Ndots != nil {
		want.Value = strconv.FormatUint(uint64(*s.Ndots), 10)
	}
	options := spec.Get("dnsConfig", "options")
	found := false
	for _, o := range options.Elements() {
		if o.Get("name").String() != want.Name {
			continue
		}
		found = true
		if value := o.Get("value"); !value.Exists() || value.String() != want.Value {
			patch.Set(o.Pointer()+"/value", want.Value)
		}
	}
	switch {
	case found:
	case options.Exists():
		patch.Add(options.Pointer()+"/-", want)
	default:
		patch.Set(spec.Pointer()+"/dnsConfig/options", []option{want})
	}
}
