// Package selector matches label selectors as the API server does.
package selector

import (
	"slices"

	"github.com/warder-dev/warder/sdk"
)

// Labels returns the labels in metadata.
func Labels(metadata sdk.Value) map[string]string {
	labels := map[string]string{} // of a key that comes twice the last value counts
	for key, value := range metadata.Get("labels").Members() {
		labels[key] = value.String()
	}
	return labels
}

// Matches reports whether a LabelSelector selects the labels. An empty one, and
// one that is absent, select everything. One that the API server would refuse
// selects nothing.
func Matches(selector sdk.Value, labels map[string]string) bool {
	matches := true
	for key, value := range selector.Get("matchLabels").Members() {
		have, ok := labels[key]
		matches = matches && ok && have == value.String()
	}
	for _, expression := range selector.Get("matchExpressions").Elements() {
		matches = expressionMatches(expression, labels) && matches
	}
	return matches
}

func expressionMatches(expression sdk.Value, labels map[string]string) bool {
	fields := expression.Fields("key", "operator", "values")
	value, ok := labels[fields[0].String()]
	var values []string
	for _, v := range fields[2].Elements() {
		values = append(values, v.String())
	}
	switch fields[1].String() {
	case "In":
		return ok && slices.Contains(values, value)
	case "NotIn":
		return !ok || !slices.Contains(values, value)
	case "Exists":
		return ok
	case "DoesNotExist":
		return !ok
	}
	return false
}
