package main

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestSignAndVerify makes keys, signs with one and verifies, against a real
// registry, as somebody without Sigstore does it.
func TestSignAndVerify(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	server := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelError))))
	t.Cleanup(server.Close)
	image := strings.TrimPrefix(server.URL, "http://") + "/policies/labels:v1"
	digest := pushRandom(t, image)
	pinned := "registry://" + image + "@" + digest + "\n"
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	warder := func(status int, stdout, stderr string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if have := run(args, &out, &errs); have != status || out.String() != stdout || !strings.Contains(errs.String(), stderr) {
			t.Errorf("warder %s: status %d, want %d\nstdout %q\n  want %q\nstderr %q\n  want %q", strings.Join(args, " "), have, status, out.String(), stdout, errs.String(), stderr)
		}
	}

	write("config/kubewarden/sources.yml", "insecure_sources: ["+strings.TrimPrefix(server.URL, "http://")+"]\n")

	warder(0, "", "wrote alice.key", "keygen", "--output-key-prefix", "alice")
	warder(1, "", "alice.key is there already, and a key is not replaced: give another --output-key-prefix", "keygen", "--output-key-prefix", "alice")
	t.Setenv("COSIGN_PASSWORD", "hunter2")
	warder(0, "", "wrote warder.key", "keygen")
	if info, err := os.Stat("warder.key"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("warder.key: %v, %v", info, err)
	}

	warder(1, "", "no signatures found for image: "+image+" ", "verify", "-k", "alice.pub", image)
	warder(0, pinned, "", "sign", "--key", "warder.key", "-a", "env=prod", image)
	t.Setenv("COSIGN_PASSWORD", "hunter3")
	warder(1, "", `warder: --key "warder.key": `, "sign", "--key", "warder.key", image)
	warder(0, pinned, "", "verify", "-k", "warder.pub", image)
	warder(0, pinned, "", "verify", "-k", "warder.pub", "-a", "env=prod", "registry://"+image)
	warder(0, pinned, "", "verify", "-k", "warder.pub", image+"@"+digest)
	warder(1, "", "Image verification failed: missing signatures\nThe following constraints were not satisfied:\nkind: pubKey\nowner: alice.pub\n", "verify", "-k", "warder.pub", "-k", "alice.pub", image)
	warder(0, pinned, "", "sign", "--key", "alice.key", image)
	warder(0, pinned, "", "verify", "-k", "warder.pub", "-k", "alice.pub", image)
	warder(1, "", `its annotation "env" is "prod", not "dev"`, "verify", "-k", "warder.pub", "-a", "env=dev", image)
	warder(1, "", "Verification only works with OCI images", "verify", "-k", "alice.pub", "file:///tmp/policy.wasm")

	public, err := os.ReadFile("alice.pub")
	if err != nil {
		t.Fatal(err)
	}
	config := "apiVersion: v1\nallOf:\n  - kind: pubKey\n    key: |\n      " + strings.ReplaceAll(strings.TrimSpace(string(public)), "\n", "\n      ") + "\n"
	write("verification.yml", config)
	warder(0, pinned, "", "verify", "--verification-config-path", "verification.yml", image)
	write("wrong.yml", strings.Replace(config, "pubKey", "pubkey", 1))
	warder(1, "", `Not a valid configuration file: wrong.yml:3:11: allOf[0].kind: "pubkey" is no kind of signature; did you mean pubKey?`, "verify", "--verification-config-path", "wrong.yml", image)
	warder(2, "", "by whom must it be signed?", "verify", image)
	write("config/kubewarden/verification-config.yml", config)
	warder(0, pinned, "", "verify", image)
	warder(1, "", "wrong.json", "verify", "--sigstore-trust-config", "wrong.json", image)
	write("wrong.json", "{}")
	warder(1, "", "want a ClientTrustConfig", "verify", "--sigstore-trust-config", "wrong.json", image)
	warder(1, "", "it has the digest sha256:", "verify", "--sigstore-trust-config", "wrong.json", "--sigstore-trust-config-digest", "sha256:00", image)
}

// pushRandom pushes some image and returns its digest.
func pushRandom(t *testing.T, ref string) string {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}
