package artifact

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// withTLS starts servers with a certificate.
func withTLS(cert tls.Certificate) func(http.Handler) *httptest.Server {
	return func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
		s.Config.ErrorLog = quiet()
		s.StartTLS()
		return s
	}
}

func TestHostsAreReachedAsTheSourcesSay(t *testing.T) {
	cert := newCertificate(t, "localhost")
	other := newCertificate(t, "localhost").Leaf
	wrongName := newCertificate(t, "other.example")
	wrongName.Leaf.IPAddresses = nil
	tests := []struct {
		name  string
		start func(http.Handler) *httptest.Server
		of    func(host string) Sources
		want  string // part of the error; empty is success
	}{
		{"HTTPS with the host's own CA", withTLS(cert), func(h string) Sources {
			return Sources{Authorities: map[string][]*x509.Certificate{h: {cert.Leaf}}}
		}, ""},
		{"HTTPS with another CA", withTLS(cert), func(h string) Sources {
			return Sources{Authorities: map[string][]*x509.Certificate{h: {other}}}
		}, "certificate"},
		{"another host's CA is not this one's", withTLS(cert), func(string) Sources {
			return Sources{Authorities: map[string][]*x509.Certificate{"registry.corp": {cert.Leaf}}}
		}, "certificate"},
		{"HTTPS of an insecure host is not verified", withTLS(cert), func(h string) Sources { return Sources{Insecure: []string{h}} }, ""},
		{"HTTP of an insecure host", httptest.NewServer, func(h string) Sources { return Sources{Insecure: []string{h}} }, ""},
		{"HTTP of another host", httptest.NewServer, func(string) Sources { return Sources{Insecure: []string{"localhost:1"}} }, "plain HTTP is refused"},
		{"HTTPS of another host is verified", withTLS(cert), func(string) Sources { return Sources{Insecure: []string{"localhost:1"}} }, "certificate"},
		{"a CA does not make HTTP right", httptest.NewServer, func(h string) Sources {
			return Sources{Authorities: map[string][]*x509.Certificate{h: {cert.Leaf}}}
		}, "plain HTTP is refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHub(t, tt.start)
			h.push(h.insecure(), wasmModule(t, 100), "acme/p:v1")
			client := newTestClient(t, ClientOptions{Sources: tt.of(h.host())})
			_, err := client.Digest(t.Context(), h.host()+"/acme/p:v1")
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Digest = %v, want %q", err, tt.want)
			}
			if err != nil && strings.Count(err.Error(), "/v2/") != 1 {
				t.Errorf("Digest = %v, want one request to be told", err)
			}
		})
	}
}

// TestAnInsecureHostIsVerifiedFirst: a good certificate is used as such, and the
// way that worked is gone at once the next time.
func TestAnInsecureHostIsVerifiedFirst(t *testing.T) {
	cert := newCertificate(t, "localhost")
	h := newHub(t, withTLS(cert))
	key := hostKey(h.host())
	for name, tt := range map[string]struct {
		sources Sources
		way     int32
	}{
		"with its CA": {Sources{Insecure: []string{key}, Authorities: map[string][]*x509.Certificate{key: {cert.Leaf}}}, wayVerified},
		"without":     {Sources{Insecure: []string{key}}, wayUnverified},
	} {
		c := newTestClient(t, ClientOptions{Sources: tt.sources})
		h.push(c, wasmModule(t, 10), "acme/p:v1")
		if way := c.hosts.byHost[key].way.Load(); way != tt.way {
			t.Errorf("%s: way %d, want %d", name, way, tt.way)
		}
	}
}

func TestAnInsecureHostMayChangeItsWay(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	c := h.insecure()
	c.hosts.byHost[h.host()].way.Store(wayUnverified) // as if it had spoken TLS before
	h.push(c, wasmModule(t, 10), "acme/p:v1")
	if way := c.hosts.byHost[h.host()].way.Load(); way != wayHTTP {
		t.Errorf("way %d, want %d", way, wayHTTP)
	}
}

// writeDockerConfig writes a config.json, and returns its folder.
func writeDockerConfig(t *testing.T, config any) string {
	t.Helper()
	dir := t.TempDir()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func authOf(user, password string) map[string]string {
	return map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))}
}

