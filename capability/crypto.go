package capability

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// certificateQuestion is the payload of crypto/v1/is_certificate_trusted.
type certificateQuestion struct {
	Cert  certificate   `json:"cert"`
	Chain []certificate `json:"cert_chain"` // nil is Mozilla's roots, empty none
	// NotAfter is the instant of the verification in RFC 3339, whatever its
	// name says; null and "" are now.
	NotAfter *string `json:"not_after"`
}

type certificate struct {
	Encoding string `json:"encoding"` // Pem or Der
	Data     octets `json:"data"`
}

func decodeCertificateQuestion(payload []byte) (*certificateQuestion, error) {
	q := &certificateQuestion{}
	if err := decode(payload, q, "cert"); err != nil {
		return nil, err
	}
	for _, c := range append(q.Chain[:len(q.Chain):len(q.Chain)], q.Cert) {
		if c.Encoding != "Pem" && c.Encoding != "Der" {
			return nil, fmt.Errorf("unknown variant `%s`, expected `Pem` or `Der`", c.Encoding)
		}
	}
	return q, nil
}

// isCertificateTrusted answers crypto/v1/is_certificate_trusted.
func (h *Host) isCertificateTrusted(_ context.Context, payload []byte) ([]byte, error) {
	q, err := decodeCertificateQuestion(payload)
	if err != nil {
		return nil, err
	}
	reason, err := h.distrust(q)
	if err != nil {
		return nil, evaluated(err)
	}
	return json.Marshal(struct {
		Trusted bool   `json:"trusted"`
		Reason  string `json:"reason"`
	}{reason == "", reason})
}

// maxRSABits bounds the keys that signatures are checked with: the time of a
// check grows with the square, and a certificate may be anybody's. It is
// webpki's bound, and so Kubewarden's. Source: webpki RSA_PKCS1_2048_8192_SHA256.
const maxRSABits = 8192

const (
	reasonExpired   = "Certificate is being used after its expiration date"
	reasonTooEarly  = "Certificate is being used before its validity date"
	reasonUntrusted = "Certificate is not trusted by the provided cert chain"
	reasonOther     = "Certificate not trusted: "
)

// distrust returns why a certificate is not trusted, "" if it is. The error is
// about the question.
func (h *Host) distrust(q *certificateQuestion) (reason string, err error) {
	at := time.Now()
	if q.NotAfter != nil && *q.NotAfter != "" {
		if at, err = time.Parse(time.RFC3339, *q.NotAfter); err != nil {
			return "", errors.New("Timestamp not_after is not in RFC3339 format") //nolint:staticcheck // upstream's text
		}
	}
	at = at.Truncate(time.Second) // as certificates count
	cert, err := q.Cert.parse()
	if err != nil {
		return "", err
	}
	roots, intermediates, err := h.authorities(q)
	if err != nil {
		return "", err
	}
	switch reason := outOfTime(cert, at); {
	case reason != "":
		return reason, nil
	case cert.IsCA:
		return reasonOther + "CaUsedAsEndEntity", nil // webpki's word, which Kubewarden shows
	}
	opts := x509.VerifyOptions{
		Roots: roots, Intermediates: poolOf(intermediates), CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	_, err = cert.Verify(opts)
	var (
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case err == nil:
		return "", nil
	case errors.As(err, &unknown), errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return whyUnknown(cert, intermediates, opts), nil
	}
	return reasonOther + err.Error(), nil
}

// whyUnknown tells an intermediate that is out of its time, which Verify may
// pass over in silence, from one that is not there.
func whyUnknown(cert *x509.Certificate, intermediates []*x509.Certificate, opts x509.VerifyOptions) string {
	opts.Intermediates = x509.NewCertPool()
	for _, c := range intermediates {
		opts.Intermediates.AddCert(timeless(c))
	}
	chains, err := cert.Verify(opts)
	if err != nil {
		return reasonUntrusted
	}
	for _, c := range chains[0][1:] {
		for _, given := range intermediates {
			if reason := outOfTime(given, opts.CurrentTime); reason != "" && given.Equal(c) {
				return reason
			}
		}
	}
	return reasonUntrusted
}

func outOfTime(c *x509.Certificate, at time.Time) (reason string) {
	switch {
	case at.After(c.NotAfter):
		return reasonExpired
	case at.Before(c.NotBefore):
		return reasonTooEarly
	}
	return ""
}

// authorities returns who may have issued a certificate.
func (h *Host) authorities(q *certificateQuestion) (roots *x509.CertPool, intermediates []*x509.Certificate, err error) {
	if q.Chain == nil {
		return h.Services.cache().roots(), nil, nil
	}
	for i, c := range q.Chain {
		cert, err := c.parse()
		if err != nil {
			return nil, nil, fmt.Errorf("cert_chain[%d]: %w", i, err)
		}
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSABits {
			return nil, nil, fmt.Errorf("cert_chain[%d]: RSA key of %d bits; %d are the most", i, key.N.BitLen(), maxRSABits)
		}
		intermediates = append(intermediates, cert)
	}
	if last := len(intermediates) - 1; last >= 0 {
		return poolOf([]*x509.Certificate{anchor(intermediates[last])}), intermediates[:last], nil
	}
	return x509.NewCertPool(), nil, nil
}

func poolOf(certs []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool
}

// mozillaRoots are the roots that the Mozilla project trusts, as of the version
// of the module that holds them.
func mozillaRoots() *x509.CertPool {
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		cert, err := x509.ParseCertificate(root.Certificate)
		switch {
		case err != nil: // a test shows that there is none
		case root.Constraint == nil:
			pool.AddCert(anchor(cert))
		default:
			pool.AddCertWithConstraint(anchor(cert), root.Constraint)
		}
	}
	return pool
}

// anchor is a root as webpki sees it, and so Kubewarden: a name and a key that
// are trusted, with constraints on names. What else the certificate says of
// itself does not count, its validity least of all.
func anchor(root *x509.Certificate) *x509.Certificate {
	a := timeless(root)
	a.BasicConstraintsValid, a.IsCA, a.MaxPathLen, a.MaxPathLenZero = true, true, -1, false
	a.KeyUsage = 0
	return a
}

// timeless is a certificate that is always valid.
func timeless(cert *x509.Certificate) *x509.Certificate {
	c := *cert
	c.NotBefore, c.NotAfter = time.Time{}, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	return &c
}

func (c certificate) parse() (*x509.Certificate, error) {
	der := []byte(c.Data)
	if c.Encoding == "Pem" {
		var err error
		if der, err = firstCertificate(c.Data); err != nil {
			return nil, fmt.Errorf("Certificate PEM data is not valid: %w", err) //nolint:staticcheck // upstream's text
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("Certificate is not a valid end-entity certificate: %w", err) //nolint:staticcheck // upstream's text
	}
	return cert, nil
}

func firstCertificate(text []byte) (der []byte, err error) {
	for {
		block, rest := pem.Decode(text)
		switch {
		case block == nil:
			return nil, errors.New("it holds no CERTIFICATE block")
		case block.Type == "CERTIFICATE":
			return block.Bytes, nil
		}
		text = rest
	}
}
