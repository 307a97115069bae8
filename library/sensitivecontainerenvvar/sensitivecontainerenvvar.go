// Package sensitivecontainerenvvar is the built-in policy sensitive-container-env-var: it
// refuses containers with secrets among the values of their environment.
package sensitivecontainerenvvar

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/library/internal/secrets"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of sensitive-container-env-var.
type Settings struct{ secrets.Settings }

// Policy returns the policy sensitive-container-env-var.
func Policy() sdk.Policy { return sdk.Define(judge) }

// judge never quotes a value: messages are kept in logs.
func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Pods(req, func(spec sdk.Value) string {
		var places sdk.Places
		for c := range spec.Containers() {
			for _, variable := range c.Get("env").Elements() {
				fields := variable.Fields("name", "value")
				name, value := fields[0].String(), fields[1].String()
				if why := s.Finds(name, value); why != "" {
					places.Addf(variable, " (%s, %s)", name, why)
				}
			}
		}
		if places.Len() == 0 {
			return ""
		}
		return "The environment may not hold secrets: " + places.String() +
			". Whoever may look at pods can read them: use valueFrom.secretKeyRef, or ask for the name to be added to allowedNames"
	})
}
