package artifact

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
)

func TestWhatIsPushedIsAsKwctlPushesIt(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	c := h.insecure()
	module := wasmModule(t, 1000)
	annotations := ManifestAnnotations(map[string]string{
		"io.kubewarden.policy.title":  " labels ",
		"io.kubewarden.policy.usage":  "two\nlines",
		"io.kubewarden.policy.author": "one line\n",
		"io.kubewarden.policy.source": "https://github.com/acme/labels",
	})
	pinned, err := c.Push(t.Context(), module, h.host()+"/acme/p", annotations)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Push(t.Context(), module, h.host()+"/acme/p:latest", annotations)
	if err != nil || again != pinned {
		t.Errorf("Push = %s, %v, want %s again", again, err, pinned)
	}
	raw, _, err := c.manifest(t.Context(), mustImage(t, pinned))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"schemaVersion":2,"config":{"mediaType":"application/vnd.wasm.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},` +
		`"layers":[{"mediaType":"application/vnd.wasm.content.layer.v1+wasm","digest":"` + digestOf(module) + `","size":` + sizeText(module) + `}],` +
		`"annotations":{"io.kubewarden.policy.author":"one line","io.kubewarden.policy.source":"https://github.com/acme/labels","io.kubewarden.policy.title":"labels","org.opencontainers.image.source":"https://github.com/acme/labels"}}`
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("manifest (-want +have):\n%s", diff)
	}
}

func sizeText(module []byte) string {
	text, _ := json.Marshal(len(module)) //nolint:errchkjson // a number
	return string(text)
}

func TestPushRefusesWhatCannotBePulled(t *testing.T) {
	c := newTestClient(t, ClientOptions{})
	module := wasmModule(t, 10)
	for _, tt := range []struct {
		module    []byte
		uri, want string
	}{
		{[]byte("<html>"), "h.example/p:v1", "invalid wasm file"},
		{module, "https://h.example/p.wasm", "want a registry"},
		{module, "h.example/p@" + someDigest, "is pushed to a tag"},
		{module, "H.example/P", "not an image"},
	} {
		if _, err := c.Push(t.Context(), tt.module, tt.uri, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Push(%s) = %v, want an error with %q", tt.uri, err, tt.want)
		}
	}
}

func TestPoliciesSeeTheFieldsOfKubewardenAlone(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	c := h.insecure()
	config := h.blob("p", mediaConfig, []byte(`{"architecture":"x","unknown":1}`))
	configText, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	image := `{"annotations":{"b":"2","a":"1"},"unknown":true,"layers":[],"config":` + string(configText) + `,"mediaType":"` + mediaImage + `","schemaVersion":2}`
	digest := h.put("/v2/p/manifests/image", mediaImage, image)
	index := `{"schemaVersion":2,"mediaType":"` + mediaIndex + `","x":1,"manifests":[` +
		`{"mediaType":"` + mediaImage + `","digest":"` + digest + `","size":1,"platform":{"architecture":"` + runtime.GOARCH + `","os":"linux","os.version":"5","y":2},"data":"AA=="}]}`
	h.put("/v2/p/manifests/index", mediaIndex, index)
	wantImage := `{"schemaVersion":2,"mediaType":"` + mediaImage + `","config":` + string(configText) + `,"layers":[],"annotations":{"a":"1","b":"2"}}`
	for tag, want := range map[string]string{
		"image": wantImage,
		"index": `{"schemaVersion":2,"mediaType":"` + mediaIndex + `","manifests":[{"mediaType":"` + mediaImage + `","digest":"` + digest + `","size":1,"platform":{"architecture":"` + runtime.GOARCH + `","os":"linux","os.version":"5"}}]}`,
	} {
		have, err := c.Manifest(t.Context(), h.host()+"/p:"+tag)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(have)); diff != "" {
			t.Errorf("%s (-want +have):\n%s", tag, diff)
		}
		manifest, of, text, err := c.Config(t.Context(), h.host()+"/p:"+tag)
		if err != nil || string(manifest) != wantImage || of != digest || string(text) != `{"architecture":"x","unknown":1}` {
			t.Errorf("%s: Config = %s, %s, %s, %v", tag, manifest, of, text, err)
		}
	}
}

func TestADigestIsAlsoFoundWithoutHEAD(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	pinned := h.push(h.insecure(), wasmModule(t, 10), "p:v1")
	for name, refuse := range map[string]func(http.ResponseWriter){
		"refused":        func(w http.ResponseWriter) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"not found":      func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"without digest": func(w http.ResponseWriter) { w.Header().Set("Content-Length", "1") },
	} {
		h.between(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodHead {
				return false
			}
			refuse(w)
			return true
		})
		if have, err := h.insecure().Digest(t.Context(), h.host()+"/p:v1"); err != nil || h.host()+"/p@"+have != pinned {
			t.Errorf("%s: Digest = %s, %v, want that of %s", name, have, err, pinned)
		}
	}
}

func FuzzManifest(f *testing.F) {
	for _, seed := range []string{
		`{"schemaVersion":2,"config":{},"layers":[{"mediaType":"` + mediaModule + `","digest":"` + someDigest + `","size":9}]}`,
		`{"schemaVersion":2,"mediaType":"` + mediaIndex + `","manifests":[{"mediaType":"` + mediaImage + `","digest":"` + someDigest + `","platform":{"os":"wasi"}}]}`,
		`{"schemaVersion":2,"manifests":null}`, `{"schemaVersion":1}`, `null`, `[]`, `{"schemaVersion":2,"config":null,"layers":[{}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		image, index, err := parseManifest(raw)
		if err != nil {
			return
		}
		if (image == nil) == (index == nil) {
			t.Fatalf("%q is both or neither", raw)
		}
		layer, all, err := resolve(digestOf(raw), raw, func(string) ([]byte, error) { return raw, nil })
		if err == nil && (!isSHA256(layer.Digest) || layer.Size < 1 || layer.Size > MaxModuleBytes || len(all) == 0) {
			t.Fatalf("%q leads to %v", raw, layer)
		}
		var out []byte
		if image != nil {
			out, err = json.Marshal(image)
		} else {
			_, _ = index.own()
			out, err = json.Marshal(index)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := parseManifest(out); err != nil {
			t.Fatalf("%q becomes %q, which is none: %v", raw, out, err)
		}
	})
}

func mustImage(t *testing.T, text string) name.Reference {
	t.Helper()
	ref, err := imageReference(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}
