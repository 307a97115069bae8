package review

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/sdk"
)

func TestOfObjectIsTheRequestToCreateIt(t *testing.T) {
	object := `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"a": 1.0}}`
	req, err := OfObject(json.RawMessage(object+"\n"), "deployments", "default")
	if err != nil {
		t.Fatal(err)
	}
	kind := sdk.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	resource := sdk.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	dryRun := true
	want := &sdk.Request{
		UID: objectUID, Operation: sdk.Create, Name: "web", Namespace: "default", Kind: kind, Resource: resource,
		RequestKind: &kind, RequestResource: &resource, DryRun: &dryRun, Object: json.RawMessage(object),
		UserInfo: sdk.UserInfo{Username: objectUser, Groups: []string{"system:authenticated"}},
		Options:  json.RawMessage(`{"apiVersion":"meta.k8s.io/v1","kind":"CreateOptions"}`),
	}
	if diff := cmp.Diff(want, req); diff != "" {
		t.Errorf("OfObject (-want +got):\n%s", diff)
	}
	// It is one that a server would take.
	body, err := json.Marshal(map[string]any{"request": req})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Decode(body); err != nil || r.Request.Name != "web" {
		t.Errorf("Decode: %v\n%s", err, body)
	}
}

func TestTheNamespaceOfTheObjectCounts(t *testing.T) {
	req, err := OfObject(json.RawMessage(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop"}}`), "pods", "default")
	if err != nil || req.Namespace != "shop" || req.Kind.Group != "" || req.Kind.Version != "v1" {
		t.Errorf("namespace %q, kind %v, %v", req.Namespace, req.Kind, err)
	}
}

func TestOfObjectSaysWhatIsNoObject(t *testing.T) {
	tests := []struct{ object, want string }{
		{``, "EOF"},
		{`{"a": `, "EOF"},
		{"{\"a\": \"\xff\"}", "is not UTF-8"},
		{`null`, "want an object, have another value"},
		{`[1]`, "want an object, have another value"},
		{`{}`, "apiVersion and kind are missing"},
		{`{"apiVersion": 1, "kind": "Pod"}`, "apiVersion and kind are missing, or no strings"},
		{`{"apiVersion": "v1", "kind": "Pod", "metadata": []}`, "metadata: want an object, have a list"},
		{`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": 1}}`, "metadata.name: want a string, have a number"},
	}
	for _, tt := range tests {
		if _, err := OfObject(json.RawMessage(tt.object), "pods", ""); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("OfObject(%s) = %v, want %q", tt.object, err, tt.want)
		}
	}
}

func TestAResponseAloneLeavesOutWhatIsEmpty(t *testing.T) {
	tests := []struct {
		resp Response
		want string
	}{
		{Response{UID: "1", Allowed: true}, `{"uid":"1","allowed":true}`},
		{Response{UID: "1", Status: &Status{Message: "no", Code: 403}, Warnings: []string{"a"}, AuditAnnotations: map[string]string{"k": "v"}},
			`{"uid":"1","allowed":false,"status":{"message":"no","code":403},"auditAnnotations":{"k":"v"},"warnings":["a"]}`},
		{Response{UID: "1", Allowed: true, Patch: json.RawMessage(`[]`)}, `{"uid":"1","allowed":true,"patchType":"JSONPatch","patch":"W10="}`},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, string(tt.resp.AppendJSON(nil))); diff != "" {
			t.Errorf("AppendJSON (-want +got):\n%s", diff)
		}
	}
}

// FuzzOfObject: whatever is taken for an object makes a review that a server
// takes.
func FuzzOfObject(f *testing.F) {
	for _, seed := range []string{
		`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "b"}}`, `{"apiVersion": "a/b/c", "kind": ""}`,
		`{"kind": "Pod", "kind": null, "apiVersion": "/"}`, `[]`, `{"apiVersion": "v1", "kind": "\ud800"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		req, err := OfObject(text, "things", "default")
		if err != nil {
			return
		}
		body := append(req.AppendJSON([]byte(`{"request":`)), '}')
		r, err := Decode(body)
		if err != nil {
			t.Fatalf("Decode: %v\n%s", err, body)
		}
		if r.Request.Kind != req.Kind || r.Request.Name != req.Name || !Equal(r.Request.Object, req.Object) {
			t.Errorf("after Decode: %+v\nbefore: %+v", r.Request, req)
		}
	})
}
