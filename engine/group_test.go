package engine

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// groupOf is the group "g" as policies.yml would have it.
func groupOf(expression string, members map[string]policy.Policy) policy.Policy {
	for name, m := range members {
		members[name] = policy.Policy{
			Module: m.Module, CEL: m.CEL, Settings: m.Settings, Timeout: m.Timeout,
			HostCapabilities: m.HostCapabilities, ContextAwareResources: m.ContextAwareResources,
		}
	}
	return policy.Policy{
		ID: "g", Mode: policy.Protect, FailurePolicy: policy.Fail,
		Group: &policy.Group{Expression: expression, Message: "not in this cluster", Members: members},
	}
}

// The members of the tests: what they say of a plain pod.
func accepts() policy.Policy { return builtinPolicy("", "pod-privileged", "") }
func refuses() policy.Policy {
	return builtinPolicy("", "safe-labels", `{"mandatory_labels":["team"]}`)
}
func mutates() policy.Policy { return dropAll("") }
func missing() policy.Policy { return builtinPolicy("", "nope", "") }

const refusal = `The following mandatory labels are missing: team`

// messages are what causes say, by field.
func messages(causes []review.Cause) []string {
	var all []string
	for _, c := range causes {
		all = append(all, c.Field+": "+c.Message)
	}
	return all
}

func TestAGroupSaysWhatItsExpressionDoes(t *testing.T) {
	e := newEngine(t, Options{})
	no := guestPolicy("", portable(t, sdktest.WaPC), script(`{"message":"no","code":403,"warnings":["w"],"annotations":{"k":"v"}}`))
	silent := guestPolicy("", portable(t, sdktest.WASI), script(`{}`))
	yes := guestPolicy("", portable(t, sdktest.WASI), script(`{"accepted":true,"warnings":["w"],"annotations":{"k":"v"}}`))
	for _, tt := range []struct {
		expression string
		allowed    bool
		causes     []string
	}{
		{"accepts()", true, nil},
		{"yes() && accepts()", true, nil},
		{"refuses()", false, []string{"spec.policies.refuses: " + refusal}},
		{"refuses() || no()", false, []string{"spec.policies.no: no", "spec.policies.refuses: " + refusal}},
		{"no() && refuses()", false, []string{"spec.policies.no: no"}},
		{"!yes() || silent()", false, []string{"spec.policies.silent: "}},
		{"!accepts()", false, nil},
		{"!no()", true, nil},
		{"mutates()", false, []string{"spec.policies.mutates: mutation is not allowed inside of policy group"}},
		{"!mutates() && accepts()", true, nil},
		{"no() == refuses()", true, nil},
		{"no() != refuses() || false", false, []string{"spec.policies.no: no", "spec.policies.refuses: " + refusal}},
	} {
		mustApply(t, e, groupOf(tt.expression, map[string]policy.Policy{
			"accepts": accepts(), "refuses": refuses(), "mutates": mutates(), "no": no, "silent": silent, "yes": yes,
		}))
		req := plainPod(t)
		want := review.Response{UID: req.UID, Allowed: tt.allowed}
		if !tt.allowed {
			want.Status = &review.Status{Message: "not in this cluster"}
		}
		d := evaluate(t, e, "g", req)
		if s := d.Response.Status; s != nil {
			if diff := cmp.Diff(tt.causes, messages(s.Causes)); diff != "" {
				t.Errorf("%s: causes (-want +have):\n%s", tt.expression, diff)
			}
			s.Causes = nil
		}
		if diff := cmp.Diff(want, d.Response); diff != "" || d.Err != nil || d.Policy != "g" {
			t.Errorf("%s: policy %q, error %v (-want +have):\n%s", tt.expression, d.Policy, d.Err, diff)
		}
	}
}

