package sdk

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// whole is a request with every field, written as an API server does not.
const whole = ` {
  "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "unknown": {"ignored": [1]},
  "kind": {"group": "autoscaling", "version": "v1", "kind": "Scale", "more": 1},
  "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
  "subResource": "scale",
  "requestKind": {"group": "autoscaling", "version": "v1beta1", "kind": "Scale"},
  "requestResource": {"group": "apps", "version": "v1beta1", "resource": "deployments"},
  "requestSubResource": "scale",
  "name": "my-\u0064eployment", "namespace": "my-namespace",
  "operation": "UPDATE",
  "userInfo": {"username": "admin", "uid": "014fbff9a07c", "groups": ["system:authenticated", "my-admin-group"],
    "extra": {"some-key": ["some-value1", "some-value2"], "a": []}},
  "object": {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 1.50}},
  "oldObject": [ ],
  "options": {"apiVersion": "meta.k8s.io/v1", "kind": "UpdateOptions"},
  "dryRun": false
} `

func wholeRequest() *Request {
	no := false
	return &Request{
		UID:             "705ab4f5-6393-11e8-b7cc-42010a800002",
		Kind:            GroupVersionKind{"autoscaling", "v1", "Scale"},
		Resource:        GroupVersionResource{"apps", "v1", "deployments"},
		Operation:       Update,
		SubResource:     "scale",
		RequestKind:     &GroupVersionKind{"autoscaling", "v1beta1", "Scale"},
		RequestResource: &GroupVersionResource{"apps", "v1beta1", "deployments"}, RequestSubResource: "scale",
		Name: "my-deployment", Namespace: "my-namespace", DryRun: &no,
		UserInfo: UserInfo{
			Username: "admin", UID: "014fbff9a07c", Groups: []string{"system:authenticated", "my-admin-group"},
			Extra: map[string][]string{"some-key": {"some-value1", "some-value2"}, "a": nil},
		},
		Object:    raw(`{"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 1.50}}`),
		OldObject: raw(`[ ]`),
		Options:   raw(`{"apiVersion": "meta.k8s.io/v1", "kind": "UpdateOptions"}`),
	}
}

func TestParseRequestReadsEveryField(t *testing.T) {
	have, err := ParseRequest(raw(whole))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wholeRequest(), have); diff != "" {
		t.Errorf("want, have:\n%s", diff)
	}
}

const minimal = `{"uid":"","kind":{"group":"","version":"","kind":""},"resource":{"group":"","version":"","resource":""},` +
	`"operation":"","userInfo":{}`

