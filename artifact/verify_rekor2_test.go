package artifact

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
)

// TestRekorV2 verifies what the second version of Rekor logs: entries without a
// promise and a time, beside which there must be a timestamp. The signatures
// are made by sigstore-go's own test authority.
func TestRekorV2(t *testing.T) {
	vs, other := must(ca.NewVirtualSigstore())(t), must(ca.NewVirtualSigstore())(t)
	logs := map[string]*root.TransparencyLog{}
	for id, log := range vs.RekorLogs() {
		log.ID = must(hex.DecodeString(id))(t)
		logs[id] = log
	}
	trusted := must(root.NewTrustedRoot(root.TrustedRootMediaType01, vs.FulcioCertificateAuthorities(), nil, vs.TimestampingAuthorities(), logs))(t)
	path := filepath.Join(t.TempDir(), "trusted_root.json")
	if err := os.WriteFile(path, must(trusted.MarshalJSON())(t), 0o600); err != nil {
		t.Fatal(err)
	}
	trust := must(ReadTrustRoot(path, ""))(t)
	signer := Signer{Identity: &Identity{someIssuer, someSubject}}
	r := newSigningRegistry(t, registry.WithReferrersSupport(true))
	for name, tt := range map[string]struct {
		by     *ca.VirtualSigstore
		change func(b *protobundle.Bundle)
		want   string
	}{
		"good":         {vs, func(*protobundle.Bundle) {}, ""},
		"no timestamp": {vs, func(b *protobundle.Bundle) { b.VerificationMaterial.TimestampVerificationData = nil }, "threshold not met"},
		"no proof":     {vs, func(b *protobundle.Bundle) { b.VerificationMaterial.TlogEntries[0].InclusionProof = nil }, "inclusion proof"},
		"entry of another signature": {vs, func(b *protobundle.Bundle) {
			b.VerificationMaterial.TlogEntries = virtualBundle(t, vs, statement(t, hex.EncodeToString(make([]byte, 32)), signPredicate, nil)).VerificationMaterial.TlogEntries
		}, "verifying log entry"},
		"another Sigstore": {other, func(*protobundle.Bundle) {}, "not enough verified log entries"},
	} {
		t.Run(name, func(t *testing.T) {
			image := r.push(t, "app")
			b := virtualBundle(t, tt.by, statement(t, image.digest.Hex, signPredicate, nil))
			tt.change(b)
			image.refer(t, bundleJSON(t, b))
			if tt.want == "" {
				image.wantVerified(t, trust, signer)
			} else {
				image.wantRefused(t, trust, tt.want, signer)
			}
		})
	}
}

// virtualBundle is a bundle of a statement, made by a test authority.
func virtualBundle(t *testing.T, vs *ca.VirtualSigstore, text []byte) *protobundle.Bundle {
	t.Helper()
	entity := must(vs.AttestHashedRekordV2(someSubject, someIssuer, text))(t)
	content := must(entity.SignatureContent())(t).EnvelopeContent().RawEnvelope()
	cert := must(entity.VerificationContent())(t).Certificate()
	b := &protobundle.Bundle{
		MediaType: bundleTypeV3,
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: text, PayloadType: content.PayloadType,
			Signatures: []*protodsse.Signature{{Sig: must(base64.StdEncoding.DecodeString(content.Signatures[0].Sig))(t)}},
		}},
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content:                   &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: cert.Raw}},
			TimestampVerificationData: &protobundle.TimestampVerificationData{},
		},
	}
	for _, entry := range must(entity.TlogEntries())(t) {
		b.VerificationMaterial.TlogEntries = append(b.VerificationMaterial.TlogEntries, entry.TransparencyLogEntry())
	}
	for _, stamp := range must(entity.Timestamps())(t) {
		b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps = append(
			b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps, &protocommon.RFC3161SignedTimestamp{SignedTimestamp: stamp})
	}
	return b
}
