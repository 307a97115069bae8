package capability

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/warder-dev/warder/artifact"
)

var errNoSignatures = errors.New("no verifier of signatures: this process was started without one")

// verification is who must have signed which image. There is one type for each
// of Kubewarden's, named and written as there.
type verification interface {
	// reference is the image, as the policy writes it.
	reference() string
	// signers are all that must have signed.
	signers() ([]artifact.Signer, error)
}

type sigstorePubKeyVerify struct {
	Image       string      `json:"image"`
	PubKeys     []string    `json:"pub_keys"`
	Annotations annotations `json:"annotations"`
}

type sigstoreKeylessVerify struct {
	Image       string            `json:"image"`
	Keyless     []keylessIdentity `json:"keyless"`
	Annotations annotations       `json:"annotations"`
}

type keylessIdentity struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

type sigstoreKeylessPrefixVerify struct {
	Image         string          `json:"image"`
	KeylessPrefix []keylessPrefix `json:"keyless_prefix"`
	Annotations   annotations     `json:"annotations"`
}

type keylessPrefix struct {
	Issuer    string `json:"issuer"`
	URLPrefix string `json:"url_prefix"`
}

type sigstoreGithubActionsVerify struct {
	Image       string      `json:"image"`
	Owner       string      `json:"owner"`
	Repo        *string     `json:"repo"`
	Annotations annotations `json:"annotations"`
}

type sigstoreCertificateVerify struct {
	Image              string      `json:"image"`
	Certificate        octets      `json:"certificate"`
	CertificateChain   []octets    `json:"certificate_chain"` // nil and empty differ
	RequireRekorBundle bool        `json:"require_rekor_bundle"`
	Annotations        annotations `json:"annotations"`
}

// verify1 answers oci/v1/verify: an object whose only member names the type.
func (h *Host) verify1(ctx context.Context, payload []byte) ([]byte, error) {
	_, question, err := decodeVerify1(payload)
	if err != nil {
		return nil, err
	}
	return h.verify(ctx, question)
}

// verify2 answers oci/v2/verify: an object with a member "type".
func (h *Host) verify2(ctx context.Context, payload []byte) ([]byte, error) {
	_, question, err := decodeVerify2(payload)
	if err != nil {
		return nil, err
	}
	return h.verify(ctx, question)
}

func (h *Host) verify(ctx context.Context, question verification) ([]byte, error) {
	signers, err := question.signers()
	switch {
	case err != nil:
		return nil, evaluated(err)
	case h.Services.Signatures == nil:
		return nil, evaluated(errNoSignatures)
	}
	key, err := json.Marshal(question)
	if err != nil {
		return nil, evaluated(err)
	}
	sum := sha256.Sum256(fmt.Appendf(key, "%T", question)) // a certificate and its chain are long
	return keep(ctx, h.Services.cache().signatures, string(sum[:]), func(ctx context.Context) ([]byte, error) {
		digest, err := h.Services.Signatures.Verify(ctx, question.reference(), signers)
		if err != nil {
			return nil, err
		}
		return json.Marshal(struct {
			Trusted bool   `json:"is_trusted"`
			Digest  string `json:"digest"`
		}{true, digest})
	})
}

func decodeVerify1(payload []byte) (kind string, question verification, err error) {
	var types map[string]json.RawMessage
	if err := json.Unmarshal(payload, &types); err != nil {
		return "", nil, err
	}
	for kind, inner := range types {
		if len(types) != 1 {
			break
		}
		if kind == "SigstorePubKeyVerify" || kind == "SigstoreKeylessVerify" {
			question, err := decodeVerification(kind, inner)
			return kind, question, err
		}
		return "", nil, fmt.Errorf("unknown variant `%s`, expected `SigstorePubKeyVerify` or `SigstoreKeylessVerify`", kind)
	}
	return "", nil, fmt.Errorf("want an object with one member, the type of the verification; it has %d", len(types))
}

func decodeVerify2(payload []byte) (kind string, question verification, err error) {
	var head struct{ Type string }
	if err := decode(payload, &head, "type"); err != nil {
		return "", nil, err
	}
	question, err = decodeVerification(head.Type, payload)
	return head.Type, question, err
}

func decodeVerification(kind string, payload []byte) (verification, error) {
	question, mandatory := newVerification(kind)
	if question == nil {
		return nil, fmt.Errorf("unknown variant `%s`, expected one of `SigstorePubKeyVerify`, `SigstoreKeylessVerify`, `SigstoreKeylessPrefixVerify`, `SigstoreGithubActionsVerify`, `SigstoreCertificateVerify`", kind)
	}
	return question, decode(payload, question, mandatory...)
}

