package artifact

import (
	"bytes"
	"crypto/elliptic"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestTheGateOpensForWhatWasVerifiedWhileTheRegistryIsAway pulls one signed
// module through a gate, with the registry there, away, and lying.
func TestTheGateOpensForWhatWasVerifiedWhileTheRegistryIsAway(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	client, store := h.insecure(), newTestStore(t)
	module, key, stranger := wasmModule(t, 1000), newECDSA(t, elliptic.P256()), newECDSA(t, elliptic.P256())
	uri := h.host() + "/acme/p:v1"
	h.push(client, module, "acme/p:v1")
	if _, err := Sign(t.Context(), uri, key, SignOptions{Reach: client.ReachForPush}); err != nil {
		t.Fatal(err)
	}
	verifier := NewVerifier(VerifierOptions{Reach: client.Reach})
	gate := func(s *Store, signers ...Signer) *Puller {
		g := &Gate{Verifier: verifier, Config: VerificationConfig{AllOf: signers}, Store: s}
		return &Puller{Client: client, Store: s, Verify: g.Verify}
	}
	mine, theirs := Signer{PublicKey: publicPEM(t, key)}, Signer{PublicKey: publicPEM(t, stranger)}
	m, err := gate(store, mine).Pull(t.Context(), uri)
	wantModule(t, m, err, module)
	if m.Stale != nil {
		t.Errorf("Stale = %v, want nothing while the registry is there", m.Stale)
	}
	wantUnsigned := func(when string, p *Puller) {
		t.Helper()
		var unsigned *VerifyError
		if m, err := p.Pull(t.Context(), uri); !errors.As(err, &unsigned) {
			t.Errorf("%s: Pull = %v, %v, want a *VerifyError", when, m, err)
		}
	}
	wantUnsigned("signed by another", gate(store, theirs))

	away := func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	h.between(away)
	wantStale := func(when string) {
		t.Helper()
		m, err := gate(store, mine).Pull(t.Context(), uri)
		if err != nil || !bytes.Equal(m.Bytes, module) || !errors.Is(m.Stale, ErrUnavailable) {
			t.Errorf("%s: Pull = %v, %v, want what was verified before, and why the registry could not be asked", when, m, err)
		}
	}
	wantStale("away")
	for name, p := range map[string]*Puller{
		"by both": gate(store, mine, theirs), "an empty store": gate(newTestStore(t), mine),
	} {
		if m, err := p.Pull(t.Context(), uri); !errors.Is(err, ErrUnavailable) {
			t.Errorf("away, %s: Pull = %v, %v, want ErrUnavailable", name, m, err)
		}
	}

	// The image is there, and whether it is signed is not to be found out.
	h.between(func(w http.ResponseWriter, r *http.Request) bool {
		return strings.Contains(r.URL.Path, ".sig") && away(w, r)
	})
	wantStale("signatures away")

	// An answer that there are none is no absence.
	h.between(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, ".sig") || strings.Contains(r.URL.Path, "/referrers/") {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	})
	wantUnsigned("the signatures are gone", gate(store, mine))
}

func TestTheGateForgetsNothingOfAConfiguration(t *testing.T) {
	g := &Gate{Verifier: NewVerifier(VerifierOptions{}), Config: VerificationConfig{AllOf: []Signer{{PublicKey: "a"}}}}
	base := g.key("example.org/p:v1")
	if base != g.key("example.org/p:v1") {
		t.Error("two keys for one question")
	}
	others := map[string]*Gate{
		"key":         {Config: VerificationConfig{AllOf: []Signer{{PublicKey: "b"}}}},
		"annotations": {Config: VerificationConfig{AllOf: []Signer{{PublicKey: "a", Annotations: map[string]string{"env": "prod"}}}}},
		"any of":      {Config: VerificationConfig{AnyOf: &AnyOf{Signers: []Signer{{PublicKey: "a"}}}}},
		"more":        {Config: VerificationConfig{AllOf: []Signer{{PublicKey: "a"}, {GitHub: &GitHub{Owner: "acme"}}}}},
		"certificate": {Config: VerificationConfig{AllOf: []Signer{{Certificate: &Certificate{PEM: []byte("a"), RequireRekor: true}}}}},
		"trust root":  {Config: g.Config, Verifier: NewVerifier(VerifierOptions{TrustRoot: &TrustRoot{from: "another"}})},
	}
	for name, other := range others {
		if other.Verifier == nil {
			other.Verifier = g.Verifier
		}
		if other.key("example.org/p:v1") == base {
			t.Errorf("%s: the same key, want another", name)
		}
	}
	if g.key("example.org/p:v2") == base {
		t.Error("another image: the same key, want another")
	}
}
