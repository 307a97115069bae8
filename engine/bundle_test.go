package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// bundled makes a policy one of the bundle "all".
func bundled(p policy.Policy, change ...func(*policy.Policy)) policy.Policy {
	p.Bundles = []string{"all"}
	for _, c := range change {
		c(&p)
	}
	return p
}

func mutating(p *policy.Policy) { p.AllowedToMutate = true }

func at(order int) func(*policy.Policy) { return func(p *policy.Policy) { p.Order = order } }

// evaluateBundle asks the bundle "all".
func evaluateBundle(t *testing.T, e *Engine, req *sdk.Request) Decision {
	t.Helper()
	d, err := e.EvaluateBundle(t.Context(), "all", req)
	if err != nil {
		t.Fatal(err)
	}
	if d.Policy != "all" || d.Response.UID != req.UID {
		t.Errorf("decision of %q on %q, want of the bundle on %q", d.Policy, d.Response.UID, req.UID)
	}
	return d
}

func TestABundleGivesAllReasonsInItsOrder(t *testing.T) {
	module := portable(t, sdktest.WaPC)
	e := newEngine(t, Options{})
	p := bundled(guestPolicy("b", module, script(`{"message":"second","code":409}`)))
	p.Message = "talk to us"
	mustApply(t, e,
		bundled(guestPolicy("z", module, script(`{"message":"first","code":403}`)), at(-1)),
		p,
		bundled(guestPolicy("a", module, script(`{}`))),
		bundled(builtinPolicy("c", "pod-privileged", "")),
		bundled(guestPolicy("d", module, script(`{"accepted":true}`))),
		guestPolicy("elsewhere", module, script(`{"message":"nobody asks me"}`)),
	)
	d := evaluateBundle(t, e, privilegedPod(t))
	const privileged = "Privileged container is not allowed: spec.containers[0] (container \"c\")"
	status := d.Response.Status
	lines := strings.Split(messageOf(d.Response), "\n")
	want := []string{
		"4 policies refuse this request:", "- z: first", "- a: it gives no reason", "- b: talk to us", "- c: " + rejection,
	}
	if len(lines) != len(want) || d.Response.Allowed {
		t.Fatalf("message = %q, want %q", lines, want)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("line %d = %q, want %q (as in %q)", i, lines[i], want[i], privileged)
		}
	}
	if status.Code != 403 {
		t.Errorf("code = %d, want that of the first", status.Code)
	}
	causes := []review.Cause{
		{Reason: "z", Message: "first"}, {Reason: "a", Message: "it gives no reason"},
		{Reason: "b", Message: "talk to us"}, {Message: "second"}, {Reason: "c", Message: strings.TrimPrefix(lines[4], "- c: ")},
	}
	if diff := cmp.Diff(causes, status.Causes); diff != "" {
		t.Errorf("causes (-want +have):\n%s", diff)
	}
}

func TestOneRejectionIsOneSentence(t *testing.T) {
	e := newEngine(t, Options{})
	mustApply(t, e, bundled(builtinPolicy("a", "pod-privileged", "")), bundled(revision("b", 7)))
	d := evaluateBundle(t, e, plainPod(t))
	if want := "b: The following mandatory labels are missing: revision-7"; !strings.HasPrefix(messageOf(d.Response), want) || strings.Contains(messageOf(d.Response), "\n") {
		t.Errorf("message = %q, want %q", messageOf(d.Response), want)
	}
}

