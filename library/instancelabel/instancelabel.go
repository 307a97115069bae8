// Package instancelabel is the built-in policy instance-label: it wants the label
// app.kubernetes.io/instance to be the name of the object.
package instancelabel

import (
	"context"

	"github.com/warder-dev/warder/sdk"
)

// label tells the instances of an application apart.
const label = "app.kubernetes.io/instance"

// Settings are the settings of instance-label. The zero value looks at objects
// that have the label.
type Settings struct {
	// Required wants objects to have the label. Default false.
	Required bool `json:"required"`
}

// Policy returns the policy instance-label.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	if req.Object == nil {
		return sdk.Accept(), nil
	}
	object := req.ViewObject()
	metadata := object.Get("metadata").Fields("name", "labels")
	name, instance := metadata[0].String(), metadata[1].Get(label)
	have := instance.String()
	if err := object.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	switch {
	case !instance.Exists() && s.Required:
		return sdk.Rejectf("metadata.labels has no %q: what belongs together cannot be told from it. Set it to %q", label, name), nil
	case instance.Exists() && name != "" && have != name:
		return sdk.Rejectf("%s is %q, and the name of the object %q: whoever goes by the label finds something else. Make them the same",
			instance.Path(), have, name), nil
	}
	return sdk.Accept(), nil
}