// newVerification returns an empty question of this type, and the members that
// it must have; nil if there is no such type.
func newVerification(kind string) (question verification, mandatory []string) {
	switch kind {
	case "SigstorePubKeyVerify":
		return &sigstorePubKeyVerify{}, []string{"image", "pub_keys"}
	case "SigstoreKeylessVerify":
		return &sigstoreKeylessVerify{}, []string{"image", "keyless"}
	case "SigstoreKeylessPrefixVerify":
		return &sigstoreKeylessPrefixVerify{}, []string{"image", "keyless_prefix"}
	case "SigstoreGithubActionsVerify":
		return &sigstoreGithubActionsVerify{}, []string{"image", "owner"}
	case "SigstoreCertificateVerify":
		return &sigstoreCertificateVerify{}, []string{"image", "certificate", "require_rekor_bundle"}
	}
	return nil, nil
}

func (q *sigstorePubKeyVerify) reference() string { return q.Image }

func (q *sigstorePubKeyVerify) signers() ([]artifact.Signer, error) {
	if len(q.PubKeys) == 0 {
		return nil, errors.New("Must provide at least one pub key") //nolint:staticcheck // upstream's text
	}
	var all []artifact.Signer
	for i, key := range q.PubKeys {
		if key == "" {
			return nil, fmt.Errorf("pub_keys[%d] is empty", i)
		}
		all = append(all, artifact.Signer{PublicKey: key, Annotations: q.Annotations})
	}
	return all, nil
}

var errNoKeyless = errors.New("Must provide keyless info") //nolint:staticcheck // upstream's text

func (q *sigstoreKeylessVerify) reference() string { return q.Image }

func (q *sigstoreKeylessVerify) signers() ([]artifact.Signer, error) {
	if len(q.Keyless) == 0 {
		return nil, errNoKeyless
	}
	var all []artifact.Signer
	for i, k := range q.Keyless {
		if k.Issuer == "" || k.Subject == "" {
			return nil, fmt.Errorf("keyless[%d]: issuer and subject must not be empty", i)
		}
		all = append(all, artifact.Signer{Identity: &artifact.Identity{Issuer: k.Issuer, Subject: k.Subject}, Annotations: q.Annotations})
	}
	return all, nil
}

func (q *sigstoreKeylessPrefixVerify) reference() string { return q.Image }

func (q *sigstoreKeylessPrefixVerify) signers() ([]artifact.Signer, error) {
	if len(q.KeylessPrefix) == 0 {
		return nil, errNoKeyless
	}
	var all []artifact.Signer
	for i, k := range q.KeylessPrefix {
		if k.Issuer == "" {
			return nil, fmt.Errorf("keyless_prefix[%d]: issuer must not be empty", i)
		}
		prefix, err := url.Parse(k.URLPrefix)
		switch {
		case err != nil:
			return nil, fmt.Errorf("keyless_prefix[%d]: url_prefix: %w", i, err)
		case !prefix.IsAbs() || prefix.Host == "":
			return nil, fmt.Errorf("keyless_prefix[%d]: url_prefix %q has no scheme or no host; want a URL such as https://github.com/acme/", i, k.URLPrefix)
		}
		all = append(all, artifact.Signer{Prefix: &artifact.IdentityPrefix{Issuer: k.Issuer, URLPrefix: k.URLPrefix}, Annotations: q.Annotations})
	}
	return all, nil
}

func (q *sigstoreGithubActionsVerify) reference() string { return q.Image }

func (q *sigstoreGithubActionsVerify) signers() ([]artifact.Signer, error) {
	by := &artifact.GitHub{Owner: q.Owner}
	switch {
	case q.Owner == "":
		return nil, errors.New("Must provide owner info") //nolint:staticcheck // upstream's text
	case q.Repo != nil && *q.Repo == "":
		// No repository has this name; to the verifier it would mean any.
		return nil, errors.New("repo is empty; leave it out for any repository of the owner")
	case q.Repo != nil:
		by.Repo = *q.Repo
	}
	return []artifact.Signer{{GitHub: by, Annotations: q.Annotations}}, nil
}

func (q *sigstoreCertificateVerify) reference() string { return q.Image }

func (q *sigstoreCertificateVerify) signers() ([]artifact.Signer, error) {
	if len(q.Certificate) == 0 {
		return nil, errors.New("certificate is empty")
	}
	by := &artifact.Certificate{PEM: q.Certificate, RequireRekor: q.RequireRekorBundle}
	if q.CertificateChain != nil {
		by.Chain = [][]byte{}
	}
	for _, c := range q.CertificateChain {
		by.Chain = append(by.Chain, c)
	}
	return []artifact.Signer{{Certificate: by, Annotations: q.Annotations}}, nil
}
