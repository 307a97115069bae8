package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/devcluster/stage"
)

// keyPair is a certificate and its key in PEM, base64 as Secrets have it.
type keyPair struct {
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
	crt, priv string
}

func newKeyPair(t *testing.T, issuer *keyPair, template x509.Certificate) keyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(365*24*time.Hour)
	template.BasicConstraintsValid = true
	parent, signer := &template, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return keyPair{cert, key, text("CERTIFICATE", der), text("EC PRIVATE KEY", keyDER)}
}

// leftovers are the objects of an installation of Kubewarden 1.36 with one policy
// server and one policy, whose server is played by "warder serve" with the
// policies.yml of the ConfigMap, as Kubewarden's has it.
func leftovers(t *testing.T) []string {
	ca := newKeyPair(t, nil, x509.Certificate{
		Subject: pkix.Name{CommonName: "kubewarden-controller-ca"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	serving := newKeyPair(t, &ca, x509.Certificate{
		Subject: pkix.Name{CommonName: "policy-server-default"}, DNSNames: []string{"policy-server-default.warder.svc"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	const labels = `labels: {app.kubernetes.io/component: policy-server, app.kubernetes.io/instance: policy-server-default,
    app.kubernetes.io/part-of: kubewarden, app.kubernetes.io/managed-by: kubewarden-controller, kubewarden/policy-server: default`
	return []string{
		`apiVersion: policies.kubewarden.io/v1
kind: PolicyServer
metadata: {name: default, finalizers: [kubewarden.io/finalizer]}
spec: {image: 'ghcr.io/kubewarden/policy-server:v1.36.0', replicas: 1}`,
		`apiVersion: policies.kubewarden.io/v1
kind: ClusterAdmissionPolicy
metadata: {name: no-privileged, finalizers: [kubewarden.io/finalizer]}
spec:
  policyServer: default
  module: builtin://pod-privileged
  mutating: false
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]`,
		fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: kubewarden-ca, namespace: warder}\ndata: {ca.crt: %s, ca.key: %s}", ca.crt, ca.priv),
		fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: policy-server-default\n  namespace: warder\n  %s}\ntype: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: %s}", labels, serving.crt, serving.priv),
		`apiVersion: v1
kind: ConfigMap
metadata:
  name: policy-server-default
  namespace: warder
  ` + labels + `}
data:
  policies.yml: '{"clusterwide-no-privileged": {"module": "builtin://pod-privileged", "policyMode": "protect", "allowedToMutate": false}}'
  sources.yml: '{}'`,
		`apiVersion: apps/v1
kind: Deployment
metadata:
  name: policy-server-default
  namespace: warder
  ` + labels + `, app: kubewarden-policy-server-default}
spec:
  replicas: 1
  selector: {matchLabels: {app: kubewarden-policy-server-default}}
  template:
    metadata:
      ` + labels + `, app: kubewarden-policy-server-default}
    spec:
      containers:
      - name: policy-server-default
        image: example.com/warder:as-kubewarden
        args: [serve]
        env:
        - {name: KUBEWARDEN_CERT_FILE, value: /pki/tls.crt}
        - {name: KUBEWARDEN_KEY_FILE, value: /pki/tls.key}
        - {name: KUBEWARDEN_PORT, value: "8443"}
        - {name: KUBEWARDEN_READINESS_PROBE_PORT, value: "8081"}
        - {name: KUBEWARDEN_POLICIES, value: /config/policies.yml}
        ports: [{name: https, containerPort: 8443}, {name: probes, containerPort: 8081}]
        readinessProbe: {httpGet: {path: /readiness, port: 8081}}
        volumeMounts: [{name: certs, mountPath: /pki}, {name: policies, mountPath: /config}]
      volumes:
      - {name: certs, secret: {secretName: policy-server-default}}
      - {name: policies, configMap: {name: policy-server-default, items: [{key: policies.yml, path: policies.yml}]}}`,
		`apiVersion: v1
kind: Service
metadata:
  name: policy-server-default
  namespace: warder
  ` + labels + `}
spec:
  selector: {app.kubernetes.io/instance: policy-server-default, app.kubernetes.io/part-of: kubewarden}
  ports: [{name: policy-server, port: 443, targetPort: 8443, protocol: TCP}]`,
		fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: clusterwide-no-privileged
  labels: {app.kubernetes.io/part-of: kubewarden, kubewarden: "true"}
  annotations: {kubewardenPolicyName: no-privileged, kubewardenPolicyNamespace: ""}
webhooks:
- name: clusterwide-no-privileged.kubewarden.admission
  clientConfig: {caBundle: %s, service: {name: policy-server-default, namespace: warder, port: 443, path: /validate/clusterwide-no-privileged}}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
  namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [warder]}]}
  failurePolicy: Fail
  sideEffects: None
  timeoutSeconds: 10
  admissionReviewVersions: [v1]`, ca.crt),
	}
}

// TestAnInstallationOfKubewardenIsTakenOver asks all the time whether a privileged
// pod is refused, and whether another one is let through.
func TestAnInstallationOfKubewardenIsTakenOver(t *testing.T) {
	t.Parallel()
	s := stage.Bare(t, cluster.Options{})
	s.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: warder}")
	files, err := filepath.Glob("../../manifest/crds/policies.kubewarden.io_*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CustomResourceDefinitions: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s.Is(s.Apply(string(text)), "Established", "True")
	}
	for _, text := range leftovers(t) {
		o := s.Object(text)
		if _, err := s.Of(o).Create(t.Context(), o, metav1.CreateOptions{FieldManager: "kubewarden-controller"}); err != nil {
			t.Fatal(err)
		}
	}
	s.Eventually(func() string {
		err := s.CreatePod("default", stage.Pod("p", stage.Privileged))
		if err == nil || !strings.Contains(err.Error(), `"clusterwide-no-privileged.kubewarden.admission" denied`) {
			return fmt.Sprintf("error = %v, want that of the old webhook", err)
		}
		return ""
	})

	stop, notCalled := make(chan struct{}), map[string]int{}
	asked := atomic.Int64{}
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			n := asked.Add(1)
			if err := s.CreatePod("default", stage.Pod("p", stage.Privileged)); err == nil {
				t.Errorf("a privileged pod is let through, at request %d", n)
			} else if !strings.Contains(err.Error(), "denied the request") {
				notCalled[err.Error()]++
			}
			if err := s.CreatePod("default", stage.Pod("p")); err != nil {
				notCalled[err.Error()]++
			}
		}
	})
	s.Warder("install", "--wait", "--timeout="+stage.Patience.String())
	policy := s.Ready(s.Object("apiVersion: policies.kubewarden.io/v1\nkind: ClusterAdmissionPolicy\nmetadata: {name: no-privileged}"))
	s.Eventually(func() string {
		_, err := s.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), "clusterwide-no-privileged", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Sprintf("the old webhook configuration is there: %v", err)
		}
		for _, p := range s.Pods("policy-server-default") {
			if p.Spec.Containers[0].Image == "example.com/warder:as-kubewarden" {
				return "a pod of the old policy server is there"
			}
		}
		return ""
	})
	after := asked.Load()
	s.Eventually(func() string {
		if asked.Load() < after+20 {
			return "not asked often enough since"
		}
		return ""
	})
	close(stop)
	asking.Wait()
	for text, n := range notCalled {
		t.Errorf("%d requests were not judged: %s", n, text)
	}
	if err := s.CreatePod("default", stage.Pod("p", stage.Privileged)); err == nil || !strings.Contains(err.Error(), "kw.cap.no-privileged: ") {
		t.Errorf("error = %v, want that of the new webhook", err)
	}
	t.Logf("asked %d times while warder took over", asked.Load())
	s.Delete(policy)
	if err := s.CreatePod("default", stage.Pod("p", stage.Privileged)); err != nil {
		t.Errorf("the policy is gone, and the pod is refused: %v", err)
	}
}
