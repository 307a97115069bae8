package capability

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/artifact"
)

// signatures answers every verification alike and keeps what it was asked.
type signatures struct {
	err     error
	images  []string
	signers [][]artifact.Signer
}

func (s *signatures) Verify(_ context.Context, image string, signers []artifact.Signer) (string, error) {
	s.images, s.signers = append(s.images, image), append(s.signers, signers)
	return "sha256:d", s.err
}

func TestEveryVerificationReachesTheVerifier(t *testing.T) {
	prod := map[string]string{"env": "prod"}
	repo := []artifact.Signer{{GitHub: &artifact.GitHub{Owner: "acme", Repo: "app"}}}
	tests := []struct {
		name, operation, payload string
		want                     []artifact.Signer
	}{
		{
			"keys, v1", "v1/verify", `{"SigstorePubKeyVerify":{"image":"i","pub_keys":["k1","k2"],"annotations":{"env":"prod"}}}`,
			[]artifact.Signer{{PublicKey: "k1", Annotations: prod}, {PublicKey: "k2", Annotations: prod}},
		},
		{
			"keyless, v1", "v1/verify", `{"SigstoreKeylessVerify":{"image":"i","keyless":[{"issuer":"a","subject":"b"},{"issuer":"c","subject":"d"}],"annotations":null}}`,
			[]artifact.Signer{{Identity: &artifact.Identity{Issuer: "a", Subject: "b"}}, {Identity: &artifact.Identity{Issuer: "c", Subject: "d"}}},
		},
		{
			"keys", "v2/verify", `{"type":"SigstorePubKeyVerify","image":"i","pub_keys":["k1"],"annotations":null}`,
			[]artifact.Signer{{PublicKey: "k1"}},
		},
		{
			"keyless", "v2/verify", `{"type":"SigstoreKeylessVerify","image":"i","keyless":[{"issuer":"a","subject":"b"}],"annotations":{"env":"prod"}}`,
			[]artifact.Signer{{Identity: &artifact.Identity{Issuer: "a", Subject: "b"}, Annotations: prod}},
		},
		{
			"keyless by prefix", "v2/verify", `{"type":"SigstoreKeylessPrefixVerify","image":"i","keyless_prefix":[{"issuer":"a","url_prefix":"https://github.com/acme"}]}`,
			[]artifact.Signer{{Prefix: &artifact.IdentityPrefix{Issuer: "a", URLPrefix: "https://github.com/acme"}}},
		},
		{"GitHub", "v2/verify", `{"type":"SigstoreGithubActionsVerify","image":"i","owner":"acme","repo":"app"}`, repo},
		{
			"GitHub, any repository", "v2/verify", `{"type":"SigstoreGithubActionsVerify","image":"i","owner":"acme","repo":null,"annotations":{"env":"prod"}}`,
			[]artifact.Signer{{GitHub: &artifact.GitHub{Owner: "acme"}, Annotations: prod}},
		},
		{
			"certificate", "v2/verify", `{"type":"SigstoreCertificateVerify","image":"i","certificate":[45,46],"certificate_chain":[[1],[255]],"require_rekor_bundle":true,"annotations":{"env":"prod"}}`,
			[]artifact.Signer{{Certificate: &artifact.Certificate{PEM: []byte("-."), Chain: [][]byte{{1}, {255}}, RequireRekor: true}, Annotations: prod}},
		},
		{
			"certificate that is trusted itself", "v2/verify", `{"type":"SigstoreCertificateVerify","image":"i","certificate":[45],"require_rekor_bundle":false}`,
			[]artifact.Signer{{Certificate: &artifact.Certificate{PEM: []byte("-")}}},
		},
		{
			"certificate with an empty chain, which trusts nobody", "v2/verify", `{"type":"SigstoreCertificateVerify","image":"i","certificate":[45],"certificate_chain":[],"require_rekor_bundle":false}`,
			[]artifact.Signer{{Certificate: &artifact.Certificate{PEM: []byte("-"), Chain: [][]byte{}}}},
		},
		{"unknown members", "v2/verify", `{"type":"SigstoreGithubActionsVerify","image":"i","owner":"acme","repo":"app","later":{}}`, repo},
		{
			"annotations as the documentation has them", "v2/verify",
			`{"type":"SigstorePubKeyVerify","image":"i","pub_keys":["k"],"annotations":[{"key":"env","value":"prod"}]}`,
			[]artifact.Signer{{PublicKey: "k", Annotations: prod}},
		},
	}
	for _, tt := range tests {
		s := &signatures{}
		h, _ := hostFor(everything)
		h.Services.Signatures = s
		answer, err := h.Call(t.Context(), call("oci", tt.operation, tt.payload))
		if err != nil || string(answer) != `{"is_trusted":true,"digest":"sha256:d"}` {
			t.Errorf("%s: Call = %s, %v, want it trusted", tt.name, answer, err)
			continue
		}
		if diff := cmp.Diff([][]artifact.Signer{tt.want}, s.signers); diff != "" || s.images[0] != "i" {
			t.Errorf("%s: image %q, signers (-want +have):\n%s", tt.name, s.images[0], diff)
		}
	}
}

