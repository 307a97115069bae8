package engine

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// patched is the object after the decision's patch, as the API server has it.
func patched(t testing.TB, req *sdk.Request, d Decision) string {
	t.Helper()
	var patch sdk.Patch
	if d.Response.Patch == nil {
		return string(req.Object)
	}
	if err := json.Unmarshal(d.Response.Patch, &patch); err != nil {
		t.Fatal(err)
	}
	after, err := patch.Apply(req.Object)
	if err != nil {
		t.Fatal(err)
	}
	return string(after)
}

func TestChangesOfThePodAreMadeToTheTemplate(t *testing.T) {
	const before = `{"metadata":{ "creationTimestamp":null,"labels":{"app":"web"},"x":1.0 }, "spec":{"containers":[{"name":"c","n":1e3}], "unknown":[1.50]}}`
	const after = `{"metadata":{ "creationTimestamp":null,"labels":{"app":"web"},"x":1.0 ,"annotations":{"a/b":"c"}}, "spec":{"containers":[{"name":"c","n":1e3,"image":"i:2"}], "unknown":[1.50],"priority":7}}`
	const set = `{"accepted":true,"set":{"/metadata/annotations/a~1b":"c","/spec/containers/0/image":"i:2","/spec/priority":7}}`
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		e := newEngine(t, Options{})
		mustApply(t, e, bundled(guestPolicy("p", portable(t, form), script(set)), expanding, mutating))
		for _, k := range workloadKinds() {
			pointer := "/" + strings.ReplaceAll(k.way, ".", "/")
			want := strings.ReplaceAll(`[{"op":"add","path":"BASE/metadata/annotations","value":{"a/b":"c"}},`+
				`{"op":"add","path":"BASE/spec/containers/0/image","value":"i:2"},{"op":"add","path":"BASE/spec/priority","value":7}]`, "BASE", pointer)
			for _, req := range []*sdk.Request{k.create(t, before), k.update(t, plainTemplate, before)} {
				for _, d := range []Decision{evaluate(t, e, "p", req), evaluateBundle(t, e, req)} {
					if diff := cmp.Diff(want, string(d.Response.Patch)); !d.Response.Allowed || diff != "" {
						t.Errorf("%s %s %s: allowed %t, %s, patch (-want +have):\n%s", form, k.kind, req.Operation, d.Response.Allowed, messageOf(d.Response), diff)
						continue
					}
					if diff := cmp.Diff(k.object(after), patched(t, req, d)); diff != "" {
						t.Errorf("%s %s (-want +have):\n%s", form, k.kind, diff)
					}
				}
			}
			if d := evaluate(t, e, "p", k.create(t, after)); !d.Response.Allowed || d.Response.Patch != nil {
				t.Errorf("%s %s: what is so already gives the patch %s", form, k.kind, d.Response.Patch)
			}
		}
	}
}

func TestBuiltinsSayTheSameOfAWorkloadInEveryRuntime(t *testing.T) {
	policies := []struct{ name, settings string }{
		{"pod-privileged", ""},
		{"safe-labels", `{"mandatory_labels":["team"]}`},
		{"container-resources", `{"memory":{"defaultRequest":"1Gi","defaultLimit":"2Gi"}}`},
		{"trusted-repos", `{"registries":{"allow":["registry.example.com"]}}`},
		{"host-namespaces-psp", ""},
		{"capabilities-psp", `{"required_drop_capabilities":["NET_ADMIN"]}`},
	}
	const bad = `{"metadata":{"labels":{"app":"web"}},"spec":{"hostPID":true,"containers":[{"name":"c","image":"docker.io/i:1","securityContext":{"privileged":true}}]}}`
	e := newEngine(t, Options{})
	var list []policy.Policy
	for _, p := range policies {
		list = append(list, builtinPolicy(p.name, p.name, p.settings))
		for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
			list = append(list, guestPolicy(p.name+"."+string(form), portable(t, form), innerPolicy{p.name, json.RawMessage(p.settings)}))
		}
	}
	for i := range list {
		expanding(&list[i])
		mutating(&list[i])
	}
	mustApply(t, e, list...)
	for _, k := range workloadKinds() {
		req := k.create(t, bad)
		for _, p := range policies {
			want := evaluate(t, e, policy.ID(p.name), req)
			if want.Response.Allowed == (want.Response.Patch == nil) || want.Err != nil {
				t.Fatalf("%s of %s: %s, want a refusal or a change", p.name, k.kind, answer(want.Response))
			}
			for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
				have := evaluate(t, e, policy.ID(p.name+"."+string(form)), req)
				if diff := cmp.Diff(answer(want.Response), answer(have.Response)); diff != "" {
					t.Errorf("%s of %s: native (-) and %s (+) differ:\n%s", p.name, k.kind, form, diff)
				}
			}
		}
	}
}

