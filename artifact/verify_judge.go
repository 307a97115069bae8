package artifact

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// judge reports why the signature does not satisfy the constraint.
func (v *Verifier) judge(ctx context.Context, c *constraint, e *evidence) (err error) {
	defer func() {
		// What is judged here was written by strangers and is decoded by
		// many libraries; one bad signature must not end the process.
		if r := recover(); r != nil {
			err = fmt.Errorf("it cannot be judged: %v", r)
		}
	}()
	var annotations map[string]any
	switch {
	case c.signer.Certificate != nil:
		annotations, err = v.byCertificate(ctx, c, e)
	case c.keys != nil:
		annotations, err = byKey(c.keys, e)
	default:
		annotations, err = v.keyless(ctx, c, e)
	}
	if err != nil {
		return err
	}
	return satisfies(annotations, c.signer.Annotations)
}

// byKey verifies the signature with a key, which has several verifiers when
// signatures of more than one hash are in use. It returns the annotations that
// were signed.
func byKey(keys []signature.Verifier, e *evidence) (map[string]any, error) {
	const hint = "the signer's key"
	b, err := bundle.NewBundle(&protobundle.Bundle{
		MediaType: bundleTypeV3,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: hint}},
		},
		Content: e.bundle.Content,
	})
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		material := root.NewTrustedPublicKeyMaterialFromMapping(map[string]*root.ExpiringKey{
			hint: root.NewExpiringKey(key, time.Time{}, time.Time{}),
		})
		verifier, newErr := verify.NewVerifier(material, verify.WithNoObserverTimestamps())
		if newErr != nil {
			return nil, newErr
		}
		var result *verify.VerificationResult
		if result, err = verifier.Verify(b, verify.NewPolicy(e.artifact(), verify.WithKey())); err == nil {
			return e.signed(result)
		}
	}
	return nil, fmt.Errorf("the key has not made it: %w", err)
}

// artifact is what the signature must be of: the message, or a statement about
// the image.
func (e *evidence) artifact() verify.ArtifactPolicyOption {
	if e.message != nil {
		return verify.WithArtifact(bytes.NewReader(e.message))
	}
	digest, err := hex.DecodeString(e.image.Hex)
	if err != nil {
		digest = nil // which no statement is about
	}
	return verify.WithArtifactDigest(e.image.Algorithm, digest)
}

// signed returns the annotations of a verified signature. A statement must say
// that the image is signed: whoever attests that it has a hundred known
// vulnerabilities has not signed it.
func (e *evidence) signed(result *verify.VerificationResult) (map[string]any, error) {
	if e.message != nil {
		return e.optional, nil
	}
	if have := result.Statement.GetPredicateType(); have != signPredicate {
		return nil, fmt.Errorf("it attests something of the image, %q, and does not sign it", have)
	}
	for _, subject := range result.Statement.GetSubject() {
		if subject.GetDigest()[e.image.Algorithm] == e.image.Hex {
			return subject.GetAnnotations().AsMap(), nil
		}
	}
	return nil, errors.New("its statement is not about the image")
}

// keyless verifies a signature whose certificate says who has signed.
func (v *Verifier) keyless(ctx context.Context, c *constraint, e *evidence) (map[string]any, error) {
	if e.identity == nil && e.failed == nil {
		e.identity, e.failed = v.identify(ctx, e)
	}
	if e.failed != nil {
		return nil, e.failed
	}
	if err := c.matches(e.identity); err != nil {
		return nil, err
	}
	return e.identity.annotations, nil
}

