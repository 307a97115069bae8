package cel

import (
	"encoding/json"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/warder-dev/warder/sdk"
)

// FuzzProgram looks for expressions and objects on which something panics, or
// that give neither a verdict nor a reason. They come from whoever may create a
// policy in some namespace, and whoever may create an object there.
func FuzzProgram(f *testing.F) {
	for _, e := range sameExpressions() {
		f.Add(e, "'m' + object.metadata.name", `[JSONPatch{op: "add", path: "/x", value: 1}]`, string(creation().Object))
	}
	f.Add("authorizer.requestResource.check('get').allowed()", "request.name", `Object{spec: Object.spec{hostNetwork: false}}`, `{"kind":"Pod","apiVersion":"v1","spec":null}`)
	f.Add("namespaceObject.metadata.name == ''", "''", `Object{metadata: Object.metadata{labels: Object.metadata.labels{a: "b"}}}`, `{"kind":"Pod","apiVersion":"v1","metadata":[]}`)
	f.Add("params.data.x == 'y'", "params.kind", `Object{}`, `{"a":1e400,"b":null,"c":[[]]}`)
	f.Add("variables.v", "string(variables.v)", `[JSONPatch{op: "move", from: "/a", path: "/b"}, JSONPatch{op: "test", path: "", value: null}]`, `{}`)
	f.Fuzz(checkPrograms)
}

// checkPrograms compiles policies of the texts, and judges the object.
//
//nolint:revive // its parameters are what is fuzzed
func checkPrograms(t *testing.T, expression, message, patch, object string) {
	if len(expression) > 300 || len(message) > 300 || len(patch) > 300 {
		return
	}
	allow := admissionv1.AllowAction
	host := &cluster{access: `{"allowed":true}`, objects: []string{"shop/low a=a 5"}}
	base := Spec{
		ParamKind: &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}, ParamRef: &admissionv1.ParamRef{Name: "low", ParameterNotFoundAction: &allow},
		Variables: []admissionv1.Variable{{Name: "v", Expression: expression}},
	}
	validating, mutating := base, base
	validating.Validations = []admissionv1.Validation{{Expression: expression, MessageExpression: message}}
	validating.AuditAnnotations = []admissionv1.AuditAnnotation{{Key: "k", ValueExpression: message}}
	mutating.Mutations = []admissionv1.Mutation{jsonPatch(patch)}
	if strings.HasPrefix(patch, "O") {
		mutating.Mutations = []admissionv1.Mutation{apply(patch)}
	}
	for _, spec := range []Spec{validating, mutating} {
		_ = Reads(spec)
		p, err := Compile(spec, Options{Host: host})
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without text")
			}
			continue
		}
		req := creation()
		req.Object, req.OldObject = json.RawMessage(object), json.RawMessage(object)
		checkVerdict(t, p, req)
	}
}

func checkVerdict(t *testing.T, p *Program, req *sdk.Request) {
	t.Helper()
	v, err := p.Evaluate(t.Context(), req)
	switch {
	case err != nil && err.Error() == "":
		t.Error("an error without text")
	case err == nil && !v.Accepted && (v.Message == "" || v.Code == 0):
		t.Errorf("a rejection without message or code: %+v", v)
	case v.MutatedObject != nil && sdk.Check(v.MutatedObject) != nil:
		t.Errorf("the mutated object is no JSON: %s", v.MutatedObject)
	}
}
