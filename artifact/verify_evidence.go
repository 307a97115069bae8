package artifact

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// What cosign calls things.
// Source: cosign specs/SIGNATURE_SPEC.md and specs/BUNDLE_SPEC.md.
const (
	simpleSigningType types.MediaType = "application/vnd.dev.cosign.simplesigning.v1+json"

	signatureAnnotation   = "dev.cosignproject.cosign/signature"
	certificateAnnotation = "dev.sigstore.cosign/certificate"
	rekorAnnotation       = "dev.sigstore.cosign/bundle"

	bundleType          = "application/vnd.dev.sigstore.bundle"
	bundleTypeV1        = bundleType + "+json;version=0.1" // with the log's promise, without its proof
	bundleTypeV3        = bundleType + ".v0.3+json"
	predicateAnnotation = "dev.sigstore.bundle.predicateType"

	// signPredicate is the predicate of a statement that says "signed", and
	// nothing else about the image.
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
)

// payloadTypes are the types of a simple-signing payload: cosign's, and the
// one of the format that it was made after.
func payloadTypes() []string {
	return []string{"cosign container image signature", "atomic container signature"}
}

// evidence is a signature as it was found: nothing in it is verified. Simple
// signings are put into the form of a bundle, so that both formats are judged
// by the same code.
type evidence struct {
	source string // where it was found
	image  v1.Hash
	bundle *protobundle.Bundle
	// message is what the signature of a bundle with a message signature is
	// of: the payload, or the manifest. A DSSE envelope has its own.
	message []byte
	// optional are the annotations in a simple-signing payload.
	optional map[string]any

	identity *identity // once it was asked for
	failed   error     // why there is none
}

// payload is a simple-signing payload.
type payload struct {
	Critical struct {
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

func parsePayload(text []byte) (payload, error) {
	var p payload
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // their text is compared
	if err := dec.Decode(&p); err != nil {
		return p, fmt.Errorf("its payload: %w", err)
	}
	if dec.More() {
		return p, errors.New("its payload has more than one JSON value")
	}
	return p, nil
}

// simpleSigning reads a layer of simple signing about the image.
func (e *evidence) simpleSigning(text []byte, annotations map[string]string, image v1.Hash) error {
	p, err := parsePayload(text)
	if err != nil {
		return err
	}
	if p.Critical.Image.Digest != image.String() {
		return fmt.Errorf("its payload is about the image %q, not %s", p.Critical.Image.Digest, image)
	}
	if !slices.Contains(payloadTypes(), p.Critical.Type) {
		return fmt.Errorf("its payload has the type %q, which is none of an image's signature", p.Critical.Type)
	}
	signature, err := base64.StdEncoding.DecodeString(annotations[signatureAnnotation])
	if err != nil || len(signature) == 0 {
		return fmt.Errorf("its annotation %s is no signature in base64", signatureAnnotation)
	}
	material := &protobundle.VerificationMaterial{}
	if text := annotations[certificateAnnotation]; text != "" {
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" {
			return fmt.Errorf("its annotation %s is no certificate in PEM", certificateAnnotation)
		}
		material.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: block.Bytes}}
	}
	hash := crypto.SHA256
	if text := annotations[rekorAnnotation]; text != "" {
		entry, of, err := parseRekorBundle(text)
		if err != nil {
			return fmt.Errorf("its annotation %s: %w", rekorAnnotation, err)
		}
		hash = of
		material.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	e.image, e.message, e.optional = image, text, p.Optional
	e.bundle = &protobundle.Bundle{
		MediaType:            bundleTypeV1,
		VerificationMaterial: material,
		Content:              messageSignature(text, signature, hash),
	}
	return nil
}

