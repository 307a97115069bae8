package artifact

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/sigstore/sigstore/pkg/signature"
)

// TestKeys verifies a signature of every kind of key, in both formats.
func TestKeys(t *testing.T) {
	r := newSigningRegistry(t, registry.WithReferrersSupport(true))
	for name, key := range map[string]crypto.Signer{
		"P-256":    newECDSA(t, elliptic.P256()),
		"P-384":    newECDSA(t, elliptic.P384()),
		"P-521":    newECDSA(t, elliptic.P521()),
		"RSA-2048": newRSA(t, 2048),
		"RSA-3072": newRSA(t, 3072),
		"Ed25519":  newEd25519(t),
	} {
		other := publicPEM(t, newECDSA(t, elliptic.P256()))
		mine := Signer{PublicKey: publicPEM(t, key)}
		t.Run(name+" simple signing", func(t *testing.T) {
			image := r.push(t, "simple/"+strings.ToLower(name))
			image.attach(t, image.keyLayer(t, key, nil))
			image.wantVerified(t, nil, mine)
			image.wantRefused(t, nil, "the key has not made it", Signer{PublicKey: other})
			image.wantRefused(t, nil, "missing signatures", mine, Signer{PublicKey: other})
		})
		t.Run(name+" bundle of a statement", func(t *testing.T) {
			image := r.push(t, "statement/"+strings.ToLower(name))
			image.refer(t, bundleJSON(t, keyBundle(envelope(t, key, statement(t, image.digest.Hex, signPredicate, nil)))))
			image.wantVerified(t, nil, mine)
			image.wantRefused(t, nil, "the key has not made it", Signer{PublicKey: other})
		})
		t.Run(name+" bundle of a message", func(t *testing.T) {
			image := r.push(t, "message/"+strings.ToLower(name))
			image.refer(t, bundleJSON(t, keyBundle(messageSignature(image.manifest, sign(t, key, image.manifest), hashOf(key.Public())))))
			image.wantVerified(t, nil, mine)
			image.wantRefused(t, nil, "the key has not made it", Signer{PublicKey: other})
		})
	}
}

// TestOlderHash verifies what older versions of cosign sign with a P-384 key.
func TestOlderHash(t *testing.T) {
	key := newECDSA(t, elliptic.P384())
	image := newSigningRegistry(t).push(t, "app")
	l := image.keyLayer(t, key, nil)
	signer := must(signature.LoadSigner(key, crypto.SHA256))(t)
	sig := must(signer.SignMessage(strings.NewReader(string(l.payload))))(t)
	image.attach(t, l.with(signatureAnnotation, base64.StdEncoding.EncodeToString(sig)))
	image.wantVerified(t, nil, Signer{PublicKey: publicPEM(t, key)})
}

// TestReferrersTag verifies a bundle in a registry without the referrers API:
// the registry of go-containerregistry has it only when it is asked for.
func TestReferrersTag(t *testing.T) {
	key := newECDSA(t, elliptic.P256())
	image := newSigningRegistry(t).push(t, "app")
	image.refer(t, bundleJSON(t, keyBundle(envelope(t, key, statement(t, image.digest.Hex, signPredicate, nil)))))
	image.wantVerified(t, nil, Signer{PublicKey: publicPEM(t, key)})
}

func TestAnnotations(t *testing.T) {
	r := newSigningRegistry(t)
	key := newECDSA(t, elliptic.P256())
	signer := func(annotations map[string]string) Signer {
		return Signer{PublicKey: publicPEM(t, key), Annotations: annotations}
	}
	optional := map[string]any{"env": "prod", "n": 42, "big": 1e3, "yes": true, "null": nil, "list": []string{"prod"}}
	simple := r.push(t, "simple")
	simple.attach(t,
		simple.keyLayer(t, newECDSA(t, elliptic.P256()), map[string]any{"other": "x"}),
		simple.keyLayer(t, key, map[string]any{"team": "web"}),
		simple.keyLayer(t, key, optional))
	bundled := r.push(t, "bundled")
	bundled.refer(t, bundleJSON(t, keyBundle(envelope(t, key, statement(t, bundled.digest.Hex, signPredicate, map[string]any{"team": "web"})))))
	bundled.refer(t, bundleJSON(t, keyBundle(envelope(t, key, statement(t, bundled.digest.Hex, signPredicate, optional)))))
	for name, image := range map[string]pushed{"simple signing": simple, "bundle": bundled} {
		t.Run(name, func(t *testing.T) {
			image.wantVerified(t, nil, signer(nil))
			image.wantVerified(t, nil, signer(map[string]string{"env": "prod"}))
			image.wantVerified(t, nil, signer(map[string]string{"env": "prod", "n": "42", "yes": "true"}))
			image.wantVerified(t, nil, signer(map[string]string{"env": "prod"}), signer(map[string]string{"team": "web"}))
			image.wantRefused(t, nil, `its annotation "env" is "prod", not "dev"`, signer(map[string]string{"env": "dev"}))
			image.wantRefused(t, nil, `its payload has no annotation "env"`, signer(map[string]string{"env": "prod", "team": "web"})) // in two signatures
			image.wantRefused(t, nil, `its annotation "null" is null`, signer(map[string]string{"null": ""}))
			image.wantRefused(t, nil, `its annotation "list" is ["prod"]`, signer(map[string]string{"list": "prod"}))
			image.wantRefused(t, nil, `has no annotation "other"`, signer(map[string]string{"other": "x"})) // somebody else's
		})
	}
	message := r.push(t, "message")
	message.refer(t, bundleJSON(t, keyBundle(messageSignature(message.manifest, sign(t, key, message.manifest), crypto.SHA256))))
	message.wantRefused(t, nil, `has no annotation "env"`, signer(map[string]string{"env": "prod"}))
}

