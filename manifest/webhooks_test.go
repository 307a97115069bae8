package manifest

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/policy"
)

// resource is a policy in YAML, with the defaults that the API server fills in.
func resource(t *testing.T, text string) v1.Policy {
	t.Helper()
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(text), &meta); err != nil {
		t.Fatal(err)
	}
	object := v1.Kind(meta.Kind).New()
	if object == nil {
		t.Fatalf("no such kind: %q", meta.Kind)
	}
	if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if object.GetGeneration() == 0 {
		object.SetGeneration(1)
	}
	p, _ := v1.View(object)
	return p
}

const onPods = `rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]`

// single is a ClusterAdmissionPolicy; more is more of its spec.
func single(t *testing.T, name, more string) v1.Policy {
	t.Helper()
	if !strings.Contains(more, "rules:") {
		more += "\n  " + onPods
	}
	if !strings.Contains(more, "mutating:") {
		more += "\n  mutating: false"
	}
	return resource(t, "kind: ClusterAdmissionPolicy\nmetadata: {name: "+name+"}\nspec:\n  module: builtin://x\n  "+more)
}

// cluster is an API server, as far as webhook configurations go.
type cluster struct {
	validating map[string]*admissionv1.ValidatingWebhookConfiguration
	mutating   map[string]*admissionv1.MutatingWebhookConfiguration
	uids       int
}

func newCluster() *cluster {
	return &cluster{
		validating: map[string]*admissionv1.ValidatingWebhookConfiguration{},
		mutating:   map[string]*admissionv1.MutatingWebhookConfiguration{},
	}
}

func (c *cluster) apply(o v1.Object) {
	c.uids++
	switch o := o.(type) {
	case *admissionv1.ValidatingWebhookConfiguration:
		o = o.DeepCopy()
		o.UID = types.UID(rune('a' + c.uids))
		c.validating[o.Name] = o
	case *admissionv1.MutatingWebhookConfiguration:
		o = o.DeepCopy()
		o.UID = types.UID(rune('a' + c.uids))
		c.mutating[o.Name] = o
	}
}

func (c *cluster) remove(o v1.Object) {
	switch o.(type) {
	case *admissionv1.ValidatingWebhookConfiguration:
		delete(c.validating, o.GetName())
	case *admissionv1.MutatingWebhookConfiguration:
		delete(c.mutating, o.GetName())
	}
}

// into puts what there is into the input, in an order that changes.
func (c *cluster) into(in WebhookInput) WebhookInput {
	in.Validating, in.Mutating = nil, nil
	for _, o := range c.validating {
		in.Validating = append(in.Validating, *o)
	}
	for _, o := range c.mutating {
		in.Mutating = append(in.Mutating, *o)
	}
	return in
}

// names of what there is, with the number of webhooks and rules of each.
func (c *cluster) names() []string {
	var all []string
	for name := range c.validating {
		all = append(all, "v:"+name)
	}
	for name := range c.mutating {
		all = append(all, "m:"+name)
	}
	slices.Sort(all)
	return all
}

// run does what the set says, and notes what it has enforced.
func (c *cluster) run(in WebhookInput) WebhookSet {
	set := Webhooks(c.into(in))
	for _, o := range slices.Concat(set.Widen, set.Narrow) {
		c.apply(o)
	}
	for _, o := range set.Delete {
		c.remove(o)
	}
	for _, p := range slices.Concat(in.Settled, in.Unsettled) {
		p.Status.Enforced = nil
		if e, ok := set.Enforced[p.UniqueName()]; ok {
			p.Status.Enforced = &e
		}
	}
	return set
}

func (s WebhookSet) empty() bool { return len(s.Widen)+len(s.Narrow)+len(s.Delete) == 0 }

