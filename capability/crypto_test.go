package capability

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// authority is a certificate with its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// noon is when all certificates of these tests are valid, but those that say
// otherwise.
func noon() time.Time { return time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC) }

// issue makes a certificate, signed by itself if there is no issuer. It is valid
// for a year before and after noon, unless change says otherwise.
func issue(t *testing.T, issuer *authority, name string, change func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name + ".example.org"},
		NotBefore: noon().AddDate(-1, 0, 0), NotAfter: noon().AddDate(1, 0, 0), BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func ca(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }

// endingAt and startingAt bound the validity.
func endingAt(at time.Time, also func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) { also(c); c.NotAfter = at }
}

func startingAt(at time.Time, also func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) { also(c); c.NotBefore = at }
}

func leaf(*x509.Certificate) {}

func (a *authority) der() certificate { return certificate{"Der", a.cert.Raw} }

func (a *authority) pem() certificate {
	return certificate{"Pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})}
}

// chain are certificates as a question has them.
func chain(certs ...*authority) []certificate {
	list := []certificate{}
	for _, c := range certs {
		list = append(list, c.der())
	}
	return list
}

func instant(at time.Time) *string {
	text := at.Format(time.RFC3339Nano)
	return &text
}

func trust(t *testing.T, h *Host, q certificateQuestion) (answer string, err error) {
	t.Helper()
	payload, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	text, err := h.Call(t.Context(), call("crypto", "v1/is_certificate_trusted", string(payload)))
	return string(text), err
}

func TestTheReasonsAreKubewardens(t *testing.T) {
	for have, want := range map[string]string{
		reasonExpired:   "Certificate is being used after its expiration date",
		reasonTooEarly:  "Certificate is being used before its validity date",
		reasonUntrusted: "Certificate is not trusted by the provided cert chain",
		reasonOther:     "Certificate not trusted: ",
	} {
		if have != want {
			t.Errorf("%q, want %q", have, want)
		}
	}
}

func TestCertificatesAreTrustedAsKubewardenDoes(t *testing.T) {
	hour := time.Hour
	root := issue(t, nil, "root", ca)
	oldRoot := issue(t, nil, "old root", endingAt(noon().Add(-hour), ca))
	plainRoot := issue(t, nil, "root that says nothing of itself", func(c *x509.Certificate) { c.BasicConstraintsValid = false })
	other := issue(t, nil, "other", ca)
	namesake := issue(t, nil, "root", ca)
	middle := issue(t, root, "middle", ca)
	oldMiddle := issue(t, root, "old middle", endingAt(noon().Add(-hour), ca))
	newMiddle := issue(t, root, "new middle", startingAt(noon().Add(hour), ca))
	low := issue(t, middle, "low", ca)
	noCA := issue(t, root, "no CA", leaf)
	edge := noon().Add(10 * hour)
	tests := []struct {
		name  string
		cert  *authority
		chain []certificate
		at    time.Time
		want  string // the reason; "" is trusted
	}{
		{"by its root", issue(t, root, "a", leaf), chain(root), noon(), ""},
		{"by an intermediate", issue(t, middle, "a", leaf), chain(middle, root), noon(), ""},
		{"by intermediates in any order", issue(t, low, "a", leaf), chain(middle, low, root), noon(), ""},
		{"by an intermediate as the root", issue(t, middle, "a", leaf), chain(middle), noon(), ""},
		{"by a root that has expired", issue(t, oldRoot, "a", leaf), chain(oldRoot), noon(), ""},
		{"by a root that is no CA", issue(t, plainRoot, "a", leaf), chain(plainRoot), noon(), ""},
		{"one that signed itself and is the root", plainRoot, chain(plainRoot), noon(), ""},
		{"for servers", issue(t, root, "a", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), chain(root), noon(), ""},
		{"for signing code", issue(t, root, "a", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }), chain(root), noon(), ""},
		{"in its first second", issue(t, root, "a", startingAt(edge, leaf)), chain(root), edge, ""},
		{"in its last second", issue(t, root, "a", endingAt(edge, leaf)), chain(root), edge.Add(time.Second / 2), ""},

		{"by nobody", issue(t, root, "a", leaf), []certificate{}, noon(), reasonUntrusted},
		{"by another root", issue(t, root, "a", leaf), chain(other), noon(), reasonUntrusted},
		{"by another root of the same name", issue(t, root, "a", leaf), chain(namesake), noon(), reasonUntrusted},
		{"a root that is not the last", issue(t, root, "a", leaf), chain(root, other), noon(), reasonUntrusted},
		{"an intermediate is missing", issue(t, low, "a", leaf), chain(low, root), noon(), reasonUntrusted},
		{"by one that is no CA", issue(t, noCA, "a", leaf), chain(noCA, root), noon(), reasonUntrusted},
		{"after its end", issue(t, root, "a", endingAt(edge, leaf)), chain(root), edge.Add(time.Second), reasonExpired},
		{"before its start", issue(t, root, "a", startingAt(edge, leaf)), chain(root), edge.Add(-time.Second), reasonTooEarly},
		{"after its end, and unknown", issue(t, root, "a", endingAt(noon().Add(-hour), leaf)), chain(other), noon(), reasonExpired},
		{"an intermediate has expired", issue(t, oldMiddle, "a", leaf), chain(oldMiddle, root), noon(), reasonExpired},
		{"an intermediate is not valid yet", issue(t, newMiddle, "a", leaf), chain(newMiddle, root), noon(), reasonTooEarly},
		{"the time of an intermediate that is not needed", issue(t, middle, "a", leaf), chain(oldMiddle, middle, root), noon(), ""},
		{"a CA", middle, chain(root), noon(), "Certificate not trusted: CaUsedAsEndEntity"},
		{"a public chain", issue(t, root, "a", leaf), nil, noon(), reasonUntrusted},
	}
	h, _ := hostFor(everything)
	h.Services.Cache = NewCache()
	for _, tt := range tests {
		want := `{"trusted":true,"reason":""}`
		if tt.want != "" {
			want = fmt.Sprintf(`{"trusted":false,"reason":%q}`, tt.want)
		}
		if have, err := trust(t, h, certificateQuestion{tt.cert.der(), tt.chain, instant(tt.at)}); err != nil || have != want {
			t.Errorf("%s: %s, %v, want %s", tt.name, have, err, want)
		}
		have, err := trust(t, h, certificateQuestion{tt.cert.pem(), tt.chain, instant(tt.at.In(time.FixedZone("", -7*3600)))})
		if err != nil || have != want {
			t.Errorf("%s, as PEM and in another time zone: %s, %v, want %s", tt.name, have, err, want)
		}
	}
}