func TestTexts(t *testing.T) {
	r := newSigningRegistry(t)
	key := newECDSA(t, elliptic.P256())
	unsigned, signed := r.push(t, "unsigned"), r.push(t, "signed")
	signed.attach(t, signed.keyLayer(t, key, nil))
	mine := Signer{PublicKey: publicPEM(t, key)}
	tests := []struct {
		name, image string
		signers     []Signer
		want        string
		exact       bool
	}{
		{"nothing is signed", unsigned.ref, []Signer{mine}, "no signatures found for image: " + unsigned.ref + " ", true},
		{"no image", r.host + "/nope:1", []Signer{mine}, `image "` + r.host + `/nope:1": GET `, false},
		{"no reference", "https://example.org/x.wasm", []Signer{mine}, "Verification only works with OCI images: Not a valid oci image: ", false},
		{"a file", "file:///policy.wasm", []Signer{mine}, `Verification only works with OCI images: Not a valid oci image: "file:///policy.wasm" is not in a registry`, true},
		{"nobody", signed.ref, nil, "Image verification failed: no signatures to verify", true},
		{"empty signer", signed.ref, []Signer{{}}, "Must provide at least one pub key", true},
		{"blank key", signed.ref, []Signer{{PublicKey: " \n"}}, "Must provide at least one pub key", true},
		{"no key", signed.ref, []Signer{{PublicKey: "x"}}, "key verification failure: it is not PEM ", true},
		{"weak key", signed.ref, []Signer{{PublicKey: publicPEM(t, newRSA(t, 1024))}}, "key verification failure: it is an RSA key of 1024 bits; want 2048 to 8192 ", true},
		{"wrong curve", signed.ref, []Signer{{PublicKey: publicPEM(t, newECDSA(t, elliptic.P224()))}}, "key verification failure: it is an ECDSA key of the curve P-224; want P-256, P-384 or P-521 ", true},
		{"empty identity", signed.ref, []Signer{{Identity: &Identity{Subject: "x"}}}, "Must provide keyless info", true},
		{"empty prefix", signed.ref, []Signer{{Prefix: &IdentityPrefix{Issuer: "x"}}}, "Must provide keyless info", true},
		{"no owner", signed.ref, []Signer{{GitHub: &GitHub{Repo: "x"}}}, "Must provide owner info", true},
		{"prefix is no URL", signed.ref, []Signer{{Prefix: &IdentityPrefix{Issuer: "x", URLPrefix: "acme"}}}, `url_prefix "acme": want a URL with a scheme and a host, such as https://github.com/acme/`, true},
		{"prefix does not parse", signed.ref, []Signer{{Prefix: &IdentityPrefix{Issuer: "x", URLPrefix: "https://[acme"}}}, `url_prefix "https://[acme": parse `, false},
		{"two in one", signed.ref, []Signer{{PublicKey: mine.PublicKey, GitHub: &GitHub{Owner: "x"}}}, "a signer is a key, an identity, a prefix, a GitHub owner or a certificate; this one is more than one", true},
		{
			"other signers", signed.ref,
			[]Signer{mine, {Identity: &Identity{"https://issuer.example.org", "dev@example.org"}, Annotations: map[string]string{"env": "prod"}}, {GitHub: &GitHub{Owner: "acme"}}},
			`Image verification failed: missing signatures
The following constraints were not satisfied:
kind: genericIssuer
issuer: https://issuer.example.org
subject:
  equal: dev@example.org
annotations:
  env: prod
kind: githubAction
owner: acme
Why signatures do not count:
signature sha256:`, false,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			digest, err := verify1(t, nil, tt.image, tt.signers...)
			if err == nil || digest != "" {
				t.Fatalf("Verify = %q, %v", digest, err)
			}
			if have := err.Error(); tt.exact && have != tt.want || !strings.HasPrefix(have, tt.want) {
				t.Errorf("Verify: %q\nwant %q", have, tt.want)
			}
		})
	}
}

