package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/runtime/cel"
	"github.com/warder-dev/warder/sdk"
)

// EvaluateBundle judges a request with every policy of a bundle whose rules
// match it, and gives one answer with all reasons. Policies that may mutate go
// first, in order, each seeing the object as the one before left it; the others
// see the last of these, at the same time. In a bundle that a validating webhook
// asks (see policy.Mutates) none may mutate. The error is an *UnknownPolicyError.
func (e *Engine) EvaluateBundle(ctx context.Context, bundle string, req *sdk.Request) (Decision, error) {
	ctx = cel.Shared(withPods(ctx))
	start := time.Now()
	b := e.holdBundle(bundle)
	if b == nil {
		return Decision{}, &UnknownPolicyError{policy.ID(bundle)}
	}
	defer b.release()
	who := b.lineup(req)
	var all said
	seen := *req
	for _, s := range who.mutating {
		d := e.decide(s.entry, &seen, e.judge(ctx, s.entry, &seen))
		if d.Response.Patch != nil {
			*subject(&seen) = d.mutated
		}
		all.add(s.place, d)
	}
	e.validate(ctx, who, &seen, &all)
	d := combined(req, all.sorted())
	d.Policy, d.Took = policy.ID(bundle), time.Since(start)
	if len(who.mutating) > 0 && d.Response.Allowed {
		e.patch(&d, *subject(req), *subject(&seen))
	}
	return d, nil
}

// said is what policies of a bundle say that goes into its answer, with their
// places in the bundle: of 200 policies most have nothing to say.
type said struct {
	places    []int
	decisions []Decision
}

func (s *said) add(place int, d Decision) {
	r := &d.Response
	if r.Allowed && d.Err == nil && len(r.Warnings) == 0 && len(r.AuditAnnotations) == 0 {
		return
	}
	s.places, s.decisions = append(s.places, place), append(s.decisions, d)
}

// Len, Less and Swap implement sort.Interface.
func (s *said) Len() int           { return len(s.places) }
func (s *said) Less(i, j int) bool { return s.places[i] < s.places[j] }
func (s *said) Swap(i, j int) {
	s.places[i], s.places[j] = s.places[j], s.places[i]
	s.decisions[i], s.decisions[j] = s.decisions[j], s.decisions[i]
}

// sorted returns the decisions in the order of the bundle.
func (s *said) sorted() []Decision {
	sort.Sort(s)
	return s.decisions
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
func (e *Engine) validate(ctx context.Context, who *lineup, req *sdk.Request, into *said) {
	ask := func(ent *entry) Decision { return unchanged(ent, e.decide(ent, req, e.judge(ctx, ent, req))) }
	guests := make([]Decision, len(who.guests))
	var wg sync.WaitGroup
	for i, s := range who.guests {
		wg.Go(func() { guests[i] = ask(s.entry) })
	}
	for _, s := range who.builtins {
		into.add(s.place, ask(s.entry))
	}
	wg.Wait()
	for i, s := range who.guests {
		into.add(s.place, guests[i])
	}
}

// unchanged refuses what a policy would change where a validating webhook asks.
// The API server takes no patch from one, and to let the request through as it is
// would be to say that the policy has nothing against it.
func unchanged(ent *entry, d Decision) Decision {
	if d.Response.Patch == nil {
		return d
	}
	d.Response.Allowed, d.Response.Patch = false, nil
	d.Response.Status = &review.Status{Message: fmt.Sprintf("Request rejected by policy %s. The policy attempted to mutate "+
		"the request, but a validating webhook has asked.", ent.policy.ID)}
	if ent.policy.Message != "" {
		d.Response.Status = replaced(d.Response.Status, ent.policy.Message)
	}
	return d
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
