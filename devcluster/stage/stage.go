// Package stage is a cluster with warder in it, for end-to-end tests: a dev
// cluster with a node, on which "warder install" has installed the binary that is
// under test. What is called here is what a user calls.
package stage

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/devcluster/node"
)

// Namespace is that of the installation.
const Namespace = "warder"

// Patience is how long a test waits for what must come. It is long, since the
// machine may be busy; what takes how long is printed, not judged.
const Patience = 2 * time.Minute

// Stage is a cluster with warder in it.
type Stage struct {
	T       *testing.T
	Cluster *cluster.Cluster
	Node    *node.Node
	// Admin may do everything.
	Admin   *rest.Config
	Client  *kubernetes.Clientset
	Dynamic dynamic.Interface

	binary string
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

// Bare starts a cluster and a node without warder.
func Bare(t *testing.T, opts cluster.Options) *Stage {
	t.Helper()
	s := &Stage{T: t}
	var err error
	if s.binary, err = cluster.Find("warder"); err != nil {
		t.Fatal(err)
	}
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	if s.Cluster, err = cluster.Start(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if err := s.Cluster.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	if s.Admin, err = s.Cluster.Config(); err != nil {
		t.Fatal(err)
	}
	s.Client, s.Dynamic = kubernetes.NewForConfigOrDie(s.Admin), dynamic.NewForConfigOrDie(s.Admin)
	s.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discovery.NewDiscoveryClientForConfigOrDie(s.Admin)))
	running, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s.Node, err = node.Start(running, node.Options{
		Config: s.Admin, Binary: s.binary, Dir: filepath.Join(opts.Dir, "pods"), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		stop()
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); s.Node.Run(running) }()
	t.Cleanup(func() { stop(); <-ended })
	t.Cleanup(s.printLogs)
	return s
}

// New starts a cluster and installs warder, with these arguments besides, and
// returns when all of it is ready.
func New(t *testing.T, args ...string) *Stage {
	t.Helper()
	s := Bare(t, cluster.Options{})
	s.Warder(append([]string{"install", "--wait", "--timeout=" + Patience.String()}, args...)...)
	return s
}

// Warder runs warder as an administrator would and returns what it printed. It
// fails the test when it fails.
func (s *Stage) Warder(args ...string) string {
	s.T.Helper()
	out, err := s.TryWarder(args...)
	if err != nil {
		s.T.Fatal(err)
	}
	return out
}

// TryWarder is Warder for what may fail.
func (s *Stage) TryWarder(args ...string) (string, error) {
	cmd := exec.CommandContext(s.T.Context(), s.binary, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Cluster.Kubeconfig())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("warder %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// printLogs prints what warder's pods have written, if the test has failed.
func (s *Stage) printLogs() {
	if !s.T.Failed() {
		return
	}
	pods, err := s.Client.CoreV1().Pods(Namespace).List(context.WithoutCancel(s.T.Context()), metav1.ListOptions{})
	if err != nil {
		s.T.Log(err)
		return
	}
	for _, p := range pods.Items {
		text, err := s.Node.Log(p.Namespace, p.Name)
		s.T.Logf("log of %s (%v), its end:\n%s", p.Name, err, text[max(0, len(text)-8000):])
	}
}

// Eventually fails the test if check still has a complaint after Patience.
func (s *Stage) Eventually(check func() (complaint string)) {
	s.T.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(Patience)
	for last := check(); last != ""; last = check() {
		select {
		case <-ticker.C:
		case <-s.T.Context().Done():
			s.T.Fatal(s.T.Context().Err())
		case <-deadline:
			s.T.Fatal(last)
		}
	}
}

// Object reads an object from YAML.
func (s *Stage) Object(text string) *unstructured.Unstructured {
	s.T.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		s.T.Fatalf("%v in:\n%s", err, text)
	}
	return o
}

// Of is where objects of that kind are, in the namespace of o.
func (s *Stage) Of(o *unstructured.Unstructured) dynamic.ResourceInterface {
	s.T.Helper()
	gvk := o.GroupVersionKind()
	var mapping *meta.RESTMapping
	s.Eventually(func() string { // a kind that was just defined is not known at once
		var err error
		mapping, err = s.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			s.mapper.Reset()
			return err.Error()
		}
		return ""
	})
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		namespace := o.GetNamespace()
		if namespace == "" {
			namespace = metav1.NamespaceDefault
		}
		return s.Dynamic.Resource(mapping.Resource).Namespace(namespace)
	}
	return s.Dynamic.Resource(mapping.Resource)
}

