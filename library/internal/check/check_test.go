package check_test

import (
	"testing"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestPodsAndKindsAskAboutWhatIsTheirs(t *testing.T) {
	refuse := func(sdk.Value) string { return "no" }
	role := sdktest.Request(t, "Role", `{"rules": []}`)
	pod := sdktest.Request(t, "Pod", `{"spec": {}}`)
	tests := []struct {
		name     string
		req      *sdk.Request
		pod, any string // the message, "accepted" without one
	}{
		{"a pod", pod, "no", "accepted"},
		{"a role", role, "accepted", "no"},
		{"a deletion", sdktest.Request(t, "Role", nil), "accepted", "accepted"},
		{"a pod without a spec", sdktest.Request(t, "Pod", `{}`), "accepted", "accepted"},
		{"a pod that is none", sdktest.Request(t, "Pod", `{"spec": 1}`), "Cannot parse validation request: spec: want an object, have a number", "accepted"},
	}
	said := func(v sdk.Verdict, err error) string {
		if err != nil || v.Accepted != (v.Message == "") {
			t.Errorf("have %+v, %v", v, err)
		}
		if v.Accepted {
			return "accepted"
		}
		return v.Message
	}
	for _, tt := range tests {
		if have := said(check.Pods(tt.req, refuse)); have != tt.pod {
			t.Errorf("%s: Pods says %q, want %q", tt.name, have, tt.pod)
		}
		if have := said(check.Kinds(tt.req, []string{"Role"}, refuse)); have != tt.any {
			t.Errorf("%s: Kinds says %q, want %q", tt.name, have, tt.any)
		}
	}
	misread := func(v sdk.Value) string { return v.Get("rules").String() }
	if have := said(check.Kinds(role, []string{"Role"}, misread)); have != "Cannot parse validation request: rules: want a string, have a list" {
		t.Errorf("a mistake of type: %q", have)
	}
	raw := sdk.RawRequest([]byte(`{}`))
	if _, err := check.Pods(raw, refuse); err == nil {
		t.Error("Pods judges a raw document")
	}
	if _, err := check.Kinds(raw, []string{""}, refuse); err == nil {
		t.Error("Kinds judges a raw document")
	}
}

func TestListedKnowsPrefixes(t *testing.T) {
	list := []string{"a", "team-*"}
	for name, want := range map[string]bool{"a": true, "ab": false, "team-": true, "team-x": true, "team": false, "": false} {
		if have := check.Listed(name, list); have != want {
			t.Errorf("Listed(%q) = %t, want %t", name, have, want)
		}
	}
}
