package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type tarEntry struct {
	name string
	kind byte
	data []byte
	size int64 // when it is not that of data
}

func archiveOf(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: 0o644, Size: int64(len(e.data))}
		if e.kind == 0 {
			header.Typeflag = tar.TypeReg
		}
		if e.kind == tar.TypeSymlink || e.kind == tar.TypeLink {
			header.Linkname, header.Size = string(e.data), 0
		}
		if e.size != 0 {
			header.Size = e.size
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if header.Size > 0 {
			_, _ = w.Write(e.data)
		}
	}
	_ = w.Close() // which is an error when a size is not that of the data
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWhatIsSavedCanBeLoaded(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	c := h.insecure()
	from, to := newTestStore(t), newTestStore(t)
	module, plain := wasmModule(t, 1<<20), wasmModule(t, 100)
	pinned := h.push(c, module, "acme/p:v1")
	p := &Puller{Client: c, Store: from}
	tag := "registry://" + h.host() + "/acme/p:v1"
	for _, uri := range []string{tag, pinned} {
		if _, err := p.Pull(t.Context(), uri); err != nil {
			t.Fatal(err)
		}
	}
	putFile(t, from, "https/h.example/q.wasm", plain) // kwctl's
	var out bytes.Buffer
	if err := from.Save(&out, tag, pinned, hexOf(digestOf(plain))[:8]); err != nil {
		t.Fatal(err)
	}
	loaded, err := to.Load(bytes.NewReader(out.Bytes()))
	if diff := cmp.Diff([]string{"https://h.example/q.wasm", tag, "registry://" + pinned}, loaded); diff != "" || err != nil {
		t.Fatalf("Load: %v (-want +have):\n%s", err, diff)
	}
	away := &Puller{Client: newTestClient(t, ClientOptions{}), Store: to} // to which HTTP is refused
	for _, uri := range []string{tag, pinned} {
		m, err := away.Pull(t.Context(), uri)
		wantModule(t, m, err, module)
		if m.Reference != "registry://"+pinned {
			t.Errorf("%s: reference %s, want %s", uri, m.Reference, pinned)
		}
	}
	m, err := away.Pull(t.Context(), "https://h.example/q.wasm")
	wantModule(t, m, err, plain)

	if err := from.Save(&out, "acme/nope:v1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Save = %v, want ErrNotFound", err)
	}
}

func TestAnArchiveOfKwctlIsLoaded(t *testing.T) {
	module := wasmModule(t, 1000)
	store := newTestStore(t)
	loaded, err := store.Load(bytes.NewReader(archiveOf(t,
		tarEntry{name: "registry/", kind: tar.TypeDir},
		tarEntry{name: "registry/ghcr.io/acme/p:v1", data: module},
		tarEntry{name: "./https/h.example/a/p.wasm", data: module},
		tarEntry{name: "registry/ghcr.io/acme/p@" + someDigest, data: module},
	)))
	want := []string{"https://h.example/a/p.wasm", "registry://ghcr.io/acme/p:v1", "registry://ghcr.io/acme/p@" + someDigest}
	if diff := cmp.Diff(want, loaded); diff != "" || err != nil {
		t.Fatalf("Load: %v (-want +have):\n%s", err, diff)
	}
	p := &Puller{Client: newTestClient(t, ClientOptions{Sources: Sources{Proxies: Proxies{HTTPS: "http://127.0.0.1:1"}}}), Store: store}
	m, err := p.Pull(t.Context(), "ghcr.io/acme/p:v1")
	wantModule(t, m, err, module)
	// Nothing says that the digest is that of this module.
	if m, err := p.Pull(t.Context(), "ghcr.io/acme/p@"+someDigest); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Pull = %v, %v, want the registry to be asked", m, err)
	}
}

