package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// workloadKind is a kind that is expanded.
type workloadKind struct{ kind, apiVersion, way string }

func workloadKinds() []workloadKind {
	return []workloadKind{
		{"Deployment", "apps/v1", "spec.template"},
		{"ReplicaSet", "apps/v1", "spec.template"},
		{"StatefulSet", "apps/v1", "spec.template"},
		{"DaemonSet", "apps/v1", "spec.template"},
		{"Job", "batch/v1", "spec.template"},
		{"CronJob", "batch/v1", "spec.jobTemplate.spec.template"},
		{"ReplicationController", "v1", "spec.template"},
		{"Rollout", "argoproj.io/v1alpha1", "spec.workload.template"},
	}
}

// expanding makes a policy one for pods that expands workloads.
func expanding(p *policy.Policy) {
	p.Rules = []policy.Rule{{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}, Operations: []string{"CREATE"}}}
	p.Workloads = policy.ExpandWorkloads
	p.WorkloadTemplates = map[string]string{"rollouts.argoproj.io": "spec.workload.template"}
}

// object is a workload of the kind with this template, and things around it that
// nobody here knows.
func (k workloadKind) object(template string) string {
	names := strings.Split(k.way, ".")
	text := template
	for i := len(names) - 1; i >= 0; i-- {
		text = fmt.Sprintf(`{ "x%d": 1.0, %q : %s , "y%d": 18446744073709551616}`, i, names[i], text, i)
	}
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":"web","namespace":"shop"},%s`, k.apiVersion, k.kind, text[1:])
}

func (k workloadKind) create(t testing.TB, template string) *sdk.Request {
	t.Helper()
	return sdktest.Request(t, k.kind, k.object(template))
}

func (k workloadKind) update(t testing.TB, from, to string) *sdk.Request {
	t.Helper()
	req := k.create(t, to)
	req.Operation, req.OldObject = sdk.Update, json.RawMessage(k.object(from))
	return req
}

func deployment() workloadKind { return workloadKinds()[0] }

const (
	plainTemplate      = `{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"i:1"}]}}`
	privilegedTemplate = `{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","securityContext":{"privileged":true}}]}}`
)

func TestAPolicyForPodsJudgesWhatMakesThem(t *testing.T) {
	e := newEngine(t, Options{})
	mustApply(t, e, bundled(builtinPolicy("p", "pod-privileged", ""), expanding))
	of := func(req *sdk.Request, op sdk.Operation, sub string) *sdk.Request {
		req.Operation, req.SubResource = op, sub
		return req
	}
	for _, k := range workloadKinds() {
		refused := "Privileged container is not allowed: " + k.way + ".spec.containers[0].securityContext.privileged. "
		deleted := k.update(t, privilegedTemplate+" ", privilegedTemplate)
		deleted.OldObject = json.RawMessage(strings.Replace(k.object(plainTemplate), `"name":"web"`, `"deletionTimestamp":"2026-11-24T12:00:00Z"`, 1))
		pretends := k.update(t, plainTemplate, privilegedTemplate)
		pretends.Object = json.RawMessage(strings.Replace(string(pretends.Object), `"name":"web"`, `"deletionTimestamp":"2026-11-24T12:00:00Z"`, 1))
		tests := []struct {
			name string
			req  *sdk.Request
			want string // the message that starts so, "" if it is allowed
		}{
			{"created", k.create(t, privilegedTemplate), refused},
			{"created and harmless", k.create(t, plainTemplate), ""},
			{"changed for the worse", k.update(t, plainTemplate, privilegedTemplate), refused},
			{"changed for the better", k.update(t, privilegedTemplate, plainTemplate), ""},
			{"changed and still bad", k.update(t, privilegedTemplate, strings.Replace(privilegedTemplate, "web", "api", 1)), refused},
			{"changed elsewhere", k.update(t, privilegedTemplate, strings.ReplaceAll(privilegedTemplate, ":", " : ")), ""},
			{"being deleted", deleted, ""},
			{"said to be deleted", pretends, refused},
			{"without an old object", of(k.create(t, privilegedTemplate), sdk.Update, ""), refused},
			{"deletion", of(k.create(t, privilegedTemplate), sdk.Delete, ""), ""},
			{"connection", of(k.create(t, privilegedTemplate), sdk.Connect, ""), ""},
			{"scale", of(k.create(t, privilegedTemplate), sdk.Update, "scale"), ""},
			{"status", of(k.create(t, privilegedTemplate), sdk.Update, "status"), ""},
		}
		for _, tt := range tests {
			tt.req.UID = tt.name
			d := evaluateBundle(t, e, tt.req)
			have := strings.TrimPrefix(messageOf(d.Response), "p: ")
			if d.Response.Allowed != (tt.want == "") || !strings.HasPrefix(have, tt.want) {
				t.Errorf("%s, %s: allowed %t, %q; want %q", k.kind, tt.name, d.Response.Allowed, have, tt.want)
			}
			if tt.req.SubResource != "" || tt.req.Operation != sdk.Create && tt.req.Operation != sdk.Update {
				continue // without a bundle the webhook alone would keep these away
			}
			alone := evaluate(t, e, "p", tt.req)
			if alone.Response.Allowed != d.Response.Allowed || messageOf(alone.Response) != have || alone.Template != k.way {
				t.Errorf("%s, %s: alone allowed %t, %q, template %q", k.kind, tt.name, alone.Response.Allowed, messageOf(alone.Response), alone.Template)
			}
		}
	}
}

