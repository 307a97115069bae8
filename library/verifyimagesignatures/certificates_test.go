package verifyimagesignatures_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/warder-dev/warder/library/verifyimagesignatures"
	"github.com/warder-dev/warder/sdk/sdktest"
)

type certificate struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
	pem string
}

// newCertificate makes a certificate signed by an authority, or an authority
// when it is nil. Change may change what it says.
func newCertificate(t *testing.T, by *certificate, change ...func(*x509.Certificate)) *certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: t.Name()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: by == nil, BasicConstraintsValid: true,
	}
	if by == nil {
		template.KeyUsage = x509.KeyUsageCertSign
		by = &certificate{template, key, ""}
	}
	for _, c := range change {
		c(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Certificate, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &certificate{parsed, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

func TestCertificatesAreVerifiedWithTheSettings(t *testing.T) {
	ca, other := newCertificate(t, nil), newCertificate(t, nil)
	middle := newCertificate(t, ca, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign })
	leaf := newCertificate(t, middle)
	old := newCertificate(t, ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early := newCertificate(t, ca, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	garbage := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	tests := []struct {
		name         string
		certificates []string
		chain        []string
		want         string
	}{
		{"through an intermediate", []string{leaf.pem}, []string{middle.pem, ca.pem}, ""},
		{"without a chain", []string{leaf.pem}, nil, ""},
		{"another authority", []string{leaf.pem}, []string{middle.pem, other.pem},
			"Certificate not trusted: Certificate is not trusted by the provided cert chain: certificates[0]"},
		{"one of two", []string{leaf.pem, other.pem}, []string{middle.pem, ca.pem},
			"Certificate not trusted: Certificate is not trusted by the provided cert chain: certificates[1]"},
		{"expired", []string{old.pem}, []string{ca.pem}, "Certificate is being used after its expiration date"},
		{"not yet", []string{early.pem}, []string{ca.pem}, "Certificate is being used before its validity date"},
		{"no PEM", []string{"x"}, []string{"y"}, "certificates[0]: non-PEM data found, certificateChain[0]: non-PEM data found"},
		{"no certificate", []string{garbage}, nil, "certificates[0]: x509: malformed certificate"},
		{"no authority", []string{leaf.pem}, []string{garbage}, "certificateChain[0]: x509: malformed certificate"},
		{"none", []string{}, nil, "certificates: is empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			signature := map[string]any{"image": "a", "certificates": tt.certificates, "requireRekorBundle": false}
			if tt.chain != nil {
				signature["certificateChain"] = tt.chain
			}
			text, err := json.Marshal(map[string]any{"signatures": []any{signature}})
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				sdktest.Load(t, verifyimagesignatures.Policy(), string(text))
				return
			}
			if have := sdktest.Invalid(t, verifyimagesignatures.Policy(), string(text)); !strings.Contains(have, tt.want) {
				t.Errorf("have %q, want %q", have, tt.want)
			}
		})
	}
}
