package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// dropAll is a policy that changes pods.
func dropAll(id string) policy.Policy {
	return builtinPolicy(id, "capabilities-psp", `{"required_drop_capabilities":["ALL"]}`)
}

const dropPatch = `[{"op":"add","path":"/spec/containers/0/securityContext","value":{"capabilities":{"drop":["ALL"]}}}]`

const rejection = "Privileged container is not allowed"

func plainPod(t testing.TB) *sdk.Request { return pod(t, `,"spec":{"containers":[{"name":"c"}]}`) }

func TestModeAndMessageDecideWhatTheAPIServerIsTold(t *testing.T) {
	const notAllowed = "Request rejected by policy p. The policy attempted to mutate the request, but it is currently configured to not allow mutations."
	told := func(message string) *review.Status { return &review.Status{Message: message} }
	with := func(p policy.Policy, change func(*policy.Policy)) policy.Policy { change(&p); return p }
	rejects := guestPolicy("p", portable(t, sdktest.WaPC), script(`{"message":"no","code":403,"warnings":["w"],"annotations":{"k":"v"}}`))
	silent := guestPolicy("p", portable(t, sdktest.WaPC), script(`{}`))
	monitor := func(p *policy.Policy) { p.Mode = policy.Monitor }
	message := func(p *policy.Policy) { p.Message = "ask the platform team" }
	both := review.Response{Warnings: []string{"w"}, AuditAnnotations: map[string]string{"k": "v"}}
	answered := func(r review.Response, allowed bool, s *review.Status) review.Response {
		r.Allowed, r.Status = allowed, s
		return r
	}
	tests := []struct {
		name   string
		policy policy.Policy
		want   review.Response
		audit  review.Response
	}{
		{
			"a rejection in protect mode", rejects,
			answered(both, false, &review.Status{Message: "no", Code: 403}), answered(both, false, &review.Status{Message: "no", Code: 403}),
		},
		{
			"a rejection in monitor mode keeps warnings and annotations", with(rejects, monitor),
			answered(both, true, nil), answered(both, false, &review.Status{Message: "no", Code: 403}),
		},
		{
			"a rejection with a message of the owner's", with(rejects, message),
			answered(both, false, &review.Status{Message: "ask the platform team", Code: 403, Causes: []review.Cause{{Message: "no"}}}),
			answered(both, false, &review.Status{Message: "no", Code: 403}),
		},
		{
			"a rejection without a reason, with a message of the owner's", with(silent, message),
			review.Response{Status: &review.Status{Message: "ask the platform team", Causes: []review.Cause{{}}}}, review.Response{},
		},
		{
			"monitor mode is stronger than a message", with(with(silent, message), monitor),
			review.Response{Allowed: true}, review.Response{},
		},
		{
			"a change that is allowed", with(dropAll("p"), func(p *policy.Policy) { p.AllowedToMutate = true }),
			review.Response{Allowed: true, Patch: []byte(dropPatch)}, review.Response{Allowed: true, Patch: []byte(dropPatch)},
		},
		{
			"a change that is not", dropAll("p"),
			review.Response{Status: told(notAllowed)}, review.Response{Allowed: true, Patch: []byte(dropPatch)},
		},
		{
			"a change that is not, with a message of the owner's", with(dropAll("p"), message),
			review.Response{Status: &review.Status{Message: "ask the platform team", Causes: []review.Cause{{Message: notAllowed}}}},
			review.Response{Allowed: true, Patch: []byte(dropPatch)},
		},
		{
			"a change that is not, in monitor mode", with(dropAll("p"), monitor),
			review.Response{Allowed: true}, review.Response{Allowed: true, Patch: []byte(dropPatch)},
		},
		{
			"a message has no part in an acceptance", with(builtinPolicy("p", "pod-privileged", ""), message),
			review.Response{Allowed: true}, review.Response{Allowed: true},
		},
	}
	e := newEngine(t, Options{})
	for _, tt := range tests {
		mustApply(t, e, tt.policy)
		req := plainPod(t)
		tt.want.UID, tt.audit.UID = req.UID, req.UID
		if diff := cmp.Diff(tt.want, evaluate(t, e, "p", req).Response); diff != "" {
			t.Errorf("%s: Evaluate (-want +have):\n%s", tt.name, diff)
		}
		audit, err := e.Audit(t.Context(), "p", req)
		if diff := cmp.Diff(tt.audit, audit.Response); diff != "" || err != nil {
			t.Errorf("%s: Audit, %v (-want +have):\n%s", tt.name, err, diff)
		}
	}
}

