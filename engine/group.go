package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/runtime/cel"
	"github.com/warder-dev/warder/sdk"
)

// groupRuntime is the runtime of a group in statuses and metrics; its members
// have their own.
const groupRuntime = "group"

// group is what a group has in place of a program: its expression, and an entry
// for each member, also for one that did not load.
type group struct {
	expression *cel.Group
	members    map[string]*entry
}

// release lets go of the members.
func (g *group) release() {
	for _, m := range g.members {
		m.release()
	}
}

// loaded reports whether any member has a program.
func (g *group) loaded() bool {
	for _, m := range g.members {
		if m.err == nil {
			return true
		}
	}
	return false
}

// member returns the entry of a member, nil if there is none.
func (ent *entry) member(name string) *entry {
	if ent == nil || ent.group == nil {
		return nil
	}
	return ent.group.members[name]
}

// memberPolicy is a member as a policy of its own: its ID is what logs, host
// calls and URLs call it. Asked on its own it protects.
func memberPolicy(p policy.Policy, name string) policy.Policy {
	m := p.Group.Members[name]
	m.ID, m.Namespace, m.PreferBuiltin = memberID(p.ID, name), p.Namespace, p.PreferBuiltin
	m.Mode, m.FailurePolicy = policy.Protect, policy.Fail
	return m
}

func memberID(group policy.ID, name string) policy.ID { return group + "/" + policy.ID(name) }

// compileGroup compiles the expression of a group and loads its members, one
// after the other: a module may take all the memory there is while it is
// compiled. Members of the old revision that have not changed are taken over.
//
// The entry has its group even if members did not load, and then the error says
// which; it has none when the expression is wrong.
func (e *Engine) compileGroup(ent *entry, t *task) *LoadError {
	p := ent.policy
	ent.runtime = groupRuntime
	names := slices.Sorted(maps.Keys(p.Group.Members))
	expression, err := cel.CompileGroup(p.Group.Expression, names)
	if err != nil {
		return &LoadError{p.ID, StageExpression, err}
	}
	ent.group = &group{expression, make(map[string]*entry, len(names))}
	ent.closed = ent.group.release
	var errs, away []error
	for _, name := range names {
		m := e.memberFor(t, memberPolicy(p, name), t.old.member(name))
		ent.group.members[name] = m
		if m.err != nil {
			errs = append(errs, m.err)
		}
		if m.away != nil {
			away = append(away, fmt.Errorf("policy %q: %w", m.policy.ID, m.away))
		}
		if !slices.Contains(expression.Calls(), name) {
			e.opts.Log.Warn("policy is in a group whose expression does not ask it", "policy", m.policy.ID)
		}
	}
	ent.away = errors.Join(away...)
	if errs != nil {
		return &LoadError{p.ID, StageMembers, errors.Join(errs...)}
	}
	return nil
}

// memberFor returns the entry of a member, held. The old one is held by its group.
func (e *Engine) memberFor(t *task, p policy.Policy, old *entry) *entry {
	stamp := e.stampOf(p)
	if old.is(p, stamp) {
		old.refs.Add(1)
		return old
	}
	if m := old.under(p, stamp); m != nil {
		return m
	}
	m := newEntry(p, stamp)
	if m.err = e.compileEntry(t.ctx, m, t.wants); m.err == nil {
		e.logLoaded(m)
	}
	return m
}

// undecidedError is why a group has no verdict: its value depends on members
// that have none.
type undecidedError struct {
	messages []string
	errs     []error
}

func (e *undecidedError) Error() string { return groupErrorText + strings.Join(e.messages, "; ") }
func (e *undecidedError) Unwrap() []error {
	return e.errs
}

// Texts of Kubewarden's policy server.
const (
	groupErrorText    = "error evaluating policy group expression: "
	noMutationInGroup = "mutation is not allowed inside of policy group"
)

// ask asks the members that the expression needs, each under its own deadline,
// and makes the group's decision of what they say. The error is an
// *EvaluationError.
func (g *group) ask(ctx context.Context, e *Engine, ent *entry, req *sdk.Request) (Decision, error) {
	said := map[string]Decision{}
	value := g.expression.Evaluate(func(name string) cel.Value {
		d := e.judge(ctx, g.members[name], req)
		if d.Response.Patch != nil {
			d.Response.Allowed = false
			d.Response.Status = &review.Status{Message: noMutationInGroup}
		}
		said[name] = d
		switch {
		case d.Err != nil:
			return cel.Unknown
		case d.Response.Allowed:
			return cel.True
		}
		return cel.False
	})
	d := Decision{Policy: ent.policy.ID, Response: review.Response{UID: req.UID, Allowed: value == cel.True}}
	switch value {
	case cel.False:
		d.Response.Status = &review.Status{Message: ent.policy.Group.Message, Causes: causes(said)}
	case cel.Unknown:
		return Decision{}, &EvaluationError{Policy: ent.policy.ID, Stage: "members", Err: undecided(said)}
	default:
	}
	return d, nil
}

// causes are the members that refused, and those that could not say: what could
// not be judged is said too.
func causes(said map[string]Decision) []review.Cause {
	var all []review.Cause
	for _, name := range slices.Sorted(maps.Keys(said)) {
		if d := said[name]; !d.Response.Allowed {
			all = append(all, review.Cause{Message: messageOf(d.Response), Field: "spec.policies." + name})
		}
	}
	return all
}

func undecided(said map[string]Decision) error {
	err := &undecidedError{}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		if d := said[name]; d.Err != nil {
			err.messages, err.errs = append(err.messages, messageOf(d.Response)), append(err.errs, d.Err)
		}
	}
	return err
}
