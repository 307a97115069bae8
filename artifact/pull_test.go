package artifact

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newTestStore(t testing.TB) *Store {
	t.Helper()
	s, err := OpenStore(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantModule(t *testing.T, m *Module, err error, module []byte) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Bytes, module) || "sha256:"+m.SHA256 != digestOf(module) || m.Stale != nil || m.Unstored != nil {
		t.Fatalf("have %d bytes %s, stale %v, unstored %v, want %d bytes %s", len(m.Bytes), m.SHA256, m.Stale, m.Unstored, len(module), digestOf(module))
	}
}

func TestAModuleIsPulledOnceAndKept(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	module := wasmModule(t, 3<<20)
	pinned := h.push(h.insecure(), module, "acme/p:v1")
	store := newTestStore(t)
	p := &Puller{Client: h.insecure(), Store: store}

	m, err := p.Pull(t.Context(), h.host()+"/acme/p:v1")
	wantModule(t, m, err, module)
	if m.Cached || m.Reference != "registry://"+pinned {
		t.Errorf("cached %t, reference %s, want a new one of %s", m.Cached, m.Reference, pinned)
	}
	visible, err := os.ReadFile(filepath.Join(store.Root(), "registry", h.host(), "acme", "p:v1"))
	if err != nil || !bytes.Equal(visible, module) {
		t.Errorf("the file that kwctl looks for: %d bytes, %v, want the module", len(visible), err)
	}
	h.count("")
	for _, uri := range []string{h.host() + "/acme/p:v1", "registry://" + pinned, pinned} {
		m, err := p.Pull(t.Context(), uri)
		wantModule(t, m, err, module)
		if !m.Cached || m.Reference != "registry://"+pinned {
			t.Errorf("%s: cached %t, reference %s, want it from the store", uri, m.Cached, m.Reference)
		}
	}
	if n := h.count(""); n != 0 {
		t.Errorf("the registry was asked %d times, want never again", n)
	}
}

