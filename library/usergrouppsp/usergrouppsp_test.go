package usergrouppsp_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/warder-dev/warder/library/usergrouppsp"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, usergrouppsp.Policy(), "testdata") }

func TestSecondPassChangesNothing(t *testing.T) {
	for _, settings := range []string{
		`{"run_as_user": {"rule": "MustRunAsNonRoot"}}`,
		`{"run_as_user": {"rule": "MustRunAs", "ranges": [{"min": 0, "max": 70000}]},
			"run_as_group": {"rule": "MustRunAs", "ranges": [{"min": 0, "max": 70000}]},
			"supplemental_groups": {"rule": "MustRunAs", "ranges": [{"min": 1, "max": 70000}]}}`,
		`{"run_as_user": {"rule": "MustRunAs", "overwrite": true, "ranges": [{"min": 1000, "max": 1000}]},
			"run_as_group": {"rule": "MustRunAs", "overwrite": true, "ranges": [{"min": 1000, "max": 1000}]},
			"supplemental_groups": {"rule": "MustRunAs", "overwrite": true, "ranges": [{"min": 1000, "max": 1000}]}}`,
	} {
		sdktest.Idempotent(t, sdktest.Load(t, usergrouppsp.Policy(), settings), sdktest.RandomWorkload)
	}
}

// The message is the sentence of the Kubewarden policy, word for word: where
// and what is in a warning.
func TestRefusalsSayWhereInAWarning(t *testing.T) {
	ids := `{"rule": "MustRunAs", "ranges": [{"min": 1000, "max": 2000}, {"min": 3000, "max": 4000}]}`
	all := `{"run_as_user": ` + ids + `, "run_as_group": ` + ids + `, "supplemental_groups": ` + ids + `}`
	tests := []struct{ settings, spec, want string }{
		{all, `{"containers": [{}, {"securityContext": {"runAsUser": 5}}]}`, "spec.containers[1].securityContext.runAsUser is 5: allowed are 1000-2000, 3000-4000"},
		{all, `{"securityContext": {"runAsGroup": 5}, "containers": [{}]}`, "spec.securityContext.runAsGroup is 5: allowed are 1000-2000, 3000-4000"},
		{all, `{"securityContext": {"supplementalGroups": [1000, 5, 6]}, "containers": [{}]}`, "spec.securityContext.supplementalGroups[1] is 5, spec.securityContext.supplementalGroups[2] is 6: allowed are 1000-2000, 3000-4000"},
		{strings.Replace(all, "{", `{"validate_only": true, `, 1), `{"containers": [{}]}`, "spec.containers[0].securityContext.runAsUser is missing: allowed are 1000-2000, 3000-4000"},
		{`{"run_as_user": {"rule": "MustRunAsNonRoot"}}`, `{"initContainers": [{"securityContext": {"runAsUser": 0}}]}`, "spec.initContainers[0].securityContext.runAsUser is 0: remove it or choose another user"},
		{`{"run_as_user": {"rule": "MustRunAsNonRoot"}}`, `{"containers": [{"securityContext": {"runAsNonRoot": 1}}]}`, "spec.containers[0].securityContext.runAsNonRoot: want a boolean, have a number"},
	}
	for _, tt := range tests {
		v := sdktest.Judge(t, usergrouppsp.Policy(), tt.settings, sdktest.Request(t, "Pod", `{"spec": `+tt.spec+`}`))
		if v.Accepted || !slices.Equal(v.Warnings, []string{tt.want}) {
			t.Errorf("%s: accepted %t, warnings %q, want %q", tt.spec, v.Accepted, v.Warnings, tt.want)
		}
	}
}

