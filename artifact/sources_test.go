package artifact

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newCertificate makes a certificate that signs itself, for the hosts.
func newCertificate(t testing.TB, hosts ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		DNSNames: hosts, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestSourcesAreReadAsKubewardenDoes(t *testing.T) {
	one, two := newCertificate(t, "one").Leaf, newCertificate(t, "two").Leaf
	dir := t.TempDir()
	inPEM, inDER := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.der")
	for file, text := range map[string]string{inPEM: pemOf(one.Raw) + pemOf(two.Raw), inDER: string(one.Raw)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := `
insecure_sources: ["Registry.dev.local:5000", 10.0.0.1]
source_authorities:
  "registry.corp:443":
    - {type: Path, path: ` + inPEM + `}
    - {type: Path, path: ` + inDER + `}
  ghcr.io:
    - type: Data
      data: |
        ` + strings.ReplaceAll(pemOf(two.Raw), "\n", "\n        ") + `
proxies: {http_proxy: "http://p:3128", https_proxy: "http://q:3128", no_proxy: "localhost,.corp"}
`
	s, err := ParseSources("sources.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	names := func(certs []*x509.Certificate) (all []string) {
		for _, c := range certs {
			all = append(all, c.DNSNames...)
		}
		return all
	}
	if diff := cmp.Diff([]string{"registry.dev.local:5000", "10.0.0.1"}, s.Insecure); diff != "" {
		t.Errorf("insecure (-want +have):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"one", "two", "one"}, names(s.Authorities["registry.corp:443"])); diff != "" {
		t.Errorf("authorities by path (-want +have):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"two"}, names(s.Authorities["ghcr.io"])); diff != "" {
		t.Errorf("authorities by data (-want +have):\n%s", diff)
	}
	if diff := cmp.Diff(Proxies{HTTP: "http://p:3128", HTTPS: "http://q:3128", NoProxy: "localhost,.corp"}, s.Proxies); diff != "" {
		t.Errorf("proxies (-want +have):\n%s", diff)
	}
}

func TestSourcesMayBeEmpty(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "{}", "null", "insecure_sources:\nsource_authorities:\nproxies:\n", "---\n"} {
		if s, err := ParseSources("s.yml", []byte(text)); err != nil || len(s.Insecure)+len(s.Authorities) != 0 {
			t.Errorf("%q = %v, %v, want nothing and no error", text, s, err)
		}
	}
}

func TestMistakesInSourcesAreNamedWithTheirPlace(t *testing.T) {
	const noCert = "certificate: want {type: Path, path: FILE} or {type: Data, data: PEM}"
	tests := []struct{ text, want string }{
		{"insecure_source: [a]", `s.yml:1:1: unknown key "insecure_source"; did you mean insecure_sources?`},
		{"insecureSources: [a]", `s.yml:1:1: unknown key "insecureSources"; did you mean insecure_sources?`},
		{"mirrors: [a]", `s.yml:1:1: unknown key "mirrors"; known are insecure_sources, source_authorities, proxies`},
		{"[a]", "s.yml:1:1: sources: want an object, have a list"},
		{"insecure_sources: a", `s.yml:1:19: insecure_sources: want a list, have "a"`},
		{"insecure_sources: [[a]]", "s.yml:1:20: host: want text, have a list"},
		{"insecure_sources: [http://a:5000/x]", `s.yml:1:20: host "http://a:5000/x": want host or host:port without a scheme: a:5000`},
		{"insecure_sources: [a/b]", `s.yml:1:20: host "a/b": want host or host:port, without a path and without wildcards`},
		{"insecure_sources: ['*.corp']", `s.yml:1:20: host "*.corp": want host or host:port, without a path and without wildcards`},
		{"source_authorities: {h: [{type: Path}]}", "s.yml:1:26: " + noCert},
		{"source_authorities: {h: [{type: File, path: /x}]}", "s.yml:1:26: " + noCert},
		{"source_authorities: {h: [{type: Data, path: /x}]}", "s.yml:1:26: " + noCert},
		{"source_authorities: {h: [x]}", `s.yml:1:26: certificate: want an object, have "x"`},
		{"source_authorities: {h: [{type: Data, data: garbage}]}", "s.yml:1:45: certificate: Raw certificate is not in PEM nor in DER encoding"},
		{"source_authorities: {h: [{type: Path, path: /does/not/exist}]}", "s.yml:1:45: certificate: open /does/not/exist: no such file or directory"},
		{"source_authorities: {h: [{typ: Path, path: /x}]}", `s.yml:1:27: unknown key "typ"; did you mean type?` + "\ns.yml:1:26: " + noCert},
		{"proxies: {http_proxy: p}", "s.yml:1:23: http_proxy: want a URL, as in http://proxy:3128"},
		{"proxies: {http: p}", `s.yml:1:11: unknown key "http"; known are http_proxy, https_proxy, no_proxy`},
		{"insecure_sources: [a]\ninsecure_sources: [b]", `s.yml:2:1: the key "insecure_sources" is there already, at line 1`},
		{"a: [", "s.yml: not YAML: "},
		{"{}\n---\n{}", "s.yml: a second document starts at line 2; want one"},
		{"insecure_sources: [{}]\nproxies: 7", "s.yml:1:20: host: want text, have an object\n" + `s.yml:2:10: proxies: want an object, have 7`},
	}
	for _, tt := range tests {
		_, err := ParseSources("s.yml", []byte(tt.text))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s\nhave %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

func TestAPasswordOfAProxyIsInNoMessage(t *testing.T) {
	if _, err := ParseSources("s.yml", []byte("proxies: {http_proxy: 'user:hunter2@proxy'}")); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("ParseSources = %v, want an error without the password", err)
	}
}

func FuzzSources(f *testing.F) {
	for _, seed := range []string{
		"insecure_sources: [a, b:1]", "source_authorities: {h: [{type: Data, data: x}]}", "proxies: {http_proxy: http://p}",
		"a: &a [*a]", "x: &x {y: *x}", "- a", "source_authorities: {h: &a [{type: Path, path: /dev/null}], i: *a}", "!!binary a: b",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(strings.ToLower(string(text)), "path") {
			t.Skip("it would read a file")
		}
		s, err := ParseSources("s.yml", text)
		if err != nil {
			return
		}
		if _, err := newHosts(s, time.Second); err != nil {
			t.Fatalf("%q: sources that are right make no client: %v", text, err)
		}
	})
}
