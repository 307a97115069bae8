// Package e2e installs the chart into a real API server, with Helm's own library.
package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/cli"
	"helm.sh/helm/v4/pkg/kube"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/devcluster/stage"
)

// helm is Helm as a user of the stage's cluster has it.
type helm struct {
	t *testing.T
	s *stage.Stage
}

const releaseName = "any-name"

// config is new for each action, as for each command of a user.
func (h helm) config() *action.Configuration {
	h.t.Helper()
	settings := cli.New()
	settings.KubeConfig = h.s.Cluster.Kubeconfig()
	settings.SetNamespace(stage.Namespace)
	config := action.NewConfiguration()
	if err := config.Init(settings.RESTClientGetter(), stage.Namespace, "secret"); err != nil {
		h.t.Fatal(err)
	}
	return config
}

func (h helm) values(text string) map[string]any {
	h.t.Helper()
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		h.t.Fatal(err)
	}
	return values
}

func (h helm) install(values string) {
	h.t.Helper()
	c, err := loader.LoadDir("../../warder")
	if err != nil {
		h.t.Fatal(err)
	}
	install := action.NewInstall(h.config())
	install.ReleaseName, install.Namespace, install.CreateNamespace = releaseName, stage.Namespace, true
	install.WaitStrategy, install.Timeout = kube.StatusWatcherStrategy, stage.Patience
	if _, err := install.Run(c, h.values(values)); err != nil {
		h.t.Fatalf("helm install: %v", err)
	}
}

func (h helm) upgrade(values string) {
	h.t.Helper()
	c, err := loader.LoadDir("../../warder")
	if err != nil {
		h.t.Fatal(err)
	}
	upgrade := action.NewUpgrade(h.config())
	upgrade.Namespace, upgrade.ServerSideApply = stage.Namespace, "auto"
	upgrade.WaitStrategy, upgrade.Timeout = kube.StatusWatcherStrategy, stage.Patience
	if _, err := upgrade.Run(releaseName, c, h.values(values)); err != nil {
		h.t.Fatalf("helm upgrade: %v", err)
	}
}

func (h helm) uninstall() {
	h.t.Helper()
	uninstall := action.NewUninstall(h.config())
	uninstall.WaitStrategy, uninstall.Timeout = kube.StatusWatcherStrategy, stage.Patience
	if _, err := uninstall.Run(releaseName); err != nil {
		h.t.Fatalf("helm uninstall: %v", err)
	}
}

// named is an object to look for.
func named(apiVersion, kind, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(schema.FromAPIVersionAndKind(apiVersion, kind))
	o.SetName(name)
	if kind == "Deployment" {
		o.SetNamespace(stage.Namespace)
	}
	return o
}

const privileged = `
apiVersion: policies.kubewarden.io/v1
kind: ClusterAdmissionPolicy
metadata: {name: mine}
spec:
  module: builtin://pod-privileged
  mutating: false
  rules:
  - {apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}
`

// enforced waits until a pod is refused for the policy's reason: until then there
// may be no endpoint yet.
func enforced(h helm) {
	h.t.Helper()
	h.s.Eventually(func() string {
		err := h.s.CreatePod("default", stage.Pod("p", stage.Privileged))
		if err == nil || !strings.Contains(err.Error(), "kw.cap.mine: Privileged container is not allowed") {
			return fmt.Sprintf("error = %v, want the policy's reason", err)
		}
		return ""
	})
}

func TestHelmInstallsUpgradesAndUninstalls(t *testing.T) {
	s := stage.Bare(t, cluster.Options{})
	h := helm{t, s}
	s.Apply(fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", stage.Namespace))
	s.Eventually(func() string {
		if _, err := s.Client.CoreV1().ServiceAccounts(stage.Namespace).Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		if _, err := s.Client.CoreV1().ConfigMaps(stage.Namespace).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
	before := s.Inventory()

	h.install("recommendedPolicies: {enabled: true}")
	server := named("policies.kubewarden.io/v1", "PolicyServer", "default")
	s.Ready(server)
	s.Ready(named("policies.kubewarden.io/v1", "ClusterAdmissionPolicy", "no-privileged-pod"))
	s.Ready(s.Apply(privileged))
	enforced(h)

	// A kind of an older version lacks a field that the newer chart sets.
	crd := named("apiextensions.k8s.io/v1", "CustomResourceDefinition", "policyservers.policies.kubewarden.io")
	properties := "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/"
	for _, field := range []string{"workloads", "workloadTemplates"} {
		patch := fmt.Sprintf(`[{"op":"remove","path":%q}]`, properties+field)
		if _, err := s.Of(crd).Patch(t.Context(), crd.GetName(), types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	const values = "{policyServer: {workloads: Expand, replicaCount: 2}, logLevel: debug}"
	h.upgrade(values)
	if got, _, _ := unstructured.NestedString(s.Get(server).Object, "spec", "workloads"); got != "Expand" {
		t.Errorf("workloads = %q: the kind was not upgraded before the object", got)
	}
	s.Ready(server)
	enforced(h)

	controller := named("apps/v1", "Deployment", "warder-controller")
	generation := s.Get(controller).GetGeneration()
	h.upgrade(values)
	if now := s.Get(controller).GetGeneration(); now != generation {
		t.Errorf("an upgrade to the same has changed the controller: generation %d, was %d", now, generation)
	}
	enforced(h)

	h.uninstall()
	// What the garbage collector removes is gone a little later.
	s.Eventually(func() string {
		var left []string
		for _, o := range s.Inventory() {
			kind := strings.HasPrefix(o, "customresourcedefinitions.") || strings.HasPrefix(o, "apiservices.")
			if slices.Contains(before, o) || !kind && o != "clusteradmissionpolicies.policies.kubewarden.io /mine []" {
				left = append(left, o)
			}
		}
		return cmp.Diff(before, left)
	})
	mine := s.Get(named("policies.kubewarden.io/v1", "ClusterAdmissionPolicy", "mine"))
	if f := mine.GetFinalizers(); len(f) > 0 {
		t.Errorf("the policy that stays has the finalizers %v", f)
	}
	if err := s.CreatePod("default", stage.Pod("p", stage.Privileged)); err != nil {
		t.Errorf("nobody judges any more, and the pod is refused: %v", err)
	}

	if mine.Object["status"] != nil {
		t.Errorf("nobody enforces the policy, and its status says %v", mine.Object["status"])
	}

	h.install("")
	s.Ready(mine)
	enforced(h)
}
