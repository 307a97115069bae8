// Package resourcesrequired is the built-in policy resources-required: it wants
// containers to say how much CPU and memory they need, and may have. Unlike
// container-resources it looks at requests and limits apart, and changes nothing.
package resourcesrequired

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of resources-required. At least one of the lists must
// name something.
type Settings struct {
	// Requests are the resources of which each container must ask for an amount:
	// cpu, memory, ephemeral-storage. A limit is a request too, as it is for the
	// API server. Default: none.
	Requests []string `json:"requests"`
	// Limits are the resources of which each container must have a limit. Default:
	// none.
	Limits []string `json:"limits"`
	// SkipInitContainers passes over init containers, which end before the others
	// start; those that do not, with restartPolicy: Always, count all the same.
	// Default false.
	SkipInitContainers bool `json:"skipInitContainers"`
}

// Validate reports lists that ask for nothing.
func (s *Settings) Validate() error {
	if len(s.Requests)+len(s.Limits) == 0 {
		return errors.New("name a resource in requests or limits, such as memory: nothing would be looked at")
	}
	if i := slices.Index(s.Requests, ""); i >= 0 {
		return fmt.Errorf("requests[%d]: want the name of a resource, such as memory", i)
	}
	if i := slices.Index(s.Limits, ""); i >= 0 {
		return fmt.Errorf("limits[%d]: want the name of a resource, such as memory", i)
	}
	return nil
}

// Policy returns the policy resources-required.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Pods(req, func(spec sdk.Value) string {
		pod := spec.Get("resources")
		var places sdk.Places
		// Ephemeral containers cannot ask for resources.
		for c := range spec.Containers("initContainers") {
			if c.Get("restartPolicy").String() == "Always" || !s.SkipInitContainers {
				s.missing(pod, c, &places)
			}
		}
		for c := range spec.Containers("containers") {
			s.missing(pod, c, &places)
		}
		if places.Len() == 0 {
			return ""
		}
		return "Containers must say how much they need: " + places.String() +
			". Nodes are filled, and pods are evicted, by these amounts: set them below resources of the container"
	})
}

// missing adds the amounts that neither the container nor its pod says.
func (s *Settings) missing(pod, c sdk.Value, places *sdk.Places) {
	own := c.Get("resources").Fields("requests", "limits")
	all := pod.Fields("requests", "limits")
	var lacks []string
	for _, name := range s.Requests {
		if !says(name, own[0], own[1], all[0], all[1]) {
			lacks = append(lacks, "requests."+name)
		}
	}
	for _, name := range s.Limits {
		if !says(name, own[1], all[1]) {
			lacks = append(lacks, "limits."+name)
		}
	}
	if lacks != nil {
		places.Addf(c, " has no %s", strings.Join(lacks, ", "))
	}
}

// says reports whether one of the lists has an amount of the resource.
func says(name string, lists ...sdk.Value) bool {
	found := false
	for _, list := range lists {
		found = list.Get(name).Scalar() != "" || found
	}
	return found
}
