package manifest

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
)

// server is a PolicyServer of that spec, in YAML.
func server(t *testing.T, name, spec string) *v1.PolicyServer {
	t.Helper()
	ps := &v1.PolicyServer{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "7d0c3a3e-0001"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &ps.Spec); err != nil {
		t.Fatal(err)
	}
	return ps
}

const everything = `
image: registry.example.com/own/warder:v2
replicas: 3
minAvailable: 2
annotations: {example.com/team: platform}
labels: {example.com/tier: one, app.kubernetes.io/part-of: somebody-else}
env:
- {name: KUBEWARDEN_LOG_LEVEL, value: debug}
- {name: HTTPS_PROXY, value: "http://proxy:3128"}
serviceAccountName: policy-server
imagePullSecret: registries
insecureSources: ["registry.example.com:5000"]
sourceAuthorities: {registry.example.com: ["PEM one", "PEM two"], a.example.com: ["PEM three"]}
verificationConfig: signatures
sigstoreTrustConfig: own-sigstore
securityContexts:
  container: {runAsUser: 1000}
  pod: {fsGroup: 1000}
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: arch, operator: In, values: [amd64]}]}]}}}
tolerations: [{key: infra, operator: Exists}]
topologySpreadConstraints: [{maxSkew: 2, topologyKey: rack, whenUnsatisfiable: DoNotSchedule}]
priorityClassName: system-cluster-critical
limits: {memory: 512Mi}
requests: {cpu: 250m, memory: 128Mi}
webhookPort: 9443
readinessProbePort: 9081
metricsPort: 9090
`

func TestPolicyServerObjects(t *testing.T) {
	image := Options{Image: "ghcr.io/warder-dev/warder:v1"}
	custom := Options{
		Namespace: "kubewarden", Image: image.Image, ImagePullPolicy: corev1.PullAlways, ImagePullSecrets: []string{"one", "two"},
		AlwaysAcceptNamespace: true, ClientCAConfigMap: "api-server-ca", Metrics: true,
		Telemetry: Telemetry{
			Environment: map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT":           "https://collector:4317",
				"OTEL_EXPORTER_OTLP_CERTIFICATE":        "/otel/ca/ca.crt",
				"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/otel/client/tls.crt",
				"AWS_SECRET_ACCESS_KEY":                 "not passed on",
			},
			CertificateSecret: "collector-ca", ClientCertificateSecret: "collector-client",
		},
	}
	host, sidecar, oneFolder := custom, image, custom
	host.HostNetwork, host.Telemetry.Sidecar = true, true
	sidecar.Telemetry.Sidecar, sidecar.Metrics, sidecar.MetricsPort = true, true, 8888
	oneFolder.Telemetry.Environment = map[string]string{
		"OTEL_EXPORTER_OTLP_CERTIFICATE": "/otel/ca.crt", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/otel/tls.crt",
	}
	tests := []struct {
		name, spec string
		options    Options
	}{
		{"server-default", "{}", image},
		{"server-everything", everything, custom},
		{"server-host-network", "replicas: 1", host},
		{"server-sidecar", "annotations: {a: b}", sidecar},
		{"server-otel-one-folder", "replicas: 2", oneFolder},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var first []byte
			for range 50 { // maps have another order each time
				objects, err := PolicyServerObjects(server(t, "default", tt.spec), tt.options)
				if err != nil {
					t.Fatal(err)
				}
				text := asYAML(t, objects...)
				if first == nil {
					first = text
				}
				if !bytes.Equal(first, text) {
					t.Fatal("the same input has made two outputs")
				}
			}
			golden(t, tt.name, first)
		})
	}
}

