package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// with is a policy: text and more, one field of the spec each, "-FIELD" leaving
// one out.
func with(kind, metadata, base string, more ...string) string {
	fields := strings.Split(base, "\n")
	for _, m := range more {
		name, _, _ := strings.Cut(strings.TrimPrefix(m, "-"), ":")
		for i, f := range fields {
			if strings.HasPrefix(f, name+":") {
				fields = append(fields[:i], fields[i+1:]...)
				break
			}
		}
		if !strings.HasPrefix(m, "-") {
			fields = append(fields, m)
		}
	}
	return "apiVersion: policies.kubewarden.io/v1\nkind: " + kind + "\nmetadata: " + metadata + "\nspec:\n  " + strings.Join(fields, "\n  ")
}

const rulesOfPods = `rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]`

func clusterPolicy(more ...string) string {
	return with("ClusterAdmissionPolicy", "{name: p}", "module: registry://ghcr.io/x/y:v1\nmutating: false\n"+rulesOfPods, more...)
}

func namespacedPolicy(more ...string) string {
	return with("AdmissionPolicy", "{name: p, namespace: web}", "module: registry://ghcr.io/x/y:v1\nmutating: false\n"+rulesOfPods, more...)
}

func group(more ...string) string {
	return with("ClusterAdmissionPolicyGroup", "{name: p}", "expression: a()\nmessage: never\npolicies: {a: {module: builtin://x}}\n"+rulesOfPods, more...)
}

func namespacedGroup(more ...string) string {
	return with("AdmissionPolicyGroup", "{name: p, namespace: web}", "expression: a()\nmessage: never\npolicies: {a: {module: builtin://x}}\n"+rulesOfPods, more...)
}

func rulesWith(rule string) string { return "rules: [{" + rule + "}]" }

// pods is a rule, with other lists in the place of its own.
func pods(more ...string) string {
	lists := map[string]string{"apiGroups": `[""]`, "apiVersions": "[v1]", "resources": "[pods]", "operations": "[CREATE]"}
	for _, m := range more {
		name, list, _ := strings.Cut(m, ": ")
		lists[name] = list
	}
	var fields []string
	for _, name := range []string{"apiGroups", "apiVersions", "resources", "operations", "scope"} {
		if list, ok := lists[name]; ok && list != "none" {
			fields = append(fields, name+": "+list)
		}
	}
	return rulesWith(strings.Join(fields, ", "))
}

// policyCase is an object that the API server takes or not; why not is in
// testdata/crds-policies.txt.
type policyCase struct {
	name, object, old string
	taken             bool
}

