package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/devcluster/stage"
)

// dryRun are the objects that install would apply.
func dryRunInstall(s *stage.Stage, args ...string) []*unstructured.Unstructured {
	var all []*unstructured.Unstructured
	for _, doc := range strings.Split(s.Warder(append([]string{"install", "--dry-run"}, args...)...), "\n---\n") {
		all = append(all, s.Object(doc))
	}
	return all
}

// versions are the resource versions of objects, by kind and name, but of those
// whose status somebody writes now and then.
func versions(s *stage.Stage, objects []*unstructured.Unstructured) map[string]string {
	all := map[string]string{}
	for _, o := range objects {
		if kind := o.GetKind(); kind != "Deployment" && kind != "PolicyServer" {
			all[kind+" "+o.GetName()] = s.Get(o).GetResourceVersion()
		} else {
			all[kind+" "+o.GetName()] = fmt.Sprint(s.Get(o).GetGeneration())
		}
	}
	return all
}

func patch(s *stage.Stage, o *unstructured.Unstructured, text string) {
	s.T.Helper()
	if _, err := s.Of(o).Patch(s.T.Context(), o.GetName(), types.JSONPatchType, []byte(text), metav1.PatchOptions{}); err != nil {
		s.T.Fatal(err)
	}
}

// leaves fails the test unless the cluster has what it had before, in the end:
// the garbage collector is a little later.
func leaves(s *stage.Stage, before []string) {
	s.T.Helper()
	s.Eventually(func() string { return cmp.Diff(before, s.Inventory()) })
}

func find(objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name })
	return objects[i]
}

func TestInstallIsUndoneByUninstall(t *testing.T) {
	t.Parallel()
	s := stage.Bare(t, cluster.Options{})
	before := s.Inventory()
	s.Warder("install", "--wait", "--timeout="+stage.Patience.String())
	objects := dryRunInstall(s)
	s.Ready(s.Apply(capOf("no-privileged", "builtin://pod-privileged", "")))

	t.Run("again", func(t *testing.T) {
		want := versions(s, objects)
		if out := s.Warder("install", "--wait"); out != "Everything is as it should be already.\n" {
			t.Errorf("the second installation prints %q", out)
		}
		if diff := cmp.Diff(want, versions(s, objects)); diff != "" {
			t.Errorf("versions (-first +second):\n%s", diff)
		}
	})
	t.Run("dry run", func(t *testing.T) {
		for _, o := range objects {
			_, err := s.Of(o).Apply(t.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: "kubectl", Force: true, DryRun: []string{metav1.DryRunAll}})
			if err != nil {
				t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
			}
		}
	})
	t.Run("from an older version", func(t *testing.T) {
		crd, controller := find(objects, "CustomResourceDefinition", "policyservers.policies.kubewarden.io"), find(objects, "Deployment", "warder-controller")
		wantCRD, wantController := s.Get(crd).Object["spec"], s.Get(controller).Object["spec"]
		patch(s, crd, `[{"op":"remove","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/workloads"}]`)
		patch(s, controller, `[{"op":"replace","path":"/spec/template/spec/containers/0/args","value":["controller","--log-level=debug"]}]`)
		s.Warder("install", "--wait", "--timeout="+stage.Patience.String())
		if diff := cmp.Diff(wantCRD, s.Get(crd).Object["spec"]); diff != "" {
			t.Errorf("the kind (-first +upgraded):\n%s", diff)
		}
		if diff := cmp.Diff(wantController, s.Get(controller).Object["spec"]); diff != "" {
			t.Errorf("the controller (-first +upgraded):\n%s", diff)
		}
	})
	t.Run("permissions", func(t *testing.T) { checkPermissions(t, s) })
	t.Run("another", func(t *testing.T) {
		// Pods of the controller before may still go.
		inventory := func() []string {
			return slices.DeleteFunc(s.Inventory(), func(o string) bool { return strings.HasPrefix(o, "pods ") })
		}
		now := inventory()
		_, err := s.TryWarder("install", "--namespace=other")
		if err == nil || !strings.Contains(err.Error(), `there is an installation in namespace "warder" already`) {
			t.Errorf("error = %v, want that there is one already", err)
		}
		if diff := cmp.Diff(now, inventory()); diff != "" {
			t.Errorf("it is refused, and objects have changed:\n%s", diff)
		}
	})
	out := s.Warder("uninstall", "--yes")
	t.Log(out)
	leaves(s, before)
	if out := s.Warder("uninstall", "--yes"); out != "Nothing of warder is there.\n" {
		t.Errorf("uninstalling what is not there prints %q", out)
	}
}

