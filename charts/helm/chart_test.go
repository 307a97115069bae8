package helm

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	release "helm.sh/helm/v4/pkg/release/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
)

// dir is where the chart is.
const dir = "../warder"

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// kubeVersion is said, since the library assumes a very old one in tests.
func kubeVersion() *common.KubeVersion {
	return &common.KubeVersion{Version: "v1.37.0", Major: "1", Minor: "37"}
}

// render is "helm template" of the chart with the values, in YAML.
func render(t *testing.T, namespace, values string) (*release.Release, error) {
	t.Helper()
	install := action.NewInstall(action.NewConfiguration())
	install.KubeVersion = kubeVersion()
	install.DryRunStrategy, install.ReleaseName, install.Namespace = action.DryRunClient, "warder", namespace
	vals := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &vals); err != nil {
		t.Fatal(err)
	}
	r, err := install.Run(load(t), vals)
	if err != nil {
		return nil, err
	}
	rel, ok := r.(*release.Release)
	if !ok {
		t.Fatalf("a release of type %T", r)
	}
	return rel, nil
}

// objects are those of a rendering, by "Kind namespace/name". Hooks are not among
// them.
func objects(t *testing.T, values string) map[string]map[string]any {
	t.Helper()
	rel, err := render(t, manifest.DefaultNamespace, values)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, rel.Manifest)
}

func parse(t *testing.T, text string) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, doc := range strings.Split("\n"+text, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			t.Fatalf("%v in:\n%s", err, doc)
		}
		if len(o.Object) == 0 {
			continue
		}
		if _, ok := all[key(o)]; ok {
			t.Errorf("%s is there twice", key(o))
		}
		all[key(o)] = o.Object
	}
	return all
}

func key(o *unstructured.Unstructured) string {
	return fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
}

// installed are the objects of manifest.Install but the namespace, which is not
// the chart's to make.
func installed(t *testing.T, o manifest.InstallOptions) map[string]map[string]any {
	t.Helper()
	o.Image = "ghcr.io/warder-dev/warder:" + load(t).Metadata.AppVersion
	list, err := manifest.Install(o)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]any{}
	for _, object := range list {
		u, err := manifest.Unstructured(object)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		plain := map[string]any{} // numbers as in the rendering
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatal(err)
		}
		if u.GetKind() != "Namespace" {
			all[key(u)] = plain
		}
	}
	return all
}

// everything sets every value that adds to what is rendered.
const everything = `
global:
  cattle: {systemDefaultRegistry: registry.example.com:5000/mirror, clusterId: c-1}
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
  tolerations: [{key: only, operator: Equal, value: "1", effect: NoSchedule, tolerationSeconds: 1000000}]
  priorityClassName: system-cluster-critical
image: {repository: warder, tag: v2@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, pullPolicy: Always}
imagePullSecrets: [one, {name: two}]
hostNetwork: true
ports: {webhook: 19443, healthProbe: 18081, metrics: 18088}
logLevel: debug
podAnnotations: {number: "1e3", truth: "true"}
nodeSelector: {kubernetes.io/os: linux}
additionalEnvironmentVariables: [{name: HTTPS_PROXY, value: "http://proxy:3128"}, {name: LEVEL, value: "1"}]
mTLS: {enable: true, configMapName: client-ca}
alwaysAcceptAdmissionReviewsOnDeploymentsNamespace: false
policyServer:
  replicaCount: 3
  image: {repository: kubewarden/policy-server, tag: v1.30.0}
  serviceAccountName: policy-server
  permissions: [{apiGroup: apps, resources: [deployments]}]
  env: [{name: A, value: "true"}, {name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}]
  annotations: {a: "1"}
  labels: {b: "no"}
  securityContexts: {container: {runAsUser: 1000000}, pod: {fsGroup: 2}}
  imagePullSecret: pull
  insecureSources: ["registry.local:5000"]
  sourceAuthorities:
  - {uri: a.example.com, certs: ["-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"]}
  - {uri: a.example.com, certs: ["-----BEGIN CERTIFICATE-----\nBB==\n-----END CERTIFICATE-----\n"]}
  verificationConfig: verify
  sigstoreTrustConfig: trust
  namespacedPoliciesCapabilities: [oci/*]
  limits: {cpu: 2, memory: 1Gi}
  requests: {cpu: 500m}
  topologySpreadConstraints: []
  minAvailable: 0
  ports: {webhook: 18443, readinessProbe: 18082, metrics: 18083}
  webhooks: PerPolicy
  workloads: Expand
  preferBuiltins: true
  workloadTemplates: {rollouts.argoproj.io: spec.template}
recommendedPolicies:
  enabled: true
  defaultPolicyMode: protect
  defaultPoliciesRegistry: registry.example.com
  skipAdditionalNamespaces: ["123"]
  userGroupPolicy: {name: users, module: {repository: kubewarden/policies/user-group-psp, tag: v0.6.2}}
`

