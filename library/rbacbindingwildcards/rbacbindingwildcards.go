// Package rbacbindingwildcards is the built-in policy rbac-binding-wildcards: it
// refuses bindings whose role allows all there is, however
// it is called.
package rbacbindingwildcards

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of rbac-binding-wildcards.
type Settings struct {
	// AllowedBindings are the names of the RoleBindings and ClusterRoleBindings
	// that are not looked at; "team-*" is all that start with team-. Default:
	// none. The API server's own are let through when it makes them.
	AllowedBindings []string `json:"allowedBindings"`
	// AllowMissingRole lets a binding name a role that is not there yet. Default
	// false: whoever makes the role later would decide what is given.
	AllowMissingRole bool `json:"allowMissingRole"`
}

// Policy returns the policy rbac-binding-wildcards. It reads the role that a
// binding names, so roles come first.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Bindings{
		Allowed:      s.AllowedBindings,
		AllowMissing: s.AllowMissingRole,
		Refused:      check.Everything,
		Reason:       "allows everything there is, and will be",
	}.Judge(ctx, req)
}
