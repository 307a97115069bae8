package sdktest_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// A property that holds for every policy would show nothing.
func TestIdempotentFindsWhatIsWrong(t *testing.T) {
	patched := func(change func(sdk.Value, *sdk.Patch)) sdk.Judge {
		return func(_ context.Context, req *sdk.Request) (sdk.Verdict, error) {
			v := sdk.Accept()
			change(sdk.View(req.Object), &v.Patch)
			return v, nil
		}
	}
	tests := []struct {
		name, want string // "" for nothing
		judge      sdk.Judge
	}{
		{"a policy that is right", "", patched(func(v sdk.Value, p *sdk.Patch) {
			if !v.Get("metadata", "labels", "z").Exists() {
				p.Set("/metadata/labels/z", "")
			}
		})},
		{"changes nothing", "0 of 500 random objects were mutated", patched(func(sdk.Value, *sdk.Patch) {})},
		{"patches what is so already", "the patch changes nothing", patched(func(v sdk.Value, p *sdk.Patch) {
			if v.Get("spec", "containers").Exists() {
				p.Set("/spec/containers", v.Get("spec", "containers").Raw())
			}
		})},
		{"changes again", "second pass: changed again", patched(func(v sdk.Value, p *sdk.Patch) {
			p.Set("/count", v.Get("count").Int()+1)
		})},
		{"refuses its own work", "second pass: rejected: again", func(_ context.Context, req *sdk.Request) (sdk.Verdict, error) {
			v := sdk.Accept()
			if sdk.View(req.Object).Get("seen").Exists() {
				return sdk.Reject("again"), nil
			}
			v.Patch.Set("/seen", true)
			return v, nil
		}},
		{"drops what it does not know", "no operation names /", func(_ context.Context, req *sdk.Request) (sdk.Verdict, error) {
			return sdk.Mutate(json.RawMessage(`{"metadata":{}}`)), nil
		}},
		{"a patch that does not apply", "patch operation 0", patched(func(_ sdk.Value, p *sdk.Patch) { p.Remove("/none") })},
	}
	for _, tt := range tests {
		have := failing(t, func(t testing.TB) { sdktest.Idempotent(t, tt.judge, sdktest.RandomWorkload) })
		if !strings.Contains(have, tt.want) || tt.want == "" && have != "" {
			t.Errorf("%s: the test was told %q, want %q", tt.name, have, tt.want)
		}
	}
}
