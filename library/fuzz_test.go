package library_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// mutatingJudges are all policies, with settings that have them change things.
func mutatingJudges(t testing.TB) map[string]sdk.Judge {
	settings := map[string]any{
		"allow-privilege-escalation-psp": `{"default_allow_privilege_escalation": false}`,
		"allowed-fsgroups-psp":           `{"rule": "MustRunAs", "ranges": [{"min": 1, "max": 2}]}`,
		"capabilities-psp":               `{"required_drop_capabilities": ["ALL"], "allowed_capabilities": ["*"]}`,
		"container-resources":            `{"cpu": {"defaultLimit": 1}}`,
		"hostpaths-psp":                  `{"allowedHostPaths": [{"pathPrefix": "/tmp", "readOnly": true}]}`,
		"pod-runtime":                    `{"reservedRuntimes": ["runc"], "fallbackRuntime": "kata"}`,
		"selinux-psp":                    `{"rule": "MustRunAs", "user": "u", "level": "s0:c1,c2"}`,
		"trusted-repos":                  `{"registries": {"allow": ["ghcr.io"]}}`,
		"user-group-psp":                 `{"run_as_user": {"rule": "MustRunAsNonRoot"}, "run_as_group": {"rule": "MustRunAs", "ranges": [{"min": 0, "max": 70000}]}}`,
		"volumes-psp":                    `{"allowedTypes": ["secret"], "ignoreInitContainersVolumes": true}`,
	}
	judges := map[string]sdk.Judge{}
	for _, b := range library.All() {
		given, ok := settings[b.Name]
		if !ok {
			given = changing(b.Name)
		}
		judges[b.Name] = sdktest.Load(t, b.Policy, given)
	}
	return judges
}

// survives fails the test when a policy makes a patch that does not apply, or
// changes again what it has changed, whatever the object is.
func survives(t *testing.T, judges map[string]sdk.Judge, req *sdk.Request) {
	for name, judge := range judges {
		again := *req
		for pass := range 2 {
			v, err := judge(t.Context(), &again)
			if err != nil {
				break
			}
			if v, err = v.Resolve(&again); err != nil || pass > 0 && v.MutatedObject != nil {
				t.Fatalf("%s: pass %d over %s: %v, %s", name, pass, again.Object, err, v.MutatedObject)
			}
			if v.MutatedObject == nil {
				break
			}
			again.Object = v.MutatedObject
		}
	}
}

// Nothing that stands where something else should may make a policy panic.
func TestPoliciesSurviveAnythingAnywhere(t *testing.T) {
	judges := mutatingJudges(t)
	values := []string{"null", "true", "7", "1.5", `""`, `"x"`, "[]", "{}", "[null]", `[{}]`, `[7]`, `{"a": null}`}
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // the same numbers in every run
		req := sdktest.RandomWorkload(r)
		pointers := pointersIn(sdk.View(req.Object), "")
		for range 1 + r.IntN(3) {
			patch := sdk.Patch{{Op: sdk.PatchReplace, Path: pointers[r.IntN(len(pointers))], Value: []byte(values[r.IntN(len(values))])}}
			if object, err := patch.Apply(req.Object); err == nil { // it may be in what was replaced before
				req.Object = object
			}
		}
		survives(t, judges, req)
	}
}

// pointersIn returns the pointers to v and everything in it.
func pointersIn(v sdk.Value, pointer string) []string {
	all := []string{pointer}
	if v.Exists() && v.Raw()[0] == '{' {
		for name, inner := range v.Members() {
			all = append(all, pointersIn(inner, pointer+"/"+sdk.EscapePointer(name))...)
		}
	}
	if v.Exists() && v.Raw()[0] == '[' {
		for i, inner := range v.Elements() {
			all = append(all, pointersIn(inner, fmt.Sprintf("%s/%d", pointer, i))...)
		}
	}
	return all
}

// FuzzJudge gives every policy that needs no host an object as no API server
// sends it.
func FuzzJudge(f *testing.F) {
	judges := mutatingJudges(f)
	for seed := range uint64(20) {
		req := sdktest.RandomWorkload(rand.New(rand.NewPCG(seed, 0))) //nolint:gosec // the same numbers in every run
		f.Add(req.Kind.Kind, []byte(req.Object))
	}
	f.Add("Pod", []byte(`{"spec": {"volumes": [null, {"hostPath": {}}], "containers": [null, {"volumeMounts": [null]}]}}`))
	f.Fuzz(func(t *testing.T, kind string, object []byte) {
		if sdk.Check(object) != nil {
			return // a review with it is refused before any policy sees it
		}
		req := &sdk.Request{Kind: sdk.GroupVersionKind{Kind: kind}, Operation: sdk.Create, Object: object}
		survives(t, judges, req)
	})
}
