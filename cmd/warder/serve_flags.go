package main

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/warder-dev/warder/engine"
)

// serveConfig is what serve was asked to do.
type serveConfig struct {
	addr                string
	port, probePort     int
	workers             int
	certFile, keyFile   string
	clientCAs           []string
	policies            string
	policyServer        string
	reportNamespace     string
	replicaName         string
	downloadDir         string
	sigstoreCache       string
	trustConfig         string
	trustDigest         string
	sources             string
	verification        string
	dockerConfig        string
	logLevel, logFormat string
	logNoColor          bool
	metrics             bool
	alwaysAccept        string
	noTimeout           bool
	timeout             int // seconds
	ignoreKube          bool
	pprof               bool
	continueOnErrors    bool
	preferBuiltin       bool

	isolation        string
	compilationCache string
	memoryLimit      int // MiB
	maxBody          int64
	maxInFlight      int
	pprofAddress     string
	drain            time.Duration
	decisions        decisionsConfig
}

// environment is the variable of each of Kubewarden's flags.
// Source: the reference of its policy-server.
func environment() map[string]string {
	return map[string]string{
		"addr":                                 "KUBEWARDEN_BIND_ADDRESS",
		"port":                                 "KUBEWARDEN_PORT",
		"readiness-probe-port":                 "KUBEWARDEN_READINESS_PROBE_PORT",
		"workers":                              "KUBEWARDEN_WORKERS",
		"cert-file":                            "KUBEWARDEN_CERT_FILE",
		"key-file":                             "KUBEWARDEN_KEY_FILE",
		"client-ca-file":                       "KUBEWARDEN_CLIENT_CA_FILE",
		"policies":                             "KUBEWARDEN_POLICIES",
		"policies-download-dir":                "KUBEWARDEN_POLICIES_DOWNLOAD_DIR",
		"sigstore-cache-dir":                   "KUBEWARDEN_SIGSTORE_CACHE_DIR",
		"log-level":                            "KUBEWARDEN_LOG_LEVEL",
		"log-fmt":                              "KUBEWARDEN_LOG_FMT",
		"log-no-color":                         "NO_COLOR",
		"enable-metrics":                       "KUBEWARDEN_ENABLE_METRICS",
		"disable-timeout-protection":           "KUBEWARDEN_DISABLE_TIMEOUT_PROTECTION",
		"policy-timeout":                       "KUBEWARDEN_POLICY_TIMEOUT",
		"enable-pprof":                         "KUBEWARDEN_ENABLE_PPROF",
		"continue-on-errors":                   "KUBEWARDEN_CONTINUE_ON_ERRORS",
		"sigstore-trust-config":                "KUBEWARDEN_SIGSTORE_TRUST_CONFIG_PATH",
		"sources-path":                         "KUBEWARDEN_SOURCES_PATH",
		"verification-path":                    "KUBEWARDEN_VERIFICATION_CONFIG_PATH",
		"docker-config-json-path":              "KUBEWARDEN_DOCKER_CONFIG_JSON_PATH",
		"daemon":                               "KUBEWARDEN_DAEMON",
		"daemon-pid-file":                      "KUBEWARDEN_DAEMON_PID_FILE",
		"daemon-stdout-file":                   "KUBEWARDEN_DAEMON_STDOUT_FILE",
		"daemon-stderr-file":                   "KUBEWARDEN_DAEMON_STDERR_FILE",
		"ignore-kubernetes-connection-failure": "KUBEWARDEN_IGNORE_KUBERNETES_CONNECTION_FAILURE",
		"always-accept-admission-reviews-on-namespace": "KUBEWARDEN_ALWAYS_ACCEPT_ADMISSION_REVIEWS_ON_NAMESPACE",
	}
}

// ownEnvironment is the variable of each flag that is warder's own; those of pods
// are what a Deployment sets from the pod itself.
func ownEnvironment() map[string]string {
	return map[string]string{
		"policy-server":    "WARDER_POLICY_SERVER",
		"prefer-builtin":   "WARDER_PREFER_BUILTIN",
		"report-namespace": "POD_NAMESPACE",
		"replica-name":     "POD_NAME",

		"decision-log":          "WARDER_DECISION_LOG",
		"decision-log-accepted": "WARDER_DECISION_LOG_ACCEPTED",
		"decision-log-redact":   "WARDER_DECISION_LOG_REDACT",
	}
}

// unsupported are the flags of Kubewarden that this version refuses, with what
// to do instead. A flag is better refused than taken and not honoured.
func unsupported() map[string]string {
	const daemon = "warder runs in the foreground: let systemd or Kubernetes keep it running"
	return map[string]string{
		"daemon":             daemon,
		"daemon-pid-file":    daemon,
		"daemon-stdout-file": daemon,
		"daemon-stderr-file": daemon,
	}
}

// defaultPolicies is where policies are that nobody says where.
const defaultPolicies = "policies.yml"

