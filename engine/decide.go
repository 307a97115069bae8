package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/sdk"
)

// Decision is what the API server is to be told of a request, and how it came
// about.
type Decision struct {
	// Policy is who decided; the bundle's name when several did.
	Policy policy.ID
	// Response is the answer.
	Response review.Response
	// Err is why there was no verdict: an *EvaluationError or a *LoadError,
	// several joined in a bundle; nil when there was one.
	Err error
	// Took is how long the policy had the request.
	Took time.Duration
	// Template is where in the object the pod is that was judged in its place:
	// "spec.template"; "" when the policy judged the object itself.
	Template string

	mutated json.RawMessage // what the patch makes of the object
}

// EvaluationError reports that a policy gave no verdict. errors.Is and
// errors.As see through it: to context.DeadlineExceeded, to *runtime.Trap.
type EvaluationError struct {
	Policy policy.ID
	// Stage is "queue", "instantiate", "call" or "decode"; "members" when a
	// group lacks verdicts of its members.
	Stage string
	// After is how long the policy had the request.
	After time.Duration
	Err   error
}

func (e *EvaluationError) Error() string {
	return fmt.Sprintf("policy %q: %s, after %s: %v", e.Policy, e.Stage, e.After.Round(time.Millisecond), e.Err)
}

// Unwrap returns the cause.
func (e *EvaluationError) Unwrap() error { return e.Err }

// errorCode is the HTTP status of an answer without a verdict.
const errorCode = 500

// permit is the right to use a processor.
type permit struct {
	engine *Engine
	held   bool
}

type permitKey struct{}

// take waits for the permit. The error is the context's.
func (p *permit) take(ctx context.Context) error {
	if p.held {
		return nil
	}
	select {
	case p.engine.permits <- struct{}{}:
		p.held = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *permit) yield() {
	if p.held {
		p.held = false
		<-p.engine.permits
	}
}

// judgeAsIs is judge without expansion.
func (e *Engine) judgeAsIs(ctx context.Context, ent *entry, req *sdk.Request) Decision {
	if ent.err != nil {
		d := failure(ent.policy.ID, req, ent.err)
		ent.counters.judged(d)
		return d
	}
	start := time.Now()
	d, err := e.verdict(ctx, ent, req)
	d.Took = time.Since(start)
	if err != nil {
		if late := (*EvaluationError)(nil); errors.As(err, &late) {
			late.After = d.Took
		}
		e.opts.Log.Warn("policy gave no verdict", "policy", ent.policy.ID, "request", req.UID, "error", err)
		took := d.Took
		d = failure(ent.policy.ID, req, err)
		d.Took = took
	}
	ent.counters.judged(d)
	return d
}

// verdict asks a program and makes a response of its verdict. A fault of ours
// costs this verdict and not the process. The error is an *EvaluationError that
// does not know yet how long it took.
func (e *Engine) verdict(ctx context.Context, ent *entry, req *sdk.Request) (d Decision, err error) {
	defer func() {
		if r := recover(); r != nil {
			e.opts.Log.Error("panic while a policy was asked", "policy", ent.policy.ID, "panic", r, "stack", string(debug.Stack()))
			d, err = Decision{}, &EvaluationError{Policy: ent.policy.ID, Stage: "call", Err: fmt.Errorf("internal server error: the policy panicked: %v", r)}
		}
	}()
	if ent.group != nil {
		return ent.group.ask(ctx, e, ent, req)
	}
	v, err := e.ask(ctx, ent, req)
	if err != nil {
		return Decision{}, err
	}
	d = Decision{Policy: ent.policy.ID, mutated: v.MutatedObject}
	if d.Response, err = review.FromVerdict(req, v); err != nil {
		return Decision{}, &EvaluationError{Policy: ent.policy.ID, Stage: "decode",
			Err: fmt.Errorf("internal server error: invalid response format: %w", err)}
	}
	return d, nil
}

// ask asks a program within its time. The error is an *EvaluationError.
func (e *Engine) ask(ctx context.Context, ent *entry, req *sdk.Request) (sdk.Verdict, error) {
	if ent.quick {
		return e.askBuiltin(ctx, ent, req)
	}
	ctx, cancel := ent.within(ctx, e.opts.Timeout)
	defer cancel()
	fail := func(stage string, err error) (sdk.Verdict, error) {
		return sdk.Verdict{}, &EvaluationError{Policy: ent.policy.ID, Stage: stage, Err: err}
	}
	p := &permit{engine: e}
	if err := p.take(ctx); err != nil {
		return fail("queue", err)
	}
	defer p.yield()
	v, err := ent.program.Evaluate(context.WithValue(ctx, permitKey{}, p), req)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx) // the verdict may rest on a host call that was cut short
	}
	if err != nil {
		stage := "call"
		if staged := interface{ Stage() string }(nil); errors.As(err, &staged) {
			stage = staged.Stage()
		}
		return fail(stage, err)
	}
	return v, nil
}