func TestMonitorModeLogsTheVerdictAndNotTheObject(t *testing.T) {
	lines := &logLines{}
	e := newEngine(t, Options{Log: lines.logger()})
	p := builtinPolicy("p", "pod-privileged", `{"skip_init_containers":true}`)
	p.Mode = policy.Monitor
	mustApply(t, e, p)
	evaluate(t, e, "p", pod(t, `,"spec":{"containers":[{"name":"secret-name","securityContext":{"privileged":true}}],"token":"hunter2"}`))
	if lines.count(`msg="policy evaluation (monitor mode)"`, "policy_id=p", "allowed=false", "mutated=false", rejection) != 1 {
		t.Errorf("the verdict is not logged:\n%s", lines)
	}
	for _, secret := range []string{"hunter2", "skip_init_containers"} {
		if strings.Contains(lines.String(), secret) {
			t.Errorf("the log has %q, of the object or of the settings:\n%s", secret, lines)
		}
	}
}

// noVerdicts are policies that give none, with the message that says why.
func noVerdicts(t *testing.T) map[string]struct {
	policy  policy.Policy
	message string // with the time taken out
} {
	t.Helper()
	slow := guestPolicy("p", portable(t, sdktest.WASI), script(`{"loop":true}`))
	slow.Timeout = 100 * time.Millisecond
	slowReactor := guestPolicy("p", portable(t, sdktest.WaPC), script(`{"loop":true}`))
	slowReactor.Timeout = slow.Timeout
	return map[string]struct {
		policy  policy.Policy
		message string
	}{
		"settings that are wrong": {
			builtinPolicy("p", "pod-privileged", `{"nope":1}`),
			"Policy settings are invalid: nope: unknown setting; known are skip_ephemeral_containers, skip_init_containers (policy \"p\", stage settings)",
		},
		"a module that is not there": {
			builtinPolicy("p", "x/../pod-privileged", ""),
			"bootstrap failure: p: module \"builtin://x/../pod-privileged\": no built-in policy has this name; did you mean pod-privileged? (policy \"p\", stage fetch)",
		},
		"an error": {
			guestPolicy("p", portable(t, sdktest.WASI), script(`{"error":"I have no idea"}`)),
			"I have no idea (policy \"p\", stage call)",
		},
		"a loop":              {slow, timeoutText + " (policy \"p\", stage call)"},
		"a loop in a reactor": {slowReactor, timeoutText + " (policy \"p\", stage call)"},
	}
}

func TestNoVerdictIsAnsweredByTheFailurePolicy(t *testing.T) {
	e := newEngine(t, Options{})
	good := builtinPolicy("good", "pod-privileged", "")
	for name, tt := range noVerdicts(t) {
		for _, mode := range []policy.Mode{policy.Protect, policy.Monitor} {
			for _, on := range []policy.FailurePolicy{policy.Fail, policy.Ignore} {
				p := tt.policy
				p.Mode, p.FailurePolicy = mode, on
				e.Unload("p") // or an older revision would serve
				_ = e.Apply(t.Context(), []policy.Policy{p, good})
				want := review.Response{Allowed: true}
				switch {
				case on == policy.Ignore:
					want.Warnings = []string{"failurePolicy Ignore, the request was not judged: " + tt.message}
				case mode == policy.Protect:
					want.Allowed = false
					want.Status = &review.Status{Message: tt.message, Code: 500}
				}
				what := fmt.Sprintf("%s, %s, %s", name, mode, on)
				d := evaluate(t, e, "p", privilegedPod(t))
				checkNoVerdict(t, what, d, want)
				if good := evaluate(t, e, "good", privilegedPod(t)).Response; good.Allowed || !strings.HasPrefix(good.Status.Message, rejection) {
					t.Errorf("%s: another policy says %+v", what, good)
				}
				audit, err := e.Audit(t.Context(), "p", privilegedPod(t))
				if err != nil {
					t.Fatal(err)
				}
				checkNoVerdict(t, what+", audit", audit, review.Response{Status: &review.Status{Message: tt.message, Code: 500}})
			}
		}
	}
}

