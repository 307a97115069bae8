package capability

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// remoteImages asks a registry over HTTP, with nothing around it.
type remoteImages struct{}

func (remoteImages) Digest(ctx context.Context, image string) (string, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return "", err
	}
	d, err := remote.Head(ref, remote.WithContext(ctx))
	if err != nil {
		return "", err
	}
	return d.Digest.String(), nil
}

func (remoteImages) Manifest(ctx context.Context, image string) (json.RawMessage, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return nil, err
	}
	d, err := remote.Get(ref, remote.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	return d.Manifest, nil
}

func (remoteImages) Config(ctx context.Context, image string) (json.RawMessage, string, json.RawMessage, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return nil, "", nil, err
	}
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"}))
	if err != nil {
		return nil, "", nil, err
	}
	manifest, err1 := img.RawManifest()
	digest, err2 := img.Digest()
	config, err3 := img.RawConfigFile()
	return manifest, digest.String(), config, errors.Join(err1, err2, err3)
}

// testRegistry is a registry in this process that counts what it is asked.
type testRegistry struct {
	host string
	asks atomic.Int64
}

func newRegistry(t *testing.T) *testRegistry {
	t.Helper()
	r := &testRegistry{}
	handler := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asks.Add(1)
		handler.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// reference is a repository in this registry.
func (r *testRegistry) reference(t *testing.T, repository string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(r.host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (r *testRegistry) push(t *testing.T, repository string, image v1.Image) string {
	t.Helper()
	if err := remote.Write(r.reference(t, repository), image); err != nil {
		t.Fatal(err)
	}
	return r.host + "/" + repository
}

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	image, err := random.Image(100, 2)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// ask calls the host and decodes its answer.
func ask[Answer any](t *testing.T, h *Host, operation string, question any) Answer {
	t.Helper()
	payload, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	namespace, operation, _ := strings.Cut(operation, "/")
	text, err := h.Call(t.Context(), call(namespace, operation, string(payload)))
	if err != nil {
		t.Fatalf("%s %s: %v", operation, payload, err)
	}
	var answer Answer
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%s %s: answer %s: %v", operation, payload, text, err)
	}
	return answer
}

func TestImagesAreAnsweredFromTheirRegistry(t *testing.T) {
	r := newRegistry(t)
	image := randomImage(t)
	ref := r.push(t, "app:1.0", image)
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	h, _ := hostFor(everything)
	h.Services.Images = remoteImages{}

	have := ask[map[string]string](t, h, "oci/v1/manifest_digest", ref)
	if diff := cmp.Diff(map[string]string{"digest": digest.String()}, have); diff != "" {
		t.Errorf("manifest_digest (-want +have):\n%s", diff)
	}
	if diff := cmp.Diff(*manifest, ask[v1.Manifest](t, h, "oci/v1/oci_manifest", ref)); diff != "" {
		t.Errorf("oci_manifest (-want +have):\n%s", diff)
	}
	type full struct {
		Manifest v1.Manifest
		Digest   string
		Config   v1.ConfigFile
	}
	if diff := cmp.Diff(full{*manifest, digest.String(), *config}, ask[full](t, h, "oci/v1/oci_manifest_config", ref)); diff != "" {
		t.Errorf("oci_manifest_config (-want +have):\n%s", diff)
	}
}

func TestAnIndexIsAnsweredWithItsPlatforms(t *testing.T) {
	r := newRegistry(t)
	ref := r.host + "/multi:1"
	image := randomImage(t)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64", OSVersion: "6", Variant: "v2"}},
	})
	if err := remote.WriteIndex(r.reference(t, "multi:1"), index); err != nil {
		t.Fatal(err)
	}
	want, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	h, _ := hostFor(everything)
	h.Services.Images = remoteImages{}
	if diff := cmp.Diff(*want, ask[v1.IndexManifest](t, h, "oci/v1/oci_manifest", ref)); diff != "" {
		t.Errorf("oci_manifest (-want +have):\n%s", diff)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if have := ask[struct{ Digest string }](t, h, "oci/v1/oci_manifest_config", ref); have.Digest != digest.String() {
		t.Errorf("oci_manifest_config: digest %s, want that of the platform's image, %s", have.Digest, digest)
	}
}

// documents answers every question about an image with one manifest.
type documents struct {
	manifest string
	err      error
	asked    []string
}

func (d *documents) Digest(_ context.Context, image string) (string, error) {
	d.asked = append(d.asked, image)
	return "sha256:d", d.err
}

func (d *documents) Manifest(_ context.Context, image string) (json.RawMessage, error) {
	d.asked = append(d.asked, image)
	return json.RawMessage(d.manifest), d.err
}

func (d *documents) Config(_ context.Context, image string) (json.RawMessage, string, json.RawMessage, error) {
	d.asked = append(d.asked, image)
	return json.RawMessage(d.manifest), "sha256:d", json.RawMessage(`{"os": "linux", "rest": [1.0]}`), d.err
}

func TestAManifestHasTheFieldsThatKubewardenKnows(t *testing.T) {
	const descriptor = `{"mediaType":"m","digest":"sha256:a","size":12,"urls":["u"],"annotations":{"k":"v"},"artifactType":"t"}`
	tests := []struct{ name, manifest, want string }{
		{
			"image",
			`{"layers":[` + descriptor + `,{"mediaType":"m","digest":"sha256:b","size":9007199254740993,"data":"AA==","platform":{}}],"config":` + descriptor + `,
			  "schemaVersion":2,"mediaType":"mm","subject":` + descriptor + `,"artifactType":"t","annotations":{"a":"<b>"},"x":1}`,
			`{"schemaVersion":2,"mediaType":"mm","config":` + descriptor + `,"layers":[` + descriptor + `,{"mediaType":"m","digest":"sha256:b","size":9007199254740993}],` +
				`"subject":` + descriptor + `,"artifactType":"t","annotations":{"a":"\u003cb\u003e"}}`,
		},
		{
			"index",
			`{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"sha256:a","size":1,"data":"AA==","platform":{"architecture":"arm64","os":"linux","os.version":"1","os.features":["f"],"variant":"v8","features":["g"],"x":1}}],"x":1}`,
			`{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"sha256:a","size":1,"platform":{"architecture":"arm64","os":"linux","os.version":"1","os.features":["f"],"variant":"v8","features":["g"]}}]}`,
		},
	}
	for _, tt := range tests {
		h, _ := hostFor(everything)
		h.Services.Images = &documents{manifest: tt.manifest}
		answer, err := h.Call(t.Context(), call("oci", "v1/oci_manifest", `"a"`))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, string(answer)); diff != "" {
			t.Errorf("%s: oci_manifest (-want +have):\n%s", tt.name, diff)
		}
		answer, err = h.Call(t.Context(), call("oci", "v1/oci_manifest_config", `"a"`))
		if want := `{"manifest":` + tt.want + `,"digest":"sha256:d","config":{"os":"linux","rest":[1.0]}}`; err != nil || string(answer) != want {
			t.Errorf("%s: oci_manifest_config = %s, %v, want %s", tt.name, answer, err, want)
		}
	}
}

