package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
	"github.com/warder-dev/warder/manifest"
	"github.com/warder-dev/warder/policy"
)

// moveGrace is how long a policy that moves to another webhook has both: every
// API server has heard of the new one by then.
const moveGrace = 2 * time.Second

// enforcer registers the policies of one policy server at a time with the API
// server, and says in their status how they are.
type enforcer struct {
	Options
	client  client.Client
	live    client.Reader // the API server itself
	applier *applier
	certs   *certKeeper
	events  recorder
	metrics *metrics
	natives nativeKinds
	pacer   pacer
	servers memory[*serverMemory]
}

// serverMemory is what is known of a policy server and not in the API server. It
// is lost with the process; nothing but time is lost with it.
type serverMemory struct {
	revisions  revisions
	pulses     pulses
	refused    map[types.UID]refusal
	moving     map[types.UID]time.Time
	nativeSeen map[types.UID]nativeSeen
}

func newServerMemory() *serverMemory {
	return &serverMemory{
		revisions: revisions{}, pulses: pulses{}, refused: map[types.UID]refusal{}, moving: map[types.UID]time.Time{},
	}
}

// round is one look at a policy server, and what follows from it.
type round struct {
	*serverMemory
	name       string
	server     *v1.PolicyServer
	present    bool // and not being deleted
	replicas   []v1alpha1.PolicyServerReplica
	due        time.Time // when the next replica has to have said that it lives
	policies   []*standing
	going      []v1.Policy // being deleted
	current    configurations
	reachable  bool // the API server reaches a replica, or has been told to ask one
	bundle     []byte
	webhooks   manifest.WebhookSet
	graceUntil time.Time

	nativesNow  manifest.NativeObjects
	natives     manifest.NativeSet
	nativeUntil time.Time // when to look again for the sake of natives
}

func (e *enforcer) setup(m Manager) error {
	b := builder.ControllerManagedBy(m).Named("enforcement").
		Watches(&v1.PolicyServer{}, mapped(client.Object.GetName), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.PolicyServerReplica{}, mapped(serverOf), builder.WithPredicates(exceptHeartbeats())).
		Watches(&admissionregv1.ValidatingWebhookConfiguration{}, mapped(e.serverCalled)).
		Watches(&admissionregv1.MutatingWebhookConfiguration{}, mapped(e.serverCalled)).
		Watches(&appsv1.Deployment{}, mapped(serverDeployed), builder.WithPredicates(podsReplaced())).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(e.certs.everyServer))
	for _, o := range e.natives.objects() {
		b = b.Watches(o, mapped(serverDeployed))
	}
	for _, kind := range v1.Kinds() {
		b = b.Watches(kind.New(), handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
			// Also those that name no server: they are let go, too.
			return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: serverOf(o)}}}
		}))
	}
	return b.WithOptions(loopOptions(4)).Complete(e)
}