func TestLatestIsAskedForEachTime(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	first, second := wasmModule(t, 1000), wasmModule(t, 1000)
	h.push(h.insecure(), first, "acme/p:latest")
	store := newTestStore(t)
	p := &Puller{Client: h.insecure(), Store: store}
	m, err := p.Pull(t.Context(), h.host()+"/acme/p")
	wantModule(t, m, err, first)

	h.count("")
	m, err = p.Pull(t.Context(), h.host()+"/acme/p")
	wantModule(t, m, err, first)
	if !m.Cached {
		t.Error("what has not changed was pulled again")
	}
	if h.count("GET /v2/acme/p/manifests/latest") != 1 {
		t.Error("the registry was not asked what latest is")
	}

	h.push(h.insecure(), second, "acme/p:latest")
	m, err = p.Pull(t.Context(), h.host()+"/acme/p")
	wantModule(t, m, err, second)
	if files := kept(t, store, "modules"); len(files) != 1 {
		t.Errorf("%d modules are kept, want the old one gone", len(files))
	}

	h.between(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
	m, err = p.Pull(t.Context(), h.host()+"/acme/p")
	if err != nil || !bytes.Equal(m.Bytes, second) || !errors.Is(m.Stale, ErrUnavailable) {
		t.Errorf("Pull = %v, %v, want what the store has, and that it is stale", m, err)
	}
	h.Close()
	m, err = (&Puller{Client: h.insecure(), Store: store}).Pull(t.Context(), h.host()+"/acme/p")
	if err != nil || !bytes.Equal(m.Bytes, second) || !errors.Is(m.Stale, ErrUnavailable) {
		t.Errorf("Pull = %v, %v, want what the store has, and that it is stale", m, err)
	}
}

// TestARegistryWithALocalAddressIsAwayAsAnyOther: it is asked over HTTPS, and that
// HTTP would be refused is no reason to call it anything but away.
func TestARegistryWithALocalAddressIsAwayAsAnyOther(t *testing.T) {
	cert := newCertificate(t, "localhost")
	h := newHub(t, withTLS(cert))
	client := func() *Client {
		return newTestClient(t, ClientOptions{Sources: Sources{Authorities: map[string][]*x509.Certificate{h.host(): {cert.Leaf}}}})
	}
	module := wasmModule(t, 1000)
	h.push(client(), module, "acme/p:latest")
	store := newTestStore(t)
	m, err := (&Puller{Client: client(), Store: store}).Pull(t.Context(), h.host()+"/acme/p")
	wantModule(t, m, err, module)
	h.Close()
	m, err = (&Puller{Client: client(), Store: store}).Pull(t.Context(), h.host()+"/acme/p")
	if err != nil || !bytes.Equal(m.Bytes, module) || !errors.Is(m.Stale, ErrUnavailable) {
		t.Fatalf("Pull = %v, %v, want what the store has, and that it is stale", m, err)
	}
	if text := m.Stale.Error(); strings.Contains(text, "HTTP is refused") {
		t.Errorf("it is said to be away because %s, want nothing about HTTP", text)
	}
}

func kept(t *testing.T, s *Store, kind string) []string {
	t.Helper()
	files, err := filepath.Glob(s.own(kind, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestATagThatIsGoneIsNotServedFromTheStore(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	h.push(h.insecure(), wasmModule(t, 1000), "acme/p:latest")
	p := &Puller{Client: h.insecure(), Store: newTestStore(t)}
	if _, err := p.Pull(t.Context(), h.host()+"/acme/p"); err != nil {
		t.Fatal(err)
	}
	for status, want := range map[int]error{http.StatusNotFound: ErrNotFound, http.StatusForbidden: ErrUnauthorized} {
		h.between(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.WriteHeader(status)
				return true
			}
			return false
		})
		if m, err := p.Pull(t.Context(), h.host()+"/acme/p"); !errors.Is(err, want) {
			t.Errorf("status %d: Pull = %v, %v, want %v", status, m, err, want)
		}
	}
}

func TestIndexesAndOtherToolsAreUnderstood(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	module := wasmModule(t, 1000)
	const repo = "acme/p"
	own := h.blob(repo, mediaModule, module)
	tool := h.blob(repo, mediaModuleTool, module)
	foreign := h.blob(repo, "application/vnd.oci.image.layer.v1.tar+gzip", []byte("layer"))
	text := h.blob(repo, mediaModule, []byte("<html>not found</html>"))
	inOwn, inTool, inForeign := h.image(repo, "own", own), h.image(repo, "tool", tool), h.image(repo, "foreign", foreign)
	h.image(repo, "text", text)
	config := h.blob(repo, mediaConfig, []byte("{}"))
	h.put("/v2/"+repo+"/manifests/empty", mediaImage, imageManifest{SchemaVersion: 2, Config: &config, Layers: []descriptor{}})
	h.put("/v2/"+repo+"/manifests/mixed", mediaImage, imageManifest{SchemaVersion: 2, Config: &config, Layers: []descriptor{own, foreign}})
	entry := func(digest string, p *platform) indexEntry {
		return indexEntry{MediaType: mediaImage, Digest: digest, Size: 10, Platform: p}
	}
	index := func(tag string, entries ...indexEntry) string {
		return h.put("/v2/"+repo+"/manifests/"+tag, mediaIndex, indexManifest{SchemaVersion: 2, MediaType: mediaIndex, Manifests: entries})
	}
	linux, wasip1 := &platform{OS: "linux", Architecture: "amd64"}, &platform{OS: "wasip1", Architecture: "wasm"}
	attestation := entry(inForeign, nil)
	attestation.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	byType := entry(inOwn, nil)
	byType.ArtifactType = mediaConfig
	nested := index("one", entry(inOwn, nil))
	index("platforms", entry(inForeign, linux), entry(inOwn, wasip1))
	index("types", entry(inForeign, nil), byType)
	index("attested", entry(inOwn, nil), attestation)
	index("two", entry(inOwn, wasip1), entry(inTool, wasip1))
	index("none", entry(inForeign, linux), entry(inForeign, &platform{OS: "linux", Architecture: "arm64"}))
	index("nested", indexEntry{MediaType: mediaIndex, Digest: nested, Size: 10})
	tests := []struct{ tag, want string }{
		{"own", ""}, {"tool", ""}, {"one", ""}, {"platforms", ""}, {"types", ""}, {"attested", ""},
		{"foreign", `it is no policy: a layer has the media type "application/vnd.oci.image.layer.v1.tar+gzip"`},
		{"mixed", "it is no policy"},
		{"empty", "empty layers"},
		{"text", "invalid wasm file"},
		{"two", "2 entries are WebAssembly modules; name one of them by its digest"},
		{"none", "none of its 2 entries is a WebAssembly module"},
		{"nested", "none of its 1 entries is a WebAssembly module"},
	}
	for _, tt := range tests {
		p := &Puller{Client: h.insecure(), Store: newTestStore(t)}
		m, err := p.Pull(t.Context(), h.host()+"/"+repo+":"+tt.tag)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: Pull = %v, %v, want an error with %q", tt.tag, m, err, tt.want)
			}
			continue
		}
		wantModule(t, m, err, module)
		h.count("")
		again, err := p.Pull(t.Context(), m.Reference) // by the digest of the index too
		wantModule(t, again, err, module)
		if h.count("") != 0 || !again.Cached {
			t.Errorf("%s: the registry was asked for what is in the store", tt.tag)
		}
	}
}