func TestAConstraintOfTheChainIsNamed(t *testing.T) {
	root := issue(t, nil, "root", func(c *x509.Certificate) { ca(c); c.PermittedDNSDomains = []string{"b.example"} })
	h, _ := hostFor(everything)
	have, err := trust(t, h, certificateQuestion{issue(t, root, "a", leaf).der(), chain(root), instant(noon())})
	if err != nil || !strings.HasPrefix(have, `{"trusted":false,"reason":"Certificate not trusted: x509: a root or intermediate certificate is not authorized to sign for this name`) {
		t.Errorf("%s, %v, want the constraint as the reason", have, err)
	}
}

func TestWithoutAnInstantACertificateIsJudgedNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // starts in 2000
		now := time.Now()
		root := issue(t, nil, "root", ca)
		cert := issue(t, root, "a", endingAt(now.Add(time.Hour), startingAt(now.Add(-time.Hour), leaf)))
		h, _ := hostFor(everything)
		empty := ""
		text, err := json.Marshal(certificateQuestion{Cert: cert.der(), Chain: chain(root)})
		if err != nil {
			t.Fatal(err)
		}
		absent := strings.Replace(string(text), `,"not_after":null`, "", 1)
		for _, want := range []string{`{"trusted":true,"reason":""}`, `{"trusted":false,"reason":"` + reasonExpired + `"}`} {
			for _, at := range []*string{nil, &empty} {
				if have, err := trust(t, h, certificateQuestion{cert.der(), chain(root), at}); err != nil || have != want {
					t.Errorf("%s, %v, want %s", have, err, want)
				}
			}
			have, err := h.Call(t.Context(), call("crypto", "v1/is_certificate_trusted", absent))
			if err != nil || string(have) != want || strings.Contains(absent, "not_after") {
				t.Errorf("%s, %v, want %s", have, err, want)
			}
			<-time.After(2 * time.Hour)
		}
	})
}

// Of a public root we have the certificate and not the key, so that it stands
// for what it has signed: it would be trusted, were it not a CA.
func TestMozillasRootsAreTheDefault(t *testing.T) {
	h, _ := hostFor(everything)
	cached := NewCache()
	h.Services.Cache = cached
	all := 0
	for root := range bundle.Roots() {
		cert, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			t.Fatalf("a root of the bundle cannot be read: %v", err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: cached.roots(), CurrentTime: cert.NotBefore}); err != nil {
			t.Errorf("%s: %v, want it among the roots", cert.Subject, err)
		}
		have, err := trust(t, h, certificateQuestion{(&authority{cert: cert}).der(), nil, instant(cert.NotBefore)})
		if err != nil || have != `{"trusted":false,"reason":"Certificate not trusted: CaUsedAsEndEntity"}` {
			t.Errorf("%s: %s, %v, want it found to be a CA", cert.Subject, have, err)
		}
		all++
	}
	first, second := cached.roots(), cached.roots()
	if all < 100 || first != second || !mozillaRoots().Equal(first) {
		t.Errorf("%d roots, or the cache makes others each time", all)
	}
}

