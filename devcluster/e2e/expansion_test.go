package e2e

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/warder-dev/warder/devcluster/stage"
)

// template is a pod template with one container, whose further fields are more.
func template(more string) string {
	return fmt.Sprintf("{metadata: {labels: {app: x}}, spec: {restartPolicy: %%s, containers: [{name: c, image: 'registry.example.com/app:v1'%s}]}}", more)
}

const privileged = ", securityContext: {privileged: true}"

// workload is an object of a kind that makes pods.
type workload struct {
	apiVersion, kind, spec string // %s is the template
	restart, at            string
}

func workloads() []workload {
	const selector = "selector: {matchLabels: {app: x}}, "
	return []workload{
		{"apps/v1", "Deployment", selector + "replicas: 1, template: %s", "Always", "spec.template"},
		{"apps/v1", "ReplicaSet", selector + "template: %s", "Always", "spec.template"},
		{"apps/v1", "StatefulSet", selector + "serviceName: x, template: %s", "Always", "spec.template"},
		{"apps/v1", "DaemonSet", selector + "template: %s", "Always", "spec.template"},
		{"batch/v1", "Job", "template: %s", "Never", "spec.template"},
		{"batch/v1", "CronJob", "schedule: '0 0 * * *', jobTemplate: {spec: {template: %s}}", "Never", "spec.jobTemplate.spec.template"},
		{"v1", "ReplicationController", "template: %s", "Always", "spec.template"},
		{"argoproj.io/v1alpha1", "Rollout", "template: %s", "Always", "spec.template"},
	}
}

func (w workload) yaml(name, container string) string {
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: default}\nspec: {%s}",
		w.apiVersion, w.kind, name, fmt.Sprintf(w.spec, fmt.Sprintf(template(container), w.restart)))
}

