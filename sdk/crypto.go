package sdk

import (
	"context"
	"strconv"
	"time"
)

// Octets is a byte string that is a list of numbers in JSON, as Kubewarden's
// hosts want certificates.
type Octets []byte

// MarshalJSON encodes [45,45,45].
func (o Octets) MarshalJSON() ([]byte, error) {
	out := []byte{'['}
	for i, b := range o {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendUint(out, uint64(b), 10)
	}
	return append(out, ']'), nil
}

// Encoding is how a certificate is written.
type Encoding string

// The encodings that hosts know.
const (
	PEM Encoding = "Pem"
	DER Encoding = "Der"
)

// Certificate is an X.509 certificate.
type Certificate struct {
	Encoding Encoding `json:"encoding"`
	Data     Octets   `json:"data"`
}

// CertificateTrust is the answer to IsCertificateTrusted.
type CertificateTrust struct {
	Trusted bool   `json:"trusted"`
	Reason  string `json:"reason"` // why not; "" when trusted
}

// IsCertificateTrusted verifies a certificate with a chain whose last element
// is the trusted root; a nil chain stands for Mozilla's roots, an empty one for
// none. At is the instant of the verification, the zero time now. It needs the
// capability crypto/v1/is_certificate_trusted.
func IsCertificateTrusted(ctx context.Context, cert Certificate, chain []Certificate, at time.Time) (CertificateTrust, error) {
	question := struct {
		Cert     Certificate   `json:"cert"`
		Chain    []Certificate `json:"cert_chain"`
		NotAfter *string       `json:"not_after"`
	}{Cert: cert, Chain: chain}
	if !at.IsZero() {
		text := at.Format(time.RFC3339)
		question.NotAfter = &text
	}
	return ask[CertificateTrust](ctx, "crypto", "v1/is_certificate_trusted", question)
}
