package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/warder-dev/warder/admission"
	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime"
)

func newServe() *cobra.Command {
	var c serveConfig
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the policy server",
		Long: `serve answers AdmissionReviews with the policies of a policies.yml, over HTTPS.

It takes the flags and environment variables of Kubewarden's policy-server; a
flag wins over its variable. policies.yml and the certificates are watched: what
changes is loaded while requests are answered, and nothing else is touched.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.fromEnvironment(cmd.Flags(), os.LookupEnv); err != nil {
				return err
			}
			return c.serve(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}

// pollEvery is how often files are looked at for changes.
const pollEvery = 500 * time.Millisecond

// serve runs the policy server until ctx is done.
func (c *serveConfig) serve(ctx context.Context, stderr io.Writer) error {
	if err := c.validate(); err != nil {
		return err
	}
	log := c.logger(stderr)
	policies, err := c.readPolicies(log)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	eng, err := engine.New(engine.Options{
		Timeout:   c.evaluationTimeout(),
		Workers:   c.workers,
		Isolation: runtime.Isolation(c.isolation),
		Guests:    runtime.Options{CacheDir: c.cacheDir(log), MemoryLimit: uint64(c.memoryLimit) << 20},
		Log:       log,
		Metrics:   registry,
	})
	if err != nil {
		return err
	}
	handler, err := admission.New(admission.Options{
		Engine: eng, Log: log, Metrics: registry, MaxBodyBytes: c.maxBody, MaxInFlight: c.maxInFlight,
		AlwaysAcceptNamespace: c.alwaysAccept,
	})
	if err != nil {
		return errors.Join(err, eng.Close())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := &loader{config: c, engine: eng, log: log, ready: handler.SetReady, stop: cancel, policies: policies}
	var loading sync.WaitGroup
	loading.Go(func() { l.keepLoaded(ctx) })
	err = admission.Serve(ctx, c.server(handler, log))
	cancel(nil)
	loading.Wait()
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return errors.Join(err, eng.Close())
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
	l.log.Info("policies loaded", "count", len(l.policies))
	l.ready()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { l.watchModules(ctx) })
	admission.WatchFiles(ctx, []string{l.config.policies}, pollEvery, func() { l.reload(ctx) })
}

// loader keeps an engine's policies those of policies.yml.
type loader struct {
	config *serveConfig
	engine *engine.Engine
	log    *slog.Logger
	ready  func()
	stop   context.CancelCauseFunc

	mu       sync.Mutex
	policies []policy.Policy
}

// reload loads what has changed in policies.yml. A file that cannot be read
// leaves everything as it is.
func (l *loader) reload(ctx context.Context) {
	policies, err := l.config.readPolicies(l.log)
	if err != nil {
		l.log.Error("policies.yml not loaded: the policies stay as they are", "error", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.policies = policies
	if err := l.engine.Apply(ctx, policies); err == nil { // otherwise the engine has said what is wrong
		l.log.Info("policies loaded", "count", len(policies))
	}
}

// watchModules loads the modules that are files again when these change.
func (l *loader) watchModules(ctx context.Context) {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var seen string
	for {
		l.mu.Lock()
		policies := l.policies
		if now := stamps(policies); now != seen {
			if seen != "" {
				_ = l.engine.Apply(ctx, policies) // the engine says what is wrong
			}
			seen = now
		}
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// stamps changes when the file of a module does, or the list of them.
func stamps(policies []policy.Policy) string {
	var b strings.Builder
	for _, p := range policies {
		path, ok := strings.CutPrefix(p.Module, "file://")
		if !ok {
			continue
		}
		b.WriteString(path)
		if info, err := os.Stat(path); err == nil {
			fmt.Fprint(&b, info.Size(), info.ModTime().UnixNano())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (c *serveConfig) readPolicies(log *slog.Logger) ([]policy.Policy, error) {
	text, err := os.ReadFile(c.policies)
	if err != nil {
		return nil, fmt.Errorf("error while loading policies from %q: %w", c.policies, err)
	}
	policies, warnings, err := policy.ParseFile(c.policies, text)
	if err != nil {
		return nil, fmt.Errorf("error while loading policies from %q: %w", c.policies, err)
	}
	for _, w := range warnings {
		log.Warn("policies.yml", "warning", w.String())
	}
	return policies, nil
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
		cache, err := os.UserCacheDir()
		if err != nil {
			log.Warn("compiled modules are not kept: there is no cache folder", "error", err)
			return ""
		}
		dir = filepath.Join(cache, "warder", "compiled")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		log.Warn("compiled modules are not kept", "error", err)
		return ""
	}
	return dir
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
