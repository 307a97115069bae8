package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
)

// setReady says of the pods of a policy server, which no node runs, whether they
// are ready.
func (p *plane) setReady(server string, ready corev1.ConditionStatus) {
	p.Helper()
	eventually(p.T, "pods of "+server, func(ctx context.Context) error {
		pods, err := p.kube.CoreV1().Pods(warderNamespace).List(ctx, metav1.ListOptions{LabelSelector: "kubewarden/policy-server=" + server})
		if err != nil {
			return err
		}
		if len(pods.Items) == 0 {
			return errors.New("there are none")
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			pod.Status.Phase = corev1.PodRunning
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
			if _, err := p.kube.CoreV1().Pods(warderNamespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
				return err
			}
		}
		d, err := p.kube.AppsV1().Deployments(warderNamespace).Get(ctx, "policy-server-"+server, metav1.GetOptions{})
		if err == nil && (d.Status.AvailableReplicas > 0) != (ready == corev1.ConditionTrue) {
			err = fmt.Errorf("%d are available", d.Status.AvailableReplicas)
		}
		return err
	})
}

func TestTheFirstWebhookWaitsUntilTheServiceLeadsToAReplica(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.startController()
	p.policyServer("inside", "replicas: 1")
	p.replica("inside", "one")
	p.create("clusteradmissionpolicies", capolicy("first", "policyServer: inside"))
	p.wantStatus("clusteradmissionpolicies", "", "first", "pending", "Loaded", "True/HeldByAllReplicas")
	p.wantStatus("clusteradmissionpolicies", "", "first", "pending", "Ready", "False/NoReplicaAvailable")
	configs := p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := configs.Get(t.Context(), "policy-server-inside.warder", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a webhook that nobody answers: %v, want not found", err)
	}
	p.setReady("inside", corev1.ConditionTrue)
	p.wantStatus("clusteradmissionpolicies", "", "first", "active", "Ready", "True/Enforced")

	// Now that there is one, to wait would keep nobody from being refused.
	p.setReady("inside", corev1.ConditionFalse)
	p.create("clusteradmissionpolicies", capolicy("second", "policyServer: inside"))
	p.wantStatus("clusteradmissionpolicies", "", "second", "active", "Ready", "True/Enforced")
}

func TestAPolicyServerThatIsMadeAgainOwnsWhatIsLeft(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.startController()
	owner := func(ctx context.Context) (uid string, err error) {
		s, err := p.kube.CoreV1().Secrets(warderNamespace).Get(ctx, "policy-server-again", metav1.GetOptions{})
		if err == nil && len(s.OwnerReferences) == 1 {
			return string(s.OwnerReferences[0].UID), nil
		}
		return "", errors.Join(err, fmt.Errorf("owners %v", s.OwnerReferences))
	}
	owned := func() {
		t.Helper()
		eventually(t, "owner of the Secret", func(ctx context.Context) error {
			ps, err := p.get(ctx, "policyservers", "", "again")
			if err != nil {
				return err
			}
			uid, err := owner(ctx)
			if err == nil && uid != string(ps.GetUID()) {
				err = fmt.Errorf("owner %s, want %s", uid, ps.GetUID())
			}
			return err
		})
	}
	p.policyServer("again", "replicas: 1")
	owned()
	orphan := metav1.DeletePropagationOrphan
	err := p.dynamic.Resource(resource("policyservers")).Delete(t.Context(), "again", metav1.DeleteOptions{PropagationPolicy: &orphan})
	if err != nil {
		t.Fatal(err)
	}
	p.wantGone("policyservers", "", "again")
	p.policyServer("again", "replicas: 1")
	owned()
}