func TestAQuestionAboutACertificateThatCannotBeAnswered(t *testing.T) {
	root := issue(t, nil, "root", ca)
	good := issue(t, root, "a", leaf)
	now := "2030-01-01T00:00:00Z"
	const failure = "Callback evaluation failure: "
	pemOf := func(text string) certificate { return certificate{"Pem", octets(text)} }
	tests := []struct {
		name string
		q    certificateQuestion
		want string // the start of it
	}{
		{"no PEM", certificateQuestion{pemOf("hello"), nil, &now}, failure + "Certificate PEM data is not valid: it holds no CERTIFICATE block"},
		{"PEM of a key", certificateQuestion{pemOf("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), nil, &now}, failure + "Certificate PEM data is not valid: it holds no CERTIFICATE block"},
		{"PEM of something else", certificateQuestion{pemOf("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), nil, &now}, failure + "Certificate is not a valid end-entity certificate: x509: "},
		{"DER of nothing", certificateQuestion{certificate{"Der", octets{}}, nil, &now}, failure + "Certificate is not a valid end-entity certificate: x509: "},
		{"the chain", certificateQuestion{good.der(), []certificate{root.der(), pemOf("hello")}, &now}, failure + "cert_chain[1]: Certificate PEM data is not valid: it holds no CERTIFICATE block"},
	}
	for _, text := range []string{"tomorrow", "2030-01-01", "2030-01-01 00:00:00", "1893456000"} {
		tests = append(tests, struct {
			name string
			q    certificateQuestion
			want string
		}{"instant " + text, certificateQuestion{good.der(), chain(root), &text}, failure + "Timestamp not_after is not in RFC3339 format"})
	}
	h, _ := hostFor(everything)
	for _, tt := range tests {
		if have, err := trust(t, h, tt.q); have != "" || err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %s, %v, want %q", tt.name, have, err, tt.want)
		}
	}
	for payload, want := range map[string]string{
		``:                                       "unexpected end of JSON input",
		`{}`:                                     "missing field `cert`",
		`{"cert":null}`:                          "field `cert` is null",
		`{"cert":{"data":[1]}}`:                  "unknown variant ``, expected `Pem` or `Der`",
		`{"cert":{"encoding":"PEM","data":[1]}}`: "unknown variant `PEM`, expected `Pem` or `Der`",
		`{"cert":{"encoding":"Der","data":[1]},"cert_chain":[{"encoding":"der"}]}`: "unknown variant `der`, expected `Pem` or `Der`",
		`{"cert":{"encoding":"Der","data":"AAAA"}}`:                                `want a list of bytes, have "AAAA"`,
		`{"cert":{"encoding":"Der","data":[1]},"cert_chain":{}}`:                   "json: cannot unmarshal object into Go struct field certificateQuestion.cert_chain of type []capability.certificate",
		`{"cert":{"encoding":"Der","data":[1]},"not_after":1}`:                     "json: cannot unmarshal number into Go struct field certificateQuestion.not_after of type string",
	} {
		if have, err := h.Call(t.Context(), call("crypto", "v1/is_certificate_trusted", payload)); have != nil || err == nil || err.Error() != want {
			t.Errorf("%s: %s, %v, want %q", payload, have, err, want)
		}
	}
}

// The key of this root is a number of so many bits, and nobody's.
func TestAKeyThatTakesTooLongToUseIsRefused(t *testing.T) {
	signer := issue(t, nil, "signer", ca)
	cert := issue(t, signer, "a", leaf)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "large"}, NotBefore: noon(), NotAfter: noon()}
	h, _ := hostFor(everything)
	for bits, want := range map[uint]string{
		8192:  "",
		16384: "Callback evaluation failure: cert_chain[0]: RSA key of 16384 bits; 8192 are the most",
	} {
		n := new(big.Int).SetBit(new(big.Int).Lsh(big.NewInt(1), bits-1), 0, 1)
		der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, &rsa.PublicKey{N: n, E: 65537}, signer.key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = trust(t, h, certificateQuestion{cert.der(), []certificate{{"Der", der}}, instant(noon())})
		if have := fmt.Sprint(err); want == "" && err != nil || want != "" && have != want {
			t.Errorf("%d bits: %v, want %q", bits, err, want)
		}
	}
}

func TestOfPEMTheFirstCertificateCounts(t *testing.T) {
	root, other := issue(t, nil, "root", ca), issue(t, nil, "other", ca)
	cert := issue(t, root, "a", leaf).pem()
	cert.Data = append([]byte("# our certificate\n-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), cert.Data...)
	cert.Data = append(cert.Data, other.pem().Data...)
	h, _ := hostFor(everything)
	if have, err := trust(t, h, certificateQuestion{cert, chain(root), instant(noon())}); err != nil || have != `{"trusted":true,"reason":""}` {
		t.Errorf("%s, %v, want it trusted", have, err)
	}
}

func FuzzCertificateQuestion(f *testing.F) {
	f.Add([]byte(`{"cert":{"encoding":"Pem","data":[45,45,45]},"cert_chain":[{"encoding":"Der","data":[48,130]}],"not_after":"2030-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"cert":{"encoding":"Der","data":[]},"cert_chain":[],"not_after":""}`))
	h, _ := hostFor(everything)
	h.Services.Cache = NewCache()
	f.Fuzz(func(t *testing.T, payload []byte) {
		if answer, err := h.isCertificateTrusted(context.Background(), payload); (answer == nil) == (err == nil) {
			t.Errorf("%q: %q, %v, want one of both", payload, answer, err)
		}
	})
}