// messageSignature is a signature of message; hash is what its transparency
// log, if it is in one, has of the message.
func messageSignature(message, signature []byte, hash crypto.Hash) *protobundle.Bundle_MessageSignature {
	out := &protocommon.HashOutput{}
	switch hash {
	case crypto.SHA384:
		sum := sha512.Sum384(message)
		out.Algorithm, out.Digest = protocommon.HashAlgorithm_SHA2_384, sum[:]
	case crypto.SHA512:
		sum := sha512.Sum512(message)
		out.Algorithm, out.Digest = protocommon.HashAlgorithm_SHA2_512, sum[:]
	default:
		sum := sha256.Sum256(message)
		out.Algorithm, out.Digest = protocommon.HashAlgorithm_SHA2_256, sum[:]
	}
	return &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{MessageDigest: out, Signature: signature}}
}

// parseRekorBundle reads what cosign keeps of an entry in Rekor, and which hash
// the entry has of the payload.
func parseRekorBundle(text string) (*protorekor.TransparencyLogEntry, crypto.Hash, error) {
	var b struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return nil, 0, err
	}
	logID, err := hex.DecodeString(b.Payload.LogID)
	switch {
	case err != nil || len(logID) == 0:
		return nil, 0, fmt.Errorf("its logID %q is not hexadecimal", b.Payload.LogID)
	case len(b.SignedEntryTimestamp) == 0:
		return nil, 0, errors.New("it has no SignedEntryTimestamp")
	}
	var body struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
		Spec       struct {
			Data struct {
				Hash struct {
					Algorithm string `json:"algorithm"`
				} `json:"hash"`
			} `json:"data"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(b.Payload.Body, &body); err != nil {
		return nil, 0, fmt.Errorf("its entry: %w", err)
	}
	if body.Kind != "hashedrekord" {
		return nil, 0, fmt.Errorf("its entry is a %q; want a hashedrekord", body.Kind)
	}
	hash := map[string]crypto.Hash{"sha384": crypto.SHA384, "sha512": crypto.SHA512}[body.Spec.Data.Hash.Algorithm]
	return &protorekor.TransparencyLogEntry{
		LogIndex:          b.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: logID},
		KindVersion:       &protorekor.KindVersion{Kind: body.Kind, Version: body.APIVersion},
		IntegratedTime:    b.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: b.SignedEntryTimestamp},
		CanonicalizedBody: b.Payload.Body,
	}, hash, nil
}

// sigstoreBundle reads a Sigstore bundle about the image, of which manifest is
// the text.
func (e *evidence) sigstoreBundle(text, manifest []byte, image v1.Hash) error {
	b := &protobundle.Bundle{}
	if err := protojson.Unmarshal(text, b); err != nil {
		return fmt.Errorf("it is no Sigstore bundle: %w", err)
	}
	if b.GetVerificationMaterial() == nil || b.GetContent() == nil {
		return errors.New("it has no signature, or nothing to verify it with")
	}
	e.image, e.bundle = image, b
	if b.GetDsseEnvelope() == nil {
		e.message = manifest
	}
	return nil
}

// certificate is the certificate that came with the signature, in DER; nil when
// there is none.
func (e *evidence) certificate() []byte {
	m := e.bundle.GetVerificationMaterial()
	if chain := m.GetX509CertificateChain().GetCertificates(); len(chain) > 0 {
		return chain[0].GetRawBytes()
	}
	return m.GetCertificate().GetRawBytes()
}

// satisfies reports an annotation that is not among those that were signed.
func satisfies(signed map[string]any, want map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		value, ok := signed[key]
		if !ok {
			return fmt.Errorf("its payload has no annotation %q", key)
		}
		text, ok := annotationText(value)
		if !ok || text != want[key] {
			return fmt.Errorf("its annotation %q is %s, not %q", key, quoteAny(value), want[key])
		}
	}
	return nil
}

// annotationText is an annotation as text; lists and objects have none.
func annotationText(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case float64: // of a bundle
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

func quoteAny(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return "no JSON"
	}
	if len(text) > 100 {
		return strings.ToValidUTF8(string(text[:100]), "") + "..."
	}
	return string(text)
}
