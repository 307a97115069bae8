package celpolicy

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/warder-dev/warder/sdk"
)

// untrusted says that the host did not verify an image. Hosts say so with an
// error and not with an answer, so failurePolicy does not cover it: an image
// without a signature would get in.
type untrusted struct{ err error }

func (u *untrusted) Error() string { return fmt.Sprintf("failed to verify image: %v", u.err) }
func (u *untrusted) Unwrap() error { return u.err }

// imageQuery is what all verifiers start with.
type imageQuery struct {
	image       string
	annotations map[string]string
}

// sigstoreTypes are the types of kw.sigstore.
type sigstoreTypes struct {
	builder, pubKeys, keyless, keylessPrefix, github, certificate, response *cel.Type
}

func newSigstoreTypes() sigstoreTypes {
	of := func(name string) *cel.Type { return cel.ObjectType("kw.sigstore." + name) }
	return sigstoreTypes{
		of("VerifierBuilder"), of("PubKeysVerifier"), of("KeylessVerifier"), of("KeylessPrefixVerifier"),
		of("GitHubActionVerifier"), of("CertificateVerifier"), of("Response"),
	}
}

// sigstoreFunctions are kw.sigstore:
//
//	kw.sigstore.image('ghcr.io/a/b:1').annotation('env', 'prod').pubKey(pem).verify().isTrusted()
//	kw.sigstore.image('ghcr.io/a/b:1').githubAction('acme', 'app').verify().digest()
func sigstoreFunctions() []function {
	t := newSigstoreTypes()
	text, pair := []*cel.Type{cel.StringType}, []*cel.Type{cel.StringType, cel.StringType}
	return slices.Concat(
		[]function{
			{name: "kw.sigstore.image", args: text, result: t.builder, build: func(args []ref.Val) ref.Val {
				return object{t.builder, imageQuery{image: as[string](args[0])}}
			}},
			{name: "annotation", on: t.builder, args: pair, result: t.builder, build: func(args []ref.Val) ref.Val {
				q := as[imageQuery](args[0])
				annotations := maps.Clone(q.annotations)
				if annotations == nil {
					annotations = map[string]string{}
				}
				annotations[as[string](args[1])] = as[string](args[2])
				return object{t.builder, imageQuery{q.image, annotations}}
			}},
			{name: "isTrusted", on: t.response, result: cel.BoolType, build: func(args []ref.Val) ref.Val {
				return types.Bool(as[sdk.Trust](args[0]).Trusted)
			}},
			{name: "digest", on: t.response, result: cel.StringType, build: func(args []ref.Val) ref.Val {
				return types.String(as[sdk.Trust](args[0]).Digest)
			}},
		},
		t.keyFunctions(text), t.keylessFunctions(pair), t.githubFunctions(text, pair), t.certificateFunctions(text),
	)
}

// verifier is the function verify of a type whose values hold a Query.
func verifier[Query any](t sigstoreTypes, on *cel.Type, ask func(context.Context, Query) (sdk.Trust, error)) function {
	return function{name: "verify", on: on, result: t.response, ask: func(ctx context.Context, args []ref.Val) ref.Val {
		trust, err := ask(ctx, as[Query](args[0]))
		if err != nil {
			return types.WrapErr(&untrusted{err})
		}
		return object{t.response, trust}
	}}
}

func (t sigstoreTypes) keyFunctions(text []*cel.Type) []function {
	return []function{
		{name: "pubKey", on: t.builder, args: text, result: t.pubKeys, build: func(args []ref.Val) ref.Val {
			q := as[imageQuery](args[0])
			return object{t.pubKeys, sdk.PubKeysQuery{Image: q.image, Annotations: q.annotations, PubKeys: []string{as[string](args[1])}}}
		}},
		{name: "pubKey", on: t.pubKeys, args: text, result: t.pubKeys, build: func(args []ref.Val) ref.Val {
			q := as[sdk.PubKeysQuery](args[0])
			q.PubKeys = append(slices.Clip(q.PubKeys), as[string](args[1]))
			return object{t.pubKeys, q}
		}},
		verifier(t, t.pubKeys, sdk.VerifyPubKeys),
	}
}

