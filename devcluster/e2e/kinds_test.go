package e2e

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/controller"
	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/manifest"
	"github.com/warder-dev/warder/policy"
)

// kindCase is an object, and who refuses it with what words.
type kindCase struct {
	name, kind, spec string
	// schema is what the API server says by itself, and webhook what the
	// controller says; "" is yes.
	schema, webhook string
}

const kindRule = "rules: [{apiGroups: [''], apiVersions: [v1], resources: [pods], operations: [CREATE]}]\n"

func kindCases() []kindCase {
	const single = "module: builtin://any\nmutating: false\n"
	const group = kindRule + "message: refused\n"
	members := func(names ...string) string {
		var list []string
		for _, name := range names {
			list = append(list, name+": {module: builtin://any}")
		}
		return "policies: {" + strings.Join(list, ", ") + "}\n"
	}
	rule := func(group, version, resource string) string {
		return fmt.Sprintf("rules: [{apiGroups: ['%s'], apiVersions: ['%s'], resources: ['%s'], operations: [CREATE]}]\n", group, version, resource)
	}
	const wildcards = "apiGroups/resources cannot use wildcards when using AdmissionPolicy or AdmissionPolicyGroup"
	return []kindCase{
		{"good", "ClusterAdmissionPolicy", kindRule + single, "", ""},
		{"good", "AdmissionPolicy", kindRule + single, "", ""},
		{"good", "AdmissionPolicyGroup", group + members("a") + "expression: a()\n", "", ""},
		{"good", "ClusterAdmissionPolicyGroup", group + members("a", "b") + "expression: a() || !b()\n", "", ""},
		{"good", "PolicyServer", "replicas: 1\n", "", ""},

		{"no rules", "ClusterAdmissionPolicy", "rules: []\n" + single, "spec.rules", "spec.rules"},
		{"empty resource", "ClusterAdmissionPolicy", rule("", "v1", "") + single, "spec.rules[0].resources[0]", "spec.rules[0].resources[0]"},
		{"wildcards", "AdmissionPolicy", rule("*", "v1", "*") + single, wildcards, wildcards},
		{"wildcards", "AdmissionPolicyGroup", rule("*", "v1", "*/*") + "message: refused\n" + members("a") + "expression: a()\n", wildcards, wildcards},
		{"policy reports", "AdmissionPolicy", rule("wgpolicyk8s.io", "v1alpha2", "policyreports") + single, "{APIGroup: wgpolicyk8s.io", "{APIGroup: wgpolicyk8s.io"},
		{"open reports", "AdmissionPolicy", rule("openreports.io", "v1alpha1", "reports") + single, "{APIGroup: openreports.io", "{APIGroup: openreports.io"},
		{"condition without name", "ClusterAdmissionPolicy", kindRule + single + "matchConditions: [{name: '', expression: 'true'}]\n", "spec.matchConditions[0].name", "spec.matchConditions[0].name"},
		{"condition that does not compile", "ClusterAdmissionPolicy", kindRule + single + "matchConditions: [{name: a, expression: 'objekt.a'}]\n", "", "undeclared reference to 'objekt'"},
		{"condition that is no boolean", "ClusterAdmissionPolicy", kindRule + single + "matchConditions: [{name: a, expression: '1'}]\n", "", "must evaluate to bool"},
		{"evaluation too long", "ClusterAdmissionPolicy", kindRule + single + "timeoutSeconds: 5\ntimeoutEvalSeconds: 6\n", "timeoutEvalSeconds cannot be greater than timeoutSeconds", "timeoutEvalSeconds cannot be greater than timeoutSeconds"},
		{"no members", "ClusterAdmissionPolicyGroup", group + "policies: {}\nexpression: 'true'\n", "spec.policies", "spec.policies"},
		{"reserved name", "AdmissionPolicyGroup", group + members("in") + "expression: 'true'\n", "no reserved word of CEL", "no reserved word of CEL"},
		{"no expression", "AdmissionPolicyGroup", group + members("a") + "expression: ''\n", "spec.expression", "spec.expression"},
		{"expression of nobody", "AdmissionPolicyGroup", group + members("a") + "expression: b()\n", "", "the group has no member b"},
		{"member too long", "ClusterAdmissionPolicyGroup", group + "timeoutSeconds: 5\npolicies: {a: {module: builtin://any, timeoutEvalSeconds: 6}}\nexpression: a()\n",
			"timeoutEvalSeconds of a policy cannot be greater than timeoutSeconds of the group", "timeoutEvalSeconds of a policy cannot be greater than timeoutSeconds of the group"},
		{"members together too long", "ClusterAdmissionPolicyGroup", group + "timeoutSeconds: 10\nexpression: a() && b()\npolicies: {a: {module: x, timeoutEvalSeconds: 6}, b: {module: x, timeoutEvalSeconds: 5}}\n",
			"", "the sum of all members' timeoutEvalSeconds cannot be greater than group timeoutSeconds (10)"},
		{"settings", "ClusterAdmissionPolicy", kindRule + "module: builtin://picky\nmutating: false\nsettings: {a: 1}\n", "", `spec.settings: Invalid value: {"a":1}: picky takes no settings`},
		{"side effects", "ClusterAdmissionPolicy", kindRule + single + "sideEffects: Some\n", "", "spec.sideEffects: Unsupported value"},

		{"both budgets", "PolicyServer", "minAvailable: 1\nmaxUnavailable: 1\n", "minAvailable and maxUnavailable cannot be both set", "minAvailable and maxUnavailable cannot be both set"},
		{"one port", "PolicyServer", "webhookPort: 8081\n", "readinessProbePort and webhookPort must be different", "readinessProbePort and webhookPort must be different"},
		{"no secret", "PolicyServer", "imagePullSecret: nothing\n", "", `there is no secret "nothing" in namespace "warder"`},
		{"wrong secret", "PolicyServer", "imagePullSecret: opaque\n", "", "is not of type kubernetes.io/dockerconfigjson but Opaque"},
		{"unknown capability", "PolicyServer", "namespacedPoliciesCapabilities: [oci/v9]\n", "", `unknown segment "v9"`},
		{"request over limit", "PolicyServer", "limits: {cpu: 1}\nrequests: {cpu: 2}\n", "", "request must be less than or equal to cpu limit"},
	}
}

