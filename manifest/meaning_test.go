package manifest_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
	corelisters "k8s.io/client-go/listers/core/v1"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
	"github.com/warder-dev/warder/vap"
)

// pairsWanted is how many pairs the property test converts; more for a search.
var pairsWanted = flag.Int("pairs", 60, "how many policies and bindings to convert")

// judge matches requests as the API server does, with its own code.
type judge struct {
	matcher    *matching.Matcher
	conditions plugincel.ConditionCompiler
}

func newJudge() judge {
	return judge{
		matcher:    matching.NewMatcher(namespaces{"default": {}, "prod": {"env": "prod", "tier": "1"}, "test": {"env": "test"}}, nil),
		conditions: plugincel.NewConditionCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())),
	}
}

// namespaces are those of the cluster, by name, with their labels.
type namespaces map[string]map[string]string

func (n namespaces) List(labels.Selector) ([]*corev1.Namespace, error) { return nil, nil }

func (n namespaces) Get(name string) (*corev1.Namespace, error) {
	l, ok := n[name]
	if !ok {
		return nil, fmt.Errorf("there is no namespace %q", name)
	}
	all := map[string]string{corev1.LabelMetadataName: name}
	for k, v := range l {
		all[k] = v
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: all}}, nil
}

var _ corelisters.NamespaceLister = namespaces{}

// criteria are what a policy or a binding matches.
type criteria struct{ admissionv1.MatchResources }

func (c criteria) GetParsedNamespaceSelector() (labels.Selector, error) {
	return metav1.LabelSelectorAsSelector(or(c.NamespaceSelector))
}

func (c criteria) GetParsedObjectSelector() (labels.Selector, error) {
	return metav1.LabelSelectorAsSelector(or(c.ObjectSelector))
}
func (c criteria) GetMatchResources() admissionv1.MatchResources { return c.MatchResources }

func or(s *metav1.LabelSelector) *metav1.LabelSelector {
	if s == nil {
		return &metav1.LabelSelector{}
	}
	return s
}

// served are the resources of the API server; those of one line are equivalent.
func served() [][]schema.GroupVersionResource {
	r := func(group, version, resource string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: group, Version: version, Resource: resource}
	}
	return [][]schema.GroupVersionResource{
		{r("", "v1", "pods")}, {r("", "v1", "namespaces")}, {r("", "v1", "configmaps")},
		{r("apps", "v1", "deployments"), r("apps", "v1beta1", "deployments")},
		{r("", "v1", "events"), r("events.k8s.io", "v1", "events")},
		{r("example.com", "v1", "widgets"), r("example.com", "v2", "widgets")},
	}
}

// interfaces has the equivalent resources alone.
type interfaces struct{ admission.ObjectInterfaces }

func (interfaces) GetEquivalentResourceMapper() runtime.EquivalentResourceMapper { return interfaces{} }

func (interfaces) EquivalentResourcesFor(of schema.GroupVersionResource, _ string) []schema.GroupVersionResource {
	for _, line := range served() {
		if slices.Contains(line, of) {
			return line
		}
	}
	return nil
}

func (interfaces) KindFor(of schema.GroupVersionResource, _ string) schema.GroupVersionKind {
	return of.GroupVersion().WithKind("Kind")
}

// matches says whether the API server judges the request by a policy with these
// constraints and a binding that narrows them, and in which version.
func (j judge) matches(t *testing.T, a admission.Attributes, constraints, binding *admissionv1.MatchResources) (bool, schema.GroupVersionResource) {
	t.Helper()
	ok, in, _, err := j.matcher.Matches(a, interfaces{}, criteria{defaulted(constraints)})
	if err != nil {
		t.Fatal(err)
	}
	if ok && binding != nil {
		if ok, _, _, err = j.matcher.Matches(a, interfaces{}, criteria{defaulted(binding)}); err != nil {
			t.Fatal(err)
		}
	}
	return ok, in
}

func defaulted(m *admissionv1.MatchResources) admissionv1.MatchResources {
	out := *m
	if out.MatchPolicy == nil {
		out.MatchPolicy = new(admissionv1.Equivalent)
	}
	return out
}

