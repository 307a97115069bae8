// Package rbacclusteradmin is the built-in policy rbac-cluster-admin: it refuses
// bindings that give somebody all rights.
package rbacclusteradmin

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of rbac-cluster-admin.
type Settings struct {
	// Roles are the ClusterRoles that nobody is to be given. Default:
	// cluster-admin.
	Roles []string `json:"roles"`
	// AllowedBindings are the names of the RoleBindings and ClusterRoleBindings
	// that are not looked at; "team-*" is all that start with team-. Default:
	// none. The API server's own are let through when it makes them.
	AllowedBindings []string `json:"allowedBindings"`
}

// Validate fills in the default.
func (s *Settings) Validate() error {
	if len(s.Roles) == 0 {
		s.Roles = []string{"cluster-admin"}
	}
	return nil
}

// Policy returns the policy rbac-cluster-admin.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Kinds(req, []string{"RoleBinding", "ClusterRoleBinding"}, func(binding sdk.Value) string {
		role := binding.Get("roleRef").Fields("kind", "name")
		kind, name := role[0].String(), role[1].String()
		given := kind == "ClusterRole" && check.Listed(name, s.Roles)
		var subjects sdk.Places
		for _, subject := range binding.Get("subjects").Elements() {
			subjects.Addf(subject, " (%s %s)", subject.Get("kind").String(), subject.Get("name").String())
		}
		allowed := check.Listed(binding.Get("metadata", "name").String(), s.AllowedBindings)
		if !given || subjects.Len() == 0 || allowed || req.UserInfo.Username == check.BootstrapUser {
			return ""
		}
		return "roleRef is ClusterRole " + name + ", which nobody may be given: " + subjects.String() +
			". Bind a role that has what is needed, or ask for the binding to be added to allowedBindings"
	})
}
