package main

import (
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	if !eventually(func() bool { return s.log.count("sources and verification stay as they are", "did you mean") > 0 }) {
		t.Errorf("the log does not say what is wrong:\n%s", s.log)
	}
	becomes("with a broken file", "team: loaded\n")

	// A registry that may not be reached any more leaves what it vouched for.
	writeFile(t, r.sources, "{}\n")
	becomes("with a registry that is not reached", `team: stale: policy "team": fetch: Error while downloading policy 'team' from `+r.uri+": ")
	if answer := s.ask("/validate/team"); strings.Contains(answer, "bootstrap failure") {
		t.Errorf("answer = %s, want that of the policy", answer)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "store", "registry")); err != nil {
		t.Errorf("store: %v", err)
	}
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
