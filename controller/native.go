package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
)

// nativeGrace is how long a policy that the API server is to enforce by itself is
// there before it counts as enforced. An API server says nowhere that it has taken
// one up: it looks at what has changed every second, after its watch has told of
// it. Source: k8s.io/apiserver pkg/admission/plugin/policy/generic,
// policyRefreshInterval.
const nativeGrace = 5 * time.Second

// refusedAgain is when to ask again for what the API server has refused: it may have
// been for a right to read params that the controller has by then.
const refusedAgain = 10 * time.Second

// nativeKinds are which of the API server's own policies it has.
type nativeKinds struct{ validating, mutating bool }

// nativeKindsOf asks the API server.
func nativeKindsOf(mapper meta.RESTMapper) (nativeKinds, error) {
	has := func(kind string) (bool, error) {
		_, err := mapper.RESTMapping(schema.GroupKind{Group: admissionregv1.GroupName, Kind: kind}, admissionregv1.SchemeGroupVersion.Version)
		if meta.IsNoMatchError(err) {
			return false, nil
		}
		return err == nil, err
	}
	validating, err := has("ValidatingAdmissionPolicy")
	mutating, also := has("MutatingAdmissionPolicy")
	return nativeKinds{validating, mutating}, errors.Join(err, also)
}

// objects are empty ones of each kind.
func (n nativeKinds) objects() []client.Object {
	var all []client.Object
	if n.validating {
		all = append(all, &admissionregv1.ValidatingAdmissionPolicy{}, &admissionregv1.ValidatingAdmissionPolicyBinding{})
	}
	if n.mutating {
		all = append(all, &admissionregv1.MutatingAdmissionPolicy{}, &admissionregv1.MutatingAdmissionPolicyBinding{})
	}
	return all
}

// missing says which kind a policy needs that the API server does not have.
func (n nativeKinds) missing(p v1.Policy) error {
	switch {
	case p.Single.CEL != nil && len(p.Single.CEL.Mutations) > 0 && !n.mutating:
		return errors.New("spec.enforceAt: this API server has no MutatingAdmissionPolicy of admissionregistration.k8s.io/v1, which came with Kubernetes 1.36; leave enforceAt out")
	case !n.validating:
		return errors.New("spec.enforceAt: this API server has no ValidatingAdmissionPolicy of admissionregistration.k8s.io/v1, which came with Kubernetes 1.30; leave enforceAt out")
	}
	return nil
}

// nativeObjects reads what there is, from the caches.
func (e *enforcer) nativeObjects(ctx context.Context) (manifest.NativeObjects, error) {
	var vp admissionregv1.ValidatingAdmissionPolicyList
	var vb admissionregv1.ValidatingAdmissionPolicyBindingList
	var mp admissionregv1.MutatingAdmissionPolicyList
	var mb admissionregv1.MutatingAdmissionPolicyBindingList
	var errs []error
	if e.natives.validating {
		errs = append(errs, e.client.List(ctx, &vp), e.client.List(ctx, &vb))
	}
	if e.natives.mutating {
		errs = append(errs, e.client.List(ctx, &mp), e.client.List(ctx, &mb))
	}
	if err := errors.Join(errs...); err != nil {
		return manifest.NativeObjects{}, fmt.Errorf("policies of the API server: %w", err)
	}
	return manifest.NativeObjects{
		ValidatingPolicies: vp.Items, ValidatingBindings: vb.Items, MutatingPolicies: mp.Items, MutatingBindings: mb.Items,
	}, nil
}

// nativeStanding is how a policy that the API server is to enforce by itself
// stands.
type nativeStanding struct {
	// wanted says that it is to.
	wanted bool
	// effective says that it does, for the policy's generation.
	effective bool
	kind      string
	warnings  []string
}

// planNatives asks package manifest what the API server is to enforce. A policy
// that it enforces for long enough needs no webhook any more.
func (e *enforcer) planNatives(r *round, now time.Time) {
	for _, s := range r.policies {
		s.native = nativeStanding{wanted: s.policy.AtAPIServer(), kind: nativeKind(s.policy)}
		if s.native.wanted {
			s.refused = e.natives.missing(s.policy)
		}
	}
	r.natives = e.nativeSet(r, func(*standing) bool { return true })
	r.nativeUntil = time.Time{}
	seen := map[types.UID]nativeSeen{}
	for _, s := range r.policies {
		name, uid := s.policy.UniqueName(), s.policy.Object.GetUID()
		at, ok := r.natives.InPlace[name]
		s.native.warnings = r.natives.Warnings[name]
		if !s.native.wanted {
			continue
		}
		s.refused = cmp.Or(s.refused, r.natives.Unsuited[name])
		if !ok || s.refused != nil || len(r.natives.Apply[name]) > 0 || at.Generation != s.policy.Object.GetGeneration() {
			continue
		}
		was, known := r.nativeSeen[uid]
		if !known || was.generation != at.Generation {
			was = nativeSeen{generation: at.Generation, since: now}
			if said := s.policy.Status.Enforced; said != nil && *said == at {
				was.since = now.Add(-nativeGrace) // we have said so already, and were restarted
			}
		}
		seen[uid] = was
		until := was.since.Add(nativeGrace)
		s.native.effective = !until.After(now)
		if !s.native.effective {
			r.lookAgain(until)
		}
	}
	r.nativeSeen = seen
}

// nativeSet asks package manifest. What keep says no to is deleted, of policies
// that are to have a webhook.
func (e *enforcer) nativeSet(r *round, keep func(*standing) bool) manifest.NativeSet {
	in := manifest.NativeSetInput{Server: r.server, Options: e.Manifest, Current: r.nativesNow}
	for _, s := range r.policies {
		switch {
		case s.native.wanted && s.held && s.refused == nil:
			in.Wanted = append(in.Wanted, s.policy)
		case s.native.wanted || keep(s):
			in.Kept = append(in.Kept, s.policy)
		}
	}
	return manifest.Natives(in)
}

