// Package sharepidnamespacepolicy is the built-in policy
// share-pid-namespace-policy: it refuses pods, and what makes pods, whose
// containers share one PID namespace.
package sharepidnamespacepolicy

import (
	"context"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of share-pid-namespace-policy: there are none.
type Settings struct{}

// Policy returns the policy share-pid-namespace-policy.
func Policy() sdk.Policy { return sdk.Define(judge) }

// judge keeps the message to the sentence of the Kubewarden policy: scripts
// match the whole of it. Where and what is in a warning.
func judge(_ context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if err != nil {
		return refuse("cannot parse validation request", err.Error()), nil
	}
	field := spec.Get("shareProcessNamespace")
	shared := field.Bool()
	if err := spec.Err(); err != nil {
		return refuse("cannot parse validation request", err.Error()), nil
	}
	if shared {
		return refuse("pod cannot share host PID namespace",
			field.Path()+" is true: each container would see and signal the processes of the others. Remove the field or set it to false"), nil
	}
	return sdk.Accept(), nil
}

func refuse(reason, detail string) sdk.Verdict {
	return sdk.Verdict{Message: reason, Warnings: []string{detail}}
}
