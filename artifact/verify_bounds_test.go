package artifact

import (
	"context"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestHostileRegistry lets a registry send what it should not, to somebody who
// has a good signature, which must be refused or survive.
func TestHostileRegistry(t *testing.T) {
	key := newECDSA(t, elliptic.P256())
	signer := Signer{PublicKey: publicPEM(t, key)}
	blobs := func(answer func(w http.ResponseWriter)) func(pushed, layer) func(http.ResponseWriter, *http.Request) bool {
		return func(_ pushed, l layer) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.HasSuffix(req.URL.Path, "/blobs/"+sha256Of(l.payload).String()) {
					return false
				}
				answer(w)
				return true
			}
		}
	}
	manifests := func(of func(pushed) string, answer func(w http.ResponseWriter)) func(pushed, layer) func(http.ResponseWriter, *http.Request) bool {
		return func(p pushed, _ layer) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.HasSuffix(req.URL.Path, "/manifests/"+of(p)) {
					return false
				}
				answer(w)
				return true
			}
		}
	}
	sig := func(p pushed) string { return p.sigTag().TagStr() }
	write := func(text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			_, _ = io.WriteString(w, text)
		}
	}
	status := func(code int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(code) }
	}
	many := func(n int) string {
		m := v1.Manifest{SchemaVersion: 2, Config: v1.Descriptor{Digest: sha256Of(nil)}, MediaType: "application/vnd.oci.image.manifest.v1+json"}
		for range n {
			m.Layers = append(m.Layers, v1.Descriptor{MediaType: simpleSigningType, Size: 1, Digest: sha256Of(nil)})
		}
		return string(must(json.Marshal(m))(t))
	}
	big := func(size int64, digest v1.Hash) string {
		m := v1.Manifest{SchemaVersion: 2, Config: v1.Descriptor{Digest: sha256Of(nil)}, MediaType: "application/vnd.oci.image.manifest.v1+json", Layers: []v1.Descriptor{{MediaType: simpleSigningType, Size: size, Digest: digest}}}
		return string(must(json.Marshal(m))(t))
	}
	tests := []struct {
		name string
		lie  func(pushed, layer) func(http.ResponseWriter, *http.Request) bool
		want string
	}{
		{"payload that is another's", blobs(write("{}")), "error verifying sha256 checksum"},
		{"payload without an end", blobs(func(w http.ResponseWriter) { _, _ = io.Copy(w, io.LimitReader(zeros{}, 1<<30)) }), "it has more than the 262144 bytes that are read"},
		{"payload that is not there", blobs(status(404)), "404 Not Found"},
		{"payload of a gigabyte", manifests(sig, write(big(1<<30, sha256Of(nil)))), "it has 1073741824 bytes; at most 262144 are read"},
		{"payload of less than nothing", manifests(sig, write(big(-1, sha256Of(nil)))), "it has -1 bytes"},
		{"payload of another hash", manifests(sig, write(big(1, v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("0", 128)}))), "is not of SHA-256"},
		{"too many signatures", manifests(sig, write(many(maxSignatures+1))), "it has 201 signatures; at most 200 are read"},
		{"no manifest", manifests(sig, write("[]")), "json: cannot unmarshal"},
		{"large manifest", manifests(sig, write(`{"x":"`+strings.Repeat("x", maxManifestBytes)+`"}`)), "at most 4194304 are read"},
		{"signatures forbidden", manifests(sig, status(403)), "403 Forbidden"},
		{"signatures broken", manifests(sig, status(500)), "500 Internal Server Error"},
		{"image broken", manifests(func(pushed) string { return "1.0" }, status(500)), "500 Internal Server Error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newSigningRegistry(t)
			image := r.push(t, "app")
			l := image.keyLayer(t, key, nil)
			image.attach(t, l)
			image.wantVerified(t, nil, signer)
			r.intercept = tt.lie(image, l)
			reach := func(context.Context, name.Reference) ([]remote.Option, error) {
				return []remote.Option{remote.WithRetryStatusCodes(), remote.WithTransport(http.DefaultTransport)}, nil
			}
			digest, err := NewVerifier(VerifierOptions{Reach: reach}).Verify(context.Background(), image.ref, []Signer{signer})
			if err == nil || digest != "" || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Verify = %q, %v\nwant %q", digest, err, tt.want)
			}
		})
	}
	t.Run("image that is not the one of the digest", func(t *testing.T) {
		r := newSigningRegistry(t)
		image, evil := r.push(t, "app"), r.push(t, "evil")
		image.attach(t, image.keyLayer(t, key, nil))
		r.intercept = manifests(func(p pushed) string { return p.digest.String() }, func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
			_, _ = w.Write(evil.manifest)
		})(image, layer{})
		digest, err := verify1(t, nil, r.host+"/app@"+image.digest.String(), signer)
		if err == nil || digest != "" {
			t.Errorf("Verify = %q, %v", digest, err)
		}
	})
	t.Run("image exchanged", func(t *testing.T) {
		r := newSigningRegistry(t)
		image := r.push(t, "app")
		image.attach(t, image.keyLayer(t, key, nil))
		again := r.push(t, "app") // the tag moves
		again.wantRefused(t, nil, "no signatures found for image", signer)
		digest, err := verify1(t, nil, r.host+"/app:1.0@"+image.digest.String(), signer)
		if err != nil || digest != image.digest.String() {
			t.Errorf("Verify by digest = %q, %v", digest, err)
		}
	})
}