func TestPoliciesOfABundleMutateOneAfterTheOther(t *testing.T) {
	module := portable(t, sdktest.WaPC)
	appends := func(id, text string, change ...func(*policy.Policy)) policy.Policy {
		p := guestPolicy(id, module, script(fmt.Sprintf(`{"accepted":true,"append":%q}`, text)))
		return bundled(p, change...)
	}
	monitor := func(p *policy.Policy) { p.Mode = policy.Monitor }
	e := newEngine(t, Options{})
	mustApply(t, e,
		appends("a", "1", mutating, at(2)), appends("b", "2", mutating, at(1)), appends("c", "3", mutating, at(1)),
		appends("d", "4", mutating, monitor), bundled(builtinPolicy("e", "pod-privileged", "")),
	)
	req := pod(t, `,"trail":"0","n":1.0`)
	before := string(req.Object)
	d := evaluateBundle(t, e, req)
	if want := `[{"op":"replace","path":"/trail","value":"0231"}]`; !d.Response.Allowed || string(d.Response.Patch) != want {
		t.Errorf("allowed %t with patch %s, want %s: %s", d.Response.Allowed, d.Response.Patch, want, messageOf(d.Response))
	}
	if string(req.Object) != before {
		t.Errorf("the request was changed to %s", req.Object)
	}
	// Whoever refuses sees what the others have made of the object, and leaves no patch.
	trail := bundled(guestPolicy("x", module, innerPolicy{"container-resources", json.RawMessage(`{"cpu":{"defaultRequest":"1","defaultLimit":"2"}}`)}), mutating)
	look := bundled(builtinPolicy("y", "container-resources", `{"cpu":{"maxLimit":"1500m","defaultLimit":"1","defaultRequest":"1"}}`))
	mustApply(t, e, trail, look)
	d = evaluateBundle(t, e, plainPod(t))
	if d.Response.Allowed || d.Response.Patch != nil || !strings.HasPrefix(messageOf(d.Response), "y: ") || !strings.Contains(messageOf(d.Response), "2") {
		t.Errorf("response = %+v, %q, want y to refuse the limit that x has set", d.Response, messageOf(d.Response))
	}
}

