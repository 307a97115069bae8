package artifact

import (
	"crypto/elliptic"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
)

func TestCertificate(t *testing.T) {
	s, other := newSigstore(t), newSigstore(t)
	trust, now := s.trustRoot(t), time.Now()
	key := newECDSA(t, elliptic.P256())
	cert, _ := s.leaf(t, leafOptions{key: key})
	another, anotherKey := s.leaf(t, leafOptions{})
	expired, _ := s.leaf(t, leafOptions{key: key, notBefore: now.Add(-50 * time.Minute)})
	future, _ := s.leaf(t, leafOptions{key: key, notBefore: now.Add(time.Hour)})
	chain := [][]byte{certPEM(s.intermediate), certPEM(s.root)}

	of := func(cert *x509.Certificate) Signer { return Signer{Certificate: &Certificate{PEM: certPEM(cert)}} }
	with := func(cert *x509.Certificate, chain [][]byte, rekor bool) Signer {
		return Signer{Certificate: &Certificate{PEM: certPEM(cert), Chain: chain, RequireRekor: rekor}}
	}
	leaf := func(o leafOptions) Signer { o.key = key; c, _ := s.leaf(t, o); return of(c) }
	plain := func(p pushed) layer { return p.keyLayer(t, key, nil) }
	logged := func(by *sigstore, verifier []byte, at time.Time) func(p pushed) layer {
		return func(p pushed) layer {
			l := plain(p)
			return l.with(rekorAnnotation, by.rekorBundle(t, hashedRekord(t, l.payload, l.signature(t), verifier), at))
		}
	}
	theirs := func(p pushed) layer {
		l := p.keyLayer(t, anotherKey, nil)
		return plain(p).with(rekorAnnotation, s.rekorBundle(t, hashedRekord(t, l.payload, l.signature(t), certPEM(another)), now))
	}
	tests := []struct {
		name   string
		signer Signer
		make   func(p pushed) layer
		want   string
	}{
		{"alone", of(cert), plain, ""},
		{"with its chain", with(cert, chain, false), plain, ""},
		{"with its issuer alone", with(cert, chain[:1], false), plain, ""},
		{"logged", of(cert), logged(s, certPEM(cert), now), ""},
		{"logged, with chain and Rekor required", with(cert, chain, true), logged(s, certPEM(cert), now), ""},
		{"logged with the bare key", with(cert, chain, true), logged(s, []byte(publicPEM(t, key)), now), ""},
		{"expired since it was logged", of(expired), logged(s, certPEM(expired), now.Add(-45*time.Minute)), ""},

		{"of another key", of(another), plain, "the key has not made it"},
		{"root alone, without the intermediate", with(cert, chain[1:], false), plain, "verification failed: certificate: x509: certificate signed by unknown authority"},
		{"chain of another authority", with(cert, [][]byte{certPEM(other.intermediate)}, false), plain, "verification failed: certificate: x509"},
		{"chain is empty", with(cert, [][]byte{}, false), plain, "verification failed: certificate: x509"},
		{"chain has no certificate", with(cert, [][]byte{chain[0], []byte("x")}, false), plain, "verification failed: certificate_chain[1]: it is no certificate in PEM"},
		{"chain has two in one", with(cert, [][]byte{append(chain[0], chain[1]...)}, false), plain, "verification failed: certificate_chain[0]: it is more than one certificate"},
		{"expired, with a chain", with(expired, chain, false), logged(s, certPEM(expired), now.Add(-45*time.Minute)), "verification failed: certificate: x509: certificate has expired"},
		{"expired, and nobody knows when it signed", of(expired), plain, "the certificate has expired at"},
		{"expired before it was logged", of(expired), logged(s, certPEM(expired), now), "when the certificate was not valid"},
		{"not valid yet", of(future), plain, "verification failed: certificate: it is not valid before"},
		{"no key usage", leaf(leafOptions{noUsage: true}), plain, "verification failed: certificate: its key usage is not digital signature"},
		{"no code signing", leaf(leafOptions{noCode: true}), plain, "verification failed: certificate: its extended key usage is not code signing"},
		{"no name", leaf(leafOptions{noName: true}), plain, "verification failed: certificate: it has no subject alternative name"},
		{"no certificate", Signer{Certificate: &Certificate{PEM: []byte("x")}}, plain, "verification failed: certificate: it is no certificate in PEM"},
		{"Rekor required and not there", with(cert, nil, true), plain, "it is in no transparency log"},
		{"Rekor required, another log", with(cert, nil, true), logged(other, certPEM(cert), now), "its transparency log"},
		{"logged in another log", of(cert), logged(other, certPEM(cert), now), "its transparency log"},
		{"logged with another certificate of the key", of(cert), logged(s, certPEM(expired), now), "transparency log certificate does not match"},
		{"logged is another signature", of(cert), theirs, "its transparency log: transparency log signature does not match"},
	}
	r := newSigningRegistry(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			image := r.push(t, "app")
			image.attach(t, tt.make(image))
			if tt.want == "" {
				image.wantVerified(t, trust, tt.signer)
			} else {
				image.wantRefused(t, trust, tt.want, tt.signer)
			}
		})
	}
	t.Run("without a trust root", func(t *testing.T) {
		image := r.push(t, "app")
		image.attach(t, logged(s, certPEM(cert), now)(image))
		image.wantVerified(t, nil, with(cert, chain, false))
		image.wantRefused(t, nil, "there is no Sigstore trust root", with(cert, chain, true))
		image.attach(t, logged(s, certPEM(expired), now.Add(-45*time.Minute))(image))
		image.wantRefused(t, nil, "the certificate has expired at", of(expired)) // nobody vouches for the time
	})
	t.Run("in a bundle", func(t *testing.T) {
		image := r.push(t, "bundled")
		text := statement(t, image.digest.Hex, signPredicate, map[string]any{"env": "prod"})
		content := envelope(t, key, text)
		image.refer(t, bundleJSON(t, &protobundle.Bundle{
			MediaType: bundleTypeV3, Content: content,
			VerificationMaterial: &protobundle.VerificationMaterial{
				Content:     &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: cert.Raw}},
				TlogEntries: []*protorekor.TransparencyLogEntry{s.entry(t, "dsse", dsseEntry(t, text, content.DsseEnvelope.Signatures[0].Sig, certPEM(cert)), now)},
			},
		}))
		signer := with(cert, chain, true)
		signer.Annotations = map[string]string{"env": "prod"}
		image.wantVerified(t, trust, signer)
		signer.Annotations = map[string]string{"env": "dev"}
		image.wantRefused(t, trust, `its annotation "env"`, signer)
		_, err := verify1(t, trust, image.ref, signer)
		if want := "kind: certificate\ncertificate: |"; !strings.Contains(err.Error(), want) {
			t.Errorf("Verify: %v\nwant %q", err, want)
		}
	})
}
