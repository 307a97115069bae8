package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log" //nolint:depguard // go-containerregistry takes no other logger
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
)

// registryHandler is an OCI registry on a folder:
//
//	blobs/sha256/HEX                            everything, by its digest
//	repositories/REPOSITORY/_manifests/HEX.json the manifests of a repository
//	repositories/REPOSITORY/_tags/TAG.json      what its tags mean
//
// Blobs are go-containerregistry's to handle. It keeps manifests in memory, so
// these are handled here: a restart loses nothing.
// API: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md.
type registryHandler struct {
	dir   string
	blobs http.Handler
	log   *slog.Logger
	mu    sync.RWMutex // of repositories
}

// maxBlobBytes bounds what is uploaded at once: a module, and some for its
// wrapping.
const maxBlobBytes = MaxModuleBytes + 1<<20

// NewRegistry returns a registry that keeps everything in a folder: pushes,
// deletes and referrers, without users. One process at a time may have it. A nil
// log is none.
func NewRegistry(dir string, log *slog.Logger) (http.Handler, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	h := &registryHandler{dir: dir, log: log}
	for _, sub := range []string{"blobs/sha256", "repositories"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("registry: %w", err)
		}
	}
	if err := h.clean(); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	h.blobs = registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(filepath.Join(dir, "blobs"))), registry.Logger(quiet()))
	return h, nil
}

// clean removes what a process has left that was killed.
func (h *registryHandler) clean() error {
	return filepath.WalkDir(h.dir, func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && (strings.HasPrefix(d.Name(), "upload-") || strings.HasPrefix(d.Name(), ".new-")) {
			return os.Remove(file)
		}
		return err
	})
}

// registryPath is /v2/REPOSITORY/KIND/NAME, as the specification allows them.
func registryPath() *regexp.Regexp {
	return regexp.MustCompile(`^/v2/([a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)/(manifests|tags|referrers|blobs)/(.+)$`)
}