// checkPermissions asks the API server what the accounts may do: all that they
// need, which the other tests show, and nothing that would let one who takes them
// over take the cluster.
func checkPermissions(t *testing.T, s *stage.Stage) {
	const controller, server = "warder-controller", "policy-server-default"
	type access struct{ verb, group, resource, namespace string }
	tests := []struct {
		account string
		access
		allowed bool
	}{
		{controller, access{"patch", "admissionregistration.k8s.io", "validatingwebhookconfigurations", ""}, true},
		{controller, access{"patch", "policies.kubewarden.io", "clusteradmissionpolicies/status", ""}, true},
		{controller, access{"update", "policies.kubewarden.io", "admissionpolicies/finalizers", "default"}, true},
		{controller, access{"list", "policies.warder.dev", "policyserverreplicas", "warder"}, true},
		{controller, access{"get", "", "secrets", "warder"}, true},
		{controller, access{"patch", "apps", "deployments", "warder"}, true},
		{controller, access{"patch", "coordination.k8s.io", "leases", "warder"}, true},
		{controller, access{"create", "events.k8s.io", "events", "default"}, true},
		{controller, access{"get", "", "secrets", "default"}, false},
		{controller, access{"list", "", "secrets", ""}, false},
		{controller, access{"create", "", "pods", "warder"}, false},
		{controller, access{"patch", "apps", "deployments", "default"}, false},
		{controller, access{"create", "policies.kubewarden.io", "clusteradmissionpolicies", ""}, false},
		{controller, access{"delete", "policies.kubewarden.io", "clusteradmissionpolicies", ""}, false},
		{controller, access{"patch", "apiextensions.k8s.io", "customresourcedefinitions", ""}, false},
		{controller, access{"create", "rbac.authorization.k8s.io", "clusterroles", ""}, false},
		{controller, access{"escalate", "rbac.authorization.k8s.io", "clusterroles", ""}, false},
		{controller, access{"bind", "rbac.authorization.k8s.io", "clusterroles", ""}, false},
		{controller, access{"impersonate", "", "users", ""}, false},
		{server, access{"watch", "policies.kubewarden.io", "admissionpolicies", ""}, true},
		{server, access{"watch", "policies.kubewarden.io", "policyservers", ""}, true},
		{server, access{"patch", "policies.warder.dev", "policyserverreplicas", "warder"}, true},
		{server, access{"list", "", "namespaces", ""}, true},
		{server, access{"watch", "", "pods", ""}, true},
		{server, access{"list", "networking.k8s.io", "ingresses", "default"}, true},
		{server, access{"create", "authorization.k8s.io", "subjectaccessreviews", ""}, true},
		{server, access{"get", "", "secrets", "warder"}, false},
		{server, access{"get", "", "secrets", "default"}, false},
		{server, access{"get", "", "configmaps", "warder"}, false},
		{server, access{"patch", "policies.kubewarden.io", "clusteradmissionpolicies", ""}, false},
		{server, access{"patch", "policies.kubewarden.io", "clusteradmissionpolicies/status", ""}, false},
		{server, access{"patch", "policies.warder.dev", "policyserverreplicas", "default"}, false},
		{server, access{"patch", "admissionregistration.k8s.io", "validatingwebhookconfigurations", ""}, false},
		{server, access{"get", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", ""}, false},
		{server, access{"patch", "apps", "deployments", "warder"}, false},
		{server, access{"create", "", "pods", "default"}, false},
	}
	clients := map[string]*kubernetes.Clientset{}
	for _, account := range []string{controller, server} {
		config, err := s.Cluster.ServiceAccountConfig(t.Context(), stage.Namespace, account)
		if err != nil {
			t.Fatal(err)
		}
		clients[account] = kubernetes.NewForConfigOrDie(config)
	}
	for _, tt := range tests {
		resource, subresource, _ := strings.Cut(tt.resource, "/")
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: tt.verb, Group: tt.group, Resource: resource, Subresource: subresource, Namespace: tt.namespace,
			},
		}}
		got, err := clients[tt.account].AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got.Status.Allowed != tt.allowed {
			t.Errorf("%s: %+v: allowed is %t, want %t (%s)", tt.account, tt.access, got.Status.Allowed, tt.allowed, got.Status.Reason)
		}
	}
	for name, client := range clients {
		for namespace, want := range map[string]bool{stage.Namespace: name == controller, "default": false} {
			_, err := client.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{})
			if err == nil != want || err != nil && !apierrors.IsForbidden(err) {
				t.Errorf("%s lists Secrets of %s: %v", name, namespace, err)
			}
		}
	}
}

