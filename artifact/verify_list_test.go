package artifact

import (
	"crypto/elliptic"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/go-containerregistry/pkg/registry"
)

// TestSignaturesAreListedAsTheyAre: by keys and without, in both formats, and
// one that is none.
func TestSignaturesAreListedAsTheyAre(t *testing.T) {
	s, r := newSigstore(t), newSigningRegistry(t, registry.WithReferrersSupport(true))
	image := r.push(t, "acme/labels")
	cert, key := s.leaf(t, leafOptions{})
	keyless := image.keyLayer(t, key, nil)
	keyless = keyless.with(certificateAnnotation, string(certPEM(cert))).
		with(rekorAnnotation, s.rekorBundle(t, hashedRekord(t, keyless.payload, keyless.signature(t), certPEM(cert)), time.Now()))
	byKey := image.keyLayer(t, newECDSA(t, elliptic.P256()), map[string]any{"env": "prod", "build": 7, "list": []any{"no text"}})
	image.attach(t, byKey, keyless, byKey.with(signatureAnnotation, "no base64"))
	image.refer(t, bundleJSON(t, s.keylessBundle(t, statement(t, image.digest.Hex, signPredicate, nil), leafOptions{})))

	digest, list, err := NewVerifier(VerifierOptions{}).Signatures(t.Context(), image.ref)
	if err != nil || digest != image.digest.String() {
		t.Fatalf("Signatures = %s, %v, want %s", digest, err, image.digest)
	}
	want := []FoundSignature{
		{Annotations: map[string]string{"env": "prod", "build": "7"}},
		{Issuer: someIssuer, Subject: someSubject},
		{Problem: "its annotation " + signatureAnnotation + " is no signature in base64"},
		{Issuer: someIssuer, Subject: someSubject},
	}
	if diff := cmp.Diff(want, list, cmpopts.IgnoreFields(FoundSignature{}, "Source")); diff != "" {
		t.Errorf("signatures (-want +have):\n%s", diff)
	}

	none := r.push(t, "acme/unsigned")
	if _, list, err := NewVerifier(VerifierOptions{}).Signatures(t.Context(), none.ref); err != nil || len(list) > 0 {
		t.Errorf("Signatures of what is unsigned = %v, %v", list, err)
	}
}

// TestSignaturesThatCannotBeReadAreNotNone: a registry that cannot answer leaves
// open whether there are any.
func TestSignaturesThatCannotBeReadAreNotNone(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	h.push(h.insecure(), wasmModule(t, 100), "acme/p:v1")
	h.between(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && len(r.URL.Path) > len("/v2/acme/p/manifests/v1") {
			w.WriteHeader(http.StatusRequestTimeout)
			return true
		}
		return false
	})
	v := NewVerifier(VerifierOptions{Reach: h.insecure().Reach})
	if _, list, err := v.Signatures(t.Context(), h.host()+"/acme/p:v1"); err == nil {
		t.Errorf("Signatures = %v, want an error", list)
	}
}
