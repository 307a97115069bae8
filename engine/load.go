package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/sdk"
)

// LoadStage says how far a policy came before it failed to load.
type LoadStage string

// The stages of loading.
const (
	StageFetch    LoadStage = "fetch"
	StageVerify   LoadStage = "verify"
	StageCompile  LoadStage = "compile"
	StageSettings LoadStage = "settings"
	// StageExpression and StageMembers are of groups.
	StageExpression LoadStage = "expression"
	StageMembers    LoadStage = "members"
)

// LoadError says why a policy has no program.
type LoadError struct {
	Policy policy.ID
	At     LoadStage
	Err    error
}

func (e *LoadError) Error() string { return fmt.Sprintf("policy %q: %s: %v", e.Policy, e.At, e.Err) }

// Unwrap returns the cause.
func (e *LoadError) Unwrap() error { return e.Err }

// Stage returns how far the policy came.
func (e *LoadError) Stage() string { return string(e.At) }

// message is what the API server is told, in the words of Kubewarden's policy
// server.
func (e *LoadError) message() string {
	if bad := (*runtime.SettingsError)(nil); errors.As(e.Err, &bad) {
		return bad.Error()
	}
	if e.At == StageExpression {
		return groupErrorText + e.Error()
	}
	return fmt.Sprintf("bootstrap failure: %s: %v", e.Policy, e.Err)
}

// compileTimeout bounds the compiling of one module: the largest in Kubewarden's
// catalogue takes about 40 s on two cores.
const compileTimeout = 5 * time.Minute

// entryFor returns the entry that serves the policy from now on: the old one when
// nothing has changed, one with the old one's program when that has not, and a
// new one otherwise.
func (e *Engine) entryFor(t *task) (ent *entry, reused bool) {
	if t.old.is(t.policy, t.stamp) {
		return t.old, false
	}
	if ent := t.old.under(t.policy, t.stamp); ent != nil {
		return ent, true
	}
	ent = newEntry(t.policy, t.stamp)
	err := e.compile(ent, t)
	kept := err != nil && t.old.outlasts(ent, err)
	if ent.group != nil && !kept {
		ent.degraded = err
	} else {
		ent.err = err
	}
	ent.again(t.old)
	if kept {
		defer ent.release()
		return t.old.staleBecause(ent), false
	}
	return ent, false
}

// report logs what came of a policy.
func (e *Engine) report(t *task) {
	ent := t.entry
	log := e.opts.Log.With("policy", ent.policy.ID, "module", t.policy.Module)
	switch {
	case ent.err != nil:
		log.Error("policy not loaded", "failure_policy", ent.policy.FailurePolicy, "error", ent.err, "retry", ent.retry)
	case ent.stale != nil:
		log.Error("policy not replaced: its older revision serves", "error", ent.stale, "retry", ent.retry)
	case t.reused:
		log.Info("policy changed: its program is the same and goes on")
	case ent.degraded != nil:
		log.Error("policy group has members that did not load", "failure_policy", ent.policy.FailurePolicy,
			"error", ent.degraded, "retry", ent.retry)
	default:
		e.logLoaded(ent)
		if ent.away != nil {
			log.Warn("module comes from the store: its host could not be asked", "error", ent.away, "retry", ent.retry)
		}
	}
}

// problem is why the entry is not all that was wanted, nil if it is.
func (ent *entry) problem() error {
	for _, err := range []*LoadError{ent.err, ent.stale, ent.degraded} {
		if err != nil {
			return err
		}
	}
	return nil
}

// compile makes what the entry answers with.
func (e *Engine) compile(ent *entry, t *task) *LoadError {
	if ent.policy.Group != nil {
		return e.compileGroup(ent, t)
	}
	return e.compileEntry(t.ctx, ent, t.wants)
}

// newEntry returns an entry that is held once and has nothing to answer with.
func newEntry(p policy.Policy, stamp string) *entry {
	ent := &entry{policy: p, stamp: stamp, since: time.Now()}
	ent.refs.Store(1)
	return ent
}

// is reports whether the entry is all that is wanted of that policy.
func (ent *entry) is(p policy.Policy, stamp string) bool {
	return ent != nil && !ent.unsettled() && ent.stamp == stamp && reflect.DeepEqual(ent.policy, p)
}

// under returns an entry with the same program for a policy that has changed, held
// once; nil when the program would be another one. It holds the one whose program
// it is.
func (ent *entry) under(p policy.Policy, stamp string) *entry {
	if ent == nil || ent.err != nil || ent.stale == nil && reflect.DeepEqual(ent.policy, p) {
		return nil // there is no program, or it is to be loaded again
	}
	root := ent.root()
	if root.stamp != stamp || ent.stale != nil && root.away != nil || !reflect.DeepEqual(bare(ent.policy), bare(p)) {
		return nil
	}
	next := root.shared(p)
	next.stamp, next.away, next.since = stamp, root.away, time.Now()
	next.failures, next.retry = root.failures, root.retry
	if ent.stale == nil {
		next.failures, next.retry = ent.failures, ent.retry
	}
	return next
}