// broken is an installation that does not run: nobody has the image.
func broken(s *stage.Stage, args ...string) {
	s.T.Helper()
	s.Warder(append([]string{"install", "--image=registry.example.com/broken:v1"}, args...)...)
}

// blocksEverything is a webhook of warder's that nobody answers.
const blocksEverything = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: kw.cap.everything, labels: {app.kubernetes.io/part-of: kubewarden}}
webhooks:
- name: everything.kubewarden.admission
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  timeoutSeconds: 1
  clientConfig: {service: {namespace: warder, name: policy-server-default, port: 443}}
  rules:
  - {apiGroups: ["*"], apiVersions: ["*"], resources: ["*/*"], operations: ["*"]}
`

// held is a policy with finalizers that only a controller would remove.
func held(name string, finalizers ...string) string {
	return strings.Replace(capOf(name, "builtin://pod-privileged", ""), "metadata: {name: "+name+"}",
		fmt.Sprintf("metadata: {name: %s, finalizers: [%s]}", name, strings.Join(finalizers, ", ")), 1)
}

func TestUninstallNeedsNothingOfWarder(t *testing.T) {
	t.Parallel()
	s := stage.Bare(t, cluster.Options{})
	before := s.Inventory()
	broken(s)
	s.Apply(held("held", "kubewarden.io/finalizer", "kubewarden"))
	s.Apply(blocksEverything)
	s.Eventually(func() string {
		_, err := s.Client.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("x"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			return "the webhook does not block anything yet"
		}
		return ""
	})
	s.Warder("uninstall", "--yes")
	leaves(s, before)

	t.Run("and keeps policies", func(t *testing.T) {
		broken(s)
		p := s.Apply(held("kept", "kubewarden.io/finalizer", "example.com/mine"))
		enforced := []byte(`{"status":{"policyStatus":"active","conditions":[{"type":"Ready","status":"True","reason":"Enforced","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
		if _, err := s.Of(p).Patch(t.Context(), "kept", types.MergePatchType, enforced, metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
		s.Apply(blocksEverything)
		s.Warder("uninstall", "--keep-crds")
		if diff := cmp.Diff([]string{"example.com/mine"}, s.Get(p).GetFinalizers()); diff != "" {
			t.Errorf("finalizers (-want +got):\n%s", diff)
		}
		if status := s.Get(p).Object["status"]; status != nil {
			t.Errorf("nobody enforces the policy, and its status says %v", status)
		}
		empty := []string{"namespaces /warder []", "serviceaccounts warder/default []", "configmaps warder/kube-root-ca.crt []"}
		s.Eventually(func() string {
			for _, o := range s.Inventory() {
				if !slices.Contains(before, o) && !strings.HasPrefix(o, "customresourcedefinitions.") &&
					!strings.HasPrefix(o, "apiservices.") && !strings.Contains(o, ".policies.kubewarden.io ") &&
					!slices.Contains(empty, o) {
					return o + " is left"
				}
			}
			return ""
		})
	})
	t.Run("but for what others hold", func(t *testing.T) {
		_, err := s.TryWarder("uninstall", "--yes", "--timeout=5s")
		if err == nil || !strings.Contains(err.Error(), "ClusterAdmissionPolicy kept has the finalizer example.com/mine, which is not warder's to remove") {
			t.Errorf("error = %v, want who holds what", err)
		}
		patch(s, s.Object(held("kept")), `[{"op":"remove","path":"/metadata/finalizers"}]`)
		s.Warder("uninstall", "--yes")
		leaves(s, before)
	})
}

const kubewarden = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: kubewarden-controller
  namespace: kubewarden
  labels: {app.kubernetes.io/name: kubewarden-controller, app.kubernetes.io/part-of: kubewarden, app.kubernetes.io/managed-by: Helm}
spec:
  replicas: 1
  selector: {matchLabels: {app.kubernetes.io/name: kubewarden-controller}}
  template:
    metadata: {labels: {app.kubernetes.io/name: kubewarden-controller}}
    spec: {containers: [{name: manager, image: "ghcr.io/kubewarden/kubewarden-controller:v1.30.0"}]}
---
apiVersion: v1
kind: Service
metadata: {name: kubewarden-controller-webhook-service, namespace: kubewarden}
spec:
  selector: {app.kubernetes.io/name: kubewarden-controller, app.kubernetes.io/instance: kubewarden}
  ports: [{port: 443, targetPort: 9443}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: kubewarden-context-watcher}
rules:
- {apiGroups: [""], resources: [nodes], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kubewarden-context-watcher}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kubewarden-context-watcher}
subjects: [{kind: ServiceAccount, name: policy-server, namespace: kubewarden}]
`

func TestInstallTakesKubewardenOver(t *testing.T) {
	t.Parallel()
	s := stage.Bare(t, cluster.Options{})
	s.Apply("{apiVersion: v1, kind: Namespace, metadata: {name: kubewarden}}")
	var theirs []*unstructured.Unstructured
	for _, doc := range strings.Split(kubewarden, "\n---\n") {
		theirs = append(theirs, s.Apply(doc))
	}
	if _, err := s.TryWarder("install"); err == nil || !strings.Contains(err.Error(), `there is an installation in namespace "kubewarden" already`) {
		t.Errorf("error = %v, want that Kubewarden is there", err)
	}
	broken(s, "--namespace=kubewarden")
	if n, _, _ := unstructured.NestedInt64(s.Get(theirs[0]).Object, "spec", "replicas"); n != 0 {
		t.Errorf("Kubewarden's controller has %d replicas, and the lease", n)
	}
	selector, _, _ := unstructured.NestedStringMap(s.Get(theirs[1]).Object, "spec", "selector")
	if diff := cmp.Diff(map[string]string{"app.kubernetes.io/component": "controller", "app.kubernetes.io/name": "warder"}, selector); diff != "" {
		t.Errorf("the webhooks' Service leads elsewhere (-want +got):\n%s", diff)
	}
	s.Eventually(func() string {
		if role := fmt.Sprint(s.Get(theirs[2]).Object["rules"]); strings.Contains(role, "nodes") || !strings.Contains(role, "ingresses") {
			return "the context role is not aggregated yet: " + role
		}
		return ""
	})
	if out := s.Warder("install", "--namespace=kubewarden", "--image=registry.example.com/broken:v1"); out != "Everything is as it should be already.\n" {
		t.Errorf("the second installation prints %q", out)
	}
	s.Warder("uninstall", "--namespace=kubewarden", "--yes")
	if s.Get(theirs[0]).GetUID() == "" {
		t.Error("uninstall has removed what it did not make")
	}
}

// TestUninstallWhileNothingIsJudged has a controller that lives, which registers
// what is removed, and a policy about everything that nobody judges.
func TestUninstallWhileNothingIsJudged(t *testing.T) {
	t.Parallel()
	s := stage.Bare(t, cluster.Options{})
	before := s.Inventory()
	s.Warder("install", "--wait", "--timeout="+stage.Patience.String())
	everything := strings.ReplaceAll(capOf("everything", "builtin://pod-privileged", ""),
		`{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}`,
		`{apiGroups: ["*"], apiVersions: ["*"], resources: ["*/*"], operations: ["*"]}`)
	// It would refuse the controller's own writes otherwise.
	s.Ready(s.Apply(strings.Replace(everything, "mutating: false", "mutating: false\n  mode: monitor", 1)))
	s.Apply("{apiVersion: policies.kubewarden.io/v1, kind: PolicyServer, metadata: {name: default}, spec: {replicas: 0}}")
	s.Eventually(func() string {
		_, err := s.Client.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("x"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			return "somebody judges still"
		}
		return ""
	})
	t.Log(s.Warder("uninstall", "--yes"))
	leaves(s, before)
}
