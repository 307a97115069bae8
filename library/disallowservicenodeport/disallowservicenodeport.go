// Package disallowservicenodeport is the built-in policy disallow-service-nodeport:
// it refuses Services of type NodePort. Those of type
// LoadBalancer are the business of disallow-service-loadbalancer, though they
// take ports of the nodes too.
package disallowservicenodeport

import (
	"context"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of disallow-service-nodeport: there are none.
type Settings struct{}

// Policy returns the policy disallow-service-nodeport.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	service := req.ViewObject()
	refused := service.Get("spec", "type").String() == "NodePort"
	if err := service.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if refused {
		return sdk.Reject("Service of type NodePort are not allowed: spec.type is NodePort. " +
			"It would open a port on every node: use ClusterIP, behind an Ingress or a Gateway"), nil
	}
	return sdk.Accept(), nil
}
