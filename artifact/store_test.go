package artifact

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// putFile writes a file as kwctl does, in place.
func putFile(t *testing.T, s *Store, storePath string, data []byte) string {
	t.Helper()
	file := filepath.Join(s.Root(), filepath.FromSlash(storePath))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAStoreOfKwctlIsRead(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	store := newTestStore(t)
	module, other := wasmModule(t, 1000), wasmModule(t, 1000)
	pinned := h.push(h.insecure(), module, "acme/p:v1")
	putFile(t, store, "registry/"+h.host()+"/acme/q:v1", module)
	putFile(t, store, "https/files.example/dir/p.wasm", module)
	putFile(t, store, "registry/"+pinned, module)
	p := &Puller{Client: h.insecure(), Store: store}

	h.count("")
	for _, uri := range []string{h.host() + "/acme/q:v1", "https://files.example/dir/p.wasm"} {
		m, err := p.Pull(t.Context(), uri)
		wantModule(t, m, err, module)
	}
	if h.count("") != 0 {
		t.Error("the registry was asked for what is in the store")
	}
	// Nothing in the store says what a digest is of: the manifest does.
	m, err := p.Pull(t.Context(), pinned)
	wantModule(t, m, err, module)
	if h.count("GET /v2/acme/p/blobs/") != 0 {
		t.Error("the module was fetched, which is there")
	}
	m, err = p.Pull(t.Context(), pinned)
	wantModule(t, m, err, module)
	if h.count("") != 0 {
		t.Error("the manifest was not kept")
	}
	// And what kwctl has under a digest is not taken for it unseen.
	fresh := newTestStore(t)
	putFile(t, fresh, "registry/"+pinned, other)
	m, err = (&Puller{Client: h.insecure(), Store: fresh}).Pull(t.Context(), pinned)
	wantModule(t, m, err, module)
	putFile(t, fresh, "registry/"+h.host()+"/acme/page:v1", []byte("<html>"))
	if m, err := (&Puller{Client: h.insecure(), Store: fresh}).Pull(t.Context(), h.host()+"/acme/page:v1"); err == nil || !strings.Contains(err.Error(), "is not a WebAssembly module") {
		t.Errorf("Pull = %v, %v, want that the file is damaged and the registry has none", m, err)
	}
}

// TestDamageIsNoticed changes the files of a store in every way that there is.
func TestDamageIsNoticed(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	module, other := wasmModule(t, 1000), wasmModule(t, 1000)
	pinned := h.push(h.insecure(), module, "acme/p:v1")
	uri := h.host() + "/acme/p:v1"
	write := func(data []byte) func(string) error {
		return func(file string) error { return os.WriteFile(file, data, 0o600) }
	}
	exchange := func(data []byte) func(string) error {
		return func(file string) error { return errors.Join(os.Remove(file), os.WriteFile(file, data, 0o600)) }
	}
	truncate := func(file string) error { return os.Truncate(file, 100) }
	tests := []struct {
		name, file string
		damage     func(string) error
		mended     bool // without the registry
	}{
		{"the visible file is written to, and with it the other", "visible", write(other), false},
		{"the visible file is cut", "visible", truncate, false},
		{"the visible file is exchanged", "visible", exchange(other), true},
		{"the visible file is exchanged by itself", "visible", exchange(module), true},
		{"the kept file is exchanged", "modules", exchange(other), true},
		{"the kept file is gone", "modules", os.Remove, true},
		{"the manifest is exchanged", "manifests", exchange([]byte("{}")), true}, // the record still says which module
		{"the manifest is gone", "manifests", os.Remove, true},
		{"the record is no JSON", "refs", exchange([]byte("{")), true}, // then it is as kwctl's
		{"the record is of another reference", "refs", exchange([]byte(`{"uri":"registry://h/x:v1","path":"registry/h/x:v1","module":"` + someDigest + `"}`)), true},
		{"everything of our own is gone", "", os.RemoveAll, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			store := newTestStore(t)
			p := &Puller{Client: h.insecure(), Store: store}
			m, err := p.Pull(t.Context(), uri)
			wantModule(t, m, err, module)
			file := store.own(tt.file)
			switch tt.file {
			case "visible":
				file = store.visible("registry/" + uri)
			case "":
			default:
				file = kept(t, store, tt.file)[0]
			}
			if err := tt.damage(file); err != nil {
				t.Fatal(err)
			}
			away := &Puller{Client: newTestClient(t, ClientOptions{}), Store: store} // to which HTTP is refused
			m, err = away.Pull(t.Context(), uri)
			var damaged *DamagedError
			if tt.mended {
				wantModule(t, m, err, module)
			} else if !errors.As(err, &damaged) || damaged.Want != digestOf(module) {
				t.Fatalf("Pull = %v, %v, want a *DamagedError", m, err)
			}
			for _, uri := range []string{uri, pinned} {
				m, err = p.Pull(t.Context(), uri)
				wantModule(t, m, err, module)
			}
			visible, err := os.ReadFile(store.visible("registry/" + uri))
			if err != nil || !bytes.Equal(visible, module) {
				t.Errorf("the visible file: %d bytes, %v, want it mended", len(visible), err)
			}
			m, err = away.Pull(t.Context(), pinned)
			wantModule(t, m, err, module)
		})
	}
}

