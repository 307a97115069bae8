package verifyimagesignatures

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// checkCertificates verifies the certificates with their chain now, so that
// settings which no image can satisfy are refused when they are written. It is
// done here, since settings are checked where no host can be asked.
func (s Signature) checkCertificates() (problems []string) {
	if s.RequireRekorBundle == nil {
		problems = append(problems, "requireRekorBundle: missing")
	}
	malformed := checkPEM("certificates", s.Certificates)
	if s.CertificateChain != nil {
		malformed = append(malformed, checkPEM("certificateChain", s.CertificateChain)...)
	}
	if len(malformed) > 0 {
		return append(problems, malformed...)
	}
	certificates, err := parseAll("certificates", s.Certificates)
	if err != nil {
		return append(problems, err.Error())
	}
	chain, err := parseAll("certificateChain", s.CertificateChain)
	if err != nil {
		return append(problems, err.Error())
	}
	if s.CertificateChain == nil {
		return problems
	}
	for i, c := range certificates {
		if reason := distrust(c, chain); reason != "" {
			problems = append(problems, fmt.Sprintf("Certificate not trusted: %s: certificates[%d]", reason, i))
		}
	}
	return problems
}

func parseAll(name string, texts []string) (all []*x509.Certificate, err error) {
	for i, text := range texts {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, fmt.Errorf("%s[%d]: non-PEM data found", name, i)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", name, i, err)
		}
		all = append(all, c)
	}
	return all, nil
}

// distrust says why the certificate is not trusted, "" if it is. The last of the
// chain is the root.
func distrust(c *x509.Certificate, chain []*x509.Certificate) string {
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for i, authority := range chain {
		if i == len(chain)-1 {
			opts.Roots.AddCert(authority)
		} else {
			opts.Intermediates.AddCert(authority)
		}
	}
	now := time.Now()
	switch {
	case now.After(c.NotAfter):
		return "Certificate is being used after its expiration date"
	case now.Before(c.NotBefore):
		return "Certificate is being used before its validity date"
	}
	_, err := c.Verify(opts)
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &unknown):
		return "Certificate is not trusted by the provided cert chain"
	}
	return err.Error()
}
