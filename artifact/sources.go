package artifact

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Sources says how hosts are reached. The zero value reaches each over HTTPS
// with the certificates that the system trusts.
type Sources struct {
	// Insecure are hosts, or host:port, which are also reached over HTTPS
	// without verification, and over HTTP.
	Insecure []string
	// Authorities are CAs that a host, or host:port, may have its certificate
	// from, besides those that the system trusts.
	Authorities map[string][]*x509.Certificate
	// Proxies are used for every host but those in NoProxy; an empty one is
	// that of the environment.
	Proxies Proxies
}

// Proxies are URLs of proxies. NoProxy is a list with commas.
type Proxies struct{ HTTP, HTTPS, NoProxy string }

// ReadSources reads a sources.yml.
func ReadSources(file string) (Sources, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Sources{}, fmt.Errorf("sources: %w", err)
	}
	return ParseSources(file, text)
}

// ParseSources reads the text of a sources.yml; file is for the errors, which
// name every mistake with its place.
func ParseSources(file string, text []byte) (Sources, error) {
	p := &sourcesFile{name: file}
	root, err := p.parse(text)
	if err != nil {
		return Sources{}, fmt.Errorf("%s: %w", file, err)
	}
	var s Sources
	if root != nil {
		s = p.sources(root)
	}
	if len(p.wrong) > 0 {
		return Sources{}, errors.Join(p.wrong...)
	}
	return s, nil
}

// sourcesFile is a sources.yml that is being read.
type sourcesFile struct {
	name  string
	wrong []error
}

// parse returns the only document, nil when there is none.
func (p *sourcesFile) parse(text []byte) (root *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil { // the parser is not ours
			root, err = nil, fmt.Errorf("not YAML: the parser gave up: %v", r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := dec.Decode(&second); err == nil {
		return nil, fmt.Errorf("a second document starts at line %d; want one", second.Line)
	}
	if len(doc.Content) != 1 || isNull(doc.Content[0]) {
		return nil, nil
	}
	return doc.Content[0], nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func (p *sourcesFile) fail(n *yaml.Node, format string, args ...any) {
	p.wrong = append(p.wrong, fmt.Errorf("%s:%d:%d: %w", p.name, n.Line, n.Column, fmt.Errorf(format, args...)))
}

func (p *sourcesFile) sources(root *yaml.Node) Sources {
	s := Sources{Authorities: map[string][]*x509.Certificate{}}
	p.mapping(root, "sources", func(key, value *yaml.Node) {
		switch key.Value {
		case "insecure_sources":
			p.list(value, key.Value, func(n *yaml.Node) {
				if host := p.host(n); host != "" {
					s.Insecure = append(s.Insecure, host)
				}
			})
		case "source_authorities":
			p.mapping(value, key.Value, func(hostKey, list *yaml.Node) {
				host := p.host(hostKey)
				p.list(list, key.Value, func(n *yaml.Node) {
					s.Authorities[host] = append(s.Authorities[host], p.authority(n)...)
				})
			})
		case "proxies":
			s.Proxies = p.proxies(value)
		default:
			p.unknown(key, "insecure_sources", "source_authorities", "proxies")
		}
	})
	return s
}

// mapping calls f for each member. A name that comes twice is wrong, and null is
// an empty mapping.
func (p *sourcesFile) mapping(n *yaml.Node, what string, f func(key, value *yaml.Node)) {
	n = target(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		p.fail(n, "%s: want a mapping, have %s", what, kindOf(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if line, ok := seen[key.Value]; ok {
			p.fail(key, "the key %q is there already, at line %d", key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		f(key, target(n.Content[i+1]))
	}
}

func (p *sourcesFile) list(n *yaml.Node, what string, f func(*yaml.Node)) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "%s: want a list, have %s", what, kindOf(n))
		return
	}
	for _, element := range n.Content {
		f(target(element))
	}
}

func (p *sourcesFile) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		p.fail(n, "%s: want text, have %s", what, kindOf(n))
		return ""
	}
	return n.Value
}

// target follows an alias once: what it names is never an alias itself.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	}
	return fmt.Sprintf("%q", n.Value)
}

// host reads host or host:port. Lists are matched by exact text, so what could
// never match is wrong.
func (p *sourcesFile) host(n *yaml.Node) string {
	host := p.text(n, "host")
	if host == "" {
		return ""
	}
	if i := strings.Index(host, "://"); i >= 0 {
		rest, _, _ := strings.Cut(host[i+3:], "/")
		p.fail(n, "host %q: want host or host:port without a scheme: %s", host, rest)
		return ""
	}
	if u, err := url.Parse("//" + host); err != nil || u.Host != host || strings.ContainsAny(host, "*@") {
		p.fail(n, "host %q: want host or host:port, without a path and without wildcards", host)
		return ""
	}
	return strings.ToLower(host)
}

func (p *sourcesFile) authority(n *yaml.Node) []*x509.Certificate {
	var kind, file, data string
	at := n
	p.mapping(n, "certificate", func(key, value *yaml.Node) {
		switch key.Value {
		case "type":
			kind = p.text(value, "type")
		case "path":
			file, at = p.text(value, "path"), value
		case "data":
			data, at = p.text(value, "data"), value
		default:
			p.unknown(key, "type", "path", "data")
		}
	})
	text := []byte(data)
	switch {
	case n.Kind != yaml.MappingNode:
		return nil // reported
	case kind == "Path" && file != "" && data == "":
		var err error
		if text, err = os.ReadFile(file); err != nil {
			p.fail(at, "certificate: %w", err)
			return nil
		}
	case kind == "Data" && data != "" && file == "":
	default:
		p.fail(n, "certificate: want {type: Path, path: FILE} or {type: Data, data: PEM}")
		return nil
	}
	certs, err := parseCertificates(text)
	if err != nil {
		p.fail(at, "certificate: %w", err)
	}
	return certs
}

// parseCertificates reads PEM, one certificate or more, or DER.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("the PEM holds a %s, want CERTIFICATE", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the PEM holds no certificate: %w", err)
		}
		certs = append(certs, cert)
	}
	if len(certs) > 0 {
		return certs, nil
	}
	cert, err := x509.ParseCertificate(text)
	if err != nil {
		return nil, errors.New("Raw certificate is not in PEM nor in DER encoding") //nolint:staticcheck // upstream's text
	}
	return []*x509.Certificate{cert}, nil
}