func TestModulesAreListedFoundAndRemoved(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	c := h.insecure()
	store := newTestStore(t)
	p := &Puller{Client: c, Store: store}
	one, two := wasmModule(t, 1000), wasmModule(t, 2000)
	pinned := h.push(c, one, "acme/a:v1")
	h.push(c, one, "acme/a:v2")
	h.push(c, two, "acme/deep/er/b:v1")
	for _, uri := range []string{"acme/a:v1", "acme/a:v2", "acme/deep/er/b:v1", strings.TrimPrefix(pinned, h.host()+"/")} {
		if _, err := p.Pull(t.Context(), h.host()+"/"+uri); err != nil {
			t.Fatal(err)
		}
	}
	putFile(t, store, "registry/notes.txt", []byte("mine"))
	list, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, m := range list {
		have = append(have, strings.TrimPrefix(m.Reference, "registry://"+h.host())+" "+m.SHA256)
	}
	hexOne, hexTwo := hexOf(digestOf(one)), hexOf(digestOf(two))
	_, digest, _ := strings.Cut(pinned, "@")
	want := []string{"/acme/a:v1 " + hexOne, "/acme/a:v2 " + hexOne, "/acme/a@" + digest + " " + hexOne, "/acme/deep/er/b:v1 " + hexTwo}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("list (-want +have):\n%s", diff)
	}

	if _, err := store.Remove(hexOne[:6]); err == nil || !strings.Contains(err.Error(), "3 modules in the store begin with these digits") {
		t.Errorf("Remove = %v, want that the digits are those of three", err)
	}
	for _, nothing := range []string{"", "ffffffffffff" + hexOne, "acme/nope:v1", "!"} {
		if m, err := store.Remove(nothing); !errors.Is(err, ErrNotFound) {
			t.Errorf("Remove(%q) = %v, %v, want ErrNotFound", nothing, m, err)
		}
	}
	if m, err := store.Remove(strings.ToUpper(hexTwo[:8])); err != nil || m.SHA256 != hexTwo {
		t.Errorf("Remove = %v, %v, want the module with these digits", m, err)
	}
	if _, err := os.Stat(store.visible("registry/" + h.host() + "/acme/deep")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folders that are empty: %v, want them gone", err)
	}
	for i, uri := range []string{"acme/a:v1", "acme/a:v2"} {
		if _, err := store.Remove(h.host() + "/" + uri); err != nil {
			t.Fatal(err)
		}
		if n := len(kept(t, store, "modules")); n != 1 {
			t.Errorf("after %d of 3: %d modules, want the one that is still used", i+1, n)
		}
	}
	if _, err := store.Remove("registry://" + pinned); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"modules", "manifests", "refs", "tmp"} {
		if files := kept(t, store, kind); len(files) != 0 {
			t.Errorf("%s: %v, want nothing left", kind, files)
		}
	}
	if _, err := os.Stat(store.visible("registry/notes.txt")); err != nil {
		t.Errorf("somebody else's file: %v, want it left alone", err)
	}
}