const zoo = `
kind: ClusterAdmissionPolicy
metadata: {name: no-root}
spec: {module: builtin://a, mutating: false, rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]}
---
kind: ClusterAdmissionPolicy
metadata: {name: no-latest}
spec: {module: builtin://b, mutating: false, rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [UPDATE]}, {apiGroups: [apps], apiVersions: [v1], resources: [deployments], operations: [CREATE, UPDATE]}]}
---
kind: ClusterAdmissionPolicy
metadata: {name: expanded}
spec: {module: builtin://b, workloads: Expand, mutating: false, rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]}
---
kind: ClusterAdmissionPolicy
metadata: {name: second}
spec: {module: builtin://c, mutating: true, order: 2, timeoutSeconds: 5, rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]}
---
kind: ClusterAdmissionPolicy
metadata: {name: third}
spec: {module: builtin://c, mutating: true, order: 3, timeoutSeconds: 9, rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]}
---
kind: ClusterAdmissionPolicy
metadata: {name: first}
spec: {module: builtin://c, mutating: true, order: 1, timeoutSeconds: 7, rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]}
---
kind: ClusterAdmissionPolicy
metadata: {name: picky}
spec:
  module: builtin://d
  mutating: false
  failurePolicy: Ignore
  matchPolicy: Exact
  sideEffects: NoneOnDryRun
  timeoutSeconds: 30
  allowInsideAdmissionControllerNamespace: true
  namespaceSelector: {matchLabels: {env: prod}, matchExpressions: [{key: zone, operator: In, values: [b, a]}]}
  objectSelector: {matchLabels: {judge: "yes"}}
  matchConditions: [{name: not-system, expression: "!request.userInfo.username.startsWith('system:')"}]
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [namespaces], operations: ["*"], scope: Cluster}]
---
kind: AdmissionPolicy
metadata: {name: no-root, namespace: web}
spec: {module: builtin://a, mutating: false, rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods, pods/ephemeralcontainers], operations: [CREATE]}]}
---
kind: AdmissionPolicyGroup
metadata: {name: both, namespace: web}
spec: {expression: "a()", message: never, policies: {a: {module: builtin://a}}, rules: [{apiGroups: [""], apiVersions: [v1], resources: [services], operations: [CREATE], scope: "*"}]}
---
kind: ClusterAdmissionPolicyGroup
metadata: {name: both}
spec: {expression: "a()", message: never, policies: {a: {module: builtin://a}}, namespaceSelector: {matchLabels: {env: prod}}, rules: [{apiGroups: [""], apiVersions: [v1], resources: [services], operations: [CREATE]}]}
`

func zooOf(t *testing.T) []v1.Policy {
	t.Helper()
	var all []v1.Policy
	for _, text := range strings.Split(zoo, "\n---\n") {
		all = append(all, resource(t, text))
	}
	return all
}

func TestWebhooks(t *testing.T) {
	tests := []struct {
		name, spec string
		options    Options
	}{
		{"webhooks-bundled", "{}", Options{}},
		{"webhooks-per-policy", "{webhooks: PerPolicy, workloadTemplates: {rollouts.argoproj.io: spec.template}}", Options{Namespace: "kubewarden"}},
		{"webhooks-url", "{workloads: Expand}", Options{URLs: map[string]string{"default": "https://127.0.0.1:8443/"}, NoMatchConditions: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var first []byte
			in := WebhookInput{Server: server(t, "default", tt.spec), Options: tt.options, CABundle: []byte("PEM new\nPEM old\n"), Settled: zooOf(t)}
			for range 50 {
				slices.Reverse(in.Settled)
				set := Webhooks(in)
				if len(set.Narrow)+len(set.Delete)+len(set.Refused) > 0 || len(set.Enforced) != len(in.Settled) {
					t.Fatalf("%+v", set)
				}
				text := asYAML(t, set.Widen...)
				if first == nil {
					first = text
				}
				if !bytes.Equal(first, text) {
					t.Fatal("the same input has made two outputs")
				}
			}
			golden(t, tt.name, first)
			c := newCluster()
			c.run(in)
			if set := c.run(in); !set.empty() {
				t.Errorf("what is there already is written again: %+v", set)
			}
			for _, hook := range c.hooks() {
				if problem := refusedByAPIServer(hook.Rules); problem != "" {
					t.Errorf("%s: %s", hook.Name, problem)
				}
			}
		})
	}
}

// hooks are all webhooks that there are.
func (c *cluster) hooks() []admissionv1.MutatingWebhook {
	var all []admissionv1.MutatingWebhook
	for _, o := range c.validating {
		for _, h := range o.Webhooks {
			all = append(all, mutating(h))
		}
	}
	for _, o := range c.mutating {
		all = append(all, o.Webhooks...)
	}
	return all
}

