package artifact

import (
	"context"
	"os"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
)

// TestPublicSigstore judges what the public Sigstore has really made: the
// provenance of an npm package. All of its cryptography is good (certificate,
// certificate log, entry in Rekor, signature); it is refused because it says
// where the package comes from, and not that somebody signs it. The files are
// public; these copies are from github.com/sigstore/sigstore-go, pkg/testing/data.
func TestPublicSigstore(t *testing.T) {
	v := NewVerifier(VerifierOptions{TrustRoot: must(ReadTrustRoot("testdata/sigstore/trusted_root.json", ""))(t)})
	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(must(os.ReadFile("testdata/sigstore/provenance.sigstore.json"))(t)); err != nil {
		t.Fatal(err)
	}
	statement := must(must(b.Envelope())(t).Statement())(t)
	c := must(newConstraint(Signer{GitHub: &GitHub{Owner: "sigstore", Repo: "sigstore-js"}}))(t)
	e := &evidence{bundle: b.Bundle, image: v1.Hash{Algorithm: "sha512", Hex: statement.GetSubject()[0].GetDigest()["sha512"]}}
	if err := v.judge(context.Background(), c, e); err == nil || !strings.HasPrefix(err.Error(), `it attests something of the image, "https://slsa.dev/provenance/v1"`) {
		t.Errorf("judge: %v", err)
	}
	who, err := identityOf(must(must(b.VerificationContent())(t).Certificate(), nil)(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.matches(who); err != nil {
		t.Errorf("matches: %v", err)
	}
	// The same for a package of another digest, and with a byte of the
	// statement changed, is no good.
	other := &evidence{bundle: b.Bundle, image: v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("0", 128)}}
	if err := v.judge(context.Background(), c, other); err == nil || !strings.Contains(err.Error(), "does not match any digest in statement") {
		t.Errorf("judge of another package: %v", err)
	}
	b.GetDsseEnvelope().Payload[10] ^= 1
	changed := &evidence{bundle: b.Bundle, image: e.image}
	if err := v.judge(context.Background(), c, changed); err == nil || strings.HasPrefix(err.Error(), "it attests") {
		t.Errorf("judge of a changed statement: %v", err)
	}
}