// askBuiltin asks a built-in that does not ask the host: it waits for nothing,
// and is done before others would have passed it a permit or set a timer.
func (e *Engine) askBuiltin(ctx context.Context, ent *entry, req *sdk.Request) (sdk.Verdict, error) {
	v, err := ent.program.Evaluate(ctx, req)
	if err != nil {
		return sdk.Verdict{}, &EvaluationError{Policy: ent.policy.ID, Stage: "call", Err: err}
	}
	return v, nil
}

// within bounds ctx by the policy's timeout, or the one of others, and by the
// deadline of the request.
func (ent *entry) within(ctx context.Context, otherwise time.Duration) (context.Context, context.CancelFunc) {
	timeout := otherwise
	if ent.policy.Timeout > 0 {
		timeout = ent.policy.Timeout
	}
	deadline, ok := ctx.Value(deadlineKey{}).(time.Time)
	if timeout > 0 {
		if own := time.Now().Add(timeout); !ok || own.Before(deadline) {
			deadline, ok = own, true
		}
	}
	if !ok {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, deadline)
}

type deadlineKey struct{}

// WithDeadline returns a context in which evaluations end at the deadline. It
// is context.WithDeadline without a timer of its own, which a built-in would be
// done before; policies that can wait set one.
func WithDeadline(ctx context.Context, deadline time.Time) context.Context {
	return context.WithValue(ctx, deadlineKey{}, deadline)
}

// failure is the decision when there is no verdict: the texts of Kubewarden's
// policy server, followed by the policy, the stage and the time.
func failure(id policy.ID, req *sdk.Request, err error) Decision {
	message := err.Error()
	var load *LoadError
	var evaluation *EvaluationError
	switch {
	case errors.As(err, &evaluation) && evaluation.Stage == "members":
		message = evaluation.Err.Error() // which names the members, how far they came and after how long
	case errors.As(err, &load) && load.At == StageExpression:
		message = load.message() // which names the group, and points at the place in the expression
	case errors.As(err, &load):
		message = fmt.Sprintf("%s (policy %q, stage %s)", load.message(), id, load.At)
	case errors.As(err, &evaluation):
		message = fmt.Sprintf("%s (policy %q, stage %s, after %s)", evaluation.text(), id, evaluation.Stage,
			evaluation.After.Round(time.Millisecond))
	}
	return Decision{
		Policy:   id,
		Err:      err,
		Response: review.Response{UID: req.UID, Status: &review.Status{Message: message, Code: errorCode}},
	}
}

// timeoutText is upstream's for every evaluation that took too long.
const timeoutText = "Policy execution interrupted because it exceeded the allowed execution time"

func (e *EvaluationError) text() string {
	if errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, context.Canceled) {
		if e.Stage == "queue" {
			return timeoutText + ": it waited for a free worker"
		}
		return timeoutText
	}
	return e.Err.Error()
}

// decide applies the policy's mode, its right to mutate, its message and its
// failurePolicy, in the order of Kubewarden's policy server.
func (e *Engine) decide(ent *entry, req *sdk.Request, d Decision) Decision {
	p := &ent.policy
	if d.Err != nil && p.FailurePolicy == policy.Ignore {
		d.Response = review.Response{UID: req.UID, Allowed: true, Warnings: []string{
			"failurePolicy Ignore, the request was not judged: " + d.Response.Status.Message,
		}}
		return d
	}
	if p.Mode == policy.Monitor {
		e.opts.Log.Info("policy evaluation (monitor mode)", "policy_id", p.ID, "allowed_to_mutate", p.AllowedToMutate,
			"request", req.UID, "template", d.Template, "allowed", d.Response.Allowed, "mutated", d.Response.Patch != nil, "message", messageOf(d.Response))
		d.Response.Allowed, d.Response.Patch, d.Response.Status = true, nil, nil
		return d
	}
	if d.Response.Patch != nil && !p.AllowedToMutate {
		d.Response.Allowed, d.Response.Patch = false, nil
		d.Response.Status = &review.Status{Message: fmt.Sprintf("Request rejected by policy %s. The policy attempted to mutate "+
			"the request, but it is currently configured to not allow mutations.", p.ID)}
	}
	if ent.err == nil && p.Message != "" && !d.Response.Allowed {
		d.Response.Status = replaced(d.Response.Status, p.Message)
	}
	return d
}

// replaced puts the message of the policy's owner in front and keeps the old
// one among the causes.
func replaced(s *review.Status, message string) *review.Status {
	out := review.Status{}
	if s != nil {
		out = *s
	}
	out.Causes = append(out.Causes[:len(out.Causes):len(out.Causes)], review.Cause{Message: out.Message})
	out.Message = message
	return &out
}

func messageOf(r review.Response) string {
	if r.Status == nil {
		return ""
	}
	return r.Status.Message
}