func policyCases() []policyCase {
	long := strings.Repeat("x", 64)
	members := func(member string) string { return "policies: {a: {module: builtin://x, " + member + "}}" }
	return []policyCase{
		{"a cluster policy", clusterPolicy(), "", true},
		{"a policy", namespacedPolicy(), "", true},
		{"a cluster group", group(), "", true},
		{"a group", namespacedGroup(), "", true},
		{"everything said", clusterPolicy("policyServer: other", "mode: monitor", "settings: {a: [1, null, {b: c}]}", "failurePolicy: Ignore",
			"backgroundAudit: false", "matchPolicy: Exact", "matchConditions: [{name: a.example.com/x, expression: 'true'}]", "objectSelector: {matchLabels: {a: b}}",
			"sideEffects: NoneOnDryRun", "timeoutSeconds: 30", "timeoutEvalSeconds: 30", "message: never", "namespaceSelector: {matchLabels: {a: b}}",
			"contextAwareResources: [{apiVersion: v1, kind: Pod}]", "allowInsideAdmissionControllerNamespace: true", "workloads: Expand", "order: -3",
			pods(`apiGroups: ["*"]`, `apiVersions: ["*"]`, `resources: ["*/*"]`, `operations: ["*"]`, "scope: Cluster")), "", true},
		{"settings are null", clusterPolicy("settings: null"), "", true},
		{"settings are a list", clusterPolicy("settings: [a]"), "", false},
		{"settings are text", clusterPolicy("settings: a"), "", false},

		{"no module", clusterPolicy("-module"), "", false},
		{"an empty module", clusterPolicy(`module: ""`), "", false},
		{"mutating is not said", clusterPolicy("-mutating"), "", false},
		{"no such mode", clusterPolicy("mode: audit"), "", false},
		{"no such failure policy", clusterPolicy("failurePolicy: Allow"), "", false},
		{"no such match policy", clusterPolicy("matchPolicy: Same"), "", false},
		{"no such side effects", clusterPolicy("sideEffects: Many"), "", false},
		{"no such workloads", clusterPolicy("workloads: Always"), "", false},
		{"a policy reads nothing of the cluster", clusterPolicy("contextAwareResources: [{apiVersion: v1}]"), "", false},

		{"no rules", clusterPolicy("-rules"), "", false},
		{"an empty list of rules", clusterPolicy("rules: []"), "", false},
		{"no operations", clusterPolicy(pods("operations: none")), "", false},
		{"an empty list of operations", clusterPolicy(pods("operations: []")), "", false},
		{"an empty operation", clusterPolicy(pods(`operations: [""]`)), "", false},
		{"no such operation", clusterPolicy(pods("operations: [create]")), "", false},
		{"no versions", clusterPolicy(pods("apiVersions: none")), "", false},
		{"an empty list of versions", clusterPolicy(pods("apiVersions: []")), "", false},
		{"an empty version", clusterPolicy(pods(`apiVersions: [""]`)), "", false},
		{"no resources", clusterPolicy(pods("resources: none")), "", false},
		{"an empty list of resources", clusterPolicy(pods("resources: []")), "", false},
		{"an empty resource", clusterPolicy(pods(`resources: [pods, ""]`)), "", false},
		{"no groups", clusterPolicy(pods("apiGroups: none")), "", false},
		{"no such scope", clusterPolicy(pods("scope: Everywhere")), "", false},

		{"wildcards in a policy", namespacedPolicy(pods(`apiGroups: ["*"]`, `resources: ["*"]`)), "", false},
		{"double wildcards in a policy", namespacedPolicy(pods(`apiGroups: ["*"]`, `resources: ["*/*"]`)), "", false},
		{"wildcards in a group", namespacedGroup(pods(`apiGroups: ["*"]`, `resources: ["*"]`)), "", false},
		{"wildcards in a cluster policy", clusterPolicy(pods(`apiGroups: ["*"]`, `resources: ["*"]`)), "", true},
		{"wildcards in a cluster group", group(pods(`apiGroups: ["*"]`, `resources: ["*/*"]`)), "", true},
		{"all resources of a group", namespacedPolicy(pods("apiGroups: [apps]", `resources: ["*"]`)), "", true},
		{"a resource of all groups", namespacedPolicy(pods(`apiGroups: ["*"]`)), "", true},
		{"all versions are no wildcard", namespacedPolicy(pods(`apiVersions: ["*"]`, `resources: ["*"]`)), "", true},
		{"reports in a policy", namespacedPolicy(pods("apiGroups: [wgpolicyk8s.io]", "resources: [policyreports]")), "", false},
		{"subresources of reports in a policy", namespacedPolicy(pods("apiGroups: [wgpolicyk8s.io]", "resources: [policyreports/status]")), "", false},
		{"all of the group of reports", namespacedGroup(pods("apiGroups: [apps, wgpolicyk8s.io]", `resources: ["*"]`)), "", false},
		{"open reports in a policy", namespacedPolicy(pods("apiGroups: [openreports.io]", "resources: [reports]")), "", false},
		{"open reports in a group", namespacedGroup(pods("apiGroups: [openreports.io]", `resources: ["*/*"]`)), "", false},
		{"reports in a cluster policy", clusterPolicy(pods("apiGroups: [wgpolicyk8s.io]", "resources: [policyreports]")), "", true},

		{"a timeout of one second", clusterPolicy("timeoutSeconds: 1"), "", false},
		{"a timeout of 31 seconds", clusterPolicy("timeoutSeconds: 31"), "", false},
		{"an evaluation of one second", clusterPolicy("timeoutEvalSeconds: 1"), "", false},
		{"an evaluation of 31 seconds", clusterPolicy("timeoutSeconds: 30", "timeoutEvalSeconds: 31"), "", false},
		{"an evaluation as long as the default timeout", clusterPolicy("timeoutEvalSeconds: 10"), "", true},
		{"an evaluation longer than the default timeout", clusterPolicy("timeoutEvalSeconds: 11"), "", false},
		{"an evaluation longer than the timeout", namespacedPolicy("timeoutSeconds: 4", "timeoutEvalSeconds: 5"), "", false},

		{"64 conditions", clusterPolicy("matchConditions: [" + conditions(64) + "]"), "", true},
		{"65 conditions", clusterPolicy("matchConditions: [" + conditions(65) + "]"), "", false},
		{"a condition without a name", clusterPolicy("matchConditions: [{name: '', expression: 'true'}]"), "", false},
		{"a condition with a bad name", clusterPolicy("matchConditions: [{name: 'a b', expression: 'true'}]"), "", false},
		{"a condition without an expression", clusterPolicy("matchConditions: [{name: a, expression: ''}]"), "", false},
		{"two conditions of one name", clusterPolicy("matchConditions: [{name: a, expression: 'true'}, {name: a, expression: 'false'}]"), "", false},

		{"a long policy server", clusterPolicy("policyServer: " + long), "", false},
		{"another policy server", clusterPolicy("policyServer: b"), clusterPolicy("policyServer: a"), false},
		{"another policy server than the default", group("policyServer: b"), group(), false},
		{"the default policy server, said", namespacedPolicy("policyServer: default"), namespacedPolicy(), true},
		{"monitor becomes protect", clusterPolicy("mode: protect"), clusterPolicy("mode: monitor"), true},
		{"protect becomes monitor", clusterPolicy("mode: monitor"), clusterPolicy("mode: protect"), false},
		{"protect, the default, becomes monitor", namespacedGroup("mode: monitor"), namespacedGroup(), false},
		{"mutating changes", clusterPolicy("mutating: true"), clusterPolicy(), true},
		{"the module changes", clusterPolicy("module: builtin://y"), clusterPolicy(), true},

		{"no members", group("policies: {}"), "", false},
		{"members are missing", namespacedGroup("-policies"), "", false},
		{"a member without a module", group("policies: {a: {settings: {}}}"), "", false},
		{"a member with a dash", group("policies: {a-b: {module: builtin://x}}"), "", false},
		{"a member that begins with a digit", namespacedGroup("policies: {1a: {module: builtin://x}}"), "", false},
		{"a member with a reserved name", group("policies: {while: {module: builtin://x}}"), "", false},
		{"a member called true", namespacedGroup("policies: {'true': {module: builtin://x}}"), "", false},
		{"members with good names", group("policies: {_a: {module: builtin://x}, B2: {module: builtin://x}, inn: {module: builtin://x}}"), "", true},
		{"no expression", group("-expression"), "", false},
		{"an empty expression", namespacedGroup("expression: ''"), "", false},
		{"no message", group("-message"), "", false},
		{"an empty message", group("message: ''"), "", false},
		{"a member longer than its group", group(members("timeoutEvalSeconds: 11")), "", false},
		{"a member longer than any group", namespacedGroup(members("timeoutEvalSeconds: 31"), "timeoutSeconds: 30"), "", false},
		{"a member of a cluster group reads the cluster", group(members("contextAwareResources: [{apiVersion: v1, kind: Pod}]")), "", true},
	}
}

