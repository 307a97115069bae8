package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/sdk"
)

// ruleFor reads "group/version/resource,resource OP,OP"; the core group is "".
func ruleFor(text string) Rule {
	what, ops, _ := strings.Cut(text, " ")
	part := strings.SplitN(what, "/", 3)
	return Rule{
		APIGroups: []string{part[0]}, APIVersions: []string{part[1]},
		Resources: strings.Split(part[2], ","), Operations: strings.Split(ops, ","),
	}
}

func textOf(rules []Rule) string {
	var all []string
	for _, r := range rules {
		all = append(all, strings.Join(r.APIGroups, ",")+"/"+strings.Join(r.APIVersions, ",")+"/"+
			strings.Join(r.Resources, ",")+" "+strings.Join(r.Operations, ","))
	}
	return strings.Join(all, "; ")
}

const builtinExpansion = "apps/v1/deployments,replicasets,statefulsets,daemonsets CREATE,UPDATE; " +
	"batch/v1/jobs,cronjobs CREATE,UPDATE; /v1/replicationcontrollers CREATE,UPDATE"

func TestRulesForTheCreationOfPodsAreExpanded(t *testing.T) {
	custom := map[string]string{
		"rollouts.argoproj.io": "spec.template", "services.serving.knative.dev": "spec.template", "clonesets.apps.kruise.io": "spec.template",
		"analyses.argoproj.io": "spec.template",
	}
	tests := []struct {
		name      string
		rules     []string
		templates map[string]string
		want      string
	}{
		{"pods", []string{"/v1/pods CREATE"}, nil, builtinExpansion},
		{"pods, all operations", []string{"/v1/pods *"}, nil, builtinExpansion},
		{"any resource of the core group", []string{"/*/* CREATE"}, nil, builtinExpansion},
		{"everything", []string{"*/*/*/* CREATE,UPDATE"}, nil, builtinExpansion},
		{"pods and their subresources", []string{"/v1/pods/* CREATE"}, nil, builtinExpansion},
		{"one rule of several, once", []string{"apps/v1/deployments *", "/v1/pods CREATE", "/v1/services,pods *"}, nil, builtinExpansion},
		{"custom kinds, by group", []string{"/v1/pods CREATE"}, custom, builtinExpansion + "; apps.kruise.io/*/clonesets CREATE,UPDATE; " +
			"argoproj.io/*/analyses,rollouts CREATE,UPDATE; serving.knative.dev/*/services CREATE,UPDATE"},

		{"no rules", nil, custom, ""},
		{"update of pods", []string{"/v1/pods UPDATE"}, custom, ""},
		{"deletion of pods", []string{"/v1/pods DELETE"}, nil, ""},
		{"exec", []string{"/v1/pods/exec CONNECT", "/v1/pods/ephemeralcontainers UPDATE"}, nil, ""},
		{"creation of a subresource", []string{"/v1/pods/eviction CREATE"}, nil, ""},
		{"another version", []string{"/v2/pods CREATE"}, nil, ""},
		{"pods of another group", []string{"metrics.k8s.io/*/pods CREATE"}, nil, ""},
		{"workloads alone", []string{"apps/v1/deployments CREATE"}, nil, ""},
	}
	for _, tt := range tests {
		var rules []Rule
		for _, r := range tt.rules {
			rules = append(rules, ruleFor(r))
		}
		if diff := cmp.Diff(tt.want, textOf(ExpansionRules(rules, tt.templates))); diff != "" {
			t.Errorf("%s (-want +have):\n%s", tt.name, diff)
		}
		if len(rules) > 0 && textOf(rules) != strings.Join(tt.rules, "; ") {
			t.Errorf("%s: the policy's rules were changed to %s", tt.name, textOf(rules))
		}
	}
}