// Reconcile makes the webhooks of a policy server as they should be. The order
// keeps two promises: no request is sent to a policy that is not there, and none
// is missed.
func (e *enforcer) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if wait := e.pacer.wait(req.Name, time.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	defer func() { e.pacer.done(req.Name, time.Now()) }()
	r, err := e.look(ctx, req.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	// Finalizers come first: a policy that is registered without one could be
	// gone before its webhook.
	notHeld := e.hold(ctx, r)
	e.plan(r)
	if len(r.webhooks.Widen) > 0 {
		// The cache may not know a replica yet that serves already.
		if err := e.readReplicas(ctx, r, e.live); err != nil {
			return reconcile.Result{}, err
		}
		e.plan(r)
	}
	notTaken := e.applyNatives(ctx, r)
	if err := e.widen(ctx, r); err != nil {
		for _, s := range r.policies {
			s.enforced = s.policy.Status.Enforced // what is certain
		}
		return reconcile.Result{}, errors.Join(err, notTaken, e.report(ctx, r))
	}
	// What cannot be said may be just what is to be let go: a policy about everything
	// whose server is away refuses the statuses of all.
	notSaid := e.report(ctx, r)
	if r.graceUntil.IsZero() {
		if err := errors.Join(e.narrow(ctx, r), e.deleteNatives(ctx, r)); err != nil {
			return reconcile.Result{}, errors.Join(err, notTaken, notSaid)
		}
		if err := e.release(ctx, r.going); err != nil {
			return reconcile.Result{}, errors.Join(err, notSaid)
		}
	}
	return reconcile.Result{RequeueAfter: r.next(time.Now())}, errors.Join(notHeld, notTaken, notSaid)
}

// next is when to look again though nothing happens; zero is never.
func (r *round) next(now time.Time) time.Duration {
	at := r.due
	for _, until := range []time.Time{r.graceUntil, r.nativeUntil} {
		if !until.IsZero() && (at.IsZero() || until.Before(at)) {
			at = until
		}
	}
	if at.IsZero() {
		return 0
	}
	return max(at.Sub(now), time.Millisecond)
}

// look reads everything that a round is about, from the caches.
func (e *enforcer) look(ctx context.Context, name string) (*round, error) {
	r := &round{serverMemory: e.servers.of(name, newServerMemory), name: name, server: &v1.PolicyServer{}}
	err := e.client.Get(ctx, client.ObjectKey{Name: name}, r.server)
	switch {
	case apierrors.IsNotFound(err) || name == "":
		r.server.Name = name
	case err != nil:
		return nil, fmt.Errorf("policy server %q: %w", name, err)
	default:
		r.present = r.server.DeletionTimestamp.IsZero()
	}
	policies, err := policiesOf(ctx, e.client, name)
	if err != nil {
		return nil, err
	}
	refused := map[types.UID]refusal{}
	for _, p := range policies {
		if !p.Object.GetDeletionTimestamp().IsZero() {
			r.going = append(r.going, p)
			continue
		}
		s := &standing{policy: p, server: r.present}
		if was, ok := r.refused[p.Object.GetUID()]; ok {
			refused[p.Object.GetUID()] = was
		}
		if _, err := policy.FromResource(p, r.server.Spec); err != nil {
			s.invalid = err
		}
		r.policies = append(r.policies, s)
	}
	r.refused = refused // not of those that are gone
	r.revisions.keep(r.server.UID, policies)
	if err := e.readReplicas(ctx, r, e.client, client.MatchingFields{indexServer: name}); err != nil {
		return nil, err
	}
	if r.current, err = configurationsOf(ctx, e.client); err != nil {
		return nil, err
	}
	if r.nativesNow, err = e.nativeObjects(ctx); err != nil {
		return nil, err
	}
	if !r.present {
		if len(policies) == 0 {
			e.servers.forget(name)
		}
		return r, nil
	}
	if r.reachable, err = e.reaches(ctx, r); err != nil {
		return nil, err
	}
	// Without an authority nothing new can be registered; what is there stays.
	ca, err := e.certs.authority(ctx)
	if err != nil {
		return nil, fmt.Errorf("policy server %q: %w", name, err)
	}
	r.bundle = ca.bundle()
	return r, nil
}

// reaches says whether policies may be registered. A replica says that it is ready
// before the Service leads to it, by as much as the period of its readiness probe:
// with a webhook whose failurePolicy is Fail the cluster would refuse everything
// meanwhile. Once there is a webhook it is too late to wait.
func (e *enforcer) reaches(ctx context.Context, r *round) (bool, error) {
	if _, ok := e.Manifest.URLs[r.name]; ok || len(r.current.calling(e.Options, r.name)) > 0 {
		return true, nil
	}
	d := &appsv1.Deployment{}
	err := e.client.Get(ctx, client.ObjectKey{Namespace: e.Manifest.Namespace, Name: manifest.ServerName(r.name)}, d)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("policy server %q: %w", r.name, err)
	}
	return available(d), nil
}

// readReplicas takes the replicas from the cache, or from the API server itself,
// which knows no index.
func (e *enforcer) readReplicas(ctx context.Context, r *round, from client.Reader, opts ...client.ListOption) error {
	var list v1alpha1.PolicyServerReplicaList
	if err := from.List(ctx, &list, append(opts, client.InNamespace(e.Manifest.Namespace))...); err != nil {
		return fmt.Errorf("replicas: %w", err)
	}
	mine := slices.DeleteFunc(list.Items, func(replica v1alpha1.PolicyServerReplica) bool { return replica.Spec.PolicyServer != r.name })
	r.replicas, r.due = r.pulses.liveOf(mine, time.Now())
	r.pulses.keep(mine)
	silent, err := e.silent(ctx, r.name)
	server := r.revisions.see(r.server)
	for _, s := range r.policies {
		s.tally = tallyOf(r.replicas, s.policy, r.revisions.see(s.policy.Object), server)
		s.tally.live += silent
	}
	return err
}

// silent is how many pods of Kubewarden's policy server are behind the Service
// while ours replace them. They hold nothing and do not say so. Webhooks of names
// that ours never have tell that they may be there.
func (e *enforcer) silent(ctx context.Context, server string) (int, error) {
	configs, err := configurationsOf(ctx, e.client)
	if err != nil {
		return 0, err
	}
	left := slices.ContainsFunc(configs.calling(e.Options, server), func(o client.Object) bool {
		return o.GetName() != manifest.BundledName(server) && !strings.HasPrefix(o.GetName(), "kw.")
	})
	if !left || e.Manifest.URLs[server] != "" {
		return 0, nil
	}
	d := &appsv1.Deployment{}
	if err := e.client.Get(ctx, client.ObjectKey{Namespace: e.Manifest.Namespace, Name: manifest.ServerName(server)}, d); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	outdated := d.Status.Replicas - d.Status.UpdatedReplicas
	if ending := d.Status.TerminatingReplicas; ending != nil {
		outdated += *ending
	}
	return int(max(0, outdated)), nil
}

