package e2e

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/devcluster/stage"
)

// applied applies a new policy, waits until it is enforced, says how long that
// took, and removes it.
func applied(s *stage.Stage, name string) time.Duration {
	s.T.Helper()
	text := labelled(name, name)
	began := time.Now()
	s.Eventually(func() string {
		if _, err := s.TryApply(text); err != nil {
			return err.Error()
		}
		return ""
	})
	o := s.Object(text)
	s.Eventually(func() string {
		now, err := s.Of(o).Get(s.T.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if have, text := stage.Condition(now, "Ready"); have != "True" {
			return "Ready is " + have + ": " + text
		}
		return ""
	})
	took := time.Since(began).Round(time.Millisecond)
	if err := s.CreatePod("default", stage.Pod("p")); err == nil || !strings.Contains(err.Error(), "kw.cap."+name+":") {
		s.T.Errorf("%s is ready and does not judge: %v", name, err)
	}
	s.Delete(s.Get(o))
	return took
}

// agreed waits until every webhook of warder's trusts who has signed the
// certificate of the server that it calls.
func agreed(s *stage.Stage) {
	s.T.Helper()
	s.Eventually(func() string {
		validating, err := s.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(s.T.Context(), metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		checked := 0
		for _, c := range validating.Items {
			for _, w := range c.Webhooks {
				if complaint := trusts(s, w.ClientConfig); complaint != "" {
					return w.Name + ": " + complaint
				}
				checked++
			}
		}
		if checked == 0 {
			return "there are no webhooks"
		}
		return ""
	})
}

func trusts(s *stage.Stage, to admissionv1.WebhookClientConfig) string {
	secret := to.Service.Name
	if secret != "policy-server-default" {
		secret = "kubewarden-webhook-server-cert"
	}
	o, err := s.Client.CoreV1().Secrets(stage.Namespace).Get(s.T.Context(), secret, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	block, _ := pem.Decode(o.Data["tls.crt"])
	if block == nil {
		return secret + " has no certificate"
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err.Error()
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(to.CABundle)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: to.Service.Name + "." + stage.Namespace + ".svc"}); err != nil {
		return err.Error()
	}
	return ""
}

func TestFailuresHeal(t *testing.T) {
	t.Parallel()
	whole := stage.New(t)
	whole.Ready(whole.Apply(capOf("no-privileged", "builtin://pod-privileged", "")))
	judges(whole, "no-privileged")
	for _, test := range []struct {
		name string
		do   func(*stage.Stage)
	}{
		{"Secrets are deleted", secretsDeleted},
		{"webhook configurations are deleted", webhooksDeleted},
		{"objects are edited and deleted", objectsDeleted},
		{"definitions change", definitionsChange},
	} {
		t.Run(test.name, func(t *testing.T) { test.do(in(t, whole)) })
	}
	noRestarts(whole)
	for _, test := range []struct {
		name string
		do   func(*stage.Stage)
	}{
		{"the API server restarts", apiServerRestarts},
		{"etcd is slow", etcdSlow},
		{"etcd is killed", etcdKilled},
	} {
		t.Run(test.name, func(t *testing.T) { test.do(in(t, whole)) })
	}
	for _, pod := range whole.Pods("") {
		t.Logf("%s: %d restarts", pod.Name, pod.Status.ContainerStatuses[0].RestartCount)
		if strings.HasPrefix(pod.Name, serverPods) && pod.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("%s has ended, which only a controller that loses its lease may", pod.Name)
		}
	}
}

// apiServerRestarts kills the API server, and has it end in order.
func apiServerRestarts(s *stage.Stage) {
	restart(s, cluster.APIServer)
	s.T.Logf("killed and started: judges after %s", judges(s, "no-privileged"))
	s.T.Logf("a policy applied right after is ready after %s", applied(s, "after-kill"))
	if err := s.Cluster.RestartAPIServer(s.T.Context()); err != nil {
		s.T.Fatal(err)
	}
	s.T.Logf("restarted in order: judges after %s", judges(s, "no-privileged"))
	s.T.Logf("a policy applied right after is ready after %s", applied(s, "after-restart"))
}

// etcdSlow makes every request to etcd take long. With 2 s the API server does
// not find endpoints in time, and leases are lost: that it heals is what counts.
func etcdSlow(s *stage.Stage) {
	s.Cluster.SlowEtcd(500 * time.Millisecond)
	s.T.Logf("etcd slow by 500ms: judges after %s", judges(s, "no-privileged"))
	s.T.Logf("a policy applied meanwhile is ready after %s", applied(s, "while-slow"))
	s.Cluster.SlowEtcd(2 * time.Second)
	verdicts, failed := 0, 0
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		switch err := s.CreatePod("default", stage.Pod("p", stage.Privileged)); {
		case err == nil:
			s.T.Error("etcd is slow, and a pod was let through")
		case (shot{err: err}).refused():
			verdicts++
		default:
			failed++
		}
	}
	s.Cluster.SlowEtcd(0)
	s.T.Logf("etcd slow by 2s: %d verdicts, %d failures; quick again: judges after %s", verdicts, failed, judges(s, "no-privileged"))
	s.T.Logf("a policy applied right after is ready after %s", applied(s, "after-slow"))
}

