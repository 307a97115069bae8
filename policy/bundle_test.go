package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	v1 "github.com/warder-dev/warder/api/v1"
)

// clusterPolicy is a policy about pods, changed by change.
func clusterPolicy(change ...func(*v1.ClusterAdmissionPolicy)) v1.Policy {
	p := &v1.ClusterAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	p.Spec.Module = "builtin://pod-privileged"
	p.Spec.Rules = []v1.Rule{about("", "v1", "pods")}
	for _, c := range change {
		c(p)
	}
	view, _ := v1.View(p)
	return view
}

func about(group, version string, resources ...string) v1.Rule {
	return v1.Rule{
		APIGroups: []string{group}, APIVersions: []string{version}, Resources: resources, Operations: []v1.Operation{"CREATE"},
	}
}

func rules(rules ...v1.Rule) func(*v1.ClusterAdmissionPolicy) {
	return func(p *v1.ClusterAdmissionPolicy) { p.Spec.Rules = rules }
}

func TestPoliciesShareABundleIfTheAPIServerCannotTellThemApart(t *testing.T) {
	ten, fail, ignore, none := int32(10), admissionv1.Fail, admissionv1.Ignore, admissionv1.SideEffectClassNone
	equivalent := admissionv1.Equivalent
	same := map[string]func(*v1.ClusterAdmissionPolicy){
		"other rules":      rules(about("apps", "v1", "deployments")),
		"said defaults":    func(p *v1.ClusterAdmissionPolicy) { p.Spec.FailurePolicy, p.Spec.TimeoutSeconds = &fail, &ten },
		"more defaults":    func(p *v1.ClusterAdmissionPolicy) { p.Spec.SideEffects, p.Spec.MatchPolicy = &none, &equivalent },
		"empty selector":   func(p *v1.ClusterAdmissionPolicy) { p.Spec.NamespaceSelector = &metav1.LabelSelector{} },
		"other module":     func(p *v1.ClusterAdmissionPolicy) { p.Spec.Module = "registry://x/y:v1" },
		"other name, mode": func(p *v1.ClusterAdmissionPolicy) { p.Name, p.Spec.Mode = "q", v1.Monitor },
	}
	for name, change := range same {
		if got, want := BundleOf(clusterPolicy(change)), BundleOf(clusterPolicy()); got != want {
			t.Errorf("%s: bundle %q, want %q", name, got, want)
		}
	}
	selector := func(values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: metav1.LabelSelectorOpIn, Values: values}}}
	}
	other := map[string]func(*v1.ClusterAdmissionPolicy){
		"failure policy":     func(p *v1.ClusterAdmissionPolicy) { p.Spec.FailurePolicy = &ignore },
		"namespace selector": func(p *v1.ClusterAdmissionPolicy) { p.Spec.NamespaceSelector = selector("x") },
		"object selector":    func(p *v1.ClusterAdmissionPolicy) { p.Spec.ObjectSelector = selector("x") },
		"own namespace":      func(p *v1.ClusterAdmissionPolicy) { p.Spec.AllowInsideAdmissionControllerNamespace = true },
		"mutating":           func(p *v1.ClusterAdmissionPolicy) { p.Spec.Mutating = true },
		"match condition": func(p *v1.ClusterAdmissionPolicy) {
			p.Spec.MatchConditions = []v1.MatchCondition{{Name: "a", Expression: "true"}}
		},
		"version":              rules(about("autoscaling", "v2", "horizontalpodautoscalers")),
		"both versions":        rules(about("autoscaling", "v2", "*"), about("autoscaling", "v1", "*")),
		"everything":           rules(about("*", "v1", "*")), // but what a cluster lives on
		"a version of all":     rules(about("*", "v1beta1", "*")),
		"all versions of apps": rules(about("apps", "*", "deployments")),
	}
	seen := map[string]string{BundleOf(clusterPolicy()): "none"}
	for name, change := range other {
		b := BundleOf(clusterPolicy(change))
		if before, ok := seen[b]; ok {
			t.Errorf("%s: the same bundle as %s: %q", name, before, b)
		}
		seen[b] = name
		if Mutates(b) != (name == "mutating") {
			t.Errorf("%s: bundle %q says that it mutates: %t", name, b, Mutates(b))
		}
	}
	reordered := func(values ...string) v1.Policy {
		return clusterPolicy(func(p *v1.ClusterAdmissionPolicy) { p.Spec.ObjectSelector = selector(values...) })
	}
	if BundleOf(reordered("x", "y")) != BundleOf(reordered("y", "x")) {
		t.Error("the order of a selector's values makes another bundle")
	}
}

