package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"path"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	v1 "github.com/warder-dev/warder/api/v1"
)

const (
	// drainSeconds is how long a pod that is told to end goes on serving: until
	// every node has heard that it is no endpoint any more.
	drainSeconds = 10
	// graceSeconds is what a pod has to end: draining, the longest request (30 s,
	// the largest timeoutSeconds of a webhook), and 5 s to close everything.
	graceSeconds = drainSeconds + 30 + 5
)

// deployment is the Deployment of a policy server.
//
// Its pods are replaced only for what a running server cannot take up: it
// watches its policies, and reads its certificates, sources, verification and
// trust configurations anew when the files change.
func deployment(ps *v1.PolicyServer, o Options) *appsv1.Deployment {
	meta := metaOf(ps, o)
	meta.Labels = maps.Clone(ps.Spec.Labels)
	if meta.Labels == nil {
		meta.Labels = map[string]string{}
	}
	maps.Copy(meta.Labels, ServerLabels(ps.Name))
	meta.Annotations = maps.Clone(ps.Spec.Annotations)

	pod := metav1.ObjectMeta{Labels: maps.Clone(meta.Labels), Annotations: maps.Clone(ps.Spec.Annotations)}
	pod.Labels["app"] = appLabel(ps.Name)
	if o.sidecar() {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations["sidecar.opentelemetry.io/inject"] = "true"
	}
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment"},
		ObjectMeta: meta,
		Spec: appsv1.DeploymentSpec{
			Replicas: ps.Spec.Replicas, // nil: an autoscaler's
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType},
			// Nothing else: the selector of a Deployment that Kubewarden has made
			// cannot be changed.
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": appLabel(ps.Name)}},
			Template: corev1.PodTemplateSpec{ObjectMeta: pod, Spec: podSpec(ps, o)},
		},
	}
}

// appLabel is the value of the label that selects the pods. Names that do not fit
// end in a part of their hash.
func appLabel(server string) string {
	value := "kubewarden-policy-server-" + server
	if len(value) <= validation.LabelValueMaxLength {
		return value
	}
	sum := sha256.Sum256([]byte(server))
	return value[:validation.LabelValueMaxLength-9] + "-" + hex.EncodeToString(sum[:4])
}

func podSpec(ps *v1.PolicyServer, o Options) corev1.PodSpec {
	mounts := mountsOf(ps, o)
	grace := int64(graceSeconds)
	spec := corev1.PodSpec{
		ServiceAccountName:            ServiceAccountName(ps),
		Containers:                    []corev1.Container{container(ps, o, mounts)},
		Volumes:                       mounts.volumes,
		SecurityContext:               ps.Spec.SecurityContexts.Pod,
		Tolerations:                   ps.Spec.Tolerations,
		TopologySpreadConstraints:     ps.Spec.TopologySpreadConstraints,
		PriorityClassName:             ps.Spec.PriorityClassName,
		TerminationGracePeriodSeconds: &grace,
	}
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}
	}
	if !equality.Semantic.DeepEqual(ps.Spec.Affinity, corev1.Affinity{}) {
		spec.Affinity = &ps.Spec.Affinity
	}
	if spec.TopologySpreadConstraints == nil {
		spec.TopologySpreadConstraints = spread(ps.Name)
	}
	for _, name := range o.ImagePullSecrets {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	if o.HostNetwork {
		spec.HostNetwork, spec.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet
	}
	return spec
}

// spread puts replicas on different nodes and zones where that is possible.
func spread(server string) []corev1.TopologySpreadConstraint {
	var all []corev1.TopologySpreadConstraint
	for _, key := range []string{corev1.LabelHostname, corev1.LabelTopologyZone} {
		all = append(all, corev1.TopologySpreadConstraint{
			MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": appLabel(server)}},
		})
	}
	return all
}

