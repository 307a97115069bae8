package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	v1 "github.com/warder-dev/warder/api/v1"
)

// InstallOptions are what an installation is made of. Only Image has no default.
type InstallOptions struct {
	// Namespace is where everything is. Default DefaultNamespace.
	Namespace string
	// Image is warder's, for the controller and for policy servers.
	Image            string
	ImagePullPolicy  corev1.PullPolicy
	ImagePullSecrets []string
	// Replicas of the controller. Default 2: one leads, both answer webhooks.
	Replicas int32
	// ServerReplicas of the default policy server. Default 1.
	ServerReplicas int32
	// Workloads is that of the default policy server. Default Ignore.
	Workloads v1.Workloads
	// WithoutServer leaves the default policy server out, and with it the
	// policies of sets.
	WithoutServer bool
	// Sets are policies to begin with.
	Sets PolicySets
	// LogLevel of the controller and the default policy server. Default "info".
	LogLevel string
	// HostNetwork puts the pods into the network of their nodes.
	HostNetwork bool
	// JudgeOwnNamespace makes policy servers judge requests for Namespace by the
	// policies that allow it (allowInsideAdmissionControllerNamespace).
	JudgeOwnNamespace bool
	// ClientCAConfigMap: see Options.
	ClientCAConfigMap string
}

// AnnotationInstalled marks a Namespace that an installation has made, and that
// goes with it.
const AnnotationInstalled = "policies.warder.dev/installed"

func (o InstallOptions) withDefaults() InstallOptions {
	o.Namespace = cmp.Or(o.Namespace, DefaultNamespace)
	o.Replicas, o.ServerReplicas = cmp.Or(o.Replicas, 2), cmp.Or(o.ServerReplicas, 1)
	o.LogLevel = cmp.Or(o.LogLevel, "info")
	return o
}

// Validate reports everything that cannot work.
func (o InstallOptions) Validate() error {
	var errs []error
	o = o.withDefaults()
	if o.Image == "" {
		errs = append(errs, errors.New("image: say which image of warder to run"))
	}
	for _, problem := range validation.IsDNS1123Label(o.Namespace) {
		errs = append(errs, fmt.Errorf("namespace %q: %s", o.Namespace, problem))
	}
	if o.Replicas < 0 || o.ServerReplicas < 0 {
		errs = append(errs, errors.New("replicas: want 0 or more"))
	}
	if o.Workloads != "" && o.Workloads != v1.Ignore && o.Workloads != v1.Expand {
		errs = append(errs, fmt.Errorf("workloads: want %s or %s, have %q", v1.Ignore, v1.Expand, o.Workloads))
	}
	if !slices.Contains([]string{"trace", "debug", "info", "warn", "error"}, o.LogLevel) {
		errs = append(errs, fmt.Errorf("log level: want trace, debug, info, warn or error, have %q", o.LogLevel))
	}
	return errors.Join(append(errs, o.Sets.validate())...)
}

// Install returns everything of an installation in the order in which to apply
// it, but the CustomResourceDefinitions, which are CRDs and come first. The
// webhooks for our own kinds are not among it: the controller registers them
// once it can answer. The error is that of Validate.
func Install(o InstallOptions) ([]v1.Object, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	objects := []v1.Object{&corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{
			Name: o.Namespace, Labels: installLabels("namespace"),
		},
	}}
	objects = append(objects, rbac(o)...)
	objects = append(objects, webhookService(o))
	if o.Replicas > 1 {
		objects = append(objects, controllerBudget(o))
	}
	objects = append(objects, controllerDeployment(o))
	if o.WithoutServer {
		return objects, nil
	}
	objects = append(objects, defaultServer(o))
	return append(objects, o.Sets.objects()...), nil
}

// Ports of the controller, and where its probes are. Source: Kubewarden's.
const (
	controllerWebhookPort = 9443
	controllerProbePort   = 8081
	controllerMetricsPort = 8088
)

func controllerSelector() map[string]string {
	return map[string]string{LabelComponent: "controller", "app.kubernetes.io/name": "warder"}
}

func webhookService(o InstallOptions) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: WebhookService, Namespace: o.Namespace, Labels: installLabels("controller")},
		Spec: corev1.ServiceSpec{
			Selector: controllerSelector(),
			Ports:    []corev1.ServicePort{{Name: "webhook", Port: 443, TargetPort: intstr.FromString("webhook"), Protocol: corev1.ProtocolTCP}},
		},
	}
}

