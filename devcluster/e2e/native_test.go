package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/warder-dev/warder/devcluster/stage"
)

// nativeMessage is in the refusal of the policies of these tests, whoever enforces
// them.
const nativeMessage = "containers must not be privileged"

// nativePolicy is a policy in CEL that refuses privileged pods; more is more of its
// spec.
func nativePolicy(name, more string) string {
	return `
apiVersion: policies.kubewarden.io/v1
kind: ClusterAdmissionPolicy
metadata: {name: ` + name + `}
spec:
  mutating: false
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE, UPDATE]}]
  cel:
    variables:
    - name: privileged
      expression: object.spec.containers.filter(c, has(c.securityContext) && has(c.securityContext.privileged) && c.securityContext.privileged)
    validations:
    - expression: size(variables.privileged) == 0
      message: ` + nativeMessage + `
` + more
}

func admissionResource(name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: name}
}

// natives are the names of what the API server enforces by itself.
func natives(t *testing.T, s *stage.Stage) []string {
	t.Helper()
	var all []string
	for _, kind := range []string{
		"validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
	} {
		list, err := s.Dynamic.Resource(admissionResource(kind)).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=kubewarden"})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list.Items {
			all = append(all, kind+"/"+o.GetName())
		}
	}
	return all
}

// refusedBy waits until a privileged pod is refused, by the API server itself or by
// a webhook.
func refusedBy(s *stage.Stage, who string) {
	s.T.Helper()
	s.Eventually(func() string {
		err := s.CreatePod("default", stage.Pod("p", stage.Privileged))
		if err == nil || !strings.Contains(err.Error(), nativeMessage) || !strings.Contains(err.Error(), who) {
			return fmt.Sprintf("a privileged pod: %v, want a refusal by %s", err, who)
		}
		return ""
	})
}

const byAPIServer, byWebhook = "ValidatingAdmissionPolicy 'kw.cap.native'", "admission webhook"

