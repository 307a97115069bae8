package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Bounds on what is read on behalf of one image. Whoever may push to the
// repository writes all of it.
const (
	// maxManifestBytes bounds a manifest. Registries take 4 MiB.
	// Source: distribution-spec, "Pushing Manifests".
	maxManifestBytes = 4 << 20
	// maxPayloadBytes bounds a simple-signing payload, which has 250 bytes and
	// the annotations of its signer.
	maxPayloadBytes = 256 << 10
	// maxBundleBytes bounds a Sigstore bundle; one of cosign sign has 10 KiB.
	maxBundleBytes = 1 << 20
	// maxSignatures bounds the signatures of an image, of each format.
	maxSignatures = 200
)

// signedImage is an image whose signatures are asked for.
type signedImage struct {
	ref      name.Reference
	digest   v1.Hash
	manifest []byte
	options  []remote.Option
}

// resolve gets the manifest of the image, and with it the digest that
// signatures are about.
func (v *Verifier) resolve(ctx context.Context, image string) (*signedImage, error) {
	ref, err := parseImage(image)
	if err != nil {
		return nil, err
	}
	opts, err := v.reach.options(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", image, err)
	}
	manifest, err := getManifest(ref, opts)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", fullName(ref), err)
	}
	return &signedImage{ref: ref, digest: manifest.digest, manifest: manifest.raw, options: opts}, nil
}

// parseImage reads a reference as Docker has them.
func parseImage(image string) (name.Reference, error) {
	image = strings.TrimPrefix(image, "registry://")
	ref, err := name.ParseReference(image)
	if err == nil && strings.Contains(image, "://") {
		err = fmt.Errorf("%q is not in a registry", image) // the parser takes file: for a host
	}
	if err != nil {
		return nil, &SignerError{Problem: "Verification only works with OCI images: Not a valid oci image: " + err.Error(), Err: err}
	}
	return ref, nil
}

// fullName is the reference in full, with Docker's registry as people know it.
func fullName(ref name.Reference) string {
	full := ref.Name()
	if rest, ok := strings.CutPrefix(full, name.DefaultRegistry+"/"); ok {
		return "docker.io/" + rest
	}
	return full
}

func (s *signedImage) name() string { return fullName(s.ref) }

// rawManifest is a manifest or an index, and its digest, which is computed.
type rawManifest struct {
	raw    []byte
	digest v1.Hash
}

func getManifest(ref name.Reference, opts []remote.Option) (rawManifest, error) {
	desc, err := remote.Get(ref, opts...)
	if err != nil {
		return rawManifest{}, err
	}
	if len(desc.Manifest) > maxManifestBytes {
		return rawManifest{}, fmt.Errorf("its manifest has %d bytes; at most %d are read", len(desc.Manifest), maxManifestBytes)
	}
	digest := sha256Of(desc.Manifest)
	if d, ok := ref.(name.Digest); ok && d.DigestStr() != digest.String() {
		return rawManifest{}, fmt.Errorf("the registry sent a manifest with the digest %s", digest)
	}
	return rawManifest{desc.Manifest, digest}, nil
}