func etcdKilled(s *stage.Stage) {
	if err := s.Cluster.KillPart(cluster.Etcd); err != nil {
		s.T.Fatal(err)
	}
	<-time.After(3 * time.Second) // so that everybody notices
	if err := s.Cluster.StartPart(s.T.Context(), cluster.Etcd); err != nil {
		s.T.Fatal(err)
	}
	s.T.Logf("etcd is back: judges after %s", judges(s, "no-privileged"))
	s.T.Logf("a policy applied right after is ready after %s", applied(s, "after-etcd"))
}

// secretsDeleted deletes what certificates are in, each and all at once.
func secretsDeleted(s *stage.Stage) {
	secrets := s.Client.CoreV1().Secrets(stage.Namespace)
	one := []string{"policy-server-default", "kubewarden-webhook-server-cert", "kubewarden-ca"}
	for _, names := range [][]string{one[:1], one[1:2], one[2:], one} {
		uids := map[string]types.UID{}
		for _, name := range names {
			o, err := secrets.Get(s.T.Context(), name, metav1.GetOptions{})
			if err != nil {
				s.T.Fatal(err)
			}
			uids[name] = o.UID
			if err := secrets.Delete(s.T.Context(), name, metav1.DeleteOptions{}); err != nil {
				s.T.Fatal(err)
			}
		}
		began := time.Now()
		s.Eventually(func() string {
			for name, uid := range uids {
				if o, err := secrets.Get(s.T.Context(), name, metav1.GetOptions{}); err != nil || o.UID == uid {
					return fmt.Sprintf("%s is not there again: %v", name, err)
				}
			}
			return ""
		})
		back := time.Since(began).Round(time.Millisecond)
		agreed(s)
		all := time.Since(began).Round(time.Millisecond)
		judges(s, "no-privileged")
		s.T.Logf("%s deleted: there again after %s, certificates and webhooks agree after %s, a new policy is ready %s later", strings.Join(names, ", "),
			back, all, applied(s, "after-secret"))
	}
}

// webhooksDeleted deletes every webhook configuration of warder's.
func webhooksDeleted(s *stage.Stage) {
	began := time.Now()
	api := s.Client.AdmissionregistrationV1()
	names := func() []string {
		var all []string
		v, err := api.ValidatingWebhookConfigurations().List(s.T.Context(), metav1.ListOptions{})
		if err != nil {
			s.T.Fatal(err)
		}
		m, err := api.MutatingWebhookConfigurations().List(s.T.Context(), metav1.ListOptions{})
		if err != nil {
			s.T.Fatal(err)
		}
		for _, c := range v.Items {
			all = append(all, c.Name)
		}
		for _, c := range m.Items {
			all = append(all, c.Name)
		}
		return all
	}
	before := names()
	if err := api.ValidatingWebhookConfigurations().DeleteCollection(s.T.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		s.T.Fatal(err)
	}
	if err := api.MutatingWebhookConfigurations().DeleteCollection(s.T.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		s.T.Fatal(err)
	}
	agreed(s)
	judges(s, "no-privileged")
	s.Eventually(func() string {
		if now := names(); !slices.Equal(now, before) {
			return fmt.Sprintf("webhook configurations are %q, want %q", now, before)
		}
		return ""
	})
	s.T.Logf("webhook configurations deleted: enforced again after %s", time.Since(began).Round(time.Millisecond))
}

