package artifact

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore/pkg/signature"
)

// constraint is a signer, read and ready to be compared with signatures.
type constraint struct {
	signer   Signer
	keys     []signature.Verifier // of PublicKey and Certificate
	cert     *x509.Certificate    // of Certificate
	anchors  *x509.CertPool       // of Certificate; nil trusts cert itself
	prefix   string               // of Prefix, with its slash
	unusable error                // why nothing satisfies it
}

func newConstraint(s Signer) (*constraint, error) {
	c := &constraint{signer: s}
	set := 0
	for _, is := range []bool{s.PublicKey != "", s.Identity != nil, s.Prefix != nil, s.GitHub != nil, s.Certificate != nil} {
		if is {
			set++
		}
	}
	if set > 1 {
		return nil, &SignerError{Problem: "a signer is a key, an identity, a prefix, a GitHub owner or a certificate; this one is more than one"}
	}
	switch {
	case s.Identity != nil:
		if s.Identity.Issuer == "" || s.Identity.Subject == "" {
			return nil, &SignerError{Problem: "Must provide keyless info"}
		}
	case s.Prefix != nil:
		return c, c.setPrefix()
	case s.GitHub != nil:
		if s.GitHub.Owner == "" {
			return nil, &SignerError{Problem: "Must provide owner info"}
		}
	case s.Certificate != nil:
		if err := c.setCertificate(time.Now()); err != nil {
			return nil, &SignerError{Problem: "verification failed: " + err.Error(), Err: err}
		}
	case strings.TrimSpace(s.PublicKey) == "":
		return nil, &SignerError{Problem: "Must provide at least one pub key"}
	default:
		key, err := ParsePublicKey([]byte(s.PublicKey))
		if err != nil {
			return nil, &SignerError{Problem: fmt.Sprintf("key verification failure: %v ", err), Err: err}
		}
		c.keys, err = verifiersOf(key)
		return c, err
	}
	return c, nil
}

// setPrefix holds the prefix of subjects to be a URL, and ends it with a slash:
// https://github.com/acme must not be satisfied by https://github.com/acme-evil.
func (c *constraint) setPrefix() error {
	p := c.signer.Prefix
	if p.Issuer == "" || p.URLPrefix == "" {
		return &SignerError{Problem: "Must provide keyless info"}
	}
	u, err := url.Parse(p.URLPrefix)
	if err == nil && (u.Scheme == "" || u.Host == "") {
		err = errors.New("want a URL with a scheme and a host, such as https://github.com/acme/")
	}
	if err == nil && (u.RawQuery != "" || u.Fragment != "") {
		err = errors.New("want a URL without a query and a fragment")
	}
	if err != nil {
		return &SignerError{Problem: fmt.Sprintf("url_prefix %q: %v", p.URLPrefix, err), Err: err}
	}
	if c.prefix = u.String(); !strings.HasSuffix(c.prefix, "/") {
		c.prefix += "/"
	}
	return nil
}

// setCertificate reads the signer's certificate, which must be one that may
// sign code, and holds it to its chain, all of which is trusted.
func (c *constraint) setCertificate(now time.Time) error {
	cert, err := parseCertificate(c.signer.Certificate.PEM)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if err := maySign(cert); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if now.Before(cert.NotBefore) {
		return fmt.Errorf("certificate: it is not valid before %s", cert.NotBefore.Format(time.RFC3339))
	}
	c.cert = cert
	if c.keys, err = verifiersOf(cert.PublicKey); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if c.signer.Certificate.Chain == nil {
		return nil
	}
	c.anchors = x509.NewCertPool()
	for i, text := range c.signer.Certificate.Chain {
		anchor, err := parseCertificate(text)
		if err != nil {
			return fmt.Errorf("certificate_chain[%d]: %w", i, err)
		}
		c.anchors.AddCert(anchor)
	}
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots: c.anchors, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	return nil
}

