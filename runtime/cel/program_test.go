package cel

import (
	"encoding/json"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/warder-dev/warder/sdk"
)

func pod() json.RawMessage {
	return json.RawMessage(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop","labels":{"app":"web"}},` +
		`"spec":{"hostNetwork":true,"containers":[{"name":"a","image":"registry.local/a:1","ports":[{"containerPort":80}]}]}}`)
}

func creation() *sdk.Request {
	return &sdk.Request{
		UID: "1", Operation: sdk.Create, Name: "web", Namespace: "shop", Object: pod(),
		Kind: sdk.GroupVersionKind{Version: "v1", Kind: "Pod"}, Resource: sdk.GroupVersionResource{Version: "v1", Resource: "pods"},
		UserInfo: sdk.UserInfo{Username: "alice", Groups: []string{"dev"}},
	}
}

func TestSmoke(t *testing.T) {
	p, err := Compile(Spec{
		Variables: []admissionv1.Variable{{Name: "images", Expression: "object.spec.containers.map(c, c.image)"}},
		Validations: []admissionv1.Validation{
			{Expression: "!object.spec.hostNetwork", MessageExpression: "'no host network for ' + request.userInfo.username"},
			{Expression: "variables.images.all(i, i.startsWith('registry.local/'))"},
		},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := p.Evaluate(t.Context(), creation())
	t.Log(v, err)
	for _, m := range []admissionv1.Mutation{
		{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{Expression: `[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("a/b"), value: "x"}]`}},
		{PatchType: admissionv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionv1.ApplyConfiguration{Expression: `Object{spec: Object.spec{hostNetwork: false, containers: [Object.spec.containers{name: "b", image: "x"}]}}`}},
	} {
		p, err := Compile(Spec{Mutations: []admissionv1.Mutation{m}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, err := p.Evaluate(t.Context(), creation())
		t.Log(string(v.MutatedObject), v.Accepted, err)
	}
	_, err = Compile(Spec{Validations: []admissionv1.Validation{{Expression: "objet.spec == 1"}, {Expression: "request.opration == 'x'"}}}, Options{})
	t.Log(err)
}
