package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/warder-dev/warder/admission"
	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/replica"
	"github.com/warder-dev/warder/runtime"
)

func newServe() *cobra.Command {
	var c serveConfig
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the policy server",
		Long: `serve answers AdmissionReviews with the policies of a policies.yml, over HTTPS,
or, with --policy-server, with the policies in a cluster that name that PolicyServer.

It takes the flags and environment variables of Kubewarden's policy-server; a
flag wins over its variable. policies.yml, sources.yml, verification.yml, the trust
root and the certificates are watched: what changes is loaded while requests are
answered, and nothing else is touched. So are the policies in the cluster; what a
server holds of them it reports in a PolicyServerReplica.`,
		Example: `  warder serve --policies policies.yml --cert-file tls.crt --key-file tls.key
  warder serve --policy-server default --report-namespace warder
  warder serve --sources-path sources.yml --verification-path verification.yml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.fromEnvironment(cmd.Flags(), os.LookupEnv); err != nil {
				return err
			}
			return c.serve(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}

// pollEvery is how often files are looked at for changes.
const pollEvery = 500 * time.Millisecond

// poll calls do every pollEvery until ctx is done.
func poll(ctx context.Context, do func()) {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}

// serve runs the policy server until ctx is done.
func (c *serveConfig) serve(ctx context.Context, stdout, stderr io.Writer) error {
	if err := c.validate(); err != nil {
		return err
	}
	log := c.logger(stderr)
	klog.SetSlogLogger(log.With("from", "client-go"))
	l := &loader{config: c, log: log}
	if c.policyServer == "" {
		if err := l.read(); err != nil {
			return err
		}
	}
	if c.preferBuiltin && c.verification != "" {
		log.Info("built-ins that answer in place of modules need no signature: they are part of this binary", "verification", c.verification)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	if l.origin, err = newOrigin(c, log); err != nil {
		return err
	}
	services, err := l.origin.services(capability.NewMetrics(registry))
	if err != nil {
		return err
	}
	if services.Cluster != nil {
		defer services.Cluster.Close()
	}
	decisions, endDecisions, err := c.decisions.open(stdout, registry)
	if err != nil {
		return err
	}
	opts := engine.Options{
		Fetch:     l.origin.fetch,
		Stamp:     l.origin.stampOf,
		Services:  services,
		Timeout:   c.evaluationTimeout(),
		Workers:   c.workers,
		Isolation: runtime.Isolation(c.isolation),
		Guests:    runtime.Options{CacheDir: c.cacheDir(log), MemoryLimit: uint64(c.memoryLimit) << 20},
		Log:       log,
		Metrics:   registry,
	}
	if decisions != nil {
		opts.Judged = decisions.Judged
	}
	eng, err := engine.New(opts)
	if err != nil {
		return errors.Join(err, endDecisions())
	}
	handler, err := admission.New(admission.Options{
		Engine: eng, Log: log, Metrics: registry, MaxBodyBytes: c.maxBody, MaxInFlight: c.maxInFlight,
		AlwaysAcceptNamespace: c.alwaysAccept,
	})
	if err != nil {
		return errors.Join(err, eng.Close(), endDecisions())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.engine, l.ready, l.stop = eng, handler.SetReady, cancel
	keep := l.keepLoaded
	if c.policyServer != "" {
		if l.replica, err = c.replica(eng, log, registry); err != nil {
			return errors.Join(err, eng.Close(), endDecisions())
		}
		keep = l.keepReplica
	}
	// While the last requests are answered, policies still change.
	serving, served := context.WithCancel(context.WithoutCancel(ctx))
	defer served()
	var loading sync.WaitGroup
	loading.Go(func() { keep(serving) })
	err = admission.Serve(ctx, c.server(handler, log))
	cancel(nil)
	served()
	loading.Wait()
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return errors.Join(err, eng.Close(), endDecisions())
}

// loader keeps an engine's policies those of policies.yml.
type loader struct {
	config  *serveConfig
	origin  *origin
	engine  *engine.Engine
	replica *replica.Replica // nil when the policies are those of policies.yml
	log     *slog.Logger
	ready   func()
	stop    context.CancelCauseFunc

	text     []byte // of policies.yml, as it was loaded last
	seen     []byte // what it was at the last look
	missing  bool   // it could not be read since
	policies []policy.Policy
}

// keepLoaded loads the policies, says that the server is ready, and loads what
// changes until ctx is done.
func (l *loader) keepLoaded(ctx context.Context) {
	err := l.engine.Apply(ctx, l.policies)
	if ctx.Err() != nil {
		return
	}
	if err != nil && !l.config.continueOnErrors {
		l.stop(err)
		return
	}
	l.report()
	debug.FreeOSMemory() // what compiling has left: some 7 MB for each WebAssembly policy
	l.ready()
	var refreshing sync.WaitGroup
	defer refreshing.Wait()
	refreshing.Go(func() { l.refresh(ctx) })
	poll(ctx, func() {
		l.origin.look()
		l.look(ctx)
	})
}

// refresh lets the engine load again what has changed where it comes from, and
// what did not load, until ctx is done. It does not wait for one policy before it
// looks at the others.
func (l *loader) refresh(ctx context.Context) {
	var refreshing sync.WaitGroup
	defer refreshing.Wait()
	poll(ctx, func() {
		refreshing.Go(func() {
			if l.engine.Refresh(ctx) {
				l.report()
				if l.replica != nil {
					l.replica.Changed()
				}
			}
		})
	})
}

// look loads what has changed in policies.yml, once it is the same for two looks:
// half a file may well be a good one, with fewer policies. One that cannot be
// read leaves everything as it is.
func (l *loader) look(ctx context.Context) {
	text, err := os.ReadFile(l.config.policies)
	was, still := l.missing, bytes.Equal(text, l.seen)
	l.missing, l.seen = err != nil, text
	switch {
	case l.missing && was, !l.missing && (!still || bytes.Equal(text, l.text)):
		return
	case l.missing:
		err = l.unread(err)
	default:
		err = l.parse(text)
	}
	if err != nil {
		l.log.Error("policies.yml not loaded: the policies stay as they are", "error", err)
		return
	}
	_ = l.engine.Apply(ctx, l.policies) // which says itself what is wrong
	l.report()
}

// report says how many policies there are now, by state.
func (l *loader) report() {
	count := map[engine.State]int{}
	for _, s := range l.engine.Statuses() {
		count[s.State]++
	}
	l.log.Info("policies loaded", "loaded", count[engine.Loaded], "stale", count[engine.Stale],
		"degraded", count[engine.Degraded], "failed", count[engine.Failed])
}

// read reads policies.yml.
func (l *loader) read() error {
	text, err := os.ReadFile(l.config.policies)
	if err != nil {
		return l.unread(err)
	}
	return l.parse(text)
}

func (l *loader) unread(err error) error {
	return fmt.Errorf("error while loading policies from %q: %w", l.config.policies, err)
}

// parse takes up the text of policies.yml. When that fails the policies are what
// they were.
func (l *loader) parse(text []byte) error {
	l.text = text
	policies, warnings, err := policy.ParseFile(l.config.policies, text)
	if err != nil {
		return l.unread(err)
	}
	for _, w := range warnings {
		l.log.Warn("policies.yml", "warning", w.String())
	}
	for i := range policies {
		policies[i].PreferBuiltin = l.config.preferBuiltin
	}
	l.policies = policies
	return nil
}

// cacheDir is where compiled modules are kept: the folder that was asked for,
// one in the download folder (writable in Kubewarden's pods), or one in the
// user's cache; none when there is no such place.
func (c *serveConfig) cacheDir(log *slog.Logger) string {
	dir := c.compilationCache
	switch {
	case dir != "":
	case c.downloadDir != "":
		dir = filepath.Join(c.downloadDir, ".warder", "compiled")
	default:
		own, err := userCache()
		if err != nil {
			log.Warn("compiled modules are not kept: there is no cache folder", "error", err)
			return ""
		}
		dir = own
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		log.Warn("compiled modules are not kept", "error", err)
		return ""
	}
	return dir
}

// userCache is where compiled modules of one user are kept.
func userCache() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "warder", "compiled"), nil
}

func (c *serveConfig) server(handler *admission.Handler, log *slog.Logger) admission.ServerOptions {
	opts := admission.ServerOptions{
		Handler: handler, Log: log,
		Listen:       net.JoinHostPort(c.host(), strconv.Itoa(c.port)),
		ListenProbes: net.JoinHostPort(c.host(), strconv.Itoa(c.probePort)),
		CertFile:     c.certFile, KeyFile: c.keyFile, ClientCAFiles: c.clientCAs,
		ReloadEvery: pollEvery, Drain: c.drain,
		Started: func(a admission.Addresses) {
			log.Info("serving", "api", a.API.String(), "probes", a.Probes.String())
		},
	}
	if c.pprof {
		opts.ListenPprof = c.pprofAddress
	}
	return opts
}
