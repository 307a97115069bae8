// Package httproutehostnames is the built-in policy http-route-hostnames: it wants
// HTTPRoutes to say which hosts they are for.
package httproutehostnames

import (
	"context"
	"strings"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of http-route-hostnames.
type Settings struct {
	// AllowWildcards lets a route be for all hosts of a domain: *.example.com.
	// Default false.
	AllowWildcards bool `json:"allowWildcards"`
}

// Policy returns the policy http-route-hostnames.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Kinds(req, []string{"HTTPRoute"}, func(route sdk.Value) string {
		named := false
		var places sdk.Places
		for _, host := range route.Get("spec", "hostnames").Elements() {
			named = true
			if name := host.String(); name == "" || name == "*" || strings.Contains(name, "*") && !s.AllowWildcards {
				places.Addf(host, " is %q", name)
			}
		}
		const why = ". The route would take what is meant for others: name the hosts that it is for"
		switch {
		case !named:
			return "spec.hostnames is empty, so that the route is for every host of its Gateway" + why
		case places.Len() > 0:
			return "Routes may not be for hosts that are not named: " + places.String() + why
		}
		return ""
	})
}
