package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/sdk"
)

// EvaluateBundle judges a request with every policy of a bundle whose rules
// match it, and gives one answer with all reasons. Policies that may mutate go
// first, in order, each seeing the object as the one before left it; the others
// see the last of these, at the same time. The error is an *UnknownPolicyError.
func (e *Engine) EvaluateBundle(ctx context.Context, bundle string, req *sdk.Request) (Decision, error) {
	ctx = withPods(ctx)
	start := time.Now()
	all := e.holdBundle(bundle)
	if len(all) == 0 {
		return Decision{}, &UnknownPolicyError{policy.ID(bundle)}
	}
	defer func() {
		for _, ent := range all {
			ent.release()
		}
	}()
	decisions := make([]Decision, len(all))
	asked := make([]bool, len(all))
	seen := *req
	for i, ent := range all {
		if asked[i] = ent.policy.Matches(req); !asked[i] || !ent.policy.AllowedToMutate {
			continue
		}
		decisions[i] = e.decide(ent, &seen, e.judge(ctx, ent, &seen))
		if d := decisions[i]; d.Response.Patch != nil {
			*subject(&seen) = d.mutated
		}
	}
	e.validate(ctx, all, &seen, func(i int) *Decision {
		if !asked[i] || all[i].policy.AllowedToMutate {
			return nil
		}
		return &decisions[i]
	})
	d := combined(req, slices.DeleteFunc(decisions, func(d Decision) bool { return d.Policy == "" }))
	d.Policy, d.Took = policy.ID(bundle), time.Since(start)
	if d.Response.Allowed {
		e.patch(&d, *subject(req), *subject(&seen))
	}
	return d, nil
}

// patch makes the patch of a bundle from what went in and what came out.
func (e *Engine) patch(d *Decision, before, after json.RawMessage) {
	patch, err := review.Diff(before, after)
	if err != nil { // both have been through Diff already, one policy at a time
		*d = failure(d.Policy, &sdk.Request{UID: d.Response.UID}, fmt.Errorf("bundle %q: patch: %w", d.Policy, err))
		return
	}
	d.Response.Patch = patch
}

// subject is the document that a verdict may change.
func subject(req *sdk.Request) *json.RawMessage {
	if req.Raw != nil {
		return &req.Raw
	}
	return &req.Object
}

// validate asks the policies that may not mutate. Those in WebAssembly are
// asked at the same time; built-ins take less than starting a goroutine for
// them would save.
func (e *Engine) validate(ctx context.Context, all []*entry, req *sdk.Request, into func(i int) *Decision) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for i, ent := range all {
		d := into(i)
		if d == nil {
			continue
		}
		ask := func() { *d = e.decide(ent, req, e.judge(ctx, ent, req)) }
		if ent.runtime == nativeRuntime || ent.err != nil {
			ask()
		} else {
			wg.Go(ask)
		}
	}
}

// combined is the answer of several policies.
func combined(req *sdk.Request, decisions []Decision) Decision {
	out := Decision{Response: review.Response{UID: req.UID, Allowed: true}}
	var rejections []Decision
	var errs []error
	for _, d := range decisions {
		out.Response.Warnings = append(out.Response.Warnings, d.Response.Warnings...)
		for _, key := range slices.Sorted(maps.Keys(d.Response.AuditAnnotations)) {
			out.annotate(d.Policy, key, d.Response.AuditAnnotations[key])
		}
		if d.Err != nil {
			errs = append(errs, d.Err)
		}
		if !d.Response.Allowed {
			rejections = append(rejections, d)
		}
	}
	out.Err = errors.Join(errs...)
	if len(rejections) > 0 {
		out.Response.Allowed = false
		out.Response.Status = reasons(rejections)
	}
	return out
}

// annotate keeps an annotation under its key, or with the policy before it when
// another one has taken the key.
func (d *Decision) annotate(id policy.ID, key, value string) {
	if d.Response.AuditAnnotations == nil {
		d.Response.AuditAnnotations = map[string]string{}
	}
	if _, taken := d.Response.AuditAnnotations[key]; taken {
		key = string(id) + "." + key
	}
	d.Response.AuditAnnotations[key] = value
}

// reasons is the status that says all reasons, a line each, in the order of the
// bundle. The code is the first that a policy gave.
func reasons(rejections []Decision) *review.Status {
	s := &review.Status{}
	var b strings.Builder
	if len(rejections) > 1 {
		fmt.Fprintf(&b, "%d policies refuse this request:", len(rejections))
	}
	for _, d := range rejections {
		message := messageOf(d.Response)
		if message == "" {
			message = "it gives no reason"
		}
		if len(rejections) > 1 {
			b.WriteString("\n- ")
		}
		fmt.Fprintf(&b, "%s: %s", d.Policy, message)
		s.Causes = append(s.Causes, review.Cause{Reason: string(d.Policy), Message: message})
		if d.Response.Status != nil {
			s.Causes = append(s.Causes, d.Response.Status.Causes...)
			if s.Code == 0 {
				s.Code = d.Response.Status.Code
			}
		}
	}
	s.Message = b.String()
	return s
}