// A rule for v1 of a resource in the bundle of one for v1beta1 would never see
// requests for v1beta1: the API server converts nothing that is asked for.
func TestWhoAsksForTwoVersionsOfAResourceIsNotWithWhoAsksForOne(t *testing.T) {
	one := clusterPolicy(rules(about("apps", "v1beta1", "deployments"), about("batch", "v1", "jobs")))
	two := clusterPolicy(rules(about("apps", "v1beta1", "deployments"), about("apps", "v1", "deployments")))
	if BundleOf(one) == BundleOf(two) {
		t.Error("they share a bundle")
	}
}

func TestPolicyOfAResource(t *testing.T) {
	five, cluster := int32(5), admissionv1.ClusterScope
	ap := &v1.AdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}}
	ap.Spec.Module, ap.Spec.Message, ap.Spec.Order = "ghcr.io/x/y:v1", "no", 3
	ap.Spec.Settings = runtime.RawExtension{Raw: []byte(`{"a":1.0}`)}
	ap.Spec.TimeoutEvalSeconds = &five
	ap.Spec.Rules = []v1.Rule{about("", "v1", "pods")}
	ap.Spec.Rules[0].Scope = &cluster
	view, _ := v1.View(ap)
	got, err := FromResource(view, v1.PolicyServerSpec{NamespacedPoliciesCapabilities: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	want := Policy{
		ID: "kw.ap.shop.p", Namespace: "shop", Module: "registry://ghcr.io/x/y:v1", Settings: []byte(`{"a":1.0}`),
		Mode: Protect, FailurePolicy: Fail, Message: "no", Order: 3, Timeout: 5 * time.Second, HostCapabilities: []string{},
		Rules: []Rule{{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}, Operations: []string{"CREATE"}, Scope: Namespaced}},
	}
	got.Bundles, got.Workloads, got.Aliases = nil, "", nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("policy (-want +have):\n%s", diff)
	}
	if p, err := FromResource(view, v1.PolicyServerSpec{}); err != nil || !cmp.Equal(p.HostCapabilities, []string{"*"}) {
		t.Errorf("capabilities = %q, %v, want everything where nothing is said", p.HostCapabilities, err)
	}
	ap.Spec.Settings.Raw = []byte(`[]`)
	if _, err := FromResource(view, v1.PolicyServerSpec{}); err == nil || !strings.Contains(err.Error(), `policy "kw.ap.shop.p": settings: want an object`) {
		t.Errorf("error = %v, want one about the settings", err)
	}
}

func TestWhatTheAPIServerEnforcesIsInNoBundle(t *testing.T) {
	at := func(who v1.EnforceAt) []string {
		p, err := FromResource(clusterPolicy(func(p *v1.ClusterAdmissionPolicy) {
			p.Spec.Module, p.Spec.EnforceAt = "", who
			p.Spec.CEL = &v1.CELSpec{Validations: []admissionv1.Validation{{Expression: "true"}}}
		}), v1.PolicyServerSpec{})
		if err != nil {
			t.Fatal(err)
		}
		return p.Bundles
	}
	if got := at(v1.AtAPIServer); len(got) > 0 {
		t.Errorf("bundles %q, want none: others would be judged by it", got)
	}
	if got := at(v1.AtWebhook); len(got) != 1 {
		t.Errorf("bundles %q, want one", got)
	}
}
