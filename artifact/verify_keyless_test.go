package artifact

import (
	"crypto"
	"crypto/elliptic"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
)

// keylessLayer signs the image as cosign does without a key.
func (s *sigstore) keylessLayer(t testing.TB, p pushed, o leafOptions, optional any) layer {
	t.Helper()
	cert, key := s.leaf(t, o)
	l := p.keyLayer(t, key, optional)
	body := hashedRekord(t, l.payload, l.signature(t), certPEM(cert))
	return l.with(certificateAnnotation, string(certPEM(cert))).with(rekorAnnotation, s.rekorBundle(t, body, time.Now()))
}

func (l layer) signature(t testing.TB) []byte {
	t.Helper()
	return must(base64.StdEncoding.DecodeString(l.annotations[signatureAnnotation]))(t)
}

const (
	workflow = "https://github.com/acme/policies/.github/workflows/release.yml@refs/tags/v1"
	acmeRepo = "acme/policies"
)

// TestIdentities holds each keyless kind of signer to certificates that are
// almost right, in both formats.
func TestIdentities(t *testing.T) {
	s := newSigstore(t)
	trust := s.trustRoot(t)
	r := newSigningRegistry(t, registry.WithReferrersSupport(true))
	github := leafOptions{uri: workflow, issuer: githubIssuer, repository: acmeRepo}
	with := func(change func(*leafOptions)) leafOptions {
		o := github
		change(&o)
		return o
	}
	exact := Signer{Identity: &Identity{someIssuer, someSubject}}
	prefix := func(url string) Signer { return Signer{Prefix: &IdentityPrefix{githubIssuer, url}} }
	of := func(owner, repo string) Signer { return Signer{GitHub: &GitHub{owner, repo}} }
	tests := []struct {
		name   string
		leaf   leafOptions
		signer Signer
		want   string
	}{
		{"exact", leafOptions{}, exact, ""},
		{"exact, a URI", github, Signer{Identity: &Identity{githubIssuer, workflow}}, ""},
		{"exact, other subject", leafOptions{email: "dev@example.org.evil.net"}, exact, `its subject is "dev@example.org.evil.net", not "dev@example.org"`},
		{"exact, other issuer", leafOptions{issuer: "https://evil.example.org"}, exact, `its issuer is "https://evil.example.org", not`},
		{"exact, long subject", leafOptions{email: strings.Repeat("x", 2000) + "@example.org"}, exact, strings.Repeat("x", 300)},
		{"exact, no issuer", leafOptions{issuer: " "}, exact, `its issuer is " ", not`},
		{"two names", leafOptions{twoNames: true}, exact, "more than one subject alternative name"},
		{"no name", leafOptions{noName: true}, exact, "it has no subject alternative name"},
		{"no key usage", leafOptions{noUsage: true}, exact, "its key usage is not digital signature"},
		{"no extended key usage", leafOptions{noCode: true}, exact, "its extended key usage is not code signing"},

		{"prefix", github, prefix("https://github.com/acme/"), ""},
		{"prefix gets its slash", github, prefix("https://github.com/acme"), ""},
		{"prefix is the host", github, prefix("https://github.com"), ""},
		{"prefix, other owner", with(func(o *leafOptions) { o.uri = "https://github.com/acme-evil/policies/x@y" }), prefix("https://github.com/acme"), `does not start with "https://github.com/acme/"`},
		{"prefix, other host", with(func(o *leafOptions) { o.uri = "https://github.com.evil.net/acme/x" }), prefix("https://github.com"), "does not start with"},
		{"prefix, climbing out", with(func(o *leafOptions) { o.uri = "https://github.com/acme/../evil/x" }), prefix("https://github.com/acme"), "leads out of"},
		{"prefix, climbing out encoded", with(func(o *leafOptions) { o.uri = "https://github.com/acme/%2e%2e/evil/x" }), prefix("https://github.com/acme"), "leads out of"},
		{"prefix, other issuer", with(func(o *leafOptions) { o.issuer = someIssuer }), prefix("https://github.com/acme"), "its issuer is"},
		{"prefix, e-mail", leafOptions{issuer: githubIssuer}, prefix("https://github.com/acme"), "does not start with"},

		{"GitHub, owner", github, of("acme", ""), ""},
		{"GitHub, owner and repository", github, of("acme", "policies"), ""},
		{"GitHub, a workflow of somebody else, called by acme", with(func(o *leafOptions) { o.uri = "https://github.com/tools/ci/.github/workflows/x@y" }), of("acme", "policies"), ""},
		{"GitHub, other owner", github, of("acm", ""), `the owner of its workflow's repository is "acme", not "acm"`},
		{"GitHub, other repository", github, of("acme", "other"), `its workflow's repository is "policies", not "other"`},
		{"GitHub, other issuer", with(func(o *leafOptions) { o.issuer = someIssuer }), of("acme", ""), "its issuer is"},
		{"GitHub, e-mail", leafOptions{issuer: githubIssuer, repository: acmeRepo}, of("acme", ""), "is no URL of github.com"},
		{"GitHub, other host", with(func(o *leafOptions) { o.uri = "https://github.com.evil.net/acme/policies" }), of("acme", ""), "is no URL of github.com"},
		{"GitHub, short path", with(func(o *leafOptions) { o.uri = "https://github.com/acme/" }), of("acme", ""), "names no repository"},
		{"GitHub, no repository in the certificate", with(func(o *leafOptions) { o.repository = "" }), of("acme", ""), "has no extension 1.3.6.1.4.1.57264.1.5"},
		{"GitHub, odd repository in the certificate", with(func(o *leafOptions) { o.repository = "acme/policies/x" }), of("acme", "policies/x"), `want owner/repo`},
		{"GitHub, owner with a slash", github, of("acme/policies", ""), "the owner of its workflow's repository is"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			simple, bundled := r.push(t, "simple"), r.push(t, "bundled")
			simple.attach(t, s.keylessLayer(t, simple, tt.leaf, nil))
			bundled.refer(t, bundleJSON(t, s.keylessBundle(t, statement(t, bundled.digest.Hex, signPredicate, nil), tt.leaf)))
			for _, image := range []pushed{simple, bundled} {
				if tt.want == "" {
					image.wantVerified(t, trust, tt.signer)
				} else {
					image.wantRefused(t, trust, tt.want, tt.signer)
				}
			}
		})
	}
}

