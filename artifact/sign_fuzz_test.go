package artifact

import (
	"context"
	"crypto/elliptic"
	"os"
	"testing"
)

// FuzzVerificationConfig wants every file to be refused, or to want something.
func FuzzVerificationConfig(f *testing.F) {
	f.Add([]byte(DefaultVerificationConfig()))
	f.Add([]byte("apiVersion: v1\nanyOf: {minimumMatches: 1, signatures: [{kind: pubKey, key: x, owner: y}]}"))
	f.Add([]byte("apiVersion: v1\nallOf: [&a {kind: genericIssuer, issuer: x, subject: {urlPrefix: 'https://y'}}, *a]"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := ParseVerificationConfig("v.yml", text)
		if err == nil && len(config.AllOf) == 0 && (config.AnyOf == nil || len(config.AnyOf.Signers) == 0) {
			t.Errorf("%q wants nothing to be verified", text)
		}
		for _, s := range config.AllOf {
			_, _ = newConstraint(s)
			_ = s.yaml()
		}
	})
}

// fuzzed are constraints, none of which anything that a fuzzer makes satisfies,
// a verifier to judge by, and a Sigstore to make seeds with.
func fuzzed(f *testing.F) (*sigstore, *Verifier, []*constraint) {
	f.Helper()
	s := newSigstore(f)
	cert, _ := s.leaf(f, leafOptions{})
	var constraints []*constraint
	for _, signer := range []Signer{
		{PublicKey: publicPEM(f, newECDSA(f, elliptic.P384()))},
		{Identity: &Identity{someIssuer, "nobody@example.org"}},
		{Certificate: &Certificate{PEM: certPEM(cert), RequireRekor: true}},
	} {
		constraints = append(constraints, must(newConstraint(signer))(f))
	}
	return s, NewVerifier(VerifierOptions{TrustRoot: s.trustRoot(f)}), constraints
}

// FuzzSimpleSigning judges layers: nothing panics, and nothing is satisfied.
func FuzzSimpleSigning(f *testing.F) {
	s, v, constraints := fuzzed(f)
	image := pushed{digest: sha256Of([]byte("image"))}
	good := s.keylessLayer(f, image, leafOptions{}, map[string]any{"env": "prod"})
	plain := image.keyLayer(f, newEd25519(f), nil)
	for _, l := range []layer{good, plain} {
		f.Add(l.payload, l.annotations[signatureAnnotation], l.annotations[certificateAnnotation], l.annotations[rekorAnnotation])
	}
	f.Fuzz(func(t *testing.T, payload []byte, signature, certificate, rekor string) {
		e := &evidence{}
		annotations := map[string]string{signatureAnnotation: signature, certificateAnnotation: certificate, rekorAnnotation: rekor}
		if e.simpleSigning(payload, annotations, image.digest) != nil {
			return
		}
		for _, c := range constraints {
			if v.judge(context.Background(), c, e) == nil {
				t.Errorf("%q is signed by %+v", payload, c.signer)
			}
		}
	})
}

// FuzzBundle judges bundles: nothing panics, and nothing is satisfied.
func FuzzBundle(f *testing.F) {
	s, v, constraints := fuzzed(f)
	manifest := []byte(`{"schemaVersion":2}`)
	image := sha256Of(manifest)
	key := newECDSA(f, elliptic.P256())
	f.Add(must(os.ReadFile("testdata/sigstore/provenance.sigstore.json"))(f))
	f.Add(bundleJSON(f, s.keylessBundle(f, statement(f, image.Hex, signPredicate, nil), leafOptions{})))
	f.Add(bundleJSON(f, keyBundle(messageSignature(manifest, sign(f, key, manifest), hashOf(key.Public())))))
	f.Fuzz(func(t *testing.T, text []byte) {
		e := &evidence{}
		if e.sigstoreBundle(text, manifest, image) != nil {
			return
		}
		for _, c := range constraints {
			if v.judge(context.Background(), c, e) == nil {
				t.Errorf("%q is signed by %+v", text, c.signer)
			}
		}
	})
}

// FuzzKeys reads keys and certificates.
func FuzzKeys(f *testing.F) {
	private, public, err := GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	cert, _ := newSigstore(f).leaf(f, leafOptions{})
	f.Add(private)
	f.Add(public)
	f.Add(certPEM(cert))
	f.Add([]byte("-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\ne30=\n-----END ENCRYPTED COSIGN PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := ParsePublicKey(text); err == nil && checkKey(key) != nil {
			t.Errorf("%q is a key that is not safe", text)
		}
		if key, err := ParsePrivateKey(text, []byte("x")); err == nil && checkKey(key.Public()) != nil {
			t.Errorf("%q is a private key that is not safe", text)
		}
		_, _ = newConstraint(Signer{Certificate: &Certificate{PEM: text, Chain: [][]byte{text}}})
	})
}

// FuzzTrustRoot reads trust roots: one without authorities or logs is refused.
func FuzzTrustRoot(f *testing.F) {
	trusted := newSigstore(f).trusted(f, nil)
	f.Add(trusted)
	f.Add([]byte(`{"trustedRoot":` + string(trusted) + `}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		material, err := parseTrustRoot(text)
		if err == nil && (len(material.FulcioCertificateAuthorities()) == 0 || len(material.RekorLogs()) == 0) {
			t.Errorf("%q trusts nobody", text)
		}
	})
}