// trusts reports why a signature of the certificate does not count that a log
// has seen then, the zero time when nobody says. A certificate without a chain
// may have expired since; when nobody says when it signed, it may as well have
// been yesterday, by whoever has found the key.
func (c *constraint) trusts(logged, now time.Time) error {
	if c.anchors == nil && logged.IsZero() && now.After(c.cert.NotAfter) {
		return fmt.Errorf("the certificate has expired at %s, and no transparency log says that it has signed before", c.cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

func validAt(cert *x509.Certificate, at time.Time) bool {
	return !at.Before(cert.NotBefore) && !at.After(cert.NotAfter)
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it is no certificate in PEM")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("it is more than one certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

// maySign reports what a certificate lacks to sign code. The library takes one
// without any extended key usage as good for everything.
func maySign(cert *x509.Certificate) error {
	if cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return errors.New("its key usage is not digital signature")
	}
	codeSigning := false
	for _, usage := range cert.ExtKeyUsage {
		codeSigning = codeSigning || usage == x509.ExtKeyUsageCodeSigning
	}
	if !codeSigning {
		return errors.New("its extended key usage is not code signing")
	}
	if len(cert.EmailAddresses)+len(cert.URIs)+len(cert.DNSNames)+len(cert.IPAddresses) == 0 {
		return errors.New("it has no subject alternative name")
	}
	return nil
}

// verifiersOf are the ways to verify with a key. Signatures of ECDSA with the
// larger curves were made with SHA-256 by older versions of cosign, and are
// made with the hash of the curve's size by newer ones.
func verifiersOf(key crypto.PublicKey) ([]signature.Verifier, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	hashes := []crypto.Hash{hashOf(key)}
	if hashes[0] != crypto.SHA256 {
		hashes = append(hashes, crypto.SHA256)
	}
	if _, ok := key.(ed25519.PublicKey); ok {
		hashes = hashes[:1]
	}
	var verifiers []signature.Verifier
	for _, hash := range hashes {
		v, err := signature.LoadVerifier(key, hash)
		if err != nil {
			return nil, err
		}
		verifiers = append(verifiers, v)
	}
	return verifiers, nil
}

// hashOf is the hash that goes with a key.
func hashOf(key crypto.PublicKey) crypto.Hash {
	if k, ok := key.(*ecdsa.PublicKey); ok {
		switch k.Curve {
		case elliptic.P384():
			return crypto.SHA384
		case elliptic.P521():
			return crypto.SHA512
		}
	}
	return crypto.SHA256
}

// Sizes of RSA keys, in bits: smaller ones are not safe, larger ones keep a
// processor busy.
const minRSABits, maxRSABits = 2048, 8192

func checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return fmt.Errorf("it is an ECDSA key of the curve %s; want P-256, P-384 or P-521", k.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("it is an RSA key of %d bits; want %d to %d", bits, minRSABits, maxRSABits)
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("it is a key of the type %T; want ECDSA, RSA or Ed25519", key)
	}
	return nil
}

// identity is who a certificate was issued to.
type identity struct {
	issuer, subject string
	uri             *url.URL // the subject, when it is one
	repository      string   // owner/repo of a GitHub workflow
	annotations     map[string]any
}

// identityOf returns who the certificate was issued to. Nothing is verified.
func identityOf(cert *x509.Certificate) (*identity, error) {
	if err := maySign(cert); err != nil {
		return nil, err
	}
	extensions, err := certificate.ParseExtensions(cert.Extensions)
	if err != nil {
		return nil, err
	}
	who := &identity{issuer: extensions.Issuer, repository: extensions.GithubWorkflowRepository}
	names := len(cert.EmailAddresses) + len(cert.URIs) + len(cert.DNSNames) + len(cert.IPAddresses)
	switch {
	case names > 1:
		return nil, errors.New("it has more than one subject alternative name: who has signed is not clear")
	case len(cert.EmailAddresses) == 1:
		who.subject = cert.EmailAddresses[0]
	case len(cert.URIs) == 1:
		who.uri, who.subject = cert.URIs[0], cert.URIs[0].String()
	default:
		return nil, errors.New("its subject alternative name is neither an e-mail address nor a URI")
	}
	if who.issuer == "" {
		return nil, errors.New("it does not say who has issued the identity")
	}
	return who, nil
}

const githubIssuer = "https://token.actions.githubusercontent.com"

// matches reports why the constraint is not about who has signed.
func (c *constraint) matches(who *identity) error {
	s := c.signer
	wrong := func(what, have, want string) error { return fmt.Errorf("its %s is %q, not %q", what, have, want) }
	switch {
	case s.Identity != nil && who.issuer != s.Identity.Issuer:
		return wrong("issuer", who.issuer, s.Identity.Issuer)
	case s.Identity != nil && who.subject != s.Identity.Subject:
		return wrong("subject", who.subject, s.Identity.Subject)
	case s.Identity != nil:
		return nil
	case s.Prefix != nil && who.issuer != s.Prefix.Issuer:
		return wrong("issuer", who.issuer, s.Prefix.Issuer)
	case s.Prefix != nil && !strings.HasPrefix(who.subject, c.prefix):
		return fmt.Errorf("its subject %q does not start with %q", who.subject, c.prefix)
	case s.Prefix != nil && climbs(who.uri):
		return fmt.Errorf("its subject %q leads out of %q", who.subject, c.prefix)
	case s.Prefix != nil:
		return nil
	case s.GitHub != nil:
		return s.GitHub.matches(who)
	}
	return errors.New("the signer is nobody") // newConstraint lets none through
}

// climbs reports whether a path has elements that lead upwards.
func climbs(u *url.URL) bool {
	if u == nil {
		return true
	}
	for _, element := range strings.Split(u.Path, "/") {
		if element == "." || element == ".." {
			return true
		}
	}
	return false
}

func (g *GitHub) matches(who *identity) error {
	owner, repo, ok := strings.Cut(who.repository, "/")
	switch {
	case who.issuer != githubIssuer:
		return fmt.Errorf("its issuer is %q, not %q", who.issuer, githubIssuer)
	case who.uri == nil || who.uri.Host != "github.com":
		return fmt.Errorf("its subject %q is no URL of github.com", who.subject)
	case strings.Count(strings.Trim(who.uri.Path, "/"), "/") < 1:
		return fmt.Errorf("its subject %q names no repository", who.subject)
	case who.repository == "":
		return errors.New("its certificate has no extension 1.3.6.1.4.1.57264.1.5, which names the repository of the workflow")
	case !ok || owner == "" || repo == "" || strings.Contains(repo, "/"):
		return fmt.Errorf("the repository of its workflow is %q; want owner/repo", who.repository)
	case owner != g.Owner:
		return fmt.Errorf("the owner of its workflow's repository is %q, not %q", owner, g.Owner)
	case g.Repo != "" && repo != g.Repo:
		return fmt.Errorf("its workflow's repository is %q, not %q", repo, g.Repo)
	}
	return nil
}
