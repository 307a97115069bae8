package cel

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/warder-dev/warder/sdk"
)

func jsonPatch(expression string) admissionv1.Mutation {
	return admissionv1.Mutation{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{Expression: expression}}
}

func apply(expression string) admissionv1.Mutation {
	return admissionv1.Mutation{PatchType: admissionv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionv1.ApplyConfiguration{Expression: expression}}
}

// replaced is the pod of creation with the pieces replaced, as any JSON.
func replaced(t *testing.T, pieces ...string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(strings.NewReplacer(pieces...).Replace(string(creation().Object))), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestMutations(t *testing.T) {
	const node = `"hostNetwork":true`
	for _, tt := range []struct {
		name      string
		mutations []admissionv1.Mutation
		want      []string // pieces of the pod and what they become
	}{
		{"a patch adds a label whose name has a slash", []admissionv1.Mutation{jsonPatch(`[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("a.io/b"), value: "x"}]`)},
			[]string{`"app":"web"`, `"app":"web","a.io/b":"x"`}},
		{"a patch is computed", []admissionv1.Mutation{jsonPatch(`object.spec.containers.map(c, JSONPatch{op: "replace", path: "/spec/containers/0/image", value: c.image + "-x"})`)},
			[]string{"a:1", "a:1-x"}},
		{"a patch has objects for values", []admissionv1.Mutation{jsonPatch(`[JSONPatch{op: "add", path: "/spec/securityContext", value: Object.spec.securityContext{runAsNonRoot: true}}]`)},
			[]string{node, node + `,"securityContext":{"runAsNonRoot":true}`}},
		{"a patch removes, tests and copies", []admissionv1.Mutation{jsonPatch(`[JSONPatch{op: "test", path: "/spec/hostNetwork", value: true}, JSONPatch{op: "remove", path: "/spec/hostNetwork"},
			JSONPatch{op: "copy", from: "/metadata/name", path: "/metadata/labels/name"}]`)}, []string{node + ",", "", `"app":"web"`, `"app":"web","name":"web"`}},
		{"a patch whose test fails does nothing", []admissionv1.Mutation{jsonPatch(`[JSONPatch{op: "test", path: "/spec/hostNetwork", value: false}, JSONPatch{op: "remove", path: "/spec/hostNetwork"}]`)}, nil},
		{"a configuration is merged by the schema", []admissionv1.Mutation{apply(`Object{spec: Object.spec{hostNetwork: false, containers: [Object.spec.containers{name: "a", imagePullPolicy: "Always"}, Object.spec.containers{name: "b"}]}}`)},
			[]string{node, `"hostNetwork":false`, `{"name":"a"`, `{"imagePullPolicy":"Always","name":"a"`, `}],"unknown"`, `},{"name":"b"}],"unknown"`}},
		{"a configuration that changes nothing", []admissionv1.Mutation{apply(`Object{spec: Object.spec{hostNetwork: true}}`)}, nil},
		{"each sees what the one before did", []admissionv1.Mutation{
			jsonPatch(`[JSONPatch{op: "add", path: "/metadata/labels/x", value: "1"}]`), jsonPatch(`[JSONPatch{op: "add", path: "/metadata/labels/y", value: object.metadata.labels.x + "2"}]`),
		}, []string{`"app":"web"`, `"app":"web","x":"1","y":"12"`}},
	} {
		p := mustProgram(t, Spec{Mutations: tt.mutations}, Options{})
		v, err := p.Evaluate(t.Context(), creation())
		if err != nil || !v.Accepted {
			t.Errorf("%s: %s", tt.name, said(v, err))
			continue
		}
		if tt.want == nil || v.MutatedObject == nil {
			if tt.want != nil || v.MutatedObject != nil {
				t.Errorf("%s: %s, want %q", tt.name, v.MutatedObject, tt.want)
			}
			continue
		}
		var have any
		if err := json.Unmarshal(v.MutatedObject, &have); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(replaced(t, tt.want...), have); diff != "" {
			t.Errorf("%s (-want +have):\n%s", tt.name, diff)
		}
		// A second pass changes nothing more, where the patch is not a relative one.
		req := creation()
		req.Object = v.MutatedObject
		if v, err := p.Evaluate(t.Context(), req); strings.HasPrefix(tt.name, "a configuration") && said(v, err) != "accepted" {
			t.Errorf("%s, again: %s", tt.name, v.MutatedObject)
		}
	}
}

func TestWhenAMutationDoesNotApply(t *testing.T) {
	label := jsonPatch(`[JSONPatch{op: "add", path: "/metadata/labels/x", value: "1"}]`)
	for _, tt := range []struct {
		name         string
		mutations    []admissionv1.Mutation
		fail, ignore string
	}{
		{"an expression without a value", []admissionv1.Mutation{label, jsonPatch(`[JSONPatch{op: "add", path: "/x", value: object.absent}]`)}, "error: expression '", "mutated"},
		{"a path that is not there", []admissionv1.Mutation{jsonPatch(`[JSONPatch{op: "remove", path: "/absent"}]`)}, "error: JSON Patch: ", "error: JSON Patch: "},
		{"a field that the schema does not have", []admissionv1.Mutation{apply(`Object{spec: Object.spec{absent: 1}}`)}, "error: error applying patch: failed to convert patch object to typed object: ", "error: error applying patch"},
		{"a list that has no keys", []admissionv1.Mutation{apply(`Object{spec: Object.spec{containers: [Object.spec.containers{name: "a", args: ["x"]}]}}`)},
			"error: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0].args", "error: error applying patch"},
		{"a type of another field", []admissionv1.Mutation{apply(`Object{spec: Object.wrong{}}`)}, "error: type mismatch: ", "error: type mismatch: "},
	} {
		for policy, want := range map[admissionv1.FailurePolicyType]string{admissionv1.Fail: tt.fail, admissionv1.Ignore: tt.ignore} {
			p := mustProgram(t, Spec{Mutations: tt.mutations}, Options{FailurePolicy: policy})
			if have := said(p.Evaluate(t.Context(), creation())); !strings.HasPrefix(have, want) {
				t.Errorf("%s, failurePolicy %s: %s\nwant %s", tt.name, policy, have, want)
			}
		}
	}
}

func TestThereIsNothingToMutateInADeletion(t *testing.T) {
	p := mustProgram(t, Spec{MatchConditions: conditionsOf("object.absent == 1"), Mutations: []admissionv1.Mutation{jsonPatch(`[JSONPatch{op: "test", path: "/kind", value: "Pod"}]`)}}, Options{})
	if have := said(p.Evaluate(t.Context(), deletion())); have != "accepted" {
		t.Error(have)
	}
}

func TestMutationsUseVariablesParamsAndConditions(t *testing.T) {
	spec := limits(admissionv1.ParamRef{Name: "low"})
	spec.Validations = nil
	spec.Variables = []admissionv1.Variable{{Name: "max", Expression: "int(params.data.max)"}}
	spec.MatchConditions = conditionsOf("object.spec.priority > int(params.data.max)")
	spec.Mutations = []admissionv1.Mutation{apply("Object{spec: Object.spec{priority: variables.max}}")}
	p := mustProgram(t, spec, Options{Host: &cluster{objects: []string{"shop/low a=a 5"}}})
	v, err := p.Evaluate(t.Context(), creation())
	if err != nil || !strings.Contains(string(v.MutatedObject), `"priority":5`) {
		t.Errorf("%s: %s", said(v, err), v.MutatedObject)
	}
	req := creation()
	req.Object = v.MutatedObject
	if have := said(p.Evaluate(t.Context(), req)); have != "accepted" {
		t.Errorf("where the condition does not match: %s", have)
	}
}

// TestAKindOfOthersIsMergedByWhatItLooksLike shows the deduced schema.
func TestAKindOfOthersIsMergedByWhatItLooksLike(t *testing.T) {
	req := creation()
	req.Kind = sdk.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Widget"}
	req.Object = json.RawMessage(`{"apiVersion":"example.org/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"a":{"x":1},"list":[1]}}`)
	p := mustProgram(t, Spec{Mutations: []admissionv1.Mutation{apply(`Object{spec: Object.spec{a: Object.spec.a{y: 2}}}`)}}, Options{})
	v, err := p.Evaluate(t.Context(), req)
	if want := `{"apiVersion":"example.org/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"a":{"x":1,"y":2},"list":[1]}}`; err != nil || string(v.MutatedObject) != want {
		t.Errorf("%s, %v\nwant %s", v.MutatedObject, err, want)
	}
}
