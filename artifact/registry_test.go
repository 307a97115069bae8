package artifact

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// signingRegistry is a real registry over HTTP, without a log.
type signingRegistry struct {
	host     string
	requests atomic.Int64
	// intercept answers a request itself when it returns true.
	intercept func(http.ResponseWriter, *http.Request) bool
}

func newSigningRegistry(t testing.TB, opts ...registry.Option) *signingRegistry {
	t.Helper()
	r := &signingRegistry{}
	real := registry.New(append(opts, registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)))...)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		if r.intercept == nil || !r.intercept(w, req) {
			real.ServeHTTP(w, req)
		}
	}))
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// pushed is an image in a registry.
type pushed struct {
	ref      string
	tag      name.Tag
	digest   v1.Hash
	manifest []byte
}

func (r *signingRegistry) push(t testing.TB, repository string) pushed {
	t.Helper()
	ref := r.host + "/" + repository + ":1.0"
	tag := must(name.NewTag(ref))(t)
	image := must(random.Image(64, 1))(t)
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	return pushed{ref: ref, tag: tag, digest: must(image.Digest())(t), manifest: must(image.RawManifest())(t)}
}

func (p pushed) sigTag() name.Tag { return signatureTag(p.tag.Context(), p.digest) }

// layer is a simple signing as it is pushed.
type layer struct {
	payload     []byte
	annotations map[string]string
}

// simplePayload is what is signed about the image.
func simplePayload(t testing.TB, digest string, optional any) []byte {
	t.Helper()
	return must(json.Marshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]any{"docker-reference": "example.org/acme/app"},
			"image":    map[string]any{"docker-manifest-digest": digest},
			"type":     "cosign container image signature",
		},
		"optional": optional,
	}))(t)
}

// keyLayer signs the image with a key.
func (p pushed) keyLayer(t testing.TB, key crypto.Signer, optional any) layer {
	t.Helper()
	text := simplePayload(t, p.digest.String(), optional)
	return layer{text, map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(sign(t, key, text))}}
}

// with returns the layer with one annotation changed, "" for none.
func (l layer) with(key, value string) layer {
	l.annotations = maps.Clone(l.annotations)
	if l.annotations[key] = value; value == "" {
		delete(l.annotations, key)
	}
	return l
}

// attach pushes the layers as the signatures of the image.
func (p pushed) attach(t testing.TB, layers ...layer) {
	t.Helper()
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range layers {
		image = must(mutate.Append(image, mutate.Addendum{
			Layer: static.NewLayer(l.payload, simpleSigningType), Annotations: l.annotations,
		}))(t)
	}
	if err := remote.Write(p.sigTag(), image); err != nil {
		t.Fatal(err)
	}
}

// refer pushes a bundle that refers to the image.
func (p pushed) refer(t testing.TB, bundle []byte) {
	t.Helper()
	layer := static.NewLayer(bundle, bundleTypeV3)
	config := static.NewLayer([]byte("{}"), "application/vnd.oci.empty.v1+json")
	for _, blob := range []v1.Layer{layer, config} {
		if err := remote.WriteLayer(p.tag.Context(), blob); err != nil {
			t.Fatal(err)
		}
	}
	manifest := must(json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": types.OCIManifestSchema1, "artifactType": bundleTypeV3,
		"config":  map[string]any{"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256Of([]byte("{}")).String(), "size": 2},
		"layers":  []any{map[string]any{"mediaType": bundleTypeV3, "digest": sha256Of(bundle).String(), "size": len(bundle)}},
		"subject": map[string]any{"mediaType": types.DockerManifestSchema2, "digest": p.digest.String(), "size": len(p.manifest)},
	}))(t)
	p.putReferrer(t, manifest)
}

// putReferrer pushes a manifest that refers to the image.
func (p pushed) putReferrer(t testing.TB, manifest []byte) {
	t.Helper()
	digest := p.tag.Context().Digest(sha256Of(manifest).String())
	if err := remote.Put(digest, rawManifestOf{manifest}); err != nil {
		t.Fatal(err)
	}
}

// rawManifestOf is a manifest as it is sent.
type rawManifestOf struct{ text []byte }

func (m rawManifestOf) RawManifest() ([]byte, error) { return m.text, nil }
func (m rawManifestOf) MediaType() (types.MediaType, error) {
	return types.OCIManifestSchema1, nil
}

// verify1 verifies the image with the trust root.
func verify1(t testing.TB, trust *TrustRoot, image string, signers ...Signer) (string, error) {
	t.Helper()
	return NewVerifier(VerifierOptions{TrustRoot: trust}).Verify(context.Background(), image, signers)
}

// wantVerified fails the test unless the image is verified.
func (p pushed) wantVerified(t testing.TB, trust *TrustRoot, signers ...Signer) {
	t.Helper()
	digest, err := verify1(t, trust, p.ref, signers...)
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	if digest != p.digest.String() {
		t.Fatalf("Verify = %s, want %s", digest, p.digest)
	}
}

// wantRefused fails the test unless the image is refused for the reason.
func (p pushed) wantRefused(t testing.TB, trust *TrustRoot, reason string, signers ...Signer) {
	t.Helper()
	digest, err := verify1(t, trust, p.ref, signers...)
	if err == nil || digest != "" {
		t.Fatalf("Verify = %q, %v, want an error with %q", digest, err, reason)
	}
	if !strings.Contains(err.Error(), reason) {
		t.Fatalf("Verify: %v\nwant %q", err, reason)
	}
}
