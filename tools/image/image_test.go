package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log" //nolint:depguard // the registry of tests takes no other
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"
)

const (
	root    = "../.." // of warder's source
	release = "v0.9.9"
	wantTag = repository + ":" + release
	epoch   = "2026-11-24T10:00:00Z"
)

// clone makes a repository of the source as it is on disk, committed and
// tagged, in a folder of its own.
func clone(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case inside == ".git" && !d.IsDir():
			return nil // of a worktree: it leads to the real repository
		case slices.Contains([]string{".git", "bin", "tools", "devcluster", "docs"}, inside):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, inside), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, inside), content, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"commit", "-q", "-m", "a release"}, {"tag", release}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		// With GIT_DIR, git cannot take another repository for this one.
		cmd.Env = append(os.Environ(), "GIT_DIR="+filepath.Join(dir, ".git"), "GIT_WORK_TREE="+dir,
			"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_AUTHOR_DATE="+epoch,
			"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com", "GIT_COMMITTER_DATE="+epoch)
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q = %v\n%s", args, err, said)
		}
	}
	return dir
}

// contents are the files below a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		found[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestImage builds the image twice, and then asks the first one everything:
// a build takes long.
func TestImage(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is needed for a source with a commit")
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	t.Setenv("GOFLAGS", "-buildvcs=false -tags=netgo") // changes nothing
	folders := [2]string{clone(t), clone(t)}
	quiet := log.New(io.Discard, "", 0)
	modern := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(quiet)))
	t.Cleanup(modern.Close)
	pushed := strings.TrimPrefix(modern.URL, "http://") + "/policies/warder:v1"
	build := func(folder string, args ...string) {
		t.Helper()
		var out, said bytes.Buffer
		if err := run(t.Context(), append([]string{"--source", folder}, args...), streams{&out, &said}); err != nil {
			t.Fatalf("%v\n%s", err, &said)
		}
		if !strings.HasPrefix(out.String(), wantTag+"@sha256:") {
			t.Fatalf("built %s, want %s@sha256:…\n%s", &out, wantTag, &said)
		}
	}
	build(folders[0], "--push", pushed)
	build(folders[1], "--platform", "linux/arm64,linux/amd64")
	dir := filepath.Join(folders[0], "bin", "image")
	first, second := contents(t, dir), contents(t, filepath.Join(folders[1], "bin", "image"))
	for file := range first {
		if first[file] != second[file] {
			t.Errorf("%s differs between two builds", file)
		}
	}
	if len(first) != len(second) {
		t.Errorf("two builds have %d and %d files", len(first), len(second))
	}
	index := layoutIndex(t, dir)
	t.Run("platforms", func(t *testing.T) { testPlatforms(t, index) })
	t.Run("files", func(t *testing.T) { testFiles(t, index) })
	t.Run("sbom", func(t *testing.T) { testSBOM(t, index, first) })
	t.Run("push", func(t *testing.T) { testPush(t, pushed, index) })
	t.Run("one platform", func(t *testing.T) {
		old := httptest.NewServer(registry.New(registry.Logger(quiet))) // without the API of referrers
		t.Cleanup(old.Close)
		pushed := strings.TrimPrefix(old.URL, "http://") + "/warder:v2"
		file := filepath.Join(t.TempDir(), "warder.tar")
		build(folders[1], "--platform", "linux/amd64", "--tarball", file, "--push", pushed)
		testPush(t, pushed, index)
		testTarball(t, file, index)
	})
	t.Run("runs", func(t *testing.T) { testRuns(t, index) })
}

