package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
)

// expiringAuthority is a certificate authority with so long to live, and a
// certificate of it for the policy server.
func expiringAuthority(t *testing.T, left time.Duration) (ca, caKey, cert, key []byte) {
	t.Helper()
	make := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = k
		}
		template.SerialNumber, template.NotBefore, template.BasicConstraintsValid = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), true
		template.NotAfter = time.Now().Add(left)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, k.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		return der, k
	}
	text := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	keyText := func(k *ecdsa.PrivateKey) []byte {
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return text("EC PRIVATE KEY", der)
	}
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "kubewarden-controller-ca"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER, rootKey := make(root, root, nil)
	parsed, err := x509.ParseCertificate(rootDER)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		DNSNames: []string{"policy-server-default.warder.svc"}, IPAddresses: loopback(),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leafDER, leafKey := make(leaf, parsed, rootKey)
	return text("CERTIFICATE", rootDER), keyText(rootKey), text("CERTIFICATE", leafDER), keyText(leafKey)
}

func (p *plane) putSecret(name string, data map[string][]byte) {
	p.Helper()
	secrets := p.kube.CoreV1().Secrets(warderNamespace)
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: warderNamespace, Annotations: map[string]string{"kubewarden.io/cert-format-version": "1"},
	}, Data: data}
	_, err := secrets.Create(p.Context(), s, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(p.Context(), s, metav1.UpdateOptions{})
	}
	if err != nil {
		p.Fatal(err)
	}
}

// bundleOf is whom the webhooks of the policy server trust.
func (p *plane) bundleOf(ctx context.Context) string {
	c, err := p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, bundled, metav1.GetOptions{})
	if err != nil || len(c.Webhooks) == 0 {
		return ""
	}
	return string(c.Webhooks[0].ClientConfig.CABundle)
}

// trusted verifies the certificate that the policy server has with the bundle.
func trusted(cert, bundle string) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(bundle))
	block, _ := pem.Decode([]byte(cert))
	if block == nil {
		return fmt.Errorf("no certificate")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	for _, name := range []string{"policy-server-default.warder.svc", "127.0.0.1"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			return err
		}
	}
	return nil
}