func TestWhatARegistryChangesIsNoticed(t *testing.T) {
	module := wasmModule(t, 5000)
	answer := func(data []byte, length string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			if length != "" {
				w.Header().Set("Content-Length", length)
			}
			_, _ = w.Write(data)
		}
	}
	tampered := bytes.Clone(module)
	tampered[len(tampered)-1] ^= 1
	tests := []struct {
		name, path  string
		send        func(http.ResponseWriter)
		want        string
		unavailable bool
	}{
		{"a blob with another byte", "/blobs/", answer(tampered, ""), "blob sha256:", false},
		{"a blob that ends early", "/blobs/", answer(module[:100], "5000"), "blob sha256:", true},
		{"a blob that is shorter", "/blobs/", answer(module[:100], "100"), "blob sha256:", false},
		{"a blob that is longer", "/blobs/", answer(append(bytes.Clone(module), 0), ""), "blob sha256:", false},
		{"another manifest than the digest's", "/manifests/sha256:", answer([]byte(`{"schemaVersion":2}`), ""), "digest", false},
		{"a manifest that is no JSON", "/manifests/v1", answer([]byte(`<html>`), ""), "manifest: ", false},
		{"a manifest of a later version", "/manifests/v1", answer([]byte(`{"schemaVersion":3}`), ""), "schema version 3", false},
		{"a manifest of nothing", "/manifests/v1", answer([]byte(`{"schemaVersion":2}`), ""), "neither a config nor manifests", false},
		{"a layer that claims too much", "/manifests/v1", answer([]byte(`{"schemaVersion":2,"config":{},"layers":[{"mediaType":"`+mediaModule+`","digest":"`+someDigest+`","size":999999999999}]}`), ""), "999999999999 bytes", false},
		{"a layer whose digest is a path", "/manifests/v1", answer([]byte(`{"schemaVersion":2,"config":{},"layers":[{"mediaType":"`+mediaModule+`","digest":"sha256:../../../x","size":9}]}`), ""), "want sha256", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, httptest.NewServer)
			uri := h.host() + "/acme/p:v1"
			pinned := h.push(h.insecure(), module, "acme/p:v1")
			if strings.Contains(tt.path, "sha256") {
				uri = pinned
			}
			h.between(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, tt.path) {
					tt.send(w)
					return true
				}
				return false
			})
			store := newTestStore(t)
			p := &Puller{Client: h.insecure(), Store: store}
			m, err := p.Pull(t.Context(), uri)
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrUnavailable) != tt.unavailable {
				t.Errorf("Pull = %v, %v, want an error with %q, unavailable: %t", m, err, tt.want, tt.unavailable)
			}
			if list, err := store.List(); len(list) != 0 || err != nil {
				t.Errorf("the store has %v, %v, want nothing", list, err)
			}
			h.between(nil)
			m, err = p.Pull(t.Context(), uri)
			wantModule(t, m, err, module)
		})
	}
}