func TestAVerificationThatCannotBeAnswered(t *testing.T) {
	const variants = "expected one of `SigstorePubKeyVerify`, `SigstoreKeylessVerify`, `SigstoreKeylessPrefixVerify`, `SigstoreGithubActionsVerify`, `SigstoreCertificateVerify`"
	const v1Variants = "expected `SigstorePubKeyVerify` or `SigstoreKeylessVerify`"
	const failure = "Callback evaluation failure: "
	tests := []struct{ name, operation, payload, want string }{
		{"no keys, v1", "v1/verify", `{"SigstorePubKeyVerify":{"image":"i","pub_keys":[]}}`, failure + "Must provide at least one pub key"},
		{"no identity, v1", "v1/verify", `{"SigstoreKeylessVerify":{"image":"i","keyless":[]}}`, failure + "Must provide keyless info"},
		{"no keys", "v2/verify", `{"type":"SigstorePubKeyVerify","image":"i","pub_keys":[]}`, failure + "Must provide at least one pub key"},
		{"no identity", "v2/verify", `{"type":"SigstoreKeylessVerify","image":"i","keyless":[]}`, failure + "Must provide keyless info"},
		{"no prefix", "v2/verify", `{"type":"SigstoreKeylessPrefixVerify","image":"i","keyless_prefix":[]}`, failure + "Must provide keyless info"},
		{"no owner", "v2/verify", `{"type":"SigstoreGithubActionsVerify","image":"i","owner":""}`, failure + "Must provide owner info"},

		{"an empty key", "v2/verify", `{"type":"SigstorePubKeyVerify","image":"i","pub_keys":["k",""]}`, failure + "pub_keys[1] is empty"},
		{"an empty subject", "v2/verify", `{"type":"SigstoreKeylessVerify","image":"i","keyless":[{"issuer":"a"}]}`, failure + "keyless[0]: issuer and subject must not be empty"},
		{"a prefix without issuer", "v2/verify", `{"type":"SigstoreKeylessPrefixVerify","image":"i","keyless_prefix":[{"url_prefix":"https://a.example/"}]}`, failure + "keyless_prefix[0]: issuer must not be empty"},
		{"a prefix that is no URL", "v2/verify", `{"type":"SigstoreKeylessPrefixVerify","image":"i","keyless_prefix":[{"issuer":"a","url_prefix":"github.com/acme"}]}`,
			failure + `keyless_prefix[0]: url_prefix "github.com/acme" has no scheme or no host; want a URL such as https://github.com/acme/`},
		{"an empty prefix", "v2/verify", `{"type":"SigstoreKeylessPrefixVerify","image":"i","keyless_prefix":[{"issuer":"a"}]}`,
			failure + `keyless_prefix[0]: url_prefix "" has no scheme or no host; want a URL such as https://github.com/acme/`},
		{"a prefix that cannot be parsed", "v2/verify", `{"type":"SigstoreKeylessPrefixVerify","image":"i","keyless_prefix":[{"issuer":"a","url_prefix":"https://a:b"}]}`,
			failure + `keyless_prefix[0]: url_prefix: parse "https://a:b": invalid port ":b" after host`},
		{"an empty repository", "v2/verify", `{"type":"SigstoreGithubActionsVerify","image":"i","owner":"acme","repo":""}`, failure + "repo is empty; leave it out for any repository of the owner"},
		{"an empty certificate", "v2/verify", `{"type":"SigstoreCertificateVerify","image":"i","certificate":[],"require_rekor_bundle":true}`, failure + "certificate is empty"},

		{"no image", "v2/verify", `{"type":"SigstorePubKeyVerify","pub_keys":["k"]}`, "missing field `image`"},
		{"a null image", "v2/verify", `{"type":"SigstorePubKeyVerify","image":null,"pub_keys":["k"]}`, "field `image` is null"},
		{"keys are missing", "v2/verify", `{"type":"SigstorePubKeyVerify","image":"i"}`, "missing field `pub_keys`"},
		{"identities are missing", "v2/verify", `{"type":"SigstoreKeylessVerify","image":"i"}`, "missing field `keyless`"},
		{"prefixes are missing", "v2/verify", `{"type":"SigstoreKeylessPrefixVerify","image":"i"}`, "missing field `keyless_prefix`"},
		{"the owner is missing", "v2/verify", `{"type":"SigstoreGithubActionsVerify","image":"i"}`, "missing field `owner`"},
		{"the certificate is missing", "v2/verify", `{"type":"SigstoreCertificateVerify","image":"i","require_rekor_bundle":true}`, "missing field `certificate`"},
		{"Rekor is not mentioned", "v2/verify", `{"type":"SigstoreCertificateVerify","image":"i","certificate":[1]}`, "missing field `require_rekor_bundle`"},
		{"no type", "v2/verify", `{"image":"i","pub_keys":["k"]}`, "missing field `type`"},
		{"another type", "v2/verify", `{"type":"Notary","image":"i"}`, "unknown variant `Notary`, " + variants},
		{"v1 in v2", "v2/verify", `{"SigstorePubKeyVerify":{"image":"i","pub_keys":["k"]}}`, "missing field `type`"},
		{"v2 in v1", "v1/verify", `{"type":"SigstorePubKeyVerify","image":"i","pub_keys":["k"]}`, "want an object with one member, the type of the verification; it has 3"},
		{"a type of v2 in v1", "v1/verify", `{"SigstoreCertificateVerify":{"image":"i"}}`, "unknown variant `SigstoreCertificateVerify`, " + v1Variants},
		{"nothing in v1", "v1/verify", `{}`, "want an object with one member, the type of the verification; it has 0"},
		{"a certificate as text", "v2/verify", `{"type":"SigstoreCertificateVerify","image":"i","certificate":"LS0=","require_rekor_bundle":true}`, `want a list of bytes, have "LS0="`},
		{"a byte that is none", "v2/verify", `{"type":"SigstoreCertificateVerify","image":"i","certificate":[256],"require_rekor_bundle":true}`, "json: cannot unmarshal number 256 into Go struct field sigstoreCertificateVerify.certificate of type uint8"},
		{"an annotation without value", "v2/verify", `{"type":"SigstorePubKeyVerify","image":"i","pub_keys":["k"],"annotations":[{"key":"env"}]}`, "annotations[0]: want an object of key and value"},
		{"no JSON", "v1/verify", `image`, "invalid character 'i' looking for beginning of value"},
	}
	for _, tt := range tests {
		s := &signatures{}
		h, _ := hostFor(everything)
		h.Services.Signatures = s
		answer, err := h.Call(t.Context(), call("oci", tt.operation, tt.payload))
		if answer != nil || err == nil || err.Error() != tt.want || len(s.images) > 0 {
			t.Errorf("%s: Call = %q, %v after %d questions, want %q", tt.name, answer, err, len(s.images), tt.want)
		}
	}
}

