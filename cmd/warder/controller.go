package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/controller"
	"github.com/warder-dev/warder/manifest"
)

// controllerConfig is what the controller was asked to do.
type controllerConfig struct {
	options    controller.Options
	kubeconfig string
	elect      bool
	urls       []string
	pullPolicy string

	enableMetrics, enableTracing, sidecar bool
	telemetry                             manifest.Telemetry
	store, cacheDir                       string
	logLevel, logFormat                   string

	zapLevel, zapEncoder string
	ignored              map[string]*string // flags of Kubewarden's controller that have no meaning here
	cleanup              bool
}

func newController() *cobra.Command {
	c := &controllerConfig{ignored: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Run policy servers and register policies in a cluster",
		Long: `controller watches PolicyServers and policies. It runs a Deployment for each
PolicyServer, registers a policy with the API server once every replica holds
it, answers the admission webhooks for these resources, and makes and replaces
all certificates. "warder install" runs it in the cluster.

Several may run: one leads, and all answer the webhooks. Its flags are those of
Kubewarden's controller, and more.`,
		Example: `  warder controller --deployments-namespace warder --policy-server-image ghcr.io/warder-dev/warder:v1
  warder controller --kubeconfig ~/.kube/config --policy-server-url default=https://192.0.2.7:8443`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd)
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}

func (c *controllerConfig) addFlags(f *pflag.FlagSet) {
	o, m := &c.options, &c.options.Manifest
	f.StringVar(&m.Namespace, "deployments-namespace", namespaceOfPod(), "namespace of policy servers, certificates and the lease")
	f.StringVar(&m.Image, "policy-server-image", os.Getenv("WARDER_POLICY_SERVER_IMAGE"), "image of policy servers that name none, or Kubewarden's")
	f.StringVar(&c.pullPolicy, "policy-server-image-pull-policy", "", "imagePullPolicy of policy servers: Always, IfNotPresent or Never")
	f.StringSliceVar(&c.urls, "policy-server-url", nil, "NAME=URL of a policy server outside of the cluster (repeatable)")
	f.StringVar(&o.WebhookURL, "webhook-url", "", "URL at which the API server reaches this controller when it is outside of the cluster")
	f.StringVar(&o.WebhookService, "webhook-service-name", manifest.WebhookService, "Service of the controller's webhooks")
	f.IntVar(&o.WebhookPort, "webhook-server-port", 9443, "port of the controller's webhooks; -1 for none")
	f.StringVar(&o.WebhookHost, "webhook-bind-host", "", "address on which the controller's webhooks listen (default all)")
	f.StringVar(&o.Probes, "health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 for none")
	f.StringVar(&o.Metrics, "metrics-bind-address", ":8088", "address of Prometheus metrics; 0 for none")
	f.BoolVar(&c.elect, "leader-elect", true, "act only as the leader, of which there is one")
	f.DurationVar(&o.Lease, "leader-elect-lease-duration", 15*time.Second, "within what time another controller takes over from a leader that was killed")
	f.StringSliceVar(&m.ImagePullSecrets, "image-pull-secrets", nil, "Secrets with which nodes pull the image of policy servers")
	f.BoolVar(&m.HostNetwork, "host-network", false, "run policy servers in the network of their nodes")
	f.BoolVar(&m.AlwaysAcceptNamespace, "always-accept-admission-reviews-on-deployments-namespace", false, "policy servers accept every request for the deployments namespace")
	f.StringVar(&m.ClientCAConfigMap, "client-ca-configmap-name", "", "ConfigMap whose client-ca.crt signs the certificate that the API server has to show to policy servers")
	f.BoolVar(&c.enableMetrics, "enable-metrics", false, "open the metrics port of policy servers")
	f.BoolVar(&c.enableTracing, "enable-tracing", false, "policy servers send traces")
	f.BoolVar(&c.sidecar, "enable-otel-sidecar", false, "ask the OpenTelemetry operator for a collector beside each policy server")
	f.StringVar(&c.telemetry.CertificateSecret, "opentelemetry-certificate-secret", "", "Secret with the certificate of the collector")
	f.StringVar(&c.telemetry.ClientCertificateSecret, "opentelemetry-client-certificate-secret", "", "Secret with the certificate to show to the collector")
	f.StringVar(&c.kubeconfig, "kubeconfig", "", "how to reach the API server (default: as a pod of the cluster, or as kubectl)")
	f.StringVar(&c.store, "module-store", "", "folder of stored modules that check their settings when a policy is applied")
	f.StringVar(&c.cacheDir, "compilation-cache", "", "folder that keeps compiled modules")
	f.StringVar(&c.logLevel, "log-level", "info", "trace, debug, info, warn or error")
	f.StringVar(&c.logFormat, "log-fmt", "text", "text or json")
	f.StringVar(&c.zapLevel, "zap-log-level", "", "as --log-level; Kubewarden's name")
	f.StringVar(&c.zapEncoder, "zap-encoder", "", "console or json; Kubewarden's name")
	f.BoolVar(&c.cleanup, "cleanup", false, `refused: "warder uninstall" does it`)
	for _, name := range []string{"zap-devel", "zap-stacktrace-level", "zap-time-encoding", "defaults-configmap-name", "controller-deployment-name"} {
		c.ignored[name] = f.String(name, "", "accepted and ignored, with a warning")
		f.Lookup(name).NoOptDefVal = "true"
		f.Lookup(name).Hidden = true
	}
}