func sha256Of(data []byte) v1.Hash {
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// signatures yields the signatures of the image one by one, reading each when
// it is asked for: in the tag of simple signing first, then the bundles that
// refer to the image. An error is about one signature, or about one of the two
// places; then the evidence has nothing but its source.
func (s *signedImage) signatures(ctx context.Context) iter.Seq2[*evidence, error] {
	return func(yield func(*evidence, error) bool) {
		for _, place := range []iter.Seq2[*evidence, error]{s.simpleSignings, s.bundles} {
			for e, err := range place {
				if ctx.Err() != nil || !yield(e, err) {
					return
				}
			}
		}
	}
}

// signatureTag is where cosign keeps the simple signings of a digest.
func signatureTag(repo name.Repository, digest v1.Hash) name.Tag {
	return repo.Tag(digest.Algorithm + "-" + digest.Hex + ".sig")
}

func (s *signedImage) simpleSignings(yield func(*evidence, error) bool) {
	tag := signatureTag(s.ref.Context(), s.digest)
	failed := func(err error) { yield(&evidence{source: "tag " + tag.TagStr()}, err) }
	manifest, err := getManifest(tag, s.options)
	if err != nil {
		if !isNotFound(err) {
			failed(err)
		}
		return
	}
	image, err := v1.ParseManifest(bytes.NewReader(manifest.raw))
	if err != nil {
		failed(err)
		return
	}
	if len(image.Layers) > maxSignatures {
		failed(fmt.Errorf("it has %d signatures; at most %d are read", len(image.Layers), maxSignatures))
		return
	}
	for _, layer := range image.Layers {
		if layer.MediaType != simpleSigningType {
			continue
		}
		e, err := s.simpleSigning(layer)
		if !yield(e, err) {
			return
		}
	}
}

func (s *signedImage) simpleSigning(layer v1.Descriptor) (*evidence, error) {
	e := &evidence{source: "signature " + layer.Digest.String()}
	payload, err := s.blob(layer, maxPayloadBytes)
	if err != nil {
		return e, err
	}
	return e, e.simpleSigning(payload, layer.Annotations, s.digest)
}

// bundles yields the bundles that refer to the image, by the referrers API of
// the registry or by the tag that stands in for it.
func (s *signedImage) bundles(yield func(*evidence, error) bool) {
	failed := func(err error) { yield(&evidence{source: "referrers of " + s.digest.String()}, err) }
	index, err := remote.Referrers(s.ref.Context().Digest(s.digest.String()), s.options...)
	if err != nil {
		if !hasStatus(err, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented) {
			failed(err)
		}
		return
	}
	list, err := index.IndexManifest()
	if err != nil {
		failed(err)
		return
	}
	n := 0
	for _, referrer := range list.Manifests {
		if !mayBeBundle(referrer.ArtifactType) {
			continue
		}
		if n++; n > maxSignatures {
			failed(fmt.Errorf("they are more than %d bundles; the others are not read", maxSignatures))
			return
		}
		e, err := s.bundle(referrer)
		if e != nil && !yield(e, err) {
			return
		}
	}
}

// mayBeBundle reports whether a list of referrers does not rule out that one is
// a bundle: registries that know less say the type of the configuration, which
// is empty.
func mayBeBundle(artifactType string) bool {
	return strings.HasPrefix(artifactType, bundleType) || artifactType == "" || artifactType == "application/vnd.oci.empty.v1+json"
}

// bundle reads the bundle of a referrer; nil is one that is no signature and
// says so.
func (s *signedImage) bundle(referrer v1.Descriptor) (*evidence, error) {
	e := &evidence{source: "bundle " + referrer.Digest.String()}
	manifest, err := getManifest(s.ref.Context().Digest(referrer.Digest.String()), s.options)
	if err != nil {
		return e, err
	}
	var image struct {
		v1.Manifest
		ArtifactType string `json:"artifactType"`
	}
	if err := json.Unmarshal(manifest.raw, &image); err != nil {
		return e, fmt.Errorf("its manifest: %w", err)
	}
	predicate := image.Annotations[predicateAnnotation]
	if !strings.HasPrefix(image.ArtifactType, bundleType) || predicate != "" && predicate != signPredicate {
		return nil, nil // something else, or an attestation: a list of components, a scan
	}
	if len(image.Layers) != 1 || !strings.HasPrefix(string(image.Layers[0].MediaType), bundleType) {
		return e, errors.New("its manifest has not one layer that is a Sigstore bundle")
	}
	text, err := s.blob(image.Layers[0], maxBundleBytes)
	if err != nil {
		return e, err
	}
	return e, e.sigstoreBundle(text, s.manifest, s.digest)
}

// blob reads a blob of at most limit bytes, and holds it to its digest.
func (s *signedImage) blob(desc v1.Descriptor, limit int64) ([]byte, error) {
	if desc.Size < 0 || desc.Size > limit {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", desc.Size, limit)
	}
	if desc.Digest.Algorithm != "sha256" {
		return nil, fmt.Errorf("its digest %q is not of SHA-256", desc.Digest)
	}
	layer, err := remote.Layer(s.ref.Context().Digest(desc.Digest.String()), s.options...)
	if err != nil {
		return nil, err
	}
	r, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("it has more than the %d bytes that are read", limit)
	case sha256Of(data) != desc.Digest:
		return nil, fmt.Errorf("its content has the digest %s, not %s", sha256Of(data), desc.Digest)
	}
	return data, nil
}

func isNotFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

// hasStatus reports whether a registry has answered with one of the codes.
func hasStatus(err error, codes ...int) bool {
	var failure *transport.Error
	return errors.As(err, &failure) && slices.Contains(codes, failure.StatusCode)
}