func TestPodsAreJudgedAlsoWhenTheirWorkloadWas(t *testing.T) {
	e := newEngine(t, Options{})
	mustApply(t, e, bundled(builtinPolicy("p", "pod-privileged", ""), expanding))
	d := evaluateBundle(t, e, privilegedPod(t))
	if want := "p: Privileged container is not allowed: spec.containers[0]."; d.Response.Allowed || !strings.HasPrefix(messageOf(d.Response), want) {
		t.Errorf("allowed %t, %q, want %q", d.Response.Allowed, messageOf(d.Response), want)
	}
	if d := evaluate(t, e, "p", privilegedPod(t)); d.Template != "" {
		t.Errorf("template %q of a pod, want none", d.Template)
	}
}

func TestAWorkloadThatOwnRulesMatchIsSeenAsItIs(t *testing.T) {
	e := newEngine(t, Options{})
	own := func(p *policy.Policy) {
		p.Rules = append(p.Rules, policy.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}, Operations: []string{"*"}})
	}
	// It wants a label that the workload has and the template has not.
	p := builtinPolicy("p", "safe-labels", `{"mandatory_labels":["team"]}`)
	mustApply(t, e, bundled(p, expanding, own))
	req := deployment().create(t, plainTemplate)
	req.Object = json.RawMessage(strings.Replace(string(req.Object), `"name":"web"`, `"labels":{"team":"a"}`, 1))
	if d := evaluateBundle(t, e, req); !d.Response.Allowed {
		t.Errorf("the workload with the label is refused: %s", messageOf(d.Response))
	}
	mustApply(t, e, bundled(p, expanding))
	const want = "p: the pod that spec.template describes: The following mandatory labels are missing: team"
	if d := evaluateBundle(t, e, req); d.Response.Allowed || messageOf(d.Response) != want {
		t.Errorf("allowed %t, %q, want %q", d.Response.Allowed, messageOf(d.Response), want)
	}
}

func TestWhatIsMadeByAWorkloadThatIsExpandedIsNotJudgedAgain(t *testing.T) {
	e := newEngine(t, Options{})
	mustApply(t, e, builtinPolicy("p", "pod-privileged", ""))
	ent := e.state.Load().byID["p"]
	expanding(&ent.policy)
	tests := []struct {
		owner  string
		spared bool
	}{
		{`[{"apiVersion":"apps/v1","kind":"Deployment","name":"web","uid":"u","controller":true}]`, true},
		{`[{"apiVersion":"v1","kind":"X","controller":false},{"apiVersion":"batch/v1","kind":"CronJob","controller":true}]`, true},
		{`[{"apiVersion":"argoproj.io/v1alpha1","kind":"Rollout","controller":true}]`, true},
		{`[{"apiVersion":"apps/v1","kind":"Deployment","name":"web","uid":"u"}]`, false},
		{`[{"apiVersion":"monitoring.coreos.com/v1","kind":"Prometheus","controller":true}]`, false},
		{`[{"apiVersion":"Deployment","kind":"Deployment","controller":true}]`, false},
		{`[{"controller":true}]`, false},
		{`"x"`, false},
		{`null`, false},
	}
	for _, tt := range tests {
		req := workloadKinds()[1].create(t, privilegedTemplate)
		req.Object = json.RawMessage(strings.Replace(string(req.Object), `"name":"web"`, `"ownerReferences":`+tt.owner, 1))
		if d := evaluate(t, e, "p", req); d.Response.Allowed != tt.spared {
			t.Errorf("owner %s: allowed %t, want %t", tt.owner, d.Response.Allowed, tt.spared)
		}
	}
}