func TestPolicyServerThatCannotBe(t *testing.T) {
	tests := []struct{ name, image, spec, want string }{
		{"with.dot", "x", "{}", `policy server "with.dot": name: its Service would be "policy-server-with.dot": a DNS-1035 label must`},
		{strings.Repeat("n", 50), "x", "{}", "must be no more than 63 characters; use at most 49 lower case letters, digits and dashes"},
		{"default", "", "{}", `policy server "default": image: none is given, and the image of the installation is not known`},
		{"default", "", "image: ghcr.io/kubewarden/policy-server:v1.30", `policy server "default": image: "ghcr.io/kubewarden/policy-server:v1.30" is replaced by the image of the installation, which is not known`},
	}
	for _, tt := range tests {
		_, err := PolicyServerObjects(server(t, tt.name, tt.spec), Options{Image: tt.image})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestServerImage(t *testing.T) {
	const own = "warder:v1"
	tests := []struct{ image, want, replaced string }{
		{"", own, ""},
		{"ghcr.io/kubewarden/policy-server:v1.30.0", own, "ghcr.io/kubewarden/policy-server:v1.30.0"},
		{"mirror:5000/x/kubewarden/policy-server", own, "mirror:5000/x/kubewarden/policy-server"},
		{"kubewarden/policy-server@sha256:abc", own, "kubewarden/policy-server@sha256:abc"},
		{"ghcr.io/kubewarden/policy-server:v1@sha256:abc", own, "ghcr.io/kubewarden/policy-server:v1@sha256:abc"},
		{"ghcr.io/notkubewarden/policy-server:v1", "ghcr.io/notkubewarden/policy-server:v1", ""},
		{"ghcr.io/kubewarden/policy-server-fork:v1", "ghcr.io/kubewarden/policy-server-fork:v1", ""},
		{"localhost:5000/warder", "localhost:5000/warder", ""},
	}
	for _, tt := range tests {
		image, replaced := ServerImage(v1.PolicyServerSpec{Image: tt.image}, Options{Image: own})
		if image != tt.want || replaced != tt.replaced {
			t.Errorf("ServerImage(%q) = %q, %q, want %q, %q", tt.image, image, replaced, tt.want, tt.replaced)
		}
	}
}

// objectsOf are the objects by kind.
func objectsOf(t *testing.T, ps *v1.PolicyServer, o Options) map[string]v1.Object {
	t.Helper()
	if o.Image == "" {
		o.Image = "warder:v1"
	}
	objects, err := PolicyServerObjects(ps, o)
	if err != nil {
		t.Fatal(err)
	}
	byKind := map[string]v1.Object{}
	for _, o := range objects {
		byKind[o.GetObjectKind().GroupVersionKind().Kind] = o
	}
	return byKind
}

func TestDisruptionBudgetNeverBlocksASingleReplica(t *testing.T) {
	tests := []struct{ spec, minAvailable, maxUnavailable string }{
		{"{}", "", "1"}, // whoever scales it decides
		{"replicas: 0", "none", ""},
		{"replicas: 1", "none", ""},
		{"replicas: 2", "", "1"},
		{"replicas: 1\nminAvailable: 1", "1", ""}, // asked for
		{"replicas: 5\nmaxUnavailable: 40%", "", "40%"},
	}
	for _, tt := range tests {
		ps := server(t, "default", tt.spec)
		object, ok := objectsOf(t, ps, Options{})["PodDisruptionBudget"]
		absent := slices.ContainsFunc(Absent(ps, Options{}), func(o v1.Object) bool {
			_, is := o.(*policyv1.PodDisruptionBudget)
			return is && o.GetName() == "policy-server-default" && o.GetNamespace() == DefaultNamespace
		})
		if ok == absent {
			t.Errorf("%q: wanted: %t, unwanted: %t", tt.spec, ok, absent)
		}
		if !ok {
			if tt.minAvailable != "none" {
				t.Errorf("%q: there is none", tt.spec)
			}
			continue
		}
		spec := object.(*policyv1.PodDisruptionBudget).Spec
		var minAvailable, maxUnavailable string
		if spec.MinAvailable != nil {
			minAvailable = spec.MinAvailable.String()
		}
		if spec.MaxUnavailable != nil {
			maxUnavailable = spec.MaxUnavailable.String()
		}
		if minAvailable != tt.minAvailable || maxUnavailable != tt.maxUnavailable {
			t.Errorf("%q: minAvailable %q, maxUnavailable %q, want %q, %q", tt.spec, minAvailable, maxUnavailable, tt.minAvailable, tt.maxUnavailable)
		}
	}
}

// TestWhatARunningServerTakesUpReplacesNoPods changes what is hot, and what is
// not.
func TestWhatARunningServerTakesUpReplacesNoPods(t *testing.T) {
	template := func(spec string) []byte {
		text, err := yaml.Marshal(objectsOf(t, server(t, "default", spec), Options{})["Deployment"].(*appsv1.Deployment).Spec.Template)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	before := template("{}")
	for _, hot := range []string{
		"replicas: 4", "insecureSources: [a.example.com]", "sourceAuthorities: {a.example.com: [PEM]}", "maxUnavailable: 2",
		"namespacedPoliciesCapabilities: []", "webhooks: PerPolicy", "workloads: Expand", "preferBuiltins: true", "metricsPort: 9999",
		"workloadTemplates: {rollouts.argoproj.io: spec.template}", "image: ghcr.io/kubewarden/policy-server:v9",
	} {
		if !bytes.Equal(before, template(hot)) {
			t.Errorf("%s replaces the pods", hot)
		}
	}
	for _, cold := range []string{
		"image: own:v2", "env: [{name: A, value: b}]", "verificationConfig: x", "imagePullSecret: x", "webhookPort: 9443",
		"annotations: {a: b}", "labels: {a: b}", "requests: {cpu: 1}", "serviceAccountName: x", "topologySpreadConstraints: []",
	} {
		if bytes.Equal(before, template(cold)) {
			t.Errorf("%s does not reach the pods", cold)
		}
	}
}

func TestReplicasAreSomebodyElsesWhenUnset(t *testing.T) {
	u, err := Unstructured(objectsOf(t, server(t, "default", "{}"), Options{})["Deployment"])
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "replicas"); ok {
		t.Error("a Deployment whose PolicyServer has no replicas says how many")
	}
}

// TestEnvironmentHasEachNameOnce: server-side apply refuses a list with a key
// twice, and a container gets the last one.
func TestEnvironmentHasEachNameOnce(t *testing.T) {
	ps := server(t, "default", `env: [{name: KUBEWARDEN_SIGSTORE_CACHE_DIR, value: /own}, {name: A, value: "1"}, {name: A, value: "2"}, {name: KUBEWARDEN_ENABLE_METRICS, value: "false"}]`)
	d := objectsOf(t, ps, Options{Metrics: true})["Deployment"].(*appsv1.Deployment)
	values := map[string]string{}
	for _, e := range d.Spec.Template.Spec.Containers[0].Env {
		if _, ok := values[e.Name]; ok {
			t.Errorf("%s is there twice", e.Name)
		}
		values[e.Name] = e.Value
	}
	for name, want := range map[string]string{"A": "2", "KUBEWARDEN_SIGSTORE_CACHE_DIR": "/own", "KUBEWARDEN_ENABLE_METRICS": "true"} {
		if values[name] != want {
			t.Errorf("%s = %q, want %q", name, values[name], want)
		}
	}
}

func TestSelectorOfTheDeploymentIsKubewardens(t *testing.T) {
	for name, want := range map[string]string{
		"default":               "kubewarden-policy-server-default",
		strings.Repeat("n", 38): "kubewarden-policy-server-" + strings.Repeat("n", 38),
		strings.Repeat("n", 39): "kubewarden-policy-server-" + strings.Repeat("n", 29) + "-6b4b0fa1",
	} {
		d := objectsOf(t, server(t, name, "labels: {app: mine}"), Options{})["Deployment"].(*appsv1.Deployment)
		got := d.Spec.Selector.MatchLabels
		if len(got) != 1 || len(got["app"]) > 63 || d.Spec.Template.Labels["app"] != got["app"] {
			t.Errorf("%s: selector %v, labels %v", name, got, d.Spec.Template.Labels)
		}
		if len(name) < 39 && got["app"] != want || len(name) == 39 && got["app"][:54] != want[:54] {
			t.Errorf("%s: app is %q, want %q", name, got["app"], want)
		}
	}
}

func TestUnstructuredClaimsNothingEmpty(t *testing.T) {
	for kind, o := range objectsOf(t, server(t, "default", "{}"), Options{}) {
		u, err := Unstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		if u.GetKind() != kind || u.GetAPIVersion() == "" {
			t.Errorf("%s is sent as %q %q", kind, u.GetAPIVersion(), u.GetKind())
		}
		noEmpty(t, kind, u.Object)
	}
}

// noEmpty finds fields that say nothing, but for the one that does.
func noEmpty(t *testing.T, path string, value any) {
	t.Helper()
	switch v := value.(type) {
	case nil:
		t.Errorf("%s is null", path)
	case map[string]any:
		if len(v) == 0 && !strings.HasSuffix(path, ".emptyDir") {
			t.Errorf("%s is empty", path)
		}
		for name, field := range v {
			if name == "status" || name == "creationTimestamp" {
				t.Errorf("%s has a %s", path, name)
			}
			noEmpty(t, path+"."+name, field)
		}
	case []any:
		for _, e := range v {
			noEmpty(t, path+"[]", e)
		}
	}
}
