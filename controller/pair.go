package controller

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	servingLifetime   = 365 * 24 * time.Hour
	// renewBefore is how long before its end a certificate is replaced. Source:
	// Kubewarden's.
	renewBefore = 60 * 24 * time.Hour
	// backdate lets machines whose clocks are behind take a new certificate.
	backdate = 5 * time.Minute
	// maxCommonName is what X.520 allows.
	maxCommonName = 64
)

// pair is a certificate with its key, in PEM too.
type pair struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	certPEM, keyPEM []byte
}

// parsePair reads a pair. The error never has anything of the key in it.
func parsePair(certPEM, keyPEM []byte) (pair, error) {
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return pair{}, err
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil || block.Type != "EC PRIVATE KEY" {
		return pair{}, errors.New(`key: no PEM block "EC PRIVATE KEY"`)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return pair{}, errors.New("key: it cannot be parsed")
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return pair{}, errors.New("key: it is not that of the certificate")
	}
	return pair{cert: cert, key: key, certPEM: certPEM, keyPEM: keyPEM}, nil
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	if len(text) == 0 {
		return nil, errors.New("certificate: there is none")
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New(`certificate: no PEM block "CERTIFICATE"`)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return cert, nil
}

// newAuthority makes a certificate authority.
func newAuthority(now time.Time) (pair, error) {
	return sign(nil, &x509.Certificate{
		Subject:   pkix.Name{CommonName: "kubewarden-controller-ca", Organization: []string{"warder"}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(authorityLifetime),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	})
}

// issue makes the certificate of a server that is called by these names or IP
// addresses.
func (p pair) issue(hosts []string, now time.Time) (pair, error) {
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: hosts[0]},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(servingLifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if len(hosts[0]) > maxCommonName {
		template.Subject.CommonName = hosts[0][:maxCommonName]
	}
	if p.cert.NotAfter.Before(template.NotAfter) {
		template.NotAfter = p.cert.NotAfter
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return sign(&p, template)
}

// sign makes a key, and a certificate of it that the issuer signs; without one
// it signs itself.
func sign(issuer *pair, template *x509.Certificate) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return pair{}, fmt.Errorf("serial number: %w", err)
	}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return pair{}, fmt.Errorf("certificate: %w", err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return pair{}, fmt.Errorf("key: %w", err)
	}
	return parsePair(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}

// expires says whether the certificate has to be replaced by now.
func expires(cert *x509.Certificate, now time.Time) bool {
	return now.Add(renewBefore).After(cert.NotAfter)
}

// signedBy says whether the authority has signed the certificate.
func signedBy(cert, authority *x509.Certificate) bool {
	return cert.CheckSignatureFrom(authority) == nil
}

// names says whether the certificate is for all these hosts.
func names(cert *x509.Certificate, hosts []string) error {
	for _, host := range hosts {
		if err := cert.VerifyHostname(host); err != nil {
			return err
		}
	}
	return nil
}

// certificatesOf are the certificates of a bundle in PEM; what is none is left
// out.
func certificatesOf(bundle []byte) []*x509.Certificate {
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			return all
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			all = append(all, cert)
		}
	}
}

// contains says whether the bundle has the certificate.
func contains(bundle []byte, cert *x509.Certificate) bool {
	for _, c := range certificatesOf(bundle) {
		if bytes.Equal(c.Raw, cert.Raw) {
			return true
		}
	}
	return false
}
