package artifact

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
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
	// Files are those that Authorities were read from, besides the sources.yml.
	Files []string
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
	root, err := parseOneDocument(text)
	if err != nil {
		return Sources{}, fmt.Errorf("%s: %w", file, err)
	}
	var s Sources
	if root != nil {
		s = p.sources(root)
		s.Files = p.files
	}
	if len(p.wrong) > 0 {
		return Sources{}, errors.Join(p.wrong...)
	}
	return s, nil
}

// sourcesFile is a sources.yml that is being read.
type sourcesFile struct {
	name  string
	files []string // with certificates
	wrong []error
}

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
	n = follow(n)
	if isNullNode(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		p.fail(n, "%s: want an object, have %s", what, describeNode(n))
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
		f(key, follow(n.Content[i+1]))
	}
}

func (p *sourcesFile) list(n *yaml.Node, what string, f func(*yaml.Node)) {
	if isNullNode(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "%s: want a list, have %s", what, describeNode(n))
		return
	}
	for _, element := range n.Content {
		f(follow(element))
	}
}

func (p *sourcesFile) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || isNullNode(n) {
		p.fail(n, "%s: want text, have %s", what, describeNode(n))
		return ""
	}
	return n.Value
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
		p.files = append(p.files, file)
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
		if isNullNode(value) {
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
			if !isNullNode(value) {
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
	p.fail(key, "unknown key %q%s", key.Value, suggest(key.Value, want))
}