func TestDownloads(t *testing.T) {
	module := wasmModule(t, 5000)
	h := newHub(t, httptest.NewServer)
	h.between(func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/p.wasm", "/q.wasm":
			_, _ = w.Write(module)
		case "/moved.wasm":
			http.Redirect(w, r, "/p.wasm", http.StatusFound)
		case "/round.wasm":
			http.Redirect(w, r, "/round.wasm", http.StatusFound)
		case "/away.wasm":
			http.Redirect(w, r, "http://elsewhere.test/p.wasm", http.StatusFound)
		case "/page.wasm":
			_, _ = w.Write([]byte("<html>please log in</html>"))
		case "/large.wasm":
			w.Header().Set("Content-Length", "300000000")
		case "/broken.wasm":
			w.WriteHeader(http.StatusInternalServerError)
		case "/private.wasm":
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
		return true
	})
	tests := []struct {
		path, want string
		kind       error
	}{
		{"/p.wasm", "", nil},
		{"/q.wasm?version=2", "", nil},
		{"/moved.wasm", "", nil},
		{"/nowhere.wasm", "404 Not Found", ErrNotFound},
		{"/private.wasm", "403 Forbidden", ErrUnauthorized},
		{"/broken.wasm", "500 Internal Server Error", ErrUnavailable},
		{"/page.wasm", "invalid wasm file", nil},
		{"/large.wasm", "it has 300000000 bytes or more; a module has at most", nil},
		{"/round.wasm", "stopped after 10 redirects", nil},
		{"/away.wasm", `list "elsewhere.test" under insecure_sources`, nil},
	}
	for _, tt := range tests {
		p := &Puller{Client: h.insecure(), Store: newTestStore(t)}
		uri := h.URL + tt.path
		m, err := p.Pull(t.Context(), uri)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("%s: Pull = %v, %v, want an error with %q", tt.path, m, err, tt.want)
			}
			continue
		}
		wantModule(t, m, err, module)
		h.count("")
		m, err = p.Pull(t.Context(), uri)
		wantModule(t, m, err, module)
		if h.count("") != 0 || !m.Cached || m.Reference != uri {
			t.Errorf("%s: cached %t, reference %s, want it from the store", tt.path, m.Cached, m.Reference)
		}
		if strings.Contains(uri, "?") { // another query is another module
			if _, err := p.Pull(t.Context(), strings.Replace(uri, "=2", "=3", 1)); err != nil || h.count("GET /q.wasm") != 1 {
				t.Errorf("%s: with another query: %v, want it to be asked for", tt.path, err)
			}
		}
	}
}

func TestFilesAreReadWhereTheyAre(t *testing.T) {
	module := wasmModule(t, 100)
	file := filepath.Join(t.TempDir(), "p.wasm")
	if err := os.WriteFile(file, module, 0o600); err != nil {
		t.Fatal(err)
	}
	store := newTestStore(t)
	p := &Puller{Store: store}
	m, err := p.Pull(t.Context(), "file://"+file)
	wantModule(t, m, err, module)
	if list, err := store.List(); len(list) != 0 || err != nil {
		t.Errorf("the store has %v, %v, want nothing", list, err)
	}
	if _, err := p.Pull(t.Context(), "file://"+file+"x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Pull = %v, want that the file is not there", err)
	}
	if _, err := p.Pull(t.Context(), "builtin://pod-privileged"); err == nil || !strings.Contains(err.Error(), "built in") {
		t.Errorf("Pull = %v, want that there is nothing to pull", err)
	}
}

