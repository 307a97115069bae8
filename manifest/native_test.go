package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/warder-dev/warder/api/v1"
)

// inCEL is a ClusterAdmissionPolicy in CEL; more is more of its spec.
func inCEL(t *testing.T, name, more string) v1.Policy {
	t.Helper()
	if !strings.Contains(more, "rules:") {
		more += "\n  " + onPods
	}
	if !strings.Contains(more, "cel:") {
		more += `
  cel: {validations: [{expression: "has(object.spec)", messageExpression: "'a' + 'b'"}, {expression: "true", message: fine, reason: Forbidden}]}`
	}
	if !strings.Contains(more, "mutating:") {
		more += "\n  mutating: false"
	}
	return resource(t, "kind: ClusterAdmissionPolicy\nmetadata: {name: "+name+", generation: 3}\nspec:\n  enforceAt: APIServer\n  policyServer: default\n  "+more)
}

const inCELMutating = `mutating: true
  cel: {mutations: [{patchType: JSONPatch, jsonPatch: {expression: '[JSONPatch{op: "add", path: "/metadata/labels", value: {}}]'}}]}`

func TestNativeObjects(t *testing.T) {
	tests := map[string]v1.Policy{
		"native-simple": inCEL(t, "simple", ""),
		"native-everything": inCEL(t, "everything", `mode: monitor
  message: ours
  failurePolicy: Ignore
  matchPolicy: Exact
  timeoutSeconds: 5
  objectSelector: {matchLabels: {app: web}}
  namespaceSelector: {matchExpressions: [{key: env, operator: In, values: [test, prod]}]}
  rules:
  - {apiGroups: ["*"], apiVersions: ["*"], resources: ["*"], operations: [CREATE, UPDATE]}
  - {apiGroups: [apps], apiVersions: [v1], resources: [deployments/scale, deployments], operations: ["*"], scope: Namespaced}
  matchConditions: [{name: one, expression: "request.dryRun == false"}]
  cel:
    paramKind: {apiVersion: v1, kind: ConfigMap}
    paramRef: {selector: {matchLabels: {a: b}}, parameterNotFoundAction: Allow}
    matchConditions: [{name: one, expression: "has(params.data)"}, {name: two, expression: "true"}]
    variables: [{name: x, expression: "1"}]
    auditAnnotations: [{key: k, valueExpression: "'v'"}]
    validations: [{expression: "variables.x == 1", messageExpression: "'its own'"}]`),
		"native-mutating": inCEL(t, "labels", inCELMutating),
		"native-namespaced": resource(t, `
kind: AdmissionPolicy
metadata: {name: names, namespace: shop, generation: 2}
spec:
  enforceAt: APIServer
  policyServer: default
  mutating: false
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
  cel:
    paramKind: {apiVersion: v1, kind: ConfigMap}
    paramRef: {name: limits, parameterNotFoundAction: Deny}
    validations: [{expression: "params != null"}]`),
	}
	for name, pol := range tests {
		t.Run(name, func(t *testing.T) {
			native, err := NativeOf(NativeInput{Policy: pol})
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, asYAML(t, native.Policy, native.Binding))
		})
	}
}

