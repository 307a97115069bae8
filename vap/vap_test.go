package vap_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/vap"
)

// pair is a policy and a binding; more is more of the spec of each.
func pair(t *testing.T, policy, binding string) vap.Pair {
	t.Helper()
	p := vap.Pair{Policy: vap.Policy{Name: "p"}, Binding: vap.Binding{Name: "b"}}
	if !strings.Contains(policy, "matchConstraints:") {
		policy += "\nmatchConstraints: {resourceRules: [" + onPods + "]}"
	}
	if !strings.Contains(binding, "policyName:") {
		binding += "\npolicyName: p"
	}
	if !strings.Contains(binding, "validationActions:") {
		binding += "\nvalidationActions: [Deny]"
	}
	for text, into := range map[string]any{policy: &p.Policy.Spec, binding: &p.Binding.Spec} {
		if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	return p
}

const (
	onPods   = `{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}`
	onScales = `{apiGroups: [apps], apiVersions: [v1, v1beta1], resources: ["*/scale"], operations: [UPDATE], scope: Namespaced}`
)

func TestWhatOursCannotHaveIsRefused(t *testing.T) {
	mutating := pair(t, "", "")
	mutating.Policy.Mutating = true
	tests := []struct {
		name, policy, binding string
		want                  string // without the kind and name of the object
	}{
		{"another policy", "", "policyName: other", `spec.policyName: is "other", and the policy's name is "p"`},
		{"params of no kind", "", "paramRef: {name: a}", "spec.paramRef: the policy has no spec.paramKind; leave paramRef out, or say of which kind it is"},
		{"a kind without params", "paramKind: {apiVersion: v1, kind: Secret}", "", "spec.paramRef: is missing: the policy has spec.paramKind; say which params it is, or leave paramKind out"},
		{"no actions", "", "validationActions: []", "spec.validationActions: is empty; want [Deny], which becomes mode protect, or [Audit], which becomes monitor"},
		{"an unknown action", "", "validationActions: [Deny, Log]", `spec.validationActions: "Log" is none; want Deny, Warn or Audit`},
		{"deny and warn", "", "validationActions: [Deny, Warn]", "spec.validationActions: Deny and Warn exclude each other; leave one out"},
		{"no rules", "matchConstraints: {}", "", "spec.matchConstraints.resourceRules: is empty; say what the policy judges"},
		{"half a rule", "matchConstraints: {resourceRules: [{apiGroups: [apps]}]}", "",
			"spec.matchConstraints.resourceRules[0]: matches nothing; want apiGroups, apiVersions, resources and operations"},
		{"an unknown scope", "", `matchResources: {excludeResourceRules: [{apiGroups: ["*"], apiVersions: ["*"], resources: ["*"], operations: ["*"], scope: Here}]}`,
			`spec.matchResources.excludeResourceRules[0].scope: is "Here"; want Cluster, Namespaced or *`},
		{"an unknown policy", "", "matchResources: {matchPolicy: Roughly}", `spec.matchResources.matchPolicy: is "Roughly"; want Exact or Equivalent`},
		{"a selector that selects by nothing", "", "matchResources: {objectSelector: {matchExpressions: [{key: a, operator: In}]}}",
			"spec.matchResources.objectSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"},
		{"nothing in common", "", "matchResources: {resourceRules: [" + onScales + "]}",
			"spec.matchResources.resourceRules: has nothing in common with the policy's: the binding puts nothing into force; leave it away"},
		{"another version", "matchConstraints: {resourceRules: [" + onScales + "]}", `matchResources: {resourceRules: [{apiGroups: ["*"], apiVersions: [v1], resources: ["*/*"], operations: ["*"]}]}`,
			`spec.matchResources.resourceRules: apiVersions ["v1"] are equivalent to the policy's ["v1" "v1beta1"] only if the API server serves them; write the policy's, or ["*"]`},
		{"two ways to match", "matchConstraints: {resourceRules: [" + onScales + "]}",
			`matchResources: {matchPolicy: Exact, resourceRules: [{apiGroups: ["*"], apiVersions: [v1], resources: ["*/*"], operations: ["*"]}]}`,
			`spec.matchResources.matchPolicy: is Exact with apiVersions ["v1"], and the policy's is Equivalent; give both the same, or write apiVersions ["*"]`},
		{"names and versions", `matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], resources: [deployments], operations: [CREATE], resourceNames: [a]},
			{apiGroups: [apps], apiVersions: [v1beta1], resources: ["*"], operations: ["*"]}]}`, "",
			`spec.matchConstraints.resourceRules: rules with resourceNames and matchPolicy Equivalent are about one resource in the versions ["v1"] and ["v1beta1"]; give both rules the same apiVersions, or set matchPolicy Exact`},
		{"what no webhook is asked about", `matchConstraints: {resourceRules: [{apiGroups: [admissionregistration.k8s.io], apiVersions: [v1], resources: [validatingwebhookconfigurations], operations: [DELETE]}]}`, "",
			"spec.matchConstraints.resourceRules: the API server asks no webhook about validatingwebhookconfigurations.admissionregistration.k8s.io; leave them away, or leave the policy to the API server"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			policy, _, err := vap.Convert(pair(t, tt.policy, tt.binding))
			if policy != nil || err == nil {
				t.Fatalf("have %v, %v", policy, err)
			}
			refused := (*vap.RefusedError)(nil)
			if !errors.As(err, &refused) {
				t.Fatalf("%T is no *RefusedError: %v", err, err)
			}
			if got := refused.Field + ": " + refused.Problem; got != tt.want {
				t.Errorf("have %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestWhatNarrowsIsKept(t *testing.T) {
	tests := []struct {
		name, policy, binding string
		want                  string // of the spec, without what all have
	}{
		{"both namespace selectors", "matchConstraints: {resourceRules: [" + onPods + "], namespaceSelector: {matchLabels: {env: prod, a: b}}}",
			"matchResources: {namespaceSelector: {matchLabels: {env: test, c: d}, matchExpressions: [{key: x, operator: Exists}]}}", `
namespaceSelector:
  matchLabels: {env: prod, a: b, c: d}
  matchExpressions: [{key: env, operator: In, values: [test]}, {key: x, operator: Exists}]`},
		{"both object selectors", "matchConstraints: {resourceRules: [" + onPods + "], objectSelector: {matchLabels: {a: b}}}",
			"matchResources: {objectSelector: {matchExpressions: [{key: x, operator: DoesNotExist}]}}", `
objectSelector: {matchLabels: {a: b}}
cel:
  matchConditions:
  - name: warder.dev/match
    expression: ((object != null && has(object.metadata) && !(has(object.metadata.labels) && "x" in object.metadata.labels)) ||
      (oldObject != null && has(oldObject.metadata) && !(has(oldObject.metadata.labels) && "x" in oldObject.metadata.labels)))`},
		{"the binding's object selector", "", "matchResources: {objectSelector: {matchLabels: {a: b}}}", "objectSelector: {matchLabels: {a: b}}"},
		{"names", `matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE], resourceNames: [a, "ü\""]}]}`, "", `
cel: {matchConditions: [{name: warder.dev/match, expression: '(has(request.name) && request.name in ["a", "\u00fc\""])'}]}`},
		{"rules of both", "matchConstraints: {matchPolicy: Exact, resourceRules: [" + onScales + "]}",
			`matchResources: {matchPolicy: Exact, resourceRules: [{apiGroups: ["*"], apiVersions: [v1], resources: ["deployments/*"], operations: [CREATE, UPDATE], scope: "*"}]}`, `
matchPolicy: Exact
rules: [{apiGroups: [apps], apiVersions: [v1], resources: [deployments/scale], operations: [UPDATE], scope: Namespaced}]`},
		{"audit alone", "failurePolicy: Ignore", "validationActions: [Audit]", "{mode: monitor, failurePolicy: Ignore}"},
		{"a condition of that name", `
matchConditions: [{name: warder.dev/match, expression: mine}]
matchConstraints: {resourceRules: [` + onPods + `], excludeResourceRules: [{apiGroups: [""], apiVersions: ["*"], resources: [events, nodes], operations: ["*"], scope: Cluster}]}`, "", `
cel:
  matchConditions:
  - name: warder.dev/match
    expression: "!((request.resource.group in [\"\"] || request.resource.group == \"events.k8s.io\" && request.resource.resource == \"events\") && ((request.resource.resource == \"events\" && (!has(request.subResource) || request.subResource == \"\")) || (request.resource.resource == \"nodes\" && (!has(request.subResource) || request.subResource == \"\"))) && !(has(request.namespace) && request.namespace != \"\" && !(request.resource.group == \"\" && request.resource.version == \"v1\" && request.resource.resource == \"namespaces\"))) && (\nmine\n)"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			policy, _, err := vap.Convert(pair(t, tt.policy, tt.binding))
			if err != nil {
				t.Fatal(err)
			}
			fail, equivalent := admissionv1.Fail, admissionv1.Equivalent
			want := v1.ClusterAdmissionPolicySpec{}
			want.FailurePolicy, want.MatchPolicy, want.Mode, want.PolicyServer, want.BackgroundAudit = &fail, &equivalent, v1.Protect, "default", true
			want.CEL = &v1.CELSpec{}
			if err := yaml.UnmarshalStrict([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			if want.Rules == nil {
				want.Rules = []v1.Rule{{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}, Operations: []v1.Operation{"CREATE"}}}
			}
			if diff := cmp.Diff(asText(t, want), asText(t, policy.Spec)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func asText(t *testing.T, spec v1.ClusterAdmissionPolicySpec) string {
	t.Helper()
	text, err := yaml.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCELPolicyHasWhatItsSettingsCanHave(t *testing.T) {
	convert := func(policy, binding string) *v1.ClusterAdmissionPolicy {
		p, _, err := vap.Convert(pair(t, policy, binding))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	withParams := convert(`
paramKind: {apiVersion: v1, kind: ConfigMap}
validations: [{expression: 'namespaceObject.metadata.name == params.data.name'}]`, "paramRef: {name: a, parameterNotFoundAction: Deny}")
	module, err := vap.WithModule(withParams, "registry://x")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(module.Spec.ContextAwareResources); got != "[{v1 ConfigMap} {v1 Namespace}]" {
		t.Errorf("contextAwareResources: %s", got)
	}
	const settings = `{"validations":[{"expression":"namespaceObject.metadata.name == params.data.name"}],"failurePolicy":"Fail",` +
		`"paramKind":{"apiVersion":"v1","kind":"ConfigMap"},"paramRef":{"name":"a","parameterNotFoundAction":"Deny"}}`
	if got := string(module.Spec.Settings.Raw); got != settings || module.Spec.Module != "registry://x" || module.Spec.CEL != nil {
		t.Errorf("settings: %s of %q", got, module.Spec.Module)
	}
	for name, policy := range map[string]string{
		"auditAnnotations: cel-policy has none":                                "auditAnnotations: [{key: a, valueExpression: b}]",
		"matchConditions[1]: the match conditions of a webhook have no params": "matchConditions: [{name: a, expression: 'true'}, {name: b, expression: 'params.a'}]",
	} {
		if _, err := vap.WithModule(convert(policy, ""), "x"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %s", err, name)
		}
	}
}

// Whatever is read, nothing panics, and what is converted can go back.
func FuzzRead(f *testing.F) {
	for _, text := range []string{
		"", "---\n---\n", "kind: [a]", "{}", "a: &a [*a]",
		"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: p}\nspec: {matchConstraints: {resourceRules: [" + onPods + "]}}\n---\n" +
			"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: b}\nspec: {policyName: p, validationActions: [Deny], matchResources: {excludeResourceRules: [" + onScales + "]}}",
		"apiVersion: v1\nkind: List\nitems: [{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicyBinding}]",
		"apiVersion: policies.kubewarden.io/v1\nkind: AdmissionPolicy\nmetadata: {name: a, namespace: b}\nspec: {mutating: false, rules: []}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if policies, err := vap.ReadPolicies(text); err == nil && len(policies) == 0 {
			t.Error("there is no policy, and no error")
		}
		var objects vap.Objects
		if err := objects.Read(text); err != nil {
			return
		}
		pairs, err := objects.Pairs()
		if err != nil {
			return
		}
		for _, p := range pairs {
			policy, _, err := vap.Convert(p)
			if err != nil {
				continue
			}
			if _, ok := v1.View(policy); !ok || len(policy.Spec.Rules) == 0 || policy.Name == "" {
				t.Errorf("converted to %v", policy)
			}
			_, _ = vap.WithModule(policy, "x") // it may be refused
		}
	})
}

func TestWhatIsKeptInAnotherWayIsTold(t *testing.T) {
	const all = `{apiGroups: ["*"], apiVersions: ["*"], resources: ["*"], operations: ["*"]}`
	tests := []struct {
		name, policy, binding string
		want                  []string // parts of the warnings
	}{
		{"pods", "", "", []string{"does not judge the namespace that warder is in"}},
		{"everything", "matchConstraints: {resourceRules: [" + all + "]}", "", []string{
			"asks no webhook about webhook configurations", `does not judge ["certificate requests" "kinds" "leases" "nodes" "reviews" "self"] of everything`, "the namespace that warder is in"}},
		{"a warning", "", "validationActions: [Warn, Audit]", []string{"does not warn who asked", "not in the audit log", "the namespace that warder is in"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, warnings, err := vap.Convert(pair(t, tt.policy, tt.binding))
			if err != nil {
				t.Fatal(err)
			}
			if len(warnings) != len(tt.want) {
				t.Fatalf("have %q, want %d", warnings, len(tt.want))
			}
			for i, w := range warnings {
				if !strings.Contains(w, tt.want[i]) {
					t.Errorf("have %q\nwant %q", w, tt.want[i])
				}
			}
		})
	}
}