func TestDefaultRenderingIsWhatInstallApplies(t *testing.T) {
	if diff := cmp.Diff(installed(t, manifest.InstallOptions{}), objects(t, "")); diff != "" {
		t.Errorf("rendering (-install +chart):\n%s", diff)
	}
}

func TestValuesAreTheOptionsOfInstall(t *testing.T) {
	defaults := []string{manifest.SetKubewardenDefaults}
	tests := []struct {
		name, values string
		opts         manifest.InstallOptions
	}{
		{"one replica", "replicas: 1", manifest.InstallOptions{Replicas: 1}},
		{"host network", "hostNetwork: true", manifest.InstallOptions{HostNetwork: true}},
		{"pull secrets", "imagePullSecrets: [a, {name: b}]", manifest.InstallOptions{ImagePullSecrets: []string{"a", "b"}}},
		{"pull policy", "image: {pullPolicy: Never}", manifest.InstallOptions{ImagePullPolicy: corev1.PullNever}},
		{"log level", "{logLevel: trace, policyServer: {env: [{name: KUBEWARDEN_LOG_LEVEL, value: trace}]}}", manifest.InstallOptions{LogLevel: "trace"}},
		{"own namespace", "alwaysAcceptAdmissionReviewsOnDeploymentsNamespace: false", manifest.InstallOptions{JudgeOwnNamespace: true}},
		{"mTLS", "mTLS: {enable: true, configMapName: ca}", manifest.InstallOptions{ClientCAConfigMap: "ca"}},
		{"workloads", "policyServer: {workloads: Expand, replicaCount: 3}", manifest.InstallOptions{Workloads: v1.Expand, ServerReplicas: 3}},
		{"recommended", "recommendedPolicies: {enabled: true}", manifest.InstallOptions{Sets: manifest.PolicySets{Names: defaults}}},
		{"recommended, protect", `{recommendedPolicies: {enabled: true, defaultPolicyMode: protect, skipAdditionalNamespaces: [b]}, global: {skipNamespaces: [a]}}`,
			manifest.InstallOptions{Sets: manifest.PolicySets{Names: defaults, Mode: v1.Protect, SkipNamespaces: []string{"a", "b"}}}},
		{"recommended, everywhere", `{recommendedPolicies: {enabled: true}, global: {skipNamespaces: []}}`,
			manifest.InstallOptions{Sets: manifest.PolicySets{Names: defaults, SkipNamespaces: []string{}}}},
		{"every set", "policySets: [pod-security-baseline, pod-security-restricted, best-practices, kubewarden-defaults]",
			manifest.InstallOptions{Sets: manifest.PolicySets{Names: manifest.SetNames()}}},
		{"a set, protect", "{policySets: [best-practices], recommendedPolicies: {defaultPolicyMode: protect}}",
			manifest.InstallOptions{Sets: manifest.PolicySets{Names: []string{manifest.SetBestPractices}, Mode: v1.Protect}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(installed(t, tt.opts), objects(t, tt.values)); diff != "" {
				t.Errorf("rendering (-install +chart):\n%s", diff)
			}
		})
	}
}

func TestWithoutServer(t *testing.T) {
	got := objects(t, "policyServer: {enabled: false}")
	want := installed(t, manifest.InstallOptions{WithoutServer: true})
	// The chart knows that there is nobody to bind to.
	delete(want, "ClusterRoleBinding /"+manifest.ContextWatcher)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rendering (-install +chart):\n%s", diff)
	}
}