func TestTheAPIServerIsNotAskedForWhatItCannotEnforce(t *testing.T) {
	const onEverything = "rules: [{apiGroups: ['*'], apiVersions: ['*'], resources: ['*'], operations: ['*']}]"
	tests := []struct {
		name   string
		policy v1.Policy
		server string
		want   string // empty: it can
	}{
		{"a module", single(t, "p", "enforceAt: APIServer"), "", `spec.enforceAt: the API server runs nothing but CEL, and the policy is the module "builtin://x"; write it in spec.cel, or leave enforceAt out`},
		{"a group", resource(t, "kind: ClusterAdmissionPolicyGroup\nmetadata: {name: g}\nspec: {expression: a(), message: m, policies: {a: {module: x}}, "+onPods+"}"), "",
			"spec.policies: the API server knows no groups of policies; leave spec.enforceAt out"},
		{"workloads", inCEL(t, "p", "workloads: Expand"), "", "spec.workloads: the API server cannot judge workloads by the pods that they would make; set it to Ignore, or leave enforceAt out"},
		{"workloads of the server", inCEL(t, "p", ""), "workloads: Expand", "spec.workloads: the API server cannot judge workloads by the pods that they would make; set it to Ignore, or leave enforceAt out"},
		{"workloads that nothing is expanded of", inCEL(t, "p", "rules: [{apiGroups: [''], apiVersions: [v1], resources: [secrets], operations: [CREATE]}]"), "workloads: Expand", ""},
		{"mutations in mode monitor, ordered, on everything", inCEL(t, "p", "mode: monitor\n  order: 2\n  "+onEverything+"\n  "+inCELMutating), "",
			`spec.mode: the API server knows no mode in which a mutation is not done; leave enforceAt out while the policy is in mode monitor
spec.order: the API server mutates in the order of names; leave order or enforceAt out
spec.rules[0].operations: has "*"; the API server mutates on CREATE and UPDATE alone`},
		{"params of another namespace", resource(t, "kind: AdmissionPolicy\nmetadata: {name: p, namespace: shop}\nspec: {enforceAt: APIServer, mutating: false, "+onPods+
			", cel: {paramKind: {apiVersion: v1, kind: Secret}, paramRef: {name: a, namespace: kube-system}, validations: [{expression: 'true'}]}}"), "",
			`spec.cel.paramRef.namespace: is "kube-system"; the params of a policy of namespace "shop" are of that namespace`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NativeOf(NativeInput{Policy: tt.policy, Server: server(t, "default", tt.server).Spec})
			if got := fmt.Sprint(err); tt.want != "" && got != tt.want || tt.want == "" && err != nil {
				t.Errorf("have %s\nwant %s", got, tt.want)
			}
			if unsuited := (*UnsuitedError)(nil); err != nil && !errors.As(err, &unsuited) {
				t.Errorf("%T is no *UnsuitedError", err)
			}
		})
	}
}

func TestMoreConditionsThanTheAPIServerTakesBecomeOne(t *testing.T) {
	var some []string
	for i := range 40 {
		some = append(some, fmt.Sprintf(`{name: c%d, expression: "%d == %d"}`, i, i, i))
	}
	list := "[" + strings.Join(some, ", ") + "]"
	native, err := NativeOf(NativeInput{Policy: inCEL(t, "p", "matchConditions: "+list+"\n  cel: {validations: [{expression: 'true'}], matchConditions: "+list+"}")})
	if err != nil {
		t.Fatal(err)
	}
	p, ok := native.Policy.(*admissionv1.ValidatingAdmissionPolicy)
	if !ok {
		t.Fatalf("have a %T", native.Policy)
	}
	if len(p.Spec.MatchConditions) != maxConditions {
		t.Errorf("%d conditions, want %d", len(p.Spec.MatchConditions), maxConditions)
	}
	names, all := map[string]bool{}, ""
	for _, c := range p.Spec.MatchConditions {
		if names[c.Name] {
			t.Errorf("two conditions have the name %q", c.Name)
		}
		names[c.Name] = true
		all += c.Expression
	}
	for i := range 40 {
		if n := strings.Count(all, fmt.Sprintf("%d == %d", i, i)); n < 2 {
			t.Errorf("condition %d is there %d times, want both", i, n)
		}
	}
}

