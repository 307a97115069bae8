package controller

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
)

// Reasons of the conditions of policies.
const (
	reasonEnforced       = "Enforced"
	reasonHeld           = "HeldByAllReplicas"
	reasonLoading        = "Loading"
	reasonLoadFailed     = "LoadFailed"
	reasonDegraded       = "MembersFailed"
	reasonNoReplicas     = "NoReplicas"
	reasonServerMissing  = "PolicyServerMissing"
	reasonInvalid        = "Invalid"
	reasonRefused        = "WebhookRefused"
	reasonOldGeneration  = "OlderGeneration"
	reasonNotEnforced    = "NotRegistered"
	reasonNotReached     = "NoReplicaAvailable"
	reasonNative         = "EnforcedByAPIServer"
	reasonNativeRefused  = "NotForAPIServer"
	reasonNativeNew      = "TakenUpByAPIServer"
	reasonVersionMatch   = "ConfigurationVersionMatch"
	reasonMismatch       = "ConfigurationVersionMismatch"
	reasonUnknownVersion = "UnknownConfigurationVersion"
	reasonReachable      = "LatestReplicaSetIsUniquelyReachable"
	reasonNotReachable   = "LatestReplicaSetIsNotUniquelyReachable"
)

// standing is all that the status of a policy depends on.
type standing struct {
	policy v1.Policy
	// server says whether the policy server is there to stay.
	server bool
	tally  tally
	// held says that the policy has our finalizer.
	held bool
	// reachable says that the API server would reach a replica.
	reachable bool
	// invalid is why the policy can be loaded by nobody, refused why it cannot be
	// registered.
	invalid, refused error
	// enforced is where the API server asks; nil is nowhere.
	enforced *v1.Enforcement
	// native is about a policy that the API server is to enforce by itself.
	native nativeStanding
}

// settled says that the policy is to be registered as its spec says.
func (s standing) settled() bool {
	return s.server && s.held && s.reachable && s.invalid == nil && s.refused == nil && s.tally.settled()
}

// status is what to say about the policy. Times of conditions that have not
// changed stay.
func (s standing) status() v1.PolicyStatus {
	was := s.policy.Status.DeepCopy()
	generation := s.policy.Object.GetGeneration()
	out := v1.PolicyStatus{
		PolicyStatus: s.state(), Mode: s.mode(), ObservedGeneration: generation,
		Enforced: s.enforced, Conditions: was.Conditions,
	}
	set := func(kind string, status metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&out.Conditions, metav1.Condition{
			Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: generation,
		})
	}
	loaded := s.loaded(meta.FindStatusCondition(was.Conditions, v1.ConditionLoaded))
	enforced := s.enforcement()
	set(v1.ConditionLoaded, loaded.Status, loaded.Reason, loaded.Message)
	set(v1.ConditionEnforced, enforced.Status, enforced.Reason, enforced.Message)
	ready := enforced
	if loaded.Status != metav1.ConditionTrue && !s.native.wanted {
		ready = loaded // what the API server enforces does not need the policy server
	}
	set(v1.ConditionReady, ready.Status, ready.Reason, ready.Message)

	// Kubewarden's. Its pods are our replicas, and its configuration versions our
	// generations.
	switch {
	case s.enforced != nil && s.enforced.At == v1.AtAPIServer:
		set(v1.ConditionPolicyActive, metav1.ConditionTrue, v1.ConditionPolicyActive, "The API server enforces the policy by itself")
	case s.enforced != nil:
		set(v1.ConditionPolicyActive, metav1.ConditionTrue, v1.ConditionPolicyActive, "The policy webhook has been created")
	default:
		set(v1.ConditionPolicyActive, metav1.ConditionFalse, v1.ConditionPolicyActive, "The policy webhook has not been created")
	}
	switch {
	case !s.server || s.tally.live == 0:
		set(v1.ConditionConfigurationUpToDate, metav1.ConditionUnknown, reasonUnknownVersion, loaded.Message)
		set(v1.ConditionPolicyUniquelyReachable, metav1.ConditionFalse, reasonNotReachable, loaded.Message)
	case loaded.Status == metav1.ConditionTrue || loaded.Reason == reasonDegraded:
		set(v1.ConditionConfigurationUpToDate, metav1.ConditionTrue, reasonVersionMatch, "")
		set(v1.ConditionPolicyUniquelyReachable, metav1.ConditionTrue, reasonReachable, "")
	default:
		set(v1.ConditionConfigurationUpToDate, metav1.ConditionFalse, reasonMismatch, loaded.Message)
		set(v1.ConditionPolicyUniquelyReachable, metav1.ConditionFalse, reasonNotReachable, loaded.Message)
	}
	return out
}