// at is the value at a path of fields and indexes, as JSON.
func at(t *testing.T, o any, path string) string {
	t.Helper()
	for _, step := range strings.Split(path, "|") {
		switch v := o.(type) {
		case map[string]any:
			o = v[step]
		case []any:
			i := slices.IndexFunc(v, func(e any) bool { m, ok := e.(map[string]any); return ok && m["name"] == step })
			if i < 0 {
				return "nothing"
			}
			o = v[i]
		default:
			return "nothing"
		}
	}
	if o == nil {
		return "nothing"
	}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestValuesAreRendered(t *testing.T) {
	const controller, server = "Deployment warder/warder-controller", "PolicyServer /default"
	const container = "spec|template|spec|containers|controller|"
	tests := []struct{ values, object, path, want string }{
		{"", server, "spec|namespacedPoliciesCapabilities", "nothing"},
		{"policyServer: {namespacedPoliciesCapabilities: []}", server, "spec|namespacedPoliciesCapabilities", "[]"},
		{`policyServer: {namespacedPoliciesCapabilities: ["*"]}`, server, "spec|namespacedPoliciesCapabilities", `["*"]`},
		{"policyServer: {replicaCount: 0}", server, "spec|replicas", "0"},
		{"policyServer: {replicaCount: null}", server, "spec|replicas", "nothing"},
		{"policyServer: {replicaCount: 1000000}", server, "spec|replicas", "1000000"},
		{"policyServer: {minAvailable: 0}", server, "spec|minAvailable", "0"},
		{"policyServer: {maxUnavailable: 50%}", server, "spec|maxUnavailable", `"50%"`},
		{"policyServer: {topologySpreadConstraints: []}", server, "spec|topologySpreadConstraints", "[]"},
		{`policyServer: {annotations: {a: "1e3", b: "true", c: "null", d: "0x1F"}}`, server, "spec|annotations", `{"a":"1e3","b":"true","c":"null","d":"0x1F"}`},
		{"policyServer: {limits: {cpu: 2, memory: 1Gi}}", server, "spec|limits", `{"cpu":2,"memory":"1Gi"}`},
		{"policyServer: {image: {repository: kubewarden/policy-server, tag: v1.30.0}}", server, "spec|image", `"ghcr.io/kubewarden/policy-server:v1.30.0"`},
		{"policyServer: {affinity: {podAffinity: {}}}", server, "spec|affinity", `{"podAffinity":{}}`},
		{everything, server, "spec|tolerations", `[{"effect":"NoSchedule","key":"only","operator":"Equal","tolerationSeconds":1000000,"value":"1"}]`},
		{everything, server, "spec|sourceAuthorities", `{"a.example.com":["-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n","-----BEGIN CERTIFICATE-----\nBB==\n-----END CERTIFICATE-----\n"]}`},
		{everything, server, "spec|preferBuiltins", "true"},
		{everything, server, "spec|securityContexts|container|runAsUser", "1000000"},
		{everything, "ClusterRoleBinding /kubewarden-context-watcher", "subjects|policy-server|namespace", `"warder"`},
		{everything, "ServiceAccount warder/policy-server", "kind", `"ServiceAccount"`},
		{everything, "ClusterAdmissionPolicy /users", "spec|module", `"registry://registry.example.com/kubewarden/policies/user-group-psp:v0.6.2"`},
		{everything, "ClusterAdmissionPolicy /users", "spec|failurePolicy", `"Fail"`},
		{everything, "ClusterAdmissionPolicy /no-privileged-pod", "spec|module", `"builtin://pod-privileged"`},
		{"recommendedPolicies: {enabled: true, podPrivilegedPolicy: {settings: {skip_init_containers: true}}}", "ClusterAdmissionPolicy /no-privileged-pod",
			"spec|settings", `{"skip_ephemeral_containers":false,"skip_init_containers":true}`},
		{everything, controller, container + "image", `"registry.example.com:5000/mirror/warder:v2@sha256:` + strings.Repeat("a", 64) + `"`},
		{`{global: {cattle: {systemDefaultRegistry: ""}}, image: {repository: r.example.com/warder, tag: "1"}}`, controller, container + "image", `"r.example.com/warder:1"`},
		{everything, controller, "spec|template|metadata|annotations", `{"number":"1e3","truth":"true"}`},
		{everything, controller, container + "ports|metrics|containerPort", "18088"},
		{"replicas: 1", "PodDisruptionBudget warder/warder-controller", "kind", "nothing"},
		{"resources: {controller: {limits: {memory: null, cpu: 1}}}", controller, container + "resources|limits", `{"cpu":1}`},
		{"policyServer: {permissions: []}", "ClusterRole /warder-context-reader", "rules",
			`[{"apiGroups":["authorization.k8s.io"],"resources":["subjectaccessreviews"],"verbs":["create"]}]`},
		{everything, controller, container + "args", `["controller","--leader-elect","--deployments-namespace=warder",` +
			`"--policy-server-image=registry.example.com:5000/mirror/warder:v2@sha256:` + strings.Repeat("a", 64) + `",` +
			`"--webhook-service-name=kubewarden-controller-webhook-service","--webhook-server-port=19443","--health-probe-bind-address=:18081",` +
			`"--metrics-bind-address=:18088","--log-level=debug","--always-accept-admission-reviews-on-deployments-namespace=false",` +
			`"--host-network","--client-ca-configmap-name=client-ca","--image-pull-secrets=one,two"]`},
		{"{auditScanner: {enable: false}, telemetry: {metrics: false, mode: custom}}", server, "kind", `"PolicyServer"`},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.path, "|", ".")+" of "+tt.object, func(t *testing.T) {
			if got := at(t, objects(t, tt.values)[tt.object], tt.path); got != tt.want {
				t.Errorf("have %s, want %s, with the values:\n%s", got, tt.want, tt.values)
			}
		})
	}
}