func TestPoliciesForPodsAndForWorkloadsChangeOneDocument(t *testing.T) {
	module := portable(t, sdktest.WaPC)
	own := func(p *policy.Policy) {
		p.Rules = []policy.Rule{{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"*"}, Operations: []string{"*"}}}
	}
	e := newEngine(t, Options{})
	mustApply(t, e,
		bundled(guestPolicy("c", module, script(`{"accepted":true,"set":{"/spec/template/metadata/labels/b":"2","/spec/replicas":2}}`)), own, mutating, at(2)),
		bundled(guestPolicy("b", module, script(`{"accepted":true,"set":{"/metadata/labels":{"a":"1"}}}`)), expanding, mutating, at(1)),
		bundled(builtinPolicy("d", "container-resources", `{"cpu":{"defaultRequest":"1","defaultLimit":"2"}}`), expanding, mutating, at(3)),
		// These see what has become of it.
		bundled(builtinPolicy("e", "safe-labels", `{"mandatory_labels":["a","b"]}`), expanding),
		bundled(builtinPolicy("f", "container-resources", `{"cpu":{"minLimit":"2","maxLimit":"2","defaultLimit":"2","defaultRequest":"1"}}`), expanding),
	)
	req := sdktest.Request(t, "Deployment", `{"metadata":{"name":"web"},"spec":{"template":{"spec":{"containers":[{"n":1.0}]}}}}`)
	d := evaluateBundle(t, e, req)
	const want = `[{"op":"add","path":"/spec/replicas","value":2},` +
		`{"op":"add","path":"/spec/template/metadata","value":{"labels":{"a":"1","b":"2"}}},` +
		`{"op":"add","path":"/spec/template/spec/containers/0/resources","value":{"limits":{"cpu":"2"},"requests":{"cpu":"1"}}}]`
	if diff := cmp.Diff(want, string(d.Response.Patch)); diff != "" {
		t.Errorf("allowed %t, %s; patch (-want +have):\n%s", d.Response.Allowed, messageOf(d.Response), diff)
	}
}