func controllerBudget(o InstallOptions) *policyv1.PodDisruptionBudget {
	one := intstr.FromInt32(1)
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: metav1.ObjectMeta{Name: Controller, Namespace: o.Namespace, Labels: installLabels("controller")},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &one, Selector: &metav1.LabelSelector{MatchLabels: controllerSelector()}},
	}
}

// controllerArgs are the flags of "warder controller".
func controllerArgs(o InstallOptions) []string {
	args := []string{
		"controller", "--leader-elect", "--deployments-namespace=" + o.Namespace, "--policy-server-image=" + o.Image,
		"--webhook-service-name=" + WebhookService,
		fmt.Sprintf("--webhook-server-port=%d", controllerWebhookPort),
		fmt.Sprintf("--health-probe-bind-address=:%d", controllerProbePort),
		fmt.Sprintf("--metrics-bind-address=:%d", controllerMetricsPort),
		"--log-level=" + o.LogLevel,
		"--always-accept-admission-reviews-on-deployments-namespace=" + strconv.FormatBool(!o.JudgeOwnNamespace),
	}
	if o.HostNetwork {
		args = append(args, "--host-network")
	}
	if o.ClientCAConfigMap != "" {
		args = append(args, "--client-ca-configmap-name="+o.ClientCAConfigMap)
	}
	for i, secret := range o.ImagePullSecrets {
		if i == 0 {
			args = append(args, "--image-pull-secrets="+secret)
		} else {
			args[len(args)-1] += "," + secret
		}
	}
	return args
}

func controllerDeployment(o InstallOptions) *appsv1.Deployment {
	yes, no := true, false
	probe := func(path string) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("probes")}}}
	}
	pod := corev1.PodSpec{
		ServiceAccountName: Controller,
		HostNetwork:        o.HostNetwork,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: &metav1.LabelSelector{MatchLabels: controllerSelector()},
		}},
		Containers: []corev1.Container{{
			Name: "controller", Image: o.Image, ImagePullPolicy: o.ImagePullPolicy, Args: controllerArgs(o),
			Env: []corev1.EnvVar{fromField("POD_NAME", "metadata.name"), fromField("POD_NAMESPACE", "metadata.namespace"),
				{Name: "XDG_CACHE_HOME", Value: "/tmp"}},
			Ports: []corev1.ContainerPort{
				{Name: "webhook", ContainerPort: controllerWebhookPort, Protocol: corev1.ProtocolTCP},
				{Name: "probes", ContainerPort: controllerProbePort, Protocol: corev1.ProtocolTCP},
				{Name: "metrics", ContainerPort: controllerMetricsPort, Protocol: corev1.ProtocolTCP},
			},
			ReadinessProbe: probe("/readyz"), LivenessProbe: probe("/healthz"),
			// What Kubewarden's controller asks for, with more room at the top: it
			// was killed at 200Mi in clusters with many policies.
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: quantity.MustParse("100m"), corev1.ResourceMemory: quantity.MustParse("96Mi")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: quantity.MustParse("512Mi")},
			},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: &no, Privileged: &no, ReadOnlyRootFilesystem: &yes, RunAsNonRoot: &yes,
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
			VolumeMounts: []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}},
		}},
		Volumes: []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
	}
	if o.HostNetwork {
		pod.DNSPolicy = corev1.DNSClusterFirstWithHostNet
	}
	for _, secret := range o.ImagePullSecrets {
		pod.ImagePullSecrets = append(pod.ImagePullSecrets, corev1.LocalObjectReference{Name: secret})
	}
	labels := installLabels("controller")
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: Controller, Namespace: o.Namespace, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &o.Replicas, Selector: &metav1.LabelSelector{MatchLabels: controllerSelector()},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod},
		},
	}
}

func defaultServer(o InstallOptions) *v1.PolicyServer {
	return &v1.PolicyServer{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1.GroupVersion().String(), Kind: "PolicyServer"},
		ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: installLabels("policy-server"), Finalizers: []string{v1.Finalizer}},
		Spec: v1.PolicyServerSpec{
			Replicas: &o.ServerReplicas, Workloads: o.Workloads,
			Env: []corev1.EnvVar{{Name: "KUBEWARDEN_LOG_LEVEL", Value: o.LogLevel}},
		},
	}
}