func TestAbsentAndNullAreTheSame(t *testing.T) {
	nulls := minimal
	for _, name := range requestFields[5:] {
		nulls += `,"` + name + `":null`
	}
	for _, text := range []string{minimal + "}", nulls + "}", minimal[:len(minimal)-1] + `"username":null,"uid":null,"groups":null,"extra":null}}`} {
		have, err := ParseRequest(raw(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(&Request{}, have); diff != "" {
			t.Errorf("%s: want, have:\n%s", text, diff)
		}
	}
	if have := string((&Request{}).AppendJSON(nil)); have != minimal+"}" {
		t.Errorf("the empty request is\n%s, want\n%s", have, minimal+"}")
	}
}

func TestParseRequestSaysWhatIsWrong(t *testing.T) {
	change := func(old, with string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("the request has no %s", old)
		}
		return strings.Replace(whole, old, with, 1)
	}
	tests := []struct{ text, want string }{
		{`{}`, "missing field `uid`"},
		{`[]`, "invalid type: sequence, expected an object"},
		{`null`, "invalid type: null, expected an object"},
		{`"x"`, `invalid type: string "x", expected an object`},
		{`{"uid":"u","kind":{}}`, "kind: missing field `group`"},
		{change(`"operation": "UPDATE",`, ""), "missing field `operation`"},
		{change(`"userInfo": {`, `"userinfo": {`), "missing field `userInfo`"}, // names tell case apart
		{change(`"operation": "UPDATE"`, `"operation": 7`), "operation: invalid type: number `7`, expected a string"},
		{change(`"uid": "705`, `"uid": null, "u": "705`), "uid: invalid type: null, expected a string"},
		{change(`"uid": "705`, `"uid": "", "uid": "705`), "duplicate field `uid`"},
		{change(`"uid": "705`, `"uid": "", "\u0075id": "705`), "duplicate field `uid`"},
		{change(`"version": "v1", "kind": "Scale"`, `"version": true, "kind": "Scale"`), "kind.version: invalid type: boolean `true`, expected a string"},
		{change(`"version": "v1beta1", "kind": "Scale"`, `"version": "v1"`), "requestKind: missing field `kind`"},
		{change(`"version": "v1beta1", "resource": "deployments"`, `"version": "v1"`), "requestResource: missing field `resource`"},
		{change(`"dryRun": false`, `"dryRun": "no"`), "dryRun: invalid type: string \"no\", expected a boolean"},
		{change(`"name": "my-\u0064eployment"`, `"name": {}`), "name: invalid type: map, expected a string"},
		{change(`["system:authenticated", "my-admin-group"]`, `"system:masters"`), `userInfo.groups: invalid type: string "system:masters", expected a list`},
		{change(`"my-admin-group"`, `1`), "userInfo.groups[1]: invalid type: number `1`, expected a string"},
		{change(`["some-value1", "some-value2"]`, `"x"`), `userInfo.extra: invalid type: string "x", expected a list`},
		{change(`"username": "admin"`, `"username": []`), "userInfo.username: invalid type: sequence, expected a string"},
	}
	for _, tt := range tests {
		_, err := ParseRequest(raw(tt.text))
		var field *FieldError
		if err == nil || err.Error() != tt.want || !errors.As(err, &field) {
			t.Errorf("have %v, want %s", err, tt.want)
			continue
		}
		if field.Offset < 0 || field.Offset >= len(tt.text) {
			t.Errorf("%s: offset %d of %d bytes", tt.want, field.Offset, len(tt.text))
		}
	}
	var syntax *SyntaxError
	if _, err := ParseRequest(raw(whole + "x")); !errors.As(err, &syntax) || syntax.Problem != "trailing characters" {
		t.Errorf("have %v, want a *SyntaxError", err)
	}
	for _, empty := range []string{"", " "} {
		if _, err := ParseRequest(raw(empty)); !errors.As(err, &syntax) {
			t.Errorf("%q: have %v, want a *SyntaxError", empty, err)
		}
		if _, err := parseChecked(raw(empty)); !errors.As(err, &syntax) {
			t.Errorf("%q: have %v, want a *SyntaxError", empty, err)
		}
	}
}

func TestFieldErrorsSayWhere(t *testing.T) {
	text := `  {"uid":"u","kind":{"group":"","version":1,"kind":""}}`
	_, err := ParseRequest(raw(text))
	var field *FieldError
	if !errors.As(err, &field) || field.Offset != strings.Index(text, "1,") {
		t.Errorf("have %#v, want the offset %d", err, strings.Index(text, "1,"))
	}
}

func TestRequestsSurviveTheWire(t *testing.T) {
	requests := []*Request{wholeRequest(), {}, {UID: "\"\x00é", Name: "a\nb", Namespace: "</script>", UserInfo: UserInfo{Extra: map[string][]string{"": {""}, "\"": nil}}}}
	for _, r := range requests {
		text := r.AppendJSON([]byte("x"))[1:]
		have, err := ParseRequest(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(r, have); diff != "" {
			t.Errorf("%s: want, have:\n%s", text, diff)
		}
		var viaJSON *Request
		marshaled, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(marshaled, &viaJSON); err != nil {
			t.Fatal(err)
		}
		viaJSON.Object, viaJSON.OldObject, viaJSON.Options = r.Object, r.OldObject, r.Options // encoding/json compacts them
		if diff := cmp.Diff(r, viaJSON); diff != "" {
			t.Errorf("through encoding/json: want, have:\n%s", diff)
		}
	}
}

func TestRawRequestsAreKeptAsTheyAre(t *testing.T) {
	tests := []struct{ text, uid string }{
		{`{"uid": "u", "user": [1.50]}`, "u"},
		{`{"uid": 7}`, ""},
		{`{}`, ""},
		{`[1]`, ""},
		{`null`, ""},
		{`"x"`, ""},
	}
	for _, tt := range tests {
		r := RawRequest(raw(tt.text))
		if r.UID != tt.uid || string(r.AppendJSON(nil)) != tt.text {
			t.Errorf("%s: have UID %q and %s, want %q and the same", tt.text, r.UID, r.AppendJSON(nil), tt.uid)
		}
	}
}

func TestVerdictsAreKubewardensResponses(t *testing.T) {
	tests := []struct {
		verdict Verdict
		want    string
	}{
		{Verdict{}, `{"accepted":false}`},
		{Accept(), `{"accepted":true}`},
		{Reject("no \"x\""), `{"accepted":false,"message":"no \"x\""}`},
		{Rejectf("no %d", 7), `{"accepted":false,"message":"no 7"}`},
		{Mutate(raw(`{"a": 1}`)), `{"accepted":true,"mutated_object":{"a": 1}}`},
		{
			Verdict{Accepted: true, Code: 299, AuditAnnotations: map[string]string{"b": "2", "a": "1"}, Warnings: []string{"w", "é"}},
			`{"accepted":true,"code":299,"audit_annotations":{"a":"1","b":"2"},"warnings":["w","é"]}`,
		},
	}
	for _, tt := range tests {
		have := tt.verdict.AppendJSON([]byte("x"))
		if string(have) != "x"+tt.want || !json.Valid(have[1:]) {
			t.Errorf("have %s, want x%s", have, tt.want)
		}
	}
}

func TestResolveAppliesThePatchToWhatTheRequestIsAbout(t *testing.T) {
	patch := Patch{{PatchAdd, "/b", raw("2")}}
	v, err := Verdict{Accepted: true, Patch: patch}.Resolve(&Request{Object: raw(`{"a":1}`)})
	if err != nil || string(v.MutatedObject) != `{"a":1,"b":2}` || v.Patch != nil {
		t.Errorf("object: have %s, %v", v.MutatedObject, err)
	}
	v, err = Verdict{Accepted: true, Patch: patch}.Resolve(&Request{Raw: raw(`{}`), Object: raw(`[]`)})
	if err != nil || string(v.MutatedObject) != `{"b":2}` {
		t.Errorf("raw: have %s, %v", v.MutatedObject, err)
	}
	if v, err = Accept().Resolve(&Request{}); err != nil || v.MutatedObject != nil {
		t.Errorf("no patch: have %s, %v", v.MutatedObject, err)
	}
	// Where there is no object, the host refuses what is put in its place.
	v, err = Verdict{Accepted: true, Patch: patch}.Resolve(&Request{})
	if err != nil || v.MutatedObject == nil || v.Patch != nil {
		t.Errorf("no object: have %s, %v; want something for the host to refuse", v.MutatedObject, err)
	}
	if _, err = (Verdict{Patch: patch, MutatedObject: raw(`{}`)}).Resolve(&Request{Object: raw(`{}`)}); err == nil {
		t.Error("a patch and an object resolve")
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(minimal + "}"))
	for _, doc := range documents() {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseRequest(text)
		if err != nil {
			var field *FieldError
			var syntax *SyntaxError
			if !errors.As(err, &field) && !errors.As(err, &syntax) {
				t.Fatalf("%q: %#v is neither a *FieldError nor a *SyntaxError", text, err)
			}
			if field != nil && (field.Offset < 0 || field.Offset >= len(text)) {
				t.Fatalf("%q: %v at %d", text, err, field.Offset)
			}
			return
		}
		out := r.AppendJSON(nil)
		if !json.Valid(out) {
			t.Fatalf("%q becomes %q, which is not JSON", text, out)
		}
		again, err := ParseRequest(out)
		if err != nil {
			t.Fatalf("%q becomes %q: %v", text, out, err)
		}
		if string(again.AppendJSON(nil)) != string(out) {
			t.Fatalf("%q becomes %q, and that %q", text, out, again.AppendJSON(nil))
		}
	})
}
