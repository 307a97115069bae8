package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
	"github.com/warder-dev/warder/manifest"
)

// servers runs policy servers: their objects, their certificates and their
// status.
type servers struct {
	Options
	client  client.Client
	applier *applier
	certs   *certKeeper
	events  recorder
	pacer   pacer
	pulses  memory[pulses]
	images  memory[*string] // what an event has told of, by policy server
}

func (c *servers) setup(m Manager) error {
	owner := handler.EnqueueRequestForOwner(m.GetScheme(), m.GetRESTMapper(), &v1.PolicyServer{})
	b := builder.ControllerManagedBy(m).Named("policyserver").
		For(&v1.PolicyServer{}).
		Watches(&v1alpha1.PolicyServerReplica{}, mapped(serverOf), builder.WithPredicates(exceptHeartbeats())).
		Watches(&corev1.Secret{}, owner).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(c.certs.everyServer))
	for _, o := range managed() {
		b = b.Watches(o, owner)
	}
	for _, kind := range v1.Kinds() {
		b = b.Watches(kind.New(), mapped(serverOf))
	}
	return b.WithOptions(loopOptions(2)).Complete(c)
}

// managed are the kinds of objects of a policy server, besides its Secret.
func managed() []client.Object {
	return []client.Object{
		&corev1.ServiceAccount{}, &rbacv1.ClusterRoleBinding{}, &rbacv1.RoleBinding{}, &corev1.ConfigMap{},
		&policyv1.PodDisruptionBudget{}, &appsv1.Deployment{}, &corev1.Service{},
	}
}

// Reconcile makes everything of one policy server as its spec says. What fails
// keeps nothing else from being done.
func (c *servers) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if wait := c.pacer.wait(req.Name, time.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	defer func() { c.pacer.done(req.Name, time.Now()) }()
	ps := &v1.PolicyServer{}
	if err := c.client.Get(ctx, req.NamespacedName, ps); err != nil {
		if !apierrors.IsNotFound(err) {
			return reconcile.Result{}, err
		}
		return c.afterwards(ctx, req.Name)
	}
	if !ps.DeletionTimestamp.IsZero() {
		return c.finish(ctx, ps)
	}
	if err := addFinalizer(ctx, c.client, ps); err != nil {
		return reconcile.Result{}, err
	}
	seen := look{steps: map[string]error{}}
	again, err := c.certificate(ctx, ps)
	seen.steps[v1.ConditionCertSecretReconciled] = err
	c.objects(ctx, ps, seen.steps)
	if err := c.count(ctx, ps, &seen); err != nil {
		return reconcile.Result{}, err
	}
	errs := []error{c.report(ctx, ps, seen)}
	for _, kind := range steps() {
		errs = append(errs, seen.steps[kind])
	}
	if again == 0 {
		again = checkCertificates
	}
	if !seen.due.IsZero() {
		again = min(again, max(time.Until(seen.due), time.Millisecond))
	}
	return reconcile.Result{RequeueAfter: again}, errors.Join(errs...)
}

// certificate keeps the Secret with the server's certificate.
func (c *servers) certificate(ctx context.Context, ps *v1.PolicyServer) (time.Duration, error) {
	ca, err := c.certs.authority(ctx)
	if err != nil {
		return 0, err
	}
	callers, err := c.callers(ctx, ps.Name)
	if err != nil {
		return 0, err
	}
	return c.certs.serving(ctx, served{
		secret: manifest.ServerName(ps.Name), hosts: c.hosts(manifest.ServerName(ps.Name), c.Manifest.URLs[ps.Name]),
		labels: manifest.ServerLabels(ps.Name), owners: manifest.Owners(ps), callers: callers,
	}, ca)
}

// callers are the webhook configurations that call the policy server.
func (c *servers) callers(ctx context.Context, name string) ([]client.Object, error) {
	configs, err := configurationsOf(ctx, c.client)
	return configs.calling(c.Options, name), err
}

// stepOf is the condition that says whether an object is as it should be.
func stepOf(o client.Object) string {
	switch o.(type) {
	case *corev1.ConfigMap:
		return v1.ConditionConfigMapReconciled
	case *policyv1.PodDisruptionBudget:
		return v1.ConditionPodDisruptionBudgetReconciled
	case *corev1.Service:
		return v1.ConditionServiceReconciled
	}
	return v1.ConditionDeploymentReconciled // and what its pods need
}

