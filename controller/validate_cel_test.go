package controller

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi/openapitest"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
	"github.com/warder-dev/warder/runtime/cel"
)

func TestPoliciesInCELAreCompiledWhenTheyAreApplied(t *testing.T) {
	policy := func(cel string) string {
		return strings.Replace(goodSpec, "module: builtin://any\n", "cel: {"+cel+"}\n", 1)
	}
	group := func(cel string) string {
		return having(goodGroup, "policies: {a: {module: builtin://any}, b: {cel: {"+cel+"}}}\n")
	}
	params := func(ref string) string {
		return "validations: [{expression: 'true'}], paramKind: {apiVersion: v1, kind: ConfigMap}, paramRef: {" + ref + "}"
	}
	for _, tt := range []struct{ name, kind, spec, want string }{
		{"good", clusterAP, policy(`validations: [{expression: "object.metadata.name != ''"}]`), ""},
		{"good in a namespace", ap, policy(`validations: [{expression: "namespaceObject.metadata.name != ''"}]`), ""},
		{"good member", capg, group(`validations: [{expression: "true"}]`), ""},
		{"syntax", clusterAP, policy(`validations: [{expression: "true"}, {expression: "object."}]`),
			`spec.cel.validations[1].expression: Invalid value: "object.": compilation failed: ERROR: <input>:1:8: Syntax error`},
		{"type", clusterAP, policy(`validations: [{expression: "1"}]`), `spec.cel.validations[0].expression: Invalid value: "1": must evaluate to bool`},
		{"everywhere at once", clusterAP, policy(`variables: [{name: a, expression: "b"}], matchConditions: [{name: c, expression: "d"}], ` +
			`validations: [{expression: "true", messageExpression: "1"}], auditAnnotations: [{key: e, valueExpression: "1"}]`),
			"spec.cel.variables[0].expression: Invalid value: \"b\": \nspec.cel.matchConditions[0].expression: Invalid value: \"d\": \n" +
				"spec.cel.validations[0].messageExpression: Invalid value: \"1\": \nspec.cel.auditAnnotations[0].valueExpression: Invalid value: \"1\": "},
		{"mutation", clusterAP, having(policy(`mutations: [{patchType: JSONPatch, jsonPatch: {expression: "[JSONPatch{op: 1}]"}}]`), "mutating: true\n"),
			`spec.cel.mutations[0].jsonPatch.expression: Invalid value: "[JSONPatch{op: 1}]": `},
		{"not mutating", clusterAP, policy(`mutations: [{patchType: JSONPatch, jsonPatch: {expression: "[JSONPatch{op: 'remove', path: '/a'}]"}}]`), "spec.mutating: Invalid value: must be true of a policy with cel.mutations"},
		{"member", apg, group(`validations: [{expression: "nope"}]`), `spec.policies[b].cel.validations[0].expression: Invalid value: "nope": `},
		{"said once", clusterAP, policy(`validations: [{expression: " "}]`), "spec.cel.validations[0].expression: Invalid value: is missing or empty"},
		{"nothing", clusterAP, policy(""), "spec.cel: Invalid value: has nothing to do: want validations, mutations or auditAnnotations"},
		{"params of another namespace", ap, policy(params("name: x, namespace: bank, parameterNotFoundAction: Deny")),
			`spec.cel.paramRef.namespace: Invalid value: "bank" is not the policy's own namespace, and a policy of namespace "shop" sees no other; leave it out`},
		{"params of a namespace", clusterAP, policy(params("name: x, namespace: bank, parameterNotFoundAction: Deny")), ""},
		{"module too", clusterAP, policy(`validations: [{expression: "true"}]`) + "module: builtin://any\n", "spec.cel: Invalid value: a policy has a module or is written in CEL; this one has both"},
		{"settings", clusterAP, policy(`validations: [{expression: "true"}]`) + "settings: {a: b}\n", "spec.settings: Invalid value: settings are of a module: a policy in CEL has params"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, ask(t, manifest.ValidatingPath(tt.kind), "", object(tt.kind, tt.spec)), tt.want)
		})
	}
}

// published is a cluster that publishes the schemas of Kubernetes.
type published struct{ discovery.DiscoveryInterface }

func (published) OpenAPIV3() openapi.Client { return openapitest.NewEmbeddedFileClient() }

func TestWhatTheSchemasDoNotHaveIsWarnedOf(t *testing.T) {
	kinds := meta.NewDefaultRESTMapper(nil)
	kinds.Add(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, meta.RESTScopeNamespace)
	w := &kindWebhooks{
		opts:       KindOptions{Client: fakeCluster(t), Types: &cel.TypeChecker{Schemas: &resolver.ClientDiscoveryResolver{Discovery: published{}}, Kinds: kinds}},
		conditions: &cel.MatchConditions{},
	}
	for _, tt := range []struct{ expression, want string }{
		{"object.spec.hostNetwork != true", ""},
		{"object.spec.hostNetwrok != true", "spec.cel.validations[0].expression: /v1, Kind=Pod: ERROR: <input>:1:12: undefined field 'hostNetwrok'"},
	} {
		o, err := decodeObject(clusterAP, asJSON(t, object(clusterAP, strings.Replace(goodSpec, "module: builtin://any", "cel: {validations: [{expression: "+tt.expression+"}]}", 1))), "")
		if err != nil {
			t.Fatal(err)
		}
		found := w.validate(t.Context(), o, v1.Object(nil))
		if have := strings.Join(found.warnings, "\n"); len(found.errs) > 0 || have != tt.want {
			t.Errorf("%s: %v, warnings %q, want %q", tt.expression, found.errs, have, tt.want)
		}
	}
}
