package controller

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Keys of the Secret of the certificate authority.
const (
	keyCACert    = "ca.crt"
	keyCAKey     = "ca.key"
	keyOldCACert = "old-ca.crt"
)

// authority is who signs the certificates of all webhooks. While it is being
// replaced there is an old one too, whose certificates are still in use: clients
// trust both.
type authority struct {
	pair
	old []byte // in PEM; nil when there is none
}

// readAuthority returns the authority that the Secret has, and why it has none.
func readAuthority(s *corev1.Secret, now time.Time) (authority, error) {
	p, err := parsePair(s.Data[keyCACert], s.Data[keyCAKey])
	if err != nil {
		return authority{}, fmt.Errorf("secret %s/%s: %w", s.Namespace, s.Name, err)
	}
	switch {
	case !p.cert.IsCA:
		return authority{}, fmt.Errorf("secret %s/%s: the certificate is not that of an authority", s.Namespace, s.Name)
	case now.After(p.cert.NotAfter):
		return authority{}, fmt.Errorf("secret %s/%s: the certificate has expired at %s", s.Namespace, s.Name, p.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return authority{pair: p, old: usable(s.Data[keyOldCACert], p.cert, now)}, nil
}

// bundle is whom clients trust, in PEM.
func (a authority) bundle() []byte {
	b := bytes.Clone(a.certPEM)
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	return append(b, a.old...)
}

// next is the authority after this one, which becomes the old one.
func (a authority) next(now time.Time) (authority, error) {
	p, err := newAuthority(now)
	if err != nil {
		return authority{}, err
	}
	return authority{pair: p, old: usable(append(bytes.Clone(a.certPEM), a.old...), p.cert, now)}, nil
}

// usable is a bundle without what has expired, the current authority, and what is
// there twice. Two are the most: a webhook's bundle should not grow.
func usable(bundle []byte, current *x509.Certificate, now time.Time) []byte {
	var out bytes.Buffer
	n := 0
	for _, cert := range certificatesOf(bundle) {
		if !cert.IsCA || now.After(cert.NotAfter) || cert.Equal(current) || contains(out.Bytes(), cert) || n == 2 {
			continue
		}
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
		n++
	}
	if n == 0 {
		return nil
	}
	return out.Bytes()
}

// fault says why the certificate of a server cannot stay as it is; it is nil when
// it can. Late says that the old authority has signed it, and nothing else is
// wrong: then it is to be replaced once everybody trusts the new one.
func (a authority) fault(s *corev1.Secret, hosts []string, now time.Time) (late bool, err error) {
	p, err := parsePair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	switch {
	case err != nil:
		return false, err
	case names(p.cert, hosts) != nil:
		return false, names(p.cert, hosts)
	case now.After(p.cert.NotAfter):
		return false, fmt.Errorf("certificate: it has expired at %s", p.cert.NotAfter.UTC().Format(time.RFC3339))
	case signedBy(p.cert, a.cert):
		if expires(p.cert, now) && a.cert.NotAfter.After(p.cert.NotAfter) {
			return false, fmt.Errorf("certificate: it expires at %s", p.cert.NotAfter.UTC().Format(time.RFC3339))
		}
		return false, nil
	}
	for _, old := range certificatesOf(a.old) {
		if signedBy(p.cert, old) {
			return true, fmt.Errorf("certificate: the old authority has signed it")
		}
	}
	return false, fmt.Errorf("certificate: somebody else has signed it")
}
