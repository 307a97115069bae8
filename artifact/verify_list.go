package artifact

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
)

// FoundSignature is what a signature says of itself. Nothing of it is verified:
// whoever may push to the repository may write it.
type FoundSignature struct {
	// Source is where it is: "signature sha256:HEX" for a layer of simple
	// signing, "bundle sha256:HEX" for the manifest of a Sigstore bundle.
	Source string `json:"source"`
	// Issuer and Subject are those of the certificate that came with it; both
	// are empty where it was made with a key.
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	// Repository is that of a GitHub workflow, owner/repo.
	Repository string `json:"repository,omitempty"`
	// Annotations are what was signed beside the image, in a simple signing.
	Annotations map[string]string `json:"annotations,omitempty"`
	// Problem is why it cannot be read.
	Problem string `json:"problem,omitempty"`
}

// Signatures returns the digest of an image, and the signatures that are found
// for it in either format, without verifying any.
func (v *Verifier) Signatures(ctx context.Context, image string) (digest string, list []FoundSignature, err error) {
	signed, err := v.resolve(ctx, image)
	if err != nil {
		return "", nil, classify(err)
	}
	for e, err := range signed.signatures(ctx) {
		if errors.Is(classify(err), ErrUnavailable) {
			return "", nil, fmt.Errorf("%s: %w", e.source, classify(err))
		}
		list = append(list, describeEvidence(e, err))
	}
	if ctx.Err() != nil {
		return "", nil, fmt.Errorf("image %q: %w", signed.name(), context.Cause(ctx))
	}
	return signed.digest.String(), list, nil
}

// describeEvidence says what the evidence says, or why it could not be read.
func describeEvidence(e *evidence, unread error) (f FoundSignature) {
	f.Source = e.source
	defer func() {
		if r := recover(); r != nil { // as in judge: strangers wrote it
			f.Problem = fmt.Sprintf("it cannot be read: %v", r)
		}
	}()
	if unread != nil {
		f.Problem = unread.Error()
		return f
	}
	for key, value := range e.optional {
		if text, ok := annotationText(value); ok {
			if f.Annotations == nil {
				f.Annotations = map[string]string{}
			}
			f.Annotations[key] = text
		}
	}
	der := e.certificate()
	if der == nil {
		return f
	}
	cert, err := x509.ParseCertificate(der)
	var who *identity
	if err == nil {
		who, err = identityOf(cert)
	}
	if err != nil {
		f.Problem = "its certificate: " + err.Error()
		return f
	}
	f.Issuer, f.Subject, f.Repository = who.issuer, who.subject, who.repository
	return f
}
