package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/warder-dev/warder/api/v1"
)

// recorder records events: what has happened to an object, once.
type recorder interface {
	Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any)
}

// maxNote is what an event's note may have.
const maxNote = 1024

// report writes the statuses that have changed, and tells of what is news.
func (e *enforcer) report(ctx context.Context, r *round) error {
	counts := map[v1.PolicyState]int{}
	for _, s := range r.policies {
		counts[s.state()]++
	}
	e.metrics.policies(r.name, counts)
	return each(ctx, r.policies, func(ctx context.Context, s *standing) error {
		was, next := *s.policy.Status, s.status()
		if equality.Semantic.DeepEqual(was, next) {
			return nil
		}
		base := s.policy.Object.DeepCopyObject().(client.Object)
		*s.policy.Status = next
		err := e.client.Status().Patch(ctx, s.policy.Object, client.MergeFrom(base))
		if err := client.IgnoreNotFound(err); err != nil {
			return fmt.Errorf("status of %s: %w", s.policy.UniqueName(), err)
		}
		if err == nil {
			e.tell(s, was)
		}
		return nil
	})
}

// tell records what is news since the last status.
func (e *enforcer) tell(s *standing, was v1.PolicyStatus) {
	note := func(kind, reason, action, text string) {
		if len(text) > maxNote {
			text = text[:maxNote-3] + "..."
		}
		e.events.Eventf(s.policy.Object, nil, kind, reason, action, "%s", text)
	}
	next := s.policy.Status
	loaded, before := meta.FindStatusCondition(next.Conditions, v1.ConditionLoaded), meta.FindStatusCondition(was.Conditions, v1.ConditionLoaded)
	anew := before == nil || before.Reason != loaded.Reason || before.ObservedGeneration != loaded.ObservedGeneration
	switch {
	case anew && (loaded.Reason == reasonLoadFailed || loaded.Reason == reasonDegraded || loaded.Reason == reasonInvalid):
		note(corev1.EventTypeWarning, reasonLoadFailed, "Load", loaded.Message)
	case anew && loaded.Reason == reasonServerMissing:
		note(corev1.EventTypeWarning, reasonServerMissing, "Schedule", loaded.Message)
	}
	enforced, before := meta.FindStatusCondition(next.Conditions, v1.ConditionEnforced), meta.FindStatusCondition(was.Conditions, v1.ConditionEnforced)
	if before != nil && before.Reason == enforced.Reason && before.Message == enforced.Message {
		return
	}
	switch enforced.Reason {
	case reasonEnforced:
		note(corev1.EventTypeNormal, reasonEnforced, "Enforce", enforced.Message)
	case reasonNative:
		note(corev1.EventTypeNormal, reasonNative, "Enforce", enforced.Message)
	case reasonRefused, reasonNativeRefused:
		note(corev1.EventTypeWarning, enforced.Reason, "Enforce", enforced.Message)
	}
}