func TestTheAuthorityIsReplacedWithoutAGap(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	ctx := t.Context()
	ca, caKey, cert, key := expiringAuthority(t, 300*24*time.Hour)
	p.putSecret("kubewarden-ca", map[string][]byte{"ca.crt": ca, "ca.key": caKey})
	p.putSecret("policy-server-default", map[string][]byte{"tls.crt": cert, "tls.key": key})
	c := p.startController()
	p.policyServer("default", "replicas: 1")
	p.replica("default", "one")
	p.create("clusteradmissionpolicies", capolicy("p", ""))
	p.ready("p")

	// One: what is valid is taken as it is.
	if got := p.secretKey(ctx, "kubewarden-ca", "ca.crt"); got != string(ca) {
		t.Fatal("a valid authority was replaced")
	}
	if got := p.secretKey(ctx, "policy-server-default", "tls.crt"); got != string(cert) {
		t.Fatal("a valid certificate was replaced")
	}
	c.stop(os.Interrupt)

	// Two: it is about to expire. At every moment the certificate is trusted.
	ca, caKey, cert, key = expiringAuthority(t, 59*24*time.Hour)
	p.putSecret("kubewarden-ca", map[string][]byte{"ca.crt": ca, "ca.key": caKey})
	p.putSecret("policy-server-default", map[string][]byte{"tls.crt": cert, "tls.key": key})
	_, err := p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Patch(ctx, bundled, "application/json-patch+json",
		[]byte(`[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "`+encoded(string(ca))+`"}]`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.startController()
	var order []string
	note := func(what string) {
		if !slices.Contains(order, what) {
			order = append(order, what)
		}
	}
	eventually(t, "a new authority, in three steps", func(ctx context.Context) error {
		// The certificate is read before the bundle: it must be trusted by all
		// bundles that come after it.
		cert, next := p.secretKey(ctx, "policy-server-default", "tls.crt"), p.secretKey(ctx, "kubewarden-ca", "ca.crt")
		bundle := p.bundleOf(ctx)
		if err := trusted(cert, bundle); err != nil {
			t.Errorf("after %q: %v", order, err)
		}
		if next == string(ca) {
			return fmt.Errorf("steps %q", order)
		}
		if strings.Contains(bundle, strings.TrimSpace(next)) && strings.Contains(bundle, strings.TrimSpace(string(ca))) {
			note("both are trusted")
		}
		if trusted(cert, next) == nil {
			note("the certificate is new")
			return nil
		}
		return fmt.Errorf("steps %q", order)
	})
	if want := []string{"both are trusted", "the certificate is new"}; !slices.Equal(order, want) {
		t.Errorf("steps %q, want %q", order, want)
	}
	if got := p.secretKey(ctx, "kubewarden-ca", "old-ca.crt"); strings.TrimSpace(got) != strings.TrimSpace(string(ca)) {
		t.Error("old-ca.crt is not the authority before")
	}

	// Three: the old one has expired, and is forgotten.
	expired, _, _, _ := expiringAuthority(t, -time.Minute)
	if err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		s, err := p.kube.CoreV1().Secrets(warderNamespace).Get(ctx, "kubewarden-ca", metav1.GetOptions{})
		if err != nil {
			return err
		}
		s.Data["old-ca.crt"] = expired
		_, err = p.kube.CoreV1().Secrets(warderNamespace).Update(ctx, s, metav1.UpdateOptions{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old authority is forgotten", func(ctx context.Context) error {
		if old := p.secretKey(ctx, "kubewarden-ca", "old-ca.crt"); old != "" {
			return fmt.Errorf("old-ca.crt is there")
		}
		if n := strings.Count(p.bundleOf(ctx), "BEGIN CERTIFICATE"); n != 1 {
			return fmt.Errorf("%d certificates in the bundle", n)
		}
		return nil
	})
}

func TestDeletedSecretsComeBack(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	ctx := t.Context()
	p.startController()
	p.policyServer("default", "replicas: 1")
	p.replica("default", "one")
	p.create("clusteradmissionpolicies", capolicy("p", ""))
	p.ready("p")
	for _, name := range []string{"policy-server-default", "kubewarden-webhook-server-cert", "kubewarden-ca"} {
		before := p.secretKey(ctx, "policy-server-default", "tls.crt")
		if err := p.kube.CoreV1().Secrets(warderNamespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" is back", func(ctx context.Context) error {
			if _, err := p.kube.CoreV1().Secrets(warderNamespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
				return err
			}
			cert := p.secretKey(ctx, "policy-server-default", "tls.crt")
			if name == "kubewarden-ca" {
				// Servers that still show the old certificate are trusted, too.
				if err := trusted(before, p.bundleOf(ctx)); err != nil {
					return fmt.Errorf("the certificate before: %w", err)
				}
			}
			if err := trusted(cert, p.bundleOf(ctx)); err != nil {
				return err
			}
			return trusted(cert, p.secretKey(ctx, "kubewarden-ca", "ca.crt"))
		})
	}
}

func TestOneOfTwoControllersActs(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	first := p.startController()
	eventually(t, "the first leads", func(context.Context) error { return leads(first) })
	second := p.startController()
	p.policyServer("default", "replicas: 1")
	p.replica("default", "one")
	p.create("clusteradmissionpolicies", capolicy("p", ""))
	p.ready("p")
	if leads(second) == nil {
		t.Error("both lead")
	}

	// One that is told to end hands over at once, and one that is killed when its
	// lease is over.
	first.stop(os.Interrupt)
	p.create("clusteradmissionpolicies", capolicy("q", ""))
	p.ready("q")
	third := p.startController()
	second.stop(os.Kill)
	p.create("clusteradmissionpolicies", capolicy("r", ""))
	p.ready("r")
	if err := leads(third); err != nil {
		t.Error(err)
	}
	p.settledWrites()
	if n, what := p.later(p.settledWrites()); n > 0 {
		t.Errorf("writes of a new leader that finds all as it should be: %q", what)
	}
}

func leads(c *process) error {
	if !strings.Contains(c.log.String(), "msg=leading") {
		return fmt.Errorf("it does not say that it leads:\n%s", c.log)
	}
	return nil
}

func TestManyPoliciesAtOnceAreFewWrites(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.startController()
	p.policyServer("default", "replicas: 1")
	p.replica("default", "one")
	const many = 200
	for i := range many {
		p.create("clusteradmissionpolicies", capolicy(fmt.Sprintf("p%d", i), fmt.Sprintf("timeoutSeconds: %d", 5+i%4)))
	}
	for i := range many {
		p.ready(fmt.Sprintf("p%d", i))
	}
	p.settledWrites()
	_, before := p.writes()
	for i := range many {
		p.patch("clusteradmissionpolicies", "", fmt.Sprintf("p%d", i), `{"spec": {"rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods", "services"], "operations": ["CREATE"]}]}}`)
	}
	p.validating(bundled, func(c *admissionv1.ValidatingWebhookConfiguration) error {
		for _, w := range c.Webhooks {
			if len(w.Rules) != 1 || len(w.Rules[0].Resources) != 2 {
				return fmt.Errorf("%s has %v", w.Name, w.Rules)
			}
		}
		return hooks(4)(c)
	})
	p.settledWrites()
	_, after := p.writes()
	webhooks := 0
	for _, w := range after[len(before):] {
		if strings.Contains(w, "webhookconfigurations") {
			webhooks++
		}
	}
	t.Logf("%d changes: %d writes, %d of them of webhooks", many, len(after)-len(before), webhooks)
	if webhooks > 12 {
		t.Errorf("%d writes of webhooks after %d changes", webhooks, many)
	}
}

func TestAppliedIsEnforcedWithinASecond(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.startController()
	p.policyServer("default", "replicas: 1")
	p.replica("default", "one")
	p.create("clusteradmissionpolicies", capolicy("first", ""))
	p.ready("first")
	var took []time.Duration
	for i := range 20 {
		name := fmt.Sprintf("p%d", i)
		start := time.Now()
		p.create("clusteradmissionpolicies", capolicy(name, fmt.Sprintf("timeoutSeconds: %d", 3+i)))
		for {
			c, err := p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), bundled, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Webhooks) == i+2-boolInt(i >= 7) {
				break
			}
			if time.Since(start) > patience {
				t.Fatalf("%s is not registered", name)
			}
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("applied to registered: median %s, longest %s", took[len(took)/2], took[len(took)-1])
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func loopback() []net.IP { return []net.IP{net.IPv4(127, 0, 0, 1)} }