func tagName() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`) }

// registryError is an error as a registry sends it.
type registryError struct {
	status        int
	code, message string
}

func (e *registryError) Error() string { return e.message }

func refusal(status int, code, format string, args ...any) error {
	return &registryError{status, code, fmt.Sprintf(format, args...)}
}

// ServeHTTP implements http.Handler.
func (h *registryHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	seen := &statusWriter{ResponseWriter: w}
	if err := h.serve(seen, r); err != nil {
		var known *registryError
		if !errors.As(err, &known) {
			h.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
			known = &registryError{http.StatusInternalServerError, "UNKNOWN", "see the log of the registry"}
		}
		w.Header().Set("Content-Type", "application/json")
		seen.WriteHeader(known.status)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": known.code, "message": known.message}}})
	}
	h.log.Info("request", "method", r.Method, "path", r.URL.Path, "status", seen.status)
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

func (h *registryHandler) serve(w http.ResponseWriter, r *http.Request) error {
	switch r.URL.Path {
	case "/v2", "/v2/":
		return sendJSON(w, "application/json", struct{}{})
	case "/v2/_catalog":
		return h.catalog(w, r)
	}
	part := registryPath().FindStringSubmatch(r.URL.Path)
	if part == nil {
		return refusal(http.StatusNotFound, "NAME_INVALID", "%s is nothing that a registry has", r.URL.Path)
	}
	repo, kind, name := part[1], part[2], part[3]
	switch {
	case kind == "blobs":
		r.Body = http.MaxBytesReader(w, r.Body, maxBlobBytes)
		h.blobs.ServeHTTP(w, r)
		return nil
	case kind == "tags" && name == "list" && r.Method == http.MethodGet:
		return h.tags(w, r, repo)
	case kind == "referrers" && r.Method == http.MethodGet:
		return h.referrers(w, r, repo, name)
	case kind == "manifests":
		if !isSHA256(name) && !tagName().MatchString(name) {
			return refusal(http.StatusBadRequest, "MANIFEST_INVALID", "%q is neither a tag nor a sha256 digest", name)
		}
		return h.manifests(w, r, repo, name)
	}
	return refusal(http.StatusMethodNotAllowed, "UNSUPPORTED", "%s %s is not supported", r.Method, r.URL.Path)
}

func (h *registryHandler) repository(repo string, elements ...string) string {
	return filepath.Join(append([]string{h.dir, "repositories", filepath.FromSlash(repo)}, elements...)...)
}

// entryFile is where it is said what a tag or a digest is in a repository.
func (h *registryHandler) entryFile(repo, name string) string {
	if isSHA256(name) {
		return h.repository(repo, "_manifests", hexOf(name)+".json")
	}
	return h.repository(repo, "_tags", name+".json")
}

func (h *registryHandler) entry(repo, name string) (descriptor, error) {
	var d descriptor
	text, err := os.ReadFile(h.entryFile(repo, name))
	if errors.Is(err, fs.ErrNotExist) {
		return d, refusal(http.StatusNotFound, "MANIFEST_UNKNOWN", "%s has no manifest %s", repo, name)
	}
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err == nil && !isSHA256(d.Digest) {
		err = fmt.Errorf("%s is damaged", h.entryFile(repo, name))
	}
	return d, err
}

func (h *registryHandler) blobFile(digest string) string {
	return filepath.Join(h.dir, "blobs", "sha256", hexOf(digest))
}

func (h *registryHandler) manifests(w http.ResponseWriter, r *http.Request, repo, name string) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		h.mu.RLock()
		defer h.mu.RUnlock()
		d, err := h.entry(repo, name)
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(h.blobFile(d.Digest))
		if err == nil && digestOf(raw) != d.Digest {
			err = fmt.Errorf("%s is damaged", h.blobFile(d.Digest))
		}
		if err != nil {
			return err
		}
		w.Header().Set("Docker-Content-Digest", d.Digest)
		w.Header().Set("Content-Type", d.MediaType)
		w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
		if r.Method == http.MethodGet {
			_, err = w.Write(raw)
		}
		return err
	case http.MethodPut:
		return h.putManifest(w, r, repo, name)
	case http.MethodDelete:
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.deleteManifest(w, repo, name)
	}
	return refusal(http.StatusMethodNotAllowed, "UNSUPPORTED", "%s is not supported for manifests", r.Method)
}

func (h *registryHandler) putManifest(w http.ResponseWriter, r *http.Request, repo, name string) error {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, manifestLimit))
	if err != nil {
		return refusal(http.StatusRequestEntityTooLarge, "SIZE_INVALID", "a manifest has at most %d bytes: %v", manifestLimit, err)
	}
	d := descriptor{MediaType: r.Header.Get("Content-Type"), Digest: digestOf(raw), Size: int64(len(raw))}
	if isSHA256(name) && name != d.Digest {
		return refusal(http.StatusBadRequest, "DIGEST_INVALID", "the manifest has the digest %s", d.Digest)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	manifest, err := h.checkManifest(repo, raw, &d)
	if err != nil {
		return err
	}
	if err := writeBeside(h.blobFile(d.Digest), raw); err != nil {
		return err
	}
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	for _, file := range slices.Compact([]string{h.entryFile(repo, d.Digest), h.entryFile(repo, name)}) {
		if err := writeBeside(file, text); err != nil {
			return err
		}
	}
	if manifest != nil && manifest.Subject != nil {
		w.Header().Set("OCI-Subject", manifest.Subject.Digest)
	}
	w.Header().Set("Docker-Content-Digest", d.Digest)
	w.Header().Set("Location", (&url.URL{Path: "/v2/" + repo + "/manifests/" + d.Digest}).String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

// checkManifest refuses a manifest that names what is not there, and completes
// its descriptor.
func (h *registryHandler) checkManifest(repo string, raw []byte, d *descriptor) (*imageManifest, error) {
	image, index, err := parseManifest(raw)
	if err != nil {
		return nil, refusal(http.StatusBadRequest, "MANIFEST_INVALID", "%v", err)
	}
	if index != nil {
		if d.MediaType == "" {
			d.MediaType = mediaIndex
		}
		for _, e := range index.Manifests {
			if _, err := h.entry(repo, e.Digest); !isSHA256(e.Digest) || err != nil {
				return nil, refusal(http.StatusNotFound, "MANIFEST_UNKNOWN", "the index names %s, which was not pushed", e.Digest)
			}
		}
		return nil, nil
	}
	if d.MediaType == "" {
		d.MediaType = mediaImage
	}
	for _, blob := range append([]descriptor{*image.Config}, image.Layers...) {
		if !isSHA256(blob.Digest) {
			return nil, refusal(http.StatusBadRequest, "DIGEST_INVALID", "digest %q: want sha256", blob.Digest)
		}
		if _, err := os.Stat(h.blobFile(blob.Digest)); err != nil && len(blob.URLs) == 0 {
			return nil, refusal(http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "the blob %s was not pushed", blob.Digest)
		}
	}
	return image, nil
}

// deleteManifest deletes a tag, or a manifest with the tags that mean it. Its
// blobs stay: another repository may have them too.
func (h *registryHandler) deleteManifest(w http.ResponseWriter, repo, name string) error {
	if _, err := h.entry(repo, name); err != nil {
		return err
	}
	if isSHA256(name) {
		tags, err := h.tagNames(repo)
		if err != nil {
			return err
		}
		for _, tag := range tags {
			if d, err := h.entry(repo, tag); err == nil && d.Digest == name {
				if err := os.Remove(h.entryFile(repo, tag)); err != nil {
					return err
				}
			}
		}
	}
	if err := os.Remove(h.entryFile(repo, name)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// writeBeside is writeFile with the unfinished file beside the finished one,
// where clean finds it.
func writeBeside(file string, data []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return writeFile(dir, file, data)
}

func sendJSON(w http.ResponseWriter, media string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, err = w.Write(text)
	return err
}

// quiet is for go-containerregistry, whose log would tell every request again.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
