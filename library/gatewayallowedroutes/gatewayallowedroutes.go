// Package gatewayallowedroutes is the built-in policy gateway-allowed-routes: it
// refuses Gateways that any namespace may attach a route to.
package gatewayallowedroutes

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of gateway-allowed-routes.
type Settings struct {
	// AllowedGateways are the names of Gateways that are for everybody; "public-*"
	// is all that start with public-. Default: none.
	AllowedGateways []string `json:"allowedGateways"`
}

// Policy returns the policy gateway-allowed-routes.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Kinds(req, []string{"Gateway"}, func(gateway sdk.Value) string {
		fields := gateway.Fields("metadata", "spec")
		var places sdk.Places
		for _, listener := range fields[1].Get("listeners").Elements() {
			if from := listener.Get("allowedRoutes", "namespaces", "from"); from.String() == "All" {
				places.Addf(from, " is All")
			}
		}
		if places.Len() == 0 || check.Listed(fields[0].Get("name").String(), s.AllowedGateways) {
			return ""
		}
		return "Listeners may not take routes from every namespace: " + places.String() +
			". Anybody could answer for the hosts of others: set it to Same, or to Selector with the namespaces that are meant"
	})
}