// replaceNatives lets go what webhooks are for by now.
func (e *enforcer) replaceNatives(r *round) {
	replaced := slices.ContainsFunc(r.policies, func(s *standing) bool {
		_, is := r.natives.InPlace[s.policy.UniqueName()]
		return is && !s.native.wanted && !r.leaving(s.policy)
	})
	if replaced {
		r.natives.Delete = e.nativeSet(r, func(s *standing) bool { return r.leaving(s.policy) }).Delete
	}
}

// nativeSeen is since when the API server has had a generation of a policy.
type nativeSeen struct {
	generation int64
	since      time.Time
}

func nativeKind(p v1.Policy) string {
	if p.Single != nil && p.Single.CEL != nil && len(p.Single.CEL.Mutations) > 0 {
		return "MutatingAdmissionPolicy"
	}
	return "ValidatingAdmissionPolicy"
}

// leaving says that a policy which is to have a webhook again has none yet that
// is as its spec says, or that not all API servers have heard of it.
func (r *round) leaving(p v1.Policy) bool {
	at, asked := r.webhooks.Enforced[p.UniqueName()]
	return !asked || at.Generation != p.Object.GetGeneration() || !r.graceUntil.IsZero()
}

// enforcedNatively is what the status says of a policy which the API server
// enforces, or still enforces though it is to have a webhook.
func (r *round) enforcedNatively(s *standing) *v1.Enforcement {
	at, ok := r.natives.InPlace[s.policy.UniqueName()]
	if !ok || s.native.wanted && !s.native.effective && at.Generation == s.policy.Object.GetGeneration() {
		// As long as it is not certain that all API servers have it, it is what
		// was said before, if that was of an older generation.
		if was := s.policy.Status.Enforced; ok && was != nil && was.At == v1.AtAPIServer {
			return was
		}
		return nil
	}
	return &at
}

// applyNatives writes what the API server is to enforce. One policy that it does
// not take keeps no other from being written.
func (e *enforcer) applyNatives(ctx context.Context, r *round) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(r.natives.Apply)) {
		for _, o := range r.natives.Apply[name] {
			did, err := e.applier.applyWhole(ctx, o)
			if did != unchanged {
				e.Log.InfoContext(ctx, "policy of the API server written", "kind", o.GetObjectKind().GroupVersionKind().Kind,
					"name", o.GetName(), "policy_server", r.name, "change", string(did))
			}
			if err == nil {
				continue
			}
			r.notTaken(name, err)
			if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err) {
				// It stays so until somebody does something about it. Meanwhile the
				// others must not wait ever longer.
				e.Log.WarnContext(ctx, "policy refused by the API server", "name", name, "policy_server", r.name, "error", err)
				r.lookAgain(time.Now().Add(refusedAgain))
			} else {
				errs = append(errs, err)
			}
			break // a binding without its policy is nothing
		}
	}
	return errors.Join(errs...)
}

// notTaken says of a policy why the API server does not take what is to enforce it.
func (r *round) notTaken(name string, err error) {
	for _, s := range r.policies {
		if s.policy.UniqueName() == name {
			s.refused = fmt.Errorf("the API server does not take it: %w", err)
		}
	}
}

// lookAgain makes the next round begin at that time at the latest.
func (r *round) lookAgain(at time.Time) {
	if r.nativeUntil.IsZero() || at.Before(r.nativeUntil) {
		r.nativeUntil = at
	}
}

// deleteNatives deletes what nobody wants any more.
func (e *enforcer) deleteNatives(ctx context.Context, r *round) error {
	for _, o := range r.natives.Delete {
		uid, kind := o.GetUID(), o.GetObjectKind().GroupVersionKind().Kind
		err := e.client.Delete(ctx, o, client.Preconditions{UID: &uid})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete %s %q: %w", kind, o.GetName(), err)
		}
		e.applier.forget(o)
		e.Log.InfoContext(ctx, "policy of the API server deleted", "kind", kind, "name", o.GetName(), "policy_server", r.name)
	}
	return nil
}

// text is for people: what the API server thinks of the types of the policy.
func (n nativeStanding) text() string {
	if len(n.warnings) == 0 {
		return ""
	}
	return "; it warns: " + strings.Join(n.warnings, "; ")
}

// nativeEnforcement says whether the API server enforces by itself what the spec
// says.
func (s standing) nativeEnforcement(generation int64) metav1.Condition {
	name, at := s.policy.UniqueName(), s.enforced
	meanwhile := "nobody enforces the policy meanwhile"
	switch {
	case at != nil && at.At == v1.AtAPIServer:
		meanwhile = fmt.Sprintf("the API server enforces generation %d meanwhile", at.Generation)
	case at != nil:
		meanwhile = fmt.Sprintf("webhook configuration %q enforces generation %d meanwhile", at.Configuration, at.Generation)
	}
	switch {
	case s.refused != nil:
		return no(reasonNativeRefused, s.refused.Error()+"; "+meanwhile)
	case !s.native.effective || at == nil || at.At != v1.AtAPIServer || at.Generation != generation:
		return no(reasonNativeNew, fmt.Sprintf("%s %q is of generation %d, which API servers take up within %s; %s",
			s.native.kind, name, generation, nativeGrace, meanwhile))
	}
	return metav1.Condition{
		Status: metav1.ConditionTrue, Reason: reasonNative,
		Message: fmt.Sprintf("generation %d is enforced by the API server itself, as %s %q%s", generation, s.native.kind, name, s.native.text()),
	}
}