func TestValuesAreRefused(t *testing.T) {
	tests := []struct{ values, want string }{
		{"replicaCount: 2", "additional properties 'replicaCount' not allowed"},
		{"policyServer: {replicas: 2}", "at '/policyServer': additional properties 'replicas' not allowed"},
		{"global: {toleration: []}", "at '/global': additional properties 'toleration' not allowed"},
		{`replicas: "2"`, "at '/replicas': got string, want integer"},
		{"replicas: 1.5", "at '/replicas'"},
		{"policyServer: {env: [{name: A, value: true}]}", "at '/policyServer/env/0/value': got boolean, want string"},
		{"policyServer: {annotations: {a: 1}}", "at '/policyServer/annotations/a': got number, want string"},
		{"policyServer: {minAvailable: half}", "at '/policyServer/minAvailable'"},
		{"policyServer: {minAvailable: 1, maxUnavailable: 1}", "policyServer.minAvailable and policyServer.maxUnavailable: set one of them"},
		{"policyServer: {webhooks: Single}", "at '/policyServer/webhooks': value must be one of '', 'Bundled', 'PerPolicy'"},
		{"policyServer: {sourceAuthorities: [{uri: a, certs: [x]}]}", "at '/policyServer/sourceAuthorities/0/certs/0'"},
		{"policyServer: {ports: {webhook: 0}}", "at '/policyServer/ports/webhook'"},
		{"logLevel: loud", "at '/logLevel': value must be one of 'trace', 'debug', 'info', 'warn', 'error'"},
		{"image: {tag: 'a b'}", "at '/image/tag'"},
		{"recommendedPolicies: {defaultPolicyMode: audit}", "at '/recommendedPolicies/defaultPolicyMode': value must be one of 'monitor', 'protect'"},
		{"recommendedPolicies: {enabled: true, userGroupPolicy: {module: {repository: x/y}}}", "recommendedPolicies: module x/y: tag: say which"},
		{"{recommendedPolicies: {enabled: true}, policyServer: {enabled: false}}", "set policyServer.enabled to true"},
		{"policySets: [pod-security]", "at '/policySets/0': value must be one of"},
		{"{policySets: [best-practices], policyServer: {enabled: false}}", "set policyServer.enabled to true"},
		{"mTLS: {enable: true}", "mTLS.configMapName: name the ConfigMap"},
		{"auditScanner: {enable: true}", "auditScanner.enable: this version of warder has no audit scanner; set it to false"},
		{"auditScanner: {policyReporter: true}", "auditScanner.policyReporter: this chart has no Policy Reporter"},
		{"telemetry: {metrics: true}", "telemetry.metrics: this version of warder sends nothing to OpenTelemetry"},
		{"telemetry: {tracing: true}", "telemetry.tracing: this version"},
	}
	for _, tt := range tests {
		t.Run(tt.values, func(t *testing.T) {
			if _, err := render(t, "warder", tt.values); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
}

// TestEveryObjectIsOfItsKind decodes strictly: a field in the wrong place is none.
func TestEveryObjectIsOfItsKind(t *testing.T) {
	types := runtime.NewScheme()
	if err := scheme.AddToScheme(types); err != nil {
		t.Fatal(err)
	}
	ours := map[string]any{"PolicyServer": &v1.PolicyServer{}, "ClusterAdmissionPolicy": &v1.ClusterAdmissionPolicy{}}
	for name, values := range map[string]string{"default": "", "everything": everything, "recommended": "recommendedPolicies: {enabled: true}"} {
		rel, err := render(t, "12345", values)
		if err != nil {
			t.Fatal(err)
		}
		all := parse(t, rel.Manifest)
		for _, h := range rel.Hooks {
			maps.Copy(all, parse(t, h.Manifest))
		}
		for key, object := range all {
			u := unstructured.Unstructured{Object: object}
			into := ours[u.GetKind()]
			if into == nil {
				if into, err = types.New(u.GroupVersionKind()); err != nil {
					t.Errorf("%s: %s: %v", name, key, err)
					continue
				}
			}
			into = reflect.New(reflect.TypeOf(into).Elem()).Interface()
			text, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.UnmarshalStrict(text, into); err != nil {
				t.Errorf("%s: %s: %v", name, key, err)
			}
			if ns := u.GetNamespace(); ns != "" && ns != "12345" {
				t.Errorf("%s: %s is in another namespace", name, key)
			}
		}
	}
}

func TestHooksAreNotTakenForTheController(t *testing.T) {
	rel, err := render(t, "warder", "")
	if err != nil {
		t.Fatal(err)
	}
	events := map[string]int{}
	for _, h := range rel.Hooks {
		for _, e := range h.Events {
			events[string(e)]++
		}
		for _, o := range parse(t, h.Manifest) {
			labels := at(t, o, "metadata|labels")
			if pod := at(t, o, "spec|template|metadata|labels"); h.Kind == "Job" {
				labels = pod
			}
			if !strings.Contains(labels, `"app.kubernetes.io/component":"hook"`) {
				t.Errorf("labels of %s: %s", h.Path, labels)
			}
		}
	}
	if diff := cmp.Diff(map[string]int{"pre-upgrade": 4, "pre-delete": 6}, events); diff != "" {
		t.Errorf("objects of hooks (-want +got):\n%s", diff)
	}
	if rel, err = render(t, "warder", "{preUpgradeHook: {enabled: false}, preDeleteHook: {enabled: false}}"); err != nil || len(rel.Hooks) > 0 {
		t.Errorf("hooks that are switched off: %v, %v", rel.Hooks, err)
	}
}

// TestRenderingsAreEqual would find a map in the order of the day, a random number
// or a time: Argo CD would apply that again and again.
func TestRenderingsAreEqual(t *testing.T) {
	text := func() string {
		rel, err := render(t, "warder", everything)
		if err != nil {
			t.Fatal(err)
		}
		all := rel.Manifest
		for _, h := range rel.Hooks {
			all += h.Manifest
		}
		return all
	}
	first := text()
	for range 5 {
		if diff := cmp.Diff(first, text()); diff != "" {
			t.Fatalf("another rendering (-first +later):\n%s", diff)
		}
	}
	for _, f := range load(t).Templates {
		for _, word := range []string{"lookup", "rand", "now", "genCA", "genSigned", "uuid"} {
			if strings.Contains(string(f.Data), "{{ "+word) || strings.Contains(string(f.Data), "("+word+" ") {
				t.Errorf("%s calls %s", f.Name, word)
			}
		}
	}
}

// TestSchemaAndValuesNameEachOther: a value without a default would not be found
// by those who read values.yaml.
func TestSchemaAndValuesNameEachOther(t *testing.T) {
	read := func(name string, into any) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			t.Fatal(err)
		}
	}
	var schema, values map[string]any
	read("values.schema.json", &schema)
	read("values.yaml", &values)
	definitions, _ := schema["definitions"].(map[string]any)
	var walk func(path string, schema, value any)
	walk = func(path string, schema, value any) {
		s, ok := schema.(map[string]any)
		if !ok {
			return
		}
		if r, ok := s["$ref"].(string); ok {
			s, _ = definitions[strings.TrimPrefix(r, "#/definitions/")].(map[string]any)
		}
		properties, ok := s["properties"].(map[string]any)
		v, isMap := value.(map[string]any)
		if !ok || !isMap || len(v) == 0 {
			return
		}
		for name := range properties {
			if _, ok := v[name]; !ok {
				t.Errorf("values.yaml has no %s.%s", path, name)
			}
			walk(path+"."+name, properties[name], v[name])
		}
	}
	walk("", schema, values)
	if at(t, schema, "$schema") != `"http://json-schema.org/draft-07/schema#"` {
		t.Error("the schema is not of draft 7")
	}
}

func TestLint(t *testing.T) {
	for _, values := range []string{"", everything} {
		vals := map[string]any{}
		if err := yaml.Unmarshal([]byte(values), &vals); err != nil {
			t.Fatal(err)
		}
		linted := lint.RunAll(dir, vals, "warder", lint.WithKubeVersion(kubeVersion()))
		for _, m := range linted.Messages {
			if m.Severity >= support.WarningSev {
				t.Errorf("%s", m)
			}
		}
	}
}

func TestNotesSayWhatToDo(t *testing.T) {
	for values, want := range map[string]string{
		"":                                     "Nothing is refused until you apply a policy.",
		"policyServer: {enabled: false}":       "There is no policy server yet",
		"recommendedPolicies: {enabled: true}": "they refuse nothing",
	} {
		rel, err := render(t, "warder", values)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(rel.Info.Notes, want) {
			t.Errorf("notes with %q:\n%s", values, rel.Info.Notes)
		}
	}
}
