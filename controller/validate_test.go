package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
	"github.com/warder-dev/warder/policy"
)

// fakeCluster has a policy server called default, and what policy servers name.
func fakeCluster(t testing.TB) client.Reader {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "warder", Name: name} }
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&v1.PolicyServer{ObjectMeta: metav1.ObjectMeta{Name: "default"}},
		&v1.PolicyServer{ObjectMeta: metav1.ObjectMeta{Name: "builtins"}, Spec: v1.PolicyServerSpec{PreferBuiltins: true}},
		&corev1.Secret{ObjectMeta: in("pull"), Type: corev1.SecretTypeDockerConfigJson},
		&corev1.Secret{ObjectMeta: in("opaque"), Type: corev1.SecretTypeOpaque},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "elsewhere"}, Type: corev1.SecretTypeDockerConfigJson},
		&corev1.ConfigMap{ObjectMeta: in("trust"), Data: map[string]string{trustConfigKey: "{}"}},
		&corev1.ConfigMap{ObjectMeta: in("verify"), Data: map[string]string{verificationKey: "{}"}},
		&corev1.ConfigMap{ObjectMeta: in("empty")},
	).Build()
}

// settingsOfTests is a module that wants "ok: true", one that is not there, and
// one that takes too long.
func settingsOfTests(_ context.Context, p policy.Policy) error {
	switch {
	case p.Module == "builtin://none":
		return &ModuleError{errors.New("no built-in policy has this name; did you mean some?")}
	case p.Module == "registry://ghcr.io/acme/preferred:v1" && p.PreferBuiltin:
		return errors.New("the built-in does not take them")
	case p.Module == "builtin://slow":
		return fmt.Errorf("module: %w", context.DeadlineExceeded)
	case p.Module == "builtin://picky" && string(p.Settings) != `{"ok":true}`:
		return errors.New("ok must be true")
	}
	return nil
}

// ask sends an object to a webhook; old is empty for one that is created.
func ask(t testing.TB, path, old, object string) *admissionv1.AdmissionResponse {
	t.Helper()
	request := &admissionv1.AdmissionRequest{UID: "u", Operation: admissionv1.Create, Namespace: "shop"}
	request.Object.Raw = asJSON(t, object)
	if old != "" {
		request.Operation, request.OldObject.Raw = admissionv1.Update, asJSON(t, old)
	}
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	if err != nil {
		t.Fatal(err)
	}
	handler := KindHandlers(KindOptions{Client: fakeCluster(t), Namespace: "warder", Settings: settingsOfTests})[path]
	if handler == nil {
		t.Fatalf("nothing is served at %s", path)
	}
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || review.Response == nil || review.Response.UID != "u" {
		t.Fatalf("%s answers %d %s (%v)", path, w.Code, w.Body, err)
	}
	return review.Response
}

func asJSON(t testing.TB, text string) []byte {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return data
}

// Specs that are good, to which tests add lines.
const (
	podRule   = "rules: [{apiGroups: [''], apiVersions: [v1], resources: [pods], operations: [CREATE]}]\n"
	goodSpec  = podRule + "mutating: false\nmodule: builtin://any\npolicyServer: default\n"
	goodGroup = podRule + "policyServer: default\nmessage: refused\nexpression: a() && b()\npolicies: {a: {module: builtin://any}, b: {module: builtin://any}}\n"
)

// with returns lines in place of those of the same keys.
func having(spec, lines string) string {
	var kept []string
	for line := range strings.Lines(spec) {
		key, _, _ := strings.Cut(line, ":")
		if !strings.Contains("\n"+lines, "\n"+key+":") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "") + lines
}

// object is an object of a kind with that spec.
func object(kind, spec string) string {
	return "apiVersion: policies.kubewarden.io/v1\nkind: " + kind + "\nmetadata: {name: p}\nspec:\n  " + strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ")
}

const (
	ap, clusterAP, apg, capg = "AdmissionPolicy", "ClusterAdmissionPolicy", "AdmissionPolicyGroup", "ClusterAdmissionPolicyGroup"
)