// TestTheAPIServerEnforcesAPolicyByItself runs through the life of such a policy.
func TestTheAPIServerEnforcesAPolicyByItself(t *testing.T) {
	t.Parallel()
	s := stage.New(t)

	t.Run("what it cannot enforce is refused", func(t *testing.T) {
		for name, more := range map[string]string{
			"spec.workloads": "  enforceAt: APIServer\n  workloads: Expand",
			"spec.order":     "",
		} {
			text := nativePolicy("unsuited", more)
			if name == "spec.order" {
				text = mutatingCEL("unsuited", "  enforceAt: APIServer\n  order: 3")
			}
			_, err := s.TryApply(text)
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v, want a refusal", name, err)
			}
		}
	})

	p := s.Apply(nativePolicy("native", "  enforceAt: APIServer"))
	now := s.Ready(p)
	if _, text := stage.Condition(now, "Enforced"); !strings.HasPrefix(text, "EnforcedByAPIServer: ") {
		t.Errorf("Enforced: %s", text)
	}
	if at, _, _ := unstructured.NestedString(now.Object, "status", "enforced", "at"); at != "APIServer" {
		t.Errorf("status.enforced: %v", now.Object["status"])
	}
	refusedBy(s, byAPIServer)
	if err := s.CreatePod("default", stage.Pod("good")); err != nil {
		t.Errorf("a good pod: %v", err)
	}
	if hooks := webhookCount(t, s); hooks != 0 {
		t.Errorf("%d webhooks ask policy servers, want none", hooks)
	}
	s.Is(p, "Loaded", "True") // for audits

	t.Run("what somebody has changed is put right", func(t *testing.T) {
		bindings := s.Dynamic.Resource(admissionResource("validatingadmissionpolicybindings"))
		patch := `{"spec": {"matchResources": {"namespaceSelector": {"matchLabels": {"no": "where"}}}}}`
		if _, err := bindings.Patch(t.Context(), "kw.cap.native", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		s.Eventually(func() string {
			b, err := bindings.Get(t.Context(), "kw.cap.native", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			if match, ok, _ := unstructured.NestedMap(b.Object, "spec", "matchResources"); ok {
				return fmt.Sprintf("the binding still has %v", match)
			}
			return ""
		})
		if err := bindings.Delete(t.Context(), "kw.cap.native", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		s.Eventually(func() string {
			if _, err := bindings.Get(t.Context(), "kw.cap.native", metav1.GetOptions{}); err != nil {
				return err.Error()
			}
			return ""
		})
		s.Ready(p)
		refusedBy(s, byAPIServer)
	})

	t.Run("who asks for it may change", func(t *testing.T) { switchUnderRequests(t, s, p) })

	t.Run("the policy server is away", func(t *testing.T) {
		servers := s.Dynamic.Resource(resource("policyservers"))
		if err := servers.Delete(t.Context(), "default", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		s.Eventually(func() string {
			if _, err := servers.Get(t.Context(), "default", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Sprintf("the policy server is still there: %v", err)
			}
			return ""
		})
		refusedBy(s, byAPIServer)
		s.Ready(p)
	})

	s.Delete(p)
	if left := natives(t, s); len(left) > 0 {
		t.Errorf("the policy is gone, and there is %v", left)
	}
	s.Eventually(func() string {
		if err := s.CreatePod("default", stage.Pod("p", stage.Privileged)); err != nil {
			return "after the policy is gone: " + err.Error()
		}
		return ""
	})
}

// switchUnderRequests moves the policy from the API server to a webhook and back,
// while somebody tries all the time to do what it refuses.
func switchUnderRequests(t *testing.T, s *stage.Stage, p *unstructured.Unstructured) {
	ctx, cancel := context.WithCancel(t.Context())
	var tried, missed, other, native atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			err := s.CreatePod("default", stage.Pod("p", stage.Privileged))
			tried.Add(1)
			switch {
			case err == nil:
				missed.Add(1)
			case !strings.Contains(err.Error(), nativeMessage):
				if other.Add(1) == 1 {
					t.Errorf("after %d requests: %v", tried.Load(), err)
				}
			case strings.Contains(err.Error(), byAPIServer):
				native.Add(1)
			}
		}
	}()
	policies := s.Dynamic.Resource(resource("clusteradmissionpolicies"))
	for _, to := range []struct{ at, by string }{{"Webhook", byWebhook}, {"APIServer", byAPIServer}, {"Webhook", byWebhook}, {"APIServer", byAPIServer}} {
		patch := `{"spec": {"enforceAt": "` + to.at + `"}}`
		if _, err := policies.Patch(t.Context(), p.GetName(), "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		s.Ready(p)
		refusedBy(s, to.by)
		s.Eventually(func() string {
			left, hooks := natives(t, s), webhookCount(t, s)
			if to.at == "Webhook" && (len(left) != 0 || hooks != 1) || to.at == "APIServer" && (len(left) != 2 || hooks != 0) {
				return fmt.Sprintf("%s: there are %d webhooks, and %v", to.at, hooks, left)
			}
			return ""
		})
	}
	cancel()
	<-done
	t.Logf("%d requests, %d missed, %d with another error, %d refused by the API server itself", tried.Load(), missed.Load(), other.Load(), native.Load())
	if missed.Load() > 0 {
		t.Errorf("%d of %d requests were allowed", missed.Load(), tried.Load())
	}
	if native.Load() == 0 || native.Load() == tried.Load()-other.Load() {
		t.Errorf("of %d requests %d were refused by the API server itself: nothing has moved", tried.Load(), native.Load())
	}
}

// webhookCount is how many webhooks ask a policy server.
func webhookCount(t *testing.T, s *stage.Stage) int {
	t.Helper()
	count := 0
	for _, kind := range []string{"validatingwebhookconfigurations", "mutatingwebhookconfigurations"} {
		list, err := s.Dynamic.Resource(admissionResource(kind)).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list.Items {
			hooks, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
			for _, h := range hooks {
				h, ok := h.(map[string]any)
				if !ok {
					continue
				}
				if service, _, _ := unstructured.NestedString(h, "clientConfig", "service", "name"); strings.HasPrefix(service, "policy-server-") {
					count++
				}
			}
		}
	}
	return count
}

// mutatingCEL is a policy that labels pods, in CEL.
func mutatingCEL(name, more string) string {
	return `
apiVersion: policies.kubewarden.io/v1
kind: ClusterAdmissionPolicy
metadata: {name: ` + name + `}
spec:
  mutating: true
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
  cel:
    mutations:
    - patchType: ApplyConfiguration
      applyConfiguration:
        expression: 'Object{metadata: Object.metadata{labels: {"labelled-by": "` + name + `"}}}'
` + more
}

// TestTheAPIServerMutatesByItself is about MutatingAdmissionPolicies, params, and
// policies of one namespace.
func TestTheAPIServerMutatesByItself(t *testing.T) {
	t.Parallel()
	s := stage.New(t)
	labelled := func(namespace string) string {
		p, err := s.Client.CoreV1().Pods(namespace).Create(t.Context(), stage.Pod("p"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			t.Fatal(err)
		}
		return p.Labels["labelled-by"]
	}
	p := s.Apply(mutatingCEL("labels", "  enforceAt: APIServer"))
	s.Ready(p)
	s.Eventually(func() string {
		if label := labelled("default"); label != "labels" {
			return fmt.Sprintf("the pod is labelled by %q", label)
		}
		return ""
	})
	if left := natives(t, s); fmt.Sprint(left) != "[mutatingadmissionpolicies/kw.cap.labels mutatingadmissionpolicybindings/kw.cap.labels]" {
		t.Errorf("there is %v", left)
	}
	s.Delete(p)

	s.Apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
	s.Apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: limits, namespace: shop}, data: {prefix: good-}}")
	s.Apply(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: read-params, labels: {policies.warder.dev/aggregate-to-context: "true"}}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}]`)
	ns := s.Apply(`
apiVersion: policies.kubewarden.io/v1
kind: AdmissionPolicy
metadata: {name: names, namespace: shop}
spec:
  mutating: false
  enforceAt: APIServer
  message: the name is not one of ours
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
  cel:
    paramKind: {apiVersion: v1, kind: ConfigMap}
    paramRef: {name: limits, parameterNotFoundAction: Deny}
    validations: [{expression: "object.metadata.name.startsWith(params.data.prefix)"}]`)
	s.Ready(ns)
	s.Eventually(func() string {
		err := s.CreatePod("shop", stage.Pod("bad"))
		if err == nil || !strings.Contains(err.Error(), "the name is not one of ours") {
			return fmt.Sprintf("a bad name: %v", err)
		}
		return ""
	})
	for namespace, name := range map[string]string{"shop": "good-one", "default": "bad"} {
		if err := s.CreatePod(namespace, stage.Pod(name)); err != nil {
			t.Errorf("%s/%s: %v", namespace, name, err)
		}
	}
	s.Warder("uninstall", "--yes")
	if left := natives(t, s); len(left) > 0 {
		t.Errorf("warder is uninstalled, and there is %v", left)
	}
}
