package manifest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	psa "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime/cel"
	"github.com/warder-dev/warder/sdk"
)

// resources are the policies of the sets.
func resources(s PolicySets) []*v1.ClusterAdmissionPolicy {
	var all []*v1.ClusterAdmissionPolicy
	for _, o := range s.objects() {
		if p, ok := o.(*v1.ClusterAdmissionPolicy); ok {
			all = append(all, p)
		}
	}
	return all
}

func TestPoliciesOfSetsAreThoseOfTheLibrary(t *testing.T) {
	for _, set := range SetNames() {
		all := policiesOf(set)
		if len(all) == 0 {
			t.Errorf("set %s is empty", set)
		}
		for _, p := range all {
			b, ok := library.Lookup(p.module)
			if !ok {
				t.Errorf("%s: module %q is not built in", p.name, p.module)
				continue
			}
			if _, err := b.Policy.Load(json.RawMessage(p.settings)); err != nil {
				t.Errorf("%s: settings: %v", p.name, err)
			}
			// The defaults have those that Kubewarden gives them.
			if set != SetKubewardenDefaults && (b.Category != p.category || b.Severity != p.severity) {
				t.Errorf("%s: %s, %s; the library says %s, %s", p.name, p.category, p.severity, b.Category, b.Severity)
			}
			if p.mutating && !b.Mutating {
				t.Errorf("%s: mutates, and its module does not", p.name)
			}
			if asks := len(p.context) > 0; b.AsksHost && set != SetKubewardenDefaults && !asks || asks && !b.AsksHost {
				t.Errorf("%s: reads %v of the cluster; its module asks its host: %t", p.name, p.context, b.AsksHost)
			}
			for _, c := range p.context {
				if readable()[c.Kind] == "" {
					t.Errorf("%s: readable does not know %s", p.name, c.Kind)
				}
			}
			if p.title == "" || p.category == "" || p.severity == "" || !strings.HasSuffix(p.description, ".") {
				t.Errorf("%s: title %q, category %q, severity %q, description %q", p.name, p.title, p.category, p.severity, p.description)
			}
		}
	}
}

func TestPoliciesOfSetsAreValidAndApart(t *testing.T) {
	var names []string
	conditions := &cel.MatchConditions{}
	for _, p := range resources(PolicySets{Names: SetNames()}) {
		names = append(names, p.Name)
		view, ok := v1.View(p)
		if !ok {
			t.Fatalf("%s is no policy", p.Name)
		}
		if _, err := policy.FromResource(view, v1.PolicyServerSpec{}); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		for _, c := range p.Spec.MatchConditions {
			if err := conditions.Check(c.Expression); err != nil {
				t.Errorf("%s: %s: %v", p.Name, c.Name, err)
			}
		}
		if !slices.Contains(SetNames(), p.Labels[LabelSet]) || p.Spec.Mode != v1.Monitor || *p.Spec.FailurePolicy != "Ignore" {
			t.Errorf("%s: set %q, mode %s, failure policy %s", p.Name, p.Labels[LabelSet], p.Spec.Mode, *p.Spec.FailurePolicy)
		}
	}
	slices.Sort(names)
	if unique := slices.Compact(slices.Clone(names)); len(unique) != len(names) {
		t.Errorf("two policies have the same name: %q", names)
	}
}

func TestASetIsThereOnceAndInOrder(t *testing.T) {
	var have []string
	for _, o := range (PolicySets{Names: []string{SetPodSecurityRestricted, SetPodSecurityBaseline, SetPodSecurityRestricted}}).objects() {
		have = append(have, o.GetName())
	}
	if diff := cmp.Diff([]string{"pod-security-baseline", "pod-security-restricted"}, have); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if none := (PolicySets{Mode: v1.Protect}).objects(); none != nil {
		t.Errorf("without a name: %v", none)
	}
}

// A pod of the fixtures of k8s.io/pod-security-admission, and a Deployment that
// would make it, get the evaluator's verdict from the sets as they are installed.
func TestPodSecuritySetsGiveTheVerdictOfPodSecurityAdmission(t *testing.T) {
	evaluator, err := psa.NewEvaluator(psa.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	sets := map[string]api.Level{SetPodSecurityBaseline: api.LevelBaseline, SetPodSecurityRestricted: api.LevelRestricted}
	e := serving(t, resources(PolicySets{Names: []string{SetPodSecurityBaseline, SetPodSecurityRestricted}, Mode: v1.Protect}))
	pods := fixtures(t)
	count := map[bool]int{}
	for key, pod := range pods {
		deployment := fmt.Sprintf(`{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"template": %s}}`, key)
		for set, level := range sets {
			at := api.LevelVersion{Level: level, Version: api.LatestVersion()}
			want := psa.AggregateCheckResults(evaluator.EvaluatePod(at, &pod.ObjectMeta, &pod.Spec)).Allowed
			count[want]++
			for kind, req := range map[string]*sdk.Request{
				"pod": creation("", "pods", "Pod", key), "deployment": creation("apps", "deployments", "Deployment", deployment),
			} {
				d, err := e.Evaluate(context.Background(), policy.ID("clusterwide-"+set), req)
				if err != nil || d.Err != nil {
					t.Fatalf("%s: %v, %v", set, err, d.Err)
				}
				if d.Response.Allowed != want {
					t.Errorf("%s: %s: allowed %t, want %t: %s", set, kind, d.Response.Allowed, want, key)
				}
			}
		}
	}
	if count[true] < 100 || count[false] < 100 {
		t.Errorf("%d allowed, %d refused: that shows one side only", count[true], count[false])
	}
	t.Logf("%d pods: %d verdicts allow, %d refuse, each of a pod and of a Deployment", len(pods), count[true], count[false])
}

// fixtures are the pods in the testdata of k8s.io/pod-security-admission/test, by
// their text.
func fixtures(t *testing.T) map[string]*corev1.Pod {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/pod-security-admission").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "test", "testdata", "*", "*", "*", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	pods := map[string]*corev1.Pod{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{}
		if err := yaml.UnmarshalStrict(text, pod); err != nil {
			t.Fatal(err)
		}
		pod.Name = "" // it is the file's
		object, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		pods[string(object)] = pod
	}
	if len(pods) < 300 {
		t.Fatalf("%d fixtures", len(pods))
	}
	return pods
}

// serving is an engine with the policies, as a server has them.
func serving(t *testing.T, all []*v1.ClusterAdmissionPolicy) *engine.Engine {
	t.Helper()
	e, err := engine.New(engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, r := range all {
		view, ok := v1.View(r)
		if !ok {
			t.Fatalf("%s is no policy", r.Name)
		}
		p, err := policy.FromResource(view, v1.PolicyServerSpec{})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Load(context.Background(), p); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func creation(group, resource, kind, object string) *sdk.Request {
	return &sdk.Request{
		UID: "1", Operation: sdk.Create, Namespace: "shop", Object: json.RawMessage(object),
		Kind:     sdk.GroupVersionKind{Group: group, Version: "v1", Kind: kind},
		Resource: sdk.GroupVersionResource{Group: group, Version: "v1", Resource: resource},
	}
}