func TestAnObjectWithoutAPodTemplateIsTheAPIServersToRefuse(t *testing.T) {
	e := newEngine(t, Options{})
	p := builtinPolicy("p", "safe-labels", `{"mandatory_labels":["team"]}`)
	expanding(&p)
	mustApply(t, e, p)
	objects := []string{
		`{}`, `{"spec":null}`, `{"spec":{}}`, `{"spec":[]}`, `{"spec":{"template":7}}`, `{"spec":{"template":null}}`, `{"spec":{"template":[]}}`,
		`{"spec":{"template":{}}}`, `{"spec":{"template":{"spec":"x"}}}`, `{"spec":{"template":{"spec":null}}}`,
		`{"spec":{"template":{"metadata":[],"spec":{}}}}`, `{"spec":{"template":{"metadata":"x","spec":{}}}}`, `[]`, `7`, `"x"`, `null`,
	}
	for _, object := range objects {
		for _, op := range []sdk.Operation{sdk.Create, sdk.Update} {
			req := deployment().create(t, plainTemplate)
			req.Operation, req.Object, req.OldObject = op, json.RawMessage(object), json.RawMessage(`{"spec":8}`)
			if d := evaluate(t, e, "p", req); !d.Response.Allowed || d.Err != nil {
				t.Errorf("%s %s: allowed %t, %v", op, object, d.Response.Allowed, d.Err)
			}
		}
	}
	req := deployment().create(t, plainTemplate)
	for _, object := range []json.RawMessage{nil, {}, json.RawMessage(" ")} {
		if req.Object = object; !evaluate(t, e, "p", req).Response.Allowed {
			t.Errorf("object %q is refused", object)
		}
	}
}

func TestThePodIsWhatTheControllerWouldCreate(t *testing.T) {
	const object = `{"apiVersion":"apps/v1","kind":"Deployment",
		"metadata":{"name":"web","namespace":"shop","uid":"u7","labels":{"no":"thing"}},
		"spec":{"replicas":3,"template": { "metadata": { "creationTimestamp":null, "labels":{"app" :"web"}, "x":[1.0] }, "spec": {"n":1.50,"containers":[ ]} , "z":1}}}`
	req := sdktest.Request(t, "Deployment", object)
	yes := true
	req.UserInfo, req.DryRun, req.Options = sdk.UserInfo{Username: "ann"}, &yes, json.RawMessage(`{"kind":"CreateOptions"}`)
	const owner = `"ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":"web","uid":"u7","controller":true,"blockOwnerDeletion":true}]`
	pods := sdk.GroupVersionResource{Version: "v1", Resource: "pods"}
	kind := sdk.GroupVersionKind{Version: "v1", Kind: "Pod"}
	want := &sdk.Request{
		UID: req.UID, Kind: kind, Resource: pods, RequestKind: &kind, RequestResource: &pods, Operation: sdk.Create,
		Namespace: "shop", UserInfo: req.UserInfo, DryRun: &yes, Options: req.Options,
		Object: json.RawMessage(`{"apiVersion":"v1","kind":"Pod","metadata":{"creationTimestamp":null, "labels":{"app" :"web"}, "x":[1.0],` +
			`"namespace":"shop","generateName":"web-",` + owner + `},"spec":{"n":1.50,"containers":[ ]}}`),
	}
	x := expand(req, []string{"spec", "template"})
	if !x.pod.Equal(want) {
		t.Errorf("pod (-want +have):\n%s", cmp.Diff(string(want.AppendJSON(nil)), string(x.pod.AppendJSON(nil))))
	}
	if x.pod.OldObject != nil || x.pod.Name != "" {
		t.Errorf("old object %s, name %q, want none", x.pod.OldObject, x.pod.Name)
	}
	req.Operation, req.OldObject, req.Options = sdk.Update, json.RawMessage(`{}`), json.RawMessage(`{"kind":"UpdateOptions"}`)
	if x := expand(req, []string{"spec", "template"}); x.pod.Operation != sdk.Create || x.pod.OldObject != nil || x.pod.Options != nil {
		t.Errorf("of an update: %s", x.pod.AppendJSON(nil))
	}

	const metadata = `"ownerReferences":[{"apiVersion":"batch/v1","kind":"Job","name":"","uid":"` + noUID + `","controller":true,"blockOwnerDeletion":true}]`
	job := sdktest.Request(t, "Job", `{"metadata":{"generateName":"run-"},"spec":{"template":{"metadata":{"name":"x","a\"b":null,"n\u0061mespace":"y","generateName":"z","ownerReferences":[],"labels":{}},"spec":{}}}}`)
	const wantJob = `{"apiVersion":"v1","kind":"Pod","metadata":{"a\"b":null,"labels":{},"generateName":"run-",` + metadata + `},"spec":{}}`
	if diff := cmp.Diff(wantJob, string(expand(job, []string{"spec", "template"}).pod.Object)); diff != "" {
		t.Errorf("names that controllers do not take (-want +have):\n%s", diff)
	}
	bare := sdktest.Request(t, "Job", `{"spec":{"template":{"spec":{}}}}`)
	if diff := cmp.Diff(`{"apiVersion":"v1","kind":"Pod","metadata":{`+metadata+`},"spec":{}}`,
		string(expand(bare, []string{"spec", "template"}).pod.Object)); diff != "" {
		t.Errorf("without metadata (-want +have):\n%s", diff)
	}
}

