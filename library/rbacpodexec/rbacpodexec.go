// Package rbacpodexec is the built-in policy rbac-pod-exec: it refuses Roles and
// ClusterRoles that allow to run commands in the containers of others.
package rbacpodexec

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of rbac-pod-exec.
type Settings struct {
	// AllowedRoles are the names of Roles and ClusterRoles that are not looked
	// at; "team-*" is all that start with team-. Default: none. The API server's
	// own are let through when it makes them.
	AllowedRoles []string `json:"allowedRoles"`
}

// Policy returns the policy rbac-pod-exec.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Kinds(req, []string{"Role", "ClusterRole"}, func(role sdk.Value) string {
		places := check.PodExec(role)
		name := role.Get("metadata", "name").String()
		if places.Len() == 0 || check.Listed(name, s.AllowedRoles) || req.UserInfo.Username == check.BootstrapUser {
			return ""
		}
		return "Roles may not allow exec or attach: " + places.String() +
			". It gives everything that a container has, its secrets too: remove it, or ask for the role to be added to allowedRoles"
	})
}