// TestSimpleSigningIsVerified changes one thing after another in a good simple
// signing without a key.
func TestSimpleSigningIsVerified(t *testing.T) {
	s, other := newSigstore(t), newSigstore(t)
	trust, now := s.trustRoot(t), time.Now()
	signer := Signer{Identity: &Identity{someIssuer, someSubject}, Annotations: map[string]string{"env": "prod"}}
	optional := map[string]any{"env": "prod"}
	cert, key := s.leaf(t, leafOptions{})
	another, anotherKey := s.leaf(t, leafOptions{})
	twin, _ := s.leaf(t, leafOptions{key: key})
	foreign, _ := s.leaf(t, leafOptions{key: key, by: other})
	expired, _ := s.leaf(t, leafOptions{key: key, notBefore: now.Add(-50 * time.Minute)})

	signed := func(p pushed) layer { return p.keyLayer(t, key, optional) }
	// logged adds a certificate, and an entry of log that names named.
	logged := func(l layer, log *sigstore, carried, named *x509.Certificate, at time.Time) layer {
		body := hashedRekord(t, l.payload, l.signature(t), certPEM(named))
		return l.with(certificateAnnotation, string(certPEM(carried))).with(rekorAnnotation, log.rekorBundle(t, body, at))
	}
	good := func(p pushed) layer { return logged(signed(p), s, cert, cert, now) }
	// edit changes the annotation about the entry.
	edit := func(p pushed, change func(b, payload map[string]any)) layer {
		var b map[string]any
		l := good(p)
		if err := json.Unmarshal([]byte(l.annotations[rekorAnnotation]), &b); err != nil {
			t.Fatal(err)
		}
		change(b, b["Payload"].(map[string]any))
		return l.with(rekorAnnotation, string(must(json.Marshal(b))(t)))
	}
	more := func(p pushed) []byte {
		return simplePayload(t, p.digest.String(), map[string]any{"env": "prod", "more": "x"})
	}
	tests := []struct {
		name string
		make func(p pushed) layer
		want string
	}{
		{"good", good, ""},
		{"expired since it was logged", func(p pushed) layer { return logged(signed(p), s, expired, expired, now.Add(-45*time.Minute)) }, ""},
		{"payload exchanged", func(p pushed) layer { l := good(p); l.payload = more(p); return l }, "does not match artifact"},
		{"payload exchanged, in the entry too", func(p pushed) layer {
			return logged(layer{more(p), signed(p).annotations}, s, cert, cert, now)
		}, "invalid signature"},
		{"signature of another key", func(p pushed) layer {
			return logged(p.keyLayer(t, anotherKey, optional), s, cert, cert, now)
		}, "invalid signature"},
		{"signature of another key, logged so", func(p pushed) layer {
			return logged(p.keyLayer(t, anotherKey, optional), s, cert, another, now)
		}, "transparency log certificate does not match"},
		{"entry of another's signature of the same payload", func(p pushed) layer {
			l := p.keyLayer(t, anotherKey, optional)
			theirs := logged(l, s, another, another, now).annotations[rekorAnnotation]
			return good(p).with(rekorAnnotation, theirs)
		}, "transparency log signature does not match"},
		{"entry of another signature of the same key", func(p pushed) layer {
			theirs := logged(layer{more(p), map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(sign(t, key, more(p)))}}, s, cert, cert, now)
			return good(p).with(rekorAnnotation, theirs.annotations[rekorAnnotation])
		}, "transparency log signature does not match"},
		{"signature exchanged", func(p pushed) layer {
			return good(p).with(signatureAnnotation, signed(p).annotations[signatureAnnotation])
		}, "transparency log signature does not match"},
		{"entry of another certificate", func(p pushed) layer { return logged(signed(p), s, cert, another, now) }, "invalid signature"},
		{"entry of another certificate of the same key", func(p pushed) layer { return logged(signed(p), s, cert, twin, now) }, "transparency log certificate does not match"},
		{"entry of another payload", func(p pushed) layer {
			l := good(p)
			body := hashedRekord(t, more(p), l.signature(t), certPEM(cert))
			return l.with(rekorAnnotation, s.rekorBundle(t, body, now))
		}, "invalid signature"},
		{"entry of another signature", func(p pushed) layer {
			l := good(p)
			body := hashedRekord(t, l.payload, signed(p).signature(t), certPEM(cert))
			return l.with(rekorAnnotation, s.rekorBundle(t, body, now))
		}, "transparency log signature does not match"},
		{"entry of another kind", func(p pushed) layer {
			l := good(p)
			return l.with(rekorAnnotation, s.rekorBundle(t, dsseEntry(t, l.payload, l.signature(t), certPEM(cert)), now))
		}, `its entry is a "dsse"; want a hashedrekord`},
		{"logged after it expired", func(p pushed) layer { return logged(signed(p), s, expired, expired, now) }, "integrated time outside certificate validity"},
		{"logged before it was issued", func(p pushed) layer { return logged(signed(p), s, cert, cert, now.Add(-10*time.Minute)) }, "integrated time outside certificate validity"},
		{"logged before the log was trusted", func(p pushed) layer { return logged(signed(p), s, cert, cert, now.Add(-2*time.Hour)) }, "not enough verified log entries"},
		{"certificate of another authority", func(p pushed) layer { return logged(signed(p), s, foreign, foreign, now) }, "leaf certificate verification failed"},
		{"another log", func(p pushed) layer { return logged(signed(p), other, cert, cert, now) }, "not enough verified log entries"},
		{"no entry", func(p pushed) layer { return good(p).with(rekorAnnotation, "") }, "not enough verified log entries"},
		{"no certificate", func(p pushed) layer { return good(p).with(certificateAnnotation, "") }, "it has no certificate"},
		{"no promise", func(p pushed) layer {
			return edit(p, func(b, _ map[string]any) { delete(b, "SignedEntryTimestamp") })
		}, "it has no SignedEntryTimestamp"},
		{"promise of another entry", func(p pushed) layer {
			return edit(p, func(b, _ map[string]any) { b["SignedEntryTimestamp"] = s.promise(t, []byte("{}"), now) })
		}, "not enough verified log entries"},
		{"promise by another log", func(p pushed) layer {
			return edit(p, func(b, payload map[string]any) {
				body := must(base64.StdEncoding.DecodeString(payload["body"].(string)))(t)
				b["SignedEntryTimestamp"] = other.promise(t, body, now)
			})
		}, "not enough verified log entries"},
		{"time changed", func(p pushed) layer {
			return edit(p, func(_, payload map[string]any) { payload["integratedTime"] = now.Unix() + 1 })
		}, "not enough verified log entries"},
		{"index changed", func(p pushed) layer {
			return edit(p, func(_, payload map[string]any) { payload["logIndex"] = 7 })
		}, "not enough verified log entries"},
		{"log changed", func(p pushed) layer {
			return edit(p, func(_, payload map[string]any) { payload["logID"] = hex.EncodeToString(other.logID(t)) })
		}, "not enough verified log entries"},
		{"logID is no hexadecimal", func(p pushed) layer {
			return edit(p, func(_, payload map[string]any) { payload["logID"] = "xyz" })
		}, `its logID "xyz" is not hexadecimal`},
		{"body is no entry", func(p pushed) layer {
			return edit(p, func(_, payload map[string]any) { payload["body"] = []byte("[]") })
		}, "its entry:"},
		{"body is an empty entry", func(p pushed) layer {
			return good(p).with(rekorAnnotation, s.rekorBundle(t, []byte(`{"kind":"hashedrekord","apiVersion":"0.0.1","spec":{}}`), now))
		}, "validation"},
		{"entry is no JSON", func(p pushed) layer { return good(p).with(rekorAnnotation, "x") }, "its annotation dev.sigstore.cosign/bundle"},
		{"certificate is no PEM", func(p pushed) layer { return good(p).with(certificateAnnotation, "x") }, "is no certificate in PEM"},
		{"certificate is no certificate", func(p pushed) layer {
			return good(p).with(certificateAnnotation, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
		}, "its certificate: x509"},
		{"signature is no base64", func(p pushed) layer { return good(p).with(signatureAnnotation, "*") }, "is no signature in base64"},
		{"no signature", func(p pushed) layer { return good(p).with(signatureAnnotation, "") }, "is no signature in base64"},
		{"about another image", func(p pushed) layer {
			p.digest.Hex = strings.Repeat("0", 64)
			return good(p)
		}, "its payload is about the image"},
		{"about no image", func(p pushed) layer {
			text := []byte(`{"critical":{},"optional":{"env":"prod"}}`)
			return logged(layer{text, map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(sign(t, key, text))}}, s, cert, cert, now)
		}, `its payload is about the image ""`},
		{"of another type", func(p pushed) layer {
			text := []byte(strings.Replace(string(signed(p).payload), "cosign container image signature", "scan", 1))
			return logged(layer{text, map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(sign(t, key, text))}}, s, cert, cert, now)
		}, `its payload has the type "scan"`},
		{"two values", func(p pushed) layer {
			text := append(signed(p).payload, "{}"...)
			return logged(layer{text, map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(sign(t, key, text))}}, s, cert, cert, now)
		}, "more than one JSON value"},
		{"other annotations", func(p pushed) layer { return logged(p.keyLayer(t, key, nil), s, cert, cert, now) }, `has no annotation "env"`},
	}
	r := newSigningRegistry(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			image := r.push(t, "app")
			image.attach(t, tt.make(image))
			if tt.want == "" {
				image.wantVerified(t, trust, signer)
				return
			}
			image.wantRefused(t, trust, tt.want, signer)
			image.attach(t, tt.make(image), good(image)) // a bad one does not spoil a good one
			image.wantVerified(t, trust, signer)
		})
	}
	t.Run("signature of another image", func(t *testing.T) {
		signedImage, image := r.push(t, "app"), r.push(t, "app")
		image.attach(t, good(signedImage))
		image.wantRefused(t, trust, "its payload is about the image", signer)
	})
	t.Run("no trust root", func(t *testing.T) {
		image := r.push(t, "app")
		image.attach(t, good(image))
		image.wantRefused(t, nil, "there is no Sigstore trust root", signer)
		image.wantVerified(t, nil, Signer{PublicKey: publicPEM(t, key)})
	})
}

