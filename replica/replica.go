// Package replica makes a server one of the replicas of a PolicyServer: it
// watches the policies that name the PolicyServer, keeps an engine's policies
// those, and says in a report of its own, a PolicyServerReplica, how far it has
// come and what it could not load. The controller has the API server ask for a
// policy once every replica says that it has it.
package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
)

// Engine is what policies are loaded into: an *engine.Engine.
type Engine interface {
	// Load adds a policy or replaces the one of its ID. How that went is in its
	// Status too.
	Load(ctx context.Context, p policy.Policy) error
	Unload(id policy.ID)
	Status(id policy.ID) (engine.Status, bool)
}

// Options say whose replica it is.
type Options struct {
	// Config leads to the API server. It is required, as are the next three.
	Config *rest.Config
	// PolicyServer is the name of the PolicyServer.
	PolicyServer string
	// Namespace is where the report is: that of the pod.
	Namespace string
	// Engine gets the policies. Nobody else may change its policies.
	Engine Engine

	// Name is that of the report: the pod's. Default: the host's name, and
	// something random.
	Name string
	// Owner goes with the report: the pod. Default: nobody, and the report of a
	// replica that was killed stays.
	Owner *metav1.OwnerReference
	// Version of warder, for the report.
	Version string

	// Heartbeat is how often the report is written when nothing happens.
	// Default 10s.
	Heartbeat time.Duration
	// LeaseDuration is how long the replica counts as alive after a report, in
	// whole seconds. Default 30s: two reports may get lost.
	LeaseDuration time.Duration
	// Linger is how long a policy is served whose object is gone, and in a
	// bundle that it has left: API servers learn of changed webhooks late, and
	// what they ask for until then is answered. Default 10s.
	Linger time.Duration

	// Log gets what happens. Default: nowhere.
	Log *slog.Logger
	// Metrics counts reports. Default: nobody does.
	Metrics *Metrics
}

// Validate reports every option that cannot work.
func (o Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Config == nil {
		bad("no client configuration")
	}
	if o.Engine == nil {
		bad("no engine")
	}
	if problems := validation.IsDNS1123Subdomain(o.PolicyServer); problems != nil {
		bad("name of the PolicyServer %q: %s", o.PolicyServer, problems[0])
	}
	if problems := validation.IsDNS1123Label(o.Namespace); problems != nil {
		bad("namespace %q of the report: %s", o.Namespace, problems[0])
	}
	if problems := validation.IsDNS1123Subdomain(o.Name); o.Name != "" && problems != nil {
		bad("name %q of the replica: %s", o.Name, problems[0])
	}
	if o.Heartbeat < 0 || o.Linger < 0 || o.LeaseDuration < 0 || o.LeaseDuration%time.Second != 0 {
		bad("heartbeat of %s, lease of %s and linger of %s; they cannot be negative, and a lease is whole seconds",
			o.Heartbeat, o.LeaseDuration, o.Linger)
	}
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = defaultName()
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 10 * time.Second
	}
	if o.LeaseDuration == 0 {
		o.LeaseDuration = 30 * time.Second
	}
	if o.Linger == 0 {
		o.Linger = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return o
}

// defaultName is a name that no other replica has: that of the host as far as it
// can be part of one, and something random.
func defaultName() string {
	host, err := os.Hostname()
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	if err != nil || validation.IsDNS1123Label(host) != nil {
		host = "warder"
	}
	return host + "-" + strings.ToLower(rand.Text()[:8])
}

// Replica is one replica of a PolicyServer.
type Replica struct {
	opts   Options
	log    *slog.Logger
	api    *client
	keeper *keeper
	report *reporter
}

// New returns a replica that does nothing yet.
func New(opts Options) (*Replica, error) {
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	opts = opts.withDefaults()
	api, err := newClient(opts.Config)
	if err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	r := &Replica{opts: opts, log: opts.Log, api: api}
	r.keeper = newKeeper(opts)
	r.report = newReporter(opts, api, r.keeper)
	r.keeper.tell = r.report.tell
	opts.Metrics.follow(r)
	return r, nil
}

// Changed is called when the engine has changed a policy by itself: the report
// follows.
func (r *Replica) Changed() { r.report.tell(matters) }

// Name is that of the report.
func (r *Replica) Name() string { return r.opts.Name }

// Run is a replica until ctx is done. It calls ready, once, when everything that
// the API server may ask for is loaded. The report is deleted at the end: end ctx
// when requests are not answered any more, and not before.
func (r *Replica) Run(ctx context.Context, ready func()) {
	// The report has a context of its own: it goes last.
	reporting, endReport := context.WithCancel(context.WithoutCancel(ctx))
	var reports, others sync.WaitGroup
	r.keeper.loadUntil(ctx)
	reports.Go(func() { r.report.run(reporting) })
	others.Go(func() { r.keeper.sweepUntilDone(ctx) })
	w := &watches{replica: r}
	if r.start(ctx, w) {
		r.log.Info("replica is ready", "policy_server", r.opts.PolicyServer, "replica", r.opts.Name, "policies", r.keeper.count())
		ready()
		<-ctx.Done()
	}
	w.stop()
	others.Wait()
	r.keeper.workers.Wait()
	endReport()
	reports.Wait()
}

// start does what must be done before the first request is answered. The report
// says ready first, so that the controller waits for this replica from now on
// before it has a policy asked for. Then everything is listed once more: what the
// controller has registered before it knew is in there. It returns false when
// ctx is done before.
func (r *Replica) start(ctx context.Context, w *watches) bool {
	if !r.takeUp(ctx, w) {
		return false
	}
	if !r.announce(ctx) {
		return false
	}
	return r.takeUp(ctx, w)
}

// takeUp lists and watches everything anew, and waits until it is loaded or has
// failed to.
func (r *Replica) takeUp(ctx context.Context, w *watches) bool {
	epoch := w.restart(ctx)
	said := false
	ok := r.keeper.wait(ctx, func() bool {
		missing := r.keeper.syncedAll(epoch) && r.keeper.server == nil
		if missing && !said {
			r.log.Warn("policy server does not exist: waiting for it", "policy_server", r.opts.PolicyServer)
		}
		said = said || missing
		return r.keeper.syncedAll(epoch) && r.keeper.server != nil
	})
	return ok && r.keeper.settle(ctx)
}

// announce writes a report that says ready. When that does not work the replica
// serves nevertheless, after as long as a lease: what is registered it has, or
// answers for by its failurePolicy, while a cluster in which no replica becomes
// ready refuses every pod.
func (r *Replica) announce(ctx context.Context) bool {
	limited, cancel := context.WithTimeout(ctx, r.opts.LeaseDuration)
	defer cancel()
	r.report.setReady()
	if !r.report.waitFor(limited, func(st reportState) bool { return st.ready }) && ctx.Err() == nil {
		r.log.Error("this replica serves although it cannot report: policies that change are not registered on its word",
			"report", r.opts.Namespace+"/"+r.opts.Name, "after", r.opts.LeaseDuration)
	}
	return ctx.Err() == nil
}
