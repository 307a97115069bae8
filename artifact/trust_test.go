package artifact

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	cttls "github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

func TestReadTrustRoot(t *testing.T) {
	trusted := string(newSigstore(t).trusted(t, nil))
	config := `{"mediaType":"application/vnd.dev.sigstore.clienttrustconfig.v0.1+json","trustedRoot":` + trusted + `,"signingConfig":{"unknown":1}}`
	digest := sha256Of([]byte(config)).String()
	tests := []struct{ name, text, digest, want string }{
		{"client trust config", config, "", ""},
		{"client trust config, pinned", config, digest, ""},
		{"client trust config, pinned without the algorithm", config, strings.TrimPrefix(digest, "sha256:"), ""},
		{"trusted root alone", trusted, "", ""},
		{"pinned to another", config, "sha256:" + strings.Repeat("0", 64), "it has the digest " + digest},
		{"nothing", "", "", "it is not JSON"},
		{"something else", `{"kind":"Pod"}`, "", "want a ClientTrustConfig"},
		{"config without a root", `{"mediaType":"application/vnd.dev.sigstore.clienttrustconfig.v0.1+json","trustedRoot":null}`, "", "want a ClientTrustConfig"},
		{"root of nobody", `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`, "", "no certificateAuthorities"},
		{"root of another type", `{"trustedRoot":{"mediaType":"x"}}`, "", "unsupported TrustedRoot media type"},
		{"unknown key in the root", `{"trustedRoot":{"mediaType":"x","y":1}}`, "", `unknown field "y"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "trust.json")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			trust, err := ReadTrustRoot(path, tt.digest)
			switch {
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want == "" && !strings.Contains(trust.String(), "certificate authorities: 1, transparency logs: 1"):
				t.Errorf("String() = %q", trust)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path)):
				t.Errorf("ReadTrustRoot: %v\nwant %q", err, tt.want)
			}
		})
	}
	if _, err := ReadTrustRoot(filepath.Join(t.TempDir(), "nope"), ""); err == nil {
		t.Error("a file that is not there was read")
	}
}

// tufRepository is a TUF repository with one target, over HTTP.
type tufRepository struct {
	url, root string
	requests  atomic.Int64
	down      atomic.Bool
}

func newTUFRepository(t *testing.T, trustedRoot []byte) *tufRepository {
	t.Helper()
	expires := time.Now().Add(time.Hour)
	key := newEd25519(t)
	signer := must(signature.LoadSigner(key, crypto.Hash(0)))(t)
	rootRole := metadata.Root(expires)
	for _, role := range []string{"root", "targets", "snapshot", "timestamp"} {
		public := must(metadata.KeyFromPublicKey(key.Public().(ed25519.PublicKey)))(t)
		if err := rootRole.Signed.AddKey(public, role); err != nil {
			t.Fatal(err)
		}
	}
	targets := metadata.Targets(expires)
	file := must(metadata.TargetFile().FromBytes("trusted_root.json", trustedRoot))(t)
	targets.Signed.Targets["trusted_root.json"] = file
	snapshot, timestamp := metadata.Snapshot(expires), metadata.Timestamp(expires)
	files := map[string][]byte{"/targets/" + sum(trustedRoot) + ".trusted_root.json": trustedRoot}
	for name, role := range map[string]interface {
		Sign(signature.Signer) (*metadata.Signature, error)
		ToBytes(bool) ([]byte, error)
	}{"/1.root.json": rootRole, "/1.targets.json": targets, "/1.snapshot.json": snapshot, "/timestamp.json": timestamp} {
		if _, err := role.Sign(signer); err != nil {
			t.Fatal(err)
		}
		files[name] = must(role.ToBytes(false))(t)
	}
	r := &tufRepository{root: string(files["/1.root.json"])}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		text, ok := files[req.URL.Path]
		switch {
		case r.down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = w.Write(text)
		}
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func TestFetchTrustRoot(t *testing.T) {
	s := newSigstore(t)
	repository := newTUFRepository(t, s.trusted(t, nil))
	r := newSigningRegistry(t)
	image := r.push(t, "app")
	key := newECDSA(t, elliptic.P256())
	image.attach(t, image.keyLayer(t, key, nil), s.keylessLayer(t, image, leafOptions{}, nil))
	keyed, keyless := Signer{PublicKey: publicPEM(t, key)}, Signer{Identity: &Identity{someIssuer, someSubject}}

	trust := FetchTrustRoot(TUFOptions{Mirror: repository.url, Root: []byte(repository.root), CacheDir: t.TempDir()})
	image.wantVerified(t, trust, keyed)
	if n := repository.requests.Load(); n != 0 {
		t.Errorf("%d requests to the mirror for a key", n)
	}
	image.wantVerified(t, trust, keyed, keyless)
	fetched := repository.requests.Load()
	if fetched == 0 {
		t.Error("no request to the mirror for an identity")
	}
	repository.down.Store(true)
	image.wantVerified(t, trust, keyless)
	if n := repository.requests.Load(); n != fetched {
		t.Errorf("%d requests more for the second identity", n-fetched)
	}
	if want := "TUF repository " + repository.url; trust.String() != want {
		t.Errorf("String() = %q, want %q", trust, want)
	}
}

func TestFetchTrustRootFails(t *testing.T) {
	s := newSigstore(t)
	r := newSigningRegistry(t)
	image := r.push(t, "app")
	key := newECDSA(t, elliptic.P256())
	image.attach(t, s.keylessLayer(t, image, leafOptions{key: key}, nil))
	keyless := Signer{Identity: &Identity{someIssuer, someSubject}}
	good, other := newTUFRepository(t, s.trusted(t, nil)), newTUFRepository(t, s.trusted(t, nil))
	nobody := newTUFRepository(t, []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`))
	down := newTUFRepository(t, s.trusted(t, nil))
	down.down.Store(true)
	for name, tt := range map[string]struct {
		mirror, root string
		want         string
	}{
		"mirror away":              {down.url, down.root, "503"},
		"root of another":          {good.url, other.root, "is not to be had"},
		"root is no JSON":          {good.url, "x", "is not to be had"},
		"trust root of nobody":     {nobody.url, nobody.root, "no certificateAuthorities"},
		"mirror is not an address": {"http://127.0.0.1:1", good.root, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			trust := FetchTrustRoot(TUFOptions{Mirror: tt.mirror, Root: []byte(tt.root)})
			image.wantRefused(t, trust, tt.want, keyless)
			image.wantVerified(t, trust, Signer{PublicKey: publicPEM(t, key)})
		})
	}
}