func TestAHostileArchiveChangesNothing(t *testing.T) {
	module, other := wasmModule(t, 1000), wasmModule(t, 1000)
	good := tarEntry{name: "registry/ghcr.io/acme/good:v1", data: module}
	manifest := []byte(`{"schemaVersion":2,"config":{},"layers":[{"mediaType":"` + mediaModule + `","digest":"` + digestOf(module) + `","size":9}]}`)
	record := func(uri, path, manifest, module string) tarEntry {
		return tarEntry{name: ".warder/refs/x.json", data: []byte(`{"uri":"` + uri + `","path":"` + path + `","manifest":"` + manifest + `","module":"` + module + `"}`)}
	}
	const uri, at = "registry://ghcr.io/acme/good:v1", "registry/ghcr.io/acme/good:v1"
	padded := record(uri, at, "", digestOf(module))
	padded.data = append(padded.data, bytes.Repeat([]byte(" "), 64<<10-len(padded.data))...)
	whole := archiveOf(t, good)
	checksum := bytes.Clone(whole)
	checksum[len(checksum)-6] ^= 1
	tests := []struct {
		name    string
		archive []byte
		want    string
	}{
		{"not gzip", []byte("hello"), "not a tar.gz"},
		{"records without end", archiveOf(t, slices.Repeat([]tarEntry{padded}, 1100)...), "bytes, after 67"},
		{"empty", nil, "not a tar.gz"},
		{"cut", whole[:len(whole)/2], ""},
		{"a wrong checksum", checksum, "not a tar.gz"},
		{"a path upward", archiveOf(t, good, tarEntry{name: "../evil", data: module}), "want a path below the store"},
		{"a path upward in the middle", archiveOf(t, good, tarEntry{name: "registry/ghcr.io/../../../evil", data: module}), "want a path below the store"},
		{"an absolute path", archiveOf(t, good, tarEntry{name: "/etc/cron.d/evil", data: module}), "want a path below the store"},
		{"a path of no scheme", archiveOf(t, good, tarEntry{name: "evil", data: module}), "it does not start with registry"},
		{"a path of no reference", archiveOf(t, good, tarEntry{name: "registry/ghcr.io/acme/p", data: module}), "it belongs to no reference"},
		{"our own folder", archiveOf(t, good, tarEntry{name: ".warder/modules/" + strings.Repeat("a", 64), data: module}), "it does not start with registry"},
		{"a symbolic link", archiveOf(t, good, tarEntry{name: "registry/ghcr.io/p:v1", kind: tar.TypeSymlink, data: []byte("/etc/passwd")}), "a link or a device"},
		{"a link", archiveOf(t, good, tarEntry{name: "registry/ghcr.io/p:v1", kind: tar.TypeLink, data: []byte(at)}), "a link or a device"},
		{"a device", archiveOf(t, good, tarEntry{name: "registry/ghcr.io/p:v1", kind: tar.TypeChar}), "a link or a device"},
		{"no WebAssembly", archiveOf(t, good, tarEntry{name: "registry/ghcr.io/p:v1", data: []byte("#!/bin/sh")}), "invalid wasm file"},
		{"a module that is too large", archiveOf(t, good, tarEntry{name: "registry/ghcr.io/p:v1", size: MaxModuleBytes + 1}), "a module has at most"},
		{"two modules of one name", archiveOf(t, good, tarEntry{name: good.name, data: other}), "it is there twice"},
		{"a manifest of another digest", archiveOf(t, good, tarEntry{name: ".warder/manifests/" + hexOf(someDigest), data: manifest}), "its digest is sha256:"},
		{"a record that is no JSON", archiveOf(t, good, tarEntry{name: ".warder/refs/x.json", data: []byte("{")}), "record: "},
		{"a record of another place", archiveOf(t, good, record(uri, "registry/ghcr.io/acme/other:v1", "", digestOf(module))), "is not the place of"},
		{"a record of another module", archiveOf(t, good, record(uri, at, "", digestOf(other))), "its module is not in the archive"},
		{"a record without its manifest", archiveOf(t, good, record(uri, at, someDigest, digestOf(module))), "is not in the archive"},
		{
			"a manifest of another module",
			archiveOf(t, tarEntry{name: at, data: other}, tarEntry{name: ".warder/manifests/" + hexOf(digestOf(manifest)), data: manifest}, record(uri, at, digestOf(manifest), digestOf(other))),
			"its manifest is of the module",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store := newTestStore(t)
			loaded, err := store.Load(bytes.NewReader(tt.archive))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Load = %v, %v, want an error with %q", loaded, err, tt.want)
			}
			wantUntouched(t, store)
		})
	}
}

// wantUntouched looks for anything in the folder of the store, and around it,
// that would not be there without an archive.
func wantUntouched(t *testing.T, store *Store) {
	t.Helper()
	err := filepath.WalkDir(filepath.Dir(store.Root()), func(file string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && file != store.own("lock") {
			t.Errorf("%s is there, want nothing", file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzLoad(f *testing.F) {
	module := wasmModule(f, 10)
	manifest := []byte(`{"schemaVersion":2,"config":{},"layers":[{"mediaType":"` + mediaModule + `","digest":"` + digestOf(module) + `","size":9}]}`)
	record := `{"uri":"registry://h.io/p:v1","path":"registry/h.io/p:v1","manifest":"` + digestOf(manifest) + `","module":"` + digestOf(module) + `"}`
	add := func(name string, kind byte, data []byte) {
		f.Add(name, kind, data, "registry/h.io/p:v1", module, record)
	}
	add(".warder/manifests/"+hexOf(digestOf(manifest)), tar.TypeReg, manifest)
	add("../x", tar.TypeReg, module)
	add("registry/a/b:c", tar.TypeSymlink, []byte("/etc/passwd"))
	add("https/h/x.wasm", tar.TypeReg, module)
	f.Fuzz(func(t *testing.T, name string, kind byte, data []byte, second string, more []byte, record string) {
		var out bytes.Buffer
		zip := gzip.NewWriter(&out)
		w := tar.NewWriter(zip)
		for _, e := range []tarEntry{{name: name, kind: kind, data: data}, {name: second, kind: tar.TypeReg, data: more}, {name: ".warder/refs/x.json", kind: tar.TypeReg, data: []byte(record)}} {
			header := &tar.Header{Name: e.name, Typeflag: e.kind, Size: int64(len(e.data)), Linkname: string(e.data)}
			if e.kind != tar.TypeReg {
				header.Size = 0
			}
			if w.WriteHeader(header) != nil {
				return
			}
			if header.Size > 0 {
				_, _ = w.Write(e.data)
			}
		}
		_ = w.Close()
		_ = zip.Close()
		store := newTestStore(t)
		loaded, err := store.Load(&out)
		if err != nil {
			wantUntouched(t, store)
			return
		}
		for _, uri := range loaded {
			r, err := ParseReference(uri)
			if err != nil {
				t.Fatalf("loaded %q: %v", uri, err)
			}
			file, err := os.ReadFile(store.visible(r.StorePath()))
			if err != nil || checkModule(file) != nil {
				t.Fatalf("loaded %q: %v", uri, err)
			}
			if m, _, _ := store.byDigest(r, r.Digest()); r.Digest() != "" && m != nil && digestOf(m.Bytes) != digestOf(file) {
				t.Fatalf("loaded %q: another module", uri)
			}
		}
		above, err := os.ReadDir(filepath.Dir(store.Root()))
		if err != nil || len(above) > 1 {
			t.Fatalf("beside the store: %v, %v", above, err)
		}
	})
}
