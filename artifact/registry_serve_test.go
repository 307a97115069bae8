package artifact

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// ask sends a request to a registry without a server.
func ask(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

func newTestRegistry(t testing.TB, dir string) http.Handler {
	t.Helper()
	h, err := NewRegistry(dir, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// pushedTo puts a manifest with its blobs into a registry, as an image that is
// repo:tag, or repo alone for no tag, and returns its digest.
func pushedTo(t testing.TB, h http.Handler, image string, m imageManifest) string {
	t.Helper()
	repo, tag, _ := strings.Cut(image, ":")
	config := []byte("{}")
	if w := ask(h, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+digestOf(config), string(config)); w.Code != http.StatusCreated {
		t.Fatalf("blob: %d %s", w.Code, w.Body)
	}
	m.SchemaVersion, m.Config = 2, &descriptor{MediaType: mediaConfig, Digest: digestOf(config), Size: 2}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if tag == "" {
		tag = digestOf(raw)
	}
	if w := ask(h, http.MethodPut, "/v2/"+repo+"/manifests/"+tag, string(raw)); w.Code != http.StatusCreated {
		t.Fatalf("manifest: %d %s", w.Code, w.Body)
	}
	return digestOf(raw)
}

func TestARegistryKeepsEverythingAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	h := newTestRegistry(t, dir)
	digest := pushedTo(t, h, "acme/p:v1", imageManifest{Annotations: map[string]string{"a": "b"}})
	signature := pushedTo(t, h, "acme/p", imageManifest{Subject: &descriptor{MediaType: mediaImage, Digest: digest}, ArtifactType: "signature"})
	for _, leftover := range []string{"blobs/upload-1", "blobs/sha256/.new-2", "repositories/acme/p/_tags/.new-3"} {
		if err := os.WriteFile(filepath.Join(dir, leftover), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := newTestRegistry(t, dir)
	want := ask(h, http.MethodGet, "/v2/acme/p/manifests/v1", "").Body.String()
	for _, ref := range []string{"v1", digest} {
		w := ask(again, http.MethodGet, "/v2/acme/p/manifests/"+ref, "")
		if w.Code != http.StatusOK || w.Body.String() != want || w.Header().Get("Docker-Content-Digest") != digest || w.Header().Get("Content-Type") != mediaImage {
			t.Errorf("%s: %d %s %v", ref, w.Code, w.Body, w.Header())
		}
	}
	if w := ask(again, http.MethodGet, "/v2/acme/p/tags/list", ""); w.Body.String() != `{"name":"acme/p","tags":["v1"]}` {
		t.Errorf("tags: %d %s", w.Code, w.Body)
	}
	if w := ask(again, http.MethodGet, "/v2/acme/p/referrers/"+digest, ""); !strings.Contains(w.Body.String(), signature) {
		t.Errorf("referrers: %d %s, want %s", w.Code, w.Body, signature)
	}
	if w := ask(again, http.MethodGet, "/v2/acme/p/blobs/"+digestOf([]byte("{}")), ""); w.Body.String() != "{}" {
		t.Errorf("blob: %d %s", w.Code, w.Body)
	}
	for _, leftover := range []string{"blobs/upload-*", "blobs/sha256/.new-*", "repositories/acme/p/_tags/.new-*"} {
		if files, err := filepath.Glob(filepath.Join(dir, leftover)); len(files) != 0 || err != nil {
			t.Errorf("left over: %v, %v", files, err)
		}
	}
}

func TestReferrersAreThoseOfTheSubject(t *testing.T) {
	h := newTestRegistry(t, t.TempDir())
	digest := pushedTo(t, h, "acme/p:v1", imageManifest{})
	subject := &descriptor{MediaType: mediaImage, Digest: digest, Size: 1}
	bundle := pushedTo(t, h, "acme/p", imageManifest{Subject: subject, ArtifactType: "bundle", Annotations: map[string]string{"n": "1"}})
	other := pushedTo(t, h, "acme/p", imageManifest{Subject: subject})
	pushedTo(t, h, "acme/p", imageManifest{Subject: &descriptor{MediaType: mediaImage, Digest: someDigest}})
	tests := []struct {
		query    string
		want     []string // "digest type annotation"
		filtered string
	}{
		{"", []string{bundle + " bundle 1", other + " " + mediaConfig + " "}, ""},
		{"?artifactType=bundle", []string{bundle + " bundle 1"}, "artifactType"},
		{"?artifactType=nothing", nil, "artifactType"},
	}
	for _, tt := range tests {
		w := ask(h, http.MethodGet, "/v2/acme/p/referrers/"+digest+tt.query, "")
		var index indexManifest
		if err := json.Unmarshal(w.Body.Bytes(), &index); err != nil || w.Code != http.StatusOK || w.Header().Get("Content-Type") != mediaIndex {
			t.Fatalf("%s: %d %s", tt.query, w.Code, w.Body)
		}
		have := map[string]bool{}
		for _, e := range index.Manifests {
			have[e.Digest+" "+e.ArtifactType+" "+e.Annotations["n"]] = true
		}
		want := map[string]bool{}
		for _, line := range tt.want {
			want[line] = true
		}
		if diff := cmp.Diff(want, have); diff != "" || w.Header().Get("OCI-Filters-Applied") != tt.filtered {
			t.Errorf("%s (-want +have):\n%s", tt.query, diff)
		}
	}
	if w := ask(h, http.MethodGet, "/v2/nobody/referrers/"+digest, ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"manifests":[]`) {
		t.Errorf("of no repository: %d %s, want an empty index", w.Code, w.Body)
	}
}

func TestManifestsAreDeletedWithTheirTags(t *testing.T) {
	h := newTestRegistry(t, t.TempDir())
	first := pushedTo(t, h, "p:v1", imageManifest{})
	pushedTo(t, h, "p:v2", imageManifest{})
	pushedTo(t, h, "p:other", imageManifest{Annotations: map[string]string{"a": "b"}})
	status := func(method, ref string, want int) {
		t.Helper()
		if w := ask(h, method, "/v2/p/manifests/"+ref, ""); w.Code != want {
			t.Errorf("%s %s = %d %s, want %d", method, ref, w.Code, w.Body, want)
		}
	}
	status(http.MethodDelete, "v1", http.StatusAccepted)
	status(http.MethodGet, "v1", http.StatusNotFound)
	status(http.MethodHead, "v2", http.StatusOK)
	status(http.MethodDelete, first, http.StatusAccepted)
	status(http.MethodGet, "v2", http.StatusNotFound)
	status(http.MethodGet, first, http.StatusNotFound)
	status(http.MethodDelete, first, http.StatusNotFound)
	status(http.MethodGet, "other", http.StatusOK)
}

func TestARegistryRefusesWhatIsNotRight(t *testing.T) {
	dir := t.TempDir()
	h := newTestRegistry(t, filepath.Join(dir, "registry"))
	tests := []struct {
		method, path, body string
		status             int
		want               string
	}{
		{http.MethodGet, "/", "", 404, "NAME_INVALID"},
		{http.MethodGet, "/v2/../../etc/passwd", "", 404, "NAME_INVALID"},
		{http.MethodGet, "/v2/Upper/manifests/v1", "", 404, "NAME_INVALID"},
		{http.MethodGet, "/v2/a/../b/manifests/v1", "", 404, "NAME_INVALID"},
		{http.MethodGet, "/v2/p/manifests/v1", "", 404, "MANIFEST_UNKNOWN"},
		{http.MethodGet, "/v2/p/manifests/..", "", 400, "neither a tag nor a sha256 digest"},
		{http.MethodGet, "/v2/p/manifests/a/b", "", 400, "neither a tag nor a sha256 digest"},
		{http.MethodGet, "/v2/p/manifests/sha256:12", "", 400, "neither a tag nor a sha256 digest"},
		{http.MethodPatch, "/v2/p/manifests/v1", "", 405, "UNSUPPORTED"},
		{http.MethodPut, "/v2/p/manifests/v1", "<html>", 400, "MANIFEST_INVALID"},
		{http.MethodPut, "/v2/p/manifests/v1", `{"schemaVersion":1}`, 400, "schema version 1"},
		{http.MethodPut, "/v2/p/manifests/" + someDigest, `{"schemaVersion":2,"config":{}}`, 400, "DIGEST_INVALID"},
		{http.MethodPut, "/v2/p/manifests/v1", `{"schemaVersion":2,"config":{"digest":"` + someDigest + `"}}`, 404, "MANIFEST_BLOB_UNKNOWN"},
		{http.MethodPut, "/v2/p/manifests/v1", `{"schemaVersion":2,"config":{"digest":"sha256:../x"}}`, 400, "DIGEST_INVALID"},
		{http.MethodPut, "/v2/p/manifests/v1", `{"schemaVersion":2,"manifests":[{"digest":"` + someDigest + `"}]}`, 404, "MANIFEST_UNKNOWN"},
		{http.MethodPut, "/v2/p/manifests/v1", strings.Repeat(" ", manifestLimit+1), 413, "SIZE_INVALID"},
		{http.MethodGet, "/v2/p/tags/list", "", 404, "NAME_UNKNOWN"},
		{http.MethodGet, "/v2/p/referrers/v1", "", 400, "DIGEST_INVALID"},
		{http.MethodGet, "/v2/_catalog?n=x", "", 400, "PAGINATION_NUMBER_INVALID"},
		{http.MethodPost, "/v2/p/blobs/uploads/?digest=" + someDigest, "other", 400, "DIGEST_INVALID"},
		{http.MethodGet, "/v2/p/blobs/" + someDigest, "", 404, "BLOB_UNKNOWN"},
	}
	for _, tt := range tests {
		if w := ask(h, tt.method, tt.path, tt.body); w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s %s = %d %s, want %d with %q", tt.method, tt.path, w.Code, w.Body, tt.status, tt.want)
		}
	}
	if entries, err := os.ReadDir(dir); len(entries) != 1 || err != nil {
		t.Errorf("beside the registry: %v, %v", entries, err)
	}
}

func TestListsComeInPages(t *testing.T) {
	h := newTestRegistry(t, t.TempDir())
	for i := range 5 {
		pushedTo(t, h, fmt.Sprintf("p:v%d", i), imageManifest{})
		pushedTo(t, h, fmt.Sprintf("q/r%d:v", i), imageManifest{})
	}
	for _, tt := range []struct{ path, key, want string }{
		{"/v2/p/tags/list", "tags", "v0 v1 v2 v3 v4"},
		{"/v2/_catalog", "repositories", "p q/r0 q/r1 q/r2 q/r3 q/r4"},
	} {
		var all []string
		pages := 0
		for next := tt.path + "?n=2"; next != ""; pages++ {
			w := ask(h, http.MethodGet, next, "")
			var page map[string]json.RawMessage
			var names []string
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
				t.Fatalf("%s: %s", next, w.Body)
			}
			if err := json.Unmarshal(page[tt.key], &names); err != nil {
				t.Fatalf("%s: %s", next, w.Body)
			}
			all = append(all, names...)
			link, _, _ := strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
			next = link
		}
		if have := strings.Join(all, " "); have != tt.want || pages != 3 {
			t.Errorf("%s: %s in %d pages, want %s in 3", tt.path, have, pages, tt.want)
		}
	}
}

func TestADamagedManifestIsNotServed(t *testing.T) {
	dir := t.TempDir()
	h := newTestRegistry(t, dir)
	digest := pushedTo(t, h, "p:v1", imageManifest{})
	if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", hexOf(digest)), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if w := ask(h, http.MethodGet, "/v2/p/manifests/v1", ""); w.Code != http.StatusInternalServerError {
		t.Errorf("GET = %d %s, want 500", w.Code, w.Body)
	}
}

// TestOtherClientsGetAlong pushes what go-containerregistry makes of images and
// indexes, and reads it as policies ask for it.
func TestOtherClientsGetAlong(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	image, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	index, err := random.Index(1000, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: empty.Image})
	ref := func(tag string) name.Tag {
		r, err := name.NewTag(h.host() + "/images/x:" + tag)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if err := remote.Write(ref("image"), image); err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref("index"), index); err != nil {
		t.Fatal(err)
	}
	back, err := remote.Image(ref("image"))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := back.Layers()
	if err != nil {
		t.Fatal(err)
	}
	body, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, body); err != nil { // which checks it
		t.Error(err)
	}
	subject, err := remote.Head(ref("image"))
	if err != nil {
		t.Fatal(err)
	}
	about, ok := mutate.Subject(empty.Image, *subject).(v1.Image)
	if !ok {
		t.Fatal("not an image")
	}
	if err := remote.Write(ref("image").Digest(digestOf(mustRaw(t, about))), about); err != nil {
		t.Fatal(err)
	}
	referrers, err := remote.Referrers(ref("image").Digest(subject.Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	if list, err := referrers.IndexManifest(); err != nil || len(list.Manifests) != 1 || list.Manifests[0].Digest.String() != digestOf(mustRaw(t, about)) {
		t.Errorf("Referrers = %v, %v, want the one that was pushed", list, err)
	}
	c := h.insecure()
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if have, err := c.Digest(t.Context(), ref("index").String()); have != want.String() || err != nil {
		t.Errorf("Digest = %s, %v, want %s", have, err, want)
	}
	manifest, err := c.Manifest(t.Context(), ref("index").String())
	if err != nil || !strings.Contains(string(manifest), `"manifests":[{"mediaType":`) {
		t.Errorf("Manifest = %s, %v", manifest, err)
	}
	raw, err := image.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	manifest, digest, config, err := c.Config(t.Context(), ref("image").String())
	if wantDigest, _ := image.Digest(); err != nil || digest != wantDigest.String() || string(config) != string(raw) || !strings.Contains(string(manifest), `"schemaVersion":2`) {
		t.Errorf("Config = %s, %s, %s, %v", manifest, digest, config, err)
	}
}

func FuzzRegistry(f *testing.F) {
	for _, path := range []string{"/v2/", "/v2/p/manifests/v1", "/v2/a/b/blobs/uploads/", "/v2/p/blobs/" + someDigest, "/v2/p/referrers/" + someDigest, "/v2/_catalog?n=1&last=x", "/v2/p/tags/list?n=0"} {
		for _, method := range []string{"GET", "PUT", "POST", "PATCH", "DELETE"} {
			f.Add(method, path, `{"schemaVersion":2,"config":{}}`)
		}
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://h"+path, strings.NewReader(body))
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		dir := t.TempDir()
		h := newTestRegistry(t, filepath.Join(dir, "registry"))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code >= 500 && !strings.Contains(path, "/blobs/") {
			t.Errorf("%s %q = %d %s", method, path, w.Code, w.Body)
		}
		if entries, err := os.ReadDir(dir); len(entries) != 1 || err != nil {
			t.Errorf("%s %q: beside the registry: %v, %v", method, path, entries, err)
		}
	})
}

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func mustRaw(t *testing.T, image v1.Image) []byte {
	t.Helper()
	raw, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