// check holds an answer to what is wanted: "" is yes, "warning: …" is yes with a
// warning, and everything else are messages that the answer has, each in a line.
func check(t *testing.T, have *admissionv1.AdmissionResponse, want string) {
	t.Helper()
	warning, warns := strings.CutPrefix(want, "warning: ")
	switch {
	case want == "" && (!have.Allowed || len(have.Warnings) > 0),
		warns && (!have.Allowed || !strings.Contains(strings.Join(have.Warnings, "\n"), warning)):
		t.Errorf("allowed %t, %v, warnings %q; want %q", have.Allowed, message(have), have.Warnings, want)
	case want == "" || warns:
	case have.Allowed:
		t.Errorf("is allowed, want %q", want)
	default:
		for line := range strings.Lines(want) {
			if !strings.Contains(message(have), strings.TrimSpace(line)) {
				t.Errorf("message %q, want %q", message(have), line)
			}
		}
		if n := strings.Count(want, "\n") + 1; have.Result.Details == nil || len(have.Result.Details.Causes) != n {
			t.Errorf("%q has other than %d causes", message(have), n)
		}
	}
}

func message(r *admissionv1.AdmissionResponse) string {
	if r.Result == nil {
		return ""
	}
	return r.Result.Message
}

func TestPoliciesAreValidated(t *testing.T) {
	rule := func(groups, versions, resources, operations string) string {
		return fmt.Sprintf("rules: [{apiGroups: [%s], apiVersions: [%s], resources: [%s], operations: [%s]}]\n", groups, versions, resources, operations)
	}
	var conditions strings.Builder
	for i := range 65 {
		_, _ = fmt.Fprintf(&conditions, "{name: c%d, expression: 'true'}, ", i)
	}
	for _, tt := range []struct{ name, kind, spec, want string }{
		{"good AdmissionPolicy", ap, "", ""},
		{"good ClusterAdmissionPolicy", clusterAP, "contextAwareResources: [{apiVersion: v1, kind: Pod}]\n", ""},
		{"good AdmissionPolicyGroup", apg, "", ""},
		{"good ClusterAdmissionPolicyGroup", capg, "", ""},
		{"module without a scheme", clusterAP, "module: ghcr.io/acme/p:v1\n", ""},
		{"no module", clusterAP, "module: ''\n", "spec.module: Required value: must be non-empty"},

		{"no rules", clusterAP, "rules: []\n", "spec.rules: Required value: a value must be specified"},
		{"no operations", clusterAP, rule("''", "v1", "pods", ""), "spec.rules[0].operations: Required value: a value must be specified"},
		{"no versions", clusterAP, rule("''", "", "pods", "CREATE"), "spec.rules[0]: Required value: apiVersions and resources must have specified values"},
		{"no resources", apg, rule("''", "v1", "", "CREATE"), "spec.rules[0]: Required value: apiVersions and resources must have specified values"},
		{"empty operation", clusterAP, rule("''", "v1", "pods", "CREATE, ''"), "spec.rules[0].operations[1]: Required value: must be non-empty"},
		{"empty version", clusterAP, rule("''", "''", "pods", "CREATE"), "spec.rules[0].apiVersions[0]: Required value: must be non-empty"},
		{"empty resource", clusterAP, rule("''", "v1", "''", "CREATE"), "spec.rules[0].resources[0]: Required value: must be non-empty"},
		{"no groups", clusterAP, rule("", "v1", "pods", "CREATE"), `spec.rules[0].apiGroups: Invalid value: is missing or empty; say ["*"] for all`},
		{"unknown operation", clusterAP, rule("''", "v1", "pods", "PATCH"), `spec.rules[0].operations[0]: Invalid value: want CREATE, UPDATE, DELETE, CONNECT or *, have "PATCH"`},
		{"all operations and one", clusterAP, rule("''", "v1", "pods", "'*', CREATE"), "spec.rules[0].operations: Invalid value: No other elements can be defined when '*' is used"},
		{"a resource within another", clusterAP, rule("''", "v1", "'pods/*', pods/log", "CREATE"), `spec.rules[0].resources[1]: Invalid value: "pods/log" is part of "pods/*" already; leave one out`},

		{"everything in one namespace", ap, rule("'*'", "v1", "'*'", "CREATE"), "spec.rules[0]: Forbidden: apiGroups/resources cannot use wildcards when using AdmissionPolicy or AdmissionPolicyGroup"},
		{"everything with subresources in one namespace", apg, rule("'*'", "v1", "'*/*'", "CREATE"), "spec.rules[0]: Forbidden: apiGroups/resources cannot use wildcards"},
		{"all versions and resources of one group", ap, rule("apps", "'*'", "'*'", "CREATE"), ""},
		{"one resource of all groups", ap, rule("'*'", "'*'", "pods", "CREATE"), ""},
		{"policy reports", ap, rule("wgpolicyk8s.io", "v1alpha2", "policyreports", "CREATE"), "spec.rules[0]: Forbidden: {APIGroup: wgpolicyk8s.io, Resource: policyreports} resources cannot be targeted by AdmissionPolicy or AdmissionPolicyGroup"},
		{"status of policy reports", apg, rule("wgpolicyk8s.io", "v1alpha2", "policyreports/status", "UPDATE"), "spec.rules[0]: Forbidden: {APIGroup: wgpolicyk8s.io, Resource: policyreports}"},
		{"policy reports among all", ap, rule("wgpolicyk8s.io", "v1alpha2", "'*'", "CREATE"), "spec.rules[0]: Forbidden: {APIGroup: wgpolicyk8s.io"},
		{"policy reports of all groups", ap, rule("'*'", "'*'", "policyreports", "CREATE"), "spec.rules[0]: Forbidden: {APIGroup: wgpolicyk8s.io"},
		{"open reports", apg, rule("openreports.io", "v1alpha1", "reports", "CREATE"), "spec.rules[0]: Forbidden: {APIGroup: openreports.io, Resource: reports}"},
		{"reports of the whole cluster", ap, rule("wgpolicyk8s.io", "v1alpha2", "clusterpolicyreports", "CREATE"), ""},
		{"policy reports for a cluster policy", clusterAP, rule("wgpolicyk8s.io", "v1alpha2", "policyreports", "CREATE"), ""},

		{"65 conditions", clusterAP, "matchConditions: [" + conditions.String() + "]\n", "spec.matchConditions: Too many: 65: must have at most 64 items"},
		{"condition without expression", clusterAP, "matchConditions: [{name: a, expression: ' '}]\n", "spec.matchConditions[0].expression: Required value"},
		{"condition without name", clusterAP, "matchConditions: [{name: '', expression: 'true'}]\n", "spec.matchConditions[0].name: Required value"},
		{"condition with a strange name", clusterAP, "matchConditions: [{name: 'a b', expression: 'true'}]\n", `spec.matchConditions[0].name: Invalid value: "a b": name part must consist of`},
		{"two conditions of one name", capg, "matchConditions: [{name: a, expression: 'true'}, {name: a, expression: 'true'}]\n", `spec.matchConditions[1].name: Duplicate value: "a"`},
		{"condition that is no boolean", ap, "matchConditions: [{name: a, expression: '1'}]\n", `spec.matchConditions[0].expression: Invalid value: "1": must evaluate to bool but got int`},
		{"condition that does not compile", apg, "matchConditions: [{name: a, expression: 'objekt.a'}]\n", `spec.matchConditions[0].expression: Invalid value: "objekt.a": compilation failed`},
		{"condition with authorizer", clusterAP, "matchConditions: [{name: a, expression: \"authorizer.group('').resource('pods').check('get').allowed()\"}]\n", ""},

		{"bad selectors", clusterAP, "objectSelector: {matchLabels: {'a b': c}}\nnamespaceSelector: {matchExpressions: [{key: a, operator: In}]}\n",
			"spec.objectSelector.matchLabels: Invalid value: \"a b\"\nspec.namespaceSelector.matchExpressions[0].values: Required value"},
		{"side effects that no webhook may have", ap, "sideEffects: Some\n", `spec.sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"`},
		{"unknown matchPolicy", ap, "matchPolicy: Fuzzy\n", `spec.matchPolicy: Unsupported value: "Fuzzy"`},
		{"unknown failurePolicy", ap, "failurePolicy: Panic\n", `spec.failurePolicy: Invalid value: want Fail or Ignore, have "Panic"`},
		{"unknown mode", ap, "mode: audit\n", `spec.mode: Invalid value: want monitor or protect, have "audit"`},

		{"evaluation longer than the webhook", clusterAP, "timeoutSeconds: 5\ntimeoutEvalSeconds: 6\n", "spec.timeoutEvalSeconds: Invalid value: 6: timeoutEvalSeconds cannot be greater than timeoutSeconds"},
		{"evaluation as long as the webhook", clusterAP, "timeoutSeconds: 5\ntimeoutEvalSeconds: 5\n", ""},
		{"webhook too long", clusterAP, "timeoutSeconds: 31\n", "spec.timeoutSeconds: Invalid value: 31: should be from 2 to 30"},

		{"no members", capg, "policies: {}\n", "spec.policies: Required value: policy groups must have at least one policy member\nspec.expression: Invalid value: \"a() && b()\": compilation failed: 1:1: the group has no member a"},
		{"member with a reserved name", apg, "policies: {in: {module: builtin://any}}\nexpression: 'true'\n", `spec.policies: Invalid value: "in": policy group member name is invalid`},
		{"member with a digit in front", apg, "policies: {0a: {module: builtin://any}}\nexpression: 'true'\n", `spec.policies: Invalid value: "0a": policy group member name is invalid`},
		{"member with a strange name and no module", apg, "policies: {'p!ol.ic/y': {}}\nexpression: 'true'\n",
			"spec.policies: Invalid value: \"p!ol.ic/y\": policy group member name is invalid\nspec.policies[p!ol.ic/y].module: Required value: must be non-empty"},
		{"no expression", apg, "expression: ''\n", "spec.expression: Required value: must be non-empty"},
		{"no message", apg, "message: ''\n", "spec.message: Required value: must be non-empty"},
		{"expression that is no boolean", capg, "expression: '123'\n", `spec.expression: Invalid value: "123": compilation failed: 1:1: a group is made of yes and no`},
		{"expression with another operator", capg, "expression: 2 > 1\n", `spec.expression: Invalid value: "2 > 1": compilation failed`},
		{"expression that asks nobody known", capg, "expression: a() && bb()\n", "1:8: the group has no member bb; it has a, b"},
		{"member longer than the group", apg, "timeoutSeconds: 10\npolicies: {a: {module: builtin://any, timeoutEvalSeconds: 11}}\nexpression: a()\n",
			"spec.policies[a].timeoutEvalSeconds: Invalid value: 11: timeoutEvalSeconds cannot be greater than group timeoutSeconds\n" +
				"spec.policies: Invalid value: 11: the sum of all members' timeoutEvalSeconds cannot be greater than group timeoutSeconds (10)"},
		{"members together longer than any webhook", apg, "policies: {a: {module: builtin://any, timeoutEvalSeconds: 16}, b: {module: builtin://any, timeoutEvalSeconds: 15}}\n",
			"spec.policies: Invalid value: 31: the sum of all members' timeoutEvalSeconds cannot be greater than 30 (Kubernetes webhook max timeout)"},
		{"member that is not asked", apg, "expression: a()\n", "warning: spec.policies[b]: the expression does not ask it"},

		{"settings that the module refuses", clusterAP, "module: builtin://picky\nsettings: {ok: false}\n", `spec.settings: Invalid value: {"ok":false}: ok must be true`},
		{"no settings, which the module refuses", clusterAP, "module: builtin://picky\n", `spec.settings: Invalid value: null: ok must be true`},
		{"settings that the built-in of the server refuses", clusterAP, "policyServer: builtins\nmodule: ghcr.io/acme/preferred:v1\n", "spec.settings: Invalid value: null: the built-in does not take them"},
		{"settings of a member that the built-in of the server refuses", capg, "policyServer: builtins\npolicies: {a: {module: builtin://any}, b: {module: 'registry://ghcr.io/acme/preferred:v1'}}\n",
			"spec.policies[b].settings: Invalid value: null: the built-in does not take them"},
		{"settings on a server that prefers no built-ins", clusterAP, "module: ghcr.io/acme/preferred:v1\n", ""},
		{"settings that the module takes", clusterAP, "module: builtin://picky\nsettings: {ok: true}\n", ""},
		{"long settings are not repeated", clusterAP, "module: builtin://picky\nsettings: {a: '" + strings.Repeat("x", 300) + "'}\n", `spec.settings: Invalid value: ok must be true`},
		{"settings of members", capg, "policies: {a: {module: builtin://picky}, b: {module: builtin://none}}\n",
			"spec.policies[a].settings: Invalid value: null: ok must be true\nspec.policies[b].module: Invalid value: \"builtin://none\": no built-in policy has this name; did you mean some?"},
		{"no time for settings", ap, "module: builtin://slow\n", "warning: spec.settings: the module did not say within 5s"},
		{"settings that are a list", ap, "settings: [1]\n", "spec.settings: Invalid value: want an object"},
		{"everything wrong is said at once", ap, "rules: []\nmodule: builtin://picky\ntimeoutSeconds: 3\ntimeoutEvalSeconds: 4\n",
			"spec.rules: Required value\nspec.timeoutEvalSeconds: Invalid value: 4\nspec.settings: Invalid value: null: ok must be true"},

		{"a server that does not exist", clusterAP, "policyServer: blue\n", `warning: spec.policyServer: policy server "blue" does not exist yet`},
		{"mutating between owner and owned", clusterAP, "mutating: true\n" + rule("apps", "v1", "deployments, replicasets", "CREATE"), "warning: spec.rules: a mutating policy of replicasets"},
		{"mutating pods", clusterAP, "mutating: true\n", ""},
		{"everything everywhere", clusterAP, rule("'*'", "'*'", "'*/*'", "'*'"), "warning: spec.rules: the policy judges everything in every namespace"},
		{"everything everywhere, unless nobody answers", clusterAP, "failurePolicy: Ignore\n" + rule("'*'", "'*'", "'*/*'", "'*'"), ""},
		{"everything in some namespaces", clusterAP, "namespaceSelector: {matchLabels: {a: b}}\n" + rule("'*'", "'*'", "'*/*'", "'*'"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			good := goodSpec
			if tt.kind == apg || tt.kind == capg {
				good = goodGroup
			}
			check(t, ask(t, manifest.ValidatingPath(tt.kind), "", object(tt.kind, having(good, tt.spec))), tt.want)
		})
	}
}