func TestTheAnswerOfAGroupIsKubewardens(t *testing.T) {
	e := newEngine(t, Options{})
	mustApply(t, e, groupOf("signed() || silent()", map[string]policy.Policy{
		"signed": refuses(), "silent": guestPolicy("", portable(t, sdktest.WaPC), script(`{}`)),
	}))
	req := plainPod(t)
	want := `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"` + req.UID + `","allowed":false,` +
		`"status":{"message":"not in this cluster","details":{"causes":[` +
		`{"reason":null,"message":"The following mandatory labels are missing: team","field":"spec.policies.signed"},` +
		`{"reason":null,"message":null,"field":"spec.policies.silent"}]}},"auditAnnotations":null,"warnings":null}}`
	if diff := cmp.Diff(want, answer(evaluate(t, e, "g", req).Response)); diff != "" {
		t.Errorf("answer (-want +have):\n%s", diff)
	}
}

func TestAMemberIsAskedAtMostOnceAndOnlyIfItMatters(t *testing.T) {
	registry := prometheus.NewRegistry()
	e := newEngine(t, Options{Metrics: registry})
	mustApply(t, e, groupOf("b() && (a() || !a() || b()) || c()", map[string]policy.Policy{"a": refuses(), "b": accepts(), "c": accepts()}))
	for range 3 {
		evaluate(t, e, "g", plainPod(t))
	}
	have := strings.Join(samples(t, registry), "\n")
	for _, want := range []string{
		`warder_evaluations_total{outcome="accepted",policy="g"} 3`,
		`warder_evaluations_total{outcome="rejected",policy="g/a"} 3`,
		`warder_evaluations_total{outcome="accepted",policy="g/b"} 3`,
		`warder_evaluations_total{outcome="accepted",policy="g/c"} 0`,
		`warder_evaluation_duration_seconds{policy="g",runtime="group"} 3`,
		`warder_evaluation_duration_seconds{policy="g/a",runtime="native"} 3`,
		`warder_policies{state="loaded"} 1`,
	} {
		if !strings.Contains(have, want) {
			t.Errorf("metrics have no %s:\n%s", want, have)
		}
	}
	mustApply(t, e, groupOf("b()", map[string]policy.Policy{"b": accepts()}))
	if have := strings.Join(samples(t, registry), "\n"); strings.Contains(have, `"g/a"`) || !strings.Contains(have, `policy="g/b"} 3`) {
		t.Errorf("want what was counted of the member that is gone dropped, and no more:\n%s", have)
	}
	e.Unload("g")
	if have := strings.Join(samples(t, registry), "\n"); strings.Contains(have, `policy=`) {
		t.Errorf("metrics of a group that is gone:\n%s", have)
	}
}

func TestAMemberWithoutAVerdictMattersWhenTheValueDependsOnIt(t *testing.T) {
	lost := guestPolicy("", portable(t, sdktest.WASI), script(`{"error":"no idea"}`))
	slow := guestPolicy("", portable(t, sdktest.WaPC), script(`{"loop":true}`))
	slow.Timeout = 50 * time.Millisecond
	const noIdea = `no idea (policy "g/lost", stage call)`
	const late = timeoutText + ` (policy "g/slow", stage call)`
	e := newEngine(t, Options{})
	for _, tt := range []struct{ expression, want string }{
		{"lost()", "500 error evaluating policy group expression: " + noIdea},
		{"!lost()", "500 error evaluating policy group expression: " + noIdea},
		{"lost() && accepts()", "500 error evaluating policy group expression: " + noIdea},
		{"slow() || lost() || refuses()", "500 error evaluating policy group expression: " + noIdea + "; " + late},
		{"lost() || accepts()", "allowed"},
		{"!lost() || accepts()", "allowed"},
		{"lost() && refuses()", "0 not in this cluster: spec.policies.lost: " + noIdea + ": spec.policies.refuses: " + refusal},
		{"refuses() && lost()", "0 not in this cluster: spec.policies.refuses: " + refusal},
	} {
		mustApply(t, e, groupOf(tt.expression, map[string]policy.Policy{
			"accepts": accepts(), "refuses": refuses(), "lost": lost, "slow": slow,
		}))
		d := evaluate(t, e, "g", plainPod(t))
		have := "allowed"
		if s := d.Response.Status; s != nil {
			parts := append([]string{s.Message}, messages(s.Causes)...)
			have = inner().ReplaceAllString(strings.Join(parts, ": "), ")")
			have = map[int]string{0: "0 ", 500: "500 "}[s.Code] + have
		}
		if diff := cmp.Diff(tt.want, have); diff != "" || d.Response.Allowed != (have == "allowed") {
			t.Errorf("%s: allowed %t (-want +have):\n%s", tt.expression, d.Response.Allowed, diff)
		}
		if wantErr := strings.HasPrefix(tt.want, "500"); (d.Err != nil) != wantErr {
			t.Errorf("%s: Err = %v, want one: %t", tt.expression, d.Err, wantErr)
		}
		if evaluation := (*EvaluationError)(nil); d.Err != nil && (!errors.As(d.Err, &evaluation) || evaluation.Policy != "g" || evaluation.Stage != "members") {
			t.Errorf("%s: Err = %#v, want the group's", tt.expression, d.Err)
		}
		if strings.Contains(tt.want, late) && !errors.Is(d.Err, context.DeadlineExceeded) {
			t.Errorf("%s: Err = %v, want context.DeadlineExceeded to be seen through it", tt.expression, d.Err)
		}
	}
}