func TestExpandsWhatOwnRulesDoNotMatch(t *testing.T) {
	request := func(op sdk.Operation, group, version, resource, sub string) *sdk.Request {
		return &sdk.Request{Operation: op, Namespace: "shop", SubResource: sub,
			Resource: sdk.GroupVersionResource{Group: group, Version: version, Resource: resource}}
	}
	pods := Policy{Workloads: ExpandWorkloads, Rules: []Rule{ruleFor("/v1/pods CREATE")},
		WorkloadTemplates: map[string]string{"rollouts.argoproj.io": "spec.pod.template"}}
	with := func(rules ...string) Policy {
		p := pods
		p.Rules = nil
		for _, r := range rules {
			p.Rules = append(p.Rules, ruleFor(r))
		}
		return p
	}
	ignoring, silent := pods, pods
	ignoring.Workloads, silent.Workloads = IgnoreWorkloads, ""
	deployment := request("CREATE", "apps", "v1", "deployments", "")
	tests := []struct {
		name    string
		policy  Policy
		req     *sdk.Request
		expands string
		matches bool
	}{
		{"deployment", pods, deployment, "spec.template", true},
		{"deployment, update", pods, request("UPDATE", "apps", "v1", "deployments", ""), "spec.template", true},
		{"replica set", pods, request("UPDATE", "apps", "v1", "replicasets", ""), "spec.template", true},
		{"stateful set", pods, request("CREATE", "apps", "v1", "statefulsets", ""), "spec.template", true},
		{"daemon set", pods, request("CREATE", "apps", "v1", "daemonsets", ""), "spec.template", true},
		{"job", pods, request("CREATE", "batch", "v1", "jobs", ""), "spec.template", true},
		{"cron job", pods, request("CREATE", "batch", "v1", "cronjobs", ""), "spec.jobTemplate.spec.template", true},
		{"replication controller", pods, request("CREATE", "", "v1", "replicationcontrollers", ""), "spec.template", true},
		{"custom kind in any version", pods, request("UPDATE", "argoproj.io", "v1alpha1", "rollouts", ""), "spec.pod.template", true},
		{"rule for everything in the core group", with("/*/* CREATE"), deployment, "spec.template", true},

		{"pod", pods, request("CREATE", "", "v1", "pods", ""), "", true},
		{"deletion", pods, request("DELETE", "apps", "v1", "deployments", ""), "", false},
		{"connection", pods, request("CONNECT", "apps", "v1", "deployments", ""), "", false},
		{"scale", pods, request("UPDATE", "apps", "v1", "deployments", "scale"), "", false},
		{"status", pods, request("UPDATE", "apps", "v1", "deployments", "status"), "", false},
		{"scale of a custom kind", pods, request("UPDATE", "argoproj.io", "v1alpha1", "rollouts", "scale"), "", false},
		{"custom kind of another group", pods, request("CREATE", "example.org", "v1", "rollouts", ""), "", false},
		{"a version that there was", pods, request("CREATE", "apps", "v1beta1", "deployments", ""), "", false},
		{"no workload", pods, request("CREATE", "", "v1", "services", ""), "", false},
		{"ignored", ignoring, deployment, "", false},
		{"nothing said", silent, deployment, "", false},
		{"rules for the update of pods", with("/v1/pods UPDATE"), deployment, "", false},
		{"rules for no pods", with("/v1/services *"), deployment, "", false},
		{"no rules", with(), deployment, "", true},
		{"own rule", with("/v1/pods CREATE", "apps/v1/deployments CREATE"), deployment, "", true},
		{"own rule for everything", with("*/*/* *"), deployment, "", true},
		{"own rule for another operation", with("/v1/pods CREATE", "apps/v1/deployments DELETE"), deployment, "spec.template", true},
		{"raw", pods, &sdk.Request{Raw: []byte("1")}, "", true},
	}
	for _, tt := range tests {
		if have := strings.Join(tt.policy.Expands(tt.req), "."); have != tt.expands {
			t.Errorf("%s: Expands = %q, want %q", tt.name, have, tt.expands)
		}
		if have := tt.policy.Matches(tt.req); have != tt.matches {
			t.Errorf("%s: Matches = %t, want %t", tt.name, have, tt.matches)
		}
		// A webhook with the policy's own rules and those of the expansion gets
		// just what the policy judges.
		if tt.policy.Workloads == ExpandWorkloads && tt.policy.Rules != nil {
			webhook := Policy{Rules: append(tt.policy.Rules[:len(tt.policy.Rules):len(tt.policy.Rules)],
				ExpansionRules(tt.policy.Rules, tt.policy.WorkloadTemplates)...)}
			if have := webhook.Matches(tt.req); have != tt.matches {
				t.Errorf("%s: a webhook with the rules of the expansion matches: %t, want %t", tt.name, have, tt.matches)
			}
		}
	}
}

func TestExpandsKind(t *testing.T) {
	p := Policy{Workloads: ExpandWorkloads, WorkloadTemplates: map[string]string{"rollouts.argoproj.io": "spec.template"}}
	for kind, want := range map[string]bool{
		"apps/Deployment": true, "batch/CronJob": true, "/ReplicationController": true, "argoproj.io/Rollout": true,
		"apps/Job": false, "monitoring.coreos.com/Prometheus": false, "/Pod": false,
	} {
		group, name, _ := strings.Cut(kind, "/")
		if have := p.ExpandsKind(group, name); have != want {
			t.Errorf("ExpandsKind(%s) = %t, want %t", kind, have, want)
		}
		if (Policy{}).ExpandsKind(group, name) {
			t.Errorf("a policy that ignores workloads expands %s", kind)
		}
	}
}

