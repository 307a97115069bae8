package artifact

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// VerificationConfig says by whom modules must be signed: verification.yml.
type VerificationConfig struct {
	// AllOf must all have signed.
	AllOf []Signer
	// AnyOf are signers some of whom must have signed; nil is nobody.
	AnyOf *AnyOf
}

// AnyOf are signers some of whom must have signed.
type AnyOf struct {
	// MinimumMatches is how many of Signers; 0 is taken as 1.
	MinimumMatches int
	Signers        []Signer
}

// ConfigError is one mistake in a verification.yml.
type ConfigError struct {
	File string
	// Line and Column count from 1; 0 is the file as a whole.
	Line, Column int
	// Path is the key: "anyOf.signatures[0].kind".
	Path    string
	Problem string
}

func (e *ConfigError) Error() string {
	s := e.File
	if e.Line > 0 {
		s += fmt.Sprintf(":%d:%d", e.Line, e.Column)
	}
	if e.Path != "" {
		s += ": " + e.Path
	}
	return s + ": " + e.Problem
}

// maxConfigBytes bounds a verification.yml: what a ConfigMap can hold.
const maxConfigBytes = 1 << 20

// ParseVerificationConfig reads a verification.yml, in YAML or JSON. Name is
// that of the file, for messages. Unlike Kubewarden's, a file must have an
// apiVersion, and must want at least one signature.
//
// The error joins a *ConfigError for each mistake.
func ParseVerificationConfig(name string, data []byte) (VerificationConfig, error) {
	p := &configParser{file: name}
	config := p.parse(data)
	if p.errs == nil {
		return config, nil
	}
	slices.SortStableFunc(p.errs, func(a, b *ConfigError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs := make([]error, len(p.errs))
	for i, err := range p.errs {
		errs[i] = err
	}
	return VerificationConfig{}, &invalidConfig{errors.Join(errs...)}
}

// invalidConfig says of mistakes what Kubewarden says.
type invalidConfig struct{ err error }

func (e *invalidConfig) Error() string { return "Not a valid configuration file: " + e.err.Error() }
func (e *invalidConfig) Unwrap() error { return e.err }

// configParser reads a verification.yml and collects the mistakes in it.
type configParser struct {
	file string
	errs []*ConfigError
}

func (p *configParser) fail(n *yaml.Node, path, problem string) {
	const most = 100 // more than anybody reads
	if len(p.errs) >= most {
		return
	}
	e := &ConfigError{File: p.file, Path: path, Problem: problem}
	if n != nil {
		e.Line, e.Column = n.Line, n.Column
	}
	p.errs = append(p.errs, e)
}

func (p *configParser) parse(data []byte) (config VerificationConfig) {
	root, err := parseOneDocument(data)
	if err != nil {
		p.fail(nil, "", err.Error())
		return config
	}
	if root == nil || isNullNode(root) {
		p.fail(nil, "", "the file is empty; want apiVersion: v1 and an allOf or anyOf")
		return config
	}
	fields, ok := p.object(root, "", []string{"apiVersion", "allOf", "anyOf"})
	if !ok {
		return config
	}
	p.version(root, fields["apiVersion"])
	mistakes := len(p.errs)
	if n := fields["allOf"]; n != nil {
		config.AllOf = p.signers(n, "allOf")
	}
	if n := fields["anyOf"]; n != nil {
		config.AnyOf = p.anyOf(n, len(config.AllOf) > 0)
	}
	if mistakes == len(p.errs) && len(config.AllOf) == 0 && config.AnyOf == nil {
		p.fail(root, "", "config is missing signatures in both allOf and anyOff list")
	}
	return config
}

func (p *configParser) version(root, n *yaml.Node) {
	if n == nil {
		p.fail(root, "apiVersion", "is missing; want v1")
		return
	}
	if v, ok := p.text(n, "apiVersion"); ok && v != "v1" {
		p.fail(n, "apiVersion", fmt.Sprintf("Not a supported configuration version: %q; want v1", v))
	}
}

// anyOf reads the signers some of whom must have signed.
func (p *configParser) anyOf(n *yaml.Node, hasAllOf bool) *AnyOf {
	fields, ok := p.object(n, "anyOf", []string{"minimumMatches", "signatures"})
	if !ok {
		return nil
	}
	some := &AnyOf{MinimumMatches: 1}
	minimum := fields["minimumMatches"]
	if minimum != nil {
		some.MinimumMatches, ok = p.integer(minimum, "anyOf.minimumMatches")
	}
	list := fields["signatures"]
	if list == nil {
		p.fail(n, "anyOf.signatures", "is missing")
		return nil
	}
	some.Signers = p.signers(list, "anyOf.signatures")
	if len(p.errs) == 0 {
		p.twice(list, some.Signers)
	}
	switch {
	case !ok || list.Kind != yaml.SequenceNode:
		return some // there is a mistake already
	case some.MinimumMatches == 0 && hasAllOf:
		return nil // nobody has to
	case some.MinimumMatches == 0:
		p.fail(minimum, "anyOf.minimumMatches", "0 of the signatures are wanted, and there is no allOf: nothing would be verified")
	case some.MinimumMatches > len(some.Signers):
		p.fail(cmp.Or(minimum, list), "anyOf.minimumMatches", fmt.Sprintf("%d of %d signatures are wanted, which nothing can satisfy", some.MinimumMatches, len(some.Signers)))
	}
	return some
}

// twice reports a signer that anyOf has twice: one signature would count as two.
func (p *configParser) twice(list *yaml.Node, signers []Signer) {
	seen := map[string]int{}
	for i, s := range signers {
		s.Owner, s.PublicKey = "", strings.TrimSpace(s.PublicKey) // the owner is a label
		text := s.yaml()
		if first, ok := seen[text]; ok {
			p.fail(list.Content[i], fmt.Sprintf("anyOf.signatures[%d]", i), fmt.Sprintf("is the same as anyOf.signatures[%d]: one signature would count twice", first))
			continue
		}
		seen[text] = i
	}
}

func (p *configParser) signers(n *yaml.Node, path string) (list []Signer) {
	if n.Kind != yaml.SequenceNode {
		p.want(n, path, "a list of signatures")
		return nil
	}
	for i, element := range n.Content {
		list = append(list, p.signer(follow(element), path+"["+strconv.Itoa(i)+"]"))
	}
	return list
}

// keysOf are the keys of a kind of signer, which of them it must have first.
func keysOf(kind string) (required, optional []string) {
	switch kind {
	case kindKey:
		return []string{"key"}, []string{"owner", "annotations"}
	case kindIssuer:
		return []string{"issuer", "subject"}, []string{"annotations"}
	case kindGitHub:
		return []string{"owner"}, []string{"repo", "annotations"}
	}
	return nil, nil
}

func (p *configParser) signer(n *yaml.Node, path string) (s Signer) {
	if n.Kind != yaml.MappingNode {
		p.want(n, path, "an object with a kind")
		return s
	}
	kind, ok := p.kind(n, path)
	if !ok {
		return s
	}
	required, optional := keysOf(kind)
	fields, ok := p.object(n, path, slices.Concat([]string{"kind"}, required, optional))
	if !ok {
		return s
	}
	texts := map[string]string{}
	for _, key := range slices.Concat(required, optional) {
		value := fields[key]
		switch {
		case value == nil && slices.Contains(required, key):
			p.fail(n, path+"."+key, "is missing")
		case value == nil || key == "annotations" || key == "subject":
		default:
			text, ok := p.text(value, path+"."+key)
			if ok && strings.TrimSpace(text) == "" && slices.Contains(required, key) {
				p.fail(value, path+"."+key, "is empty")
			}
			texts[key] = text
		}
	}
	switch kind {
	case kindKey:
		s.PublicKey, s.Owner = texts["key"], texts["owner"]
	case kindGitHub:
		s.GitHub = &GitHub{Owner: texts["owner"], Repo: texts["repo"]}
	case kindIssuer:
		if fields["subject"] != nil {
			p.subject(fields["subject"], path+".subject", texts["issuer"], &s)
		}
	}
	if annotations := fields["annotations"]; annotations != nil {
		s.Annotations = p.annotations(annotations, path+".annotations")
	}
	return s
}

// kind returns the kind of a signer, if it is one.
func (p *configParser) kind(n *yaml.Node, path string) (string, bool) {
	kinds := []string{kindKey, kindIssuer, kindGitHub}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != "kind" {
			continue
		}
		value := follow(n.Content[i+1])
		kind, ok := p.text(value, path+".kind")
		if ok && !slices.Contains(kinds, kind) {
			p.fail(value, path+".kind", fmt.Sprintf("%q is no kind of signature%s", kind, suggest(kind, kinds)))
			return "", false
		}
		return kind, ok
	}
	p.fail(n, path+".kind", "is missing; known are "+strings.Join(kinds, ", "))
	return "", false
}

// subject reads who a genericIssuer has issued to: exactly, or by prefix.
func (p *configParser) subject(n *yaml.Node, path, issuer string, s *Signer) {
	fields, ok := p.object(n, path, []string{"equal", "urlPrefix"})
	if !ok {
		return
	}
	equal, prefix := fields["equal"], fields["urlPrefix"]
	switch {
	case (equal == nil) == (prefix == nil):
		p.fail(n, path, "want either equal or urlPrefix")
	case equal != nil:
		text, ok := p.text(equal, path+".equal")
		if ok && text == "" {
			p.fail(equal, path+".equal", "is empty")
		}
		s.Identity = &Identity{Issuer: issuer, Subject: text}
	default:
		text, ok := p.text(prefix, path+".urlPrefix")
		s.Prefix = &IdentityPrefix{Issuer: issuer, URLPrefix: text}
		if !ok || issuer == "" {
			return
		}
		if _, err := newConstraint(Signer{Prefix: s.Prefix}); err != nil {
			p.fail(prefix, path+".urlPrefix", err.Error())
		}
	}
}

func (p *configParser) annotations(n *yaml.Node, path string) map[string]string {
	fields, ok := p.object(n, path, nil)
	if !ok {
		return nil
	}
	out := map[string]string{}
	for key, value := range fields {
		out[key], _ = p.text(value, path+"."+key)
	}
	return out
}

// DefaultVerificationConfig is a verification.yml to start from: it wants
// modules signed by Kubewarden's own workflows.
func DefaultVerificationConfig() string {
	return `# By whom policies must be signed before they are loaded.
# Everything in allOf must be satisfied, and minimumMatches of anyOf.
apiVersion: v1

allOf:
  # A workflow of GitHub Actions in a repository of this owner.
  - kind: githubAction
    owner: kubewarden # mandatory
    # repo: policy-server # optional: that repository only
    # annotations: # optional: must be signed too
    #   env: prod

# anyOf:
#   minimumMatches: 2 # optional, 1 if it is left out
#   signatures:
#     # A key, for example one made by "warder keygen".
#     - kind: pubKey
#       owner: alice # optional, for you to know whose it is
#       key: |
#         -----BEGIN PUBLIC KEY-----
#         ...
#         -----END PUBLIC KEY-----
#     # A keyless signer, as the issuer of the identity knows it.
#     - kind: genericIssuer
#       issuer: https://accounts.google.com
#       subject:
#         equal: alice@example.com
#     - kind: genericIssuer
#       issuer: https://token.actions.githubusercontent.com
#       subject:
#         urlPrefix: https://github.com/flavio/
`
}