// checkNoVerdict compares a response, its times taken out.
func checkNoVerdict(t *testing.T, what string, d Decision, want review.Response) {
	t.Helper()
	have := d.Response
	want.UID = have.UID
	if have.Status != nil {
		have.Status.Message = afterText().ReplaceAllString(have.Status.Message, ")")
	}
	for i, w := range have.Warnings {
		have.Warnings[i] = afterText().ReplaceAllString(w, ")")
	}
	// On a busy machine time may be up before the instance that replaces a
	// stopped one is there.
	const slow, quick = timeoutText + ` (policy "p", stage instantiate)`, timeoutText + ` (policy "p", stage call)`
	if have.Status != nil {
		have.Status.Message = strings.ReplaceAll(have.Status.Message, slow, quick)
	}
	for i, w := range have.Warnings {
		have.Warnings[i] = strings.ReplaceAll(w, slow, quick)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s (-want +have):\n%s", what, diff)
	}
	if d.Err == nil {
		t.Errorf("%s: Err is nil, want the reason", what)
	}
}

func TestAMessageOfTheOwnersDoesNotHideWhyAPolicyDidNotLoad(t *testing.T) {
	e := newEngine(t, Options{})
	p := builtinPolicy("p", "pod-privileged", `{"nope":1}`)
	p.Message = "ask the platform team"
	_ = e.Load(t.Context(), p)
	if have := evaluate(t, e, "p", plainPod(t)).Response.Status; strings.Contains(have.Message, p.Message) || len(have.Causes) > 0 {
		t.Errorf("status = %+v, want the reason alone", have)
	}
	p = guestPolicy("q", portable(t, sdktest.WASI), script(`{"error":"I have no idea"}`))
	p.Message = "ask the platform team"
	mustApply(t, e, p)
	have := evaluate(t, e, "q", plainPod(t)).Response.Status
	if have.Message != p.Message || have.Code != 500 || len(have.Causes) != 1 || !strings.HasPrefix(have.Causes[0].Message, "I have no idea") {
		t.Errorf("status = %+v, want the message, with the reason as its cause", have)
	}
}

func TestAnEvaluationErrorSaysWhoWhereAndWhenAndIsSeenThrough(t *testing.T) {
	trap := &runtime.Trap{Cause: "unreachable"}
	err := fmt.Errorf("request: %w", &EvaluationError{"p", "call", 1234567 * time.Microsecond, &runtime.Failure{Text: "it fell", Err: trap}})
	if want := `request: policy "p": call, after 1.235s: it fell`; err.Error() != want {
		t.Errorf("Error = %q, want %q", err, want)
	}
	var seen *runtime.Trap
	if !errors.As(err, &seen) || seen != trap {
		t.Errorf("errors.As finds %v, want the trap", seen)
	}
	e := newEngine(t, Options{})
	p := guestPolicy("p", portable(t, sdktest.WASI), script(`{"loop":true}`))
	p.Timeout = 50 * time.Millisecond
	mustApply(t, e, p)
	var evaluation *EvaluationError
	d := evaluate(t, e, "p", plainPod(t))
	if !errors.As(d.Err, &evaluation) || !errors.Is(d.Err, context.DeadlineExceeded) {
		t.Fatalf("Err = %v, want an EvaluationError with context.DeadlineExceeded", d.Err)
	}
	if evaluation.Policy != "p" || evaluation.Stage != "call" || evaluation.After < p.Timeout || d.Took < p.Timeout {
		t.Errorf("EvaluationError = %+v after %s, want policy p, stage call, after 50ms at least", evaluation, d.Took)
	}
}

// late is how much later than its time a policy may be stopped. The issue asks
// for 50 ms; a busy machine gets more.
const late = 2 * time.Second

