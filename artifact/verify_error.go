package artifact

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// SignerError reports a signer that nothing can be verified with.
type SignerError struct {
	// Problem is what is wrong, in Kubewarden's words where it has some.
	Problem string
	// Err is the cause, if there is one.
	Err error
}

func (e *SignerError) Error() string { return e.Problem }
func (e *SignerError) Unwrap() error { return e.Err }

// VerifyError reports that an image is not signed by whom it must be. Errors.Is
// and errors.As see through it to why signatures do not count.
type VerifyError struct {
	// Image is the full reference.
	Image string
	// Digest is that of its manifest, "" when no signature could be judged.
	Digest string
	// Problem is what is wrong, in Kubewarden's words.
	Problem string
	// Unsatisfied are the signers without a signature.
	Unsatisfied []Signer
	// Rejected are signatures that were found and do not count, at most 20.
	Rejected []Rejection
}

// Rejection is why a signature does not count.
type Rejection struct {
	// Signature says where it is.
	Signature string
	Reason    error
}

// String is the reason in few words: a part of it is what a stranger has written.
func (r Rejection) String() string {
	const most = 500
	text := fmt.Sprintf("%s: %v", r.Signature, r.Reason)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// maxRejections is how many rejections are reported: more than anybody reads.
const maxRejections = 20

func (e *VerifyError) Error() string {
	var b strings.Builder
	b.WriteString(e.Problem)
	if len(e.Unsatisfied) > 0 {
		b.WriteString("\nThe following constraints were not satisfied:\n")
		for _, s := range e.Unsatisfied {
			b.WriteString(s.yaml())
		}
	}
	if len(e.Rejected) > 0 && len(e.Unsatisfied) > 0 {
		b.WriteString("Why signatures do not count:")
		for _, r := range e.Rejected {
			fmt.Fprintf(&b, "\n%s", r)
		}
	}
	return b.String()
}

// Unwrap returns the reasons.
func (e *VerifyError) Unwrap() []error {
	reasons := make([]error, len(e.Rejected))
	for i, r := range e.Rejected {
		reasons[i] = r.Reason
	}
	return reasons
}

// yaml returns the signer as verification.yml has it.
func (s Signer) yaml() string {
	entry := struct {
		Kind               string            `yaml:"kind"`
		Owner              string            `yaml:"owner,omitempty"`
		Repo               string            `yaml:"repo,omitempty"`
		Key                string            `yaml:"key,omitempty"`
		Issuer             string            `yaml:"issuer,omitempty"`
		Subject            map[string]string `yaml:"subject,omitempty"`
		Certificate        string            `yaml:"certificate,omitempty"`
		RequireRekorBundle bool              `yaml:"requireRekorBundle,omitempty"`
		Annotations        map[string]string `yaml:"annotations,omitempty"`
	}{Annotations: s.Annotations}
	switch {
	case s.Identity != nil:
		entry.Kind, entry.Issuer = kindIssuer, s.Identity.Issuer
		entry.Subject = map[string]string{"equal": s.Identity.Subject}
	case s.Prefix != nil:
		entry.Kind, entry.Issuer = kindIssuer, s.Prefix.Issuer
		entry.Subject = map[string]string{"urlPrefix": s.Prefix.URLPrefix}
	case s.GitHub != nil:
		entry.Kind, entry.Owner, entry.Repo = kindGitHub, s.GitHub.Owner, s.GitHub.Repo
	case s.Certificate != nil:
		entry.Kind, entry.RequireRekorBundle = "certificate", s.Certificate.RequireRekor
		entry.Certificate = string(s.Certificate.PEM)
	default:
		entry.Kind, entry.Owner, entry.Key = kindKey, s.Owner, s.PublicKey
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(entry); err != nil {
		return "kind: " + entry.Kind + "\n" // a struct of strings always encodes
	}
	return b.String()
}

// The kinds of signers in verification.yml.
const (
	kindKey    = "pubKey"
	kindIssuer = "genericIssuer"
	kindGitHub = "githubAction"
)
