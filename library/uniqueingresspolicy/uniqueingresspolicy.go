// Package uniqueingresspolicy is the built-in policy unique-ingress-policy: it
// refuses Ingresses for hosts that another Ingress of the cluster has already.
package uniqueingresspolicy

import (
	"context"
	"fmt"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of unique-ingress-policy: there are none.
type Settings struct{}

// Policy returns the policy unique-ingress-policy. It lists the Ingresses of all
// namespaces.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	object := req.ViewObject()
	hosts := hostsOf(object)
	name := object.Get("metadata", "name").String()
	leaving := object.Get("metadata", "deletionTimestamp").Exists()
	if err := object.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if len(hosts) == 0 || leaving {
		return sdk.Accept(), nil // whoever waits for its end must be able to change it
	}
	list, err := sdk.ListResources(ctx, sdk.ListQuery{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"})
	if err != nil {
		return sdk.Verdict{}, err
	}
	taken, err := hostsOfOthers(sdk.View(list), req.Namespace, name)
	if err != nil {
		return sdk.Verdict{}, fmt.Errorf("the list of Ingresses: %w", err)
	}
	return verdict(hosts, taken), nil
}

// maxPlaces bounds what a message names. Nobody reads on.
const maxPlaces = 10

func verdict(hosts []sdk.Value, taken map[string]bool) sdk.Verdict {
	var conflicts []string
	more := 0
	for _, host := range hosts {
		switch {
		case !taken[host.String()]:
		case len(conflicts) < maxPlaces:
			conflicts = append(conflicts, fmt.Sprintf("ingress host conflicts with an existing ingress <%s>, in %s", host.String(), host.Path()))
		default:
			more++
		}
	}
	if len(conflicts) == 0 {
		return sdk.Accept()
	}
	reason := strings.Join(conflicts, "; ")
	if more > 0 {
		reason += fmt.Sprintf(" and %d more", more)
	}
	return sdk.Reject(reason + ". Which of the two gets the traffic is up to chance: choose another host, or add the paths to the other Ingress")
}

// hostsOf returns the hosts of an Ingress that have names. A rule without one
// takes what others leave.
func hostsOf(ingress sdk.Value) (hosts []sdk.Value) {
	for _, rule := range ingress.Get("spec", "rules").Elements() {
		if host := rule.Get("host"); host.String() != "" {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// hostsOfOthers returns the hosts of all Ingresses but the named one.
func hostsOfOthers(list sdk.Value, namespace, name string) (map[string]bool, error) {
	taken := map[string]bool{}
	for _, ingress := range list.Get("items").Elements() {
		meta := ingress.Get("metadata").Fields("namespace", "name")
		if meta[0].String() == namespace && meta[1].String() == name {
			continue
		}
		for _, host := range hostsOf(ingress) {
			taken[host.String()] = true
		}
	}
	return taken, list.Err()
}
