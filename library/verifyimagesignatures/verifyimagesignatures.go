// Package verifyimagesignatures is the built-in policy verify-image-signatures:
// it verifies the Sigstore signatures of images, and pins the images to what was
// verified.
package verifyimagesignatures

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/library/internal/problems"
	"github.com/warder-dev/warder/sdk"
)

// Policy returns the policy verify-image-signatures. It needs the capability
// oci/v2/verify.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	spec, err := req.PodSpec()
	if errors.Is(err, sdk.ErrNoPodSpec) {
		return sdk.Accept(), nil
	}
	if err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	v := sdk.Accept()
	seen := map[string]result{}
	var failures problems.List
	for c := range spec.Containers() {
		field := c.Get("image")
		text := field.String()
		if text == "" {
			continue // a container without an image is the API server's to refuse
		}
		r, ok := seen[text]
		if !ok {
			r = s.verify(ctx, text)
			seen[text] = r
		}
		switch {
		case r.failure != "":
			failures.Add(func() string {
				return fmt.Sprintf("verification of image %s failed: %s (%s)", text, r.failure, field.Path())
			})
		case r.digest != "" && s.pins() && !strings.Contains(text, "@") && !keeps(req, text):
			v.Patch.Replace(field.Pointer(), text+"@"+r.digest)
		}
	}
	if ctx.Err() != nil {
		return sdk.Verdict{}, ctx.Err()
	}
	if err := spec.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if !failures.Empty() {
		name := sdk.View(req.Object).Get("metadata", "name").String()
		return sdk.Rejectf("Resource %s is not accepted: %s", name, failures.String()), nil
	}
	return v, nil
}

// keeps reports whether an update leaves the image of a pod or a job that exists
// as it is. To pin it would start the container anew, or be refused.
func keeps(req *sdk.Request, text string) bool {
	if req.Operation != sdk.Update || req.Kind.Kind != "Pod" && req.Kind.Kind != "Job" {
		return false
	}
	before := sdk.View(req.OldObject).Get(sdk.PodTemplatePath(req.Kind.Kind)...)
	var images []string
	for c := range before.Containers() {
		images = append(images, c.Get("image").String())
	}
	return slices.Contains(images, text)
}

// result is what came of an image: nothing is for it, it has the digest, or it
// has failed.
type result struct {
	digest, failure string
}

// verify asks for every signature that is for the image.
func (s *Settings) verify(ctx context.Context, text string) (r result) {
	for _, signature := range s.Signatures {
		if !signature.matches(text) {
			continue
		}
		for _, ask := range signature.questions(text) {
			trust, err := ask(ctx)
			switch {
			case err != nil:
				return result{failure: err.Error()}
			case !trust.Trusted:
				return result{failure: "it is not trusted"}
			case r.digest != "" && r.digest != trust.Digest:
				return result{failure: fmt.Sprintf("signatures are of %s and %s", r.digest, trust.Digest)}
			}
			r.digest = trust.Digest
		}
	}
	return r
}

// questions are what to ask the host about the image.
func (s Signature) questions(text string) (all []func(context.Context) (sdk.Trust, error)) {
	ask := func(question func(context.Context) (sdk.Trust, error)) { all = append(all, question) }
	switch {
	case s.PubKeys != nil:
		q := sdk.PubKeysQuery{Image: text, PubKeys: s.PubKeys, Annotations: s.Annotations}
		ask(func(ctx context.Context) (sdk.Trust, error) { return sdk.VerifyPubKeys(ctx, q) })
	case s.Keyless != nil:
		q := sdk.KeylessQuery{Image: text, Annotations: s.Annotations}
		for _, k := range s.Keyless {
			q.Keyless = append(q.Keyless, sdk.Identity(k))
		}
		ask(func(ctx context.Context) (sdk.Trust, error) { return sdk.VerifyKeyless(ctx, q) })
	case s.GithubActions != nil:
		q := sdk.GitHubQuery{Image: text, Owner: s.GithubActions.Owner, Repo: s.GithubActions.Repo, Annotations: s.Annotations}
		ask(func(ctx context.Context) (sdk.Trust, error) { return sdk.VerifyGitHubActions(ctx, q) })
	case s.KeylessPrefix != nil:
		q := sdk.KeylessPrefixQuery{Image: text, Annotations: s.Annotations}
		for _, p := range s.KeylessPrefix {
			q.KeylessPrefix = append(q.KeylessPrefix, sdk.IdentityPrefix{Issuer: p.Issuer, URLPrefix: p.prefix()})
		}
		ask(func(ctx context.Context) (sdk.Trust, error) { return sdk.VerifyKeylessPrefix(ctx, q) })
	}
	for _, c := range s.Certificates {
		q := sdk.CertificateQuery{
			Image: text, Certificate: sdk.Octets(c), RequireRekorBundle: *s.RequireRekorBundle, Annotations: s.Annotations,
		}
		for _, authority := range s.CertificateChain {
			q.CertificateChain = append(q.CertificateChain, sdk.Octets(authority))
		}
		ask(func(ctx context.Context) (sdk.Trust, error) { return sdk.VerifyCertificate(ctx, q) })
	}
	return all
}