// basicAuth wants alice's password.
func basicAuth(w http.ResponseWriter, r *http.Request) bool {
	user, password, _ := r.BasicAuth()
	if user == "alice" && password == "secret" {
		return false
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
	w.WriteHeader(http.StatusUnauthorized)
	return true
}

func TestCredentialsComeFromTheDockerConfig(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	h.push(h.insecure(), wasmModule(t, 100), "acme/p:v1")
	h.between(basicAuth)
	helper(t, "good", `cat >asked; echo '{"Username":"alice","Secret":"secret"}'`)
	helper(t, "none", `echo 'credentials not found in native keychain'; exit 1`)
	helper(t, "broken", `echo 'the vault is sealed' >&2; exit 1`)
	host := h.host()
	right, wrong := authOf("alice", "secret"), authOf("alice", "guess")
	type object = map[string]any
	tests := []struct {
		name   string
		config object
		ok     bool
	}{
		{"none", object{}, false},
		{"for the host", object{"auths": object{host: right}}, true},
		{"a wrong password", object{"auths": object{host: wrong}}, false},
		{"for another host", object{"auths": object{"ghcr.io": right}}, false},
		{"for the host with a scheme", object{"auths": object{"https://" + host + "/v1/": right}}, true},
		{"for the repository", object{"auths": object{host: wrong, host + "/acme/p": right}}, true},
		{"user and password apart", object{"auths": object{host: object{"username": "alice", "password": "secret"}}}, true},
		{"a helper for the host", object{"credHelpers": object{host: "good"}}, true},
		{"a helper for all", object{"credsStore": "good"}, true},
		{"a helper that knows nothing, then the file", object{"credsStore": "none", "auths": object{host: right}}, true},
		{"a helper that fails", object{"credHelpers": object{host: "broken"}}, false},
		{"a helper that is not there", object{"credHelpers": object{host: "nowhere"}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newTestClient(t, ClientOptions{Sources: Sources{Insecure: []string{host}}, DockerConfig: writeDockerConfig(t, tt.config)})
			_, err := c.Digest(t.Context(), host+"/acme/p:v1")
			if tt.ok && err != nil || !tt.ok && !errors.Is(err, ErrUnauthorized) {
				t.Errorf("Digest = %v, want success: %t", err, tt.ok)
			}
		})
	}
}

// helper puts a credential helper into the PATH.
func helper(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte("#!/bin/sh\ncd "+dir+"\n"+script+"\n"), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestAHelperThatHangsEndsWithTheContext(t *testing.T) {
	helper(t, "slow", "echo started >started; sleep 600")
	c := newTestClient(t, ClientOptions{DockerConfig: writeDockerConfig(t, map[string]any{"credsStore": "slow"})})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Digest(ctx, "registry.example/p:v1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Digest = %v, want the end of the context", err)
	}
}

func TestCredentialsThatAreRotatedAreTakenUp(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	h.push(h.insecure(), wasmModule(t, 100), "acme/p:v1")
	h.between(basicAuth)
	dir := writeDockerConfig(t, map[string]any{"auths": map[string]any{h.host(): authOf("alice", "old")}})
	c := newTestClient(t, ClientOptions{Sources: Sources{Insecure: []string{h.host()}}, DockerConfig: dir})
	if _, err := c.Digest(t.Context(), h.host()+"/acme/p:v1"); !errors.Is(err, ErrUnauthorized) {
		t.Fatalf("Digest = %v, want ErrUnauthorized", err)
	}
	next := writeDockerConfig(t, map[string]any{"auths": map[string]any{h.host(): authOf("alice", "secret")}})
	if err := os.Rename(filepath.Join(next, "config.json"), filepath.Join(dir, "config.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Digest(t.Context(), h.host()+"/acme/p:v1"); err != nil {
		t.Errorf("Digest = %v, want the new password used", err)
	}
}

func TestABrokenDockerConfigIsSaid(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"auths":`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, given := range []string{dir, filepath.Join(dir, "config.json"), filepath.Join(dir, "nowhere")} {
		if _, err := NewClient(ClientOptions{DockerConfig: given}); err == nil || !strings.Contains(err.Error(), "docker config: ") {
			t.Errorf("NewClient(%s) = %v, want an error", given, err)
		}
	}
}

// tokens is a registry's token service, at /token.
type tokens struct {
	oauth   bool // the POST of identity tokens
	anyone  bool
	granted atomic.Int32
}

func (s *tokens) handle(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path == "/token" {
		user, password, _ := r.BasicAuth()
		ok := s.anyone || user == "alice" && password == "secret"
		if s.oauth {
			ok = r.Method == http.MethodPost && r.FormValue("grant_type") == "refresh_token" && r.FormValue("refresh_token") == "identity"
		}
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		s.granted.Add(1)
		fmt.Fprintf(w, `{"token":"t0ken","access_token":"t0ken"}`)
		return true
	}
	if r.Header.Get("Authorization") == "Bearer t0ken" {
		return false
	}
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test",scope="repository:acme/p:pull,push"`, r.Host))
	w.WriteHeader(http.StatusUnauthorized)
	return true
}