func container(ps *v1.PolicyServer, o Options, mounts mounts) corev1.Container {
	image, _ := ServerImage(ps.Spec, o)
	probePort := orPort(ps.Spec.ReadinessProbePort, defaultProbePort)
	probe := func(path string) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: path, Port: intstr.FromInt32(probePort), Scheme: corev1.URISchemeHTTP,
		}}}
	}
	// A server that does not even say that it lives, for one and a half minutes,
	// is stuck. Being busy is no reason to be restarted.
	live := probe("/livez")
	live.InitialDelaySeconds, live.PeriodSeconds, live.FailureThreshold, live.TimeoutSeconds = 15, 15, 6, 5
	c := corev1.Container{
		Name:            ServerName(ps.Name),
		Image:           image,
		ImagePullPolicy: o.ImagePullPolicy,
		Args:            []string{"serve", "--policy-server", ps.Name, "--drain", strconv.Itoa(drainSeconds) + "s"},
		Env:             environment(ps, o, mounts),
		Ports: []corev1.ContainerPort{
			{Name: "https", ContainerPort: orPort(ps.Spec.WebhookPort, defaultWebhookPort), Protocol: corev1.ProtocolTCP},
			{Name: "probes", ContainerPort: probePort, Protocol: corev1.ProtocolTCP},
		},
		ReadinessProbe:  probe("/readiness"),
		LivenessProbe:   live,
		VolumeMounts:    mounts.mounts,
		Resources:       corev1.ResourceRequirements{Limits: ps.Spec.Limits, Requests: ps.Spec.Requests},
		SecurityContext: ps.Spec.SecurityContexts.Container,
	}
	if c.SecurityContext == nil {
		yes, no := true, false
		c.SecurityContext = &corev1.SecurityContext{
			ReadOnlyRootFilesystem: &yes, Privileged: &no, AllowPrivilegeEscalation: &no, RunAsNonRoot: &yes,
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}
	}
	return c
}

// environment is what the container is told, in Kubewarden's order: the system's
// first, then the user's, then what depends on the options. Of variables with one
// name the last one counts, as for the kubelet; the API server takes one only.
func environment(ps *v1.PolicyServer, o Options, mounts mounts) []corev1.EnvVar {
	env := []corev1.EnvVar{
		{Name: "KUBEWARDEN_CERT_FILE", Value: "/pki/tls.crt"},
		{Name: "KUBEWARDEN_KEY_FILE", Value: "/pki/tls.key"},
		{Name: "KUBEWARDEN_PORT", Value: port(ps.Spec.WebhookPort, defaultWebhookPort)},
		{Name: "KUBEWARDEN_READINESS_PROBE_PORT", Value: port(ps.Spec.ReadinessProbePort, defaultProbePort)},
		{Name: "KUBEWARDEN_POLICIES_DOWNLOAD_DIR", Value: "/tmp"},
		{Name: "KUBEWARDEN_SIGSTORE_CACHE_DIR", Value: "/tmp/sigstore-data"},
		fromField("POD_NAME", "metadata.name"),
		fromField("POD_NAMESPACE", "metadata.namespace"),
		fromField("POD_UID", "metadata.uid"),
	}
	env = append(env, ps.Spec.Env...)
	if o.AlwaysAcceptNamespace {
		env = append(env, corev1.EnvVar{Name: "KUBEWARDEN_ALWAYS_ACCEPT_ADMISSION_REVIEWS_ON_NAMESPACE", Value: o.namespace()})
	}
	env = append(env, mounts.env...)
	if o.Metrics {
		env = append(env, corev1.EnvVar{Name: "KUBEWARDEN_ENABLE_METRICS", Value: "true"})
	}
	if o.sidecar() {
		env = append(env, corev1.EnvVar{Name: otlpPrefix + "ENDPOINT", Value: "http://localhost:4317"})
	} else {
		env = append(env, o.Telemetry.env()...)
	}
	last := map[string]int{}
	for i, e := range env {
		last[e.Name] = i
	}
	var unique []corev1.EnvVar
	for i, e := range env {
		if last[e.Name] == i {
			unique = append(unique, e)
		}
	}
	return unique
}

func port(p *int32, otherwise int32) string { return strconv.Itoa(int(orPort(p, otherwise))) }

func fromField(name, field string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: field},
	}}
}

// mounts are the files of a policy server, with the variables that name them.
type mounts struct {
	volumes []corev1.Volume
	mounts  []corev1.VolumeMount
	env     []corev1.EnvVar
}

func (m *mounts) add(name, dir string, source corev1.VolumeSource) {
	m.volumes = append(m.volumes, corev1.Volume{Name: name, VolumeSource: source})
	m.mounts = append(m.mounts, corev1.VolumeMount{Name: name, MountPath: dir, ReadOnly: source.EmptyDir == nil})
}