func TestChangesThatATemplateCannotHoldAreLeftOutAndSaid(t *testing.T) {
	const left = `policy "p" changes %s of the pod, which is not taken from spec.template: left out`
	label := []byte(`"labels":{"app":"web"`)
	swap := func(old, next string) programFunc {
		return func(req *sdk.Request) sdk.Verdict {
			return sdk.Mutate(json.RawMessage(strings.Replace(string(req.Object), old, next, 1)))
		}
	}
	tests := []struct {
		name    string
		program programFunc
		patch   string
		left    string // "" for no warning
	}{
		{"nothing", swap("", ""), "", ""},
		{"an empty status", swap(`{"apiVersion"`, `{"status":{},"apiVersion"`), "", ""},
		{"a status", swap(`{"apiVersion"`, `{"status":{"phase":"x"},"apiVersion"`), "", "status"},
		{"the kind", swap(`"kind":"Pod"`, `"kind":"Job"`), "", "kind"},
		{"name and namespace", swap(`"namespace":"shop","generateName":"web-"`, `"namespace":"x","name":"y"`), "", "metadata.name, metadata.namespace, metadata.generateName"},
		{"the owner", swap(`"controller":true`, `"controller":false`), "", "metadata.ownerReferences"},
		{"all metadata", swap(`"metadata":`, `"was":`), "", "was, metadata"},
		{"everything", func(*sdk.Request) sdk.Verdict { return sdk.Mutate(json.RawMessage(`[]`)) }, "", "all"},
		{"some", swap(`"namespace":"shop"`, `"namespace":"x","finalizers":["f"]`), `[{"op":"add","path":"/spec/template/metadata/finalizers","value":["f"]}]`, "metadata.namespace"},
		{"labels", swap(string(label), `"labels":{"app":"api"`), `[{"op":"replace","path":"/spec/template/metadata/labels/app","value":"api"}]`, ""},
		{"no labels", swap(`"labels":{"app":"web"},`, ""), `[{"op":"remove","path":"/spec/template/metadata/labels"}]`, ""},
		{"a container more", swap(`"containers":[`, `"containers":[{"name":"first"},`),
			`[{"op":"replace","path":"/spec/template/spec/containers/0/name","value":"first"},{"op":"remove","path":"/spec/template/spec/containers/0/image"},` +
				`{"op":"add","path":"/spec/template/spec/containers/1","value":{"image":"i:1","name":"c"}}]`, ""},
		{"no spec", swap(`"spec":`, `"specification":`), `[{"op":"remove","path":"/spec/template/spec"}]`, "specification"},
	}
	for _, tt := range tests {
		req := deployment().create(t, plainTemplate)
		d := evaluate(t, expandingEngine(t, tt.program, mutating), "p", req)
		var want []string
		if tt.left != "" {
			want = []string{fmt.Sprintf(left, tt.left)}
		}
		if diff := cmp.Diff(want, d.Response.Warnings); !d.Response.Allowed || diff != "" {
			t.Errorf("%s: allowed %t, %v, warnings (-want +have):\n%s", tt.name, d.Response.Allowed, d.Err, diff)
		}
		if diff := cmp.Diff(tt.patch, string(d.Response.Patch)); diff != "" {
			t.Errorf("%s: patch (-want +have):\n%s", tt.name, diff)
		}
		// Who may not mutate is refused as it is with the pod itself.
		bound := expandingEngine(t, tt.program)
		ofPod := evaluate(t, bound, "p", expand(req, []string{"spec", "template"}).pod).Response
		ofWorkload := evaluate(t, bound, "p", req).Response
		if ofPod.Allowed != ofWorkload.Allowed || ofWorkload.Patch != nil {
			t.Errorf("%s, without the right to mutate: pod allowed %t, workload allowed %t", tt.name, ofPod.Allowed, ofWorkload.Allowed)
		}
	}
}

func TestWarningsOfThePolicyAreMovedAndItsOwnListIsNot(t *testing.T) {
	own := []string{"spec.os is old", "hm"}
	e := expandingEngine(t, func(*sdk.Request) sdk.Verdict { return sdk.Verdict{Accepted: true, Warnings: own} })
	d := evaluate(t, e, "p", deployment().create(t, plainTemplate))
	want := []string{"spec.template.spec.os is old", "the pod that spec.template describes: hm"}
	if diff := cmp.Diff(want, d.Response.Warnings); diff != "" {
		t.Errorf("warnings (-want +have):\n%s", diff)
	}
	if own[0] != "spec.os is old" {
		t.Errorf("the policy's own list was changed to %q", own)
	}
}

func TestTheNextPodHasWhatThePolicyBeforeChanged(t *testing.T) {
	e := newEngine(t, Options{})
	module := portable(t, sdktest.WaPC)
	set := func(id, name string) policy.Policy {
		return bundled(guestPolicy(id, module, script(`{"accepted":true,"set":{"/metadata/labels/`+name+`":"x"}}`)), expanding, mutating)
	}
	mustApply(t, e, set("a", "one"), set("b", "two"),
		bundled(builtinPolicy("c", "safe-labels", `{"mandatory_labels":["app","one","two"]}`), expanding))
	d := evaluateBundle(t, e, deployment().create(t, plainTemplate))
	const want = `[{"op":"add","path":"/spec/template/metadata/labels/one","value":"x"},{"op":"add","path":"/spec/template/metadata/labels/two","value":"x"}]`
	if !d.Response.Allowed || string(d.Response.Patch) != want {
		t.Errorf("allowed %t, %s, patch %s, want %s", d.Response.Allowed, messageOf(d.Response), d.Response.Patch, want)
	}
}