// holds says whether the match conditions are true.
func (j judge) holds(t *testing.T, a admission.Attributes, in schema.GroupVersionResource, conditions []admissionv1.MatchCondition) bool {
	t.Helper()
	var all []plugincel.ExpressionAccessor
	for i := range conditions {
		all = append(all, (*matchconditions.MatchCondition)(&conditions[i]))
	}
	fail := admissionv1.Fail
	m := matchconditions.NewMatcher(
		j.conditions.CompileCondition(all, plugincel.OptionalVariableDeclarations{HasAuthorizer: true}, environment.NewExpressions), &fail, "policy", "validate", "p")
	v := &admission.VersionedAttributes{Attributes: a, VersionedKind: in.GroupVersion().WithKind("Kind")}
	if o := a.GetObject(); o != nil {
		v.VersionedObject.Set(o)
	}
	if o := a.GetOldObject(); o != nil {
		v.VersionedOldObject.Set(o)
	}
	result := m.Match(context.Background(), v, nil, nil)
	if result.Error != nil {
		t.Fatalf("%v in %v", result.Error, conditions)
	}
	return result.Matches
}

// requests are many of all sorts.
func requests(r *rand.Rand, n int) []admission.Attributes {
	var all []admission.Attributes
	for range n {
		line := pick(r, served()...)
		resource := pick(r, line...)
		sub := ""
		if resource.Resource == "pods" || resource.Resource == "deployments" {
			sub = pick(r, "", "", "status", "scale")
		}
		namespace, name := pick(r, "default", "prod", "test"), pick(r, "", "a", "b", "c")
		switch resource.Resource {
		case "namespaces":
			name = namespace
		case "widgets":
			namespace = "" // they are in none
		}
		op := pick(r, admission.Create, admission.Update, admission.Delete)
		var object, old runtime.Object
		if op != admission.Delete {
			object = labelled(r, name)
		}
		if op != admission.Create {
			old = labelled(r, name)
		}
		all = append(all, admission.NewAttributesRecord(object, old, resource.GroupVersion().WithKind("Kind"), namespace, name, resource, sub, op,
			nil, false, &user.DefaultInfo{Name: "jane"}))
	}
	return all
}

func labelled(r *rand.Rand, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Kind", "metadata": map[string]any{"name": name}}}
	l := map[string]string{}
	for _, key := range []string{"app", "env"} {
		if value := pick(r, "", "", "x", "y"); value != "" {
			l[key] = value
		}
	}
	if len(l) > 0 {
		o.SetLabels(l)
	}
	return o
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// some is a part of a list that is not empty.
func some[T any](r *rand.Rand, of ...T) []T {
	of = slices.Clone(of)
	r.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
	return of[:1+r.IntN(len(of))]
}

// maybe is the zero value in most cases.
func maybe[T any](r *rand.Rand, value func() T) (out T) {
	if r.IntN(3) == 0 {
		return value()
	}
	return out
}

func randomRules(r *rand.Rand, n int) []admissionv1.NamedRuleWithOperations {
	var all []admissionv1.NamedRuleWithOperations
	for range n {
		rule := admissionv1.NamedRuleWithOperations{
			ResourceNames: maybe(r, func() []string { return some(r, "a", "b", "c") }),
			RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: pick(r, []admissionv1.OperationType{"*"}, some(r, admissionv1.Create, admissionv1.Update, admissionv1.Delete)),
				Rule: admissionv1.Rule{
					APIGroups:   pick(r, []string{"*"}, some(r, "", "apps", "events.k8s.io", "example.com"), some(r, "", "apps")),
					APIVersions: pick(r, []string{"*"}, []string{"v1"}, some(r, "v1", "v1beta1", "v2")),
					Resources: pick(r, []string{"*"}, []string{"*/*"}, some(r, "pods", "deployments", "events", "namespaces", "widgets"),
						some(r, "pods/*", "*/status", "deployments/scale", "configmaps")),
				},
			},
		}
		if r.IntN(4) == 0 {
			rule.Scope = new(pick(r, admissionv1.AllScopes, admissionv1.NamespacedScope, admissionv1.ClusterScope))
		}
		all = append(all, rule)
	}
	return all
}

func randomSelector(r *rand.Rand, keys ...string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	if r.IntN(2) == 0 {
		s.MatchLabels = map[string]string{pick(r, keys...): pick(r, "x", "prod", "test")}
	}
	if r.IntN(2) == 0 {
		e := metav1.LabelSelectorRequirement{Key: pick(r, keys...), Operator: pick(r,
			metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)}
		if e.Operator == metav1.LabelSelectorOpIn || e.Operator == metav1.LabelSelectorOpNotIn {
			e.Values = some(r, "x", "y", "prod", "test")
		}
		s.MatchExpressions = append(s.MatchExpressions, e)
	}
	return s
}