func TestNamespaceSelector(t *testing.T) {
	notOwn := metav1.LabelSelectorRequirement{Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"warder"}}
	zone := metav1.LabelSelectorRequirement{Key: "zone", Operator: metav1.LabelSelectorOpExists}
	prod := map[string]string{"env": "prod"}
	const inside = "allowInsideAdmissionControllerNamespace: true"
	tests := []struct {
		name, spec string
		want       metav1.LabelSelector
	}{
		{"none", "", metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{notOwn}}},
		{"labels are kept", "namespaceSelector: {matchLabels: {env: prod}}",
			metav1.LabelSelector{MatchLabels: prod, MatchExpressions: []metav1.LabelSelectorRequirement{notOwn}}},
		{"expressions are kept", "namespaceSelector: {matchExpressions: [{key: zone, operator: Exists}]}",
			metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{notOwn, zone}}},
		{"both are kept", "namespaceSelector: {matchLabels: {env: prod}, matchExpressions: [{key: zone, operator: Exists}]}",
			metav1.LabelSelector{MatchLabels: prod, MatchExpressions: []metav1.LabelSelectorRequirement{notOwn, zone}}},
		{"none, inside too", inside, metav1.LabelSelector{}},
		{"both, inside too", inside + "\n  namespaceSelector: {matchLabels: {env: prod}, matchExpressions: [{key: zone, operator: Exists}]}",
			metav1.LabelSelector{MatchLabels: prod, MatchExpressions: []metav1.LabelSelectorRequirement{zone}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, mode := range []string{"Bundled", "PerPolicy"} {
				c := newCluster()
				c.run(WebhookInput{Server: server(t, "default", "webhooks: "+mode), Settled: []v1.Policy{single(t, "p", tt.spec)}})
				hooks := c.hooks()
				if len(hooks) != 1 {
					t.Fatalf("%s: %d webhooks", mode, len(hooks))
				}
				if diff := cmp.Diff(&tt.want, hooks[0].NamespaceSelector); diff != "" {
					t.Errorf("%s (-want +got):\n%s", mode, diff)
				}
			}
		})
	}
}

func TestFlippingMutatingLeavesNothingBehind(t *testing.T) {
	for _, mode := range []string{"Bundled", "PerPolicy"} {
		p := single(t, "flips", "mutating: false")
		in := WebhookInput{Server: server(t, "default", "webhooks: "+mode), Settled: []v1.Policy{p}}
		c := newCluster()
		c.run(in)
		was := c.names()

		p.Single.Mutating = true
		p.Object.SetGeneration(2)
		waiting := in
		waiting.Settled, waiting.Unsettled = nil, in.Settled
		if set := c.run(waiting); !set.empty() || set.Enforced[p.UniqueName()].Generation != 1 {
			t.Errorf("%s: a change that is not held everywhere already does something: %+v", mode, set)
		}
		set := Webhooks(c.into(in))
		if len(set.Widen) != 1 || len(set.Narrow) != 0 || len(set.Delete) != 1 {
			t.Errorf("%s: want the new one first, and the old one deleted after it: %+v", mode, set)
		}
		c.run(in)
		want := []string{"m" + was[0][1:]}
		if diff := cmp.Diff(want, c.names()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", mode, diff)
		}
		in.Settled = nil
		c.run(in)
		if left := c.names(); len(left) > 0 {
			t.Errorf("%s: the policy is gone, %v are left", mode, left)
		}
	}
}

func TestTwoPoliciesThatChangePlacesAreNeverMissed(t *testing.T) {
	a, b, stays := single(t, "a", "mutating: false"), single(t, "b", "mutating: true"), single(t, "c", "mutating: true\n  timeoutSeconds: 3")
	in := WebhookInput{Server: server(t, "default", "{}"), Settled: []v1.Policy{a, b, stays}}
	c := newCluster()
	c.run(in)
	a.Single.Mutating, b.Single.Mutating = true, false
	a.Matching.Rules[0].Resources, b.Matching.Rules[0].Resources = []string{"services"}, []string{"services"}
	set := Webhooks(c.into(in))
	if len(set.Widen) != 2 || len(set.Narrow) != 2 || len(set.Delete) != 0 {
		t.Fatalf("want both widened, then both narrowed: %+v", set)
	}
	for _, o := range set.Widen {
		c.apply(o)
	}
	for _, h := range c.hooks() {
		for _, resource := range []string{"pods", "services"} {
			r := request{operation: "CREATE", version: "v1", resource: resource, namespace: "web"}
			if !strings.Contains(h.Name, policy.BundleOf(stays)) && !r.matchedBy(h.Rules) {
				t.Errorf("%s does not match %s between the steps", h.Name, resource)
			}
		}
	}
}

func TestCABundleOfEveryWebhookIsTheGivenOne(t *testing.T) {
	for _, mode := range []string{"Bundled", "PerPolicy"} {
		in := WebhookInput{Server: server(t, "default", "webhooks: "+mode), CABundle: []byte("old"), Settled: zooOf(t)}
		c := newCluster()
		c.run(in)
		in.Unsettled, in.Settled = in.Settled, nil // also of those that wait
		in.CABundle = []byte("new\nold")
		c.run(in)
		for _, h := range c.hooks() {
			if string(h.ClientConfig.CABundle) != "new\nold" {
				t.Errorf("%s: %s has %q", mode, h.Name, h.ClientConfig.CABundle)
			}
		}
		if set := c.run(in); !set.empty() {
			t.Errorf("%s: written again: %+v", mode, set)
		}
	}
}