// counter counts what is written.
type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) { c.n.Add(int64(len(p))); return len(p), nil }

// TestEndlessManifests reads as much of a manifest as there may be, and no more.
func TestEndlessManifests(t *testing.T) {
	key := newECDSA(t, elliptic.P256())
	for path, want := range map[string]string{
		"/manifests/1.0": "image ", ".sig": "failed to get image trusted layers: tag ", "/referrers/": "missing signatures",
	} {
		t.Run(path, func(t *testing.T) {
			r := newSigningRegistry(t)
			image := r.push(t, "app")
			image.attach(t, image.keyLayer(t, newECDSA(t, elliptic.P256()), nil))
			var sent atomic.Int64
			r.intercept = func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.Contains(req.URL.Path, path) {
					return false
				}
				w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
				_, _ = io.Copy(io.MultiWriter(w, counter{&sent}), io.LimitReader(zeros{}, 1<<30))
				return true
			}
			_, err := verify1(t, nil, image.ref, Signer{PublicKey: publicPEM(t, key)})
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "the registry sends more than 4194304 bytes") {
				t.Errorf("Verify: %v\nwant %q", err, want)
			}
			if n := sent.Load(); n > 32<<20 { // what is on its way when the connection is cut
				t.Errorf("%d bytes were sent", n)
			}
		})
	}
}

// TestRegistryWithoutReferrers verifies in a registry that knows nothing of
// referrers and says so in its own way.
func TestRegistryWithoutReferrers(t *testing.T) {
	key := newECDSA(t, elliptic.P256())
	for _, code := range []int{400, 404, 405, 406, 501} {
		r := newSigningRegistry(t)
		image := r.push(t, "app")
		r.intercept = func(w http.ResponseWriter, req *http.Request) bool {
			if strings.Contains(req.URL.Path, "/referrers/") {
				w.WriteHeader(code)
				return true
			}
			return false
		}
		image.wantRefused(t, nil, "no signatures found for image: "+image.ref+" ", Signer{PublicKey: publicPEM(t, key)})
		image.attach(t, image.keyLayer(t, key, nil))
		image.wantVerified(t, nil, Signer{PublicKey: publicPEM(t, key)})
	}
}

// TestSignaturesAreReadWhenNeeded counts what is asked of the registry.
func TestSignaturesAreReadWhenNeeded(t *testing.T) {
	r := newSigningRegistry(t)
	key := newECDSA(t, elliptic.P256())
	image := r.push(t, "app")
	layers := []layer{image.keyLayer(t, key, nil)}
	for range 20 {
		layers = append(layers, image.keyLayer(t, newECDSA(t, elliptic.P256()), map[string]any{"n": len(layers)}))
	}
	image.attach(t, layers...)
	before := r.requests.Load()
	image.wantVerified(t, nil, Signer{PublicKey: publicPEM(t, key)})
	if n := r.requests.Load() - before; n > 8 { // a ping, and one for manifest, signatures and payload each
		t.Errorf("%d requests to verify the first of %d signatures", n, len(layers))
	}
}

func TestContext(t *testing.T) {
	r := newSigningRegistry(t)
	key := newECDSA(t, elliptic.P256())
	image := r.push(t, "app")
	l := image.keyLayer(t, key, nil)
	image.attach(t, l)
	gone := errors.New("the webhook has given up")
	ctx, cancel := context.WithCancelCause(context.Background())
	var once sync.Once
	r.intercept = func(_ http.ResponseWriter, req *http.Request) bool {
		if !strings.Contains(req.URL.Path, "/blobs/") {
			return false
		}
		once.Do(func() { cancel(gone) })
		<-req.Context().Done()
		return true
	}
	_, err := NewVerifier(VerifierOptions{}).Verify(ctx, image.ref, []Signer{{PublicKey: publicPEM(t, key)}})
	if !errors.Is(err, gone) && !errors.Is(err, context.Canceled) {
		t.Errorf("Verify: %v, want that the context is done", err)
	}
	var refused *VerifyError
	if errors.As(err, &refused) {
		t.Errorf("Verify: %v is a verdict on the signatures", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := newSigstore(t)
	r := newSigningRegistry(t)
	image := r.push(t, "app")
	image.attach(t, s.keylessLayer(t, image, leafOptions{}, nil))
	v := NewVerifier(VerifierOptions{TrustRoot: s.trustRoot(t)})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := v.Verify(context.Background(), image.ref, []Signer{{Identity: &Identity{someIssuer, someSubject}}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