// layoutIndex opens the one thing that a layout holds.
func layoutIndex(t *testing.T, dir string) v1.ImageIndex {
	t.Helper()
	all, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := all.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 {
		t.Fatalf("index.json has %d entries; crane push takes one", len(m.Manifests))
	}
	if got := m.Manifests[0].Annotations["org.opencontainers.image.ref.name"]; got != wantTag {
		t.Errorf("ref.name is %q, want %q", got, wantTag)
	}
	index, err := all.ImageIndex(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	return index
}

func manifests(t *testing.T, index v1.ImageIndex) []v1.Descriptor {
	t.Helper()
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return m.Manifests
}

// imageOf returns the image of a platform.
func imageOf(t *testing.T, index v1.ImageIndex, arch string) v1.Image {
	t.Helper()
	for _, d := range manifests(t, index) {
		if d.Platform.Architecture == arch {
			image, err := index.Image(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return image
		}
	}
	t.Fatalf("no image for %s", arch)
	return nil
}

func testPlatforms(t *testing.T, index v1.ImageIndex) {
	var got []string
	for _, d := range manifests(t, index) {
		got = append(got, fmt.Sprintf("%s %s", d.Platform, d.ArtifactType))
	}
	config := " " + string(types.OCIConfigJSON) // ggcr says it of images
	want := []string{"linux/amd64" + config, "linux/arm64" + config, "unknown/unknown " + spdxType, "unknown/unknown " + spdxType}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries of the index (-want +got):\n%s", diff)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		config, err := imageOf(t, index, arch).ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		c := config.Config
		revision := c.Labels["org.opencontainers.image.revision"]
		if len(revision) != 40 {
			t.Errorf("%s: revision %q is no commit", arch, revision)
		}
		delete(c.Labels, "org.opencontainers.image.revision")
		wantConfig := v1.Config{
			User: "65532:65532", Entrypoint: []string{"/warder"}, Cmd: []string{"serve"}, WorkingDir: "/",
			Env: []string{"PATH=/", "HOME=/home/warder", "XDG_CACHE_HOME=/tmp/cache"},
			Labels: map[string]string{
				"org.opencontainers.image.title":       "warder",
				"org.opencontainers.image.description": "Kubernetes policy engine that runs Kubewarden's policies",
				"org.opencontainers.image.source":      "https://github.com/warder-dev/warder",
				"org.opencontainers.image.licenses":    "Apache-2.0",
				"org.opencontainers.image.version":     release,
				"org.opencontainers.image.created":     epoch,
			},
		}
		if diff := cmp.Diff(wantConfig, c); diff != "" {
			t.Errorf("%s: config (-want +got):\n%s", arch, diff)
		}
		if config.Architecture != arch || config.OS != "linux" || config.Created.UTC().Format("2006-01-02T15:04:05Z") != epoch {
			t.Errorf("%s: the config is of %s/%s, created %s", arch, config.OS, config.Architecture, config.Created)
		}
	}
}

// entry is a file of an image.
type entry struct {
	header  *tar.Header
	content []byte
}

// entries are the files of an image in the order of its layers.
func entries(t *testing.T, image v1.Image) []entry {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var found []entry
	for _, l := range layers {
		packed, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(packed); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, entry{h, content})
		}
		if err := packed.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func testFiles(t *testing.T, index v1.ImageIndex) {
	var got []string
	for _, e := range entries(t, imageOf(t, index, "arm64")) {
		got = append(got, fmt.Sprintf("%c %04o %d:%d %s", e.header.Typeflag, e.header.Mode, e.header.Uid, e.header.Gid, e.header.Name))
		if at := e.header.ModTime.UTC().Format("2006-01-02T15:04:05Z"); at != epoch {
			t.Errorf("%s is of %s, want the commit's time %s", e.header.Name, at, epoch)
		}
		if e.header.Name == "etc/ssl/certs/ca-certificates.crt" {
			pool := x509.NewCertPool()
			if n := bytes.Count(e.content, []byte("BEGIN")); n < 100 || !pool.AppendCertsFromPEM(e.content) {
				t.Errorf("%d certificates, of which none can be read or too few", n)
			}
		}
	}
	want := []string{
		"5 0755 0:0 etc/",
		"0 0644 0:0 etc/group",
		"0 0644 0:0 etc/passwd",
		"5 0755 0:0 etc/ssl/",
		"5 0755 0:0 etc/ssl/certs/",
		"0 0644 0:0 etc/ssl/certs/ca-certificates.crt",
		"5 0755 0:0 home/",
		"5 0755 65532:65532 home/warder/",
		"5 1777 0:0 tmp/",
		"0 0755 0:0 warder",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func testSBOM(t *testing.T, index v1.ImageIndex, files map[string]string) {
	subjects := map[v1.Hash]string{}
	for _, arch := range []string{"amd64", "arm64"} {
		digest, err := imageOf(t, index, arch).Digest()
		if err != nil {
			t.Fatal(err)
		}
		subjects[digest] = "sbom-" + arch + ".spdx.json"
	}
	for _, d := range manifests(t, index) {
		if d.ArtifactType != spdxType {
			continue
		}
		attached, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		m, err := attached.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		text := files[subjects[m.Subject.Digest]]
		if text == "" || files["blobs/sha256/"+m.Layers[0].Digest.Hex] != text {
			t.Errorf("the SBOM of %s is not the file %q", m.Subject.Digest, subjects[m.Subject.Digest])
		}
		delete(subjects, m.Subject.Digest)

		doc, err := spdxjson.Read(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := spdxlib.ValidateDocument(doc); err != nil {
			t.Error(err)
		}
		locators := map[string]bool{}
		for _, p := range doc.Packages {
			locators[p.PackageExternalReferences[0].Locator] = true
		}
		for _, want := range []string{"pkg:golang/github.com/warder-dev/warder@" + release, "pkg:golang/stdlib@1.", "pkg:golang/github.com/tetratelabs/wazero@v", "pkg:golang/k8s.io/client-go@v"} {
			if !strings.Contains(text, `"`+want) {
				t.Errorf("the SBOM has no %s", want)
			}
		}
		if len(locators) != len(doc.Packages) || len(doc.Relationships) != len(doc.Packages) {
			t.Errorf("%d packages have %d package URLs and %d relations", len(doc.Packages), len(locators), len(doc.Relationships))
		}
	}
	if len(subjects) > 0 {
		t.Errorf("images without SBOM: %v", subjects)
	}
}

// testPush pulls what was pushed.
func testPush(t *testing.T, pushed string, index v1.ImageIndex) {
	ref, err := name.ParseReference(pushed)
	if err != nil {
		t.Fatal(err)
	}
	want, err := imageOf(t, index, "amd64").Digest()
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Image(ref, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"}))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := pulled.Digest(); err != nil || got != want {
		t.Errorf("pulled %s, %v, want the image of the layout, %s", got, err, want)
	}
	if err := validate.Image(pulled); err != nil {
		t.Error(err)
	}
	attached, err := remote.Referrers(ref.Context().Digest(want.String()))
	if err != nil {
		t.Fatal(err)
	}
	found := manifests(t, attached)
	if len(found) != 1 {
		t.Fatalf("referrers of the image are %+v, want its SBOM", found)
	}
	isSBOM := func(d v1.Descriptor) bool { return d.Digest == found[0].Digest && d.ArtifactType == spdxType }
	if !slices.ContainsFunc(manifests(t, index), isSBOM) {
		t.Errorf("the referrer %s of the image is no SBOM of the layout", found[0].Digest)
	}
}

// testTarball reads the file for docker load.
func testTarball(t *testing.T, file string, index v1.ImageIndex) {
	tag, err := name.NewTag(wantTag)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	got, err := loaded.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if want, err := imageOf(t, index, "amd64").ConfigName(); err != nil || got != want {
		t.Errorf("the tarball has the config %s, the layout %s, %v", got, want, err)
	}
	if err := validate.Image(loaded); err != nil {
		t.Error(err)
	}
}

func TestMistakesAreFoundBeforeTheBuild(t *testing.T) {
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "letter.txt"), []byte("dear"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"platform", []string{"--platform", "linux/riscv64"}, `--platform "linux/riscv64": want linux/amd64, linux/arm64`},
		{"no platform", []string{"--platform", ""}, `--platform "": want linux/amd64`},
		{"tarball of two", []string{"--tarball", "x.tar"}, "add --platform linux/amd64"},
		{"push without tag", []string{"--push", "registry.example.com/warder"}, "--push: want REGISTRY/NAME:TAG"},
		{"name without tag", []string{"--name", "registry.example.com/warder"}, "--name: want REGISTRY/NAME:TAG"},
		{"folder of something else", []string{"--out", other}, "name a folder that is new or empty"},
		{"argument", []string{"amd64"}, `want flags only, have ["amd64"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// No source: who gets as far as the build fails otherwise.
			err := run(t.Context(), append([]string{"--source", filepath.Join(other, "none")}, tt.args...), streams{io.Discard, io.Discard})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("image %q = %v, want %q", tt.args, err, tt.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(other, "letter.txt")); err != nil {
		t.Error(err)
	}
}

// TestCertificatesAreThoseOfWarder holds the versions together: the SBOM, which
// is warder's, then names the module that the image's certificates are from.
func TestCertificatesAreThoseOfWarder(t *testing.T) {
	const roots = "golang.org/x/crypto/x509roots/fallback"
	versions := map[string]string{}
	for _, file := range []string{filepath.Join(root, "go.mod"), filepath.Join(root, "tools/go.mod")} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == roots {
				versions[file] = f[1]
			}
		}
	}
	if have, want := versions[filepath.Join(root, "tools/go.mod")], versions[filepath.Join(root, "go.mod")]; have != want || want == "" {
		t.Errorf("tools/go.mod has %s at %q, go.mod at %q", roots, have, want)
	}
}

func TestTagAndTime(t *testing.T) {
	b := &binary{info: &debug.BuildInfo{Main: debug.Module{Version: "v0.5.1-0.20261124100000-abcdefabcdef+dirty"}}}
	tag, err := (&options{}).tag(b.version())
	if err != nil || tag.String() != repository+":v0.5.1-0.20261124100000-abcdefabcdef-dirty" {
		t.Errorf("tag = %s, %v", tag, err)
	}
	b.info.Main.Version = "(devel)"
	if got := b.version(); got != "devel" {
		t.Errorf("version = %q, want devel", got)
	}
	b.info.Settings = []debug.BuildSetting{{Key: "vcs.time", Value: epoch}}
	for _, tt := range []struct{ env, want string }{
		{"", "2026-11-24 10:00:00 +0000 UTC <nil>"},
		{"86400", "1970-01-02 00:00:00 +0000 UTC <nil>"},
		{"tomorrow", `0001-01-01 00:00:00 +0000 UTC SOURCE_DATE_EPOCH "tomorrow": want seconds since 1970`},
		{"-1", `0001-01-01 00:00:00 +0000 UTC SOURCE_DATE_EPOCH "-1": want seconds since 1970`},
		{"999999999999999", `0001-01-01 00:00:00 +0000 UTC SOURCE_DATE_EPOCH "999999999999999": want seconds since 1970`},
	} {
		t.Setenv("SOURCE_DATE_EPOCH", tt.env)
		at, err := timestamp(b)
		if got := fmt.Sprint(at, " ", err); got != tt.want {
			t.Errorf("SOURCE_DATE_EPOCH=%q: %s, want %s", tt.env, got, tt.want)
		}
	}
}