// TestLargerCurve verifies a certificate with a key on P-384, whose signatures
// and entries are of SHA-384.
func TestLargerCurve(t *testing.T) {
	s := newSigstore(t)
	r := newSigningRegistry(t, registry.WithReferrersSupport(true))
	signer := Signer{Identity: &Identity{someIssuer, someSubject}}
	cert, key := s.leaf(t, leafOptions{key: newECDSA(t, elliptic.P384())})
	image := r.push(t, "app")
	l := image.keyLayer(t, key, nil)
	hash := sha512.Sum384(l.payload)
	body := strings.Replace(string(hashedRekord(t, l.payload, l.signature(t), certPEM(cert))),
		`"algorithm":"sha256","value":"`+sum(l.payload), `"algorithm":"sha384","value":"`+hex.EncodeToString(hash[:]), 1)
	image.attach(t, l.with(certificateAnnotation, string(certPEM(cert))).with(rekorAnnotation, s.rekorBundle(t, []byte(body), time.Now())))
	image.wantVerified(t, s.trustRoot(t), signer)
	bundled := r.push(t, "bundled")
	bundled.refer(t, bundleJSON(t, s.keylessBundle(t, statement(t, bundled.digest.Hex, signPredicate, nil), leafOptions{key: key})))
	bundled.wantVerified(t, s.trustRoot(t), signer)
}