func TestChangesOfARawDocumentAddUpToo(t *testing.T) {
	e := newEngine(t, Options{})
	for id, form := range map[string]sdktest.Form{"a": sdktest.WASI, "b": sdktest.WaPC} {
		p := bundled(guestPolicy(id, portable(t, form), script(fmt.Sprintf(`{"accepted":true,"append":%q}`, id))), mutating)
		if err := e.Load(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	d := evaluateBundle(t, e, sdk.RawRequest([]byte(`{"uid":"u","trail":"0"}`)))
	if want := `[{"op":"replace","path":"/trail","value":"0ab"}]`; !d.Response.Allowed || string(d.Response.Patch) != want {
		t.Errorf("allowed %t with patch %s, want %s: %s", d.Response.Allowed, d.Response.Patch, want, messageOf(d.Response))
	}
}

func TestADeletionHasNothingToPatch(t *testing.T) {
	e := newEngine(t, Options{})
	mustApply(t, e, bundled(dropAll("a"), mutating), bundled(builtinPolicy("b", "pod-privileged", "")))
	if d := evaluateBundle(t, e, sdktest.Request(t, "Pod", nil)); !d.Response.Allowed || d.Response.Patch != nil {
		t.Errorf("response = %+v, want it allowed unchanged", d.Response)
	}
}

func TestAPolicyWhoseRulesDoNotMatchIsNotAsked(t *testing.T) {
	rule := func(resource string) func(*policy.Policy) {
		return func(p *policy.Policy) {
			p.Rules = []policy.Rule{{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resource}, Operations: []string{"CREATE"}}}
		}
	}
	e := newEngine(t, Options{})
	mustApply(t, e, bundled(revision("pods", 1), rule("pods")), bundled(revision("services", 1), rule("services")),
		bundled(dropAll("secrets"), mutating, rule("secrets")))
	d := evaluateBundle(t, e, plainPod(t))
	if !strings.HasPrefix(messageOf(d.Response), "pods: ") || strings.Contains(messageOf(d.Response), "services") {
		t.Errorf("message = %q, want that of pods alone", messageOf(d.Response))
	}
	// By itself a policy judges whatever it is asked about.
	if alone := evaluate(t, e, "services", plainPod(t)); alone.Response.Allowed {
		t.Error("the policy services allows a pod without its label")
	}
	configMap := sdktest.Request(t, "ConfigMap", `{"metadata":{"name":"c"}}`)
	if d := evaluateBundle(t, e, configMap); !d.Response.Allowed || d.Response.Patch != nil || d.Response.Status != nil {
		t.Errorf("response = %+v, want it allowed: no policy's rules match", d.Response)
	}
}

func TestAPolicyAnswersToAnAliasThatIsItsOwn(t *testing.T) {
	e := newEngine(t, Options{})
	p, other := builtinPolicy("kw.cap.p", "pod-privileged", ""), builtinPolicy("kw.capg.p", "pod-privileged", "")
	p.Aliases = []policy.ID{"clusterwide-p"}
	mustApply(t, e, p, other)
	if d := evaluate(t, e, "clusterwide-p", privilegedPod(t)); d.Response.Allowed || d.Policy != "kw.cap.p" {
		t.Errorf("decision of %q, allowed %t; want a rejection of kw.cap.p", d.Policy, d.Response.Allowed)
	}
	other.Aliases = p.Aliases
	mustApply(t, e, p, other)
	if e.Has("clusterwide-p") {
		t.Error("an alias of two policies is answered: by which?")
	}
	mustApply(t, e, other, builtinPolicy("clusterwide-p", "pod-privileged", ""))
	if d := evaluate(t, e, "clusterwide-p", privilegedPod(t)); d.Policy != "clusterwide-p" {
		t.Errorf("decision of %q, want of the policy that has the name itself", d.Policy)
	}
}

func TestWarningsAndAnnotationsOfABundleAreAllKept(t *testing.T) {
	module := portable(t, sdktest.WaPC)
	says := func(id, text string) policy.Policy {
		return bundled(guestPolicy(id, module, script(fmt.Sprintf(
			`{"accepted":true,"warnings":["from %s"],"annotations":{"who":%q,%q:"mine"}}`, text, text, text))))
	}
	e := newEngine(t, Options{})
	mustApply(t, e, says("b", "B"), says("a", "A"), says("c", "C"))
	want := review.Response{
		Allowed: true, Warnings: []string{"from A", "from B", "from C"},
		AuditAnnotations: map[string]string{"who": "A", "b.who": "B", "c.who": "C", "A": "mine", "B": "mine", "C": "mine"},
	}
	for range 5 { // whatever the order in which they are ready
		d := evaluateBundle(t, e, plainPod(t))
		want.UID = d.Response.UID
		if diff := cmp.Diff(want, d.Response); diff != "" {
			t.Errorf("response (-want +have):\n%s", diff)
		}
	}
}

func TestABundleAnswersForPoliciesThatCannot(t *testing.T) {
	ignore := func(p *policy.Policy) { p.FailurePolicy = policy.Ignore }
	module := portable(t, sdktest.WaPC)
	e := newEngine(t, Options{})
	policies := []policy.Policy{
		bundled(builtinPolicy("broken", "pod-privileged", `{"nope":1}`)),
		bundled(builtinPolicy("ignored", "pod-privileged", `{"nope":1}`), ignore),
		bundled(guestPolicy("lost", module, script(`{"error":"I have no idea"}`))),
		bundled(revision("good", 3)),
	}
	if err := e.Apply(t.Context(), policies); err == nil {
		t.Fatal("the broken policies were loaded")
	}
	d := evaluateBundle(t, e, plainPod(t))
	message := messageOf(d.Response)
	for _, want := range []string{
		"3 policies refuse this request:", "\n- broken: Policy settings are invalid: nope: ", "\n- lost: " + waPCFailure + "I have no idea",
		"\n- good: The following mandatory labels are missing: revision-3",
	} {
		if !strings.Contains(message, want) {
			t.Errorf("message = %q, want %q in it", message, want)
		}
	}
	if len(d.Response.Warnings) != 1 || !strings.HasPrefix(d.Response.Warnings[0], "failurePolicy Ignore, the request was not judged: ") {
		t.Errorf("warnings = %q, want one about the policy that is ignored", d.Response.Warnings)
	}
	if d.Response.Status.Code != 500 {
		t.Errorf("code = %d, want 500", d.Response.Status.Code)
	}
	var load *LoadError
	var evaluation *EvaluationError
	if !errors.As(d.Err, &load) || !errors.As(d.Err, &evaluation) || evaluation.Policy != "lost" {
		t.Errorf("Err = %v, want both a LoadError and an EvaluationError in it", d.Err)
	}
}

func TestGuestsOfABundleAreAskedAtTheSameTime(t *testing.T) {
	module := portable(t, sdktest.WaPC)
	e := newEngine(t, Options{Workers: 4})
	var policies []policy.Policy
	for i := range 4 {
		p := bundled(guestPolicy(fmt.Sprintf("p%d", i), module, script(`{"loop":true}`)))
		p.Timeout = time.Second
		policies = append(policies, p)
	}
	mustApply(t, e, policies...)
	start := time.Now()
	d := evaluateBundle(t, e, plainPod(t))
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("four policies of one second each took %s", took)
	}
	if n := strings.Count(messageOf(d.Response), timeoutText); n != 4 {
		t.Errorf("%d policies say that they took too long, want 4: %s", n, messageOf(d.Response))
	}
}

