// Package nspolicyservermapper is the built-in policy ns-policyserver-mapper: it
// sends the policies of a namespace to the PolicyServer that a label of the
// Namespace names.
package nspolicyservermapper

import (
	"context"
	"errors"
	"fmt"

	"github.com/warder-dev/warder/sdk"
)

// label names the PolicyServer of a Namespace.
const label = "admission.kubewarden.io/policy-server"

// Settings are the settings of ns-policyserver-mapper: there are none.
type Settings struct{}

// Policy returns the policy ns-policyserver-mapper. It reads the Namespace of the
// request.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	switch req.Kind.Kind {
	case "AdmissionPolicy", "AdmissionPolicyGroup":
	default:
		return sdk.Accept(), nil
	}
	object, old := req.ViewObject(), req.ViewOldObject()
	server, before := object.Get("spec", "policyServer"), old.Get("spec", "policyServer")
	same := server.String() == before.String()
	leaving := object.Get("metadata", "deletionTimestamp").Exists()
	if err := errors.Join(object.Err(), old.Err()); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if req.Object == nil || leaving || req.Operation == sdk.Update && before.Exists() && same {
		return sdk.Accept(), nil // the server of a policy that is there cannot be changed
	}
	answer, err := sdk.GetResource(ctx, sdk.GetQuery{APIVersion: "v1", Kind: "Namespace", Name: req.Namespace})
	if err != nil {
		return sdk.Verdict{}, err
	}
	namespace := sdk.View(answer)
	want := namespace.Get("metadata", "labels", label).String()
	if err := namespace.Err(); err != nil {
		return sdk.Verdict{}, fmt.Errorf("the Namespace: %w", err)
	}
	if want == "" {
		return sdk.Rejectf("Namespace '%s' has no '%s' label; cannot determine the PolicyServer for the policy. "+
			"Ask for the label to be set to the name of a PolicyServer", req.Namespace, label), nil
	}
	verdict := sdk.Accept()
	if server.String() != want {
		verdict.Patch.Set("/spec/policyServer", want)
	}
	return verdict, nil
}
