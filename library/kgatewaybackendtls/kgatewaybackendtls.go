// Package kgatewaybackendtls is the built-in policy kgateway-backend-tls: it refuses
// BackendConfigPolicies of kgateway that take any certificate for that of the backend.
package kgatewaybackendtls

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of kgateway-backend-tls: there are none.
type Settings struct{}

// Policy returns the policy kgateway-backend-tls.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Kinds(req, []string{"BackendConfigPolicy"}, func(policy sdk.Value) string {
		skips := policy.Get("spec", "tls", "insecureSkipVerify")
		if !skips.Bool() {
			return ""
		}
		return "The certificate of the backend must be verified: " + skips.Path() +
			" is true, so that anybody in between can be the backend. Remove it, and name the authority in spec.tls"
	})
}
