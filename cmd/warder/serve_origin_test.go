package main

import (
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warder-dev/warder/artifact"
)

// signedRegistry is a registry over HTTP with one signed policy, and what a
// server needs to use it.
type signedRegistry struct {
	dir, uri              string
	sources, verification string // files
	key                   string // public, in PEM
}

func newSignedRegistry(t *testing.T) *signedRegistry {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	handler, err := artifact.NewRegistry(filepath.Join(dir, "registry"), nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	r := &signedRegistry{
		dir: dir, uri: "registry://" + host + "/policies/team:v1",
		sources: filepath.Join(dir, "sources.yml"), verification: filepath.Join(dir, "verification.yml"),
	}
	writeFile(t, r.sources, "insecure_sources: ["+host+"]\n")
	client, err := artifact.NewClient(artifact.ClientOptions{Sources: artifact.Sources{Insecure: []string{host}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Push(t.Context(), demoWasm(t), r.uri, nil); err != nil {
		t.Fatal(err)
	}
	key, public := newKey(t)
	r.key = public
	if _, err := artifact.Sign(t.Context(), r.uri, key, artifact.SignOptions{Reach: client.ReachForPush}); err != nil {
		t.Fatal(err)
	}
	return r
}

func demoWasm(t *testing.T) []byte {
	t.Helper()
	zip, err := gzip.NewReader(strings.NewReader(string(demoModule)))
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func newKey(t *testing.T) (key *ecdsa.PrivateKey, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// wants writes a verification.yml that wants a signature of each key.
func (r *signedRegistry) wants(t *testing.T, keys ...string) {
	t.Helper()
	text := "apiVersion: v1\nallOf:\n"
	for _, key := range keys {
		text += "  - kind: pubKey\n    key: |\n      " + strings.ReplaceAll(strings.TrimSpace(key), "\n", "\n      ") + "\n"
	}
	writeFile(t, r.verification, text)
}

func TestVerificationAndSourcesAreTakenUpWhileTheServerServes(t *testing.T) {
	r := newSignedRegistry(t)
	r.wants(t, r.key)
	s := startServe(t, "team: {module: \""+r.uri+"\", settings: {teams: [payments]}}\n",
		"--sources-path", r.sources, "--verification-path", r.verification, "--policies-download-dir", filepath.Join(r.dir, "store"))
	becomes := func(what, text string) {
		t.Helper()
		if !eventually(func() bool { return strings.Contains(s.get("/readiness?verbose"), text) }) {
			t.Fatalf("%s: %s\nwant %q in it; log:\n%s", what, s.get("/readiness?verbose"), text, s.log)
		}
	}
	becomes("at first", "team: loaded\n")

	// One signer more, who has not signed: what was trusted before stops.
	_, stranger := newKey(t)
	r.wants(t, r.key, stranger)
	becomes("with another signer", `team: failed: policy "team": verify: Policy 'team' cannot be verified: `)
	if answer := s.ask("/validate/team"); !strings.Contains(answer, "cannot be verified") {
		t.Errorf("answer = %s, want that it cannot be verified", answer)
	}
	r.wants(t, r.key)
	becomes("as before", "team: loaded\n")

	// A file that cannot be read changes nothing, and is said once.
	writeFile(t, r.sources, "insecure_source: []\n")
	if !eventually(func() bool {
		return s.log.count("sources, verification and trust root stay as they are", "did you mean") > 0
	}) {
		t.Errorf("the log does not say what is wrong:\n%s", s.log)
	}
	becomes("with a broken file", "team: loaded\n")

	// A registry that may not be reached any more leaves what it vouched for.
	writeFile(t, r.sources, "{}\n")
	becomes("with a registry that is not reached", "team: loaded, from the store since its host could not be asked: ")
	if page := s.get("/readiness?verbose"); !strings.Contains(page, "under insecure_sources in sources.yml if it has no HTTPS; give the file with --sources-path") {
		t.Errorf("readiness = %s, want what to do about it", page)
	}
	if answer := s.ask("/validate/team"); strings.Contains(answer, "bootstrap failure") {
		t.Errorf("answer = %s, want that of the policy", answer)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "store", "registry")); err != nil {
		t.Errorf("store: %v", err)
	}
}

// TestFilesAreTakenUpOnceTheyAreWhole looks at them as the server does, without
// its clock.
func TestFilesAreTakenUpOnceTheyAreWhole(t *testing.T) {
	r := newSignedRegistry(t)
	r.wants(t, r.key)
	trust := filepath.Join(r.dir, "trust.json")
	root, err := os.ReadFile(filepath.Join("..", "..", "artifact", "testdata", "sigstore", "trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, trust, string(root))
	ca := filepath.Join(r.dir, "ca.pem")
	writeFile(t, ca, newAuthority(t))
	host, _, _ := strings.Cut(strings.TrimPrefix(r.uri, "registry://"), "/")
	sources := "insecure_sources: [" + host + "]\nsource_authorities: {registry.corp: [{type: Path, path: " + ca + "}]}\n"
	writeFile(t, r.sources, sources)
	log := &logLines{}
	o, err := newOrigin(&serveConfig{
		sources: r.sources, verification: r.verification, trustConfig: trust, downloadDir: filepath.Join(r.dir, "store"),
	}, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(r.verification)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name, file, text string
		looks            int
		taken            bool
	}{
		{"nothing new", "", "", 3, false},
		{"a file that is being written", r.verification, string(good[:60]), 1, false},
		{"and is whole now", r.verification, string(good), 3, false},
		{"another verification.yml", r.verification, string(good) + "# more\n", 1, false},
		{"which stays", "", "", 1, true},
		{"half a trust root", trust, string(root[:500]), 3, false},
		{"the whole one", trust, string(root), 3, false},
		{"another CA in the file that sources.yml names", ca, newAuthority(t), 2, true},
		{"no CA there", ca, "", 3, false},
		{"and one again", ca, newAuthority(t), 2, true},
		{"a sources.yml that names a file that is not there", r.sources, strings.Replace(sources, "ca.pem", "new.pem", 1), 3, false},
		{"the file comes later", filepath.Join(r.dir, "new.pem"), newAuthority(t), 2, true},
	} {
		before := o.now.Load()
		if step.file != "" {
			writeFile(t, step.file, step.text)
		}
		for range step.looks {
			o.look()
		}
		if taken := o.now.Load() != before; taken != step.taken {
			t.Fatalf("%s: taken up %t, want %t; log:\n%s", step.name, taken, step.taken, log)
		}
	}
	if n := log.count("stay as they are", "trust.json", "it is not JSON"); n != 1 {
		t.Errorf("half a trust root is logged %d times, want once:\n%s", n, log)
	}
}

// TestATrustRootThatWasNeverThereHoldsNothingUp: the other files are taken up.
func TestATrustRootThatWasNeverThereHoldsNothingUp(t *testing.T) {
	r := newSignedRegistry(t)
	r.wants(t, r.key)
	log := &logLines{}
	o, err := newOrigin(&serveConfig{
		sources: r.sources, verification: r.verification, trustConfig: filepath.Join(r.dir, "none.json"), downloadDir: filepath.Join(r.dir, "store"),
	}, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if log.count("level=WARN", "Cannot create Sigstore trust root, verification relying on Rekor and Fulcio will fail") != 1 {
		t.Errorf("the log does not say that there is no trust root:\n%s", log)
	}
	before := o.now.Load()
	_, stranger := newKey(t)
	r.wants(t, r.key, stranger)
	o.look()
	o.look()
	if o.now.Load() == before {
		t.Errorf("another verification.yml is not taken up; log:\n%s", log)
	}
}

// newAuthority is the certificate of a CA, in PEM.
func newAuthority(t *testing.T) string {
	t.Helper()
	key, _ := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestAServerWithoutAFolderForAStoreServes(t *testing.T) {
	r := newSignedRegistry(t)
	r.wants(t, r.key)
	t.Setenv("HOME", "")
	t.Setenv("XDG_CACHE_HOME", "")
	s := startServe(t, "team: {module: \""+r.uri+"\", settings: {teams: [payments]}}\n", "--sources-path", r.sources, "--verification-path", r.verification)
	if page := s.get("/readiness?verbose"); !strings.Contains(page, "team: loaded\n") {
		t.Errorf("readiness = %s, want the policy loaded", page)
	}
	if s.log.count("modules are not kept") != 1 {
		t.Errorf("the log does not say that modules are not kept:\n%s", s.log)
	}
}