func (m *mounts) set(name, value string) {
	m.env = append(m.env, corev1.EnvVar{Name: name, Value: value})
}

// mountsOf are the files of the policy server. They are whole folders, since
// single files of a volume do not change in a running pod.
func mountsOf(ps *v1.PolicyServer, o Options) mounts {
	var m mounts
	m.add("policy-store", "/tmp", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	m.add("certs", "/pki", fromSecret(ServerName(ps.Name)))
	if name := ps.Spec.VerificationConfig; name != "" {
		m.add("verification", "/verification", fromConfigMap(name, "verification-config", "verification.yml"))
		m.set("KUBEWARDEN_VERIFICATION_CONFIG_PATH", "/verification/verification.yml")
	}
	if name := ps.Spec.SigstoreTrustConfig; name != "" {
		m.add("sigstore-trust", "/sigstore-trust", fromConfigMap(name, "sigstore-trust-config", "sigstore-trust-config.json"))
		m.set("KUBEWARDEN_SIGSTORE_TRUST_CONFIG_PATH", "/sigstore-trust/sigstore-trust-config.json")
	}
	if name := ps.Spec.ImagePullSecret; name != "" {
		m.add("imagepullsecret", "/home/kubewarden/.docker", fromSecret(name, ".dockerconfigjson", "config.json"))
		m.set("KUBEWARDEN_DOCKER_CONFIG_JSON_PATH", "/home/kubewarden/.docker")
	}
	// Also when there is nothing in it: the first source is no reason to replace
	// the pods.
	m.add("sources", "/sources", fromConfigMap(ServerName(ps.Name), sourcesKey, sourcesKey))
	m.set("KUBEWARDEN_SOURCES_PATH", "/sources/"+sourcesKey)
	if name := o.ClientCAConfigMap; name != "" {
		m.add("ca", "/ca", fromSecret(SecretCA, "ca.crt", "ca.crt"))
		m.add("client-ca", "/client-ca", fromConfigMap(name, "client-ca.crt", "client-ca.crt"))
		m.set("KUBEWARDEN_CLIENT_CA_FILE", "/ca/ca.crt,/client-ca/client-ca.crt")
	}
	m.otlp(o.Telemetry)
	return m
}

// otlp mounts the certificates of collectors where the variables say that they
// are: both may be in one folder.
func (m *mounts) otlp(t Telemetry) {
	certificate, client := path.Dir(t.Environment[otlpPrefix+"CERTIFICATE"]), path.Dir(t.Environment[otlpPrefix+"CLIENT_CERTIFICATE"])
	mode := int32(0o644)
	mount := func(name, dir string, secrets ...string) {
		volume := corev1.ProjectedVolumeSource{DefaultMode: &mode}
		for _, s := range secrets {
			volume.Sources = append(volume.Sources, corev1.VolumeProjection{
				Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: s}},
			})
		}
		m.add(name, dir, corev1.VolumeSource{Projected: &volume})
	}
	hasFirst := t.CertificateSecret != "" && path.IsAbs(certificate)
	hasClient := t.ClientCertificateSecret != "" && path.IsAbs(client)
	switch {
	case hasFirst && hasClient && certificate == client:
		mount("otel-certificates", certificate, t.CertificateSecret, t.ClientCertificateSecret)
		return
	case hasFirst:
		mount("otel-certificate", certificate, t.CertificateSecret)
	}
	if hasClient {
		mount("otel-client-certificate", client, t.ClientCertificateSecret)
	}
}

// fromSecret is a volume of a Secret, of all its keys or of pairs of key and
// file.
func fromSecret(name string, keysAndFiles ...string) corev1.VolumeSource {
	return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, Items: items(keysAndFiles)}}
}

func fromConfigMap(name string, keysAndFiles ...string) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items(keysAndFiles),
	}}
}

func items(keysAndFiles []string) []corev1.KeyToPath {
	var all []corev1.KeyToPath
	for i := 0; i+1 < len(keysAndFiles); i += 2 {
		all = append(all, corev1.KeyToPath{Key: keysAndFiles[i], Path: keysAndFiles[i+1]})
	}
	return all
}