// natively does what the set says to objects that are there.
func natively(current NativeObjects, set NativeSet) NativeObjects {
	remove := func(o v1.Object) {
		switch o.(type) {
		case *admissionv1.ValidatingAdmissionPolicy:
			current.ValidatingPolicies = slices.DeleteFunc(current.ValidatingPolicies, func(p admissionv1.ValidatingAdmissionPolicy) bool { return p.Name == o.GetName() })
		case *admissionv1.ValidatingAdmissionPolicyBinding:
			current.ValidatingBindings = slices.DeleteFunc(current.ValidatingBindings, func(p admissionv1.ValidatingAdmissionPolicyBinding) bool { return p.Name == o.GetName() })
		case *admissionv1.MutatingAdmissionPolicy:
			current.MutatingPolicies = slices.DeleteFunc(current.MutatingPolicies, func(p admissionv1.MutatingAdmissionPolicy) bool { return p.Name == o.GetName() })
		case *admissionv1.MutatingAdmissionPolicyBinding:
			current.MutatingBindings = slices.DeleteFunc(current.MutatingBindings, func(p admissionv1.MutatingAdmissionPolicyBinding) bool { return p.Name == o.GetName() })
		}
	}
	for _, objects := range set.Apply {
		for _, o := range objects {
			remove(o)
			o.SetUID(types.UID("of-" + o.GetName()))
			switch o := o.(type) {
			case *admissionv1.ValidatingAdmissionPolicy:
				current.ValidatingPolicies = append(current.ValidatingPolicies, *o)
			case *admissionv1.ValidatingAdmissionPolicyBinding:
				current.ValidatingBindings = append(current.ValidatingBindings, *o)
			case *admissionv1.MutatingAdmissionPolicy:
				current.MutatingPolicies = append(current.MutatingPolicies, *o)
			case *admissionv1.MutatingAdmissionPolicyBinding:
				current.MutatingBindings = append(current.MutatingBindings, *o)
			}
		}
	}
	for _, o := range set.Delete {
		remove(o)
	}
	return current
}

