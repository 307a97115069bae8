package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// recorder is a host that answers everything alike.
type recorder struct {
	answer string
	err    error
	calls  []HostCall
}

func (r *recorder) Call(_ context.Context, call HostCall) ([]byte, error) {
	r.calls = append(r.calls, call)
	return []byte(r.answer), r.err
}

// hostFunctions call every typed function once. The payloads are those of
// Kubewarden's hosts, word for word.
func hostFunctions() []struct {
	name, capability, payload, answer string
	call                              func(ctx context.Context) (any, error)
	want                              any
} {
	at := time.Date(2030, 1, 1, 1, 0, 0, 0, time.FixedZone("", 3600))
	pem := Certificate{PEM, Octets("---")}
	const trust = `{"is_trusted":true,"digest":"sha256:ab"}`
	return []struct {
		name, capability, payload, answer string
		call                              func(ctx context.Context) (any, error)
		want                              any
	}{
		{
			"get", "kubernetes/get_resource",
			`{"api_version":"v1","kind":"ConfigMap","name":"cfg","namespace":"prod","disable_cache":false}`, `{"a": 1}`,
			func(ctx context.Context) (any, error) {
				return GetResource(ctx, GetQuery{APIVersion: "v1", Kind: "ConfigMap", Name: "cfg", Namespace: "prod"})
			}, json.RawMessage(`{"a": 1}`),
		},
		{
			"get, cluster-wide, fresh, masked", "kubernetes/get_resource",
			`{"api_version":"v1","kind":"Namespace","name":"prod","disable_cache":true,"field_masks":["spec.x"]}`, `{}`,
			func(ctx context.Context) (any, error) {
				return GetResource(ctx, GetQuery{APIVersion: "v1", Kind: "Namespace", Name: "prod", DisableCache: true, FieldMasks: []string{"spec.x"}})
			}, json.RawMessage(`{}`),
		},
		{
			"list all", "kubernetes/list_resources_all", `{"api_version":"apps/v1","kind":"Deployment"}`, `{"items":[]}`,
			func(ctx context.Context) (any, error) {
				return ListResources(ctx, ListQuery{APIVersion: "apps/v1", Kind: "Deployment"})
			}, json.RawMessage(`{"items":[]}`),
		},
		{
			"list by namespace", "kubernetes/list_resources_by_namespace",
			`{"api_version":"v1","kind":"Pod","namespace":"prod","label_selector":"app=web","field_selector":"spec.nodeName=n","field_masks":["spec.containers.image"]}`, `{}`,
			func(ctx context.Context) (any, error) {
				return ListResources(ctx, ListQuery{"v1", "Pod", "prod", "app=web", "spec.nodeName=n", []string{"spec.containers.image"}})
			}, json.RawMessage(`{}`),
		},
		{
			"can i", "kubernetes/can_i",
			`{"subject_access_review":{"user":"alice","groups":["dev"],"resource_attributes":{"namespace":"prod","verb":"create","group":"apps","version":"v1","resource":"deployments"}},"disable_cache":false}`,
			`{"allowed":true,"reason":"RBAC","evaluationError":"e"}`,
			func(ctx context.Context) (any, error) {
				return CanI(ctx, AccessReview{
					User: "alice", Groups: []string{"dev"},
					Attributes: ResourceAttributes{Namespace: "prod", Verb: "create", Group: "apps", Version: "v1", Resource: "deployments"},
				})
			}, AccessStatus{Allowed: true, Reason: "RBAC", EvaluationError: "e"},
		},
		{
			"can i list what selectors select", "kubernetes/can_i",
			`{"subject_access_review":{"user":"u","resource_attributes":{"verb":"list","resource":"pods",` +
				`"field_selector":[{"key":"spec.nodeName","operator":"In","values":["n1"]}],"label_selector":[{"key":"app","operator":"Exists"}]},` +
				`"uid":"7","extra":{"k":["v"]}},"disable_cache":false}`,
			`{"allowed":false,"denied":true}`,
			func(ctx context.Context) (any, error) {
				return CanI(ctx, AccessReview{User: "u", UID: "7", Extra: map[string][]string{"k": {"v"}}, Attributes: ResourceAttributes{
					Verb: "list", Resource: "pods",
					FieldSelector: []SelectorRequirement{{"spec.nodeName", "In", []string{"n1"}}}, LabelSelector: []SelectorRequirement{{Key: "app", Operator: "Exists"}},
				}})
			}, AccessStatus{Denied: true},
		},
		{
			"can i read a path", "kubernetes/can_i",
			`{"subject_access_review":{"user":"u","non_resource_attributes":{"path":"/healthz","verb":"get"}},"disable_cache":false}`,
			`{"allowed":true}`,
			func(ctx context.Context) (any, error) {
				return CanI(ctx, AccessReview{User: "u", NonResource: &NonResourceAttributes{"/healthz", "get"}})
			}, AccessStatus{Allowed: true},
		},
		{
			"look up", "net/v1/dns_lookup_host", `"example.org"`, `{"ips":["192.0.2.1","2001:db8::1"]}`,
			func(ctx context.Context) (any, error) { return LookupHost(ctx, "example.org") },
			[]string{"192.0.2.1", "2001:db8::1"},
		},
		{
			"digest", "oci/v1/manifest_digest", `"busybox"`, `{"digest":"sha256:ab"}`,
			func(ctx context.Context) (any, error) { return ManifestDigest(ctx, "busybox") }, "sha256:ab",
		},
		{
			"manifest", "oci/v1/oci_manifest", `"busybox"`, `{"schemaVersion":2}`,
			func(ctx context.Context) (any, error) { return Manifest(ctx, "busybox") }, json.RawMessage(`{"schemaVersion":2}`),
		},
		{
			"manifest and config", "oci/v1/oci_manifest_config", `"busybox"`, `{"manifest":{"m":1},"digest":"sha256:ab","config":{"c":1}}`,
			func(ctx context.Context) (any, error) { return ManifestAndConfig(ctx, "busybox") },
			ManifestConfig{json.RawMessage(`{"m":1}`), "sha256:ab", json.RawMessage(`{"c":1}`)},
		},
		{
			"certificate", "crypto/v1/is_certificate_trusted",
			`{"cert":{"encoding":"Pem","data":[45,45,45]},"cert_chain":[{"encoding":"Der","data":[48,130]}],"not_after":"2030-01-01T01:00:00+01:00"}`,
			`{"trusted":false,"reason":"Certificate is being used after its expiration date"}`,
			func(ctx context.Context) (any, error) {
				return IsCertificateTrusted(ctx, pem, []Certificate{{DER, Octets{48, 130}}}, at)
			}, CertificateTrust{false, "Certificate is being used after its expiration date"},
		},
		{
			"certificate, Mozilla's roots, now", "crypto/v1/is_certificate_trusted",
			`{"cert":{"encoding":"Pem","data":[45,45,45]},"cert_chain":null,"not_after":null}`, `{"trusted":true,"reason":""}`,
			func(ctx context.Context) (any, error) {
				return IsCertificateTrusted(ctx, pem, nil, time.Time{})
			}, CertificateTrust{Trusted: true},
		},
		{
			"certificate, no roots", "crypto/v1/is_certificate_trusted",
			`{"cert":{"encoding":"Pem","data":[45,45,45]},"cert_chain":[],"not_after":null}`, `{"trusted":true,"reason":""}`,
			func(ctx context.Context) (any, error) {
				return IsCertificateTrusted(ctx, pem, []Certificate{}, time.Time{})
			}, CertificateTrust{Trusted: true},
		},
		{
			"public keys", "oci/v2/verify",
			`{"type":"SigstorePubKeyVerify","image":"i","pub_keys":["k"],"annotations":{"env":"prod"}}`, trust,
			func(ctx context.Context) (any, error) {
				return VerifyPubKeys(ctx, PubKeysQuery{"i", []string{"k"}, map[string]string{"env": "prod"}})
			}, Trust{true, "sha256:ab"},
		},
		{
			"keyless", "oci/v2/verify",
			`{"type":"SigstoreKeylessVerify","image":"i","keyless":[{"issuer":"https://i","subject":"s"}],"annotations":null}`, trust,
			func(ctx context.Context) (any, error) {
				return VerifyKeyless(ctx, KeylessQuery{Image: "i", Keyless: []Identity{{"https://i", "s"}}})
			}, Trust{true, "sha256:ab"},
		},
		{
			"keyless prefix", "oci/v2/verify",
			`{"type":"SigstoreKeylessPrefixVerify","image":"i","keyless_prefix":[{"issuer":"https://i","url_prefix":"https://github.com/acme"}],"annotations":null}`, trust,
			func(ctx context.Context) (any, error) {
				return VerifyKeylessPrefix(ctx, KeylessPrefixQuery{Image: "i", KeylessPrefix: []IdentityPrefix{{"https://i", "https://github.com/acme"}}})
			}, Trust{true, "sha256:ab"},
		},
		{
			"GitHub", "oci/v2/verify",
			`{"type":"SigstoreGithubActionsVerify","image":"i","owner":"acme","repo":"app","annotations":null}`, trust,
			func(ctx context.Context) (any, error) {
				return VerifyGitHubActions(ctx, GitHubQuery{Image: "i", Owner: "acme", Repo: "app"})
			}, Trust{true, "sha256:ab"},
		},
		{
			"GitHub, any repository", "oci/v2/verify",
			`{"type":"SigstoreGithubActionsVerify","image":"i","owner":"acme","annotations":null}`, trust,
			func(ctx context.Context) (any, error) {
				return VerifyGitHubActions(ctx, GitHubQuery{Image: "i", Owner: "acme"})
			}, Trust{true, "sha256:ab"},
		},
		{
			"certificate of a signature", "oci/v2/verify",
			`{"type":"SigstoreCertificateVerify","image":"i","certificate":[45,45,45],"certificate_chain":[[45,45],[]],"require_rekor_bundle":true,"annotations":null}`, trust,
			func(ctx context.Context) (any, error) {
				return VerifyCertificate(ctx, CertificateQuery{Image: "i", Certificate: Octets("---"), CertificateChain: []Octets{Octets("--"), nil}, RequireRekorBundle: true})
			}, Trust{true, "sha256:ab"},
		},
	}
}