// objectsDeleted changes and deletes what a policy server consists of.
func objectsDeleted(s *stage.Stage) {
	const name = "policy-server-default"
	for _, gvk := range []schema.GroupVersionKind{
		{Group: "apps", Version: "v1", Kind: "Deployment"}, {Version: "v1", Kind: "Service"}, {Version: "v1", Kind: "ConfigMap"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"}, {Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRoleBinding"},
	} {
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(gvk)
		o.SetName(name)
		if gvk.Kind != "ClusterRoleBinding" {
			o.SetNamespace(stage.Namespace)
		}
		settled(s)
		o = s.Get(o)
		patch := map[string]string{
			"Deployment": `{"spec": {"template": {"spec": {"containers": [{"name": "policy-server-default", "args": ["serve", "--help"]}]}}}}`,
			"Service":    `{"spec": {"selector": {"app": "nobody"}}}`, "ConfigMap": `{"data": {"sources.yml": "nonsense"}}`,
		}[gvk.Kind]
		began := time.Now()
		if patch != "" {
			changed, err := s.Of(o).Patch(s.T.Context(), name, patchType(gvk.Kind), []byte(patch), metav1.PatchOptions{})
			if err != nil {
				s.T.Fatal(err)
			}
			s.Eventually(func() string {
				if now := s.Get(o); fmt.Sprint(now.Object["spec"], now.Object["data"]) != fmt.Sprint(o.Object["spec"], o.Object["data"]) {
					return fmt.Sprintf("%s stays edited: %v", gvk.Kind, changed.Object["spec"])
				}
				return ""
			})
			s.T.Logf("%s edited: as it was after %s", gvk.Kind, time.Since(began).Round(time.Millisecond))
			judges(s, "no-privileged")
		}
		began = time.Now()
		if err := s.Of(o).Delete(s.T.Context(), name, metav1.DeleteOptions{}); err != nil {
			s.T.Fatal(err)
		}
		s.Eventually(func() string {
			now, err := s.Of(o).Get(s.T.Context(), name, metav1.GetOptions{})
			if err != nil || now.GetUID() == o.GetUID() {
				return fmt.Sprintf("%s is not there again: %v", gvk.Kind, err)
			}
			return ""
		})
		back := time.Since(began).Round(time.Millisecond)
		judges(s, "no-privileged")
		s.T.Logf("%s deleted: there again after %s, judges after %s", gvk.Kind, back, time.Since(began).Round(time.Millisecond))
	}
	replicas := s.Dynamic.Resource(resource("policyserverreplicas")).Namespace(stage.Namespace)
	if err := replicas.DeleteCollection(s.T.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		s.T.Fatal(err)
	}
	began := time.Now()
	s.Eventually(func() string {
		all, err := replicas.List(s.T.Context(), metav1.ListOptions{})
		if err != nil || len(all.Items) == 0 {
			return fmt.Sprintf("replicas do not report again: %v", err)
		}
		return ""
	})
	judges(s, "no-privileged")
	s.T.Logf("PolicyServerReplicas deleted: there again after %s, a new policy is ready after %s", time.Since(began).Round(time.Millisecond), applied(s, "after-replica"))
}

// settled waits until the pods of the policy server are ready, and no other ends:
// one that starts while something of it is edited does not start.
func settled(s *stage.Stage) {
	s.T.Helper()
	s.Eventually(func() string {
		for _, p := range s.Pods(serverPods) {
			ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			})
			if p.DeletionTimestamp != nil || !ready {
				return p.Name + " starts or ends"
			}
		}
		return ""
	})
}

func patchType(kind string) types.PatchType {
	if kind == "Deployment" {
		return types.StrategicMergePatchType
	}
	return types.MergePatchType
}

// definitionsChange adds a field to the definition of a kind, and takes it away.
func definitionsChange(s *stage.Stage) {
	text, err := os.ReadFile("../../manifest/crds/policies.kubewarden.io_clusteradmissionpolicies.yaml")
	if err != nil {
		s.T.Fatal(err)
	}
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, &crd.Object); err != nil {
		s.T.Fatal(err)
	}
	apply := func(what string, o *unstructured.Unstructured) {
		_, err := s.Of(o).Apply(s.T.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: "warder-install", Force: true})
		if err != nil {
			s.T.Fatal(err)
		}
		judges(s, "no-privileged")
		s.T.Logf("%s: a policy is ready after %s", what, applied(s, "after-definition"))
	}
	wider := crd.DeepCopy()
	versions, _, _ := unstructured.NestedSlice(wider.Object, "spec", "versions")
	for _, v := range versions {
		spec, _, _ := unstructured.NestedMap(v.(map[string]any), "schema", "openAPIV3Schema", "properties", "spec", "properties")
		spec["somethingNew"] = map[string]any{"type": "string"}
		_ = unstructured.SetNestedMap(v.(map[string]any), spec, "schema", "openAPIV3Schema", "properties", "spec", "properties")
	}
	_ = unstructured.SetNestedSlice(wider.Object, versions, "spec", "versions")
	apply("a field more", wider)
	newer := s.Object(strings.Replace(capOf("with-more", "builtin://pod-privileged", ""), "mutating: false", "mutating: false\n  somethingNew: yes it is", 1))
	made, err := s.Of(newer).Create(s.T.Context(), newer, metav1.CreateOptions{})
	if err != nil {
		s.T.Fatal(err)
	}
	s.Ready(made)
	apply("the field is gone", crd)
	s.Delete(s.Get(made))
}
