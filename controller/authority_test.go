package controller

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func secretOf(data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "warder", Name: "s"}, Data: data}
}

func anAuthority(t *testing.T, now time.Time) authority {
	t.Helper()
	p, err := newAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	return authority{pair: p}
}

func TestAuthorityIsReplacedAndForgotten(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	first := anAuthority(t, now)
	later := first.cert.NotAfter.Add(-renewBefore + time.Hour)
	if expires(first.cert, later.Add(-2*time.Hour)) || !expires(first.cert, later) {
		t.Errorf("when it ends at %s it is not replaced 60 days before", first.cert.NotAfter)
	}
	second, err := first.next(later)
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"policy-server-x.warder.svc", "127.0.0.1"}
	old, err := first.issue(hosts, later)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := second.issue(hosts, later)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if roots.AppendCertsFromPEM(second.bundle()); len(certificatesOf(second.bundle())) != 2 {
		t.Fatalf("bundle:\n%s", second.bundle())
	}
	for _, cert := range []*x509.Certificate{old.cert, fresh.cert} {
		for _, host := range hosts {
			if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: later}); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
	}
	data := map[string][]byte{keyCACert: second.certPEM, keyCAKey: second.keyPEM, keyOldCACert: second.old}
	read, err := readAuthority(secretOf(data), later)
	if err != nil || !bytes.Equal(read.bundle(), second.bundle()) {
		t.Errorf("read again: %v", err)
	}
	read, err = readAuthority(secretOf(data), first.cert.NotAfter.Add(time.Hour))
	if err != nil || read.old != nil {
		t.Errorf("the old authority has expired and is still trusted; %v", err)
	}
}

func TestFaultsOfCertificates(t *testing.T) {
	now := time.Now()
	ca := anAuthority(t, now)
	stranger := anAuthority(t, now)
	next, err := ca.next(now)
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"policy-server-x.warder.svc"}
	issued := func(a authority, hosts []string, at time.Time) map[string][]byte {
		p, err := a.issue(hosts, at)
		if err != nil {
			t.Fatal(err)
		}
		return map[string][]byte{corev1.TLSCertKey: p.certPEM, corev1.TLSPrivateKeyKey: p.keyPEM}
	}
	good := issued(ca, hosts, now)
	tests := []struct {
		name string
		by   authority
		data map[string][]byte
		late bool
		want string
	}{
		{"good", ca, good, false, ""},
		{"more names than needed", ca, issued(ca, append([]string{"other"}, hosts...), now), false, ""},
		{"nothing", ca, nil, false, "certificate: there is none"},
		{"no PEM", ca, map[string][]byte{corev1.TLSCertKey: []byte("x")}, false, "no PEM block"},
		{"no key", ca, map[string][]byte{corev1.TLSCertKey: good[corev1.TLSCertKey]}, false, "EC PRIVATE KEY"},
		{"another's key", ca, map[string][]byte{corev1.TLSCertKey: good[corev1.TLSCertKey], corev1.TLSPrivateKeyKey: issued(ca, hosts, now)[corev1.TLSPrivateKeyKey]}, false, "not that of the certificate"},
		{"another name", ca, issued(ca, []string{"policy-server-y.warder.svc"}, now), false, "policy-server-y"},
		{"it expires soon", ca, issued(ca, hosts, now.Add(-servingLifetime+24*time.Hour)), false, "expires at"},
		{"it has expired", ca, issued(ca, hosts, now.Add(-servingLifetime-time.Hour)), false, "expired at"},
		{"a stranger's", ca, issued(stranger, hosts, now), false, "somebody else"},
		{"the old authority's", next, good, true, "the old authority"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			late, err := tt.by.fault(secretOf(tt.data), hosts, now)
			if late != tt.late || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("late %t, %v, want %t, %q", late, err, tt.late, tt.want)
			}
		})
	}
}

func TestALongNameHasACertificate(t *testing.T) {
	now := time.Now()
	host := "policy-server-" + strings.Repeat("x", 49) + ".a-namespace-with-a-long-name.svc"
	p, err := anAuthority(t, now).issue([]string{host}, now)
	if err != nil || p.cert.VerifyHostname(host) != nil || len(p.cert.Subject.CommonName) > maxCommonName {
		t.Errorf("%v, common name %q", err, p.cert.Subject.CommonName)
	}
}

// FuzzReadAuthority reads Secrets that anybody may have written.
func FuzzReadAuthority(f *testing.F) {
	now := time.Now()
	p, err := newAuthority(now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.certPEM, p.keyPEM, []byte(nil))
	f.Add(p.certPEM, p.keyPEM, p.certPEM)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte{}, []byte("x"))
	f.Fuzz(func(t *testing.T, cert, key, old []byte) {
		a, err := readAuthority(secretOf(map[string][]byte{keyCACert: cert, keyCAKey: key, keyOldCACert: old}), now)
		if err != nil {
			return
		}
		if leaf, err := a.issue([]string{"x"}, now); err != nil || !contains(a.bundle(), a.cert) || !signedBy(leaf.cert, a.cert) {
			t.Errorf("an authority that cannot sign: %v", err)
		}
	})
}
