// Package sensitiveconfigmapcontent is the built-in policy sensitive-configmap-content: it
// refuses ConfigMaps with what should be in a Secret.
package sensitiveconfigmapcontent

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/library/internal/secrets"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of sensitive-configmap-content.
type Settings struct{ secrets.Settings }

// Policy returns the policy sensitive-configmap-content.
func Policy() sdk.Policy { return sdk.Define(judge) }

// judge never quotes a value: messages are kept in logs.
func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Kinds(req, []string{"ConfigMap"}, func(object sdk.Value) string {
		var places sdk.Places
		for key, value := range object.Get("data").Members() {
			if why := s.Finds(key, value.String()); why != "" {
				places.Addf(value, " (%s)", why)
			}
		}
		if places.Len() == 0 {
			return ""
		}
		return "ConfigMaps may not hold secrets: " + places.String() +
			". Whoever may look at the namespace can read them: use a Secret, or ask for the key to be added to allowedNames"
	})
}