// TestAPolicyThatLocksEverybodyOutCanBeDeleted is about one that refuses whatever
// the controller says of policies, because nobody answers for it.
func TestAPolicyThatLocksEverybodyOutCanBeDeleted(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.startController()
	p.policyServer("default", "replicas: 1")
	p.replica("default", "one")
	p.create("clusteradmissionpolicies", capolicy("other", ""))
	p.wantStatus("clusteradmissionpolicies", "", "other", "active", "Ready", "True/Enforced")
	p.create("clusteradmissionpolicies", `{kind: ClusterAdmissionPolicy, metadata: {name: everything}, spec: {module: 'builtin://pod-privileged', mutating: false,
  rules: [{apiGroups: ["*"], apiVersions: ["*"], resources: ["*/*"], operations: [CREATE, UPDATE]}]}}`)
	eventually(t, "everything is refused", func(ctx context.Context) error {
		_, err := p.kube.CoreV1().ConfigMaps("default").Create(ctx, configMap("refused"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			return errors.New("it is not")
		}
		return nil
	})
	p.patchReplica("one", `{"status": {"ready": false}}`) // which all policies have to say
	p.delete("clusteradmissionpolicies", "", "everything")
	p.wantGone("clusteradmissionpolicies", "", "everything")
	p.wantStatus("clusteradmissionpolicies", "", "other", "active", "Loaded", "False/NoReplicas")
}

func TestAFinalizerOfSomebodyElseKeepsNoPolicyServer(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.startController()
	p.policyServer("default", "replicas: 1")
	p.replica("default", "one")
	p.create("clusteradmissionpolicies", strings.Replace(capolicy("kept", ""), "{name: kept}", "{name: kept, finalizers: [example.com/backup]}", 1))
	p.wantStatus("clusteradmissionpolicies", "", "kept", "active", "Ready", "True/Enforced")
	p.delete("clusteradmissionpolicies", "", "kept")
	p.delete("policyservers", "", "default")
	p.wantGone("policyservers", "", "default")
	p.noConfigurations()
	o, err := p.get(t.Context(), "clusteradmissionpolicies", "", "kept")
	if err != nil || !slices.Equal(o.GetFinalizers(), []string{"example.com/backup"}) {
		t.Errorf("finalizers of the policy: %v, %v", o.GetFinalizers(), err)
	}
}

// TestTheAPIServerTakesAsMuchAsAConfigurationMayHave is about the bundles of many
// namespaces, of which none can be shared, while an authority is being replaced.
func TestTheAPIServerTakesAsMuchAsAConfigurationMayHave(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	in := manifest.WebhookInput{Server: &v1.PolicyServer{ObjectMeta: metav1.ObjectMeta{Name: "default"}}}
	in.CABundle = append(authorityOf(t), authorityOf(t)...)
	for i := range 600 {
		o := &v1.AdmissionPolicy{}
		text := fmt.Sprintf("metadata: {name: p, namespace: a-namespace-with-a-name-%d, generation: 1}\nspec: {module: 'builtin://pod-privileged', mutating: false, %s}", i, podRule)
		if err := yaml.Unmarshal([]byte(text), o); err != nil {
			t.Fatal(err)
		}
		policy, _ := v1.View(o)
		in.Settled = append(in.Settled, policy)
	}
	set := manifest.Webhooks(in)
	if len(set.Refused) == 0 || len(set.Widen) != 1 {
		t.Fatalf("%d policies are refused, want some; %d configurations", len(set.Refused), len(set.Widen))
	}
	content, err := manifest.Unstructured(set.Widen[0])
	if err != nil {
		t.Fatal(err)
	}
	configs := p.dynamic.Resource(schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"})
	live, err := configs.Apply(t.Context(), content.GetName(), content, metav1.ApplyOptions{FieldManager: manifest.FieldManager, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	text, err := live.MarshalJSON()
	t.Logf("%d webhooks are %d bytes, %v", 600-len(set.Refused), len(text), err)
}

func authorityOf(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: new(big.Int).Lsh(big.NewInt(1), 126), Subject: pkix.Name{CommonName: "kubewarden-controller-ca", Organization: []string{"warder"}},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
