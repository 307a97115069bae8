// Package rbacbindingpodexec is the built-in policy rbac-binding-pod-exec: it
// refuses bindings whose role allows to run commands in the
// containers of others.
package rbacbindingpodexec

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of rbac-binding-pod-exec.
type Settings struct {
	// AllowedBindings are the names of the RoleBindings and ClusterRoleBindings
	// that are not looked at; "team-*" is all that start with team-. Default:
	// none. The API server's own are let through when it makes them.
	AllowedBindings []string `json:"allowedBindings"`
	// AllowMissingRole lets a binding name a role that is not there yet. Default
	// false: whoever makes the role later would decide what is given.
	AllowMissingRole bool `json:"allowMissingRole"`
}

// Policy returns the policy rbac-binding-pod-exec. It reads the role that a
// binding names, so roles come first.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Bindings{
		Allowed:      s.AllowedBindings,
		AllowMissing: s.AllowMissingRole,
		Refused:      check.PodExec,
		Reason:       "allows exec or attach",
	}.Judge(ctx, req)
}