func TestAPolicyIsStoppedWhenItsTimeIsUp(t *testing.T) {
	own := guestPolicy("own", portable(t, sdktest.WaPC), script(`{"loop":true}`))
	own.Timeout = 200 * time.Millisecond
	servers := guestPolicy("servers", portable(t, sdktest.WaPC), script(`{"loop":true}`))
	quick := guestPolicy("quick", portable(t, sdktest.WaPC), script(`{"message":"no"}`))
	e := newEngine(t, Options{Timeout: 400 * time.Millisecond})
	// Loading is not what is timed: its own bound is minutes.
	mustApply(t, e, own, servers, quick)
	caller, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	tests := []struct {
		name string
		id   policy.ID
		ctx  context.Context
		want time.Duration
	}{
		{"by the caller's deadline", "own", caller, 100 * time.Millisecond},
		{"by its own timeout", "own", t.Context(), 200 * time.Millisecond},
		{"by the server's", "servers", t.Context(), 400 * time.Millisecond},
	}
	for _, tt := range tests {
		start := time.Now()
		d, err := e.Evaluate(tt.ctx, tt.id, plainPod(t))
		took := time.Since(start)
		if err != nil || !errors.Is(d.Err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, %v, want context.DeadlineExceeded", tt.name, err, d.Err)
		}
		if took < tt.want-50*time.Millisecond || took > tt.want+late {
			t.Errorf("%s: stopped after %s, want %s", tt.name, took, tt.want)
		}
		if have := evaluate(t, e, "quick", plainPod(t)).Response.Status.Message; have != "no" {
			t.Errorf("%s: afterwards another policy says %q", tt.name, have)
		}
	}
}

func TestWithoutATimeoutThePolicyHasTheCallersTime(t *testing.T) {
	e := newEngine(t, Options{Timeout: NoTimeout})
	mustApply(t, e, guestPolicy("p", portable(t, sdktest.WaPC), script(`{"loop":true}`)))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	d, err := e.Evaluate(ctx, "p", plainPod(t))
	if err != nil || !errors.Is(d.Err, context.Canceled) {
		t.Errorf("Evaluate = %v, %v, want context.Canceled", d.Err, err)
	}
	if !strings.HasPrefix(messageOf(d.Response), timeoutText+" (policy") {
		t.Errorf("message = %q", messageOf(d.Response))
	}
}

// withProgram puts a program into an engine that no module gives.
func withProgram(e *Engine, p program) {
	ent := &entry{
		policy:  policy.Policy{ID: "p", Bundles: []string{"all"}, Mode: policy.Protect, FailurePolicy: policy.Fail},
		runtime: wasiRuntime, program: p,
	}
	ent.counters = e.metrics.of(ent)
	ent.refs.Store(1)
	ent.counters = e.metrics.of(ent)
	e.state.Store(newState(map[policy.ID]*entry{"p": ent}))
}

// panicking is a program that takes the server down if nobody stops it.
type panicking struct{}

func (panicking) Evaluate(context.Context, *sdk.Request) (sdk.Verdict, error) { panic("surprise") }
func (panicking) Close()                                                      {}

func TestAProgramThatPanicsGivesNoVerdict(t *testing.T) {
	e := newEngine(t, Options{Workers: 1})
	withProgram(e, panicking{})
	for range 2 { // the second finds the worker free
		d := evaluate(t, e, "p", plainPod(t))
		bundled, err := e.EvaluateBundle(t.Context(), "all", plainPod(t))
		if err != nil {
			t.Fatal(err)
		}
		const want = `internal server error: the policy panicked: surprise (policy "p", stage call, after`
		for _, have := range []string{messageOf(d.Response), messageOf(bundled.Response)} {
			if !strings.Contains(have, want) {
				t.Errorf("message = %q, want %q", have, want)
			}
		}
	}
}

func TestAMutatedObjectThatIsNoJSONIsNoVerdict(t *testing.T) {
	e := newEngine(t, Options{})
	withProgram(e, garbage{})
	d := evaluate(t, e, "p", plainPod(t))
	var evaluation *EvaluationError
	if !errors.As(d.Err, &evaluation) || evaluation.Stage != "decode" ||
		!strings.HasPrefix(messageOf(d.Response), "internal server error: invalid response format: verdict: mutated object: ") {
		t.Errorf("Err = %v, message %q, want stage decode and upstream's text", d.Err, messageOf(d.Response))
	}
}

type garbage struct{}

func (garbage) Evaluate(context.Context, *sdk.Request) (sdk.Verdict, error) {
	return sdk.Verdict{Accepted: true, MutatedObject: json.RawMessage(`{]`)}, nil
}
func (garbage) Close() {}
