package artifact

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
)

// VerifierOptions are what a Verifier needs. The zero value verifies keys and
// certificates, and nothing that needs a trust root.
type VerifierOptions struct {
	// Reach says how registries are reached. Default: as the Docker
	// configuration says.
	Reach Reach
	// TrustRoot is whom keyless signatures are trusted from. Without one they
	// do not count.
	TrustRoot *TrustRoot
	// Log gets what does not end up in an error. Default: nowhere.
	Log *slog.Logger
}

// Verifier says whether an image was signed by whom it must be. It reads both
// formats that cosign writes: simple signing, in the tag sha256-<hex>.sig, and
// Sigstore bundles, which refer to the image. It is safe for concurrent use and
// remembers nothing but the trust root.
type Verifier struct {
	reach Reach
	trust *TrustRoot
	log   *slog.Logger
}

// NewVerifier returns a Verifier.
func NewVerifier(o VerifierOptions) *Verifier {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Verifier{reach: o.Reach, trust: o.TrustRoot, log: o.Log}
}

// Verify returns the digest of the image's manifest or index when every one of
// signers is satisfied by at least one signature; a signer's annotations must
// be in that same signature. The image is a reference as Docker's are, with or
// without registry:// in front.
//
// The error is *SignerError when one of signers cannot be used, *VerifyError
// when the image is not signed as it must be, and otherwise what kept the
// signatures from being read.
func (v *Verifier) Verify(ctx context.Context, image string, signers []Signer) (digest string, err error) {
	if len(signers) == 0 {
		return "", &SignerError{Problem: nothingToVerify}
	}
	constraints := make([]*constraint, len(signers))
	for i, s := range signers {
		if constraints[i], err = newConstraint(s); err != nil {
			return "", err
		}
	}
	found, err := v.search(ctx, image, constraints, all)
	if err != nil {
		return "", err
	}
	if all(found.satisfied) {
		return found.image.digest.String(), nil
	}
	return "", found.missing(missingSignatures, constraints, found.satisfied)
}

// Texts of Kubewarden's, which its users know.
const (
	nothingToVerify   = "Image verification failed: no signatures to verify"
	missingSignatures = "Image verification failed: missing signatures"
)

// VerifyConfig returns the digest of the image's manifest or index when it is
// signed as config wants it: by every signer of AllOf, and by enough of AnyOf.
// A signer that cannot be used, because its key is none, is not satisfied. The
// errors are those of Verify.
func (v *Verifier) VerifyConfig(ctx context.Context, image string, config VerificationConfig) (digest string, err error) {
	if len(config.AllOf) == 0 && config.AnyOf == nil {
		return "", &SignerError{Problem: nothingToVerify}
	}
	signers, minimum := slices.Clone(config.AllOf), 0
	if config.AnyOf != nil {
		signers, minimum = append(signers, config.AnyOf.Signers...), max(config.AnyOf.MinimumMatches, 1)
	}
	constraints := make([]*constraint, len(signers))
	for i, s := range signers {
		c, err := newConstraint(s)
		if err != nil {
			v.log.Info("a signer of the verification configuration cannot be used, and so is not satisfied", "error", err)
			c = &constraint{signer: s, unusable: err}
		}
		constraints[i] = c
	}
	split := len(config.AllOf)
	found, err := v.search(ctx, image, constraints, func(satisfied []bool) bool {
		return all(satisfied[:split]) && count(satisfied[split:]) >= minimum
	})
	if err != nil {
		return "", err
	}
	if !all(found.satisfied[:split]) {
		return "", found.missing(missingSignatures, constraints[:split], found.satisfied[:split])
	}
	if have := count(found.satisfied[split:]); have < minimum {
		problem := fmt.Sprintf("Image verification failed: minimum number of signatures not reached: needed %d, got %d", minimum, have)
		return "", found.missing(problem, constraints[split:], found.satisfied[split:])
	}
	return found.image.digest.String(), nil
}

func all(satisfied []bool) bool { return count(satisfied) == len(satisfied) }

func count(satisfied []bool) (n int) {
	for _, ok := range satisfied {
		if ok {
			n++
		}
	}
	return n
}

// found is what was found out about the signatures of an image.
type found struct {
	image     *signedImage
	satisfied []bool // by constraint
	rejected  []Rejection
	judged    int        // signatures
	unread    *Rejection // the first signature that is in no form to be judged
}

// search judges the signatures of the image, one after the other, until there
// are enough.
func (v *Verifier) search(ctx context.Context, image string, constraints []*constraint, enough func([]bool) bool) (*found, error) {
	signed, err := v.resolve(ctx, image)
	if err != nil {
		return nil, err
	}
	f := &found{image: signed, satisfied: make([]bool, len(constraints))}
	for i, c := range constraints {
		if c.unusable != nil {
			f.reject(fmt.Sprintf("signer %d", i+1), c.unusable)
		}
	}
	for e, err := range signed.signatures(ctx) {
		if err != nil {
			f.reject(e.source, err)
			if f.unread == nil {
				f.unread = &Rejection{Signature: e.source, Reason: err}
			}
			continue
		}
		f.judged++
		v.judgeAll(ctx, constraints, e, f)
		if enough(f.satisfied) {
			return f, nil
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("image %q: %w", signed.name(), context.Cause(ctx))
	case f.judged > 0:
		return f, nil
	case f.unread != nil:
		return nil, &VerifyError{Image: signed.name(), Rejected: f.rejected,
			Problem: fmt.Sprintf("failed to get image trusted layers: %s", f.unread)}
	}
	return nil, &VerifyError{Image: signed.name(), Problem: fmt.Sprintf("no signatures found for image: %s ", signed.name())}
}

// judgeAll notes which constraints the signature satisfies.
func (v *Verifier) judgeAll(ctx context.Context, constraints []*constraint, e *evidence, f *found) {
	for i, c := range constraints {
		if f.satisfied[i] || c.unusable != nil || ctx.Err() != nil {
			continue
		}
		if err := v.judge(ctx, c, e); err != nil {
			f.reject(e.source, err)
			continue
		}
		f.satisfied[i] = true
	}
}

// reject notes why a signature does not count, once: constraints fail for the
// same reason more often than not.
func (f *found) reject(signature string, reason error) {
	same := func(r Rejection) bool { return r.Signature == signature && r.Reason.Error() == reason.Error() }
	if len(f.rejected) < maxRejections && !slices.ContainsFunc(f.rejected, same) {
		f.rejected = append(f.rejected, Rejection{signature, reason})
	}
}

// missing is the error that names the constraints that are not satisfied.
func (f *found) missing(problem string, constraints []*constraint, satisfied []bool) error {
	err := &VerifyError{Image: f.image.name(), Digest: f.image.digest.String(), Problem: problem, Rejected: f.rejected}
	for i, c := range constraints {
		if !satisfied[i] {
			err.Unsatisfied = append(err.Unsatisfied, c.signer)
		}
	}
	return err
}