func TestImageConfigurationCounts(t *testing.T) {
	config := func(text string) sdktest.Answer {
		return sdktest.Answer{
			Capability: "oci/v1/oci_manifest_config", Question: json.RawMessage(`"nginx"`),
			Payload: json.RawMessage(`{"manifest": {}, "digest": "sha256:00", "config": ` + text + `}`),
		}
	}
	const nonRoot = `{"run_as_user": {"rule": "MustRunAsNonRoot"}, "validate_container_image_configuration": true}`
	const ranges = `{"run_as_user": {"rule": "MustRunAs", "ranges": [{"min": 1000, "max": 2000}]},
		"run_as_group": {"rule": "MayRunAs", "ranges": [{"min": 1000, "max": 2000}]}, "validate_container_image_configuration": true}`
	const anyone = `{"run_as_user": {"rule": "RunAsAny"}, "validate_container_image_configuration": true}`
	tests := []struct {
		name, settings, config, want string // "" for accepted
		asked                        int
	}{
		{"root", nonRoot, `{"os": "linux", "config": {"User": "0"}}`, "User ID defined in the container image cannot be root ID (0)", 1},
		{"another user", nonRoot, `{"os": "linux", "config": {"User": "65532:0"}}`, "", 1},
		{"no user", nonRoot, `{"os": "linux", "config": {"User": ""}}`, "", 1},
		{"no configuration", nonRoot, `{"os": "linux"}`, "", 1},
		{"a user by name", nonRoot, `{"os": "linux", "config": {"User": "nginx"}}`, `Invalid user ID in the container image configuration: "nginx"`, 1},
		{"a group by name that no rule asks for", nonRoot, `{"os": "linux", "config": {"User": "101:nginx"}}`, "", 1},
		{"windows", nonRoot, `{"os": "windows", "config": {"User": "ContainerUser"}}`, "", 1},
		{"user outside", ranges, `{"os": "linux", "config": {"User": "1:1"}}`, "User ID defined in the container image is outside defined ranges", 1},
		{"group outside", ranges, `{"os": "linux", "config": {"User": "1000:1"}}`, "Group ID defined in the container image is outside defined ranges", 1},
		{"a group by name", ranges, `{"os": "linux", "config": {"User": "1000:wheel"}}`, `Invalid group ID in the container image configuration: "wheel"`, 1},
		{"inside", ranges, `{"os": "linux", "config": {"User": "1000:1000"}}`, "", 1},
		{"nothing is asked for when anybody may run", anyone, `{}`, "", 0},
	}
	for _, tt := range tests {
		host := sdktest.NewHost(t, config(tt.config))
		req := sdktest.Request(t, "Pod", `{"spec": {"containers": [{"image": "nginx"}]}}`)
		v, err := sdktest.Load(t, usergrouppsp.Policy(), tt.settings)(sdk.WithHost(t.Context(), host), req)
		if err != nil || v.Message != tt.want || v.Accepted != (tt.want == "") || len(host.Calls()) != tt.asked {
			t.Errorf("%s: verdict %+v, %v, after %d calls, want %q after %d", tt.name, v, err, len(host.Calls()), tt.want, tt.asked)
		}
	}
}

func TestImageThatCannotBeReadIsNoVerdict(t *testing.T) {
	down := errors.New("registry is down")
	for _, answer := range []sdktest.Answer{{Err: down}, {Payload: json.RawMessage(`{"config": "x"}`)}} {
		answer.Capability = "oci/v1/oci_manifest_config"
		ctx := sdk.WithHost(t.Context(), sdktest.NewHost(t, answer))
		settings := `{"run_as_user": {"rule": "MustRunAsNonRoot"}, "validate_container_image_configuration": true}`
		req := sdktest.Request(t, "Pod", `{"spec": {"containers": [{"image": "nginx"}]}}`)
		v, err := sdktest.Load(t, usergrouppsp.Policy(), settings)(ctx, req)
		if err == nil || !strings.HasPrefix(err.Error(), `spec.containers[0].image: "nginx": `) || answer.Err != nil && !errors.Is(err, down) {
			t.Errorf("verdict %+v, error %v, want one about spec.containers[0].image", v, err)
		}
	}
}
