package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Workloads says whether a policy for pods also judges the pods that workloads
// would create, when these are sent and not when their pods fail to appear.
type Workloads string

// IgnoreWorkloads, the default, leaves workloads to the rules that name them.
// ExpandWorkloads judges the pod in each of them, see ExpansionRules.
const (
	IgnoreWorkloads Workloads = "Ignore"
	ExpandWorkloads Workloads = "Expand"
)

// builtinWorkloads are the kinds of Kubernetes that make pods. Where their
// template is, sdk.PodTemplatePath says.
func builtinWorkloads() []workload {
	return []workload{
		{"apps", "deployments", "Deployment"},
		{"apps", "replicasets", "ReplicaSet"},
		{"apps", "statefulsets", "StatefulSet"},
		{"apps", "daemonsets", "DaemonSet"},
		{"batch", "jobs", "Job"},
		{"batch", "cronjobs", "CronJob"},
		{"", "replicationcontrollers", "ReplicationController"},
	}
}

// builtinVersion is the one version that all of them have.
const builtinVersion = "v1"

type workload struct{ group, resource, kind string }

// template returns the names that lead to the pod template.
func (w workload) template() []string {
	way := sdk.PodTemplatePath(w.kind)
	return way[: len(way)-1 : len(way)-1] // without the template's spec
}

// ExpansionRules returns the rules that a webhook needs beside a policy's own so
// that it also gets the workloads that the policy expands: none unless one of
// the rules names the creation of pods. Templates are a policy's
// WorkloadTemplates.
//
// A changed workload makes new pods, so that all are matched with CREATE and
// UPDATE. A rule for the update of pods alone needs nothing: no template
// changes a pod that is there. The order is always the same.
func ExpansionRules(rules []Rule, templates map[string]string) []Rule {
	i := slices.IndexFunc(rules, Rule.createsPods)
	if i < 0 {
		return nil
	}
	var all []Rule
	add := func(group, version, resource string) {
		if last := len(all) - 1; last >= 0 && all[last].APIGroups[0] == group {
			all[last].Resources = append(all[last].Resources, resource)
			return
		}
		r := rules[i] // what else a rule says goes for workloads as for pods
		r.APIGroups, r.APIVersions, r.Resources = []string{group}, []string{version}, []string{resource}
		r.Operations = []string{string(sdk.Create), string(sdk.Update)}
		all = append(all, r)
	}
	for _, w := range builtinWorkloads() {
		add(w.group, builtinVersion, w.resource)
	}
	byGroup := func(a, b string) int {
		resourceA, groupA, _ := strings.Cut(a, ".")
		resourceB, groupB, _ := strings.Cut(b, ".")
		return cmp.Or(strings.Compare(groupA, groupB), strings.Compare(resourceA, resourceB))
	}
	for _, key := range slices.SortedFunc(maps.Keys(templates), byGroup) {
		resource, group, _ := strings.Cut(key, ".")
		add(group, "*", resource)
	}
	return all
}

// createsPods reports whether the rule matches the creation of a pod.
func (r Rule) createsPods() bool {
	return r.matches(&sdk.Request{
		Operation: sdk.Create, Namespace: "any",
		Resource: sdk.GroupVersionResource{Version: builtinVersion, Resource: "pods"},
	})
}

// Expands returns the names that lead to the pod template in the object of a
// request that the policy judges by the pod that it would create; nil when it
// judges the object itself or nothing. What its own rules match it sees as it is.
func (p Policy) Expands(req *sdk.Request) []string {
	way := p.expands(req)
	if way == nil || req.Raw != nil || slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.matches(req) }) {
		return nil
	}
	return way
}

// expands is Expands where no rule of the policy's own matches.
func (p Policy) expands(req *sdk.Request) []string {
	if p.Workloads != ExpandWorkloads || req.SubResource != "" || req.Operation != sdk.Create && req.Operation != sdk.Update {
		return nil
	}
	way := p.templateOf(req.Resource)
	if way == nil || !slices.ContainsFunc(p.Rules, Rule.createsPods) {
		return nil
	}
	return way
}

func (p Policy) templateOf(r sdk.GroupVersionResource) []string {
	for _, w := range builtinWorkloads() {
		if w.group == r.Group && w.resource == r.Resource && r.Version == builtinVersion {
			return w.template()
		}
	}
	if path, ok := p.WorkloadTemplates[r.Resource+"."+r.Group]; ok {
		return strings.Split(path, ".")
	}
	return nil
}

// ExpandsKind reports whether the policy expands objects of the kind. Of a kind
// that is not of Kubernetes it takes the group for it: WorkloadTemplates has no
// kinds.
func (p Policy) ExpandsKind(group, kind string) bool {
	if p.Workloads != ExpandWorkloads {
		return false
	}
	if slices.ContainsFunc(builtinWorkloads(), func(w workload) bool { return w.group == group && w.kind == kind }) {
		return true
	}
	for key := range p.WorkloadTemplates {
		if _, of, _ := strings.Cut(key, "."); of == group {
			return true
		}
	}
	return false
}

// workloads checks Workloads and WorkloadTemplates.
func (v *validator) workloads(p Policy) {
	switch p.Workloads {
	case "", IgnoreWorkloads, ExpandWorkloads:
	default:
		v.fail("workloads", "want Ignore or Expand, have %q", p.Workloads)
	}
	for _, key := range slices.Sorted(maps.Keys(p.WorkloadTemplates)) {
		path := workloadTemplatesKey + "." + key
		if problem := workloadName(key); problem != "" {
			v.fail(path, "%s", problem)
			continue
		}
		for _, name := range strings.Split(p.WorkloadTemplates[key], ".") {
			if !isIdentifier(name) {
				v.fail(path, "want the names that lead to the pod template, with dots between them as in \"spec.template\", have %q",
					p.WorkloadTemplates[key])
				break
			}
		}
	}
}

// workloadTemplatesKey is the key in policies.yml.
const workloadTemplatesKey = "workloadTemplates"

// workloadName says what is wrong with a key of WorkloadTemplates, "" if nothing.
func workloadName(key string) string {
	resource, group, _ := strings.Cut(key, ".")
	labels := strings.Split(key, ".")
	if group == "" || slices.ContainsFunc(labels, func(l string) bool { return !isLabel(l) }) {
		return "want the name of a custom resource definition, the plural in lower case and the group as in \"rollouts.argoproj.io\""
	}
	for _, w := range builtinWorkloads() {
		if w.group == group && w.resource == resource {
			return "is a kind of Kubernetes, which is always expanded, at " + strings.Join(w.template(), ".") + "; leave it out"
		}
	}
	return ""
}

// isLabel reports whether s is one element of a DNS name in lower case.
func isLabel(s string) bool {
	for _, c := range s {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != "" && s[0] != '-' && s[len(s)-1] != '-'
}
