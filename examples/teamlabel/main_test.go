//go:build !wasip1

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, Policy(), "testdata") }

func TestTheWorkloadsOfNoNamespaceAreAccepted(t *testing.T) {
	req := sdktest.Request(t, "Pod", `{"metadata": {"name": "web"}, "spec": {}}`)
	if v := sdktest.Judge(t, Policy(), `{"teams": ["checkout"]}`, req); !v.Accepted {
		t.Errorf("rejected: %s, want it accepted: a namespace is missing", v.Message)
	}
}

// TestModuleAnswersAsTheSource compiles the policy in both forms and has the
// engine ask them what the source was asked.
func TestModuleAnswersAsTheSource(t *testing.T) {
	const settings = `{"teams": ["checkout", "payments"]}`
	tests := []struct {
		name, labels string
		want         review.Response
	}{
		{"a known team", `{"team": "payments"}`, review.Response{Allowed: true}},
		{"a slip", `{"team": "paymnets"}`, review.Response{Status: &review.Status{
			Message: `metadata.labels.team is "paymnets", which is not a team (did you mean "payments"?). Set it to one of checkout, payments`,
		}}},
	}
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		t.Run(string(form), func(t *testing.T) {
			e := engineWith(t, sdktest.Build(t, ".", form), settings)
			for _, tt := range tests {
				req := sdktest.Request(t, "Pod", `{"metadata": {"namespace": "shop", "labels": `+tt.labels+`}, "spec": {}}`)
				got, err := e.Evaluate(t.Context(), "teamlabel", req)
				if err != nil {
					t.Fatal(err)
				}
				tt.want.UID = req.UID
				if diff := cmp.Diff(tt.want, got.Response); diff != "" {
					t.Errorf("%s (-want +got):\n%s", tt.name, diff)
				}
			}
		})
	}
}

// engineWith returns an engine that has the module as the policy teamlabel.
func engineWith(t *testing.T, wasm []byte, settings string) *engine.Engine {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.wasm")
	if err := os.WriteFile(file, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(engine.Options{Timeout: engine.NoTimeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	p := policy.Policy{
		ID: "teamlabel", Module: "file://" + file, Settings: []byte(settings),
		Mode: policy.Protect, FailurePolicy: policy.Fail,
	}
	if err := e.Load(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return e
}