// namespaceOfPod is the namespace that the controller runs in.
func namespaceOfPod() string {
	if ns := os.Getenv("POD_NAMESPACE"); ns != "" {
		return ns
	}
	return manifest.DefaultNamespace
}

func (c *controllerConfig) logger(w io.Writer) (*slog.Logger, error) {
	if c.zapLevel != "" {
		c.logLevel = c.zapLevel
	}
	if c.zapEncoder == "json" {
		c.logFormat = "json"
	}
	if c.logLevel == "panic" { // zap's
		c.logLevel = "error"
	}
	level, ok := levels()[c.logLevel]
	if !ok {
		return nil, usagef("--log-level: %q is none of trace, debug, info, warn and error", c.logLevel)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch c.logFormat {
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	}
	return nil, usagef("--log-fmt: %q is neither text nor json", c.logFormat)
}

// complete makes the options of what the flags say.
func (c *controllerConfig) complete(environ []string) error {
	if c.cleanup {
		return usagef(`--cleanup: "warder uninstall" removes an installation`)
	}
	o := &c.options
	o.WithoutElection = !c.elect
	o.Manifest.URLs = map[string]string{}
	for _, pair := range c.urls {
		name, to, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return usagef("--policy-server-url: %q is not NAME=URL", pair)
		}
		o.Manifest.URLs[name] = to
	}
	o.Manifest.ImagePullPolicy = corev1.PullPolicy(c.pullPolicy)
	o.Manifest.Metrics = c.enableMetrics
	if c.enableMetrics || c.enableTracing {
		c.telemetry.Sidecar = c.sidecar
		c.telemetry.Environment = map[string]string{}
		for _, pair := range environ {
			if name, value, ok := strings.Cut(pair, "="); ok && strings.HasPrefix(name, "OTEL_EXPORTER_OTLP_") {
				c.telemetry.Environment[name] = value
			}
		}
		o.Manifest.Telemetry = c.telemetry
	}
	if port := os.Getenv("KUBEWARDEN_POLICY_SERVER_SERVICES_METRICS_PORT"); port != "" {
		if _, err := fmt.Sscanf(port, "%d", &o.Manifest.MetricsPort); err != nil {
			return usagef("KUBEWARDEN_POLICY_SERVER_SERVICES_METRICS_PORT: %q is no port", port)
		}
	}
	if err := o.Validate(); err != nil {
		return &usageError{err}
	}
	return nil
}

func (c *controllerConfig) run(cmd *cobra.Command) error {
	log, err := c.logger(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if err := c.complete(os.Environ()); err != nil {
		return err
	}
	klog.SetSlogLogger(log.With("from", "client-go"))
	for name := range c.ignored {
		if cmd.Flags().Changed(name) {
			log.Warn("flag ignored: it has no meaning here", "flag", "--"+name)
		}
	}
	cluster, err := clusterConfig(c.kubeconfig)
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	cluster.UserAgent = "warder-controller/" + version()
	var store *artifact.Store
	if c.store != "" {
		if store, err = artifact.OpenStore(c.store); err != nil {
			return err
		}
	}
	checker, err := newSettingsChecker(store, c.cacheDir, log)
	if err != nil {
		return err
	}
	c.options.Settings, c.options.Log = checker.check, log
	log.Info("controller started", "version", version(), "namespace", c.options.Manifest.Namespace, "api_server", cluster.Host)
	// The checker is not closed: a check may be under way, and the process ends.
	return controller.Run(cmd.Context(), cluster, c.options)
}