func TestHostFunctionsSpeakKubewardensProtocol(t *testing.T) {
	for _, tt := range hostFunctions() {
		host := &recorder{answer: tt.answer}
		have, err := tt.call(WithHost(t.Context(), host))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, have); diff != "" {
			t.Errorf("%s: answer: want, have:\n%s", tt.name, diff)
		}
		if len(host.calls) != 1 {
			t.Errorf("%s: %d calls, want one", tt.name, len(host.calls))
			continue
		}
		call := host.calls[0]
		if call.Binding != "kubewarden" || call.Capability() != tt.capability {
			t.Errorf("%s: called %s of %s, want %s of kubewarden", tt.name, call.Capability(), call.Binding, tt.capability)
		}
		// encoding/json keeps the order of a struct, so the text itself can be compared.
		if diff := cmp.Diff(tt.payload, string(call.Payload)); diff != "" {
			t.Errorf("%s: payload: want, have:\n%s", tt.name, diff)
		}
	}
}

func TestHostFunctionsPassTheErrorOn(t *testing.T) {
	denied := errors.New("denied")
	for _, tt := range hostFunctions() {
		if _, err := tt.call(WithHost(t.Context(), &recorder{err: denied})); !errors.Is(err, denied) {
			t.Errorf("%s: %v, want the host's error", tt.name, err)
		}
		if _, err := tt.call(t.Context()); !errors.Is(err, ErrNoHost) || !strings.HasPrefix(err.Error(), tt.capability+": ") {
			t.Errorf("%s without a host: %v, want ErrNoHost after the capability", tt.name, err)
		}
		if reflect.TypeOf(tt.want) == reflect.TypeFor[json.RawMessage]() {
			continue // passed on as it is
		}
		_, err := tt.call(WithHost(t.Context(), &recorder{answer: `[[`}))
		if err == nil || !strings.HasPrefix(err.Error(), tt.capability+": answer: ") {
			t.Errorf("%s: %v, want an error about the answer", tt.name, err)
		}
	}
}