func TestWhatIsNotUsedIsRemovedWhenAStoreIsOpened(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	store := newTestStore(t)
	module := wasmModule(t, 1000)
	h.push(h.insecure(), module, "acme/p:v1")
	p := &Puller{Client: h.insecure(), Store: store}
	if _, err := p.Pull(t.Context(), h.host()+"/acme/p:v1"); err != nil {
		t.Fatal(err)
	}
	putFile(t, store, ".warder/tmp/new-123", []byte("half"))
	putFile(t, store, ".warder/tmp/link-4/module", []byte("half"))
	putFile(t, store, ".warder/modules/"+strings.Repeat("a", 64), []byte("nobody's"))
	putFile(t, store, ".warder/manifests/"+strings.Repeat("b", 64), []byte("nobody's"))
	unlock, err := lock(store.own("lock"), lockShared)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(store.Root()); err != nil {
		t.Fatal(err)
	}
	if n := len(kept(t, store, "tmp")); n != 2 {
		t.Errorf("%d files in tmp while somebody writes, want them left alone", n)
	}
	unlock()
	if _, err := OpenStore(store.Root()); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]int{"tmp": 0, "modules": 1, "manifests": 1, "refs": 1} {
		if n := len(kept(t, store, kind)); n != want {
			t.Errorf("%s: %d files, want %d", kind, n, want)
		}
	}
	m, err := p.Pull(t.Context(), h.host()+"/acme/p:v1")
	wantModule(t, m, err, module)
}

func TestAStoreThatCannotBeWrittenToIsSaid(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	module := wasmModule(t, 1000)
	h.push(h.insecure(), module, "acme/p:v1")
	store := newTestStore(t)
	putFile(t, store, ".warder", []byte("a file where a folder should be"))
	m, err := (&Puller{Client: h.insecure(), Store: store}).Pull(t.Context(), h.host()+"/acme/p:v1")
	if err != nil || !bytes.Equal(m.Bytes, module) || m.Unstored == nil {
		t.Errorf("Pull = %v, %v, want the module, and that it is not stored", m, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(file); err == nil || !strings.Contains(err.Error(), "is not a folder") {
		t.Errorf("OpenStore = %v, want that it is not a folder", err)
	}
}

func TestAStoreThatIsNotThereIsEmpty(t *testing.T) {
	store := newTestStore(t)
	if list, err := store.List(); len(list) != 0 || err != nil {
		t.Errorf("List = %v, %v, want nothing", list, err)
	}
	if _, err := os.Stat(store.Root()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder: %v, want none made for reading", err)
	}
}

func TestModulesAreCopiedWhereThereAreNoLinks(t *testing.T) {
	store := newTestStore(t)
	r, err := ParseReference("ghcr.io/acme/p:v1")
	if err != nil {
		t.Fatal(err)
	}
	module := wasmModule(t, 1000)
	if err := store.put(r, moduleOf(r, &record{}, module).fresh(), nil); err != nil {
		t.Fatal(err)
	}
	// As on a file system without links: two files of the same bytes.
	putFile(t, store, r.StorePath()+".copy", module)
	if err := os.Rename(store.visible(r.StorePath()+".copy"), store.visible(r.StorePath())); err != nil {
		t.Fatal(err)
	}
	m, err := store.find(r)
	wantModule(t, m, err, module)
}
