package artifact

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"
)

// sigstore is a throwaway Sigstore: an authority that issues certificates, a
// transparency log and a timestamp authority, none of which check anything.
type sigstore struct {
	root, intermediate *x509.Certificate
	intermediateKey    *ecdsa.PrivateKey
	rekor              *ecdsa.PrivateKey
	tsa                *ca.VirtualSigstore
}

func newSigstore(t testing.TB) *sigstore {
	t.Helper()
	s := &sigstore{rekor: newECDSA(t, elliptic.P256())}
	var rootKey *ecdsa.PrivateKey
	s.root, rootKey = must2(ca.GenerateRootCa())(t)
	s.intermediateKey = newECDSA(t, elliptic.P256())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "intermediate"},
		NotBefore: time.Now().Add(-4 * time.Hour), NotAfter: time.Now().Add(4 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		BasicConstraintsValid: true, IsCA: true,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, s.root, s.intermediateKey.Public(), rootKey))(t)
	s.intermediate = must(x509.ParseCertificate(der))(t)
	s.tsa = must(ca.NewVirtualSigstore())(t)
	return s
}

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func must2[T, U any](a T, b U, err error) func(testing.TB) (T, U) {
	return func(t testing.TB) (T, U) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
}

func newECDSA(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	return must(ecdsa.GenerateKey(curve, rand.Reader))(t)
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	return must(rsa.GenerateKey(rand.Reader, bits))(t)
}

func newEd25519(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// publicPEM is the public key of key, in PEM.
func publicPEM(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der := must(x509.MarshalPKIXPublicKey(key.Public()))(t)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func certPEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// leafOptions say how a certificate differs from a good one.
type leafOptions struct {
	email, uri string // default: dev@example.org
	issuer     string // default: https://accounts.example.org
	repository string // of a GitHub workflow
	notBefore  time.Time
	notAfter   time.Time
	noUsage    bool
	noCode     bool // no extended key usage
	noName     bool
	twoNames   bool
	key        crypto.Signer // default: a new one
	by         *sigstore     // who issues it, if somebody else
}

const (
	someIssuer  = "https://accounts.example.org"
	someSubject = "dev@example.org"
)

// leaf issues a certificate.
func (s *sigstore) leaf(t testing.TB, o leafOptions) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	if o.by != nil {
		s = o.by
	}
	if o.key == nil {
		o.key = newECDSA(t, elliptic.P256())
	}
	if o.notBefore.IsZero() {
		o.notBefore = time.Now().Add(-time.Minute)
	}
	if o.notAfter.IsZero() {
		o.notAfter = o.notBefore.Add(10 * time.Minute)
	}
	if o.issuer == "" {
		o.issuer = someIssuer
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: o.notBefore, NotAfter: o.notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{extension(1, o.issuer)},
	}
	if o.repository != "" {
		template.ExtraExtensions = append(template.ExtraExtensions, extension(5, o.repository))
	}
	switch {
	case o.noName:
		template.Subject.CommonName = "nobody" // a SAN must be there when there is no subject
	case o.uri != "":
		template.URIs = []*url.URL{must(url.Parse(o.uri))(t)}
	case o.email != "":
		template.EmailAddresses = []string{o.email}
	default:
		template.EmailAddresses = []string{someSubject}
	}
	if o.twoNames {
		template.EmailAddresses = append(template.EmailAddresses, "other@example.org")
	}
	if o.noUsage {
		template.KeyUsage = 0
	}
	if o.noCode {
		template.ExtKeyUsage = nil
	}
	der := must(x509.CreateCertificate(rand.Reader, template, s.intermediate, o.key.Public(), s.intermediateKey))(t)
	return must(x509.ParseCertificate(der))(t), o.key
}

func extension(number int, value string) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, number}, Value: []byte(value)}
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// logID is what the log is known by.
func (s *sigstore) logID(t testing.TB) []byte {
	t.Helper()
	id := sha256.Sum256(must(x509.MarshalPKIXPublicKey(s.rekor.Public()))(t))
	return id[:]
}

// hashedRekord is the body of an entry.
func hashedRekord(t testing.TB, payload, sig, verifier []byte) []byte {
	t.Helper()
	return must(json.Marshal(map[string]any{
		"apiVersion": "0.0.1", "kind": "hashedrekord",
		"spec": map[string]any{
			"data":      map[string]any{"hash": map[string]any{"algorithm": "sha256", "value": sum(payload)}},
			"signature": map[string]any{"content": sig, "publicKey": map[string]any{"content": verifier}},
		},
	}))(t)
}

// dsseEntry is the body of an entry about an envelope.
func dsseEntry(t testing.TB, payload, sig, verifier []byte) []byte {
	t.Helper()
	return must(json.Marshal(map[string]any{
		"apiVersion": "0.0.1", "kind": "dsse",
		"spec": map[string]any{
			"envelopeHash": map[string]any{"algorithm": "sha256", "value": sum([]byte("some envelope"))},
			"payloadHash":  map[string]any{"algorithm": "sha256", "value": sum(payload)},
			"signatures":   []any{map[string]any{"signature": base64.StdEncoding.EncodeToString(sig), "verifier": verifier}},
		},
	}))(t)
}

