// Package minreplicas is the built-in policy min-replicas: it wants workloads to
// have more than one replica.
package minreplicas

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of min-replicas.
type Settings struct {
	// Min is how many replicas there must be. Default 2.
	Min int64 `json:"min"`
	// Kinds are the kinds that are looked at: Deployment, StatefulSet,
	// ReplicaSet, ReplicationController. Default: Deployment.
	Kinds []string `json:"kinds"`
	// AllowZero lets workloads be scaled to none.
	AllowZero bool `json:"allowZero"`
}

// Validate reports the first value that is wrong.
func (s *Settings) Validate() error {
	if s.Min == 0 {
		s.Min = 2
	}
	if s.Min < 0 {
		return fmt.Errorf("min: want 1 or more, have %d", s.Min)
	}
	if len(s.Kinds) == 0 {
		s.Kinds = []string{"Deployment"}
	}
	known := []string{"Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"}
	for i, kind := range s.Kinds {
		if !slices.Contains(known, kind) {
			return fmt.Errorf("kinds[%d]: want one of %s, have %q", i, strings.Join(known, ", "), kind)
		}
	}
	return nil
}

// Policy returns the policy min-replicas.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	kinds := s.Kinds
	if slices.ContainsFunc(kinds, func(kind string) bool { return strings.ToLower(kind)+"s" == req.Resource.Resource }) {
		kinds = append([]string{"Scale"}, kinds...) // what kubectl scale sends
	}
	return check.Kinds(req, kinds, func(object sdk.Value) string {
		field := object.Get("spec", "replicas")
		replicas := field.Int()
		if !field.Exists() && req.Kind.Kind != "Scale" {
			replicas = 1 // of a Scale, 0 is left out
		}
		if replicas >= s.Min || replicas == 0 && s.AllowZero {
			return ""
		}
		return fmt.Sprintf("There must be %d replicas or more, and spec.replicas is %d: the service would be away whenever a node is. Raise it",
			s.Min, replicas)
	})
}