// TestBundleIsVerified changes one thing after another in a good bundle without
// a key.
func TestBundleIsVerified(t *testing.T) {
	s, other := newSigstore(t), newSigstore(t)
	trust, now := s.trustRoot(t), time.Now()
	signer := Signer{Identity: &Identity{someIssuer, someSubject}}
	cert, key := s.leaf(t, leafOptions{})
	another, _ := s.leaf(t, leafOptions{})
	twin, _ := s.leaf(t, leafOptions{key: key})
	good := func(p pushed) *protobundle.Bundle {
		return s.keylessBundle(t, statement(t, p.digest.Hex, signPredicate, nil), leafOptions{})
	}
	// message is a bundle of a signature of the manifest, with an entry about
	// text and a certificate.
	message := func(text, loggedText []byte, carried, named *x509.Certificate) *protobundle.Bundle {
		sig := sign(t, key, text)
		return &protobundle.Bundle{
			MediaType: bundleTypeV3, Content: messageSignature(text, sig, crypto.SHA256),
			VerificationMaterial: &protobundle.VerificationMaterial{
				Content:     &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: carried.Raw}},
				TlogEntries: []*protorekor.TransparencyLogEntry{s.entry(t, "hashedrekord", hashedRekord(t, loggedText, sig, certPEM(named)), now)},
			},
		}
	}
	changed := func(change func(*protobundle.Bundle)) func(pushed) *protobundle.Bundle {
		return func(p pushed) *protobundle.Bundle { b := good(p); change(b); return b }
	}
	entryOf := func(b *protobundle.Bundle) *protorekor.TransparencyLogEntry {
		return b.VerificationMaterial.TlogEntries[0]
	}
	stamped := func(by *ca.VirtualSigstore, of []byte) *protobundle.TimestampVerificationData {
		return &protobundle.TimestampVerificationData{Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{
			{SignedTimestamp: must(by.TimestampResponse(of))(t)},
		}}
	}
	sigOf := func(b *protobundle.Bundle) []byte { return b.GetDsseEnvelope().Signatures[0].Sig }
	noPromise := func(b *protobundle.Bundle) { entryOf(b).InclusionPromise = nil }
	tests := []struct {
		name string
		make func(p pushed) *protobundle.Bundle
		want string
	}{
		{"statement", good, ""},
		{"message", func(p pushed) *protobundle.Bundle { return message(p.manifest, p.manifest, cert, cert) }, ""},
		{"timestamp in place of the promise", changed(func(b *protobundle.Bundle) {
			noPromise(b)
			b.VerificationMaterial.TimestampVerificationData = stamped(s.tsa, sigOf(b))
		}), ""},
		{"no promise and no timestamp", changed(noPromise), "threshold not met for verified signed & log entry integrated timestamps"},
		{"timestamp of another authority", changed(func(b *protobundle.Bundle) {
			noPromise(b)
			b.VerificationMaterial.TimestampVerificationData = stamped(other.tsa, sigOf(b))
		}), "unable to verify signed timestamps"},
		{"timestamp of another signature", changed(func(b *protobundle.Bundle) {
			noPromise(b)
			b.VerificationMaterial.TimestampVerificationData = stamped(s.tsa, []byte("other"))
		}), "unable to verify signed timestamps"},
		{"no entry", changed(func(b *protobundle.Bundle) { b.VerificationMaterial.TlogEntries = nil }), "not enough verified log entries"},
		{"no entry, but a timestamp", changed(func(b *protobundle.Bundle) {
			b.VerificationMaterial.TlogEntries = nil
			b.VerificationMaterial.TimestampVerificationData = stamped(s.tsa, sigOf(b))
		}), "not enough verified log entries"},
		{"no proof", changed(func(b *protobundle.Bundle) { entryOf(b).InclusionProof = nil }), "inclusion proof missing"},
		{"proof of another tree", changed(func(b *protobundle.Bundle) { entryOf(b).InclusionProof.RootHash = make([]byte, 32) }), "root"},
		{"checkpoint of another log", changed(func(b *protobundle.Bundle) {
			entryOf(b).InclusionProof = other.entry(t, "dsse", entryOf(b).CanonicalizedBody, now).InclusionProof
		}), "verif"},
		{"entry of another log", changed(func(b *protobundle.Bundle) {
			b.VerificationMaterial.TlogEntries[0] = other.entry(t, "dsse", entryOf(b).CanonicalizedBody, now)
		}), "not enough verified log entries"},
		{"entry of another statement", changed(func(b *protobundle.Bundle) {
			body := dsseEntry(t, []byte("{}"), sigOf(b), certPEM(must(x509.ParseCertificate(b.VerificationMaterial.GetCertificate().RawBytes))(t)))
			b.VerificationMaterial.TlogEntries[0] = s.entry(t, "dsse", body, now)
		}), "payload hash"},
		{"entry of another certificate", changed(func(b *protobundle.Bundle) {
			body := dsseEntry(t, b.GetDsseEnvelope().Payload, sigOf(b), certPEM(another))
			b.VerificationMaterial.TlogEntries[0] = s.entry(t, "dsse", body, now)
		}), "transparency log certificate does not match"},
		{"logged too late", changed(func(b *protobundle.Bundle) {
			b.VerificationMaterial.TlogEntries[0] = s.entry(t, "dsse", entryOf(b).CanonicalizedBody, now.Add(time.Hour))
		}), "integrated time outside certificate validity"},
		{"statement changed", changed(func(b *protobundle.Bundle) { b.GetDsseEnvelope().Payload = append(b.GetDsseEnvelope().Payload, ' ') }), "payload hash"},
		{"two signatures", changed(func(b *protobundle.Bundle) {
			e := b.GetDsseEnvelope()
			e.Signatures = append(e.Signatures, e.Signatures[0])
		}), "exactly one signature"},
		{"no signature", changed(func(b *protobundle.Bundle) { b.GetDsseEnvelope().Signatures = nil }), "does not match"},
		{"other payload type", changed(func(b *protobundle.Bundle) { b.GetDsseEnvelope().PayloadType = "text/plain" }), "verify"},
		{"certificate of another authority", func(p pushed) *protobundle.Bundle {
			return s.keylessBundle(t, statement(t, p.digest.Hex, signPredicate, nil), leafOptions{by: other})
		}, "leaf certificate verification failed"},
		{"certificate exchanged", changed(func(b *protobundle.Bundle) { b.VerificationMaterial.GetCertificate().RawBytes = another.Raw }), "transparency log certificate does not match"},
		{"an attestation", func(p pushed) *protobundle.Bundle {
			return s.keylessBundle(t, statement(t, p.digest.Hex, "https://slsa.dev/provenance/v1", nil), leafOptions{})
		}, `it attests something of the image, "https://slsa.dev/provenance/v1", and does not sign it`},
		{"statement about another image", func(pushed) *protobundle.Bundle {
			return s.keylessBundle(t, statement(t, strings.Repeat("0", 64), signPredicate, nil), leafOptions{})
		}, "does not match any digest in statement"},
		{"statement about nothing", func(pushed) *protobundle.Bundle {
			return s.keylessBundle(t, []byte(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"`+signPredicate+`"}`), leafOptions{})
		}, "statement"},
		{"message of another image", func(pushed) *protobundle.Bundle { return message([]byte("{}"), []byte("{}"), cert, cert) }, "could not verify message"},
		{"message, entry of another certificate", func(p pushed) *protobundle.Bundle { return message(p.manifest, p.manifest, cert, twin) }, "transparency log certificate does not match"},
		{"message, entry of another message", func(p pushed) *protobundle.Bundle { return message(p.manifest, []byte("{}"), cert, cert) }, "invalid signature"},
		{"a key in place of the certificate", func(p pushed) *protobundle.Bundle {
			return keyBundle(envelope(t, key, statement(t, p.digest.Hex, signPredicate, nil)))
		}, "it has no certificate"},
		{"no material", changed(func(b *protobundle.Bundle) { b.VerificationMaterial = nil }), "nothing to verify it with"},
		{"other version", changed(func(b *protobundle.Bundle) { b.MediaType = bundleType + ".v0.9+json" }), "not yet supported"},
	}
	r := newSigningRegistry(t, registry.WithReferrersSupport(true))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			image := r.push(t, "app")
			image.refer(t, bundleJSON(t, tt.make(image)))
			if tt.want == "" {
				image.wantVerified(t, trust, signer)
				return
			}
			image.wantRefused(t, trust, tt.want, signer)
			image.refer(t, bundleJSON(t, good(image)))
			image.wantVerified(t, trust, signer)
		})
	}
	t.Run("bundle of another image", func(t *testing.T) {
		signedImage, image := r.push(t, "app"), r.push(t, "app")
		image.refer(t, bundleJSON(t, good(signedImage)))
		image.wantRefused(t, trust, "does not match any digest in statement", signer)
	})
	t.Run("no bundle", func(t *testing.T) {
		image := r.push(t, "app")
		image.refer(t, []byte("x"))
		image.wantRefused(t, trust, "it is no Sigstore bundle", signer)
	})
}