// promise signs what the log promises of an entry.
func (s *sigstore) promise(t testing.TB, body []byte, at time.Time) []byte {
	t.Helper()
	text := must(json.Marshal(map[string]any{
		"body": body, "integratedTime": at.Unix(), "logID": hex.EncodeToString(s.logID(t)), "logIndex": 0,
	}))(t)
	hash := sha256.Sum256(text)
	return must(ecdsa.SignASN1(rand.Reader, s.rekor, hash[:]))(t)
}

// rekorBundle is the annotation of cosign's about an entry.
func (s *sigstore) rekorBundle(t testing.TB, body []byte, at time.Time) string {
	t.Helper()
	return string(must(json.Marshal(map[string]any{
		"SignedEntryTimestamp": s.promise(t, body, at),
		"Payload": map[string]any{
			"body": body, "integratedTime": at.Unix(), "logIndex": 0, "logID": hex.EncodeToString(s.logID(t)),
		},
	}))(t))
}

// entry is an entry of a bundle, with the log's proof.
func (s *sigstore) entry(t testing.TB, kind string, body []byte, at time.Time) *protorekor.TransparencyLogEntry {
	t.Helper()
	leaf := sha256.Sum256(append([]byte{0}, body...))
	signer := must(signature.LoadECDSASignerVerifier(s.rekor, crypto.SHA256))(t)
	checkpoint := must(util.CreateAndSignCheckpoint(context.Background(), "rekor.example.org", 1, 1, leaf[:], signer))(t)
	return &protorekor.TransparencyLogEntry{
		LogId: &protocommon.LogId{KeyId: s.logID(t)}, KindVersion: &protorekor.KindVersion{Kind: kind, Version: "0.0.1"},
		IntegratedTime: at.Unix(), CanonicalizedBody: body,
		InclusionPromise: &protorekor.InclusionPromise{SignedEntryTimestamp: s.promise(t, body, at)},
		InclusionProof: &protorekor.InclusionProof{
			TreeSize: 1, RootHash: leaf[:], Checkpoint: &protorekor.Checkpoint{Envelope: string(checkpoint)},
		},
	}
}

// trusted is the trust root of the throwaway Sigstore.
func (s *sigstore) trusted(t testing.TB, ctlogs map[string]*root.TransparencyLog) []byte {
	t.Helper()
	start := time.Now().Add(-time.Hour)
	logs := map[string]*root.TransparencyLog{hex.EncodeToString(s.logID(t)): {
		BaseURL: "https://rekor.example.org", ID: s.logID(t), ValidityPeriodStart: start,
		HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256, PublicKey: s.rekor.Public(),
	}}
	tr := must(root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{&root.FulcioCertificateAuthority{
		Root: s.root, Intermediates: []*x509.Certificate{s.intermediate}, URI: "https://fulcio.example.org", ValidityPeriodStart: start,
	}}, ctlogs, s.tsa.TimestampingAuthorities(), logs))(t)
	return must(tr.MarshalJSON())(t)
}

// trustRoot is the trust root, read from a file as an operator would have it.
func (s *sigstore) trustRoot(t testing.TB) *TrustRoot {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trust.json")
	config := `{"mediaType":"application/vnd.dev.sigstore.clienttrustconfig.v0.1+json","trustedRoot":` + string(s.trusted(t, nil)) + `,"signingConfig":{}}`
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return must(ReadTrustRoot(path, ""))(t)
}

func sign(t testing.TB, key crypto.Signer, message []byte) []byte {
	t.Helper()
	signer := must(signature.LoadSigner(key, hashOf(key.Public())))(t)
	return must(signer.SignMessage(bytes.NewReader(message)))(t)
}

// statement is what cosign sign says of an image, in a bundle.
func statement(t testing.TB, digestHex, predicate string, annotations map[string]any) []byte {
	t.Helper()
	return must(json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": predicate, "predicate": map[string]any{},
		"subject": []any{map[string]any{"digest": map[string]any{"sha256": digestHex}, "annotations": annotations}},
	}))(t)
}

// envelope signs a statement.
func envelope(t testing.TB, key crypto.Signer, text []byte) *protobundle.Bundle_DsseEnvelope {
	t.Helper()
	const payloadType = "application/vnd.in-toto+json"
	return &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
		Payload: text, PayloadType: payloadType,
		Signatures: []*protodsse.Signature{{Sig: sign(t, key, dsse.PAE(payloadType, text))}},
	}}
}

// keylessBundle signs a statement as cosign does, with a new certificate.
func (s *sigstore) keylessBundle(t testing.TB, text []byte, o leafOptions) *protobundle.Bundle {
	t.Helper()
	cert, key := s.leaf(t, o)
	content := envelope(t, key, text)
	sig := content.DsseEnvelope.Signatures[0].Sig
	return &protobundle.Bundle{
		MediaType: bundleTypeV3, Content: content,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content:     &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: cert.Raw}},
			TlogEntries: []*protorekor.TransparencyLogEntry{s.entry(t, "dsse", dsseEntry(t, text, sig, certPEM(cert)), time.Now())},
		},
	}
}

// keyBundle is a bundle that was signed with a key.
func keyBundle(content any) *protobundle.Bundle {
	b := &protobundle.Bundle{
		MediaType: bundleTypeV3,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: "whose"}},
		},
	}
	switch c := content.(type) {
	case *protobundle.Bundle_DsseEnvelope:
		b.Content = c
	case *protobundle.Bundle_MessageSignature:
		b.Content = c
	}
	return b
}

func bundleJSON(t testing.TB, b *protobundle.Bundle) []byte {
	t.Helper()
	return must(protojson.Marshal(b))(t)
}
