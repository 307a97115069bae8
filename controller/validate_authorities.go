package controller

import (
	"crypto/x509"
	"encoding/pem"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// authorities checks that sourceAuthorities are certificates: a policy server
// does not start with anything else.
func (c *serverCheck) authorities() {
	for _, host := range slices.Sorted(maps.Keys(c.spec.SourceAuthorities)) {
		for i, text := range c.spec.SourceAuthorities[host] {
			if problem := certificates([]byte(text)); problem != "" {
				c.add(field.Invalid(c.at.Child("sourceAuthorities").Key(host).Index(i), field.OmitValueType{}, problem))
			}
		}
	}
}

// certificates says what is wrong with certificates in PEM, "" if nothing.
func certificates(text []byte) string {
	n := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return "want certificates in PEM, have a block of type " + block.Type
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return err.Error()
		}
		n++
	}
	if n == 0 {
		return "want certificates in PEM: there is no block \"-----BEGIN CERTIFICATE-----\""
	}
	return ""
}