// objects applies everything else, and notes what went wrong.
func (c *servers) objects(ctx context.Context, ps *v1.PolicyServer, failed map[string]error) {
	objects, err := manifest.PolicyServerObjects(ps, c.Manifest)
	if err != nil {
		failed[v1.ConditionDeploymentReconciled] = err
		return
	}
	for _, o := range objects {
		did, err := c.applier.apply(ctx, o)
		if err != nil {
			failed[stepOf(o)] = errors.Join(failed[stepOf(o)], err)
		}
		if did != unchanged {
			c.Log.InfoContext(ctx, "object written", "kind", o.GetObjectKind().GroupVersionKind().Kind,
				"name", o.GetName(), "policy_server", ps.Name, "change", string(did))
		}
	}
	for _, o := range manifest.Absent(ps, c.Manifest) {
		if err := c.remove(ctx, ps, o); err != nil {
			failed[stepOf(o)] = errors.Join(failed[stepOf(o)], err)
		}
	}
	told := c.images.of(ps.Name, func() *string { return new("") })
	if _, replaced := manifest.ServerImage(ps.Spec, c.Manifest); replaced != *told {
		*told = replaced
		if replaced != "" {
			c.events.Eventf(ps, nil, corev1.EventTypeNormal, "ImageReplaced", "Deploy",
				"image %q of Kubewarden is replaced by %q: it cannot watch policies", replaced, c.Manifest.Image)
		}
	}
}

// remove deletes an object that the policy server had once.
func (c *servers) remove(ctx context.Context, ps *v1.PolicyServer, o client.Object) error {
	err := c.client.Get(ctx, client.ObjectKeyFromObject(o), o)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, owner := range o.GetOwnerReferences() {
		if owner.UID == ps.UID && o.GetDeletionTimestamp().IsZero() {
			uid := o.GetUID()
			return client.IgnoreNotFound(c.client.Delete(ctx, o, client.Preconditions{UID: &uid}))
		}
	}
	return nil // somebody else's
}

// finish lets a policy server go once no webhook calls it.
func (c *servers) finish(ctx context.Context, ps *v1.PolicyServer) (reconcile.Result, error) {
	var waiting []string
	policies, err := policiesOf(ctx, c.client, ps.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	for _, p := range policies {
		// One that is only there for the finalizer of somebody else has no webhook.
		released := !p.Object.GetDeletionTimestamp().IsZero() && !controllerutil.ContainsFinalizer(p.Object, v1.Finalizer)
		if at := p.Status.Enforced; at != nil && at.At != v1.AtAPIServer && !released {
			waiting = append(waiting, p.UniqueName())
		}
	}
	callers, err := c.callers(ctx, ps.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	for _, o := range callers {
		waiting = append(waiting, "webhook configuration "+o.GetName())
	}
	err = nil
	if len(waiting) > 0 {
		err = fmt.Errorf("Waiting for webhook cleanup of policies: %s", strings.Join(waiting[:min(len(waiting), 20)], ", ")) //nolint:staticcheck // Kubewarden's words, for people
	}
	if err := c.reportCleanup(ctx, ps, err); err != nil || len(waiting) > 0 {
		return reconcile.Result{RequeueAfter: 2 * time.Second}, err
	}
	if err := c.forgetReplicas(ctx, ps.Name); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, removeFinalizers(ctx, c.client, ps)
}

// afterwards forgets a policy server that is not there, and what its replicas have
// said once they are silent. One that still speaks may be that of a policy server
// which has just been made, and which we do not know yet.
func (c *servers) afterwards(ctx context.Context, name string) (reconcile.Result, error) {
	speaking, err := c.replicas(ctx, name)
	if err == nil && len(speaking) == 0 {
		c.pulses.forget(name)
		c.images.forget(name)
		return reconcile.Result{}, nil
	}
	return reconcile.Result{RequeueAfter: forgottenAfter}, err
}

// forgetReplicas deletes what replicas of a policy server that is gone have said.
func (c *servers) forgetReplicas(ctx context.Context, name string) error {
	var list v1alpha1.PolicyServerReplicaList
	if err := c.client.List(ctx, &list, client.InNamespace(c.Manifest.Namespace), client.MatchingFields{indexServer: name}); err != nil {
		return fmt.Errorf("replicas: %w", err)
	}
	var errs []error
	for i := range list.Items {
		errs = append(errs, client.IgnoreNotFound(c.client.Delete(ctx, &list.Items[i])))
	}
	return errors.Join(errs...)
}