func (c *serveConfig) addFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&c.addr, "addr", "0.0.0.0", "address to listen on; IPv6 in brackets")
	f.IntVar(&c.port, "port", 3000, "port of the API (HTTPS)")
	f.IntVar(&c.probePort, "readiness-probe-port", 8081, "port of /readiness, /livez, /metrics and /policies (plain HTTP)")
	f.IntVar(&c.workers, "workers", 0, "evaluations that may use a processor at the same time (default: the processors)")
	f.StringVar(&c.certFile, "cert-file", "", "certificate in PEM, its chain after it (default: a self-signed one is made)")
	f.StringVar(&c.keyFile, "key-file", "", "key of the certificate in PEM")
	f.StringSliceVar(&c.clientCAs, "client-ca-file", nil, "CAs in PEM that clients need a certificate of (mTLS); repeated or separated by commas")
	f.StringVar(&c.policies, "policies", defaultPolicies, "the policies")
	f.StringVar(&c.policyServer, "policy-server", "", "be a replica of this PolicyServer: its policies come from the cluster, not from --policies ($WARDER_POLICY_SERVER)")
	f.StringVar(&c.reportNamespace, "report-namespace", "", "namespace where a replica reports: that of the installation ($POD_NAMESPACE)")
	f.StringVar(&c.replicaName, "replica-name", "", "name of the replica's report ($POD_NAME; default: the host's name and something random)")
	f.StringVar(&c.downloadDir, "policies-download-dir", "", "writable folder of the store; compiled modules are kept below it too (default: the store of kwctl, in your cache folder)")
	f.StringVar(&c.sigstoreCache, "sigstore-cache-dir", "", "folder where the public Sigstore's trust root is kept (default: in the store)")
	f.StringVar(&c.trustConfig, "sigstore-trust-config", "", "file of the Sigstore trust root; nothing is fetched then (default: that of the public Sigstore, when it is needed)")
	f.StringVar(&c.trustDigest, "sigstore-trust-config-digest", "", "digest (sha256:...) that --sigstore-trust-config must have")
	f.StringVar(&c.sources, "sources-path", "", "sources.yml: insecure hosts, CAs and proxies")
	f.StringVar(&c.verification, "verification-path", "", "verification.yml: by whom every module must be signed before it is used")
	f.StringVar(&c.dockerConfig, "docker-config-json-path", "", "folder of the config.json with credentials of registries, or that file (default: $DOCKER_CONFIG, else ~/.docker)")
	f.StringVar(&c.logLevel, "log-level", "info", "trace, debug, info, warn or error")
	f.StringVar(&c.logFormat, "log-fmt", "text", "text or json")
	f.BoolVar(&c.logNoColor, "log-no-color", false, "accepted for Kubewarden's sake; logs have no colours")
	f.BoolVar(&c.metrics, "enable-metrics", false, "accepted for Kubewarden's sake; /metrics is always there")
	f.StringVar(&c.alwaysAccept, "always-accept-admission-reviews-on-namespace", "", "namespace in which every request is accepted unjudged")
	f.BoolVar(&c.noTimeout, "disable-timeout-protection", false, "let policies without a timeout of their own run for ever")
	f.IntVar(&c.timeout, "policy-timeout", 2, "seconds that a policy has for a request, if it has no timeout of its own")
	f.BoolVar(&c.ignoreKube, "ignore-kubernetes-connection-failure", false, "start although the cluster that policies would ask is misconfigured")
	f.BoolVar(&c.pprof, "enable-pprof", false, "serve /debug/pprof/ on --pprof-address")
	f.BoolVar(&c.continueOnErrors, "continue-on-errors", true, "start although a policy does not load; it then answers by its failurePolicy (Kubewarden's default is false)")

	f.BoolVar(&c.preferBuiltin, "prefer-builtin", false, "let the built-in policy of the same name answer for modules of ghcr.io/kubewarden/policies: nothing is pulled or verified then ($WARDER_PREFER_BUILTIN)")
	f.StringVar(&c.isolation, "isolation", "snapshot", "how requests are kept apart in WebAssembly policies: snapshot, or fresh (a new instance each)")
	f.StringVar(&c.compilationCache, "compilation-cache-dir", "", "folder of compiled modules; only you may write there (default: your cache folder)")
	f.IntVar(&c.memoryLimit, "policy-memory-limit", 256, "MiB that one instance of a WebAssembly policy may use")
	f.Int64Var(&c.maxBody, "max-body-bytes", 0, "largest review, in bytes (default: 7 MiB)")
	f.IntVar(&c.maxInFlight, "max-in-flight", 0, "requests at the same time; more are answered with 429 (default: 1024)")
	f.StringVar(&c.pprofAddress, "pprof-address", "127.0.0.1:6060", "loopback address of --enable-pprof")
	f.DurationVar(&c.drain, "drain", 0, "how long to go on serving after SIGTERM, while /readiness says 503")
	c.decisions.addFlags(f)

	for name := range unsupported() {
		f.String(name, "", "refused: "+unsupported()[name])
		f.Lookup(name).Hidden = true
	}
	f.Lookup("daemon").NoOptDefVal = "true" // the others have a value
}

