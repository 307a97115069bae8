package artifact

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/warder-dev/warder/wasm"
)

// hub is a registry of NewRegistry behind a real server, which counts what it
// is asked and may be changed on the way.
type hub struct {
	*httptest.Server
	t *testing.T

	mu    sync.Mutex
	asked []string                                          // "GET /v2/..."
	wrap  func(w http.ResponseWriter, r *http.Request) bool // true: it was answered
}

// newHub starts a registry; start is httptest.NewServer's way to do it.
func newHub(t *testing.T, start func(http.Handler) *httptest.Server) *hub {
	t.Helper()
	inner, err := NewRegistry(t.TempDir(), quietLog())
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{t: t}
	h.Server = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.asked = append(h.asked, r.Method+" "+r.URL.Path)
		wrap := h.wrap
		h.mu.Unlock()
		if wrap == nil || !wrap(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hub) host() string {
	return strings.TrimPrefix(strings.TrimPrefix(h.URL, "https://"), "http://")
}

// between sets what requests meet before the registry.
func (h *hub) between(wrap func(w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrap = wrap
}

// count returns how often something was asked since the last time.
func (h *hub) count(prefix string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, a := range h.asked {
		if strings.HasPrefix(a, prefix) {
			n++
		}
	}
	h.asked = nil
	return n
}

// insecure is a client that reaches the registry over HTTP.
func (h *hub) insecure() *Client {
	h.t.Helper()
	return newTestClient(h.t, ClientOptions{Sources: Sources{Insecure: []string{h.host()}}})
}

func newTestClient(t *testing.T, opts ClientOptions) *Client {
	t.Helper()
	if opts.DockerConfig == "" {
		opts.DockerConfig = t.TempDir() // nobody's own
	}
	c, err := NewClient(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// push pushes a module and returns its reference by digest.
func (h *hub) push(c *Client, module []byte, name string) string {
	h.t.Helper()
	pinned, err := c.Push(h.t.Context(), module, h.host()+"/"+name, map[string]string{"io.kubewarden.policy.title": "test"})
	if err != nil {
		h.t.Fatal(err)
	}
	return pinned
}

// put puts a manifest or index there as it is, and returns its digest.
func (h *hub) put(path, media string, manifest any) string {
	h.t.Helper()
	text, ok := manifest.(string)
	if !ok {
		raw, err := json.Marshal(manifest)
		if err != nil {
			h.t.Fatal(err)
		}
		text = string(raw)
	}
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodPut, h.URL+path, strings.NewReader(text))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Content-Type", media)
	resp, err := h.Client().Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		h.t.Fatalf("PUT %s = %s", path, resp.Status)
	}
	return resp.Header.Get("Docker-Content-Digest")
}

// blob puts a blob into a repository and returns its descriptor.
func (h *hub) blob(repo, media string, data []byte) descriptor {
	h.t.Helper()
	d := descriptor{MediaType: media, Digest: digestOf(data), Size: int64(len(data))}
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.URL+"/v2/"+repo+"/blobs/uploads/?digest="+d.Digest, strings.NewReader(string(data)))
	if err != nil {
		h.t.Fatal(err)
	}
	resp, err := h.Client().Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		h.t.Fatalf("blob: %s", resp.Status)
	}
	return d
}

// image puts an image with one layer under a tag, and returns its digest.
func (h *hub) image(repo, tag string, layer descriptor) string {
	h.t.Helper()
	config := h.blob(repo, mediaConfig, []byte("{}"))
	return h.put("/v2/"+repo+"/manifests/"+tag, mediaImage, imageManifest{SchemaVersion: 2, Config: &config, Layers: []descriptor{layer}})
}

// wasmModule is a module like no other, of about n bytes.
func wasmModule(t testing.TB, n int) []byte {
	t.Helper()
	noise := make([]byte, n)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	return wasm.Append([]byte(wasm.Header), wasm.Section{ID: wasm.SectionCustom, Payload: append(wasm.AppendName(nil, "noise"), noise...)})
}
