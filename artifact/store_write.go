package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// prepare makes the store's own folders and takes its lock.
func (s *Store) prepare(kind int) (unlock func(), err error) {
	for _, dir := range []string{"modules", "manifests", "refs", "verified", "tmp"} {
		if err := os.MkdirAll(s.own(dir), 0o755); err != nil {
			return nil, err
		}
	}
	return lock(s.own("lock"), kind)
}

// put keeps a module and the manifests that lead to it, under a reference.
func (s *Store) put(r Reference, m *Module, manifests map[string][]byte) error {
	rec := record{URI: r.String(), Path: r.StorePath(), Manifest: m.Digest, Module: "sha256:" + m.SHA256}
	old := s.record(rec.Path)
	if old != nil && *old == rec && m.Cached && isModule(s.visible(rec.Path), rec.Module) {
		return nil // which also works where nobody may write
	}
	if err := s.commit(rec, m, manifests); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if old != nil && old.Module != rec.Module {
		s.clean() // nobody may want the old one any more
	}
	return nil
}

// commit writes in an order that leaves the store right wherever it ends: the
// module, its manifests, what the reference means, and last the file that makes
// the reference be there.
func (s *Store) commit(rec record, m *Module, manifests map[string][]byte) error {
	unlock, err := s.prepare(lockShared)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.keep("modules", rec.Module, m.Bytes); err != nil {
		return err
	}
	for digest, raw := range manifests {
		if err := s.keep("manifests", digest, raw); err != nil {
			return err
		}
	}
	text, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if old := s.record(rec.Path); old == nil || *old != rec {
		if err := s.write(s.recordFile(rec.Path), text); err != nil {
			return err
		}
	}
	return s.link(rec.Module, rec.Path)
}

// keep writes bytes by their digest, unless they are there.
func (s *Store) keep(kind, digest string, data []byte) error {
	if _, err := s.checked(kind, digest); err == nil {
		return nil
	}
	return s.write(s.own(kind, hexOf(digest)), data)
}

// write writes a file of the store that is there whole or not at all.
func (s *Store) write(file string, data []byte) error { return writeFile(s.own("tmp"), file, data) }

// writeFile writes a file that is there whole or not at all. Until it is whole
// it is in the folder tmp, with a name that starts with .new-.
func writeFile(tmp, file string, data []byte) error {
	f, err := os.CreateTemp(tmp, ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(file))
}

// link makes the file that people see the one that is kept by its digest, or a
// copy of it where there are no links.
func (s *Store) link(digest, storePath string) error {
	kept, file := s.own("modules", hexOf(digest)), s.visible(storePath)
	if seen, err := os.Lstat(file); err == nil && seen.Mode().IsRegular() && s.linked(digest, seen) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.own("tmp"), "link-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // else the next cleaning does it
	next := filepath.Join(dir, "module")
	if err := os.Link(kept, next); err != nil {
		data, err := s.checked("modules", digest)
		if err != nil {
			return err
		}
		if isModule(file, digest) {
			return nil
		}
		return s.write(file, data)
	}
	if err := os.Rename(next, file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

// clean removes what writers have left that were killed, and what no reference
// leads to. When somebody writes it does nothing: there will be another time.
func (s *Store) clean() {
	if _, err := os.Stat(s.own()); err != nil {
		return
	}
	unlock, err := lock(s.own("lock"), lockIfFree)
	if err != nil || unlock == nil {
		return
	}
	defer unlock()
	s.sweep()
}

// sweep does the work of clean under the lock. What cannot be removed is in
// nobody's way.
func (s *Store) sweep() {
	each(s.own("tmp"), func(file string) { _ = os.RemoveAll(file) })
	used := map[string]bool{}
	each(s.own("refs"), func(file string) {
		text, err := os.ReadFile(file)
		if err != nil {
			return
		}
		rec, err := parseRecord(text)
		if err == nil && s.recordFile(rec.Path) == file {
			if _, err := os.Lstat(s.visible(rec.Path)); err == nil {
				s.use(rec, used)
				return
			}
		}
		_ = os.Remove(file)
	})
	for _, kind := range []string{"modules", "manifests"} {
		each(s.own(kind), func(file string) {
			if !used["sha256:"+filepath.Base(file)] {
				_ = os.Remove(file)
			}
		})
	}
}

// use notes what a record leads to.
func (s *Store) use(rec *record, used map[string]bool) {
	used[rec.Module] = true
	if rec.Manifest == "" {
		return
	}
	used[rec.Manifest] = true
	raw, err := s.checked("manifests", rec.Manifest)
	if err != nil {
		return
	}
	_, manifests, err := resolve(rec.Manifest, raw, func(d string) ([]byte, error) { return s.checked("manifests", d) })
	if err == nil {
		for digest := range manifests {
			used[digest] = true
		}
	}
}

// each calls f for what is in a folder.
func each(dir string, f func(file string)) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		f(filepath.Join(dir, e.Name()))
	}
}

