package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/warder-dev/warder/devcluster/cluster"
)

// denier is a webhook that denies all it is asked, under a certificate for the
// names.
func denier(t *testing.T, names ...string) (server *httptest.Server, caBundle []byte) {
	t.Helper()
	return webhookServer(t, func(_ context.Context, path string, review *admissionv1.AdmissionReview) {
		review.Response.Result = &metav1.Status{Message: "asked at " + path + " by " + review.Request.UserInfo.Username}
	}, names...)
}

// webhookServer is a webhook under a certificate for the names. What answer is
// given has a request and an empty response.
func webhookServer(t *testing.T, answer func(ctx context.Context, path string, review *admissionv1.AdmissionReview), names ...string) (server *httptest.Server, caBundle []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "denier"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     names,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "no review", http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID}
		answer(r.Context(), r.URL.Path, &review)
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// webhook asks cc of each ConfigMap that is created.
func webhook(name string, cc admissionregistrationv1.WebhookClientConfig) *admissionregistrationv1.ValidatingWebhookConfiguration {
	fail, none := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone
	return &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name:                    name + ".example.com",
			ClientConfig:            cc,
			FailurePolicy:           &fail,
			SideEffects:             &none,
			AdmissionReviewVersions: []string{"v1"},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}
}

// serviceWithSlice makes the Service default/sliced, which leads to a port of
// this machine.
func serviceWithSlice(t *testing.T, root *kubernetes.Clientset, address net.Addr) {
	t.Helper()
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		t.Fatalf("%v is no address of TCP", address)
	}
	port, name := int32(tcp.Port), "https" //nolint:gosec // a port
	_, err := root.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "sliced"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: name, Port: 443}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = root.DiscoveryV1().EndpointSlices("default").Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "sliced-1", Labels: map[string]string{discoveryv1.LabelServiceName: "sliced"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{cluster.LoopbackAddress}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// TestWebhookIsCalled has a proxy in the environment, through which nothing on
// this machine may be asked.
func TestWebhookIsCalled(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	c, ctx := startCluster(t, cluster.Options{WithoutControllerManager: true}), t.Context()
	root := admin(t, c)
	server, ca := denier(t, "policies.warder.svc", "sliced.default.svc")
	url, path, port := server.URL+"/by-url", "/by-service", int32(8443)
	if err := c.RouteService("warder", "policies", int(port), server.Listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	serviceWithSlice(t, root, server.Listener.Addr())
	create := func(ctx context.Context) error {
		_, err := root.CoreV1().ConfigMaps("default").Create(ctx, configMap("x"+strconv.FormatInt(time.Now().UnixNano(), 36)), metav1.CreateOptions{})
		return err
	}
	tests := []struct {
		name   string
		client admissionregistrationv1.WebhookClientConfig
		want   string
	}{
		{"by url", admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: ca}, "asked at /by-url by admin"},
		{"by service", admissionregistrationv1.WebhookClientConfig{
			CABundle: ca,
			Service:  &admissionregistrationv1.ServiceReference{Namespace: "warder", Name: "policies", Path: &path, Port: &port},
		}, "asked at /by-service by admin"},
		{"by a service with an EndpointSlice", admissionregistrationv1.WebhookClientConfig{
			CABundle: ca,
			Service:  &admissionregistrationv1.ServiceReference{Namespace: "default", Name: "sliced", Path: &path},
		}, "asked at /by-service by admin"},
		{"by a service that is none", admissionregistrationv1.WebhookClientConfig{
			CABundle: ca,
			Service:  &admissionregistrationv1.ServiceReference{Namespace: "warder", Name: "nobody"},
		}, `service "nobody" not found`},
	}
	webhooks := root.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	for _, tt := range tests {
		if _, err := webhooks.Create(ctx, webhook("denier", tt.client), metav1.CreateOptions{}); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		eventually(t, tt.name+": "+tt.want, func(ctx context.Context) error {
			err := create(ctx)
			if err != nil && strings.Contains(err.Error(), tt.want) {
				return nil
			}
			return errors.Join(errors.New("not refused so"), err)
		})
		if err := webhooks.Delete(ctx, "denier", metav1.DeleteOptions{}); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		eventually(t, tt.name+": without the webhook", create)
	}
}