func TestModeAndFailurePolicyAreTheGroups(t *testing.T) {
	e := newEngine(t, Options{})
	lost := guestPolicy("", portable(t, sdktest.WASI), script(`{"error":"no idea"}`))
	rejects := groupOf("refuses()", map[string]policy.Policy{"refuses": refuses()})
	rejects.Mode = policy.Monitor
	undecided := groupOf("lost()", map[string]policy.Policy{"lost": lost})
	undecided.ID, undecided.FailurePolicy = "u", policy.Ignore
	mustApply(t, e, rejects, undecided)
	req := plainPod(t)
	if diff := cmp.Diff(review.Response{UID: req.UID, Allowed: true}, evaluate(t, e, "g", req).Response); diff != "" {
		t.Errorf("monitor mode (-want +have):\n%s", diff)
	}
	audit, err := e.Audit(t.Context(), "g", req)
	if err != nil || audit.Response.Allowed || messageOf(audit.Response) != "not in this cluster" {
		t.Errorf("Audit = %+v, %v, want the verdict as it is", audit.Response, err)
	}
	d := evaluate(t, e, "u", req)
	if !d.Response.Allowed || len(d.Response.Warnings) != 1 || !strings.Contains(d.Response.Warnings[0], "no idea") || d.Err == nil {
		t.Errorf("failurePolicy Ignore: %+v, %v, want allowed with a warning", d.Response, d.Err)
	}
}

