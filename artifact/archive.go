package artifact

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// What an archive may hold. The bytes are those of all that is in it, most of
// them of modules, which are on disk afterwards; what is held are manifests and
// records, in memory.
const (
	maxArchiveEntries = 100_000
	maxArchiveBytes   = 16 << 30
	maxArchiveHeld    = 64 << 20
	maxPadding        = 1 << 20
)

// Save writes modules of the store as a tar.gz, with their paths in the store.
// kwctl load takes it. The manifests are in it too, so that a store it is loaded
// into also knows the modules by their digest.
func (s *Store) Save(w io.Writer, what ...string) error {
	zip := gzip.NewWriter(w)
	out := tar.NewWriter(zip)
	written := map[string]bool{}
	add := func(name string, data []byte) error {
		if written[name] {
			return nil
		}
		written[name] = true
		header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		_, err := out.Write(data)
		return err
	}
	for _, one := range what {
		if err := s.save(one, add); err != nil {
			return fmt.Errorf("save %s: %w", one, err)
		}
	}
	return errors.Join(out.Close(), zip.Close())
}

func (s *Store) save(what string, add func(name string, data []byte) error) error {
	found, err := s.Find(what)
	if err != nil {
		return err
	}
	r, err := ParseReference(found.Reference)
	if err != nil {
		return err
	}
	m, err := s.find(r)
	if err == nil && m == nil { // kwctl's, by digest
		var data []byte
		if data, err = ReadFile(found.File); err == nil {
			m = moduleOf(r, &record{}, data)
		}
	}
	if err != nil {
		return err
	}
	if err := add(r.StorePath(), m.Bytes); err != nil {
		return err
	}
	rec := s.record(r.StorePath())
	if rec == nil || m.Digest == "" {
		return nil
	}
	_, manifests, err := s.byDigest(r, m.Digest)
	if err != nil {
		return err
	}
	for _, digest := range slices.Sorted(maps.Keys(manifests)) {
		if err := add(path.Join(".warder/manifests", hexOf(digest)), manifests[digest]); err != nil {
			return err
		}
	}
	text, err := json.Marshal(rec)
	if err != nil || len(manifests) == 0 {
		return err
	}
	return add(path.Join(".warder/refs", path.Base(s.recordFile(rec.Path))), text)
}

// archive is what was read of one.
type archive struct {
	store     *Store
	zip       io.Reader
	modules   map[string]string // digest by store path
	manifests map[string][]byte // by digest
	records   []*record

	entries, held int
	bytes         int64
}

// Load puts the modules of a tar.gz of Save, or of kwctl save, into the store,
// and returns their references. An archive in which anything is not as it
// should be changes nothing: paths that belong to no reference, links, what is
// no WebAssembly, manifests of other modules.
func (s *Store) Load(r io.Reader) ([]string, error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("load: not a tar.gz: %w", err)
	}
	unlock, err := s.prepare(lockShared)
	if err != nil {
		return nil, fmt.Errorf("load: store: %w", err)
	}
	a := &archive{store: s, zip: zip, modules: map[string]string{}, manifests: map[string][]byte{}}
	loaded, err := a.load(tar.NewReader(zip))
	unlock()
	if err != nil {
		s.clean() // what was written of it
		return nil, fmt.Errorf("load: %w", err)
	}
	return loaded, nil
}

func (a *archive) load(in *tar.Reader) ([]string, error) {
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			n, err := io.Copy(io.Discard, io.LimitReader(a.zip, maxPadding)) // up to the checksum
			switch {
			case err != nil:
				return nil, fmt.Errorf("not a tar.gz: %w", err)
			case n == maxPadding:
				return nil, errors.New("not a tar.gz: something follows the archive")
			}
			return a.commit()
		}
		if err != nil {
			return nil, fmt.Errorf("not a tar.gz: %w", err)
		}
		if err := a.entry(header, in); err != nil {
			return nil, fmt.Errorf("entry %q: %w", header.Name, err)
		}
	}
}

