// Package pdballowsdisruptions is the built-in policy pdb-allows-disruptions: it refuses
// PodDisruptionBudgets that allow none, so that no node can be drained.
package pdballowsdisruptions

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of pdb-allows-disruptions: there are none.
type Settings struct{}

// Policy returns the policy pdb-allows-disruptions.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Kinds(req, []string{"PodDisruptionBudget"}, func(budget sdk.Value) string {
		spec := budget.Get("spec").Fields("maxUnavailable", "minAvailable")
		most, least := spec[0].Scalar(), spec[1].Scalar()
		const why = ": no node with such a pod can ever be drained. "
		switch {
		case most == "0" || most == "0%":
			return "spec.maxUnavailable is " + most + why + "Allow 1 or more"
		case least == "100%":
			return "spec.minAvailable is 100%" + why + "Set maxUnavailable to 1 instead"
		}
		return ""
	})
}