func TestAnImageThatIsNotTrustedIsAFailure(t *testing.T) {
	h, _ := hostFor(everything)
	question := call("oci", "v2/verify", `{"type":"SigstorePubKeyVerify","image":"i","pub_keys":["k"]}`)
	for want, verifier := range map[string]Signatures{
		"Callback evaluation failure: no signatures found for image: i ":                               &signatures{err: errors.New("no signatures found for image: i ")},
		"Callback evaluation failure: no verifier of signatures: this process was started without one": nil,
	} {
		h.Services.Signatures = verifier
		if answer, err := h.Call(t.Context(), question); answer != nil || err == nil || err.Error() != want {
			t.Errorf("Call = %q, %v, want %q", answer, err, want)
		}
	}
}

func TestVerificationsAreKeptForAMinuteByAllThatTheyAsk(t *testing.T) {
	const key = `{"type":"SigstorePubKeyVerify","image":"%s","pub_keys":["%s"],"annotations":%s}`
	const certificate = `{"type":"SigstoreCertificateVerify","image":"i","certificate":[1],"certificate_chain":%s,"require_rekor_bundle":%t}`
	synctest.Test(t, func(t *testing.T) {
		s := &signatures{}
		h, _ := hostFor(everything)
		h.Services = Services{Signatures: s, Cache: NewCache()}
		asks := func(operation, payload string) int {
			t.Helper()
			before := len(s.images)
			if _, err := h.Call(t.Context(), call("oci", operation, payload)); err != nil && s.err == nil {
				t.Fatal(err)
			}
			return len(s.images) - before
		}
		for _, step := range []struct {
			wait               time.Duration
			operation, payload string
			want               int
		}{
			{0, "v2/verify", fmt.Sprintf(key, "i", "k", "null"), 1},
			{0, "v2/verify", fmt.Sprintf(key, "i", "k", "null"), 0},
			{0, "v1/verify", `{"SigstorePubKeyVerify":{"pub_keys":["k"],"image":"i"}}`, 0},
			{0, "v2/verify", fmt.Sprintf(key, "j", "k", "null"), 1},
			{0, "v2/verify", fmt.Sprintf(key, "i", "l", "null"), 1},
			{0, "v2/verify", fmt.Sprintf(key, "i", "k", `{"a":"b"}`), 1},
			{0, "v2/verify", `{"type":"SigstoreKeylessVerify","image":"i","keyless":[{"issuer":"a","subject":"b"}]}`, 1},
			{0, "v2/verify", fmt.Sprintf(certificate, "null", true), 1},
			{0, "v2/verify", fmt.Sprintf(certificate, "null", false), 1},
			{0, "v2/verify", fmt.Sprintf(certificate, "[]", false), 1},
			{0, "v2/verify", fmt.Sprintf(certificate, "[[2]]", false), 1},
			{0, "v2/verify", fmt.Sprintf(certificate, "[[2]]", false), 0},
			{59 * time.Second, "v2/verify", fmt.Sprintf(key, "i", "k", "null"), 0},
			{time.Second, "v2/verify", fmt.Sprintf(key, "i", "k", "null"), 1},
		} {
			<-time.After(step.wait)
			if have := asks(step.operation, step.payload); have != step.want {
				t.Errorf("after %s more, %s asks %d times, want %d", step.wait, step.payload, have, step.want)
			}
		}
		s.err = errors.New("not signed")
		for range 2 {
			if have := asks("v2/verify", fmt.Sprintf(key, "bad", "k", "null")); have != 1 {
				t.Errorf("a failure asks %d times, want it asked each time", have)
			}
		}
	})
}
