// Package uniqueserviceselectorpolicy is the built-in policy
// unique-service-selector-policy: it refuses a Service whose selector is that of
// another Service of its namespace.
package uniqueserviceselectorpolicy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of unique-service-selector-policy: there are none.
type Settings struct{}

// Policy returns the policy unique-service-selector-policy. It lists the
// Services of the request's namespace.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	object := req.ViewObject()
	selector := selectorOf(object)
	name := object.Get("metadata", "name").String()
	leaving := object.Get("metadata", "deletionTimestamp").Exists()
	if err := object.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if len(selector) == 0 || leaving {
		return sdk.Accept(), nil // whoever waits for its end must be able to change it
	}
	if req.Namespace == "" {
		return sdk.Verdict{}, errors.New("the request has no namespace")
	}
	services, err := sdk.ListResources(ctx, sdk.ListQuery{APIVersion: "v1", Kind: "Service", Namespace: req.Namespace})
	if err != nil {
		return sdk.Reject("cannot list current services: " + err.Error()), nil
	}
	list := sdk.View(services)
	var same []string
	for _, service := range list.Get("items").Elements() {
		other := service.Get("metadata", "name").String()
		if other != name && maps.Equal(selectorOf(service), selector) {
			same = append(same, other)
		}
	}
	if err := list.Err(); err != nil {
		return sdk.Verdict{}, fmt.Errorf("the list of Services: %w", err)
	}
	if len(same) == 0 {
		return sdk.Accept(), nil
	}
	return sdk.Reject("service is using selector(s) already defined by these services: [" + quoted(same) +
		"]. Both would send traffic to the same pods: use the service that is there, or another spec.selector"), nil
}

func selectorOf(service sdk.Value) map[string]string {
	selector := map[string]string{} // of a key that comes twice the last value counts
	for key, value := range service.Get("spec", "selector").Members() {
		selector[key] = value.String()
	}
	return selector
}

// maxNames bounds what a message names. Nobody reads on.
const maxNames = 10

// quoted lists names, sorted.
func quoted(names []string) string {
	slices.Sort(names)
	more := len(names) - maxNames
	names = names[:min(len(names), maxNames)]
	for i, name := range names {
		names[i] = strconv.Quote(name)
	}
	text := strings.Join(names, ", ")
	if more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