// plan asks package manifest what to do.
func (e *enforcer) plan(r *round) {
	in := manifest.WebhookInput{
		Server: r.server, Options: e.Manifest, CABundle: r.bundle,
		Validating: r.current.validating, Mutating: r.current.mutating,
	}
	for _, s := range r.policies {
		s.refused, s.reachable = r.refusal(s.policy), r.reachable
	}
	e.planNatives(r, time.Now())
	for _, s := range r.policies {
		switch {
		case !r.present || s.native.effective:
		case s.native.wanted: // the webhook that it may have goes when the API server enforces it
			in.Unsettled = append(in.Unsettled, s.policy)
		case s.settled():
			in.Settled = append(in.Settled, s.policy)
		default:
			in.Unsettled = append(in.Unsettled, s.policy)
		}
	}
	r.webhooks = manifest.Webhooks(in)
	r.grace(time.Now())
	e.replaceNatives(r)
	for _, s := range r.policies {
		name := s.policy.UniqueName()
		s.refused = cmp.Or(r.webhooks.Refused[name], s.refused)
		s.enforced = nil
		if at, ok := r.webhooks.Enforced[name]; ok {
			s.enforced = &at
		}
		if native := r.enforcedNatively(s); native != nil && (s.native.wanted || s.enforced == nil) {
			s.enforced = native
		}
		if _, moving := r.moving[s.policy.Object.GetUID()]; moving && !r.graceUntil.IsZero() {
			s.enforced = s.policy.Status.Enforced
		}
	}
}

// grace finds the policies that move from one webhook to another. Until the grace
// is over they have both, and replicas answer for them in both, because their
// status names the old one.
func (r *round) grace(now time.Time) {
	r.graceUntil = time.Time{}
	moving := map[types.UID]time.Time{}
	for _, s := range r.policies {
		was := s.policy.Status.Enforced
		at, ok := r.webhooks.Enforced[s.policy.UniqueName()]
		if was == nil || !ok || was.Configuration == at.Configuration && was.Bundle == at.Bundle && was.Mutating == at.Mutating && was.At == at.At {
			continue
		}
		uid := s.policy.Object.GetUID()
		since, known := r.moving[uid]
		if !known {
			since = now
		}
		moving[uid] = since
		if until := since.Add(moveGrace); until.After(now) && until.After(r.graceUntil) {
			r.graceUntil = until
		}
	}
	r.moving = moving
}

// hold gives policies the finalizer that they have not got yet.
func (e *enforcer) hold(ctx context.Context, r *round) error {
	return each(ctx, r.policies, func(ctx context.Context, s *standing) error {
		if !r.present && !s.policy.AtAPIServer() {
			return nil
		}
		err := addFinalizer(ctx, e.client, s.policy.Object)
		s.held = err == nil
		return err
	})
}

// release lets policies go that have no webhook any more.
func (e *enforcer) release(ctx context.Context, going []v1.Policy) error {
	return each(ctx, going, func(ctx context.Context, p v1.Policy) error {
		return removeFinalizers(ctx, e.client, p.Object)
	})
}

// widen registers more.
func (e *enforcer) widen(ctx context.Context, r *round) error {
	for _, o := range r.webhooks.Widen {
		if err := e.write(ctx, r, o); err != nil {
			if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
				return e.findRefused(ctx, r, err)
			}
			return err
		}
	}
	return nil
}

// narrow registers less.
func (e *enforcer) narrow(ctx context.Context, r *round) error {
	for _, o := range r.webhooks.Narrow {
		if err := e.write(ctx, r, o); err != nil {
			return err
		}
	}
	for _, o := range r.webhooks.Delete {
		uid := o.GetUID()
		err := e.client.Delete(ctx, o, client.Preconditions{UID: &uid})
		if client.IgnoreNotFound(err) != nil { // a conflict too: there is another one now
			return fmt.Errorf("delete webhook configuration %q: %w", o.GetName(), err)
		}
		e.applier.forget(o)
		e.Log.InfoContext(ctx, "webhook configuration deleted", "name", o.GetName(), "policy_server", r.name)
	}
	return nil
}

func (e *enforcer) write(ctx context.Context, r *round, o v1.Object) error {
	did, err := e.applier.applyWhole(ctx, o)
	if did != unchanged {
		e.Log.InfoContext(ctx, "webhook configuration written",
			"name", o.GetName(), "policy_server", r.name, "change", string(did))
	}
	return err
}