func (t sigstoreTypes) keylessFunctions(pair []*cel.Type) []function {
	exact := func(args []ref.Val) sdk.Identity {
		return sdk.Identity{Issuer: as[string](args[1]), Subject: as[string](args[2])}
	}
	prefix := func(args []ref.Val) sdk.IdentityPrefix {
		return sdk.IdentityPrefix{Issuer: as[string](args[1]), URLPrefix: as[string](args[2])}
	}
	return []function{
		{name: "keyless", on: t.builder, args: pair, result: t.keyless, build: func(args []ref.Val) ref.Val {
			q := as[imageQuery](args[0])
			return object{t.keyless, sdk.KeylessQuery{Image: q.image, Annotations: q.annotations, Keyless: []sdk.Identity{exact(args)}}}
		}},
		{name: "keyless", on: t.keyless, args: pair, result: t.keyless, build: func(args []ref.Val) ref.Val {
			q := as[sdk.KeylessQuery](args[0])
			q.Keyless = append(slices.Clip(q.Keyless), exact(args))
			return object{t.keyless, q}
		}},
		verifier(t, t.keyless, sdk.VerifyKeyless),
		{name: "keylessPrefix", on: t.builder, args: pair, result: t.keylessPrefix, build: func(args []ref.Val) ref.Val {
			q := as[imageQuery](args[0])
			return object{t.keylessPrefix, sdk.KeylessPrefixQuery{
				Image: q.image, Annotations: q.annotations, KeylessPrefix: []sdk.IdentityPrefix{prefix(args)},
			}}
		}},
		{name: "keylessPrefix", on: t.keylessPrefix, args: pair, result: t.keylessPrefix, build: func(args []ref.Val) ref.Val {
			q := as[sdk.KeylessPrefixQuery](args[0])
			q.KeylessPrefix = append(slices.Clip(q.KeylessPrefix), prefix(args))
			return object{t.keylessPrefix, q}
		}},
		verifier(t, t.keylessPrefix, sdk.VerifyKeylessPrefix),
	}
}

func (t sigstoreTypes) githubFunctions(text, pair []*cel.Type) []function {
	build := func(args []ref.Val) ref.Val {
		q := as[imageQuery](args[0])
		github := sdk.GitHubQuery{Image: q.image, Annotations: q.annotations, Owner: as[string](args[1])}
		if len(args) > 2 {
			github.Repo = as[string](args[2])
		}
		return object{t.github, github}
	}
	return []function{
		{name: "githubAction", on: t.builder, args: text, result: t.github, build: build},
		{name: "githubAction", on: t.builder, args: pair, result: t.github, build: build},
		verifier(t, t.github, sdk.VerifyGitHubActions),
	}
}

func (t sigstoreTypes) certificateFunctions(text []*cel.Type) []function {
	return []function{
		{name: "certificate", on: t.builder, args: text, result: t.certificate, build: func(args []ref.Val) ref.Val {
			q := as[imageQuery](args[0])
			return object{t.certificate, sdk.CertificateQuery{
				Image: q.image, Annotations: q.annotations, Certificate: sdk.Octets(as[string](args[1])),
			}}
		}},
		{name: "certificateChain", on: t.certificate, args: text, result: t.certificate, build: func(args []ref.Val) ref.Val {
			q := as[sdk.CertificateQuery](args[0])
			q.CertificateChain = append(slices.Clip(q.CertificateChain), sdk.Octets(as[string](args[1])))
			return object{t.certificate, q}
		}},
		{name: "requireRekorBundle", on: t.certificate, args: []*cel.Type{cel.BoolType}, result: t.certificate, build: func(args []ref.Val) ref.Val {
			q := as[sdk.CertificateQuery](args[0])
			q.RequireRekorBundle = as[bool](args[1])
			return object{t.certificate, q}
		}},
		verifier(t, t.certificate, sdk.VerifyCertificate),
	}
}
