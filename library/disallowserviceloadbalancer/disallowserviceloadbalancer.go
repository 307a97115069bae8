// Package disallowserviceloadbalancer is the built-in policy disallow-service-loadbalancer:
// it refuses Services of type LoadBalancer.
package disallowserviceloadbalancer

import (
	"context"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of disallow-service-loadbalancer: there are none.
type Settings struct{}

// Policy returns the policy disallow-service-loadbalancer.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	service := req.ViewObject()
	refused := service.Get("spec", "type").String() == "LoadBalancer"
	if err := service.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if refused {
		return sdk.Reject("Service of type LoadBalancer are not allowed: spec.type is LoadBalancer. " +
			"It would be reached from outside of the cluster, at the price of a load balancer: use ClusterIP, behind an Ingress or a Gateway"), nil
	}
	return sdk.Accept(), nil
}
