package artifact

import (
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestReferencesAreThoseOfDockerAndURLs(t *testing.T) {
	tests := []struct{ uri, text, image, digest, store string }{
		{"registry://ghcr.io/kubewarden/policies/pod-privileged:v0.2.2", "registry://ghcr.io/kubewarden/policies/pod-privileged:v0.2.2", "ghcr.io/kubewarden/policies/pod-privileged:v0.2.2", "", "registry/ghcr.io/kubewarden/policies/pod-privileged:v0.2.2"},
		{"ghcr.io/acme/p:v1", "registry://ghcr.io/acme/p:v1", "ghcr.io/acme/p:v1", "", "registry/ghcr.io/acme/p:v1"},
		{"ghcr.io/acme/p", "registry://ghcr.io/acme/p:latest", "ghcr.io/acme/p:latest", "", "registry/ghcr.io/acme/p:latest"},
		{"localhost:5000/p", "registry://localhost:5000/p:latest", "localhost:5000/p:latest", "", "registry/localhost:5000/p:latest"},
		{"registry://host.example.com:1234/path/to/policy:tag", "registry://host.example.com:1234/path/to/policy:tag", "host.example.com:1234/path/to/policy:tag", "", "registry/host.example.com:1234/path/to/policy:tag"},
		{"busybox", "registry://docker.io/library/busybox:latest", "docker.io/library/busybox:latest", "", "registry/docker.io/library/busybox:latest"},
		{"docker.io/acme/p:v1", "registry://docker.io/acme/p:v1", "docker.io/acme/p:v1", "", "registry/docker.io/acme/p:v1"},
		{"registry://acme/p:v1", "registry://acme/p:v1", "docker.io/acme/p:v1", "", "registry/acme/p:v1"},
		{"ghcr.io/acme/p@" + someDigest, "registry://ghcr.io/acme/p@" + someDigest, "ghcr.io/acme/p@" + someDigest, someDigest, "registry/ghcr.io/acme/p@" + someDigest},
		{"ghcr.io/acme/p:v1@" + someDigest, "registry://ghcr.io/acme/p:v1@" + someDigest, "ghcr.io/acme/p@" + someDigest, someDigest, "registry/ghcr.io/acme/p:v1@" + someDigest},
		{"https://github.com/kubewarden/x/releases/download/v0.1.6/policy.wasm ", "https://github.com/kubewarden/x/releases/download/v0.1.6/policy.wasm", "", "", "https/github.com/kubewarden/x/releases/download/v0.1.6/policy.wasm"},
		{"http://Host.example.com:1234/path/to/policy.wasm", "http://host.example.com:1234/path/to/policy.wasm", "", "", "http/host.example.com:1234/path/to/policy.wasm"},
		{"https://h.example/p.wasm?v=1#x", "https://h.example/p.wasm?v=1", "", "", "https/h.example/p.wasm"},
		{"file:///tmp/a%20policy.wasm", "file:///tmp/a policy.wasm", "", "", ""},
		{"builtin://pod-privileged", "builtin://pod-privileged", "", "", ""},
	}
	for _, tt := range tests {
		r, err := ParseReference(tt.uri)
		if err != nil {
			t.Errorf("%s: %v", tt.uri, err)
			continue
		}
		have := []string{r.String(), r.Image(), r.Digest(), r.StorePath()}
		if diff := cmp.Diff([]string{tt.text, tt.image, tt.digest, tt.store}, have); diff != "" {
			t.Errorf("%s (-want +have):\n%s", tt.uri, diff)
		}
	}
}

func TestReferencesThatCannotBeMeantAreRefused(t *testing.T) {
	tests := []struct{ uri, want string }{
		{"", "it names no image"},
		{"registry://", "it names no image"},
		{"ftp://host/p.wasm", "unknown scheme: ftp"},
		{"oci://ghcr.io/acme/p", "unknown scheme: oci"},
		{"ghcr.io/acme/../../p:v1", `".." is no part of a repository`},
		{"ghcr.io/./p:v1", `"." is no part of a repository`},
		{"ghcr.io/acme//p:v1", `"" is no part of a repository`},
		{"ghcr.io/acme/p:.v1", "a tag does not start with"},
		{"ghcr.io/Acme/p:v1", "not an image"},
		{"ghcr.io/acme/p@sha256:12", "not an image"},
		{"ghcr.io/acme/p@sha512:" + strings.Repeat("a", 128), "want sha256"},
		{"https://", "it names no host"},
		{"https:///p.wasm", "it names no host"},
		{"https://host", "it names no file"},
		{"https://host/dir/", "it names no file"},
		{"https://host/../p.wasm", "without detours"},
		{"https://host/%2e%2e/p.wasm", "without detours"},
		{"https://host/a%2fb", "without detours"},
		{"https://us er:secret@host/p.wasm", "not a URL"},
		{"file://p.wasm", "want the absolute path"},
		{"builtin://", "is not the name of a built-in policy"},
		{"builtin://a/b", "is not the name of a built-in policy"},
	}
	for _, tt := range tests {
		r, err := ParseReference(tt.uri)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q = %v, %v, want an error with %q", tt.uri, r, err, tt.want)
		}
	}
}

func TestAPasswordInAURLIsInNoMessage(t *testing.T) {
	_, err := ParseReference("https://user:hunter2@host/dir/")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("ParseReference = %v, want an error without the password", err)
	}
}

func TestStorePathsOnWindowsHaveNoColons(t *testing.T) {
	const plain = "registry/host:5000/acme/p:v1"
	encoded := encodePath(plain, "windows")
	if strings.Contains(encoded, ":") || !strings.HasPrefix(encoded, "registry/") {
		t.Errorf("encodePath = %q, want no colon behind the scheme", encoded)
	}
	if back, err := decodePath(encoded, "windows"); err != nil || back != plain {
		t.Errorf("decodePath = %q, %v, want %q", back, err, plain)
	}
}

func FuzzReference(f *testing.F) {
	for _, seed := range []string{
		"ghcr.io/acme/p:v1", "registry://h:5000/a/b@" + someDigest, "https://u:p@h/a/../b?c#d", "file:///a", "builtin://x", "a/b/c", "http://h/%2e%2e/x", "https://[::1]:80/x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		r, err := ParseReference(uri)
		if err != nil {
			return
		}
		again, err := ParseReference(r.String())
		if err != nil || again.String() != r.String() || again.StorePath() != r.StorePath() || again.Image() != r.Image() {
			t.Fatalf("%q is %q, which is %q, %v", uri, r, again, err)
		}
		p := r.StorePath()
		if p == "" {
			return
		}
		if path.Clean("/"+p) != "/"+p || !strings.HasPrefix(p, string(r.Scheme)+"/") || strings.Count(p, "/") < 2 {
			t.Fatalf("%q has the store path %q", uri, p)
		}
		back, err := referenceAt(p)
		if err != nil || back.StorePath() != p {
			t.Fatalf("%q: the store path %q is that of %q, %v", uri, p, back, err)
		}
	})
}