// Stored is a module in a store.
type Stored struct {
	// Reference is where it came from, with its scheme.
	Reference string
	// File is where it is.
	File string
	// SHA256 of its bytes, in hexadecimal, as they are now.
	SHA256 string
	// Size in bytes.
	Size int64
}

// List returns every module, in the order of the references. Files that no
// reference belongs to are left out.
func (s *Store) List() ([]Stored, error) {
	var list []Stored
	for _, scheme := range []Scheme{HTTP, HTTPS, Registry} {
		top := filepath.Join(s.root, string(scheme))
		err := filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // nothing yet, or no longer
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			below, err := filepath.Rel(s.root, file)
			if err != nil {
				return err
			}
			r, err := referenceAt(filepath.ToSlash(below))
			if err != nil {
				return nil //nolint:nilerr // it is none of ours
			}
			data, err := readStored(file)
			if err != nil {
				return err
			}
			stored := Stored{Reference: r.String(), File: file, SHA256: hexOf(digestOf(data)), Size: int64(len(data))}
			if rec := s.record(r.StorePath()); rec != nil {
				stored.Reference = rec.URI // with the query of a URL
			}
			list = append(list, stored)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	return list, nil
}

// Find returns the module that is meant by a reference, or by the first digits
// of its sha256. It is ErrNotFound when there is none, and an error when the
// digits are those of several.
func (s *Store) Find(what string) (Stored, error) {
	list, err := s.List()
	if err != nil {
		return Stored{}, err
	}
	r, refErr := ParseReference(what)
	var found []Stored
	digits := strings.ToLower(what)
	for _, m := range list {
		if refErr == nil && m.Reference == r.String() {
			return m, nil
		}
		if digits != "" && strings.HasPrefix(m.SHA256, digits) {
			found = append(found, m)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		names := make([]string, len(found))
		for i, m := range found {
			names[i] = m.Reference
		}
		return Stored{}, fmt.Errorf("%q: %d modules in the store begin with these digits: %s", what, len(found), strings.Join(names, ", "))
	}
	return Stored{}, fmt.Errorf("%q: %w in the store", what, ErrNotFound)
}

// Remove removes the module that Find finds, and folders that are empty then.
func (s *Store) Remove(what string) (Stored, error) {
	m, err := s.Find(what)
	if err != nil {
		return Stored{}, err
	}
	unlock, err := s.prepare(lockAlone)
	if err != nil {
		return Stored{}, fmt.Errorf("store: %w", err)
	}
	defer unlock()
	err = os.Remove(m.File)
	if below, relErr := filepath.Rel(s.root, m.File); relErr == nil {
		_ = os.Remove(s.recordFile(filepath.ToSlash(below)))
	}
	for dir := filepath.Dir(m.File); dir != s.root && os.Remove(dir) == nil; {
		dir = filepath.Dir(dir)
	}
	s.sweep()
	if err != nil {
		return Stored{}, fmt.Errorf("store: %w", err)
	}
	return m, nil
}