func randomMatch(r *rand.Rand, rules int) *admissionv1.MatchResources {
	return &admissionv1.MatchResources{
		NamespaceSelector:    maybe(r, func() *metav1.LabelSelector { return randomSelector(r, "env", "tier", corev1.LabelMetadataName) }),
		ObjectSelector:       maybe(r, func() *metav1.LabelSelector { return randomSelector(r, "app", "env") }),
		ResourceRules:        randomRules(r, rules),
		ExcludeResourceRules: maybe(r, func() []admissionv1.NamedRuleWithOperations { return randomRules(r, 1+r.IntN(2)) }),
		MatchPolicy:          new(pick(r, admissionv1.Equivalent, admissionv1.Exact)),
	}
}

// randomPair is a policy and a binding that match something or other.
func randomPair(r *rand.Rand) vap.Pair {
	p := vap.Pair{
		Policy: vap.Policy{Name: "p", Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: randomMatch(r, 1+r.IntN(3)),
			Validations:      []admissionv1.Validation{{Expression: "true"}},
			MatchConditions: maybe(r, func() []admissionv1.MatchCondition {
				return []admissionv1.MatchCondition{{Name: pick(r, "warder.dev/match", "mine"), Expression: `request.operation == "CREATE" || request.userInfo.username == "joe"`}}
			}),
		}},
		Binding: vap.Binding{Name: "b", Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "p", ValidationActions: []admissionv1.ValidationAction{pick(r, admissionv1.Deny, admissionv1.Audit)},
			MatchResources: maybe(r, func() *admissionv1.MatchResources { return randomMatch(r, r.IntN(3)) }),
		}},
	}
	return p
}

// back makes the API server's policy of ours.
func back(t *testing.T, policy *v1.ClusterAdmissionPolicy) (*admissionv1.ValidatingAdmissionPolicy, *admissionv1.ValidatingAdmissionPolicyBinding) {
	t.Helper()
	view, _ := v1.View(policy)
	native, err := manifest.NativeOf(manifest.NativeInput{Policy: view})
	if err != nil {
		t.Fatal(err)
	}
	p, ok := native.Policy.(*admissionv1.ValidatingAdmissionPolicy)
	b, also := native.Binding.(*admissionv1.ValidatingAdmissionPolicyBinding)
	if !ok || !also {
		t.Fatalf("have a %T and a %T", native.Policy, native.Binding)
	}
	return p, b
}

// A policy of ours and the one that the API server enforces for it judge what the
// pair judges that they were made of, and see it in the same version.
func TestConversionKeepsWhatIsJudged(t *testing.T) {
	j, r := newJudge(), rand.New(rand.NewPCG(1, 2))
	asked := requests(r, 80)
	pairs, refused, judged, spared := 0, 0, 0, 0
	for pairs < *pairsWanted {
		pair := randomPair(r)
		text, err := yaml.Marshal(pair)
		if err != nil {
			t.Fatal(err)
		}
		policy, _, err := vap.Convert(pair)
		if err != nil {
			refused++
			continue
		}
		pairs++
		made, binding := back(t, policy)
		for _, a := range asked {
			constraints, narrowing := pair.Policy.Spec.MatchConstraints, pair.Binding.Spec.MatchResources
			want, wantIn := j.matches(t, a, constraints, narrowing)
			want = want && j.holds(t, a, wantIn, pair.Policy.Spec.MatchConditions)
			// warder spares leases, nodes and the like of "*": none is among the requests.
			got, gotIn := j.matches(t, a, made.Spec.MatchConstraints, binding.Spec.MatchResources)
			got = got && j.holds(t, a, gotIn, made.Spec.MatchConditions)
			if got != want || want && gotIn != wantIn {
				now, err := yaml.Marshal(made.Spec)
				t.Fatalf("%s %s of %s %q in namespace %q with %v and %v: judged: %v in %v, want %v in %v\n%s\nbecame %v\n%s", a.GetOperation(), a.GetSubresource(),
					a.GetResource(), a.GetName(), a.GetNamespace(), a.GetObject(), a.GetOldObject(), got, gotIn, want, wantIn, text, err, now)
			}
			if want {
				judged++
			} else {
				spared++
			}
		}
	}
	t.Logf("%d pairs converted, %d refused; %d requests judged, %d not", pairs, refused, judged, spared)
	if judged < 300 || spared < 1000 || refused < 10 {
		t.Errorf("%d judged, %d not judged, %d pairs refused: too few to say anything", judged, spared, refused)
	}
}
