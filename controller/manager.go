package controller

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	crmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
	"github.com/warder-dev/warder/manifest"
)

// Manager is what the loops run in.
type Manager = manager.Manager

// Run runs a controller until the context is done, or it is no leader any more.
// After that nothing of it may go on: the process has to end.
func Run(ctx context.Context, cluster *rest.Config, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	o = o.withDefaults()
	logger := logr.FromSlogHandler(quiet{o.Log.Handler()})
	log.SetLogger(logger)
	m, err := newManager(cluster, logger, o)
	if err != nil {
		return err
	}
	if err := addIndexes(ctx, m.GetFieldIndexer()); err != nil {
		return err
	}
	if err := addLoops(m, o); err != nil {
		return err
	}
	if err := addWebhooks(m, o); err != nil {
		return err
	}
	go func() {
		select {
		case <-m.Elected():
			o.Log.Info("leading")
		case <-ctx.Done():
		}
	}()
	return m.Start(ctx)
}

// newScheme knows the kinds that the controller reads and writes.
func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}

func newManager(cluster *rest.Config, logger logr.Logger, o Options) (Manager, error) {
	cluster = rest.CopyConfig(cluster)
	// The API server has its own fair queues; ours would only add latency.
	cluster.QPS, cluster.Burst = -1, 0
	lease, renew, retry := electionTimes(o.Lease)
	stop, consistent := 20*time.Second, true
	return manager.New(cluster, manager.Options{
		Scheme: newScheme(),
		Logger: logger,
		Cache:  cacheOptions(o),
		Client: client.Options{
			FieldOwner: manifest.FieldManager,
			Cache:      &client.CacheOptions{EnableReadYourWritesConsistency: &consistent},
		},
		// With nothing of it left running after Start, the next leader need not
		// wait for the lease to expire.
		LeaderElection: !o.WithoutElection, LeaderElectionID: manifest.LeaderLease, LeaderElectionNamespace: o.Manifest.Namespace,
		LeaderElectionReleaseOnCancel: true, GracefulShutdownTimeout: &stop,
		LeaseDuration: &lease, RenewDeadline: &renew, RetryPeriod: &retry,
		HealthProbeBindAddress: o.Probes,
		Metrics:                metricsserver.Options{BindAddress: o.Metrics},
		WebhookServer:          newWebhookServer(o),
		Controller:             config.Controller{SkipNameValidation: &consistent, EnableWarmup: &consistent},
	})
}

// electionTimes are such that another controller leads within o.Lease of the last
// word of one that was killed: who waits looks again after at most 2.2 times retry.
// The lease has whole seconds; a leader gives up before it is over.
// Source: k8s.io/client-go/tools/leaderelection, JitterFactor.
func electionTimes(within time.Duration) (lease, renew, retry time.Duration) {
	return (within * 7 / 10).Truncate(time.Second), within * 9 / 20, within / 10
}

// cacheOptions keep of the cluster what the controller is about. Other people's
// Secrets are none of it.
func cacheOptions(o Options) cache.Options {
	own := cache.ByObject{Namespaces: map[string]cache.Config{o.Manifest.Namespace: {}}}
	parts := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{manifest.LabelPartOf: manifest.PartOf})}
	by := map[client.Object]cache.ByObject{&rbacv1.ClusterRoleBinding{}: parts}
	for _, kind := range []client.Object{
		&corev1.Secret{}, &corev1.ConfigMap{}, &corev1.Service{}, &corev1.ServiceAccount{}, &appsv1.Deployment{},
		&policyv1.PodDisruptionBudget{}, &rbacv1.RoleBinding{}, &v1alpha1.PolicyServerReplica{},
	} {
		by[kind] = own
	}
	// managedFields are most of what is kept of a policy otherwise.
	slim := cache.TransformStripManagedFields()
	for _, kind := range v1.Kinds() {
		by[kind.New()] = cache.ByObject{Transform: slim}
	}
	return cache.Options{ByObject: by}
}

// addLoops adds the three loops.
func addLoops(m Manager, o Options) error {
	gauge, err := newMetrics(crmetrics.Registry)
	if err != nil {
		return err
	}
	c, live := m.GetClient(), m.GetAPIReader()
	apply := newApplier(c, live)
	certs := &certKeeper{Options: o, client: c, applier: apply}
	events := m.GetEventRecorder(manifest.FieldManager)
	return errors.Join(
		certs.setup(m),
		(&servers{Options: o, client: c, applier: apply, certs: certs, events: events}).setup(m),
		(&enforcer{Options: o, client: c, live: live, applier: apply, certs: certs, events: events, metrics: gauge}).setup(m),
		m.AddHealthzCheck("ping", healthz.Ping),
		m.AddReadyzCheck("ping", healthz.Ping),
	)
}

// newWebhookServer is started only if somebody registers at it.
func newWebhookServer(o Options) webhook.Server {
	return webhook.NewServer(webhook.Options{Host: o.WebhookHost, Port: o.WebhookPort, TLSOpts: []func(*tls.Config){
		func(c *tls.Config) { c.MinVersion = tls.VersionTLS12 },
	}})
}

// addWebhooks registers the webhooks of our own kinds. Every controller answers
// them, the leader or not.
func addWebhooks(m Manager, o Options) error {
	if o.WebhookPort < 0 {
		return nil
	}
	shown := &shownCertificate{reader: m.GetClient(), namespace: o.Manifest.Namespace}
	server, ok := m.GetWebhookServer().(*webhook.DefaultServer)
	if !ok {
		return fmt.Errorf("webhooks: the server is a %T", m.GetWebhookServer())
	}
	server.Options.TLSOpts = append(server.Options.TLSOpts, func(c *tls.Config) { c.GetCertificate = shown.get })
	types, err := NewTypeChecker(m.GetConfig(), m.GetRESTMapper())
	if err != nil {
		return fmt.Errorf("webhooks: schemas: %w", err)
	}
	kinds := KindOptions{Client: m.GetAPIReader(), Namespace: o.Manifest.Namespace, Settings: o.Settings, Types: types}
	for path, handler := range KindHandlers(kinds) {
		server.Register(path, handler)
	}
	return m.AddReadyzCheck("webhooks", server.StartedChecker())
}
