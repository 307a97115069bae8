package controller

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
)

// look is what the status of a policy server depends on.
type look struct {
	steps                    map[string]error // by type of condition
	replicas, ready          int32
	policies, failedPolicies int32
	due                      time.Time
}

// steps are the conditions of the steps of a policy server, in their order.
func steps() []string {
	return []string{
		v1.ConditionCertSecretReconciled, v1.ConditionConfigMapReconciled, v1.ConditionPodDisruptionBudgetReconciled,
		v1.ConditionDeploymentReconciled, v1.ConditionServiceReconciled,
	}
}

// forgottenAfter is how long a replica that says nothing any more is remembered.
const forgottenAfter = 10 * time.Minute

// count counts replicas and policies.
func (c *servers) count(ctx context.Context, ps *v1.PolicyServer, seen *look) error {
	replicas, err := c.replicas(ctx, ps.Name)
	if err != nil {
		return err
	}
	p, now := c.pulses.of(ps.Name, newPulses), time.Now()
	live, due := p.liveOf(replicas, now)
	seen.ready, seen.due = int32(len(live)), due
	for i := range replicas {
		if p.until(&replicas[i], now).After(now) {
			seen.replicas++
		}
	}
	policies, err := policiesOf(ctx, c.client, ps.Name)
	if err != nil {
		return err
	}
	for _, policy := range policies {
		seen.policies++
		loaded := meta.FindStatusCondition(policy.Status.Conditions, v1.ConditionLoaded)
		if loaded != nil && (loaded.Reason == reasonLoadFailed || loaded.Reason == reasonDegraded || loaded.Reason == reasonInvalid) {
			seen.failedPolicies++
		}
	}
	return nil
}

func newPulses() pulses { return pulses{} }

// replicas are those of a policy server that say something, or did not long ago.
// What others have said is deleted.
func (c *servers) replicas(ctx context.Context, server string) ([]v1alpha1.PolicyServerReplica, error) {
	var list v1alpha1.PolicyServerReplicaList
	if err := c.client.List(ctx, &list, client.InNamespace(c.Manifest.Namespace), client.MatchingFields{indexServer: server}); err != nil {
		return nil, fmt.Errorf("replicas: %w", err)
	}
	p, now := c.pulses.of(server, newPulses), time.Now()
	p.keep(list.Items)
	var kept []v1alpha1.PolicyServerReplica
	for i := range list.Items {
		r := &list.Items[i]
		if p.until(r, now).Add(forgottenAfter).After(now) {
			kept = append(kept, *r)
			continue
		}
		uid := r.UID
		if err := client.IgnoreNotFound(c.client.Delete(ctx, r, client.Preconditions{UID: &uid})); err != nil {
			return nil, fmt.Errorf("replica %q: %w", r.Name, err)
		}
	}
	return kept, nil
}

// status is what to say about a policy server.
func (l look) status(ps *v1.PolicyServer) v1.PolicyServerStatus {
	out := *ps.Status.DeepCopy()
	out.ObservedGeneration, out.Replicas, out.ReadyReplicas = ps.Generation, l.replicas, l.ready
	out.Policies, out.FailedPolicies = l.policies, l.failedPolicies
	ready := metav1.Condition{
		Type: v1.ConditionServing, Status: metav1.ConditionTrue, Reason: "Serving", Message: "replicas serve", ObservedGeneration: ps.Generation,
	}
	if l.ready == 0 {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, reasonNoReplicas, "no replica serves"
	}
	for _, kind := range steps() {
		condition := stepCondition(kind, l.steps[kind], ps.Generation)
		meta.SetStatusCondition(&out.Conditions, condition)
		if condition.Status == metav1.ConditionFalse {
			ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, condition.Reason, condition.Message
		}
	}
	meta.SetStatusCondition(&out.Conditions, ready)
	return out
}

func stepCondition(kind string, err error, generation int64) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: v1.ReasonReconciliationSucceeded, ObservedGeneration: generation}
	if err != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1.ReasonReconciliationFailed, err.Error()
	}
	return c
}

// report writes the status if it has changed.
func (c *servers) report(ctx context.Context, ps *v1.PolicyServer, seen look) error {
	return c.writeStatus(ctx, ps, seen.status(ps))
}

// reportCleanup says whether a policy server that is being deleted still has
// webhooks.
func (c *servers) reportCleanup(ctx context.Context, ps *v1.PolicyServer, waiting error) error {
	next := *ps.Status.DeepCopy()
	meta.SetStatusCondition(&next.Conditions, stepCondition(v1.ConditionPolicyWebhooksCleanedUp, waiting, ps.Generation))
	return c.writeStatus(ctx, ps, next)
}

func (c *servers) writeStatus(ctx context.Context, ps *v1.PolicyServer, next v1.PolicyServerStatus) error {
	if equality.Semantic.DeepEqual(ps.Status, next) {
		return nil
	}
	base := ps.DeepCopy()
	ps.Status = next
	if err := client.IgnoreNotFound(c.client.Status().Patch(ctx, ps, client.MergeFrom(base))); err != nil {
		return fmt.Errorf("status of policy server %q: %w", ps.Name, err)
	}
	return nil
}