func TestAMemberIsAPolicyUnderItsGroupsName(t *testing.T) {
	lines := &logLines{}
	e := newEngine(t, Options{Log: lines.logger()})
	asks := guestPolicy("", portable(t, sdktest.WaPC), script(`{"accepted":true,"lookup":"example.org","log":"I was here"}`))
	asks.HostCapabilities = []string{"oci/*"}
	mustApply(t, e, groupOf("asks() && mutates() || refuses()", map[string]policy.Policy{"asks": asks, "mutates": mutates(), "refuses": refuses()}))
	if d := evaluate(t, e, "g/refuses", plainPod(t)); d.Policy != "g/refuses" || d.Response.Allowed || messageOf(d.Response) != refusal {
		t.Errorf("a member that refuses: %+v", d.Response)
	}
	const notAllowed = "Request rejected by policy g/mutates. The policy attempted to mutate the request, but it is currently configured to not allow mutations."
	if d := evaluate(t, e, "g/mutates", plainPod(t)); d.Response.Allowed || messageOf(d.Response) != notAllowed {
		t.Errorf("a member that mutates: %+v", d.Response)
	}
	if d, err := e.Audit(t.Context(), "g/mutates", plainPod(t)); err != nil || string(d.Response.Patch) != dropPatch {
		t.Errorf("audit of a member that mutates: %+v, %v", d.Response, err)
	}
	raw := &sdk.Request{UID: "r", Raw: json.RawMessage(`{"uid":"r"}`)}
	if d := evaluate(t, e, "g/asks", raw); !d.Response.Allowed || !strings.Contains(messageOf(d.Response), "has not been granted access to the 'net/v1/dns_lookup_host'") {
		t.Errorf("a member that asks the host, raw: %+v", d.Response)
	}
	if lines.count(`msg="I was here"`, "policy=g/asks") == 0 || lines.count(`msg="capability refused"`, "policy=g/asks") == 0 {
		t.Errorf("the log does not name the member:\n%s", lines)
	}
	if !e.Has("g/asks") || e.Has("g/nope") || e.Has("asks/asks") || e.Has("g/") {
		t.Errorf("Has: want g/asks alone")
	}
	if _, err := e.Evaluate(t.Context(), "g/nope", plainPod(t)); err == nil || err.Error() != "unknown policy: g/nope" {
		t.Errorf("Evaluate = %v, want unknown policy", err)
	}
}

func TestAHostIsToldThePolicysNamespaceAndResources(t *testing.T) {
	e := newEngine(t, Options{})
	reads := accepts()
	reads.ContextAwareResources = []policy.Resource{{APIVersion: "v1", Kind: "Namespace"}}
	p := groupOf("reads()", map[string]policy.Policy{"reads": reads})
	p.Namespace = "shop"
	h, ok := e.hostFor(memberPolicy(p, "reads"), mustGrants(t)).(*yieldingHost)
	if !ok || h.host.Policy != "g/reads" || h.host.Namespace != "shop" || len(h.host.Resources) != 1 || h.host.Resources[0].Kind != "Namespace" {
		t.Errorf("host = %+v, want that of g/reads in shop, which may read Namespaces", h.host)
	}
}

func TestGroupsJudgeInABundle(t *testing.T) {
	e := newEngine(t, Options{})
	group := groupOf("refuses() || lost()", map[string]policy.Policy{
		"refuses": refuses(), "lost": guestPolicy("", portable(t, sdktest.WaPC), script(`{"message":"not by me"}`)),
	})
	single := revision("single", 1)
	group.Bundles, single.Bundles = []string{"pods"}, []string{"pods"}
	mustApply(t, e, group, single)
	d, err := e.EvaluateBundle(t.Context(), "pods", plainPod(t))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{": not in this cluster", "spec.policies.lost: not by me", "spec.policies.refuses: " + refusal,
		`: The following mandatory labels are missing: revision-1`}
	if diff := cmp.Diff(want, messages(d.Response.Status.Causes)); diff != "" || d.Response.Allowed {
		t.Errorf("causes (-want +have):\n%s", diff)
	}
}

func BenchmarkGroup(b *testing.B) {
	for _, form := range []string{"native", string(sdktest.WaPC)} {
		e := newEngine(b, Options{})
		member := func(id string) policy.Policy {
			if form == "native" {
				return builtinPolicy(id, "pod-privileged", "")
			}
			return guestPolicy(id, portable(b, sdktest.Form(form)), innerPolicy{Policy: "pod-privileged"})
		}
		mustApply(b, e, member("a"), member("b"), member("c"), groupOf("a() && b() && c()", map[string]policy.Policy{
			"a": member(""), "b": member(""), "c": member(""),
		}))
		req := plainPod(b)
		for name, ids := range map[string][]policy.ID{"group": {"g"}, "singles": {"a", "b", "c"}} {
			b.Run(form+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					for _, id := range ids {
						if d := evaluate(b, e, id, req); !d.Response.Allowed {
							b.Fatal(messageOf(d.Response))
						}
					}
				}
			})
		}
	}
}