func (p *sourcesFile) proxies(n *yaml.Node) Proxies {
	var out Proxies
	proxy := func(value *yaml.Node, what string) string {
		if isNull(value) {
			return ""
		}
		text := p.text(value, what)
		if u, err := url.Parse(text); text != "" && (err != nil || u.Host == "") {
			p.fail(value, "%s: want a URL, as in http://proxy:3128", what)
		}
		return text
	}
	p.mapping(n, "proxies", func(key, value *yaml.Node) {
		switch key.Value {
		case "http_proxy":
			out.HTTP = proxy(value, key.Value)
		case "https_proxy":
			out.HTTPS = proxy(value, key.Value)
		case "no_proxy":
			if !isNull(value) {
				out.NoProxy = p.text(value, key.Value)
			}
		default:
			p.unknown(key, "http_proxy", "https_proxy", "no_proxy")
		}
	})
	return out
}

// unknown reports a key that is none of want, with the one that was meant.
func (p *sourcesFile) unknown(key *yaml.Node, want ...string) {
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	for _, w := range want {
		if plain(w) == plain(key.Value) || sameButOne(w, key.Value) {
			p.fail(key, "unknown key %q; did you mean %s?", key.Value, w)
			return
		}
	}
	slices.Sort(want)
	p.fail(key, "unknown key %q; want %s", key.Value, strings.Join(want, ", "))
}

// sameButOne reports whether one letter too many, too few or wrong, or two in
// the wrong order, keep a from being b.
func sameButOne(a, b string) bool {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	a, b = a[i:], b[i:]
	switch {
	case len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] && a[2:] == b[2:]:
		return true
	case len(a) > 0 && len(b) > 0 && a[1:] == b[1:]:
		return true
	}
	return len(a) > 0 && a[1:] == b || len(b) > 0 && a == b[1:]
}
