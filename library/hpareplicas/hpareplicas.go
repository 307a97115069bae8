// Package hpareplicas is the built-in policy hpa-replicas: it wants a
// HorizontalPodAutoscaler to keep more than one replica, and to have room.
package hpareplicas

import (
	"context"
	"fmt"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of hpa-replicas.
type Settings struct {
	// Min is the least minReplicas may be. Default 2.
	Min int64 `json:"min"`
	// AllowZero lets minReplicas be 0: all pods go when nothing is to be done.
	AllowZero bool `json:"allowZero"`
}

// Validate reports a minimum that is none.
func (s *Settings) Validate() error {
	if s.Min == 0 {
		s.Min = 2
	}
	if s.Min < 0 {
		return fmt.Errorf("min: want 1 or more, have %d", s.Min)
	}
	return nil
}

// Policy returns the policy hpa-replicas.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Kinds(req, []string{"HorizontalPodAutoscaler"}, func(scaler sdk.Value) string {
		spec := scaler.Get("spec").Fields("minReplicas", "maxReplicas")
		least, most := int64(1), spec[1].Int()
		if spec[0].Exists() {
			least = spec[0].Int()
		}
		switch {
		case least < s.Min && !(least == 0 && s.AllowZero):
			return fmt.Sprintf("spec.minReplicas is %d, and must be %d or more: the service would be away whenever a node is. Raise it", least, s.Min)
		case most <= least:
			return fmt.Sprintf("spec.maxReplicas is %d, and spec.minReplicas %d: there is nothing to scale. Raise maxReplicas", most, least)
		}
		return ""
	})
}