// told is a set in short.
func told(set NativeSet) string {
	var all []string
	for _, objects := range set.Apply {
		for _, o := range objects {
			all = append(all, "+"+o.GetObjectKind().GroupVersionKind().Kind+"/"+o.GetName())
		}
	}
	for _, o := range set.Delete {
		all = append(all, "-"+o.GetObjectKind().GroupVersionKind().Kind+"/"+o.GetName())
	}
	for name, at := range set.InPlace {
		all = append(all, fmt.Sprintf("%s at %d", name, at.Generation))
	}
	for name := range set.Unsuited {
		all = append(all, name+" is unsuited")
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func TestNativesAreAppliedAndDeleted(t *testing.T) {
	changed := inCEL(t, "p", "failurePolicy: Ignore")
	changed.Object.SetGeneration(4)
	mutating := inCEL(t, "p", inCELMutating)
	mutating.Object.SetGeneration(5)
	policies := func(all ...v1.Policy) []v1.Policy { return all }
	steps := []struct {
		name          string
		wanted, kept  []v1.Policy
		meddle        func(*NativeObjects)
		want, nothing string // nothing is what the next round says
	}{
		{name: "a new policy", wanted: policies(inCEL(t, "p", "")),
			want: "+ValidatingAdmissionPolicy/kw.cap.p\n+ValidatingAdmissionPolicyBinding/kw.cap.p", nothing: "kw.cap.p at 3"},
		{name: "somebody has changed it", wanted: policies(inCEL(t, "p", "")),
			meddle: func(o *NativeObjects) {
				o.ValidatingBindings[0].Spec.MatchResources = &admissionv1.MatchResources{}
			},
			want: "+ValidatingAdmissionPolicyBinding/kw.cap.p\nkw.cap.p at 3", nothing: "kw.cap.p at 3"},
		{name: "somebody has deleted half of it", wanted: policies(inCEL(t, "p", "")),
			meddle: func(o *NativeObjects) { o.ValidatingBindings = nil },
			want:   "+ValidatingAdmissionPolicyBinding/kw.cap.p", nothing: "kw.cap.p at 3"},
		{name: "it has changed", wanted: policies(changed),
			want:    "+ValidatingAdmissionPolicy/kw.cap.p\n+ValidatingAdmissionPolicyBinding/kw.cap.p\nkw.cap.p at 3",
			nothing: "kw.cap.p at 4"},
		{name: "it cannot be enforced any more", wanted: policies(inCEL(t, "p", "workloads: Expand")),
			want: "kw.cap.p at 4\nkw.cap.p is unsuited", nothing: "kw.cap.p at 4\nkw.cap.p is unsuited"},
		{name: "it mutates now", wanted: policies(mutating),
			want:    "+MutatingAdmissionPolicy/kw.cap.p\n+MutatingAdmissionPolicyBinding/kw.cap.p\nkw.cap.p at 4",
			nothing: "-ValidatingAdmissionPolicy/kw.cap.p\n-ValidatingAdmissionPolicyBinding/kw.cap.p\nkw.cap.p at 5"},
		{name: "it mutates, and the other kind goes", wanted: policies(mutating), want: "-ValidatingAdmissionPolicy/kw.cap.p\n-ValidatingAdmissionPolicyBinding/kw.cap.p\nkw.cap.p at 5", nothing: "kw.cap.p at 5"},
		{name: "it moves to a webhook", kept: policies(mutating), want: "kw.cap.p at 5", nothing: "kw.cap.p at 5"},
		{name: "it is gone", want: "-MutatingAdmissionPolicy/kw.cap.p\n-MutatingAdmissionPolicyBinding/kw.cap.p", nothing: ""},
	}
	var current NativeObjects
	for i, s := range steps {
		in := NativeSetInput{Server: server(t, "default", ""), Wanted: s.wanted, Kept: s.kept, Current: current}
		if s.meddle != nil {
			s.meddle(&in.Current)
		}
		set := Natives(in)
		if diff := cmp.Diff(s.want, told(set)); diff != "" {
			t.Fatalf("step %d, %s (-want +got):\n%s", i, s.name, diff)
		}
		current = natively(in.Current, set)
		in = NativeSetInput{Server: in.Server, Wanted: s.wanted, Kept: s.kept, Current: current}
		if diff := cmp.Diff(s.nothing, told(Natives(in))); diff != "" {
			t.Fatalf("after step %d, %s (-want +got):\n%s", i, s.name, diff)
		}
	}
}

func TestNativesOfOthersAreLeftAlone(t *testing.T) {
	theirs := admissionv1.ValidatingAdmissionPolicy{}
	theirs.Name = "kw.cap.theirs"
	other, err := NativeOf(NativeInput{Policy: inCEL(t, "other", "")})
	if err != nil {
		t.Fatal(err)
	}
	p, ok := other.Policy.(*admissionv1.ValidatingAdmissionPolicy)
	if !ok {
		t.Fatalf("have a %T", other.Policy)
	}
	p.Labels[LabelPolicyServer] = "another"
	set := Natives(NativeSetInput{Server: server(t, "default", ""), Current: NativeObjects{
		ValidatingPolicies: []admissionv1.ValidatingAdmissionPolicy{theirs, *p},
	}})
	if got := told(set); got != "" {
		t.Errorf("have %s", got)
	}
}

func TestTypeCheckingOfTheAPIServerIsTold(t *testing.T) {
	pol := inCEL(t, "p", "timeoutEvalSeconds: 3")
	native, err := NativeOf(NativeInput{Policy: pol})
	if err != nil {
		t.Fatal(err)
	}
	p, ok := native.Policy.(*admissionv1.ValidatingAdmissionPolicy)
	if !ok {
		t.Fatalf("have a %T", native.Policy)
	}
	p.Generation, p.Status = 1, admissionv1.ValidatingAdmissionPolicyStatus{ObservedGeneration: 1, TypeChecking: &admissionv1.TypeChecking{
		ExpressionWarnings: []admissionv1.ExpressionWarning{{FieldRef: "spec.validations[0].expression", Warning: "undefined field 'x'"}},
	}}
	set := Natives(NativeSetInput{Server: server(t, "default", ""), Wanted: []v1.Policy{pol}, Current: NativeObjects{ValidatingPolicies: []admissionv1.ValidatingAdmissionPolicy{*p}}})
	want := []string{
		"spec.timeoutEvalSeconds: the API server bounds the cost of expressions, and not their time",
		"spec.validations[0].expression: undefined field 'x'",
	}
	if diff := cmp.Diff(want, set.Warnings["kw.cap.p"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
