package artifact

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/sigstore/pkg/signature"
	cosign "github.com/sigstore/sigstore/pkg/signature/payload"
)

// SignOptions are how an image is signed. The zero value works.
type SignOptions struct {
	// Annotations are signed too; a Signer can ask for them.
	Annotations map[string]string
	// Reach says how the registry is reached. Default: as the Docker
	// configuration says.
	Reach Reach
}

// Sign signs the manifest or index that the reference has now, with a key, in
// cosign's format of simple signing: a layer is added to the image with the tag
// sha256-<hex>.sig beside it, and what others have signed stays. It returns the
// digest that was signed. An image that the key has signed before with the same
// annotations is left as it is.
//
// Nothing is written to a transparency log. Two who sign the same image at the
// same moment may lose one of the two signatures, as with cosign.
func Sign(ctx context.Context, image string, key crypto.Signer, o SignOptions) (digest string, err error) {
	if err := checkKey(key.Public()); err != nil {
		return "", fmt.Errorf("key: %w", err)
	}
	signed, err := (&Verifier{reach: o.Reach}).resolve(ctx, image)
	if err != nil {
		return "", err
	}
	fail := func(err error) (string, error) { return "", fmt.Errorf("image %q: %w", signed.name(), err) }
	text, err := payloadOf(signed, o.Annotations)
	if err != nil {
		return fail(err)
	}
	base, err := signed.signatureImage()
	if err != nil {
		return fail(err)
	}
	if done, err := hasSigned(base, text, key.Public()); done || err != nil {
		if err != nil {
			return fail(err)
		}
		return signed.digest.String(), nil
	}
	signer, err := signature.LoadSigner(key, hashOf(key.Public()))
	if err != nil {
		return fail(err)
	}
	sig, err := signer.SignMessage(bytes.NewReader(text))
	if err != nil {
		return fail(err)
	}
	added, err := mutate.Append(base, mutate.Addendum{
		Layer:       static.NewLayer(text, simpleSigningType),
		Annotations: map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(sig)},
	})
	if err != nil {
		return fail(err)
	}
	if err := remote.Write(signatureTag(signed.ref.Context(), signed.digest), added, signed.options...); err != nil {
		return fail(fmt.Errorf("signature: %w", err))
	}
	return signed.digest.String(), nil
}

// payloadOf is what is signed.
func payloadOf(signed *signedImage, annotations map[string]string) ([]byte, error) {
	p := cosign.Cosign{Image: signed.ref.Context().Digest(signed.digest.String())}
	for key, value := range annotations {
		if p.Annotations == nil {
			p.Annotations = map[string]any{}
		}
		p.Annotations[key] = value
	}
	return json.Marshal(p)
}

// signatureImage is the image that has the signatures so far, or an empty one.
func (s *signedImage) signatureImage() (v1.Image, error) {
	tag := signatureTag(s.ref.Context(), s.digest)
	image, err := remote.Image(tag, s.options...)
	switch {
	case isNotFound(err):
		base := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
		return mutate.ConfigMediaType(base, types.OCIConfigJSON), nil
	case err != nil:
		return nil, fmt.Errorf("tag %s: %w", tag.TagStr(), err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, fmt.Errorf("tag %s: %w", tag.TagStr(), err)
	}
	if have := len(manifest.Layers); have >= maxSignatures {
		return nil, fmt.Errorf("tag %s: it has %d signatures; more than %d are not read", tag.TagStr(), have, maxSignatures)
	}
	return image, nil
}

// hasSigned reports whether the image of signatures has one of the payload that
// the key has made.
func hasSigned(image v1.Image, text []byte, key crypto.PublicKey) (bool, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return false, err
	}
	verifiers, err := verifiersOf(key)
	if err != nil {
		return false, err
	}
	for _, layer := range manifest.Layers {
		if layer.Digest != sha256Of(text) {
			continue
		}
		sig, err := base64.StdEncoding.DecodeString(layer.Annotations[signatureAnnotation])
		if err == nil && verifiers[0].VerifySignature(bytes.NewReader(sig), bytes.NewReader(text)) == nil {
			return true, nil
		}
	}
	return false, nil
}
