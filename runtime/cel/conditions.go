package cel

import (
	"context"
	"errors"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	admissionauthorizer "k8s.io/apiserver/pkg/admission/plugin/authorizer"
	admission "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"

	"github.com/warder-dev/warder/sdk"
)

// Conditions are the matchConditions of a webhook, compiled: what the API server
// asks before it calls the webhook. They are safe for concurrent use.
type Conditions struct {
	matcher    matchconditions.Matcher // nil: there are none
	authorizer bool
}

// CompileConditions compiles matchConditions. The error joins a *SpecError for
// each mistake.
func CompileConditions(all []admissionv1.MatchCondition) (*Conditions, error) {
	c, err := sharedCompiler()
	if err != nil {
		return nil, internalError(err)
	}
	p := &Program{asks: namesIn(c, Spec{MatchConditions: all})}
	b := build{compiler: c, program: p, declared: admission.OptionalVariableDeclarations{HasAuthorizer: true}}
	b.expressions(Spec{MatchConditions: all})
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	return &Conditions{p.matcher, p.asks.authorizer}, nil
}

// Match reports whether the webhook is called for a request: no condition is
// false. The error is why one has no value, and no other is false. "authorizer"
// asks the host of the context (see sdk.WithHost).
func (c *Conditions) Match(ctx context.Context, req *sdk.Request) (bool, error) {
	if c.matcher == nil {
		return true, nil
	}
	a, err := attributes(ctx, req)
	if err != nil {
		return false, err
	}
	in := inputs{attributes: a}
	if c.authorizer {
		in.authorizer = admissionauthorizer.NewCachingAuthorizer(access{ctx})
	}
	result := c.matcher.Match(ctx, in.attributes, nil, in.authorizer)
	if result.Error != nil {
		return false, &EvaluationError{result.Error}
	}
	return result.Matches, nil
}
