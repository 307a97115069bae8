// Package artifact gets modules from where they are hosted, keeps them in a
// store on disk, and says who has signed them.
package artifact

// Signer is who must have signed an image: exactly one of the pointers and of
// PublicKey is set.
type Signer struct {
	// PublicKey is a key in PEM (SPKI): ECDSA, RSA or Ed25519.
	PublicKey string
	// Owner says whose key PublicKey is, to people.
	Owner string
	// Identity is a keyless signer.
	Identity *Identity
	// Prefix is a keyless signer whose subject starts with a URL.
	Prefix *IdentityPrefix
	// GitHub is a workflow of GitHub Actions.
	GitHub *GitHub
	// Certificate is a certificate whose key has signed.
	Certificate *Certificate
	// Annotations must be in the payload of the same signature.
	Annotations map[string]string
}

// Identity is a keyless signer: the subject as the issuer knows it.
type Identity struct{ Issuer, Subject string }

// IdentityPrefix is a keyless signer whose subject starts with URLPrefix, which
// ends with a slash or is taken as if it did.
type IdentityPrefix struct{ Issuer, URLPrefix string }

// GitHub is a workflow in a repository of an owner; an empty Repo is any.
type GitHub struct{ Owner, Repo string }

// Certificate is a signer's certificate.
type Certificate struct {
	// PEM is the certificate.
	PEM []byte
	// Chain are the certificates that are trusted, PEM, one each; nil trusts
	// the certificate itself.
	Chain [][]byte
	// RequireRekor refuses signatures that are in no transparency log.
	RequireRekor bool
}
