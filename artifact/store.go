package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Store keeps modules on disk, where kwctl finds them and they find kwctl's:
//
//	registry/HOST/PATH:TAG, https/HOST/PATH   what people see
//	.warder/modules/HEX                       the same files, by their sha256
//	.warder/manifests/HEX                     manifests and indexes, likewise
//	.warder/refs/HEX.json                     which manifest and module a reference had last
//	.warder/tmp, .warder/lock                 what is being written, and by whom
//
// What is read is checked against its sha256. Any number of processes may use a
// store, and be killed while they do: a file is written under another name and
// then renamed, and what is left over is removed when nobody writes.
type Store struct{ root string }

// record is what is known of a reference in the store.
type record struct {
	URI      string `json:"uri"`
	Path     string `json:"path"`               // in the store
	Manifest string `json:"manifest,omitempty"` // sha256:HEX; empty for a download
	Module   string `json:"module"`             // sha256:HEX
}

// Module is a module, and where it came from.
type Module struct {
	// Bytes may be shared with others: they are only for reading.
	Bytes []byte
	// SHA256 of the bytes, in hexadecimal.
	SHA256 string
	// Reference is one that stays the same module: for a registry's it has the
	// digest, registry://HOST/PATH@sha256:HEX. Where no digest is known it is
	// the reference that was asked for.
	Reference string
	// Digest of the manifest or index, sha256:HEX, if it is known.
	Digest string
	// Cached says that the bytes come from the store.
	Cached bool
	// Stale, when not nil, is why the registry could not be asked what the
	// reference means today: the module is what it meant last.
	Stale error
	// Unstored, when not nil, is why the module is not in the store.
	Unstored error
}

// DamagedError is a file of a store whose content is not what was put there.
type DamagedError struct {
	File       string
	Have, Want string // sha256:HEX; Want is empty for what is no module at all
}

func (e *DamagedError) Error() string {
	if e.Want == "" {
		return fmt.Sprintf("store: %s is not a WebAssembly module: it was damaged; remove it and pull again", e.File)
	}
	return fmt.Sprintf("store: %s has the digest %s, not %s: it was damaged or exchanged; remove it and pull again", e.File, e.Have, e.Want)
}

// DefaultStore is the folder of kwctl's store, so that both tools share it.
func DefaultStore() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("store: %w", err)
	}
	switch runtime.GOOS {
	case "darwin":
		return filepath.Join(cache, "io.kubewarden.kubewarden", "store"), nil
	case "windows":
		return filepath.Join(cache, "kubewarden", "cache", "store"), nil
	}
	return filepath.Join(cache, "kubewarden", "store"), nil
}

// OpenStore opens the store in a folder, which is made when something is put
// there, and removes what writers that were killed have left.
func OpenStore(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if info, err := os.Stat(root); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("store: %s is not a folder", root)
	}
	s := &Store{root}
	s.clean()
	return s, nil
}

// Root is the folder of the store.
func (s *Store) Root() string { return s.root }

func (s *Store) own(elements ...string) string {
	return filepath.Join(append([]string{s.root, ".warder"}, elements...)...)
}

func (s *Store) visible(storePath string) string {
	return filepath.Join(s.root, filepath.FromSlash(storePath))
}

// hexOf takes sha256: off.
func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

func (s *Store) recordFile(storePath string) string {
	sum := sha256.Sum256([]byte(storePath))
	return s.own("refs", hex.EncodeToString(sum[:])+".json")
}

// record reads what is known of a reference; nil is nothing. One that cannot be
// understood is nothing too: it is only what was known.
func (s *Store) record(storePath string) *record {
	text, err := os.ReadFile(s.recordFile(storePath))
	if err != nil {
		return nil
	}
	rec, err := parseRecord(text)
	if err != nil || rec.Path != storePath {
		return nil
	}
	return rec
}

func parseRecord(text []byte) (*record, error) {
	var rec record
	if err := json.Unmarshal(text, &rec); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	r, err := ParseReference(rec.URI)
	switch {
	case err != nil:
		return nil, fmt.Errorf("record: %w", err)
	case r.StorePath() == "" || r.StorePath() != rec.Path:
		return nil, fmt.Errorf("record: %q is not the place of %s", rec.Path, rec.URI)
	case !isSHA256(rec.Module) || rec.Manifest != "" && !isSHA256(rec.Manifest):
		return nil, fmt.Errorf("record: %s: want sha256 and 64 digits", rec.URI)
	}
	return &rec, nil
}