func TestUpdatesOfPolicies(t *testing.T) {
	for _, tt := range []struct{ name, old, spec, want string }{
		{"another server", "", "policyServer: blue\n", "spec.policyServer: Forbidden: the field is immutable"},
		{"the default server by name", "policyServer: ''\n", "mode: protect\n", ""},
		{"to monitor", "mode: protect\n", "mode: monitor\n", "spec.mode: Forbidden: field cannot transition from protect to monitor. Recreate instead."},
		{"to monitor from the default", "", "mode: monitor\n", "spec.mode: Forbidden: field cannot transition from protect to monitor. Recreate instead."},
		{"to protect", "mode: monitor\n", "mode: protect\n", ""},
		{"mutating", "", "mutating: true\n", ""},
		{"a bad spec that was there already", "rules: []\n", "rules: []\n", ""},
		{"a bad spec that changes", "rules: []\n", "rules: []\nmutating: true\n", "spec.rules: Required value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old, updated := object(clusterAP, having(goodSpec, tt.old)), object(clusterAP, having(goodSpec, tt.spec))
			check(t, ask(t, manifest.ValidatingPath(clusterAP), old, updated), tt.want)
		})
	}
	deleted := strings.Replace(object(clusterAP, having(goodSpec, "rules: []\nmutating: true\n")), "{name: p}", "{name: p, deletionTimestamp: '2026-01-01T00:00:00Z'}", 1)
	check(t, ask(t, manifest.ValidatingPath(clusterAP), object(clusterAP, goodSpec), deleted), "")
}