func TestBearerTokens(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	type object = map[string]any
	tests := []struct {
		name   string
		tokens *tokens
		auth   object
		ok     bool
	}{
		{"anonymous", &tokens{anyone: true}, object{}, true},
		{"by password", &tokens{}, object{"username": "alice", "password": "secret"}, true},
		{"by a wrong password", &tokens{}, object{"username": "alice", "password": "guess"}, false},
		{"by identity token", &tokens{oauth: true}, object{"identitytoken": "identity"}, true},
		{"by registry token", &tokens{}, object{"registrytoken": "t0ken"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h.between(tt.tokens.handle)
			c := newTestClient(t, ClientOptions{
				Sources:      Sources{Insecure: []string{h.host()}},
				DockerConfig: writeDockerConfig(t, object{"auths": object{h.host(): tt.auth}}),
			})
			pinned, err := c.Push(t.Context(), wasmModule(t, 100), h.host()+"/acme/p:v1", nil)
			if !tt.ok {
				if !errors.Is(err, ErrUnauthorized) {
					t.Errorf("Push = %v, want ErrUnauthorized", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			m, err := (&Puller{Client: c}).Pull(t.Context(), pinned)
			if err != nil || m.Reference != "registry://"+pinned {
				t.Errorf("Pull = %v, %v", m, err)
			}
		})
	}
}

func TestOneTokenServesManyRequests(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	c := h.insecure()
	h.push(c, wasmModule(t, 100), "acme/p:v1")
	service := &tokens{anyone: true}
	h.between(service.handle)
	c = h.insecure()
	for range 5 {
		if _, err := c.Digest(t.Context(), h.host()+"/acme/p:v1"); err != nil {
			t.Fatal(err)
		}
	}
	if n := service.granted.Load(); n != 1 {
		t.Errorf("%d tokens were asked for, want 1", n)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	c := h.insecure()
	for i := range maxSessions + 10 {
		_, err := c.Digest(t.Context(), fmt.Sprintf("%s/acme/p%d:v1", h.host(), i))
		if !errors.Is(err, ErrNotFound) {
			t.Fatalf("Digest = %v, want ErrNotFound", err)
		}
	}
	if n := len(c.sessions); n > maxSessions {
		t.Errorf("%d sessions are kept, want at most %d", n, maxSessions)
	}
}

func TestProxiesAreUsed(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	h.push(h.insecure(), wasmModule(t, 100), "acme/p:v1")
	to, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	var proxied atomic.Int32
	forward := httputil.NewSingleHostReverseProxy(to)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect { // HTTPS, which the registry does not have
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		proxied.Add(1)
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	const host = "registry.test:5000" // which no name server knows
	for name, tt := range map[string]struct {
		proxies     Proxies
		environment string
		ok          bool
	}{
		"of the sources":             {Proxies{HTTP: proxy.URL, HTTPS: proxy.URL}, "", true},
		"of the environment":         {Proxies{}, proxy.URL, true},
		"of the sources first":       {Proxies{HTTP: proxy.URL, HTTPS: proxy.URL}, "http://127.0.0.1:1", true},
		"not for a host in no_proxy": {Proxies{HTTP: proxy.URL, HTTPS: proxy.URL, NoProxy: "registry.test"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HTTP_PROXY", tt.environment)
			t.Setenv("HTTPS_PROXY", tt.environment)
			t.Setenv("NO_PROXY", "")
			before := proxied.Load()
			c := newTestClient(t, ClientOptions{Sources: Sources{Insecure: []string{host}, Proxies: tt.proxies}})
			_, err := c.Digest(t.Context(), host+"/acme/p:v1")
			if (err == nil) != tt.ok || (proxied.Load() > before) != tt.ok {
				t.Errorf("Digest = %v, by proxy: %t, want success by proxy: %t", err, proxied.Load() > before, tt.ok)
			}
		})
	}
}

func TestTheClientSaysWhoItIs(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	var agent atomic.Value
	h.between(func(_ http.ResponseWriter, r *http.Request) bool { agent.Store(r.UserAgent()); return false })
	c := newTestClient(t, ClientOptions{Sources: Sources{Insecure: []string{h.host()}}, UserAgent: "warder/1.2"})
	h.push(c, wasmModule(t, 10), "acme/p:v1")
	if have, _ := agent.Load().(string); !strings.HasPrefix(have, "warder/1.2") {
		t.Errorf("User-Agent = %q", have)
	}
}

func TestAPushTellsHowFarItIs(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	type step struct{ done, total int64 }
	var steps []step
	client := newTestClient(t, ClientOptions{
		Sources: Sources{Insecure: []string{h.host()}},
		Pushed:  func(done, total int64) { steps = append(steps, step{done, total}) },
	})
	module := wasmModule(t, 300_000)
	h.push(client, module, "acme/p:v1")
	size := int64(len(module))
	if len(steps) < 3 || steps[0] != (step{0, size}) || steps[len(steps)-1] != (step{size, size}) {
		t.Errorf("told %v, want from 0 to %d", steps, size)
	}
	steps = nil
	h.push(client, module, "acme/p:v2")
	if len(steps) > 0 {
		t.Errorf("told %v of a module that the registry has", steps)
	}
}

func TestPassingErrorsOfReadsAreTriedAgain(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	h.push(h.insecure(), wasmModule(t, 100), "acme/p:v1")
	var failed atomic.Int32
	h.between(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") && failed.Add(1) <= 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	if _, err := h.insecure().Digest(t.Context(), h.host()+"/acme/p:v1"); err != nil {
		t.Errorf("Digest = %v, want success at the third attempt", err)
	}
}

func TestASlowRegistryEndsWithTheContext(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	c := h.insecure()
	h.push(c, wasmModule(t, 100), "acme/p:v1")
	ctx, cancel := context.WithCancel(t.Context())
	h.between(func(_ http.ResponseWriter, r *http.Request) bool {
		cancel()
		<-r.Context().Done()
		return true
	})
	if _, err := (&Puller{Client: c}).Pull(ctx, h.host()+"/acme/p:v1"); !errors.Is(err, context.Canceled) {
		t.Errorf("Pull = %v, want context.Canceled", err)
	}
}

func TestAHostThatSendsNothingAnyMoreIsLeft(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	c := newTestClient(t, ClientOptions{Sources: Sources{Insecure: []string{h.host()}}, Stall: 200 * time.Millisecond})
	h.push(c, wasmModule(t, 1000), "acme/p:v1")
	for _, at := range []string{"/manifests/", "/blobs/"} {
		h.between(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, at) {
				return false
			}
			if at == "/blobs/" { // stops in the middle
				w.Header().Set("Content-Length", "1015")
				_, _ = w.Write(make([]byte, 500))
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
			return true
		})
		_, err := (&Puller{Client: c}).Pull(t.Context(), h.host()+"/acme/p:v1")
		if !errors.Is(err, errStalled) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: Pull = %v, want it to have stalled", at, err)
		}
	}
}

func TestARegistryThatIsNoneIsSaid(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	c := newTestClient(t, ClientOptions{Sources: Sources{Insecure: []string{host}}})
	_, err := c.Digest(t.Context(), host+"/acme/p:v1")
	if err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "is no registry") {
		t.Errorf("Digest = %v, want it to say that this is no registry", err)
	}
}

func FuzzDockerConfig(f *testing.F) {
	for _, seed := range []string{
		`{"auths":{"h.example":{"auth":"YTpi"}}}`, `{"auths":{"https://h.example/v1/":{"auth":"!"}}}`, `{"auths":{"h.example":7}}`, `{"auths":[]}`, `null`,
		`{"auths":{"h.example":{"identitytoken":"x","username":"u"}}}`, `{"auths":{"h.example":null}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var c dockerConfig
		if err := json.Unmarshal(text, &c); err != nil || len(c.CredHelpers) > 0 || c.CredsStore != "" {
			return // it would start a program
		}
		auth, err := c.find(t.Context(), "h.example")
		if auth != nil && (err != nil || *auth == (authn.AuthConfig{})) {
			t.Fatalf("%q: %v, %v", text, auth, err)
		}
	})
}
