package selector_test

import (
	"testing"

	"github.com/warder-dev/warder/library/internal/selector"
	"github.com/warder-dev/warder/sdk"
)

func TestMatches(t *testing.T) {
	labels := selector.Labels(sdk.View([]byte(`{"labels": {"app": "web", "tier": "front", "empty": ""}}`)))
	tests := []struct {
		selector string
		want     bool
	}{
		{`null`, true},
		{`{}`, true},
		{`{"matchLabels": {"app": "web"}}`, true},
		{`{"matchLabels": {"app": "web", "tier": "back"}}`, false},
		{`{"matchLabels": {"other": ""}}`, false},
		{`{"matchLabels": {"empty": ""}}`, true},
		{`{"matchExpressions": [{"key": "app", "operator": "In", "values": ["api", "web"]}]}`, true},
		{`{"matchExpressions": [{"key": "app", "operator": "In", "values": ["api"]}]}`, false},
		{`{"matchExpressions": [{"key": "other", "operator": "In", "values": [""]}]}`, false},
		{`{"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}`, false},
		{`{"matchExpressions": [{"key": "other", "operator": "NotIn", "values": ["web"]}]}`, true},
		{`{"matchExpressions": [{"key": "app", "operator": "Exists"}]}`, true},
		{`{"matchExpressions": [{"key": "other", "operator": "Exists"}]}`, false},
		{`{"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}`, false},
		{`{"matchExpressions": [{"key": "other", "operator": "DoesNotExist"}]}`, true},
		{`{"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}`, false},
		{`{"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}`, false},
		{`{"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "app", "operator": "Exists"}]}`, false},
	}
	for _, tt := range tests {
		v := sdk.View([]byte(tt.selector))
		if have := selector.Matches(v, labels); have != tt.want || v.Err() != nil {
			t.Errorf("%s: %t, %v; want %t", tt.selector, have, v.Err(), tt.want)
		}
	}
	wrong := sdk.View([]byte(`{"matchLabels": {"app": "x"}, "matchExpressions": "x"}`))
	if selector.Matches(wrong, labels); wrong.Err() == nil {
		t.Error("a mistake of type behind a label that does not match is passed over")
	}
}