// state is Kubewarden's. A policy that is active stays so while it changes.
func (s standing) state() v1.PolicyState {
	switch {
	case s.enforced != nil && s.enforced.At == v1.AtAPIServer:
		return v1.Active
	case s.policy.Serving.PolicyServer == "":
		return v1.Unscheduled
	case !s.server:
		return v1.Scheduled
	case s.enforced == nil:
		return v1.Pending
	}
	return v1.Active
}

// mode is that in which the replicas have the policy.
func (s standing) mode() v1.ObservedMode {
	switch was := s.policy.Status.Mode; {
	case !s.server:
		return v1.UnknownMode
	case s.tally.settled():
		if s.policy.Serving.Mode == v1.Monitor {
			return v1.ObservedMode(v1.Monitor)
		}
		return v1.ObservedMode(v1.Protect)
	case was != "":
		return was
	}
	return v1.UnknownMode
}

func no(reason, message string) metav1.Condition {
	return metav1.Condition{Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// loaded says whether every replica has the policy as its spec says. A replica
// that has just come and is still reading is no news about a policy that all
// others have: otherwise each new pod would change the status of every policy,
// twice.
func (s standing) loaded(was *metav1.Condition) metav1.Condition {
	p, t := s.policy, s.tally
	generation := p.Object.GetGeneration()
	switch {
	case p.Serving.PolicyServer == "":
		return no(reasonServerMissing, "spec.policyServer names none")
	case !s.server:
		return no(reasonServerMissing, fmt.Sprintf("policy server %q does not exist, or is being deleted", p.Serving.PolicyServer))
	case s.invalid != nil:
		return no(reasonInvalid, s.invalid.Error())
	case t.live == 0:
		return no(reasonNoReplicas, fmt.Sprintf("no replica of policy server %q is ready", p.Serving.PolicyServer))
	case t.failed > 0 && t.state == v1alpha1.Degraded:
		return no(reasonDegraded, t.describe(generation))
	case t.failed > 0:
		return no(reasonLoadFailed, t.describe(generation))
	case t.settled():
		return metav1.Condition{
			Status: metav1.ConditionTrue, Reason: reasonHeld, Message: fmt.Sprintf("every replica holds generation %d", generation),
		}
	case was != nil && was.Status == metav1.ConditionTrue && was.ObservedGeneration == generation:
		return *was
	}
	return no(reasonLoading, fmt.Sprintf("waiting for every replica of policy server %q to hold generation %d", p.Serving.PolicyServer, generation))
}

// enforcement says whether the API server asks for what the spec says.
func (s standing) enforcement() metav1.Condition {
	generation := s.policy.Object.GetGeneration()
	if s.native.wanted {
		return s.nativeEnforcement(generation)
	}
	switch {
	case s.refused != nil:
		return no(reasonRefused, s.refused.Error())
	case s.enforced == nil && s.server && !s.reachable:
		return no(reasonNotReached, fmt.Sprintf("no replica of policy server %q is available yet: its Service leads nowhere", s.policy.Serving.PolicyServer))
	case s.enforced == nil:
		return no(reasonNotEnforced, "no webhook asks for the policy")
	case s.enforced.At == v1.AtAPIServer:
		return no(reasonOldGeneration, fmt.Sprintf("the API server enforces generation %d by itself until a webhook asks for generation %d", s.enforced.Generation, generation))
	case s.enforced.Generation != generation:
		return no(reasonOldGeneration, fmt.Sprintf("the webhook is still that of generation %d", s.enforced.Generation))
	}
	return metav1.Condition{
		Status: metav1.ConditionTrue, Reason: reasonEnforced,
		Message: fmt.Sprintf("generation %d is enforced by webhook configuration %q", generation, s.enforced.Configuration),
	}
}