// checked reads what is kept by its digest, and refuses it when that is wrong.
// It is fs.ErrNotExist when there is none.
func (s *Store) checked(kind, digest string) ([]byte, error) {
	file := s.own(kind, hexOf(digest))
	data, err := readStored(file)
	if err != nil {
		return nil, err
	}
	if have := digestOf(data); have != digest {
		return nil, &DamagedError{file, have, digest}
	}
	return data, nil
}

// readStored reads a file that is not larger than a module.
func readStored(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was read alone
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a file: %w", file, fs.ErrNotExist)
	case info.Size() > MaxModuleBytes:
		return nil, fmt.Errorf("%s: %w", file, tooLarge(info.Size()))
	}
	return readModule(f, info.Size(), nil)
}

// find returns the module that a reference had last; nil when there is none.
// What is damaged is mended from the other copy, or else a *DamagedError.
func (s *Store) find(r Reference) (*Module, error) {
	file := s.visible(r.StorePath())
	seen, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !seen.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	rec := s.record(r.StorePath())
	if rec == nil || rec.URI != r.String() {
		return s.findPlain(r, file)
	}
	data, err := s.checked("modules", rec.Module)
	if err == nil {
		if !s.linked(rec.Module, seen) && !isModule(file, rec.Module) {
			_ = s.link(rec.Module, r.StorePath()) // or the next time
		}
		return moduleOf(r, rec, data), nil
	}
	data, visibleErr := readStored(file)
	if visibleErr != nil {
		return nil, fmt.Errorf("store: %w", visibleErr)
	}
	have := digestOf(data)
	if now := s.record(r.StorePath()); now != nil && *now != *rec {
		return s.find(r) // somebody has put another one there meanwhile
	}
	if have != rec.Module {
		return nil, &DamagedError{file, have, rec.Module}
	}
	return moduleOf(r, rec, data), nil
}

// findPlain reads a file that another tool has put there. Nothing says what it
// should be, which is not enough for a reference with a digest, nor for a URL
// with a query, of which the path knows nothing.
func (s *Store) findPlain(r Reference, file string) (*Module, error) {
	if r.Digest() != "" || strings.Contains(r.text, "?") {
		return nil, nil
	}
	data, err := readStored(file)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if checkModule(data) != nil {
		return nil, &DamagedError{File: file}
	}
	return moduleOf(r, &record{}, data), nil
}

func moduleOf(r Reference, rec *record, data []byte) *Module {
	m := &Module{Bytes: data, SHA256: hexOf(digestOf(data)), Reference: r.String(), Digest: rec.Manifest, Cached: true}
	if r.image != nil && rec.Manifest != "" {
		m.Reference = r.Pinned(rec.Manifest)
	}
	return m
}

// linked reports whether a file is the very one that is kept by its digest.
func (s *Store) linked(digest string, seen fs.FileInfo) bool {
	kept, err := os.Stat(s.own("modules", hexOf(digest)))
	return err == nil && os.SameFile(kept, seen)
}

func isModule(file, digest string) bool {
	data, err := readStored(file)
	return err == nil && digestOf(data) == digest
}

// byDigest returns the module of a manifest or index, with all manifests that
// lead to it; nil when it is not there, and why when it is damaged.
func (s *Store) byDigest(r Reference, digest string) (*Module, map[string][]byte, error) {
	m, manifests, err := s.follow(r, digest)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return m, manifests, err
}

func (s *Store) follow(r Reference, digest string) (*Module, map[string][]byte, error) {
	get := func(d string) ([]byte, error) { return s.checked("manifests", d) }
	raw, err := get(digest)
	if err != nil {
		return nil, nil, err
	}
	layer, manifests, err := resolve(digest, raw, get)
	if err != nil {
		return nil, nil, err
	}
	data, err := s.checked("modules", layer.Digest)
	if err != nil {
		return nil, nil, err
	}
	return moduleOf(r, &record{Manifest: digest}, data), manifests, nil
}

// resolve goes from a manifest or index to the layer with the module. get reads
// the manifest that an index names. It returns all that it has read, by digest.
func resolve(digest string, raw []byte, get func(digest string) ([]byte, error)) (descriptor, map[string][]byte, error) {
	all := map[string][]byte{digest: raw}
	manifest, index, err := parseManifest(raw)
	if err != nil {
		return descriptor{}, nil, err
	}
	if index != nil {
		entry, err := index.policy()
		if err != nil {
			return descriptor{}, nil, err
		}
		if raw, err = get(entry.Digest); err != nil {
			return descriptor{}, nil, err
		}
		all[entry.Digest] = raw
		if manifest, index, err = parseManifest(raw); err != nil {
			return descriptor{}, nil, err
		}
		if index != nil {
			return descriptor{}, nil, errors.New("index: it names another index; one level is followed")
		}
	}
	layer, err := manifest.module()
	return layer, all, err
}
