package engine

import (
	"context"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk"
)

// Judgement is one policy's part in an answer, as Options.Judged is told of it.
// Nothing in it may be changed.
type Judgement struct {
	Policy *policy.Policy
	// Bundle is who was asked; "" when it was the policy alone.
	Bundle string
	// Request is as the policy saw it. Its documents belong to the review and may
	// not be kept.
	Request *sdk.Request
	// Verdict is what came of asking the policy, Decision what the API server is
	// told after mode, failurePolicy and the other rules.
	Verdict, Decision Decision
}

// question is what a policy is asked, and for whom.
type question struct {
	req    *sdk.Request
	bundle string // "" when the policy is asked alone
	// validating says that a validating webhook asks, which takes no patch.
	validating bool
}

// answer is what the API server is told of one policy.
func (e *Engine) answer(ctx context.Context, ent *entry, q question) Decision {
	verdict := e.judge(ctx, ent, q.req)
	d := e.decide(ent, q.req, verdict)
	if q.validating {
		d = unchanged(ent, d)
	}
	if e.opts.Judged != nil {
		e.opts.Judged(ctx, Judgement{&ent.policy, q.bundle, q.req, verdict, d})
	}
	return d
}
