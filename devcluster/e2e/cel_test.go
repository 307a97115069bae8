package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/devcluster/stage"
)

// celOf is a ClusterAdmissionPolicy in CEL about pods that are created. More are
// further fields of its spec.
func celOf(name, cel string, more ...string) string {
	fields := append([]string{"mutating: false", "cel: " + cel}, more...)
	return fmt.Sprintf(`
apiVersion: policies.kubewarden.io/v1
kind: ClusterAdmissionPolicy
metadata: {name: %s}
spec:
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
  %s
`, name, strings.Join(fields, "\n  "))
}

// validation is a policy in CEL with one expression.
func validation(expression, message string) string {
	return fmt.Sprintf("{validations: [{expression: %q, messageExpression: %q}]}", expression, message)
}

// A ConfigMap may be read by policies when a role says so.
const configMapReader = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: read-limits, labels: {policies.warder.dev/aggregate-to-context: "true"}}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}]
`

func limits(most int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: limits, namespace: default}\ndata: {containers: '%d'}", most)
}

// refused waits until a pod is refused for that reason.
func refused(s *stage.Stage, namespace, reason string, change ...func(*corev1.Pod)) {
	s.T.Helper()
	s.Eventually(func() string {
		if err := s.CreatePod(namespace, stage.Pod("p", change...)); err == nil || !strings.Contains(err.Error(), reason) {
			return fmt.Sprintf("error = %v, want %q", err, reason)
		}
		return ""
	})
}

// taken waits until a pod is let through: webhooks of the part before may still be
// there.
func taken(s *stage.Stage, namespace string) {
	s.T.Helper()
	s.Eventually(func() string {
		if err := s.CreatePod(namespace, stage.Pod("p")); err != nil {
			return fmt.Sprintf("a pod that nothing is wrong with in %s: %v", namespace, err)
		}
		return ""
	})
}

// TestPoliciesInCEL runs on one cluster: its parts remove what they make.
func TestPoliciesInCEL(t *testing.T) {
	t.Parallel()
	s := stage.New(t)
	s.Apply(configMapReader)
	s.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {tier: gold}}")
	s.Ready(s.Object("apiVersion: policies.kubewarden.io/v1\nkind: PolicyServer\nmetadata: {name: default}"))

	t.Run("a Deployment is refused with the place in what the user wrote", func(t *testing.T) {
		p := s.Apply(celOf("no-privileged", validation(
			"object.spec.containers.all(c, !c.?securityContext.?privileged.orValue(false))",
			"'spec.containers[0].securityContext.privileged: not here'"), "workloads: Expand"))
		s.Ready(p)
		defer s.Delete(p)
		for _, w := range workloads()[:6] {
			s.Eventually(func() string {
				_, err := dryRun(s, w.yaml("bad", privileged))
				if err == nil || !strings.Contains(err.Error(), "kw.cap.no-privileged: "+w.at+".spec.containers[0].securityContext.privileged: not here") {
					return fmt.Sprintf("%s: error = %v, want one with a place in %s", w.kind, err, w.at)
				}
				return ""
			})
			if _, err := dryRun(s, w.yaml("good", "")); err != nil {
				t.Errorf("%s: one that nothing is wrong with is refused: %v", w.kind, err)
			}
		}
	})

	t.Run("the example is as it says", func(t *testing.T) {
		text, err := os.ReadFile("../../examples/cluster/fixed-versions.yaml")
		if err != nil {
			t.Fatal(err)
		}
		p := s.Apply(string(text))
		s.Ready(p)
		defer s.Delete(p)
		deployment := workloads()[0].yaml("d", "")
		s.Eventually(func() string {
			_, err := dryRun(s, strings.Replace(deployment, ":v1'", ":latest'", 1))
			if want := "kw.cap.fixed-versions: spec.template.spec.containers: no fixed version in the image of c"; err == nil || !strings.Contains(err.Error(), want) {
				return fmt.Sprintf("error = %v, want %q", err, want)
			}
			return ""
		})
		for image, taken := range map[string]bool{":v1'": true, "'": false, "@sha256:00'": true} {
			if _, err := dryRun(s, strings.Replace(deployment, ":v1'", image, 1)); (err == nil) != taken {
				t.Errorf("an image that ends with %s: %v", image, err)
			}
		}
	})

	t.Run("params are those that the ConfigMap has now", func(t *testing.T) {
		s.Apply(limits(0))
		p := s.Apply(celOf("limits", `{paramKind: {apiVersion: v1, kind: ConfigMap}, paramRef: {name: limits, parameterNotFoundAction: Deny}, `+
			`validations: [{expression: "object.spec.containers.size() <= int(params.data.containers)", messageExpression: "'at most ' + params.data.containers"}]}`))
		s.Ready(p)
		defer s.Delete(p)
		refused(s, "default", "kw.cap.limits: at most 0")
		refused(s, "shop", "no params found for policy binding with `Deny` parameterNotFoundAction")
		s.Apply(limits(1))
		taken(s, "default")
	})

	t.Run("namespaceObject has the labels of the Namespace", func(t *testing.T) {
		p := s.Apply(celOf("gold", validation("namespaceObject.metadata.?labels[?'tier'].orValue('') != 'gold'", "'not in ' + namespaceObject.metadata.name")))
		s.Ready(p)
		defer s.Delete(p)
		refused(s, "shop", "kw.cap.gold: not in shop")
		taken(s, "default")
	})

	t.Run("authorizer asks the API server", func(t *testing.T) {
		const may = "authorizer.serviceAccount('default', 'default').group('').resource('secrets').namespace('default').check('%s').allowed()"
		p := s.Apply(celOf("asks", validation(fmt.Sprintf(may, "get"), "'may not get Secrets'")))
		s.Ready(p)
		refused(s, "default", "kw.cap.asks: may not get Secrets")
		s.Delete(p)
		p = s.Apply(celOf("asks", validation("!authorizer.group('').resource('secrets').namespace('default').check('get').allowed()", "request.userInfo.username + ' may'")))
		s.Ready(p)
		defer s.Delete(p)
		refused(s, "default", " may")
	})

	t.Run("mutations", func(t *testing.T) { mutationsInCEL(s) })

	t.Run("what is not right is refused by kubectl apply", func(t *testing.T) {
		for _, tt := range []struct{ name, policy, want string }{
			{"syntax", celOf("bad", validation("object.", "''")), `spec.cel.validations[0].expression: Invalid value: "object.": compilation failed: ERROR: <input>:1:8: Syntax error`},
			{"type", celOf("bad", validation("1", "''")), `spec.cel.validations[0].expression: Invalid value: "1": must evaluate to bool`},
			{"schema", celOf("bad", "{}"), "spec.cel: Invalid value: validations, mutations or auditAnnotations are required"},
			{"settings of cel-policy", capOf("bad", "builtin://cel-policy", `{"validations": [{"expression": "object."}]}`), "spec.settings: Invalid value"},
		} {
			if _, err := s.TryApply(tt.policy); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: error = %v, want %q", tt.name, err, tt.want)
			}
		}
	})

	t.Run("what the schemas do not have is warned of", func(t *testing.T) {
		said := &sayings{}
		config := rest.CopyConfig(s.Admin)
		config.WarningHandler = said
		o := s.Object(celOf("odd", validation("object.spec.hostNetwrok != true", "''")))
		_, err := dynamic.NewForConfigOrDie(config).Resource(v1.GroupVersion().WithResource("clusteradmissionpolicies")).
			Create(t.Context(), o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		const want = "spec.cel.validations[0].expression: /v1, Kind=Pod: ERROR: <input>:1:12: undefined field 'hostNetwrok'"
		if text := strings.Join(*said, "; "); err != nil || !strings.Contains(text, want) {
			t.Errorf("error %v, warnings %q, want %q", err, text, want)
		}
	})

	t.Run("a policy of one namespace", func(t *testing.T) {
		p := s.Apply(strings.NewReplacer("ClusterAdmissionPolicy", "AdmissionPolicy", "{name: own}", "{name: own, namespace: shop}").Replace(
			celOf("own", validation("namespaceObject.metadata.labels.tier != 'gold'", "'gold: ' + object.metadata.name"))))
		s.Ready(p)
		defer s.Delete(p)
		refused(s, "shop", "kw.ap.shop.own: gold: p")
		taken(s, "default")
	})

	t.Run("Kubewarden's cel-policy", func(t *testing.T) {
		p := s.Apply(capOf("kw-cel", "builtin://cel-policy", `{"variables": [{"name": "n", "expression": "object.spec.containers.size()"}], `+
			`"validations": [{"expression": "variables.n < 1", "messageExpression": "'containers: ' + string(variables.n)"}]}`))
		s.Ready(p)
		defer s.Delete(p)
		refused(s, "default", "kw.cap.kw-cel: containers: 1")
	})
}

// sayings are the warnings of an API server.
type sayings []string

// HandleWarningHeader implements rest.WarningHandler.
func (s *sayings) HandleWarningHeader(_ int, _, text string) { *s = append(*s, text) }

// mutationsInCEL has two policies that change a pod, the second what the first has
// made of it.
func mutationsInCEL(s *stage.Stage) {
	s.T.Helper()
	mutating := func(name, mutation, order string) string {
		return strings.Replace(celOf(name, "{mutations: ["+mutation+"]}", "order: "+order), "mutating: false", "mutating: true", 1)
	}
	first := s.Apply(mutating("first", `{patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{metadata: Object.metadata{labels: {'trail': 'a'}}, spec: Object.spec{automountServiceAccountToken: false}}"}}`, "1"))
	second := s.Apply(mutating("second", `{patchType: JSONPatch, jsonPatch: {expression: "[JSONPatch{op: 'replace', path: '/metadata/labels/trail', value: object.metadata.labels.trail + 'b'}]"}}`, "2"))
	s.Ready(first)
	s.Ready(second)
	defer s.Delete(second)
	defer s.Delete(first)
	s.Eventually(func() string {
		pod, err := s.Client.CoreV1().Pods("default").Create(s.T.Context(), stage.Pod("p"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch {
		case err != nil:
			return err.Error()
		case pod.Labels["trail"] != "ab" || pod.Spec.AutomountServiceAccountToken == nil || *pod.Spec.AutomountServiceAccountToken:
			return fmt.Sprintf("labels %v, automountServiceAccountToken %v", pod.Labels, pod.Spec.AutomountServiceAccountToken)
		}
		return ""
	})
}
