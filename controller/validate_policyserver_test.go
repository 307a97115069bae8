package controller

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/warder-dev/warder/manifest"
	"github.com/warder-dev/warder/runtime/cel"
)

// certificatePEM is the beginning of a certificate.
const certificatePEM = `-----BEGIN CERTIFICATE-----
MIIBeTCCAR+gAwIBAgIUXtE2MxPZFcG3ZKRFbTg3RFWwyYQwCgYIKoZIzj0EAwIw
-----END CERTIFICATE-----
`

func TestPolicyServersAreValidated(t *testing.T) {
	for _, tt := range []struct{ name, spec, want string }{
		{"nothing said", "replicas: 1\n", ""},
		{"negative replicas", "replicas: -1\n", "spec.replicas: Invalid value: -1: must be greater than or equal to 0"},
		{"both budgets", "minAvailable: 1\nmaxUnavailable: 1\n", "spec: Forbidden: minAvailable and maxUnavailable cannot be both set"},
		{"half of a budget", "minAvailable: 50%\n", ""},
		{"whole of a budget", "maxUnavailable: 100%\n", ""},
		{"more than the whole", "maxUnavailable: 101%\n", "spec.maxUnavailable: Invalid value: \"101%\": must be an integer or a percentage from 0% to 100%"},
		{"no percentage", "minAvailable: half\n", "spec.minAvailable: Invalid value: \"half\""},
		{"negative budget", "minAvailable: -1\n", "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"},

		{"limits and requests", "limits: {cpu: 1, memory: 1Gi}\nrequests: {cpu: 500m}\n", ""},
		{"negative limit", "limits: {cpu: -1}\n", `spec.limits[cpu]: Invalid value: "-1": cpu limit must be greater than or equal to 0`},
		{"negative request", "requests: {memory: -1Mi}\n", `spec.requests[memory]: Invalid value: "-1Mi": memory request must be greater than or equal to 0`},
		{"request over limit", "limits: {cpu: 1}\nrequests: {cpu: 2}\n", `spec.requests[cpu]: Invalid value: "2": request must be less than or equal to cpu limit`},

		{"capabilities", "namespacedPoliciesCapabilities: ['oci/*', kubernetes/can_i, oci/v1/*, '*']\n", ""},
		{"no capabilities", "namespacedPoliciesCapabilities: []\n", ""},
		{"unknown capability", "namespacedPoliciesCapabilities: ['*', oci/v3/verify]\n",
			`spec.namespacedPoliciesCapabilities[1]: Invalid value: "oci/v3/verify": invalid pattern "oci/v3/verify": unknown segment "v3", valid options at this level are: v1, v2`},
		{"part of a wildcard", "namespacedPoliciesCapabilities: ['oci/v*']\n", "wildcard '*' must be the entire last path segment"},

		{"two ports", "webhookPort: 9000\nreadinessProbePort: 9001\nmetricsPort: 9000\n", ""},
		{"one port", "webhookPort: 9000\nreadinessProbePort: 9000\n", "spec.readinessProbePort: Invalid value: 9000: readinessProbePort and webhookPort must be different"},
		{"the other's default port", "webhookPort: 8081\n", "spec.readinessProbePort: Invalid value: 8081: readinessProbePort and webhookPort must be different"},
		{"ports that are none", "webhookPort: 0\nmetricsPort: 65536\n", "spec.webhookPort: Invalid value: 0\nspec.metricsPort: Invalid value: 65536"},

		{"spread", "topologySpreadConstraints: [{maxSkew: 1, topologyKey: a/b, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 1, topologyKey: c, whenUnsatisfiable: DoNotSchedule}]\n", ""},
		{"bad spread", "topologySpreadConstraints: [{maxSkew: 0, whenUnsatisfiable: Never}]\n",
			"topologySpreadConstraints[0].maxSkew: Invalid value: 0\ntopologySpreadConstraints[0].topologyKey: Required value\ntopologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Never\""},
		{"spread twice", "topologySpreadConstraints: [{maxSkew: 1, topologyKey: c, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 2, topologyKey: c, whenUnsatisfiable: DoNotSchedule}]\n",
			"spec.topologySpreadConstraints[1]: Duplicate value"},

		{"templates", "workloadTemplates: {rollouts.argoproj.io: spec.template}\n", ""},
		{"template of no group", "workloadTemplates: {rollouts: spec.template}\n", "spec.workloadTemplates[rollouts]: Invalid value: \"rollouts\": want the name of a custom resource definition"},
		{"template by a pointer", "workloadTemplates: {rollouts.argoproj.io: /spec/template}\n", "spec.workloadTemplates[rollouts.argoproj.io]: Invalid value: \"/spec/template\": want the names that lead to the pod template"},
		{"template at an empty name", "workloadTemplates: {rollouts.argoproj.io: spec..template}\n", "with dots between them"},

		{"authority that is no PEM", "sourceAuthorities: {host: [nonsense]}\n", "spec.sourceAuthorities[host][0]: Invalid value: want certificates in PEM: there is no block"},
		{"authority that is no certificate", "sourceAuthorities: {host: [\"" + strings.ReplaceAll(certificatePEM, "\n", "\\n") + "\"]}\n", "spec.sourceAuthorities[host][0]: Invalid value: x509: "},
		{"bad label and annotation", "labels: {'a b': c}\nannotations: {'d e': f}\n", "spec.labels: Invalid value: \"a b\"\nspec.annotations: Invalid value: \"d e\""},

		{"pull secret", "imagePullSecret: pull\n", ""},
		{"pull secret of another type", "imagePullSecret: opaque\n", `spec.imagePullSecret: Invalid value: "opaque": secret "opaque" is not of type kubernetes.io/dockerconfigjson but Opaque`},
		{"pull secret elsewhere", "imagePullSecret: elsewhere\n", `spec.imagePullSecret: Invalid value: "elsewhere": there is no secret "elsewhere" in namespace "warder"; create it first`},
		{"trust config", "sigstoreTrustConfig: trust\n", ""},
		{"trust config without the key", "sigstoreTrustConfig: empty\n", `spec.sigstoreTrustConfig: Invalid value: "empty": configmap "empty" has no key "sigstore-trust-config"`},
		{"no trust config", "sigstoreTrustConfig: nothing\n", `there is no configmap "nothing" in namespace "warder"`},
		{"verification config", "verificationConfig: verify\n", ""},
		{"no verification config", "verificationConfig: nothing\n", `warning: there is no configmap "nothing" in namespace "warder": the pods of the policy server wait for it`},
		{"verification config without the key", "verificationConfig: empty\n", `warning: configmap "empty" has no key "verification-config"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, ask(t, manifest.ValidatingPath(manifest.KindPolicyServer), "", object(manifest.KindPolicyServer, tt.spec)), tt.want)
		})
	}
}

func TestNamesOfPolicyServers(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{strings.Repeat("p", 49), ""},
		{strings.Repeat("p", 50), "warning: metadata.name: the Service policy-server-"},
		{"a.b", "warning: metadata.name: the Service policy-server-a.b cannot be made"},
		{strings.Repeat("p", 64), "the PolicyServer name cannot be longer than 63 characters"},
	} {
		server := strings.Replace(object(manifest.KindPolicyServer, "replicas: 1"), "name: p", "name: "+tt.name, 1)
		check(t, ask(t, manifest.ValidatingPath(manifest.KindPolicyServer), "", server), tt.want)
	}
}

// FuzzKinds gives the webhooks objects of anybody: they answer, and what they add
// is a patch.
func FuzzKinds(f *testing.F) {
	for _, seed := range []string{
		object(clusterAP, goodSpec), object(capg, goodGroup), object(manifest.KindPolicyServer, "replicas: 1\nlimits: {cpu: 1}\n"),
		"spec: {policies: {'': {}}, expression: '!', rules: [{}]}", "metadata: {finalizers: [a]}", "spec: {matchConditions: [{}], objectSelector: {matchExpressions: [{}]}}",
		"spec: {topologySpreadConstraints: [{}], minAvailable: '%', sourceAuthorities: {a: ['-----BEGIN A-----']}}",
	} {
		f.Add(asJSON(f, seed), []byte(`{"spec":{"mode":"protect"}}`))
	}
	scheme := fake.NewClientBuilder().Build()
	w := &kindWebhooks{opts: KindOptions{Client: scheme, Namespace: "warder", Settings: settingsOfTests}, conditions: &cel.MatchConditions{}}
	f.Fuzz(func(t *testing.T, raw, old []byte) {
		for _, kind := range manifest.WebhookKinds() {
			request := admission.Request{}
			request.Operation, request.Object.Raw = admissionv1.Create, raw
			for range 2 {
				if have := w.validator(kind)(context.Background(), request); have.Allowed == (have.Result != nil && have.Result.Code >= 400) {
					t.Errorf("%s: %+v", kind, have)
				}
				have := completer(kind)(context.Background(), request)
				if have.Patch != nil && (!have.Allowed || !json.Valid(have.Patch)) {
					t.Errorf("%s: %+v", kind, have)
				}
				request.Operation, request.OldObject.Raw = admissionv1.Update, old
			}
		}
	})
}