// bare is what a policy's program is made of: its policy without all that is
// looked at when it is asked. One in CEL is made with its failurePolicy: that
// decides what a rejection says.
func bare(p policy.Policy) policy.Policy {
	if p.CEL == nil {
		p.FailurePolicy = ""
	}
	p.Mode, p.Message, p.AllowedToMutate, p.Timeout = "", "", false, 0
	p.Bundles, p.Order, p.Rules = nil, 0, nil
	p.Workloads, p.WorkloadTemplates = "", nil
	if p.Group != nil {
		group := *p.Group
		group.Message = ""
		p.Group = &group
	}
	return p
}

// root is the entry whose program it is.
func (ent *entry) root() *entry {
	if ent.serves != nil {
		return ent.serves
	}
	return ent
}

// shared returns an entry with the same program for another policy, held once. It
// holds the one whose program it is, and lets go of it when it goes itself.
func (ent *entry) shared(p policy.Policy) *entry {
	next := &entry{
		policy: p, digest: ent.digest, runtime: ent.runtime, quick: ent.quick, program: ent.program, group: ent.group,
		degraded: ent.degraded, ref: ent.ref, serves: ent, closed: ent.release,
	}
	ent.refs.Add(1) // whoever calls holds it
	next.refs.Store(1)
	return next
}

// outlasts reports whether the entry goes on to serve when a newer revision has
// failed for a reason: it has something to answer with. A group that lacks
// members itself makes way for one that does: it knows no better. Nor does a
// module go on that was trusted once and is not signed by whom it must be any
// more.
func (ent *entry) outlasts(failed *entry, why error) bool {
	if ent == nil || ent.err != nil || ent.degraded != nil && failed.group != nil {
		return false
	}
	return !isUnverified(why) || !slices.Equal(ent.policy.Modules(), failed.policy.Modules())
}

func (e *Engine) logLoaded(ent *entry) {
	log := e.opts.Log.With("policy", ent.policy.ID, "module", ent.policy.Module)
	log.Info("policy loaded", "runtime", ent.runtime, "reference", ent.ref, "took", time.Since(ent.since))
	if g, ok := ent.program.(guestProgram); ok {
		if mode, why := g.Isolation(); mode == runtime.Fresh && e.opts.Isolation == runtime.Snapshot {
			log.Warn("policy has a new instance for every request", "reason", why)
		}
	}
}

// stampOf changes when a module of the policy does.
func (e *Engine) stampOf(p policy.Policy) string {
	if p.Group == nil && p.CEL == nil {
		return e.opts.Stamp(p.Module)
	}
	var b strings.Builder
	for _, uri := range p.Modules() {
		fmt.Fprintln(&b, uri, e.opts.Stamp(uri))
	}
	return b.String()
}

// staleBecause returns an entry with the same program that knows why it was not
// replaced.
func (ent *entry) staleBecause(failed *entry) *entry {
	kept := ent.root().shared(ent.policy)
	kept.since, kept.stamp = ent.since, failed.stamp
	kept.stale, kept.newer, kept.failures, kept.retry = failed.err, failed.policy, failed.failures, failed.retry
	return kept
}

// hostFor is what a policy may ask. While it waits for the answer it leaves its
// permit to others.
func (e *Engine) hostFor(p policy.Policy, grants policy.Grants) sdk.Host {
	host := &capability.Host{
		Policy: string(p.ID), Allows: grants.Allows, Granted: grants.String(), Resources: resources(p), Namespace: p.Namespace,
		Log: e.opts.Log, Services: e.opts.Services,
	}
	grantCEL(host, p)
	return &yieldingHost{engine: e, host: host}
}

// resources are the kinds that a policy may read from the cluster.
func resources(p policy.Policy) []capability.Resource {
	var all []capability.Resource
	for _, r := range p.ContextAwareResources {
		all = append(all, capability.Resource(r))
	}
	return all
}

type yieldingHost struct {
	engine *Engine
	host   *capability.Host
}

// Call answers tracing/log at once, and the rest without holding a permit.
func (h *yieldingHost) Call(ctx context.Context, c sdk.HostCall) ([]byte, error) {
	permit, ok := ctx.Value(permitKey{}).(*permit)
	if !ok || c.Namespace == "tracing" {
		return h.host.Call(ctx, c)
	}
	permit.yield()
	answer, err := h.host.Call(ctx, c)
	if taken := permit.take(ctx); taken != nil {
		return nil, taken
	}
	return answer, err
}
