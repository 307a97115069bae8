package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	v1 "github.com/warder-dev/warder/api/v1"
)

// LabelSet is on everything that a policy set consists of: its name.
const LabelSet = "policies.warder.dev/set"

// Names of policy sets.
const (
	SetPodSecurityBaseline   = "pod-security-baseline"
	SetPodSecurityRestricted = "pod-security-restricted"
	SetBestPractices         = "best-practices"
	SetKubewardenDefaults    = "kubewarden-defaults"
)

// SetNames returns the names of all policy sets.
func SetNames() []string {
	return []string{SetPodSecurityBaseline, SetPodSecurityRestricted, SetBestPractices, SetKubewardenDefaults}
}

// CheckSets says which of the names is no policy set.
func CheckSets(names []string) error {
	var errs []error
	for _, name := range names {
		if !slices.Contains(SetNames(), name) {
			errs = append(errs, fmt.Errorf("there is no policy set %q; there are %s", name, strings.Join(SetNames(), ", ")))
		}
	}
	return errors.Join(errs...)
}

// PolicySets are the policies that an installation begins with.
type PolicySets struct {
	// Names of the sets; none installs none.
	Names []string
	// Mode of the policies. Default monitor: they refuse nothing, and let
	// requests through that could not be judged.
	Mode v1.Mode
	// SkipNamespaces are namespaces that they do not judge. Default
	// SkipNamespaces.
	SkipNamespaces []string
}

func (s PolicySets) validate() error {
	err := CheckSets(s.Names)
	if s.Mode != "" && s.Mode != v1.Monitor && s.Mode != v1.Protect {
		err = errors.Join(err, fmt.Errorf("mode of the policies: want %s or %s, have %q", v1.Monitor, v1.Protect, s.Mode))
	}
	return err
}

// setPolicy is one policy of a set. Its module is built in.
type setPolicy struct {
	name, module                           string
	title, description, category, severity string
	rules                                  []v1.Rule
	// workloads is whether rules about pods are for what makes pods, too. "" is
	// what the policy server says.
	workloads  v1.Workloads
	conditions []v1.MatchCondition
	context    []v1.ContextAwareResource
	mutating   bool
	settings   string // JSON; "" is none
}

// policiesOf are the policies of a set.
func policiesOf(set string) []setPolicy {
	switch set {
	case SetPodSecurityBaseline:
		return []setPolicy{podSecurity(set, "baseline", "Pods gain no known privileges over their node.")}
	case SetPodSecurityRestricted:
		return []setPolicy{podSecurity(set, "restricted", "Pods are hardened as Kubernetes recommends.")}
	case SetBestPractices:
		return bestPractices()
	case SetKubewardenDefaults:
		return kubewardenDefaults()
	}
	return nil
}

// podSecurity holds pods, and what makes pods, to one of the Pod Security
// Standards. It is one policy, so that a person reads all reasons at once, and
// its settings have the exceptions.
func podSecurity(name, level, description string) setPolicy {
	return setPolicy{
		name: name, module: "pod-security", category: "security", severity: "high",
		title: "Pod Security Standard " + level, description: description,
		rules:     []v1.Rule{setRule(ops("CREATE", "UPDATE"), "", "v1", "pods", "pods/ephemeralcontainers")},
		workloads: v1.Expand,
		settings:  `{"level":"` + level + `","version":"latest"}`,
	}
}

func ops(all ...v1.Operation) []v1.Operation { return all }

// setRule is one about resources of a version of a group.
func setRule(operations []v1.Operation, group, version string, resources ...string) v1.Rule {
	return v1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: resources, Operations: operations}
}

// objects are the policies of the sets, each set with what its policies may read.
// A set that is named twice is there once.
func (s PolicySets) objects() []v1.Object {
	var all []v1.Object
	for _, set := range SetNames() {
		if !slices.Contains(s.Names, set) {
			continue
		}
		if reader := setReader(set); reader != nil {
			all = append(all, reader)
		}
		for _, m := range policiesOf(set) {
			all = append(all, s.resource(set, m))
		}
	}
	return all
}

// resource is a policy of the set as one.
func (s PolicySets) resource(set string, m setPolicy) *v1.ClusterAdmissionPolicy {
	p := &v1.ClusterAdmissionPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: v1.GroupVersion().String(), Kind: string(v1.KindClusterAdmissionPolicy)},
		ObjectMeta: metav1.ObjectMeta{
			Name: m.name, Labels: setLabels(set), Finalizers: []string{v1.Finalizer},
			Annotations: map[string]string{
				v1.AnnotationTitle: m.title, v1.AnnotationCategory: m.category,
				v1.AnnotationSeverity: m.severity, v1.AnnotationDescription: m.description,
			},
		},
	}
	failure := admissionv1.Ignore
	p.Spec.PolicyServer, p.Spec.Mode, p.Spec.BackgroundAudit = "default", v1.Monitor, true
	if s.Mode == v1.Protect {
		p.Spec.Mode, failure = v1.Protect, admissionv1.Fail
	}
	p.Spec.Rules, p.Spec.FailurePolicy, p.Spec.MatchConditions = m.rules, &failure, m.conditions
	p.Spec.Module, p.Spec.Mutating, p.Spec.Workloads = "builtin://"+m.module, m.mutating, m.workloads
	p.Spec.ContextAwareResources = m.context
	if m.settings != "" {
		p.Spec.Settings = runtime.RawExtension{Raw: json.RawMessage(m.settings)}
	}
	skip := s.SkipNamespaces
	if skip == nil {
		skip = SkipNamespaces()
	}
	if len(skip) > 0 {
		p.Spec.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: skip},
		}}
	}
	return p
}

func setLabels(set string) map[string]string {
	labels := installLabels("policy")
	labels[LabelSet] = set
	return labels
}

// setReader lets policy servers read what the policies of the set ask for, nil if
// they ask for nothing.
func setReader(set string) *rbacv1.ClusterRole {
	resources := map[string][]string{} // by group
	for _, m := range policiesOf(set) {
		for _, c := range m.context {
			group, _, named := strings.Cut(c.APIVersion, "/")
			if !named {
				group = ""
			}
			resources[group] = append(resources[group], readable()[c.Kind])
		}
	}
	if len(resources) == 0 {
		return nil
	}
	var rules []rbacv1.PolicyRule
	for _, group := range slices.Sorted(maps.Keys(resources)) {
		slices.Sort(resources[group])
		rules = append(rules, grant(list(group), slices.Compact(resources[group]), list("get", "list", "watch")))
	}
	r := clusterRole("warder-set-"+set, "policy-server", rules)
	maps.Copy(r.Labels, map[string]string{RoleContextAggregation: "true", LabelSet: set})
	return r
}

// readable are the kinds that policies of sets read, and their resources.
func readable() map[string]string {
	return map[string]string{
		"Ingress": "ingresses", "NetworkPolicy": "networkpolicies", "PodDisruptionBudget": "poddisruptionbudgets",
	}
}