// kindObject makes the object of a case, of that version.
func kindObject(t *testing.T, c kindCase, version string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{}}
	var spec map[string]any
	if err := yaml.Unmarshal([]byte(c.spec), &spec); err != nil {
		t.Fatal(err)
	}
	o.Object["spec"] = spec
	o.SetAPIVersion("policies.kubewarden.io/" + version)
	o.SetKind(c.kind)
	o.SetName(strings.ReplaceAll(c.name, " ", "-"))
	if v1.Kind(c.kind).Namespaced() {
		o.SetNamespace("default")
	}
	return o
}

// kindClient installs the custom resources that warder is made of.
func kindClient(t *testing.T, c *cluster.Cluster) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	cfg, err := c.Config()
	if err != nil {
		t.Fatal(err)
	}
	cl, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	folder := os.DirFS(filepath.Join("..", "..", "manifest", "crds"))
	files, err := fs.Glob(folder, "*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d custom resource definitions: %v", len(files), err)
	}
	for _, file := range files {
		text, err := fs.ReadFile(folder, file)
		if err != nil {
			t.Fatal(err)
		}
		crd := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, crd); err != nil {
			t.Fatal(err)
		}
		if err := cl.Create(t.Context(), crd); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "warder"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "warder", Name: "opaque"}},
	} {
		if err := cl.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return cl
}

// serveKinds serves the webhooks of the controller on this machine, and registers
// them.
func serveKinds(t *testing.T, cl client.Client) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	handlers := controller.KindHandlers(controller.KindOptions{
		Client: cl, Namespace: "warder",
		Settings: func(_ context.Context, p policy.Policy) error {
			if p.Module == "builtin://picky" {
				return errors.New("picky takes no settings")
			}
			return nil
		},
	})
	for path, handler := range handlers {
		mux.Handle(path, handler)
	}
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	where := manifest.KindWebhooks{URL: server.URL, CABundle: ca}
	for _, o := range []client.Object{manifest.KindValidating(where), manifest.KindMutating(where)} {
		if err := cl.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return server
}