func conditions(n int) string {
	var all []string
	for i := range n {
		all = append(all, "{name: c"+strconv.Itoa(i)+", expression: 'true'}")
	}
	return strings.Join(all, ", ")
}

func TestPolicySchemas(t *testing.T) {
	kinds := kindsOf(t)
	var report strings.Builder
	for _, tt := range policyCases() {
		kinds["v1 "+strings.Fields(tt.object)[3]].check(t, tt, &report)
	}
	golden(t, "crds-policies.txt", []byte(report.String()))
}

// TestDefaultsOfPolicies: what the API server fills in.
func TestDefaultsOfPolicies(t *testing.T) {
	kinds := kindsOf(t)
	for _, text := range []string{clusterPolicy(), namespacedPolicy(), group(), namespacedGroup()} {
		object, _ := kinds["v1 "+strings.Fields(text)[3]].read(t, text)
		spec := object["spec"].(map[string]any)
		if spec["policyServer"] != "default" || spec["mode"] != "protect" || spec["backgroundAudit"] != true || fmt.Sprint(spec["timeoutSeconds"]) != "10" {
			t.Errorf("%s: defaults: %v", text, spec)
		}
		for _, unset := range []string{"failurePolicy", "matchPolicy", "sideEffects", "workloads", "order", "timeoutEvalSeconds"} {
			if _, ok := spec[unset]; ok {
				t.Errorf("%s: %s has a default: %v", text, unset, spec[unset])
			}
		}
	}
}