func TestANameThatNoWebhookCanHaveIsRefusedAtOnce(t *testing.T) {
	named := func(n int) string {
		return strings.Replace(object(ap, goodSpec), "{name: p}", "{namespace: shop, name: "+strings.Repeat("p", n)+"}", 1)
	}
	// kw.ap.shop.NAME.kubewarden.admission has 253 characters
	const longest = 253 - len("kw.ap.shop.") - len(".kubewarden.admission")
	path := manifest.ValidatingPath(ap)
	check(t, ask(t, path, "", named(longest)), "")
	check(t, ask(t, path, "", named(longest+1)), fmt.Sprintf("is too long (254 characters, max 253); the name must be at most %d characters long", longest))
	check(t, ask(t, path, named(longest+1), strings.Replace(named(longest+1), "mutating: false", "mutating: true", 1)), "")
}

func TestObjectsThatAreNoneAreRefused(t *testing.T) {
	for _, raw := range []string{`""`, "[]", "spec: 1", "spec: {rules: {}}", "spec: {timeoutSeconds: x}"} {
		if have := ask(t, manifest.ValidatingPath(clusterAP), "", raw); have.Allowed || have.Result.Code != http.StatusBadRequest {
			t.Errorf("%s: %v", raw, have)
		}
	}
}

func TestWhatIsLeftOutIsAdded(t *testing.T) {
	const finalizers = `[{"op":"add","path":"/metadata/finalizers","value":["kubewarden.io/finalizer"]}`
	const server = `{"op":"add","path":"/spec/policyServer","value":"default"}]`
	for _, tt := range []struct{ name, kind, object, want string }{
		{"nothing there", clusterAP, "metadata: {name: p}\nspec: {unknown: 1}", finalizers + "," + server},
		{"empty server", apg, "metadata: {name: p, finalizers: []}\nspec: {policyServer: ''}", finalizers + "," + server},
		{"null server", apg, "metadata: {name: p, finalizers: null}\nspec: {policyServer: null}", finalizers + "," + server},
		{"another finalizer", capg, "metadata: {finalizers: [a]}\nspec: {policyServer: x}", `[{"op":"add","path":"/metadata/finalizers/-","value":"kubewarden.io/finalizer"}]`},
		{"everything there", ap, "metadata: {finalizers: [a, kubewarden.io/finalizer]}\nspec: {policyServer: x}", ""},
		{"being deleted", ap, "metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}\nspec: {policyServer: x}", ""},
		{"policy server", "PolicyServer", "metadata: {name: p}\nspec: {}", finalizers + "]"},
		{"policy server that has it", "PolicyServer", "metadata: {finalizers: [kubewarden.io/finalizer]}\nspec: {}", ""},
		{"no spec", clusterAP, "metadata: {finalizers: [kubewarden.io/finalizer]}", ""},
	} {
		have := ask(t, manifest.MutatingPath(tt.kind), "", tt.object)
		if diff := cmp.Diff(tt.want, string(have.Patch)); diff != "" || !have.Allowed || (have.PatchType != nil) != (tt.want != "") {
			t.Errorf("%s: allowed %t, type %v (-want +have):\n%s", tt.name, have.Allowed, have.PatchType, diff)
		}
	}
	if have := ask(t, manifest.MutatingPath(clusterAP), "", "[]"); have.Allowed {
		t.Error("a list is allowed")
	}
}