func TestABundleOfAValidatingWebhookChangesNothing(t *testing.T) {
	e := newEngine(t, Options{})
	in := func(p policy.Policy, bundles ...string) policy.Policy {
		p.Bundles = bundles
		return p
	}
	monitored := in(dropAll("monitored"), "validate-1")
	monitored.AllowedToMutate, monitored.Mode = true, policy.Monitor
	moving := in(dropAll("moving"), "validate-1", "mutate-1")
	moving.AllowedToMutate = true
	mustApply(t, e, moving, monitored, in(builtinPolicy("other", "pod-privileged", ""), "validate-1", "mutate-1"))
	d, err := e.EvaluateBundle(t.Context(), "mutate-1", plainPod(t))
	if err != nil || !d.Response.Allowed || d.Response.Patch == nil {
		t.Errorf("mutate-1: %s, %v, want a patch", answer(d.Response), err)
	}
	d, err = e.EvaluateBundle(t.Context(), "validate-1", plainPod(t))
	const want = "moving: Request rejected by policy moving. The policy attempted to mutate the request, but a validating webhook has asked."
	if err != nil || d.Response.Allowed || d.Response.Patch != nil || messageOf(d.Response) != want {
		t.Errorf("validate-1: %s, %v, want %s", answer(d.Response), err, want)
	}
	done := pod(t, `,"spec":{"containers":[{"name":"c","securityContext":{"capabilities":{"drop":["ALL"]}}}]}`)
	if d, err = e.EvaluateBundle(t.Context(), "validate-1", done); err != nil || !d.Response.Allowed {
		t.Errorf("validate-1 of what the other webhook has changed: %s, %v, want it accepted", answer(d.Response), err)
	}
}

func TestWhoJudgesIsWorkedOutOnceForEachShapeOfARequest(t *testing.T) {
	e := newEngine(t, Options{})
	of := func(id string, scope policy.Scope, resource string) policy.Policy {
		p := refuses()
		p.ID, p.Bundles = policy.ID(id), []string{"all"}
		p.Rules = []policy.Rule{{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resource}, Operations: []string{"CREATE"}, Scope: scope}}
		return p
	}
	mustApply(t, e, of("inside", policy.Namespaced, "pods"), of("outside", policy.Cluster, "pods"), of("nodes", "", "nodes"))
	request := func(namespace, resource string) *sdk.Request {
		req := *plainPod(t)
		req.Namespace, req.Resource.Resource = namespace, resource
		return &req
	}
	for range 2 { // the second time it is known
		for _, tt := range []struct{ namespace, resource, want string }{
			{"default", "pods", "inside"}, {"", "pods", "outside"}, {"default", "nodes", "nodes"}, {"default", "services", ""},
		} {
			d := evaluateBundle(t, e, request(tt.namespace, tt.resource))
			if who, _, _ := strings.Cut(messageOf(d.Response), ":"); who != tt.want || d.Response.Allowed != (tt.want == "") {
				t.Errorf("%s in %q: %s, want a refusal by %q", tt.resource, tt.namespace, answer(d.Response), tt.want)
			}
		}
	}
	for i := range 2 * maxLineups {
		evaluateBundle(t, e, request("default", fmt.Sprint("made-up-", i)))
	}
	b := e.state.Load().bundles["all"]
	if n := len(*b.lineups.Load()); n != maxLineups {
		t.Errorf("%d line-ups are kept, want %d", n, maxLineups)
	}
}