// dryRun creates an object that nobody keeps.
func dryRun(s *stage.Stage, text string) (*unstructured.Unstructured, error) {
	o := s.Object(text)
	return s.Of(o).Create(s.T.Context(), o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

const rolloutsCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rollouts.argoproj.io}
spec:
  group: argoproj.io
  scope: Namespaced
  names: {plural: rollouts, singular: rollout, kind: Rollout, listKind: RolloutList}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// TestWorkloadsAreJudgedByThePodsThatTheyWouldMake runs on one cluster: its parts
// build upon each other.
func TestWorkloadsAreJudgedByThePodsThatTheyWouldMake(t *testing.T) {
	t.Parallel()
	s := stage.New(t)
	s.Is(s.Apply(rolloutsCRD), "Established", "True")
	// What is there before the policy: it may stay, and be scaled.
	old := s.Apply(strings.Replace(workloads()[0].yaml("old", privileged), "replicas: 1", "replicas: 0", 1))

	ps := s.Object("apiVersion: policies.kubewarden.io/v1\nkind: PolicyServer\nmetadata: {name: default}")
	patch := func(text string) {
		t.Helper()
		if _, err := s.Of(ps).Patch(t.Context(), ps.GetName(), "application/merge-patch+json", []byte(text), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch(`{"spec": {"workloadTemplates": {"rollouts.argoproj.io": "spec.template"}}}`)
	privilegedPods := s.Apply(capOf("no-privileged", "builtin://pod-privileged", "") + "  workloads: Expand\n")
	s.Ready(privilegedPods)

	t.Run("refused with the place in what the user wrote", func(t *testing.T) {
		for _, w := range workloads() {
			_, err := dryRun(s, w.yaml("bad", privileged))
			if err == nil || !strings.Contains(err.Error(), w.at+".spec.containers[0].securityContext.privileged") {
				t.Errorf("%s: error = %v, want one with a place in %s", w.kind, err, w.at)
				continue
			}
			t.Logf("%s: %v", w.kind, err)
			if _, err := dryRun(s, w.yaml("good", "")); err != nil {
				t.Errorf("%s: one that nothing is wrong with is refused: %v", w.kind, err)
			}
		}
	})

	deployments := s.Client.AppsV1().Deployments("default")
	t.Run("an existing violating workload can be scaled, and its pods are judged", func(t *testing.T) {
		scale, err := deployments.GetScale(t.Context(), old.GetName(), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		scale.Spec.Replicas = 1
		if _, err := deployments.UpdateScale(t.Context(), old.GetName(), scale, metav1.UpdateOptions{}); err != nil {
			t.Errorf("by the subresource: %v", err)
		}
		if _, err := deployments.Patch(t.Context(), old.GetName(), "application/merge-patch+json", []byte(`{"spec": {"replicas": 2}}`), metav1.PatchOptions{}); err != nil {
			t.Errorf("by the object: %v", err)
		}
		_, err = deployments.Patch(t.Context(), old.GetName(), "application/json-patch+json",
			[]byte(`[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "registry.example.com/app:v2"}]`), metav1.PatchOptions{})
		if err == nil || !strings.Contains(err.Error(), "spec.template.spec.containers[0]") {
			t.Errorf("a new template of it: error = %v, want the policy's", err)
		}
		s.Eventually(func() string {
			d, err := deployments.Get(t.Context(), old.GetName(), metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			for _, c := range d.Status.Conditions {
				if c.Type == appsv1.DeploymentReplicaFailure && strings.Contains(c.Message, "kw.cap.no-privileged") {
					return ""
				}
			}
			return fmt.Sprintf("the policy does not judge the pods of a Deployment that is older than it: %+v", d.Status.Conditions)
		})
	})

	t.Run("policies that do not say do as the policy server says", func(t *testing.T) {
		trusted := s.Apply(capOf("trusted", "builtin://trusted-repos", "{registries: {allow: [elsewhere.example.com]}, }"))
		s.Ready(trusted)
		if _, err := dryRun(s, workloads()[0].yaml("d", "")); err != nil {
			t.Fatalf("workloads are judged though nobody says so: %v", err)
		}
		patch(`{"spec": {"workloads": "Expand"}}`)
		s.Eventually(func() string {
			if _, err := dryRun(s, workloads()[5].yaml("d", "")); err == nil || !strings.Contains(err.Error(), "kw.cap.trusted") {
				return fmt.Sprintf("error = %v, want one of the policy", err)
			}
			return ""
		})
		s.Delete(trusted)
		if _, err := dryRun(s, workloads()[5].yaml("d", "")); err != nil {
			t.Errorf("the policy is gone, and judges with the others: %v", err)
		}
		patch(`{"spec": {"workloads": "Ignore"}}`)
	})

	t.Run("mutations land in the template", func(t *testing.T) {
		text := capOf("resources", "builtin://container-resources",
			`{cpu: {defaultRequest: 100m, defaultLimit: 200m, maxLimit: "1"}, memory: {defaultRequest: 64Mi, defaultLimit: 128Mi, maxLimit: 1Gi}, ignoreImages: []}`)
		s.Ready(s.Apply(strings.Replace(text, "mutating: false", "mutating: true", 1) + "  workloads: Expand\n"))
		for _, i := range []int{0, 5, 7} { // a Deployment, a CronJob and a Rollout
			w := workloads()[i]
			made, err := dryRun(s, w.yaml("d", ""))
			if err != nil {
				t.Fatalf("%s: %v", w.kind, err)
			}
			containers, _, err := unstructured.NestedSlice(made.Object, append(strings.Split(w.at, "."), "spec", "containers")...)
			if err != nil || len(containers) != 1 {
				t.Fatalf("%s: containers %v, %v", w.kind, containers, err)
			}
			limit, _, _ := unstructured.NestedString(containers[0].(map[string]any), "resources", "limits", "memory")
			request, _, _ := unstructured.NestedString(containers[0].(map[string]any), "resources", "requests", "cpu")
			if limit != "128Mi" || request != "100m" {
				t.Errorf("%s: limit %q and request %q in its template, want 128Mi and 100m", w.kind, limit, request)
			}
		}
	})

	t.Run("what a judged workload makes is left alone", func(t *testing.T) {
		made := s.Apply(workloads()[0].yaml("made", ""))
		var set appsv1.ReplicaSet
		s.Eventually(func() string {
			pods, err := s.Client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				return err.Error()
			}
			for _, p := range pods.Items {
				if strings.HasPrefix(p.Name, "made-") {
					if limit := p.Spec.Containers[0].Resources.Limits[corev1.ResourceMemory]; limit.String() != "128Mi" {
						t.Errorf("a limit of %q in pod %s", limit.String(), p.Name)
					}
					return ""
				}
			}
			return "the Deployment makes no pods"
		})
		sets, err := s.Client.AppsV1().ReplicaSets("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, o := range sets.Items {
			if owner := metav1.GetControllerOf(&o); owner != nil && owner.UID == made.GetUID() {
				set, n = o, n+1
			}
		}
		now, err := deployments.Get(t.Context(), "made", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if revision := now.Annotations["deployment.kubernetes.io/revision"]; n != 1 || revision != "1" {
			t.Errorf("%d ReplicaSets, revision %s; want one: its controller does not know what it has made", n, revision)
		}
		// The ReplicaSet may be changed to what the policy refuses: its Deployment
		// was judged, and its pods are.
		change := `{"spec": {"template": {"spec": {"containers": [{"name": "` + set.Spec.Template.Spec.Containers[0].Name + `", "securityContext": {"privileged": true}}]}}}}`
		if _, err := s.Client.AppsV1().ReplicaSets("default").Patch(t.Context(), set.Name, types.StrategicMergePatchType, []byte(change),
			metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			t.Errorf("a ReplicaSet of a Deployment is judged: %v", err)
		}
	})
}