func TestPlacesAreSaidAsTheyAreInTheWorkload(t *testing.T) {
	x := &expansion{way: []string{"spec", "jobTemplate", "spec", "template"}}
	const base = "spec.jobTemplate.spec.template."
	const about = "the pod that spec.jobTemplate.spec.template describes: "
	tests := []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"no place", "no root please", about + "no root please"},
		{"one", "spec.hostPID is true", base + "spec.hostPID is true"},
		{"several", "a: spec.containers[0].image, spec.initContainers[1]. See spec.volumes", "a: " + base + "spec.containers[0].image, " + base + "spec.initContainers[1]. See " + base + "spec.volumes"},
		{"labels", `metadata.labels["a/b"] and metadata.annotations`, base + `metadata.labels["a/b"] and ` + base + `metadata.annotations`},
		{"dot in front", "{.spec.hostNetwork} $.spec.hostIPC", "{." + base + "spec.hostNetwork} $." + base + "spec.hostIPC"},
		{"pointer", "'/spec/containers/0' (/metadata/labels/a)", "'/spec/jobTemplate/spec/template/spec/containers/0' (/spec/jobTemplate/spec/template/metadata/labels/a)"},
		{"quoted", "`spec.os`, \"spec.os\", 'spec.os'", "`" + base + "spec.os`, \"" + base + "spec.os\", '" + base + "spec.os'"},
		{"of the pod, not of the template", "metadata.name is odd", about + "metadata.name is odd"},
		{"of another object", "Service a: spec.selector; budget b: spec.minAvailable", about + "Service a: spec.selector; budget b: spec.minAvailable"},
		{"of a variable", "pod.spec.containers, object.metadata.labels, x[0].spec.os", about + "pod.spec.containers, object.metadata.labels, x[0].spec.os"},
		{"of a URL", "https://k8s.io/spec/containers and a/spec.os", about + "https://k8s.io/spec/containers and a/spec.os"},
		{"end of a sentence", "read the spec. containers are, spec.", about + "read the spec. containers are, spec."},
		{"longer words", "podspec.containers spec.containersX specs.os é_spec.os", about + "podspec.containers spec.containersX specs.os é_spec.os"},
		{"not UTF-8", "\xffspec.os \xff spec.os\xff", about + "\xffspec.os \xff spec.os\xff"},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, x.tell(tt.text)); diff != "" {
			t.Errorf("%s (-want +have):\n%s", tt.name, diff)
		}
	}
	for field, want := range map[string]string{"": "", "spec.containers[0]": base + "spec.containers[0]", "spec.policies.a": "spec.policies.a"} {
		if have := x.place(field); have != want {
			t.Errorf("place(%q) = %q, want %q", field, have, want)
		}
	}
}