// identify returns who has signed. The signature must be of the image, and made
// with the key of a certificate that one of the trust root's authorities has
// issued and that was valid then; when that was, a transparency log or a
// timestamp authority of the trust root says; and the log's entry must be about
// this signature, this certificate and this payload.
func (v *Verifier) identify(ctx context.Context, e *evidence) (*identity, error) {
	der := e.certificate()
	if der == nil {
		return nil, errors.New("it has no certificate")
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("its certificate: %w", err)
	}
	who, err := identityOf(leaf)
	if err != nil {
		return nil, fmt.Errorf("its certificate: %w", err)
	}
	material, err := v.trust.material(ctx)
	if err != nil {
		return nil, err
	}
	b, err := bundle.NewBundle(e.bundle)
	if err != nil {
		return nil, err
	}
	opts := []verify.VerifierOption{verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1)}
	if len(material.CTLogs()) > 0 {
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	verifier, err := verify.NewVerifier(material, opts...)
	if err != nil {
		return nil, err
	}
	// Who has signed is compared by us: the prefixes of Kubewarden's are not
	// among what the library knows.
	result, err := verifier.Verify(oneHash{b}, verify.NewPolicy(e.artifact(), verify.WithoutIdentitiesUnsafe()))
	if err != nil {
		return nil, err
	}
	if who.annotations, err = e.signed(result); err != nil {
		return nil, err
	}
	return who, nil
}

// oneHash is a bundle of no version that the library knows to be old. With an old
// one it tries signatures of larger curves with SHA-256 too, and tells so to the
// standard error of the process. Kubewarden's verifier has never taken them.
type oneHash struct{ *bundle.Bundle }

// Version implements verify.VersionProvider.
func (oneHash) Version() (string, error) { return "", nil }

// byCertificate verifies the signature with the key of the signer's own
// certificate. The library has no such case, because the certificate is trusted
// as it stands; what it has, signatures and entries in logs, is used.
func (v *Verifier) byCertificate(ctx context.Context, c *constraint, e *evidence) (map[string]any, error) {
	annotations, err := byKey(c.keys, e)
	if err != nil {
		return nil, err
	}
	logged, err := v.loggedAt(ctx, c, e)
	if err != nil {
		return nil, err
	}
	return annotations, c.trusts(logged, time.Now())
}

// loggedAt returns when a transparency log has seen the signature, by the
// signer's certificate; the zero time when no log says.
func (v *Verifier) loggedAt(ctx context.Context, c *constraint, e *evidence) (time.Time, error) {
	required := c.signer.Certificate.RequireRekor
	entries := e.bundle.GetVerificationMaterial().GetTlogEntries()
	if len(entries) == 0 {
		if required {
			return time.Time{}, errors.New("it is in no transparency log, which the signer requires")
		}
		return time.Time{}, nil
	}
	for _, entry := range entries {
		if at := entry.GetIntegratedTime(); at != 0 && !validAt(c.cert, time.Unix(at, 0)) {
			return time.Time{}, errors.New("its transparency log has seen it when the certificate was not valid")
		}
	}
	material, err := v.trust.material(ctx)
	if err != nil {
		if required {
			return time.Time{}, err
		}
		return time.Time{}, nil // as if there were no entry, which would do
	}
	// The entry names the certificate, or its bare key.
	hint := "the certificate's key"
	key := root.NewTrustedPublicKeyMaterialFromMapping(map[string]*root.ExpiringKey{
		hint: root.NewExpiringKey(c.keys[0], c.cert.NotBefore, c.cert.NotAfter),
	})
	var times []root.Timestamp
	for _, m := range []*protobundle.VerificationMaterial{
		{Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: hint}}},
		{Content: &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: c.cert.Raw}}},
	} {
		m.TlogEntries = entries
		b, newErr := bundle.NewBundle(&protobundle.Bundle{
			MediaType: e.bundle.GetMediaType(), VerificationMaterial: m, Content: e.bundle.Content,
		})
		if newErr != nil {
			return time.Time{}, newErr
		}
		if times, err = verify.VerifyTlogEntry(b, root.TrustedMaterialCollection{material, key}, 1, true); err == nil {
			break
		}
	}
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("its transparency log: %w", err)
	case len(times) == 0:
		return time.Time{}, nil
	}
	return times[0].Time, nil
}
