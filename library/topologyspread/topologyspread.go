// Package topologyspread is the built-in policy topology-spread: it wants the
// replicas of workloads to be spread over nodes or zones.
package topologyspread

import (
	"context"
	"slices"
	"strings"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of topology-spread. The zero value wants a constraint
// on whichever topology.
type Settings struct {
	// TopologyKeys are the labels of nodes, for each of which there must be a
	// constraint: topology.kubernetes.io/zone, kubernetes.io/hostname. Default:
	// one is enough, on any.
	TopologyKeys []string `json:"topologyKeys"`
}

// Policy returns the policy topology-spread.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	switch req.Kind.Kind {
	case "Deployment", "StatefulSet", "ReplicaSet", "ReplicationController":
	default: // there is nothing to spread
		return check.Kinds(req, nil, nil)
	}
	return check.Pods(req, func(spec sdk.Value) string {
		object := req.ViewObject()
		replicas := object.Get("spec", "replicas").Int()
		if err := object.Err(); err != nil {
			return "Cannot parse validation request: " + err.Error()
		}
		if replicas < 2 {
			return "" // a single pod is where it is
		}
		constraints := spec.Get("topologySpreadConstraints")
		var keys []string
		for _, constraint := range constraints.Elements() {
			keys = append(keys, constraint.Get("topologyKey").String())
		}
		missing := slices.DeleteFunc(slices.Clone(s.TopologyKeys), func(key string) bool { return slices.Contains(keys, key) })
		switch {
		case len(keys) == 0 && len(s.TopologyKeys) == 0:
			return spec.Path() + ".topologySpreadConstraints is missing: one node may have all replicas, and take them along. " +
				"Add a constraint, on topology.kubernetes.io/zone or kubernetes.io/hostname"
		case len(missing) > 0:
			return spec.Path() + ".topologySpreadConstraints has none on " + strings.Join(missing, ", ") +
				": the replicas may all be in one place. Add a constraint for each"
		}
		return ""
	})
}