// TestUnknownFieldsArePruned: of v1, and what v1alpha2 does not know.
func TestUnknownFieldsArePruned(t *testing.T) {
	kinds := kindsOf(t)
	text := clusterPolicy("surprise: 1", "message: m", "timeoutEvalSeconds: 3", "backgroundAudit: false", "matchConditions: []", "contextAwareResources: []",
		"settings: {kept: {as: [it, is]}}")
	for version, want := range map[string][]string{
		"v1":       {"spec.surprise"},
		"v1alpha2": {"spec.backgroundAudit", "spec.contextAwareResources", "spec.matchConditions", "spec.message", "spec.surprise", "spec.timeoutEvalSeconds"},
	} {
		_, pruned := kinds[version+" ClusterAdmissionPolicy"].read(t, text)
		slices.Sort(pruned)
		if diff := cmp.Diff(want, pruned); diff != "" {
			t.Errorf("%s (-want +got):\n%s", version, diff)
		}
	}
	for _, text := range []string{namespacedPolicy("contextAwareResources: []"), namespacedPolicy("namespaceSelector: {}"),
		namespacedPolicy("allowInsideAdmissionControllerNamespace: true"), group("mutating: true"), group("settings: {}"),
		namespacedGroup("policies: {a: {module: x, contextAwareResources: []}}")} {
		if _, pruned := kinds["v1 "+strings.Fields(text)[3]].read(t, text); len(pruned) != 1 {
			t.Errorf("%s: pruned: %v", text, pruned)
		}
	}
}

func policyServer(name string, more ...string) string {
	return with("PolicyServer", "{name: "+name+"}", "image: x\nreplicas: 1", more...)
}

func TestPolicyServerSchema(t *testing.T) {
	kinds := kindsOf(t)
	var report strings.Builder
	for _, tt := range []policyCase{
		{"a policy server", policyServer("default"), "", true},
		{"nothing said", policyServer("default", "-image", "-replicas", "webhookPort: 9443"), "", true},
		{"everything said", policyServer("default", strings.Split(strings.ReplaceAll(strings.TrimSpace(strings.Replace(everything,
			"env:\n- {name: KUBEWARDEN_LOG_LEVEL, value: debug}\n- {name: HTTPS_PROXY, value: \"http://proxy:3128\"}\n", "", 1)),
			"securityContexts:\n  container: {runAsUser: 1000}\n  pod: {fsGroup: 1000}\n", ""), "\n")...), "", true},
		{"fewer than no replicas", policyServer("default", "replicas: -1"), "", false},
		{"both budgets", policyServer("default", "minAvailable: 1", "maxUnavailable: 50%"), "", false},
		{"a budget of percents", policyServer("default", "minAvailable: 50%"), "", true},
		{"a budget of something else", policyServer("default", "minAvailable: [1]"), "", false},
		{"equal ports", policyServer("default", "readinessProbePort: 9443", "webhookPort: 9443"), "", false},
		{"the default of the other port", policyServer("default", "readinessProbePort: 8443"), "", false},
		{"the default of the first port", policyServer("default", "webhookPort: 8081"), "", false},
		{"port 0", policyServer("default", "webhookPort: 0"), "", false},
		{"port 65536", policyServer("default", "metricsPort: 65536"), "", false},
		{"no such webhooks", policyServer("default", "webhooks: Some"), "", false},
		{"a name of 63 characters", policyServer(strings.Repeat("n", 63)), "", true},
		{"a name of 64 characters", policyServer(strings.Repeat("n", 64)), "", false},
		{"no capabilities", policyServer("default", "namespacedPoliciesCapabilities: []"), "", true},
	} {
		kinds["v1 PolicyServer"].check(t, tt, &report)
	}
	golden(t, "crds-policyservers.txt", []byte(report.String()))

	// An empty list is nothing, and unset is everything: neither may become the
	// other.
	object, _ := kinds["v1 PolicyServer"].read(t, policyServer("default", "namespacedPoliciesCapabilities: []"))
	if list, ok := object["spec"].(map[string]any)["namespacedPoliciesCapabilities"].([]any); !ok || len(list) != 0 {
		t.Errorf("an empty list of capabilities becomes %v", object["spec"])
	}
}
