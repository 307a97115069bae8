package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
)

const (
	// checkCertificates is how often certificates are looked at though nothing
	// has changed. Source: Kubewarden's.
	checkCertificates = 12 * time.Hour
	// publishGrace is how long a new authority is in all bundles before a server
	// shows a certificate of it: every API server has read them by then.
	publishGrace = 2 * time.Second
)

// annotationCertFormat is Kubewarden's: it makes a certificate anew without it.
const annotationCertFormat = "kubewarden.io/cert-format-version"

// certKeeper keeps the certificate authority, and signs with it.
//
// To replace the authority takes three steps, each of which waits for the one
// before: the Secret gets a new one and keeps the old one's certificate, all
// webhooks trust both, and servers get certificates of the new one. The old one is
// forgotten when no certificate of it is in use and it has expired.
type certKeeper struct {
	Options
	client    client.Client
	applier   *applier
	published memory[*publication]
}

// publication is since when everybody who calls a server trusts an authority.
type publication struct {
	authority string // its serial number
	since     time.Time
}

func (c *certKeeper) setup(m Manager) error {
	one := func(context.Context, client.Object) []reconcile.Request { return request(manifest.SecretCA) }
	mine := predicate.NewPredicateFuncs(func(o client.Object) bool {
		return o.GetName() == manifest.SecretCA || o.GetName() == manifest.SecretWebhook || o.GetLabels()[manifest.LabelComponent] == "policy-server"
	})
	configs := predicate.NewPredicateFuncs(func(o client.Object) bool { return c.callsController(o) })
	return builder.ControllerManagedBy(m).Named("certificates").
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(one), builder.WithPredicates(mine)).
		Watches(&admissionregv1.ValidatingWebhookConfiguration{}, handler.EnqueueRequestsFromMapFunc(one), builder.WithPredicates(configs)).
		Watches(&admissionregv1.MutatingWebhookConfiguration{}, handler.EnqueueRequestsFromMapFunc(one), builder.WithPredicates(configs)).
		WatchesRawSource(once(request(manifest.SecretCA))).
		WithOptions(loopOptions(1)).Complete(c)
}

// Reconcile makes, publishes, replaces and forgets.
func (c *certKeeper) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	ca, err := c.keepAuthority(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	configs, err := c.publish(ctx, ca)
	if err != nil {
		return reconcile.Result{}, err
	}
	again, err := c.serving(ctx, served{
		secret: manifest.SecretWebhook, hosts: c.hosts(c.WebhookService, c.WebhookURL), callers: configs,
		labels: map[string]string{manifest.LabelPartOf: manifest.PartOf, manifest.LabelManagedBy: manifest.ManagedBy, manifest.LabelComponent: "controller"},
	}, ca)
	if err != nil {
		return reconcile.Result{}, err
	}
	if err := c.retire(ctx, ca); err != nil {
		return reconcile.Result{}, err
	}
	// Last: who is registered first has to be able to answer.
	if err := c.register(ctx, ca); err != nil {
		return reconcile.Result{}, err
	}
	if again == 0 {
		again = checkCertificates
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

func (c *certKeeper) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	s := &corev1.Secret{}
	err := c.client.Get(ctx, client.ObjectKey{Namespace: c.Manifest.Namespace, Name: name}, s)
	if apierrors.IsNotFound(err) {
		s = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.Manifest.Namespace, Name: name}, Type: corev1.SecretTypeOpaque}
		return s, nil
	}
	return s, err
}

// save writes a Secret that was read before; of two that write at the same time
// one fails and looks again.
func (c *certKeeper) save(ctx context.Context, s *corev1.Secret, why string) error {
	write := c.client.Update
	if s.ResourceVersion == "" {
		write = func(ctx context.Context, o client.Object, _ ...client.UpdateOption) error {
			return c.client.Create(ctx, o)
		}
	}
	if err := write(ctx, s); err != nil {
		return fmt.Errorf("secret %s/%s: %w", s.Namespace, s.Name, err)
	}
	c.Log.InfoContext(ctx, "certificate written", "secret", s.Name, "reason", why)
	return nil
}

// authority is the present one, from the cache.
func (c *certKeeper) authority(ctx context.Context) (authority, error) {
	s, err := c.secret(ctx, manifest.SecretCA)
	if err != nil {
		return authority{}, err
	}
	return readAuthority(s, time.Now())
}