func wantRefusal(t *testing.T, c kindCase, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s %q: %v, want %q", c.kind, c.name, err, want)
	}
}

// TestKinds applies good and bad objects, first while nothing of warder runs, and
// then with the webhooks of the controller.
func TestKinds(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, cluster.Options{WithoutControllerManager: true}), t.Context()
	cl := kindClient(t, c)
	dry := &client.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	eventually(t, "the kinds are served", func(ctx context.Context) error {
		for _, tt := range kindCases()[:5] {
			if err := cl.Create(ctx, kindObject(t, tt, "v1"), dry); err != nil {
				return err
			}
		}
		return nil
	})
	for _, tt := range kindCases() {
		wantRefusal(t, tt, cl.Create(ctx, kindObject(t, tt, "v1"), dry), tt.schema)
	}

	server := serveKinds(t, cl)
	probe := kindObject(t, kindCases()[0], "v1")
	eventually(t, "the webhooks are asked", func(ctx context.Context) error {
		o := probe.DeepCopy()
		if err := cl.Create(ctx, o, dry); err != nil {
			return err
		}
		if len(o.GetFinalizers()) == 0 {
			return errors.New("no finalizer is added")
		}
		return cl.Create(ctx, kindObject(t, kindCase{name: "p", kind: "PolicyServer", spec: "replicas: 1"}, "v1"), dry)
	})
	for _, tt := range kindCases() {
		wantRefusal(t, tt, cl.Create(ctx, kindObject(t, tt, "v1"), dry), tt.webhook)
	}

	old := kindObject(t, kindCase{name: "old", kind: "ClusterAdmissionPolicy", spec: kindRule + "module: builtin://picky\nmutating: false\nsettings: {a: 1}\n"}, "v1alpha2")
	if err := cl.Create(ctx, old); err == nil || !strings.Contains(err.Error(), "picky takes no settings") {
		t.Errorf("an object of v1alpha2: %v, want the webhook's refusal", err)
	}
	updateKinds(ctx, t, cl, probe)

	if err := cl.Create(ctx, probe); err != nil {
		t.Fatal(err)
	}
	server.Close()
	deleteKinds(ctx, t, cl, probe)
}

// updateKinds changes what may not be changed, and what may be.
func updateKinds(ctx context.Context, t *testing.T, cl client.Client, like *unstructured.Unstructured) {
	t.Helper()
	o := like.DeepCopy()
	o.SetName("updated")
	if err := cl.Create(ctx, o); err != nil {
		t.Fatal(err)
	}
	if server, _, _ := unstructured.NestedString(o.Object, "spec", "policyServer"); server != "default" {
		t.Errorf("policy server %q, want default", server)
	}
	for _, tt := range []struct{ field, value, want string }{
		{"policyServer", "blue", "the field is immutable"},
		{"mode", "monitor", "field cannot transition from protect to monitor. Recreate instead."},
		{"failurePolicy", "Ignore", ""},
	} {
		changed := o.DeepCopy()
		if err := unstructured.SetNestedField(changed.Object, tt.value, "spec", tt.field); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, kindCase{name: tt.field, kind: o.GetKind()}, cl.Update(ctx, changed), tt.want)
	}
}

// deleteKinds shows that a policy can be deleted, and let go of, while nobody
// answers for the webhooks.
func deleteKinds(ctx context.Context, t *testing.T, cl client.Client, o *unstructured.Unstructured) {
	t.Helper()
	labelled := o.DeepCopy()
	labelled.SetLabels(map[string]string{"a": "b"})
	if err := cl.Update(ctx, labelled); err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
		t.Errorf("an update while nobody answers: %v, want it refused", err)
	}
	if err := cl.Delete(ctx, o); err != nil {
		t.Fatalf("delete: %v", err)
	}
	if err := cl.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil || o.GetDeletionTimestamp() == nil {
		t.Fatalf("the finalizer does not hold the policy: %v", err)
	}
	o.SetFinalizers(nil)
	if err := cl.Update(ctx, o); err != nil {
		t.Fatalf("removing the finalizer: %v", err)
	}
	if err := cl.Get(ctx, client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
		t.Errorf("the policy is still there: %v", err)
	}
}
