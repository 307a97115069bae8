package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// names returns the tags, or the digits of the digests, that a folder of a
// repository has, in order.
func (h *registryHandler) names(repo, folder string) ([]string, error) {
	entries, err := os.ReadDir(h.repository(repo, folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := []string{}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok && !strings.HasPrefix(name, ".new-") {
			names = append(names, name)
		}
	}
	return names, nil
}

func (h *registryHandler) tagNames(repo string) ([]string, error) { return h.names(repo, "_tags") }

func (h *registryHandler) tags(w http.ResponseWriter, r *http.Request, repo string) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if _, err := os.Stat(h.repository(repo, "_manifests")); err != nil {
		return refusal(http.StatusNotFound, "NAME_UNKNOWN", "there is no repository %s", repo)
	}
	tags, err := h.tagNames(repo)
	if err != nil {
		return err
	}
	if tags, err = page(w, r, tags); err != nil {
		return err
	}
	return sendJSON(w, "application/json", map[string]any{"name": repo, "tags": tags})
}

func (h *registryHandler) catalog(w http.ResponseWriter, r *http.Request) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	top := filepath.Join(h.dir, "repositories")
	repos := []string{}
	err := filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "_manifests" {
			return err
		}
		below, err := filepath.Rel(top, filepath.Dir(file))
		if err != nil {
			return err
		}
		repos = append(repos, filepath.ToSlash(below))
		return fs.SkipDir
	})
	if err != nil {
		return err
	}
	slices.Sort(repos)
	if repos, err = page(w, r, repos); err != nil {
		return err
	}
	return sendJSON(w, "application/json", map[string]any{"repositories": repos})
}

// page returns the part of a sorted list that was asked for with n and last,
// and links to the next.
func page(w http.ResponseWriter, r *http.Request, list []string) ([]string, error) {
	query := r.URL.Query()
	if last := query.Get("last"); last != "" {
		at, found := slices.BinarySearch(list, last)
		if found {
			at++
		}
		list = list[at:]
	}
	if query.Get("n") == "" {
		return list, nil
	}
	n, err := strconv.Atoi(query.Get("n"))
	if err != nil || n < 0 {
		return nil, refusal(http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n=%s: want a number", query.Get("n"))
	}
	if n >= len(list) {
		return list, nil
	}
	list = list[:n]
	if n > 0 {
		next := url.URL{Path: r.URL.Path, RawQuery: url.Values{"n": {strconv.Itoa(n)}, "last": {list[n-1]}}.Encode()}
		w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, next.String()))
	}
	return list, nil
}

// referrers lists the manifests whose subject is a digest: signatures, mostly.
func (h *registryHandler) referrers(w http.ResponseWriter, r *http.Request, repo, subject string) error {
	if !isSHA256(subject) {
		return refusal(http.StatusBadRequest, "DIGEST_INVALID", "%q is no sha256 digest", subject)
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	digests, err := h.names(repo, "_manifests")
	if err != nil {
		return err
	}
	only := r.URL.Query().Get("artifactType")
	index := indexManifest{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []indexEntry{}}
	for _, digits := range digests {
		e, err := h.referrer("sha256:"+digits, repo, subject)
		if err != nil {
			return err
		}
		if e != nil && (only == "" || e.ArtifactType == only) {
			index.Manifests = append(index.Manifests, *e)
		}
	}
	if only != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	return sendJSON(w, mediaIndex, index)
}

// referrer describes a manifest if it is about subject.
func (h *registryHandler) referrer(digest, repo, subject string) (*indexEntry, error) {
	d, err := h.entry(repo, digest)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(h.blobFile(digest))
	if err != nil {
		return nil, err
	}
	var m imageManifest
	if err := json.Unmarshal(raw, &m); err != nil || m.Subject == nil || m.Subject.Digest != subject {
		return nil, nil //nolint:nilerr // it was checked when it was pushed: an index has other members
	}
	kind := m.ArtifactType
	if kind == "" && m.Config != nil {
		kind = m.Config.MediaType
	}
	return &indexEntry{MediaType: d.MediaType, Digest: digest, Size: d.Size, ArtifactType: kind, Annotations: m.Annotations}, nil
}
