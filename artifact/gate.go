package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Verified is an image that is signed as it must be.
type Verified struct {
	// Digest is that of its manifest or index, sha256:HEX.
	Digest string
	// Stale, when not nil, is why the signatures could not be read: they were
	// verified before, for the same signers.
	Stale error
}

// Gate lets through what is signed as a VerificationConfig wants. It is safe for
// concurrent use.
type Gate struct {
	Verifier *Verifier
	Config   VerificationConfig
	// Store keeps what was verified, so that a registry that is away does not
	// take away what it had vouched for. Nil keeps nothing.
	Store *Store
}

// Verify returns what image is, when it is signed as it must be. When the
// registry cannot answer, that is the digest that was verified last for this
// image, by the same configuration and trust root. The errors are those of
// Verifier.Verify, and ErrUnavailable when it is open whether it is signed.
func (g *Gate) Verify(ctx context.Context, image string) (Verified, error) {
	digest, err := g.Verifier.VerifyConfig(ctx, image, g.Config)
	if err == nil {
		if g.Store != nil {
			err = g.Store.keepVerified(g.key(image), digest)
		}
		if err != nil { // what was verified is verified, whether or not it can be written down
			g.Verifier.log.Warn("verification not kept: it has to be repeated where the registry is away", "image", image, "error", err)
		}
		return Verified{Digest: digest}, nil
	}
	if !isOpen(err) {
		return Verified{}, err
	}
	err = classify(err)
	if !errors.Is(err, ErrUnavailable) {
		err = &kindError{ErrUnavailable, err}
	}
	if g.Store != nil && ctx.Err() == nil {
		if digest := g.Store.verified(g.key(image)); digest != "" {
			return Verified{Digest: digest, Stale: err}, nil
		}
	}
	return Verified{}, err
}

// isOpen reports whether an error of a Verifier leaves open whether the image is
// signed: something that could make the difference was not to be read.
func isOpen(err error) bool {
	var unsigned *VerifyError
	if !errors.As(err, &unsigned) {
		return errors.Is(classify(err), ErrUnavailable)
	}
	for _, r := range unsigned.Rejected {
		if errors.Is(classify(r.Reason), ErrUnavailable) {
			return true
		}
	}
	return false
}

// key is the name of what was verified: an image by whom it must be signed, and
// by whom that is vouched for.
func (g *Gate) key(image string) string {
	config, err := json.Marshal(g.Config)
	if err != nil {
		config = fmt.Append(nil, err) // a test shows that there is none
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", image, g.Verifier.trust, config))
	return hex.EncodeToString(sum[:])
}

// keepVerified writes down what was verified.
func (s *Store) keepVerified(key, digest string) error {
	if s.verified(key) == digest {
		return nil
	}
	unlock, err := s.prepare(lockShared)
	if err != nil {
		return err
	}
	defer unlock()
	return s.write(s.own("verified", key), []byte(digest))
}

// verified is what was verified under that key, "" for nothing.
func (s *Store) verified(key string) string {
	text, err := os.ReadFile(s.own("verified", key))
	if digest := strings.TrimSpace(string(text)); err == nil && isSHA256(digest) {
		return digest
	}
	return ""
}
