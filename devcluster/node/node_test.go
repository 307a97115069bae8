package node_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/devcluster/node"
)

// eventually fails the test if check does not return "" within two minutes.
func eventually(t *testing.T, check func() string) {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(2 * time.Minute)
	for last := check(); last != ""; last = check() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatal(last)
		}
	}
}

const policies = `{"refuse": {"module": "builtin://safe-labels", "settings": {"mandatory_labels": ["team"]}}}`

// deployment runs "warder serve" on a policies.yml from a ConfigMap.
func deployment() *appsv1.Deployment {
	labels := map[string]string{"app": "judge"}
	replicas := int32(2)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "judge"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{
						Name: "judge", Image: "registry.example.com/warder:v1", Args: []string{"serve", "--policies=/config/policies.yml"},
						Env: []corev1.EnvVar{
							{Name: "KUBEWARDEN_PORT", Value: "8443"}, {Name: "KUBEWARDEN_READINESS_PROBE_PORT", Value: "8081"},
							{Name: "KUBEWARDEN_POLICIES_DOWNLOAD_DIR", Value: "/tmp"},
						},
						Ports: []corev1.ContainerPort{{Name: "api", ContainerPort: 8443}, {Name: "probes", ContainerPort: 8081}},
						ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
							HTTPGet: &corev1.HTTPGetAction{Path: "/readiness", Port: intstr.FromString("probes")},
						}},
						VolumeMounts: []corev1.VolumeMount{{Name: "config", MountPath: "/config"}, {Name: "store", MountPath: "/tmp"}},
					}},
					Volumes: []corev1.Volume{
						{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
							LocalObjectReference: corev1.LocalObjectReference{Name: "policies"},
						}}},
						{Name: "store", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
					},
				},
			},
		},
	}
}

// printLogs prints what the pods have written, if the test has failed.
func printLogs(t *testing.T, client *kubernetes.Clientset, n *node.Node) {
	pods, err := client.CoreV1().Pods("default").List(context.WithoutCancel(t.Context()), metav1.ListOptions{})
	if err != nil || !t.Failed() {
		return
	}
	for _, p := range pods.Items {
		text, err := n.Log(p.Namespace, p.Name)
		t.Logf("%s: %v\n%s\n%+v", p.Name, err, text, p.Status)
	}
}

func TestPodsOfWarderRunAndAreReachedByTheirService(t *testing.T) {
	ctx := t.Context()
	binary, err := cluster.Find("warder")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Start(ctx, cluster.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	config, err := c.Config()
	if err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	n, err := node.Start(ctx, node.Options{Config: config, Binary: binary, Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	must(err)
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); n.Run(running) }()
	t.Cleanup(func() { stop(); <-ended })
	t.Cleanup(func() { printLogs(t, client, n) })

	_, err = client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "policies"}, Data: map[string]string{"policies.yml": policies},
	}, metav1.CreateOptions{})
	must(err)
	_, err = client.AppsV1().Deployments("default").Create(ctx, deployment(), metav1.CreateOptions{})
	must(err)
	_, err = client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "judge"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "judge"},
			Ports:    []corev1.ServicePort{{Name: "api", Port: 443, TargetPort: intstr.FromInt32(8443)}},
		},
	}, metav1.CreateOptions{})
	must(err)
	eventually(t, func() string {
		d, err := client.AppsV1().Deployments("default").Get(ctx, "judge", metav1.GetOptions{})
		if err != nil || d.Status.AvailableReplicas != 2 {
			return fmt.Sprintf("deployment: %+v, %v", d.Status, err)
		}
		return ""
	})

	// The API server finds the webhook by its Service. Its certificate is
	// self-signed, so that the call fails as late as it can: at the handshake.
	path, fail, none := "/validate/refuse", admissionv1.Fail, admissionv1.SideEffectClassNone
	_, err = client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "judge"},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "judge.example.com", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "default", Name: "judge", Path: &path}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"namespaces"}},
			}},
		}},
	}, metav1.CreateOptions{})
	must(err)
	last := ""
	eventually(t, func() string {
		name := fmt.Sprintf("n%d", time.Now().UnixNano())
		_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err == nil {
			return "the webhook was not called"
		}
		last = err.Error()
		return ""
	})
	t.Log(last)

	// A process that is killed comes back, and a Deployment that is deleted
	// leaves no pod behind.
	pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	must(err)
	must(n.Kill("default", pods.Items[0].Name))
	eventually(t, func() string {
		p, err := client.CoreV1().Pods("default").Get(ctx, pods.Items[0].Name, metav1.GetOptions{})
		must(err)
		if s := p.Status.ContainerStatuses; len(s) != 1 || s[0].RestartCount != 1 || !s[0].Ready {
			return fmt.Sprintf("status: %+v, want one restart, and ready", s)
		}
		return ""
	})
	must(client.AppsV1().Deployments("default").Delete(ctx, "judge", metav1.DeleteOptions{}))
	eventually(t, func() string {
		pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		must(err)
		slices, err := client.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: "pod"})
		must(err)
		if len(pods.Items)+len(slices.Items) > 0 {
			return fmt.Sprintf("%d pods and %d endpoint slices are left", len(pods.Items), len(slices.Items))
		}
		return ""
	})
}
