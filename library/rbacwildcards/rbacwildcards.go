// Package rbacwildcards is the built-in policy rbac-wildcards: it refuses Roles and
// ClusterRoles that allow everything there is, and will be.
package rbacwildcards

import (
	"context"
	"strings"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of rbac-wildcards.
type Settings struct {
	// AllowedRoles are the names of Roles and ClusterRoles that are not looked
	// at; "team-*" is all that start with team-. Default: none. The API server's
	// own are let through when it makes them.
	AllowedRoles []string `json:"allowedRoles"`
}

// Policy returns the policy rbac-wildcards.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Kinds(req, []string{"Role", "ClusterRole"}, func(role sdk.Value) string {
		var places sdk.Places
		for _, rule := range role.Get("rules").Elements() {
			for _, list := range rule.Fields("verbs", "resources", "apiGroups", "nonResourceURLs") {
				for _, entry := range list.Elements() {
					if text := entry.String(); text == "*" || strings.HasPrefix(text, "*/") {
						places.Addf(entry, " is %q", text)
					}
				}
			}
		}
		name := role.Get("metadata", "name").String()
		if places.Len() == 0 || check.Listed(name, s.AllowedRoles) || req.UserInfo.Username == check.BootstrapUser {
			return ""
		}
		return "Roles may not have wildcards: " + places.String() +
			". They allow what nobody has thought of, and what is added later: name what is needed"
	})
}