// TestTrustRootIsFetchedAgain lets time pass: a failure is answered for a
// while without asking again, and an old trust root is used while the mirror is
// away.
func TestTrustRootIsFetchedAgain(t *testing.T) {
	repository := newTUFRepository(t, newSigstore(t).trusted(t, nil))
	now := time.Now()
	var skip atomic.Int64
	f := &tufRoot{options: optionsOf(repository), now: func() time.Time { return now.Add(time.Duration(skip.Load())) }}
	get := func() error { _, err := f.get(context.Background()); return err }
	repository.down.Store(true)
	if err := get(); err == nil {
		t.Fatal("a trust root from a mirror that is away")
	}
	asked := repository.requests.Load()
	repository.down.Store(false)
	if err := get(); err == nil || repository.requests.Load() != asked {
		t.Errorf("asked again at once: %v", err)
	}
	skip.Add(int64(retryAfter))
	if err := get(); err != nil {
		t.Errorf("not asked again: %v", err)
	}
	repository.down.Store(true)
	skip.Add(int64(refreshAfter))
	if err := get(); err != nil {
		t.Errorf("the old trust root is gone: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	blocked := &tufRoot{options: optionsOf(repository), now: time.Now}
	if _, err := blocked.get(ctx); err == nil {
		t.Error("a trust root although nobody waits for it")
	}
}

// optionsOf are the options of a repository.
func optionsOf(r *tufRepository) TUFOptions {
	return TUFOptions{Mirror: r.url, Root: []byte(r.root), Log: NewVerifier(VerifierOptions{}).log}
}

// TestCertificateLog wants a certificate to be in a log of certificates when
// the trust root has one.
func TestCertificateLog(t *testing.T) {
	s := newSigstore(t)
	ctKey, otherKey := newECDSA(t, elliptic.P256()), newECDSA(t, elliptic.P256())
	id := sha256.Sum256(must(x509.MarshalPKIXPublicKey(ctKey.Public()))(t))
	path := filepath.Join(t.TempDir(), "trusted_root.json")
	text := s.trusted(t, map[string]*root.TransparencyLog{hex.EncodeToString(id[:]): {
		BaseURL: "https://ct.example.org", ID: id[:], ValidityPeriodStart: time.Now().Add(-time.Hour),
		HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256, PublicKey: ctKey.Public(),
	}})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	trust := must(ReadTrustRoot(path, ""))(t)
	signer := Signer{Identity: &Identity{someIssuer, someSubject}}
	r := newSigningRegistry(t)
	for name, tt := range map[string]struct {
		by   *ecdsa.PrivateKey
		want string
	}{"logged": {ctKey, ""}, "logged by another key": {otherKey, "SCT"}, "not logged": {nil, "SCT"}} {
		t.Run(name, func(t *testing.T) {
			image := r.push(t, "app")
			key := newECDSA(t, elliptic.P256())
			cert := s.loggedLeaf(t, key, tt.by, id)
			l := image.keyLayer(t, key, nil)
			body := hashedRekord(t, l.payload, l.signature(t), certPEM(cert))
			image.attach(t, l.with(certificateAnnotation, string(certPEM(cert))).with(rekorAnnotation, s.rekorBundle(t, body, time.Now())))
			if tt.want == "" {
				image.wantVerified(t, trust, signer)
			} else {
				image.wantRefused(t, trust, tt.want, signer)
			}
		})
	}
}

// loggedLeaf issues a certificate with a timestamp of a log of certificates.
func (s *sigstore) loggedLeaf(t *testing.T, key crypto.Signer, by *ecdsa.PrivateKey, id [32]byte) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		EmailAddresses: []string{someSubject}, ExtraExtensions: []pkix.Extension{extension(1, someIssuer)},
	}
	issue := func() *x509.Certificate {
		der := must(x509.CreateCertificate(rand.Reader, template, s.intermediate, key.Public(), s.intermediateKey))(t)
		return must(x509.ParseCertificate(der))(t)
	}
	cert := issue()
	if by == nil {
		return cert
	}
	tbs := cert.RawTBSCertificate
	sct := &ct.SignedCertificateTimestamp{
		SCTVersion: ct.V1, LogID: ct.LogID{KeyID: id}, Timestamp: uint64(time.Now().UnixMilli()),
	}
	leaf := ct.LogEntry{Leaf: ct.MerkleTreeLeaf{Version: ct.V1, LeafType: ct.TimestampedEntryLeafType, TimestampedEntry: &ct.TimestampedEntry{
		Timestamp: sct.Timestamp, EntryType: ct.PrecertLogEntryType,
		PrecertEntry: &ct.PreCert{IssuerKeyHash: sha256.Sum256(s.intermediate.RawSubjectPublicKeyInfo), TBSCertificate: tbs},
	}}}
	input := must(ct.SerializeSCTSignatureInput(*sct, leaf))(t)
	sct.Signature = ct.DigitallySigned(must(cttls.CreateSignature(*by, cttls.SHA256, input))(t))
	list := ctx509.SignedCertificateTimestampList{SCTList: []ctx509.SerializedSCT{{Val: must(cttls.Marshal(*sct))(t)}}}
	value := must(asn1.Marshal(must(cttls.Marshal(list))(t)))(t)
	template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: value})
	return issue()
}