func TestTheOwnersMessageStaysAndThePolicysIsMoved(t *testing.T) {
	e := newEngine(t, Options{})
	p := builtinPolicy("p", "pod-privileged", "")
	p.Message = "spec.containers: ask the platform team"
	g := policy.Policy{ID: "g", Mode: policy.Protect, FailurePolicy: policy.Fail, Group: &policy.Group{
		Expression: "plain()", Message: "no privileges", Members: map[string]policy.Policy{"plain": {Module: "builtin://pod-privileged"}}}}
	m := builtinPolicy("m", "pod-privileged", "")
	m.Mode = policy.Monitor
	broken := builtinPolicy("broken", "nope", "")
	all := []*policy.Policy{&p, &g, &m, &broken}
	list := make([]policy.Policy, len(all))
	for i := range all {
		expanding(all[i])
		list[i] = *all[i]
	}
	_ = e.Apply(t.Context(), list) // "broken" is
	req := deployment().create(t, privilegedTemplate)
	said := "Privileged container is not allowed: spec.template.spec.containers[0].securityContext.privileged. " +
		"A privileged container can do what root can do on the node: remove the field or set it to false"
	tests := map[policy.ID]*review.Status{
		"p": {Message: p.Message, Causes: []review.Cause{{Message: said}}},
		"g": {Message: "no privileges", Causes: []review.Cause{{Message: said, Field: "spec.policies.plain"}}},
		"m": nil,
	}
	for id, want := range tests {
		if diff := cmp.Diff(want, evaluate(t, e, id, req).Response.Status); diff != "" {
			t.Errorf("%s (-want +have):\n%s", id, diff)
		}
	}
	if d := evaluate(t, e, "broken", req); d.Response.Allowed || d.Template != "spec.template" || strings.Contains(messageOf(d.Response), "spec.template") {
		t.Errorf("without a verdict: allowed %t, template %q, %q", d.Response.Allowed, d.Template, messageOf(d.Response))
	}
	if d := evaluate(t, e, "broken", deployment().update(t, plainTemplate, plainTemplate)); !d.Response.Allowed {
		t.Errorf("a policy that is not there keeps an old workload from being scaled: %s", messageOf(d.Response))
	}
	audited, err := e.Audit(t.Context(), "m", req)
	if err != nil || messageOf(audited.Response) != said || audited.Template != "spec.template" {
		t.Errorf("Audit = %+v, %v, want the same words", audited, err)
	}
}

func TestAnOlderRevisionIsAskedForThePodThatTheNewerOneExpands(t *testing.T) {
	e := newEngine(t, Options{})
	p := builtinPolicy("p", "pod-privileged", "")
	expanding(&p)
	p.Workloads = policy.IgnoreWorkloads
	mustApply(t, e, p)
	p.Workloads, p.Module = policy.ExpandWorkloads, "builtin://nope"
	if err := e.Apply(t.Context(), []policy.Policy{p}); err == nil || status(t, e, "p").State != Stale {
		t.Fatalf("Apply = %v, state %s, want an older revision to serve", err, status(t, e, "p").State)
	}
	d := evaluate(t, e, "p", deployment().create(t, privilegedTemplate))
	if d.Template != "spec.template" || d.Response.Allowed || !strings.Contains(messageOf(d.Response), "spec.template.spec.containers[0]") {
		t.Errorf("template %q, allowed %t, %q", d.Template, d.Response.Allowed, messageOf(d.Response))
	}
}

// programFunc is a program that is a function.
type programFunc func(req *sdk.Request) sdk.Verdict

func (f programFunc) Evaluate(_ context.Context, req *sdk.Request) (sdk.Verdict, error) {
	return f(req), nil
}
func (programFunc) Close() {}

// expandingEngine has the policy "p" of the bundle "all", which is the function
// and expands workloads.
func expandingEngine(t testing.TB, f programFunc, change ...func(*policy.Policy)) *Engine {
	t.Helper()
	e := newEngine(t, Options{})
	withProgram(e, f)
	ent := e.state.Load().byID["p"]
	for _, c := range append(change, expanding) {
		c(&ent.policy)
	}
	return e
}
