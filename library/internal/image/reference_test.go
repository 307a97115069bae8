package image

import (
	"strings"
	"testing"
)

func TestParseNormalises(t *testing.T) {
	sha := "sha256:" + strings.Repeat("0a", 32)
	tests := []struct{ text, want, registry, repository string }{
		{"nginx", "docker.io/library/nginx:latest", "docker.io", "library/nginx"},
		{"nginx:1.27", "docker.io/library/nginx:1.27", "docker.io", "library/nginx"},
		{"nginx@" + sha, "docker.io/library/nginx@" + sha, "docker.io", "library/nginx"},
		{"nginx:1@" + sha, "docker.io/library/nginx:1@" + sha, "docker.io", "library/nginx"},
		{"bitnami/redis", "docker.io/bitnami/redis:latest", "docker.io", "bitnami/redis"},
		{"docker.io/nginx", "docker.io/library/nginx:latest", "docker.io", "library/nginx"},
		{"index.docker.io/nginx", "docker.io/library/nginx:latest", "docker.io", "library/nginx"},
		{"Docker.IO/a/b", "docker.io/a/b:latest", "docker.io", "a/b"},
		{"GHCR.io/a/b:T", "ghcr.io/a/b:T", "ghcr.io", "a/b"},
		{"localhost/a", "localhost/a:latest", "localhost", "a"},
		{"localhost:5000", "docker.io/library/localhost:5000", "docker.io", "library/localhost"},
		{"localhost:5000/a:b", "localhost:5000/a:b", "localhost:5000", "a"},
		{"[2001:db8::1]:5000/a", "[2001:db8::1]:5000/a:latest", "[2001:db8::1]:5000", "a"},
		{"[::1]/a/b", "[::1]/a/b:latest", "[::1]", "a/b"},
		{"a.b/c__d/e-f/g--h/i.j_k", "a.b/c__d/e-f/g--h/i.j_k:latest", "a.b", "c__d/e-f/g--h/i.j_k"},
	}
	for _, tt := range tests {
		r, err := Parse(tt.text)
		if err != nil {
			t.Errorf("Parse(%q): %v, want %s", tt.text, err, tt.want)
			continue
		}
		if r.String() != tt.want || r.Registry != tt.registry || r.Repository != tt.repository {
			t.Errorf("Parse(%q) = %s (%s, %s), want %s (%s, %s)",
				tt.text, r, r.Registry, r.Repository, tt.want, tt.registry, tt.repository)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	sha := strings.Repeat("0a", 32)
	tests := []struct {
		text string
		want error
	}{
		{"", errFormat},
		{" nginx", errFormat},
		{"nginx ", errFormat},
		{"https://ghcr.io/a", errFormat},
		{"ghcr.io/", errFormat},
		{"/a", errFormat},
		{"a//b", errFormat},
		{"a/b/", errFormat},
		{":tag", errFormat},
		{"a:", errFormat},
		{"a:-x", errFormat},
		{"a:x+y", errFormat},
		{"a:" + strings.Repeat("x", maxTagBytes+1), errFormat},
		{"a@", errFormat},
		{"a@sha256:", errFormat},
		{"a@sha256:" + sha[1:], errFormat},
		{"a@sha256:" + strings.ToUpper(sha), errFormat},
		{"a@md5:" + sha[:32], errFormat},
		{"a@sha256:" + sha + "@sha256:" + sha, errFormat},
		{sha, errFormat}, // an image's ID
		{"-a", errFormat},
		{"a-", errFormat},
		{"a..b", errFormat},
		{"a___b", errFormat},
		{"a._b", errFormat},
		{"a-_b", errFormat},
		{"é", errFormat},
		{"a.b:port/c", errFormat},
		{"a.b:/c", errFormat},
		{"-a.b/c", errFormat},
		{"a_b.c/d", errFormat},
		{"[::1/a", errFormat},
		{"[::1]x/a", errFormat},
		{"ghcr.io/Upper", errUppercase},
		{"NGINX", errUppercase},
		{"Host/a", errUppercase}, // a folder of Docker Hub
		{"a.b/" + strings.Repeat("x", maxNameBytes), errTooLong},
	}
	for _, tt := range tests {
		if r, err := Parse(tt.text); err != tt.want { //nolint:errorlint // these errors are returned as they are
			t.Errorf("Parse(%q) = %s, %v, want error %v", tt.text, r, err, tt.want)
		}
	}
}

func TestGlobMatchesTheWholeText(t *testing.T) {
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{"*", []string{"", "a", "a/b:c"}, nil},
		{"?", []string{"a", "é"}, []string{"", "ab"}},
		{"a*", []string{"a", "abc"}, []string{"", "ba"}},
		{"*a", []string{"a", "ba", "aa"}, []string{"ab"}},
		{"a*b*c", []string{"abc", "axbxc", "abbcc", "abcbc"}, []string{"ac", "abcb"}},
		{"**a**", []string{"a", "xax"}, []string{"x"}},
		{"a?*", []string{"ab", "abc"}, []string{"a"}},
		{"*.example.com", []string{"a.example.com", ".example.com"}, []string{"example.com", "a.example.com.evil"}},
		{"*aab", []string{"aaab", "aabaab"}, []string{"aaba"}},
	}
	for _, tt := range tests {
		for _, text := range tt.yes {
			if !Glob(tt.pattern, text) {
				t.Errorf("Glob(%q, %q) = false, want true", tt.pattern, text)
			}
		}
		for _, text := range tt.no {
			if Glob(tt.pattern, text) {
				t.Errorf("Glob(%q, %q) = true, want false", tt.pattern, text)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"nginx", "a.b:1/c:d", "[::1]:5/a", "a@sha256:" + strings.Repeat("a", 64), "A/b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(r.String())
		again.Plain = r.Plain
		if err != nil || again != r {
			t.Errorf("Parse(%q) = %s, which parses as %s, %v", text, r, again, err)
		}
	})
}
