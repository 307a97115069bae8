// Package networkpolicyrequired is the built-in policy network-policy-required: it
// wants a NetworkPolicy to say who may talk to the pods.
package networkpolicyrequired

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/library/internal/selector"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of network-policy-required.
type Settings struct {
	// Types are the directions, Ingress and Egress, each of which a NetworkPolicy
	// must limit. Default: Ingress.
	Types []string `json:"types"`
}

// Validate reports a direction that is none.
func (s *Settings) Validate() error {
	if len(s.Types) == 0 {
		s.Types = []string{"Ingress"}
	}
	for i, direction := range s.Types {
		if direction != "Ingress" && direction != "Egress" {
			return fmt.Errorf("types[%d]: want Ingress or Egress, have %q", i, direction)
		}
	}
	return nil
}

// Policy returns the policy network-policy-required. It lists the NetworkPolicies
// of the request's namespace, so they come first.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	var failed error
	verdict, err := check.Pods(req, func(sdk.Value) string {
		object := req.ViewObject()
		way := sdk.PodTemplatePath(req.Kind.Kind)
		labels := selector.Labels(object.Get(way[:len(way)-1]...).Get("metadata"))
		leaving := object.Get("metadata", "deletionTimestamp").Exists()
		if err := object.Err(); err != nil {
			return "Cannot parse validation request: " + err.Error()
		}
		if leaving {
			return ""
		}
		var limited []string
		if limited, failed = limitedBy(ctx, req.Namespace, labels); failed != nil {
			return ""
		}
		for _, direction := range s.Types {
			if !slices.Contains(limited, direction) {
				return "No NetworkPolicy of type " + direction + " selects these pods: they may talk to everybody, or everybody to them. " +
					"Make one first, with a podSelector for their labels"
			}
		}
		return ""
	})
	if failed != nil {
		return sdk.Verdict{}, failed
	}
	return verdict, err
}

// limitedBy returns the directions in which NetworkPolicies limit pods with the
// labels.
func limitedBy(ctx context.Context, namespace string, labels map[string]string) (directions []string, err error) {
	if namespace == "" {
		return nil, errors.New("the request has no namespace")
	}
	answer, err := sdk.ListResources(ctx, sdk.ListQuery{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Namespace: namespace})
	if err != nil {
		return nil, err
	}
	list := sdk.View(answer)
	for _, policy := range list.Get("items").Elements() {
		spec := policy.Get("spec").Fields("podSelector", "policyTypes", "egress")
		if !selector.Matches(spec[0], labels) {
			continue
		}
		named := false
		for _, direction := range spec[1].Elements() {
			directions, named = append(directions, direction.String()), true
		}
		if !named { // Source: k8s.io/api/networking/v1, NetworkPolicySpec
			directions = append(directions, "Ingress")
			if spec[2].Exists() {
				directions = append(directions, "Egress")
			}
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("the list of NetworkPolicies: %w", err)
	}
	return directions, nil
}
