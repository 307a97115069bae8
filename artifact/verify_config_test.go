package artifact

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const somePEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"

func TestParseVerificationConfig(t *testing.T) {
	const all = `apiVersion: v1
allOf:
  - kind: githubAction
    owner: acme
    repo: policies
    annotations: {env: prod}
  - kind: genericIssuer
    issuer: https://accounts.example.org
    subject: {equal: dev@example.org}
anyOf:
  minimumMatches: 2
  signatures:
    - kind: pubKey
      owner: alice
      key: |
        -----BEGIN PUBLIC KEY-----
        AAAA
        -----END PUBLIC KEY-----
    - kind: genericIssuer
      issuer: https://token.actions.githubusercontent.com
      subject:
        urlPrefix: https://github.com/acme
    - kind: githubAction
      owner: acme
      repo: null
`
	github := Signer{GitHub: &GitHub{Owner: "acme"}}
	tests := []struct {
		name, text string
		want       VerificationConfig
	}{
		{"everything", all, VerificationConfig{
			AllOf: []Signer{
				{GitHub: &GitHub{"acme", "policies"}, Annotations: map[string]string{"env": "prod"}},
				{Identity: &Identity{"https://accounts.example.org", "dev@example.org"}},
			},
			AnyOf: &AnyOf{2, []Signer{
				{PublicKey: somePEM, Owner: "alice"},
				{Prefix: &IdentityPrefix{"https://token.actions.githubusercontent.com", "https://github.com/acme"}},
				github,
			}},
		}},
		{"JSON", `{"apiVersion":"v1","allOf":[{"kind":"githubAction","owner":"acme"}],"anyOf":null}`, VerificationConfig{AllOf: []Signer{github}}},
		{"JSON with tabs", "{\n\t\"apiVersion\": \"v1\",\n\t\"allOf\": [\n\t\t{\"kind\": \"githubAction\", \"owner\": \"acme\"}\n\t]\n}", VerificationConfig{AllOf: []Signer{github}}},
		{"one of one", "apiVersion: v1\nanyOf: {signatures: [{kind: githubAction, owner: acme}]}", VerificationConfig{AnyOf: &AnyOf{1, []Signer{github}}}},
		{"none of one, with all", "apiVersion: v1\nallOf: [{kind: githubAction, owner: acme}]\nanyOf: {minimumMatches: 0, signatures: [{kind: githubAction, owner: x}]}", VerificationConfig{AllOf: []Signer{github}}},
		{"aliases", "apiVersion: v1\nallOf: [&a {kind: githubAction, owner: acme}, *a]", VerificationConfig{AllOf: []Signer{github, github}}},
		{"scaffold", DefaultVerificationConfig(), VerificationConfig{AllOf: []Signer{{GitHub: &GitHub{Owner: "kubewarden"}}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			have, err := ParseVerificationConfig("verification.yml", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, have); diff != "" {
				t.Errorf("-want +have:\n%s", diff)
			}
		})
	}
}

func TestVerificationConfigMistakes(t *testing.T) {
	const one = "  - {kind: githubAction, owner: acme}\n"
	tests := []struct{ name, text, want string }{
		{"empty", "", "v.yml: the file is empty; want apiVersion: v1"},
		{"comment", "# nothing\n", "v.yml: the file is empty"},
		{"null", "null", "v.yml: the file is empty"},
		{"list", "[]", "v.yml:1:1: want an object, have a list"},
		{"empty mapping", "{}", "v.yml:1:1: apiVersion: is missing; want v1"},
		{"no YAML", "a: [", "v.yml: not YAML: "},
		{"two documents", "apiVersion: v1\n---\na: b\n", "v.yml: a second document starts at line"},
		{"no version", "allOf:\n" + one, "v.yml:1:1: apiVersion: is missing; want v1"},
		{"other version", "apiVersion: v2\nallOf:\n" + one, `v.yml:1:13: apiVersion: Not a supported configuration version: "v2"; want v1`},
		{"version is a number", "apiVersion: 1\nallOf:\n" + one, "v.yml:1:13: apiVersion: want a string; quote it, have 1"},
		{"neither list", "apiVersion: v1\n", "v.yml:1:1: config is missing signatures in both allOf and anyOff list"},
		{"both lists null", "apiVersion: v1\nallOf:\nanyOf:\n", "config is missing signatures in both allOf and anyOff list"},
		{"empty list", "apiVersion: v1\nallOf: []\n", "config is missing signatures in both allOf and anyOff list"},
		{"unknown key", "apiVersion: v1\nallof:\n" + one, "v.yml:2:1: allof: unknown key; did you mean allOf?"},
		{"unknown key far off", "apiVersion: v1\nsigners:\n" + one, "v.yml:2:1: signers: unknown key; known are apiVersion, allOf, anyOf"},
		{"key twice", "apiVersion: v1\napiVersion: v1\nallOf:\n" + one, "v.yml:2:1: apiVersion: is there already, at line 1"},
		{"list is an object", "apiVersion: v1\nallOf: {kind: pubKey}\n", "v.yml:2:8: allOf: want a list of signatures, have an object"},
		{"entry is a string", "apiVersion: v1\nallOf: [acme]\n", `v.yml:2:9: allOf[0]: want an object with a kind, have "acme"`},
		{"no kind", "apiVersion: v1\nallOf:\n  - owner: acme\n", "v.yml:3:5: allOf[0].kind: is missing; known are pubKey, genericIssuer, githubAction"},
		{"wrong kind", "apiVersion: v1\nallOf:\n  - kind: githubActions\n    owner: acme\n", `v.yml:3:11: allOf[0].kind: "githubActions" is no kind of signature; did you mean githubAction?`},
		{"kind of nothing", "apiVersion: v1\nallOf:\n  - kind: certificate\n", `"certificate" is no kind of signature; known are`},
		{"no owner", "apiVersion: v1\nallOf:\n  - kind: githubAction\n", "v.yml:3:5: allOf[0].owner: is missing"},
		{"empty owner", "apiVersion: v1\nallOf:\n  - {kind: githubAction, owner: ''}\n", "v.yml:3:33: allOf[0].owner: is empty"},
		{"owner is null", "apiVersion: v1\nallOf:\n  - {kind: githubAction, owner: ~}\n", "allOf[0].owner: is missing"},
		{"owner is a list", "apiVersion: v1\nallOf:\n  - {kind: githubAction, owner: [a]}\n", "allOf[0].owner: want a string, have a list"},
		{"key of another kind", "apiVersion: v1\nallOf:\n  - {kind: githubAction, owner: acme, issuer: x}\n", "v.yml:3:39: allOf[0].issuer: unknown key; known are kind, owner, repo, annotations"},
		{"no key", "apiVersion: v1\nallOf:\n  - kind: pubKey\n", "allOf[0].key: is missing"},
		{"no subject", "apiVersion: v1\nallOf:\n  - {kind: genericIssuer, issuer: x}\n", "allOf[0].subject: is missing"},
		{"subject is a string", "apiVersion: v1\nallOf:\n  - {kind: genericIssuer, issuer: x, subject: y}\n", `allOf[0].subject: want an object, have "y"`},
		{"empty subject", "apiVersion: v1\nallOf:\n  - {kind: genericIssuer, issuer: x, subject: {}}\n", "allOf[0].subject: want either equal or urlPrefix"},
		{"two subjects", "apiVersion: v1\nallOf:\n  - {kind: genericIssuer, issuer: x, subject: {equal: y, urlPrefix: 'https://z'}}\n", "allOf[0].subject: want either equal or urlPrefix"},
		{"subject of nobody", "apiVersion: v1\nallOf:\n  - {kind: genericIssuer, issuer: x, subject: {equal: ''}}\n", "allOf[0].subject.equal: is empty"},
		{"unknown subject", "apiVersion: v1\nallOf:\n  - {kind: genericIssuer, issuer: x, subject: {urlprefix: y}}\n", "allOf[0].subject.urlprefix: unknown key; did you mean urlPrefix?"},
		{"prefix is no URL", "apiVersion: v1\nallOf:\n  - {kind: genericIssuer, issuer: x, subject: {urlPrefix: acme}}\n", `v.yml:3:59: allOf[0].subject.urlPrefix: url_prefix "acme": want a URL`},
		{"annotation is a number", "apiVersion: v1\nallOf:\n  - {kind: githubAction, owner: acme, annotations: {n: 1}}\n", "allOf[0].annotations.n: want a string; quote it, have 1"},
		{"annotations are a list", "apiVersion: v1\nallOf:\n  - {kind: githubAction, owner: acme, annotations: [{key: a, value: b}]}\n", "allOf[0].annotations: want an object, have a list"},
		{"anyOf is a list", "apiVersion: v1\nanyOf:\n" + one, "v.yml:3:3: anyOf: want an object, have a list"},
		{"anyOf of nothing", "apiVersion: v1\nanyOf: {minimumMatches: 1}\n", "anyOf.signatures: is missing"},
		{"anyOf of nobody", "apiVersion: v1\nanyOf: {signatures: []}\n", "anyOf.minimumMatches: 1 of 0 signatures are wanted, which nothing can satisfy"},
		{"more than there are", "apiVersion: v1\nanyOf: {minimumMatches: 2, signatures: [{kind: githubAction, owner: acme}]}\n", "v.yml:2:25: anyOf.minimumMatches: 2 of 1 signatures are wanted"},
		{"one of them twice", "apiVersion: v1\nanyOf: {signatures: [{kind: pubKey, key: x, owner: a}, {kind: pubKey, key: x, owner: b}]}\n", "v.yml:2:56: anyOf.signatures[1]: is the same as anyOf.signatures[0]: one signature would count twice"},
		{"none of them", "apiVersion: v1\nanyOf: {minimumMatches: 0, signatures: [{kind: githubAction, owner: acme}]}\n", "anyOf.minimumMatches: 0 of the signatures are wanted, and there is no allOf: nothing would be verified"},
		{"too many", "apiVersion: v1\nanyOf: {minimumMatches: 256, signatures: [{kind: githubAction, owner: acme}]}\n", "anyOf.minimumMatches: want an integer from 0 to 255, have 256"},
		{"negative", "apiVersion: v1\nanyOf: {minimumMatches: -1, signatures: [{kind: githubAction, owner: acme}]}\n", "anyOf.minimumMatches: want an integer from 0 to 255, have -1"},
		{"a word", "apiVersion: v1\nanyOf: {minimumMatches: two, signatures: [{kind: githubAction, owner: acme}]}\n", `anyOf.minimumMatches: want an integer from 0 to 255, have "two"`},
		{"merge", "apiVersion: v1\nallOf: [{kind: githubAction, <<: {owner: acme}}]\n", "a key must be a string, have"},
		{"key is a list", "apiVersion: v1\n? [a]\n: b\n", "a key must be a string, have a list"},
		{"large", strings.Repeat("#", maxConfigBytes+1), "at most 1048576 are read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config, err := ParseVerificationConfig("v.yml", []byte(tt.text))
			if err == nil {
				t.Fatalf("ParseVerificationConfig = %+v", config)
			}
			if have := err.Error(); !strings.HasPrefix(have, "Not a valid configuration file: v.yml") || !strings.Contains(have, tt.want) {
				t.Errorf("ParseVerificationConfig: %v\nwant %q", err, tt.want)
			}
			var mistake *ConfigError
			if !errors.As(err, &mistake) || mistake.File != "v.yml" {
				t.Errorf("ParseVerificationConfig: %v, want a *ConfigError", err)
			}
		})
	}
}

func TestVerificationConfigReportsEveryMistake(t *testing.T) {
	_, err := ParseVerificationConfig("v.yml", []byte("anyOf: []\nallOf:\n  - kind: pubkey\n  - kind: pubKey\n"))
	const want = `Not a valid configuration file: v.yml:1:1: apiVersion: is missing; want v1
v.yml:1:8: anyOf: want an object, have a list
v.yml:3:11: allOf[0].kind: "pubkey" is no kind of signature; did you mean pubKey?
v.yml:4:5: allOf[1].key: is missing`
	if err == nil || err.Error() != want {
		t.Errorf("ParseVerificationConfig: %v\nwant %s", err, want)
	}
}