func TestParseFileReadsWorkloads(t *testing.T) {
	const text = `
a:
  module: m
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
  workloads: Expand
  workloadTemplates: {rollouts.argoproj.io: spec.template, pytorchjobs.kubeflow.org: spec.pytorchReplicaSpecs.Worker.template}
b: {module: m, workloads: Ignore}
g:
  expression: x()
  message: m
  policies: {x: {module: m}}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: ["*"]}]
  workloads: Expand
n: {module: m, workloads: ~, workloadTemplates: ~}
`
	policies, warnings, err := ParseFile("p.yml", []byte(text))
	if err != nil || warnings != nil {
		t.Fatalf("error %v, warnings %v", err, warnings)
	}
	var have []Workloads
	for _, p := range policies {
		have = append(have, p.Workloads)
	}
	if diff := cmp.Diff([]Workloads{ExpandWorkloads, IgnoreWorkloads, ExpandWorkloads, ""}, have); diff != "" {
		t.Errorf("workloads (-want +have):\n%s", diff)
	}
	templates := map[string]string{"rollouts.argoproj.io": "spec.template", "pytorchjobs.kubeflow.org": "spec.pytorchReplicaSpecs.Worker.template"}
	if diff := cmp.Diff(templates, policies[0].WorkloadTemplates); diff != "" {
		t.Errorf("workloadTemplates (-want +have):\n%s", diff)
	}
}

func TestMistakesInWorkloadsAreReportedWhereTheyAre(t *testing.T) {
	const text = `a:
  module: m
  workloads: expand
  workloadTemplates:
    deployments.apps: spec.template
    rollouts: spec.template
    Rollouts.argoproj.io: spec.template
    x.example.org: ""
    y.example.org: .spec.template
    z.example.org: spec.list[0]
    ok.example.org: 5
b: {module: m, workloads: 1, workloadTemplates: [x]}
`
	const custom = `want the name of a custom resource definition, the plural in lower case and the group as in "rollouts.argoproj.io"`
	const names = `want the names that lead to the pod template, with dots between them as in "spec.template", have `
	want := []string{
		`3:14: a: workloads: want Ignore or Expand, have "expand"`,
		`5:23: a: workloadTemplates.deployments.apps: is a kind of Kubernetes, which is always expanded, at spec.template; leave it out`,
		`6:15: a: workloadTemplates.rollouts: ` + custom,
		`7:27: a: workloadTemplates.Rollouts.argoproj.io: ` + custom,
		`8:20: a: workloadTemplates.x.example.org: ` + names + `""`,
		`9:20: a: workloadTemplates.y.example.org: ` + names + `".spec.template"`,
		`10:20: a: workloadTemplates.z.example.org: ` + names + `"spec.list[0]"`,
		`11:21: a: workloadTemplates.ok.example.org: want a string, have 5; quote it`,
		`12:27: b: workloads: want a string, have 1; quote it`,
		`12:49: b: workloadTemplates: want an object, have a list`,
	}
	_, _, err := ParseFile("p.yml", []byte(text))
	if err == nil {
		t.Fatal("ParseFile accepts them")
	}
	if diff := cmp.Diff(want, strings.Split(strings.ReplaceAll(err.Error(), "p.yml:", ""), "\n")); diff != "" {
		t.Errorf("mistakes (-want +have):\n%s", diff)
	}
}

func TestParseFileWarnsOfWorkloadsToNoEffect(t *testing.T) {
	const text = `a: {module: m, workloads: Expand}
b: {module: m, workloads: Expand, rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [UPDATE]}]}
c: {module: m, workloadTemplates: {rollouts.argoproj.io: spec.template}}
d: {module: m, workload: Expand}
`
	_, warnings, err := ParseFile("p.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, w := range warnings {
		have = append(have, w.String())
	}
	want := []string{
		"p.yml:1:16: a: workloads: has no effect: a policy without rules judges workloads as they are; give it rules that name pods",
		"p.yml:2:16: b: workloads: has no effect: no rule names pods with the operation CREATE",
		"p.yml:3:16: c: workloadTemplates: has no effect without workloads: Expand",
		"p.yml:4:16: d: workload: unknown key, ignored; did you mean workloads?",
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("warnings (-want +have):\n%s", diff)
	}
}