func (a *archive) entry(header *tar.Header, in io.Reader) error {
	a.entries++
	a.bytes += max(header.Size, 0)
	if a.entries > maxArchiveEntries || a.bytes > maxArchiveBytes {
		return fmt.Errorf("the archive has more than %d entries or %d GiB", maxArchiveEntries, maxArchiveBytes>>30)
	}
	if header.Typeflag == tar.TypeDir {
		return nil // folders are made for what is in them
	}
	if header.Typeflag != tar.TypeReg {
		return errors.New("want files and folders alone: it is a link or a device")
	}
	name := strings.TrimPrefix(header.Name, "./")
	if name == "" || path.Clean("/"+name) != "/"+name {
		return errors.New("want a path below the store")
	}
	if digits, ok := strings.CutPrefix(name, ".warder/manifests/"); ok {
		return a.manifest(digits, header.Size, in)
	}
	if strings.HasPrefix(name, ".warder/refs/") {
		return a.record(header.Size, in)
	}
	if header.Size > MaxModuleBytes {
		return tooLarge(header.Size)
	}
	r, err := referenceAt(name)
	if err != nil {
		return err
	}
	data, err := readAll(in, header.Size, nil)
	if err == nil {
		err = checkModule(data)
	}
	if err != nil {
		return err
	}
	digest := digestOf(data)
	if before, ok := a.modules[r.StorePath()]; ok && before != digest {
		return errors.New("it is there twice, with different modules")
	}
	a.modules[r.StorePath()] = digest
	return a.store.keep("modules", digest, data)
}

func (a *archive) manifest(digits string, size int64, in io.Reader) error {
	if size > manifestLimit || a.held > maxArchiveHeld {
		return fmt.Errorf("manifests of more than %d bytes", manifestLimit)
	}
	raw, err := readAll(in, size, nil)
	if err != nil {
		return err
	}
	if digest := digestOf(raw); digest != "sha256:"+digits {
		return fmt.Errorf("its digest is %s", digest)
	}
	a.held += len(raw)
	a.manifests["sha256:"+digits] = raw
	return nil
}

func (a *archive) record(size int64, in io.Reader) error {
	if size > 64<<10 || a.held > maxArchiveHeld {
		return fmt.Errorf("a record of %d bytes, after %d that are not of modules", size, a.held)
	}
	text, err := readAll(in, size, nil)
	if err != nil {
		return err
	}
	rec, err := parseRecord(text)
	if err != nil {
		return err
	}
	a.held += len(text)
	a.records = append(a.records, rec)
	return nil
}

// commit makes the modules be there, after everything was looked at.
func (a *archive) commit() ([]string, error) {
	known := map[string]*record{}
	for _, rec := range a.records {
		if a.modules[rec.Path] != rec.Module {
			return nil, fmt.Errorf("record of %s: its module is not in the archive", rec.URI)
		}
		if err := a.check(rec); err != nil {
			return nil, fmt.Errorf("record of %s: %w", rec.URI, err)
		}
		known[rec.Path] = rec
	}
	for digest, raw := range a.manifests {
		if err := a.store.keep("manifests", digest, raw); err != nil {
			return nil, err
		}
	}
	var loaded []string
	for _, storePath := range slices.Sorted(maps.Keys(a.modules)) {
		r, err := referenceAt(storePath)
		if err != nil {
			return nil, err
		}
		uri, err := a.settle(r, known[storePath])
		if err != nil {
			return nil, err
		}
		loaded = append(loaded, uri)
	}
	return loaded, nil
}

// check says whether the manifests of the archive lead to the record's module.
func (a *archive) check(rec *record) error {
	if rec.Manifest == "" {
		return nil
	}
	r, err := ParseReference(rec.URI)
	if err != nil {
		return err
	}
	if d := r.Digest(); d != "" && d != rec.Manifest {
		return fmt.Errorf("its manifest is %s", rec.Manifest)
	}
	get := func(digest string) ([]byte, error) {
		if raw, ok := a.manifests[digest]; ok {
			return raw, nil
		}
		return nil, fmt.Errorf("manifest %s is not in the archive", digest)
	}
	raw, err := get(rec.Manifest)
	if err != nil {
		return err
	}
	layer, _, err := resolve(rec.Manifest, raw, get)
	if err == nil && layer.Digest != rec.Module {
		err = fmt.Errorf("its manifest is of the module %s", layer.Digest)
	}
	return err
}

// settle makes one reference be there. Of an archive of kwctl nothing is known
// but the module; for a digest that is not enough, so it is asked for later.
func (a *archive) settle(r Reference, rec *record) (string, error) {
	s := a.store
	if rec == nil {
		rec = &record{URI: r.String(), Path: r.StorePath(), Module: a.modules[r.StorePath()]}
	}
	text, err := json.Marshal(rec)
	if err != nil {
		return "", err
	}
	if err := s.write(s.recordFile(rec.Path), text); err != nil {
		return "", err
	}
	return rec.URI, s.link(rec.Module, rec.Path)
}