func TestErrorsAreTyped(t *testing.T) {
	r := newSigningRegistry(t)
	key := newECDSA(t, elliptic.P256())
	image := r.push(t, "app")
	image.attach(t, image.keyLayer(t, newECDSA(t, elliptic.P256()), nil))
	_, err := verify1(t, nil, image.ref, Signer{PublicKey: publicPEM(t, key), Owner: "alice"})
	var refused *VerifyError
	if !errors.As(err, &refused) {
		t.Fatalf("Verify: %v, want a *VerifyError", err)
	}
	if refused.Image != image.ref || refused.Digest != image.digest.String() || len(refused.Rejected) != 1 || len(refused.Unsatisfied) != 1 || refused.Unsatisfied[0].Owner != "alice" {
		t.Errorf("VerifyError = %+v", refused)
	}
	_, err = verify1(t, nil, image.ref, Signer{PublicKey: "x"})
	var unusable *SignerError
	if !errors.As(err, &unusable) {
		t.Errorf("Verify: %v, want a *SignerError", err)
	}
}

func TestVerifyConfig(t *testing.T) {
	r := newSigningRegistry(t)
	alice, bob, eve := newECDSA(t, elliptic.P256()), newEd25519(t), newECDSA(t, elliptic.P256())
	image := r.push(t, "app")
	image.attach(t, image.keyLayer(t, alice, nil))
	image.refer(t, bundleJSON(t, keyBundle(envelope(t, bob, statement(t, image.digest.Hex, signPredicate, nil)))))
	signer := func(key crypto.Signer) Signer { return Signer{PublicKey: publicPEM(t, key)} }
	a, b, e := signer(alice), signer(bob), signer(eve)
	broken := Signer{PublicKey: "broken", Owner: "carol"}
	tests := []struct {
		name   string
		config VerificationConfig
		want   string
	}{
		{"all of one", VerificationConfig{AllOf: []Signer{a}}, ""},
		{"all of two, in both formats", VerificationConfig{AllOf: []Signer{a, b}}, ""},
		{"not all", VerificationConfig{AllOf: []Signer{a, e}}, "Image verification failed: missing signatures\nThe following constraints were not satisfied:\nkind: pubKey\nkey: |"},
		{"one of two", VerificationConfig{AnyOf: &AnyOf{1, []Signer{e, b}}}, ""},
		{"the zero minimum is one", VerificationConfig{AnyOf: &AnyOf{0, []Signer{e}}}, "minimum number of signatures not reached: needed 1, got 0"},
		{"two of three", VerificationConfig{AnyOf: &AnyOf{2, []Signer{e, b, a}}}, ""},
		{"two of two, one is there", VerificationConfig{AnyOf: &AnyOf{2, []Signer{e, b}}}, "Image verification failed: minimum number of signatures not reached: needed 2, got 1\nThe following constraints were not satisfied:\nkind: pubKey\nkey: |"},
		{"both", VerificationConfig{AllOf: []Signer{a}, AnyOf: &AnyOf{1, []Signer{e, b}}}, ""},
		{"both, all of fails", VerificationConfig{AllOf: []Signer{e}, AnyOf: &AnyOf{1, []Signer{a, b}}}, "missing signatures"},
		{"both, any of fails", VerificationConfig{AllOf: []Signer{a}, AnyOf: &AnyOf{1, []Signer{e}}}, "needed 1, got 0"},
		{"an unusable key is not satisfied", VerificationConfig{AllOf: []Signer{a, broken}}, "kind: pubKey\nowner: carol\nkey: broken\nWhy signatures do not count:\nsigner 2: key verification failure: it is not PEM "},
		{"an unusable key does not disturb others", VerificationConfig{AnyOf: &AnyOf{1, []Signer{broken, a}}}, ""},
		{"nothing", VerificationConfig{}, "Image verification failed: no signatures to verify"},
		{"nobody", VerificationConfig{AnyOf: &AnyOf{}}, "needed 1, got 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			digest, err := NewVerifier(VerifierOptions{}).VerifyConfig(context.Background(), "registry://"+image.ref, tt.config)
			switch {
			case tt.want == "" && (err != nil || digest != image.digest.String()):
				t.Fatalf("VerifyConfig = %q, %v", digest, err)
			case tt.want != "" && (err == nil || digest != "" || !strings.Contains(err.Error(), tt.want)):
				t.Fatalf("VerifyConfig = %q, %v\nwant %q", digest, err, tt.want)
			}
		})
	}
}

// TestReasonsAreShort bounds what strangers can make an error say.
func TestReasonsAreShort(t *testing.T) {
	r := newSigningRegistry(t)
	key := newECDSA(t, elliptic.P256())
	image := r.push(t, "app")
	for range 3 {
		image.refer(t, bundleJSON(t, keyBundle(envelope(t, key, statement(t, image.digest.Hex, strings.Repeat("é", 100_000), map[string]any{"x": r.requests.Load()})))))
	}
	_, err := verify1(t, nil, image.ref, Signer{PublicKey: publicPEM(t, key)})
	if err == nil || len(err.Error()) > 4000 || !strings.Contains(err.Error(), "it attests something of the image") || !utf8.ValidString(err.Error()) {
		t.Errorf("Verify: %v", err)
	}
}
