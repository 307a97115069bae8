package manifest

import (
	"strings"
	"testing"
)

// celCases are policies in CEL that the API server takes or not, with warder away.
func celCases() []policyCase {
	policy := func(cel string, more ...string) string {
		return clusterPolicy(append([]string{"-module", "cel: {" + cel + "}"}, more...)...)
	}
	params := func(kind, ref string) string {
		return policy("validations: [{expression: a}], paramKind: {" + kind + "}, paramRef: {" + ref + "}")
	}
	const (
		validation = "validations: [{expression: a}]"
		patch      = "mutations: [{patchType: JSONPatch, jsonPatch: {expression: a}}]"
		audit      = "auditAnnotations: [{key: k, valueExpression: a}]"
		configMaps = "apiVersion: v1, kind: ConfigMap"
	)
	member := func(cel string) string { return "policies: {a: {cel: {" + cel + "}}}" }
	return []policyCase{
		{"validations", policy(validation), "", true},
		{"audit annotations alone", policy(audit), "", true},
		{"validations and audit annotations", policy(validation + ", " + audit), "", true},
		{"mutations", policy(patch, "mutating: true"), "", true},
		{"mutations of a policy that is not mutating", policy(patch), "", false},
		{"validations and mutations", policy(validation+", "+patch, "mutating: true"), "", false},
		{"mutations and audit annotations", policy(audit+", "+patch, "mutating: true"), "", false},
		{"nothing", policy(""), "", false},
		{"empty lists", policy("validations: [], mutations: [], auditAnnotations: []"), "", false},
		{"a module and cel", clusterPolicy("cel: {" + validation + "}"), "", false},
		{"neither a module nor cel", clusterPolicy("-module"), "", false},
		{"settings and cel", policy(validation, "settings: {a: b}"), "", false},
		{"cel in a namespace", namespacedPolicy("-module", "cel: {"+validation+"}"), "", true},

		{"params by name", params(configMaps, "name: x, parameterNotFoundAction: Allow"), "", true},
		{"params by selector", params(configMaps, "selector: {matchLabels: {a: b}}, namespace: web, parameterNotFoundAction: Deny"), "", true},
		{"params without a name", params(configMaps, "parameterNotFoundAction: Deny"), "", false},
		{"params with a name and a selector", params(configMaps, "name: x, selector: {}, parameterNotFoundAction: Deny"), "", false},
		{"params without an action", params(configMaps, "name: x"), "", false},
		{"params with another action", params(configMaps, "name: x, parameterNotFoundAction: Ignore"), "", false},
		{"half a kind of params", params("kind: ConfigMap", "name: x, parameterNotFoundAction: Deny"), "", false},
		{"params that are not said", policy(validation + ", paramKind: {" + configMaps + "}"), "", false},
		{"params of no kind", policy(validation + ", paramRef: {name: x, parameterNotFoundAction: Deny}"), "", false},

		{"a patch of another type", policy(strings.Replace(patch, "JSONPatch", "Merge", 1), "mutating: true"), "", false},
		{"a patch under the other type", policy(strings.Replace(patch, "JSONPatch", "ApplyConfiguration", 1), "mutating: true"), "", false},
		{"two conditions of one name", policy(validation + ", matchConditions: [{name: a, expression: b}, {name: a, expression: c}]"), "", false},

		{"a member in cel", group(member(validation)), "", true},
		{"a member in cel of a group of one namespace", namespacedGroup(member(validation)), "", true},
		{"a member that mutates", group(member(patch)), "", false},
		{"a member with module and cel", namespacedGroup("policies: {a: {module: builtin://x, cel: {" + validation + "}}}"), "", false},

		{"enforced by the API server", policy(validation, "enforceAt: APIServer"), "", true},
		{"a module enforced by the API server", clusterPolicy("enforceAt: APIServer"), "", false},
		{"a mutating policy enforced by the API server", policy(patch, "mutating: true", "enforceAt: APIServer"), "", false},
		{"enforced elsewhere", policy(validation, "enforceAt: Node"), "", false},
	}
}

func TestSchemasOfCEL(t *testing.T) {
	kinds := kindsOf(t)
	var report strings.Builder
	for _, tt := range celCases() {
		kinds["v1 "+strings.Fields(tt.object)[3]].check(t, tt, &report)
	}
	golden(t, "crds-cel.txt", []byte(report.String()))
}