func TestAQuestionAboutAnImageThatCannotBeAnswered(t *testing.T) {
	failing := &documents{err: errors.New("manifest: 404 Not Found")}
	tests := []struct {
		name, operation, payload string
		images                   Images
		want                     string
	}{
		{"no client", "v1/manifest_digest", `"a"`, nil, "Callback evaluation failure: no client for registries: this process was started without one"},
		{"digest", "v1/manifest_digest", `"a"`, failing, "Callback evaluation failure: manifest: 404 Not Found"},
		{"manifest", "v1/oci_manifest", `"a"`, failing, "Callback evaluation failure: manifest: 404 Not Found"},
		{"configuration", "v1/oci_manifest_config", `"a"`, failing, "Callback evaluation failure: manifest: 404 Not Found"},
		{"payload is an object", "v1/oci_manifest", `{"image":"a"}`, failing, "json: cannot unmarshal object into Go value of type string"},
		{"payload is null", "v1/oci_manifest", `null`, failing, "want a string, have null"},
		{"no payload", "v1/oci_manifest", ``, failing, "unexpected end of JSON input"},
		{"manifest is no JSON", "v1/oci_manifest", `"a"`, &documents{manifest: `<html>`}, "Callback evaluation failure: manifest: invalid character '<' looking for beginning of value"},
		{"manifest is something else", "v1/oci_manifest_config", `"a"`, &documents{manifest: `{}`}, "Callback evaluation failure: manifest: it has neither layers nor manifests"},
		{"manifest has another shape", "v1/oci_manifest", `"a"`, &documents{manifest: `{"layers":{}}`}, "Callback evaluation failure: manifest: json: cannot unmarshal object into Go struct field imageManifest.layers of type []capability.descriptor"},
	}
	for _, tt := range tests {
		h, _ := hostFor(everything)
		h.Services.Images = tt.images
		answer, err := h.Call(t.Context(), call("oci", tt.operation, tt.payload))
		if answer != nil || err == nil || err.Error() != tt.want {
			t.Errorf("%s: Call = %q, %v, want %q", tt.name, answer, err, tt.want)
		}
	}
}

func TestAnswersOfRegistriesAreKeptForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		images := &documents{manifest: `{"layers":[]}`}
		h, _ := hostFor(everything)
		h.Services = Services{Images: images, Cache: NewCache()}
		asks := func(operation, image string) int {
			t.Helper()
			before := len(images.asked)
			_ = ask[any](t, h, operation, image)
			return len(images.asked) - before
		}
		for _, step := range []struct {
			wait             time.Duration
			operation, image string
			want             int
		}{
			{0, "oci/v1/manifest_digest", "a", 1},
			{0, "oci/v1/manifest_digest", "a", 0},
			{0, "oci/v1/manifest_digest", "a:latest", 1}, // the same image, another text
			{0, "oci/v1/oci_manifest", "a", 1},
			{0, "oci/v1/oci_manifest_config", "a", 1},
			{59 * time.Second, "oci/v1/oci_manifest_config", "a", 0},
			{time.Second, "oci/v1/oci_manifest_config", "a", 1},
		} {
			<-time.After(step.wait)
			if have := asks(step.operation, step.image); have != step.want {
				t.Errorf("after %s more, %s of %s asks %d times, want %d", step.wait, step.operation, step.image, have, step.want)
			}
		}
		images.err = errors.New("down")
		for range 2 {
			before := len(images.asked)
			if _, err := h.Call(t.Context(), call("oci", "v1/manifest_digest", `"b"`)); err == nil || len(images.asked) != before+1 {
				t.Errorf("a failure: %v after %d questions, want it asked each time", err, len(images.asked)-before)
			}
		}
	})
}

func BenchmarkACachedCall(b *testing.B) {
	h, _ := hostFor(everything)
	h.Services = Services{Images: &documents{manifest: `{"layers":[]}`}, Cache: NewCache(), Metrics: NewMetrics(nil)}
	c := call("oci", "v1/manifest_digest", `"registry.example.org/team/app:1.0"`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Call(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}