// fromEnvironment sets the flags that were not given from their variables, and
// refuses those that are not supported.
func (c *serveConfig) fromEnvironment(f *pflag.FlagSet, lookup func(string) (string, bool)) error {
	refused, variables := unsupported(), environment()
	maps.Copy(variables, ownEnvironment())
	for _, name := range slices.Sorted(maps.Keys(variables)) { // sorted: the first that is wrong is always the same
		flag, variable := f.Lookup(name), variables[name]
		value, ok := lookup(variable)
		from := "--" + name
		if ok = ok && !flag.Changed; ok {
			from = variable
			if flag.Value.Type() == "bool" {
				value = truth(value)
			}
			if name == "log-no-color" && value != "false" {
				value = "true" // whatever it says: https://no-color.org
			}
			if err := f.Set(name, value); err != nil {
				return usagef("%s: %w", variable, err)
			}
		}
		if why, ok := refused[name]; ok && flag.Changed && flag.Value.String() != "" && flag.Value.String() != "false" {
			return usagef("%s: %s", from, why)
		}
	}
	return nil
}

// truth is what a boolean variable says. Kubewarden takes true and false alone;
// NO_COLOR=1 and an empty variable have a meaning everywhere else.
func truth(value string) string {
	switch strings.ToLower(value) {
	case "", "0", "no", "off", "false":
		return "false"
	case "1", "yes", "on", "true":
		return "true"
	}
	return value // pflag says what is wrong with it
}

// validate reports every flag that cannot work.
func (c *serveConfig) validate() error {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if _, err := netip.ParseAddr(c.host()); err != nil {
		bad("--addr %q: want an IP address, IPv6 in brackets", c.addr)
	}
	for _, p := range []struct {
		name string
		port int
	}{{"port", c.port}, {"readiness-probe-port", c.probePort}} {
		if p.port < 0 || p.port > 65535 {
			bad("--%s %d: want 0 to 65535", p.name, p.port)
		}
	}
	if _, ok := levels()[c.logLevel]; !ok {
		bad("--log-level %q: want trace, debug, info, warn or error", c.logLevel)
	}
	switch c.logFormat {
	case "text", "json":
	case "otlp":
		bad("--log-fmt otlp: this version of warder exports no traces; want text or json")
	default:
		bad("--log-fmt %q: want text or json", c.logFormat)
	}
	if c.trustDigest != "" && c.trustConfig == "" {
		bad("--sigstore-trust-config-digest: want --sigstore-trust-config too")
	}
	if c.timeout < 1 && !c.noTimeout {
		bad("--policy-timeout %d: want at least 1 second, or --disable-timeout-protection", c.timeout)
	}
	if c.isolation != "snapshot" && c.isolation != "fresh" {
		bad("--isolation %q: want snapshot or fresh", c.isolation)
	}
	if c.memoryLimit < 1 || c.memoryLimit > 4096 {
		bad("--policy-memory-limit %d: want 1 to 4096 MiB", c.memoryLimit)
	}
	if c.workers < 0 || c.maxInFlight < 0 || c.maxBody < 0 || c.drain < 0 {
		bad("--workers, --max-in-flight, --max-body-bytes and --drain cannot be negative")
	}
	if c.policyServer != "" {
		wrong = append(wrong, c.validateReplica()...)
	}
	if len(wrong) > 0 {
		return usagef("%s", strings.Join(wrong, "; "))
	}
	return nil
}

// validateReplica reports what cannot work together with --policy-server.
func (c *serveConfig) validateReplica() (wrong []string) {
	if c.policies != defaultPolicies {
		wrong = append(wrong, fmt.Sprintf("--policy-server %s: the policies come from the cluster; leave out --policies (KUBEWARDEN_POLICIES)", c.policyServer))
	}
	if !c.continueOnErrors {
		wrong = append(wrong, fmt.Sprintf("--policy-server %s: policies come and go, and one that does not load is reported; "+
			"leave out --continue-on-errors=false (KUBEWARDEN_CONTINUE_ON_ERRORS)", c.policyServer))
	}
	if c.preferBuiltin {
		wrong = append(wrong, fmt.Sprintf("--policy-server %s: spec.preferBuiltins of the PolicyServer says so; leave out --prefer-builtin (WARDER_PREFER_BUILTIN)", c.policyServer))
	}
	if c.reportNamespace == "" {
		wrong = append(wrong, fmt.Sprintf("--policy-server %s: want --report-namespace (POD_NAMESPACE) too, the namespace of the installation", c.policyServer))
	}
	return wrong
}

func (c *serveConfig) host() string { return strings.Trim(c.addr, "[]") }

func (c *serveConfig) evaluationTimeout() time.Duration {
	if c.noTimeout {
		return engine.NoTimeout
	}
	return time.Duration(c.timeout) * time.Second
}

// levels are the names of log levels.
func levels() map[string]slog.Level {
	return map[string]slog.Level{
		"trace": slog.LevelDebug - 4, "debug": slog.LevelDebug, "info": slog.LevelInfo,
		"warn": slog.LevelWarn, "error": slog.LevelError,
	}
}

func (c *serveConfig) logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: levels()[c.logLevel]}
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