// TestUnsettledPolicies keep what they have, and get nothing.
func TestUnsettledPolicies(t *testing.T) {
	old, fresh, other := single(t, "old", ""), single(t, "fresh", ""), single(t, "other", "")
	other.Matching.Rules[0].Resources = []string{"services"}
	srv := server(t, "default", "{}")
	c := newCluster()
	c.run(WebhookInput{Server: srv, Settled: []v1.Policy{old}})
	matches := func(resource string, want bool) {
		t.Helper()
		r := request{operation: "CREATE", version: "v1", resource: resource, namespace: "web"}
		if got := slices.ContainsFunc(c.hooks(), func(h admissionv1.MutatingWebhook) bool { return r.matchedBy(h.Rules) }); got != want {
			t.Errorf("%s are asked for: %t, want %t", resource, got, want)
		}
	}
	old.Matching.Rules[0].Resources = []string{"configmaps"}
	fresh.Matching.Rules[0].Resources = []string{"secrets"}
	set := c.run(WebhookInput{Server: srv, Unsettled: []v1.Policy{old, fresh}, Settled: []v1.Policy{other}})
	matches("pods", true)        // of the generation that is enforced
	matches("configmaps", false) // not held by everybody
	matches("secrets", false)
	matches("services", true)
	if _, ok := set.Enforced["kw.cap.fresh"]; ok {
		t.Error("a policy that nobody holds is enforced")
	}
	c.run(WebhookInput{Server: srv, Unsettled: []v1.Policy{old, fresh}}) // other is deleted
	matches("services", true)                                            // nothing narrows while somebody waits
	c.run(WebhookInput{Server: srv, Settled: []v1.Policy{old}, Unsettled: []v1.Policy{fresh}})
	matches("services", false)
	matches("pods", false)
	matches("configmaps", true)
	c.run(WebhookInput{Server: srv, Unsettled: []v1.Policy{fresh}})
	if left := c.names(); len(left) > 0 {
		t.Errorf("a policy that was never held keeps %v", left)
	}
}

func TestModeIsSwitched(t *testing.T) {
	policies := zooOf(t)
	c := newCluster()
	perPolicy, bundled := server(t, "default", "webhooks: PerPolicy"), server(t, "default", "webhooks: Bundled")
	c.run(WebhookInput{Server: perPolicy, Settled: policies})
	if got := len(c.names()); got != len(policies) {
		t.Fatalf("%d configurations of %d policies", got, len(policies))
	}
	set := Webhooks(c.into(WebhookInput{Server: bundled, Settled: policies[1:], Unsettled: policies[:1]}))
	if len(set.Widen) != 2 || len(set.Delete) != len(policies)-1 || set.Enforced["kw.cap.no-root"].Configuration != "kw.cap.no-root" {
		t.Errorf("want the bundles first, and then all deleted but the one that waits: %+v", set)
	}
	for _, o := range set.Delete {
		if o.GetUID() == "" {
			t.Errorf("%s is deleted whatever it is meanwhile", o.GetName())
		}
	}
	c.run(WebhookInput{Server: bundled, Settled: policies})
	if diff := cmp.Diff([]string{"m:policy-server-default.warder", "v:policy-server-default.warder"}, c.names()); diff != "" {
		t.Error(diff)
	}
	c.run(WebhookInput{Server: perPolicy, Settled: policies})
	if got := len(c.names()); got != len(policies) {
		t.Errorf("%d configurations of %d policies after switching back", got, len(policies))
	}
}

func TestOneWhoTakesAllTheRoomKeepsNobodyElseFromBeingRegistered(t *testing.T) {
	large := func(name, timeout string) v1.Policy {
		return single(t, name, "timeoutSeconds: "+timeout+"\n  matchConditions: [{name: c, expression: '\""+strings.Repeat("x", 800<<10)+"\" != object.kind'}]")
	}
	c := newCluster()
	in := WebhookInput{Server: &v1.PolicyServer{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, Settled: []v1.Policy{large("a", "5"), large("b", "6"), single(t, "c", "")}}
	for range 2 {
		set := c.run(in)
		err := set.Refused["kw.cap.b"]
		if err == nil || !strings.Contains(err.Error(), `policy server "s" has no room for the webhook of this policy`) || len(set.Refused) != 1 {
			t.Errorf("refused: %v, want b alone", set.Refused)
		}
		if hooks := c.validating[BundledName("s")].Webhooks; len(hooks) != 2 {
			t.Errorf("%d webhooks, want those of a and c", len(hooks))
		}
	}
	// Whoever is registered may change.
	in.Settled[0].Object.SetGeneration(2)
	in.Settled[0].Matching.Rules[0].Resources = []string{"services"}
	if set := c.run(in); set.Enforced["kw.cap.a"].Generation != 2 {
		t.Errorf("enforced: %+v, refused: %v; want generation 2 of a", set.Enforced, set.Refused)
	}
}
