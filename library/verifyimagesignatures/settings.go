package verifyimagesignatures

import (
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/warder-dev/warder/library/internal/image"
)

// Settings are the settings of verify-image-signatures.
type Settings struct {
	// Signatures are what images must have been signed with. At least one must
	// be given. An image must satisfy each that is for it.
	Signatures []Signature `json:"signatures"`
	// ModifyImagesWithDigest pins verified images to the digest that was
	// verified. Default true.
	ModifyImagesWithDigest *bool `json:"modifyImagesWithDigest"`
}

// Signature is what some images must have been signed with: exactly one of
// PubKeys, Keyless, GithubActions, KeylessPrefix and Certificates.
type Signature struct {
	// Image is the images that this is for, as containers write them: "*" is
	// any run of characters, "?" one.
	Image string `json:"image"`
	// Annotations are what every signature must carry. Default none.
	Annotations map[string]string `json:"annotations"`

	// PubKeys are public keys in PEM. Each must have signed.
	PubKeys []string `json:"pubKeys"`
	// Keyless are identities. Each must have signed.
	Keyless []Identity `json:"keyless"`
	// GithubActions is a workflow that must have signed.
	GithubActions *Workflow `json:"githubActions"`
	// KeylessPrefix are identities by the start of their URL. Each must have
	// signed.
	KeylessPrefix []IdentityPrefix `json:"keylessPrefix"`
	// Certificates are certificates in PEM. Each must have signed.
	Certificates []string `json:"certificates"`

	// CertificateChain is the authorities of Certificates in PEM, the root
	// last. By default Certificates are trusted as they are.
	CertificateChain []string `json:"certificateChain"`
	// RequireRekorBundle says whether the signature must be in the transparency
	// log. It must be given with Certificates.
	RequireRekorBundle *bool `json:"requireRekorBundle"`
}

// Identity is somebody as the issuer knows them.
type Identity struct {
	// Issuer is who vouches for the identity: https://accounts.example.com.
	Issuer string `json:"issuer"`
	// Subject is the identity: an address, or the URL of a workflow.
	Subject string `json:"subject"`
}

// IdentityPrefix is everybody whose URL starts with the prefix.
type IdentityPrefix struct {
	// Issuer is who vouches for the identity: https://accounts.example.com.
	Issuer string `json:"issuer"`
	// URLPrefix is how the URL of the identity starts.
	URLPrefix string `json:"urlPrefix"`
	// URLPrefixOld is another name of URLPrefix.
	URLPrefixOld string `json:"url_prefix"`
}

func (p IdentityPrefix) prefix() string {
	if p.URLPrefix != "" {
		return p.URLPrefix
	}
	return p.URLPrefixOld
}

// Workflow is a workflow of GitHub Actions in any repository of the owner, or
// in one.
type Workflow struct {
	// Owner is a user or an organisation on GitHub.
	Owner string `json:"owner"`
	// Repo is one of the repositories of the owner. Default: all of them.
	Repo string `json:"repo"`
}

// Validate reports everything that is wrong.
func (s *Settings) Validate() error {
	if len(s.Signatures) == 0 {
		return errors.New("Signatures must not be empty") //nolint:staticcheck // the text is upstream's, and users see it
	}
	var errs []error
	for i, signature := range s.Signatures {
		if err := signature.validate(); err != nil {
			errs = append(errs, fmt.Errorf("signatures[%d], for image %q: %w", i, signature.Image, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Settings) pins() bool { return s.ModifyImagesWithDigest == nil || *s.ModifyImagesWithDigest }

func (s Signature) matches(text string) bool { return image.Glob(s.Image, text) }

func (s Signature) validate() error {
	var given, wrong []string
	note := func(name string, there bool, problems ...string) {
		if there {
			given = append(given, name)
			wrong = append(wrong, problems...)
		}
	}
	note("pubKeys", s.PubKeys != nil, checkPEM("pubKeys", s.PubKeys)...)
	note("keyless", s.Keyless != nil, s.checkKeyless()...)
	note("githubActions", s.GithubActions != nil, s.checkWorkflow()...)
	note("keylessPrefix", s.KeylessPrefix != nil, s.checkPrefixes()...)
	note("certificates", s.Certificates != nil, s.checkCertificates()...)
	switch {
	case s.Image == "":
		wrong = append(wrong, "no image provided")
	case len(given) == 0:
		wrong = append(wrong, "want pubKeys, keyless, githubActions, keylessPrefix or certificates")
	case len(given) > 1:
		wrong = append(wrong, "want one of "+strings.Join(given, ", ")+"; more are more entries")
	}
	if s.Certificates == nil && (s.CertificateChain != nil || s.RequireRekorBundle != nil) {
		wrong = append(wrong, "certificateChain and requireRekorBundle are for certificates")
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, ", "))
	}
	return nil
}

func checkPEM(name string, texts []string) (problems []string) {
	if len(texts) == 0 {
		return []string{name + ": is empty"}
	}
	for i, text := range texts {
		if block, _ := pem.Decode([]byte(text)); block == nil {
			problems = append(problems, fmt.Sprintf("%s[%d]: non-PEM data found", name, i))
		}
	}
	return problems
}

func (s Signature) checkKeyless() (problems []string) {
	if len(s.Keyless) == 0 {
		return []string{"keyless: is empty"}
	}
	for i, k := range s.Keyless {
		if k.Issuer == "" || k.Subject == "" {
			problems = append(problems, fmt.Sprintf("keyless[%d]: want issuer and subject", i))
		}
	}
	return problems
}

func (s Signature) checkWorkflow() []string {
	if s.GithubActions != nil && s.GithubActions.Owner == "" {
		return []string{"githubActions.owner: missing"}
	}
	return nil
}

func (s Signature) checkPrefixes() (problems []string) {
	if len(s.KeylessPrefix) == 0 {
		return []string{"keylessPrefix: is empty"}
	}
	for i, p := range s.KeylessPrefix {
		if p.Issuer == "" || p.prefix() == "" {
			problems = append(problems, fmt.Sprintf("keylessPrefix[%d]: want issuer and urlPrefix", i))
		}
	}
	return problems
}
