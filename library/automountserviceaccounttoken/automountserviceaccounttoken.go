// Package automountserviceaccounttoken is the built-in policy automount-service-account-token:
// it wants pods to do without the token of their ServiceAccount.
package automountserviceaccounttoken

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of automount-service-account-token.
type Settings struct {
	// AllowedServiceAccounts are the names of the ServiceAccounts whose pods may
	// have the token; "team-*" is all that start with team-. Default: none.
	AllowedServiceAccounts []string `json:"allowedServiceAccounts"`
}

// Policy returns the policy automount-service-account-token.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Pods(req, func(spec sdk.Value) string {
		fields := spec.Fields("automountServiceAccountToken", "serviceAccountName", "serviceAccount")
		account := fields[1].String()
		if account == "" {
			account = fields[2].String() // its name of old
		}
		if account == "" {
			account = "default"
		}
		if mount := fields[0]; mount.Exists() && !mount.Bool() || check.Listed(account, s.AllowedServiceAccounts) {
			return ""
		}
		return spec.Path() + ".automountServiceAccountToken is not false: whoever gets into a container has the rights of ServiceAccount " +
			account + ". Set it to false, or ask for the ServiceAccount to be added to allowedServiceAccounts"
	})
}