// TryApply applies an object from YAML as kubectl apply --server-side does.
func (s *Stage) TryApply(text string) (*unstructured.Unstructured, error) {
	s.T.Helper()
	o := s.Object(text)
	return s.Of(o).Apply(s.T.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: "test", Force: true})
}

// Apply is TryApply for what must be taken.
func (s *Stage) Apply(text string) *unstructured.Unstructured {
	s.T.Helper()
	o, err := s.TryApply(text)
	if err != nil {
		s.T.Fatalf("%v in:\n%s", err, text)
	}
	return o
}

// Get returns the object as it is now.
func (s *Stage) Get(o *unstructured.Unstructured) *unstructured.Unstructured {
	s.T.Helper()
	now, err := s.Of(o).Get(s.T.Context(), o.GetName(), metav1.GetOptions{})
	if err != nil {
		s.T.Fatal(err)
	}
	return now
}

// Delete deletes the object and waits until it is gone.
func (s *Stage) Delete(o *unstructured.Unstructured) {
	s.T.Helper()
	if err := s.Of(o).Delete(s.T.Context(), o.GetName(), metav1.DeleteOptions{}); err != nil {
		s.T.Fatal(err)
	}
	s.Eventually(func() string {
		now, err := s.Of(o).Get(s.T.Context(), o.GetName(), metav1.GetOptions{})
		if err == nil && now.GetUID() == o.GetUID() {
			return fmt.Sprintf("%s %s is not gone: %v", o.GetKind(), o.GetName(), now.Object["status"])
		}
		return ""
	})
}

// Condition is the status, reason and message of a condition, for the present
// generation of the object; "" if it has none.
func Condition(o *unstructured.Unstructured, kind string) (status, text string) {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		c, ok := c.(map[string]any)
		if !ok || c["type"] != kind {
			continue
		}
		if observed, ok := c["observedGeneration"].(int64); ok && observed != o.GetGeneration() {
			return "", fmt.Sprintf("condition %s is of generation %d, the object of %d", kind, observed, o.GetGeneration())
		}
		return fmt.Sprint(c["status"]), fmt.Sprintf("%v: %v", c["reason"], c["message"])
	}
	return "", "there is no condition " + kind
}

// Ready waits until the object's condition Ready is true.
func (s *Stage) Ready(o *unstructured.Unstructured) *unstructured.Unstructured {
	s.T.Helper()
	return s.Is(o, "Ready", "True")
}

// Is waits until the object's condition has that status.
func (s *Stage) Is(o *unstructured.Unstructured, kind, status string) *unstructured.Unstructured {
	s.T.Helper()
	var now *unstructured.Unstructured
	s.Eventually(func() string {
		now = s.Get(o)
		if have, text := Condition(now, kind); have != status {
			return fmt.Sprintf("%s %s: %s is %q (%s), want %q", o.GetKind(), o.GetName(), kind, have, text, status)
		}
		return ""
	})
	return now
}

// Pod is a pod that nothing is wrong with, changed by change.
func Pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example.com/app:v1"}}},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

// Privileged makes the pod's container privileged.
func Privileged(p *corev1.Pod) {
	yes := true
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
}

// CreatePod creates a pod in a namespace, as a dry run: everything judges it and
// nobody keeps it.
func (s *Stage) CreatePod(namespace string, p *corev1.Pod) error {
	_, err := s.Client.CoreV1().Pods(namespace).Create(s.T.Context(), p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// Pods returns the pods of a Deployment in the installation's namespace, by the
// prefix of their names.
func (s *Stage) Pods(prefix string) []corev1.Pod {
	s.T.Helper()
	all, err := s.Client.CoreV1().Pods(Namespace).List(s.T.Context(), metav1.ListOptions{})
	if err != nil {
		s.T.Fatal(err)
	}
	var found []corev1.Pod
	for _, p := range all.Items {
		if strings.HasPrefix(p.Name, prefix) {
			found = append(found, p)
		}
	}
	return found
}