// keepAuthority makes an authority where there is none, and the next one where it
// is about to expire.
func (c *certKeeper) keepAuthority(ctx context.Context) (authority, error) {
	now := time.Now()
	s, err := c.secret(ctx, manifest.SecretCA)
	if err != nil {
		return authority{}, err
	}
	ca, broken := readAuthority(s, now)
	if broken == nil && !expires(ca.cert, now) {
		return ca, nil
	}
	why := "the authority is about to expire"
	if broken != nil {
		// Servers show certificates of the lost authority until they have new
		// ones. Who it was, the webhooks still know.
		why = broken.Error()
		configs, err := configurationsOf(ctx, c.client)
		if err != nil {
			return authority{}, err
		}
		ca = authority{old: configs.bundles(c.Options)}
	}
	if ca, err = ca.next(now); err != nil {
		return authority{}, err
	}
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	s.Data[keyCACert], s.Data[keyCAKey] = ca.certPEM, ca.keyPEM
	setOrDelete(s.Data, keyOldCACert, ca.old)
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.Labels[manifest.LabelPartOf], s.Labels[manifest.LabelManagedBy] = manifest.PartOf, manifest.ManagedBy
	return ca, c.save(ctx, s, why)
}

func setOrDelete(data map[string][]byte, key string, value []byte) {
	if len(value) == 0 {
		delete(data, key)
		return
	}
	data[key] = value
}

// bundles are all authorities that webhooks of policy servers trust.
func (c configurations) bundles(o Options) []byte {
	var all bytes.Buffer
	for _, config := range c.all() {
		if o.serverCalled(config) == "" {
			continue
		}
		for _, to := range clientsOf(config) {
			all.Write(to.CABundle)
			all.WriteByte('\n')
		}
	}
	return all.Bytes()
}

// callsController says whether a webhook configuration calls the webhooks of the
// controller.
func (c *certKeeper) callsController(o client.Object) bool {
	return ours(o) && slices.ContainsFunc(clientsOf(o), c.isController)
}

func (c *certKeeper) isController(to admissionregv1.WebhookClientConfig) bool {
	if s := to.Service; s != nil {
		return s.Namespace == c.Manifest.Namespace && s.Name == c.WebhookService
	}
	return c.WebhookURL != "" && to.URL != nil && under(*to.URL, c.WebhookURL)
}

// register makes the webhook configurations for our own kinds. An installer does
// not: before a controller can answer they would refuse what it installs.
func (c *certKeeper) register(ctx context.Context, ca authority) error {
	if c.WebhookPort < 0 {
		return nil
	}
	where := manifest.KindWebhooks{
		Namespace: c.Manifest.Namespace, Service: c.WebhookService, URL: c.WebhookURL, CABundle: ca.bundle(),
	}
	_, err := c.applier.apply(ctx, manifest.KindMutating(where))
	_, err2 := c.applier.apply(ctx, manifest.KindValidating(where))
	return errors.Join(err, err2)
}

// publish makes those who call the webhooks of the controller trust the
// authority, and returns them. Those of policies are the enforcer's.
func (c *certKeeper) publish(ctx context.Context, ca authority) ([]client.Object, error) {
	configs, err := configurationsOf(ctx, c.client)
	if err != nil {
		return nil, err
	}
	var errs []error
	calling := slices.DeleteFunc(configs.all(), func(o client.Object) bool { return !c.callsController(o) })
	for _, o := range calling {
		if !c.trust(o, ca.bundle()) {
			continue
		}
		if err := c.client.Update(ctx, o); err != nil {
			errs = append(errs, fmt.Errorf("webhook configuration %q: %w", o.GetName(), err))
		}
	}
	return calling, errors.Join(errs...)
}

// trust sets the bundle of the webhooks that call the controller, and says whether
// that was needed.
func (c *certKeeper) trust(o client.Object, bundle []byte) bool {
	var all []*admissionregv1.WebhookClientConfig
	switch config := o.(type) {
	case *admissionregv1.ValidatingWebhookConfiguration:
		for i := range config.Webhooks {
			all = append(all, &config.Webhooks[i].ClientConfig)
		}
	case *admissionregv1.MutatingWebhookConfiguration:
		for i := range config.Webhooks {
			all = append(all, &config.Webhooks[i].ClientConfig)
		}
	}
	did := false
	for _, to := range all {
		if c.isController(*to) && !bytes.Equal(to.CABundle, bundle) {
			to.CABundle, did = bundle, true
		}
	}
	return did
}

// everyServer makes a request for each policy server when the authority has
// changed, and for one when its certificate has.
func (c *certKeeper) everyServer(ctx context.Context, o client.Object) []reconcile.Request {
	if o.GetName() != manifest.SecretCA {
		return nil
	}
	var list v1.PolicyServerList
	if err := c.client.List(ctx, &list); err != nil {
		c.Log.WarnContext(ctx, "policy servers not listed", "error", err)
		return nil
	}
	var all []reconcile.Request
	for i := range list.Items {
		all = append(all, request(list.Items[i].Name)...)
	}
	return all
}
