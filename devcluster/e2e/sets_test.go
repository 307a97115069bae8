package e2e

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/devcluster/stage"
)

// Every set is installed with what it needs, refuses nothing until it is asked to,
// and goes without a trace.
func TestPolicySets(t *testing.T) {
	t.Parallel()
	const sets = "pod-security-baseline,pod-security-restricted,best-practices,kubewarden-defaults"
	s := stage.Bare(t, cluster.Options{})
	s.Warder("install", "--wait", "--timeout="+stage.Patience.String())
	before := s.Inventory()
	objects := dryRunInstall(s, "--set="+sets)
	s.Warder("install", "--wait", "--timeout="+stage.Patience.String(), "--set="+sets)
	baseline, count := find(objects, "ClusterAdmissionPolicy", "pod-security-baseline"), 0
	for _, o := range objects {
		if o.GetKind() == "ClusterAdmissionPolicy" {
			s.Is(o, "Enforced", "True")
			count++
		}
	}
	if count < 20 {
		t.Errorf("%d policies", count)
	}
	privileged := func(name string) *corev1.Pod {
		yes := true
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "a", Image: "registry.example.com/a:1", SecurityContext: &corev1.SecurityContext{Privileged: &yes},
			}}},
		}
	}
	if err := s.CreatePod("default", privileged("monitored")); err != nil {
		t.Errorf("in monitor mode: %v", err)
	}

	patch(s, baseline, `[{"op": "replace", "path": "/spec/mode", "value": "protect"}]`)
	s.Eventually(func() string {
		err := s.CreatePod("default", privileged("refused"))
		if err == nil || !strings.Contains(err.Error(), "privileged: spec.containers[0].securityContext.privileged is true") {
			return "a privileged pod is not refused"
		}
		return ""
	})
	_, err := s.TryApply(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: refused, namespace: default}
spec:
  selector: {matchLabels: {app: a}}
  template: {metadata: {labels: {app: a}}, spec: {hostPID: true, containers: [{name: a, image: "registry.example.com/a:1"}]}}`)
	if err == nil || !strings.Contains(err.Error(), "hostNamespaces: spec.template.spec.hostPID is true") {
		t.Errorf("a Deployment with hostPID: %v", err)
	}

	// What somebody has decided stays, and so do the policies of a set that is not
	// named.
	s.Warder("install", "--wait", "--timeout="+stage.Patience.String(), "--set=pod-security-baseline")
	s.Warder("install", "--wait", "--timeout="+stage.Patience.String())
	if mode := s.Get(baseline).Object["spec"].(map[string]any)["mode"]; mode != "protect" { //nolint:forcetypeassert // its schema says so
		t.Errorf("mode = %v after another installation, want protect", mode)
	}

	s.Warder("uninstall", "--set=best-practices")
	if _, err := s.Of(baseline).Get(t.Context(), "best-practices-image-tag", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a policy of a set that was removed: %v", err)
	}
	s.Get(baseline) // of another set
	s.Warder("uninstall", "--set="+sets)
	after := s.Inventory()
	for _, object := range after {
		if !slices.Contains(before, object) && (strings.Contains(object, "AdmissionPolicy") || strings.Contains(object, "warder-set-")) {
			t.Errorf("%s is left", object)
		}
	}
	if out := s.Warder("uninstall", "--set=best-practices"); out != "No policy of best-practices is there.\n" {
		t.Errorf("removing a set that is not there prints %q", out)
	}
}
