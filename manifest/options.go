package manifest

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/warder-dev/warder/api/v1"
)

// FieldManager is who server-side apply says the objects are from.
const FieldManager = "warder-controller"

// DefaultNamespace is where an installation is that does not say.
const DefaultNamespace = "warder"

// Names of what all policy servers share, in the namespace of the installation.
const (
	// SecretCA has the certificate authority of all webhooks.
	SecretCA = "kubewarden-ca"
	// SecretWebhook has the certificate of the webhooks for our own kinds.
	SecretWebhook = "kubewarden-webhook-server-cert"
	// RoleServer is the ClusterRole and the Role that every policy server is
	// bound to: it watches policies and says how far it is.
	RoleServer = "warder-policy-server"
)

// Labels, those of Kubewarden: tools find objects by them.
const (
	LabelComponent    = "app.kubernetes.io/component"
	LabelInstance     = "app.kubernetes.io/instance"
	LabelPartOf       = "app.kubernetes.io/part-of"
	LabelManagedBy    = "app.kubernetes.io/managed-by"
	LabelPolicyServer = "kubewarden/policy-server"

	PartOf    = "kubewarden"
	ManagedBy = "kubewarden-controller"
)

// Options are what an installation says about all policy servers.
type Options struct {
	// Namespace is where policy servers run. Default DefaultNamespace.
	Namespace string

	// Image is that of policy servers which name none, or one of Kubewarden's.
	Image           string
	ImagePullPolicy corev1.PullPolicy

	// ImagePullSecrets are Secrets with which nodes pull the image.
	ImagePullSecrets []string

	// HostNetwork puts policy servers into the network of their nodes.
	HostNetwork bool

	// AlwaysAcceptNamespace makes policy servers accept every request for
	// Namespace, whatever their policies say.
	AlwaysAcceptNamespace bool

	// ClientCAConfigMap has, under client-ca.crt, who signs the certificate of
	// the API server; policy servers then ask for one.
	ClientCAConfigMap string

	// Metrics opens the Service's port for metrics, MetricsPort unless the policy
	// server names its own. Default 8080.
	Metrics     bool
	MetricsPort int32

	// Telemetry is where metrics and traces are sent.
	Telemetry Telemetry

	// URLs are those of policy servers that run outside of the cluster, by the
	// name of the PolicyServer: webhooks call them instead of the Service.
	URLs map[string]string

	// NoMatchConditions leaves match conditions out of webhooks, for API servers
	// that have none, before Kubernetes 1.27.
	NoMatchConditions bool
}

// Telemetry is what policy servers are told of OpenTelemetry.
type Telemetry struct {
	// Sidecar asks the OpenTelemetry operator for a collector in each pod, which
	// Environment then need not name. With HostNetwork there is none.
	Sidecar bool

	// Environment are variables that begin with OTEL_EXPORTER_OTLP_; others are
	// not passed on.
	Environment map[string]string

	// CertificateSecret and ClientCertificateSecret are mounted where the
	// variables OTEL_EXPORTER_OTLP_CERTIFICATE and
	// OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE say.
	CertificateSecret, ClientCertificateSecret string
}

const otlpPrefix = "OTEL_EXPORTER_OTLP_"

func (t Telemetry) env() []corev1.EnvVar {
	var env []corev1.EnvVar
	for _, name := range slices.Sorted(maps.Keys(t.Environment)) {
		if strings.HasPrefix(name, otlpPrefix) {
			env = append(env, corev1.EnvVar{Name: name, Value: t.Environment[name]})
		}
	}
	return env
}

func (o Options) namespace() string {
	if o.Namespace == "" {
		return DefaultNamespace
	}
	return o.Namespace
}

func (o Options) sidecar() bool { return o.Telemetry.Sidecar && !o.HostNetwork }

// ServerName is the name of everything that belongs to the policy server of that
// name: Secret, ConfigMap, Deployment, Service and so on.
func ServerName(server string) string { return "policy-server-" + server }

// ServerLabels are on everything that belongs to the policy server.
func ServerLabels(server string) map[string]string {
	return map[string]string{
		LabelComponent:    "policy-server",
		LabelInstance:     ServerName(server),
		LabelPartOf:       PartOf,
		LabelManagedBy:    ManagedBy,
		LabelPolicyServer: server,
	}
}

// Ports of policy servers that say nothing. Source: Kubewarden's.
const (
	defaultWebhookPort = 8443
	defaultProbePort   = 8081
	defaultMetricsPort = 8080
)

func orPort(port *int32, otherwise int32) int32 {
	if port == nil || *port == 0 {
		return otherwise
	}
	return *port
}

// ServerImage is the image of the policy server, which is that of the
// installation where the spec names none or one of Kubewarden's own
// policy-server: that one does not know how to watch policies. Replaced is the
// image that the spec has named then.
func ServerImage(spec v1.PolicyServerSpec, o Options) (image, replaced string) {
	repository, _, _ := strings.Cut(spec.Image, "@")
	if colon := strings.LastIndex(repository, ":"); colon > strings.LastIndex(repository, "/") {
		repository = repository[:colon]
	}
	switch {
	case spec.Image == "":
		return o.Image, ""
	case repository == "kubewarden/policy-server" || strings.HasSuffix(repository, "/kubewarden/policy-server"):
		return o.Image, spec.Image
	}
	return spec.Image, ""
}

// Owners make the garbage collector remove an object with its policy server.
func Owners(ps *v1.PolicyServer) []metav1.OwnerReference {
	if ps.UID == "" {
		return nil // it is not in an API server yet
	}
	return []metav1.OwnerReference{{
		APIVersion: v1.GroupVersion().String(), Kind: "PolicyServer", Name: ps.Name, UID: ps.UID,
	}}
}