func TestLogNeverFails(t *testing.T) {
	Log(t.Context(), LevelInfo, "nobody listens", nil)
	host := &recorder{err: errors.New("full")}
	ctx := WithHost(t.Context(), host)
	data := map[string]any{"pod": "web", "level": "overwritten", "message": "overwritten"}
	Log(ctx, LevelWarn, "hello", data)
	Log(ctx, LevelTrace, "no JSON", map[string]any{"f": func() {}})
	if len(host.calls) != 1 {
		t.Fatalf("%d calls, want one", len(host.calls))
	}
	call := host.calls[0]
	if have, want := string(call.Payload), `{"level":"warning","message":"hello","pod":"web"}`; have != want || call.Capability() != "tracing/log" {
		t.Errorf("have %s %s, want tracing/log %s", call.Capability(), have, want)
	}
	if data["level"] != "overwritten" {
		t.Error("the caller's map has changed")
	}
}

func TestOctetsAreNumbers(t *testing.T) {
	tests := []struct {
		octets Octets
		want   string
	}{{nil, `[]`}, {Octets{}, `[]`}, {Octets{0}, `[0]`}, {Octets{255, 7, 10}, `[255,7,10]`}}
	for _, tt := range tests {
		have, err := json.Marshal(tt.octets)
		if err != nil || string(have) != tt.want {
			t.Errorf("%v: have %s, %v; want %s", []byte(tt.octets), have, err, tt.want)
		}
	}
}

func TestHostFromFindsTheInnermostHost(t *testing.T) {
	outer, inner := &recorder{}, &recorder{}
	ctx := WithHost(WithHost(t.Context(), outer), inner)
	if HostFrom(ctx) != Host(inner) || HostFrom(t.Context()) != nil {
		t.Error("the host is another one")
	}
}
