package celpolicy_test

import (
	"log/slog"
	"testing"

	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/runtime/celpolicy"
	"github.com/warder-dev/warder/runtime/native"
	"github.com/warder-dev/warder/sdk"
)

// The functions are behind the grants of a policy, each behind its own.
func TestFunctionsNeedTheGrantsOfAModule(t *testing.T) {
	for expression, want := range map[string]string{
		"kw.net.lookupHost('a.b').size() > 0":                                   "net/v1/dns_lookup_host",
		"kw.oci.image('a').manifest() != null":                                  "oci/v1/oci_manifest",
		"kw.oci.image('a').manifestDigest() != ''":                              "oci/v1/manifest_digest",
		"kw.oci.image('a').manifestConfig() != null":                            "oci/v1/oci_manifest_config",
		"kw.sigstore.image('a').pubKey('k').verify().isTrusted()":               "oci/v2/verify",
		"kw.sigstore.image('a').keyless('i', 's').verify().isTrusted()":         "oci/v2/verify",
		"kw.sigstore.image('a').keylessPrefix('i', 's').verify().isTrusted()":   "oci/v2/verify",
		"kw.sigstore.image('a').githubAction('o').verify().isTrusted()":         "oci/v2/verify",
		"kw.sigstore.image('a').certificate('c').verify().isTrusted()":          "oci/v2/verify",
		"kw.crypto.certificate('c').verify().isTrusted()":                       "crypto/v1/is_certificate_trusted",
		"kw.k8s.apiVersion('v1').kind('Pod').list().items == []":                "kubernetes/list_resources_all",
		"kw.k8s.apiVersion('v1').kind('Pod').namespace('a').list().items == []": "kubernetes/list_resources_by_namespace",
		"kw.k8s.apiVersion('v1').kind('Pod').namespace('a').get('b') != null":   "kubernetes/get_resource",
		"namespaceObject != null":                                               "kubernetes/get_resource",
	} {
		asked := ""
		host := &capability.Host{Policy: "p", Log: slog.New(slog.DiscardHandler), Allows: func(name string) bool {
			asked = name
			return false
		}}
		p, err := native.New(celpolicy.Policy(), []byte(`{"validations":[{"expression":"`+expression+`"}]}`), host)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		v, err := p.Evaluate(t.Context(), &sdk.Request{Namespace: "shop", Object: []byte(`{}`)})
		if err == nil || asked != want {
			t.Errorf("%s: verdict %v, error %v, asked for the grant of %q; want %q", expression, v, err, asked, want)
		}
	}
}