func TestWhatWasVerifiedIsPulledAndNothingElse(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	signed, later := wasmModule(t, 1000), wasmModule(t, 1000)
	pinned := h.push(h.insecure(), signed, "acme/p:v1")
	_, digest, _ := strings.Cut(pinned, "@")
	h.push(h.insecure(), later, "acme/p:v1") // the tag has moved since
	var images []string
	verify := func(_ context.Context, image string) (Verified, error) {
		images = append(images, image)
		return Verified{Digest: digest}, nil
	}
	uri := h.host() + "/acme/p:v1"
	store := newTestStore(t)
	p := &Puller{Client: h.insecure(), Store: store, Verify: verify}
	m, err := p.Pull(t.Context(), uri)
	wantModule(t, m, err, signed)
	if diff := cmp.Diff([]string{uri}, images); diff != "" {
		t.Errorf("verified (-want +have):\n%s", diff)
	}

	// An unverified module that the store has under the tag is not used.
	other := newTestStore(t)
	if _, err := (&Puller{Client: h.insecure(), Store: other}).Pull(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	m, err = (&Puller{Client: h.insecure(), Store: other, Verify: verify}).Pull(t.Context(), uri)
	wantModule(t, m, err, signed)

	// Nor when the registry is away.
	h.between(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
	p.Verify = func(context.Context, string) (Verified, error) { return Verified{Digest: someDigest}, nil }
	if m, err := p.Pull(t.Context(), uri); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Pull = %v, %v, want ErrUnavailable and no other module", m, err)
	}
	p.Verify = func(context.Context, string) (Verified, error) { return Verified{}, os.ErrPermission }
	if m, err := p.Pull(t.Context(), uri); !errors.Is(err, os.ErrPermission) {
		t.Errorf("Pull = %v, %v, want what verification says", m, err)
	}
	p.Verify = verify
	if m, err := p.Pull(t.Context(), h.host()+"/acme/p@"+someDigest); err == nil || !strings.Contains(err.Error(), "not what was asked for") {
		t.Errorf("Pull = %v, %v, want that another digest was verified", m, err)
	}
	h.between(nil)
	config, layer := h.blob("acme/two", mediaConfig, []byte("{}")), h.blob("acme/two", mediaModule, signed)
	two := h.put("/v2/acme/two/manifests/v1", mediaImage, imageManifest{SchemaVersion: 2, Config: &config, Layers: []descriptor{layer, layer}})
	p.Verify = func(context.Context, string) (Verified, error) { return Verified{Digest: two}, nil }
	if m, err := p.Pull(t.Context(), h.host()+"/acme/two:v1"); err == nil || !strings.Contains(err.Error(), "doesn't have only one WASM layer") {
		t.Errorf("Pull = %v, %v, want two layers refused", m, err)
	}
	for _, uri := range []string{"file:///p.wasm", "https://h.example/p.wasm"} {
		if _, err := p.Pull(t.Context(), uri); err == nil || !strings.Contains(err.Error(), "Verification only works with OCI images: Not a valid oci image: ") {
			t.Errorf("%s: Pull = %v, want it refused", uri, err)
		}
	}
}

func TestPullsAtTheSameTimeFetchOnce(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	module := wasmModule(t, 1<<20)
	h.push(h.insecure(), module, "acme/p:v1")
	h.push(h.insecure(), module, "acme/p:v2")
	const pulls = 20
	arrived := make(chan struct{}, pulls)
	var blobs atomic.Int32
	h.between(func(_ http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.Contains(r.URL.Path, "/blobs/"):
			blobs.Add(1)
			for range pulls { // until everybody is on the way
				<-arrived
			}
		case strings.Contains(r.URL.Path, "/manifests/v"):
			arrived <- struct{}{}
		}
		return false
	})
	p := &Puller{Client: h.insecure(), Store: newTestStore(t)}
	var all sync.WaitGroup
	errs := make([]error, pulls)
	for i := range pulls {
		all.Go(func() {
			var m *Module
			m, errs[i] = p.Pull(t.Context(), h.host()+"/acme/p:v"+[]string{"1", "2"}[i%2])
			if errs[i] == nil && !bytes.Equal(m.Bytes, module) {
				errs[i] = errors.New("another module")
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if n := blobs.Load(); n != 1 {
		t.Errorf("the module was fetched %d times, want once", n)
	}
}

func TestOneWhoLeavesDoesNotEndThePullOfOthers(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	module := wasmModule(t, 1000)
	pinned := h.push(h.insecure(), module, "acme/p:v1")
	asked, answer := make(chan struct{}), make(chan struct{})
	h.between(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			close(asked)
			<-answer
		}
		return false
	})
	p := &Puller{Client: h.insecure()}
	ctx, leave := context.WithCancel(t.Context())
	left, stayed := make(chan error), make(chan error)
	go func() { _, err := p.Pull(ctx, pinned); left <- err }()
	<-asked
	go func() { _, err := p.Pull(t.Context(), pinned); stayed <- err }()
	for waiting := 0; waiting < 2; {
		p.flights.mu.Lock()
		for _, call := range p.flights.calls {
			waiting = call.waiting
		}
		p.flights.mu.Unlock()
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v, want context.Canceled", err)
	}
	close(answer)
	if err := <-stayed; err != nil {
		t.Errorf("who stayed: %v", err)
	}
}
