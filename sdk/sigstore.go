package sdk

import "context"

// Trust is the answer to a signature verification that succeeded; one that did
// not is an error.
type Trust struct {
	Trusted bool   `json:"is_trusted"`
	Digest  string `json:"digest"` // sha256:<hex> of the image manifest or index
}

// Identity is a keyless signer: the subject as the issuer knows it.
type Identity struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// IdentityPrefix is a keyless signer whose subject starts with a URL.
type IdentityPrefix struct {
	Issuer    string `json:"issuer"`
	URLPrefix string `json:"url_prefix"`
}

// PubKeysQuery verifies an image with public keys (PEM). Every key must have
// signed.
type PubKeysQuery struct {
	Image       string            `json:"image"`
	PubKeys     []string          `json:"pub_keys"`
	Annotations map[string]string `json:"annotations"`
}

// KeylessQuery verifies an image with keyless identities. Each must have
// signed.
type KeylessQuery struct {
	Image       string            `json:"image"`
	Keyless     []Identity        `json:"keyless"`
	Annotations map[string]string `json:"annotations"`
}

// KeylessPrefixQuery verifies an image with keyless identities by prefix.
type KeylessPrefixQuery struct {
	Image         string            `json:"image"`
	KeylessPrefix []IdentityPrefix  `json:"keyless_prefix"`
	Annotations   map[string]string `json:"annotations"`
}

// GitHubQuery verifies that an image was signed in a GitHub Actions workflow
// of an owner, and of one repository if Repo is set.
type GitHubQuery struct {
	Image       string            `json:"image"`
	Owner       string            `json:"owner"`
	Repo        string            `json:"repo,omitempty"`
	Annotations map[string]string `json:"annotations"`
}

// CertificateQuery verifies an image with a certificate (PEM), and its chain
// (PEM, one each) if given.
type CertificateQuery struct {
	Image              string            `json:"image"`
	Certificate        Octets            `json:"certificate"`
	CertificateChain   []Octets          `json:"certificate_chain,omitempty"`
	RequireRekorBundle bool              `json:"require_rekor_bundle"`
	Annotations        map[string]string `json:"annotations"`
}

// VerifyPubKeys needs the capability oci/v2/verify, as the other Verify
// functions do. An image that does not verify is an error.
func VerifyPubKeys(ctx context.Context, q PubKeysQuery) (Trust, error) {
	return verify(ctx, struct {
		Type string `json:"type"`
		PubKeysQuery
	}{"SigstorePubKeyVerify", q})
}

// VerifyKeyless verifies exact keyless identities.
func VerifyKeyless(ctx context.Context, q KeylessQuery) (Trust, error) {
	return verify(ctx, struct {
		Type string `json:"type"`
		KeylessQuery
	}{"SigstoreKeylessVerify", q})
}

// VerifyKeylessPrefix verifies keyless identities by the prefix of their URL.
func VerifyKeylessPrefix(ctx context.Context, q KeylessPrefixQuery) (Trust, error) {
	return verify(ctx, struct {
		Type string `json:"type"`
		KeylessPrefixQuery
	}{"SigstoreKeylessPrefixVerify", q})
}

// VerifyGitHubActions verifies a signature made in a GitHub Actions workflow.
func VerifyGitHubActions(ctx context.Context, q GitHubQuery) (Trust, error) {
	return verify(ctx, struct {
		Type string `json:"type"`
		GitHubQuery
	}{"SigstoreGithubActionsVerify", q})
}

// VerifyCertificate verifies a signature made with a certificate's key.
func VerifyCertificate(ctx context.Context, q CertificateQuery) (Trust, error) {
	return verify(ctx, struct {
		Type string `json:"type"`
		CertificateQuery
	}{"SigstoreCertificateVerify", q})
}

func verify(ctx context.Context, question any) (Trust, error) {
	return ask[Trust](ctx, "oci", "v2/verify", question)
}
