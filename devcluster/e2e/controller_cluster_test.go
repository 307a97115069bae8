package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/warder-dev/warder/devcluster/cluster"
)

// plane is a cluster with warder's kinds in it.
type plane struct {
	*testing.T
	cluster *cluster.Cluster
	kube    *kubernetes.Clientset
	dynamic dynamic.Interface
	audit   string
}

const warderNamespace = "warder"

// resource is one of warder's kinds, and crd that of their definitions.
func resource(name string) schema.GroupVersionResource {
	if name == "policyserverreplicas" {
		return schema.GroupVersionResource{Group: "policies.warder.dev", Version: "v1alpha1", Resource: name}
	}
	return schema.GroupVersionResource{Group: "policies.kubewarden.io", Version: "v1", Resource: name}
}

// startPlane starts a cluster and installs warder's CustomResourceDefinitions.
func startPlane(t *testing.T) *plane {
	t.Helper()
	audit := filepath.Join(t.TempDir(), "audit.log")
	p := &plane{T: t, cluster: startCluster(t, cluster.Options{AuditLog: audit}), audit: audit}
	cfg, err := p.cluster.Config()
	if err != nil {
		t.Fatal(err)
	}
	p.kube = clientFor(t, cfg)
	if p.dynamic, err = dynamic.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := p.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: warderNamespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../manifest/crds/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CustomResourceDefinitions: %v", err)
	}
	crds := p.dynamic.Resource(schema.GroupVersionResource{Group: apiextensions.GroupName, Version: "v1", Resource: "customresourcedefinitions"})
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		crd := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &crd.Object); err != nil {
			t.Fatal(err)
		}
		if _, err := crds.Create(t.Context(), crd, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
		gvr := resource(plural)
		gvr.Group = group
		eventually(t, "CRD "+plural, func(ctx context.Context) error {
			_, err := p.dynamic.Resource(gvr).List(ctx, metav1.ListOptions{})
			return err
		})
	}
	return p
}

// process is a controller that runs.
type process struct {
	cmd  *exec.Cmd
	done chan error
	log  *logged
}

// logged keeps what a process has written. Safe for concurrent use.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

var _ io.Writer = (*logged)(nil)

// startController starts "warder controller"; it ends with the test.
func (p *plane) startController(args ...string) *process {
	p.Helper()
	binary, err := cluster.FindBinary()
	if err != nil {
		p.Fatal(err)
	}
	all := append([]string{
		"controller", "--kubeconfig", p.cluster.Kubeconfig(), "--policy-server-image", "warder:test",
		"--health-probe-bind-address", "0", "--metrics-bind-address", "0", "--webhook-server-port", "-1",
		"--policy-server-url", "default=https://127.0.0.1:1", "--leader-elect-lease-duration", "4s",
	}, args...)
	c := &process{cmd: exec.Command(filepath.Join(filepath.Dir(binary), "warder"), all...), done: make(chan error, 1), log: &logged{}}
	c.cmd.Stderr = c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		p.Fatal(err)
	}
	go func() { c.done <- c.cmd.Wait() }()
	p.Cleanup(func() {
		c.stop(os.Kill)
		if p.Failed() {
			p.Logf("controller %d:\n%s", c.cmd.Process.Pid, c.log)
		}
	})
	return c
}

func (c *process) stop(s os.Signal) {
	_ = c.cmd.Process.Signal(s) // it may have ended
	<-c.done
	c.done <- nil
}

// create creates an object of warder's, from YAML.
func (p *plane) create(plural, text string) *unstructured.Unstructured {
	p.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		p.Fatal(err)
	}
	gvr := resource(plural)
	o.SetAPIVersion(gvr.GroupVersion().String())
	made, err := p.dynamic.Resource(gvr).Namespace(o.GetNamespace()).Create(p.Context(), o, metav1.CreateOptions{})
	if err != nil {
		p.Fatal(err)
	}
	return made
}

// policyServer makes a PolicyServer, and replica one of its replicas, which holds
// everything there is and will be, but for the exceptions.
func (p *plane) policyServer(name, spec string) {
	p.Helper()
	p.create("policyservers", fmt.Sprintf("kind: PolicyServer\nmetadata: {name: %s}\nspec: {%s}", name, spec))
}

type exception struct {
	Policy     string `json:"policy"`
	Generation int64  `json:"generation"`
	State      string `json:"state"`
	Stage      string `json:"stage,omitempty"`
	Message    string `json:"message,omitempty"`
}

func (p *plane) replica(server, name string, exceptions ...exception) {
	p.Helper()
	list, err := json.Marshal(exceptions)
	if err != nil {
		p.Fatal(err)
	}
	var observed []string
	for _, r := range []string{"policyservers", "admissionpolicies", "clusteradmissionpolicies", "admissionpolicygroups", "clusteradmissionpolicygroups"} {
		observed = append(observed, fmt.Sprintf(`{resource: %s, resourceVersion: "99999999999"}`, r))
	}
	text := fmt.Sprintf(`
apiVersion: policies.warder.dev/v1alpha1
kind: PolicyServerReplica
metadata: {name: %s, namespace: %s}
spec: {policyServer: %s, leaseDurationSeconds: 3600}
status:
  renewTime: %q
  ready: true
  observed: [%s]
  exceptions: %s
`, name, warderNamespace, server, time.Now().UTC().Format(metav1.RFC3339Micro), strings.Join(observed, ","), list)
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		p.Fatal(err)
	}
	if len(exceptions) == 0 {
		unstructured.RemoveNestedField(o.Object, "status", "exceptions")
	}
	_, err = p.dynamic.Resource(resource("policyserverreplicas")).Namespace(warderNamespace).
		Apply(p.Context(), name, o, metav1.ApplyOptions{FieldManager: "test", Force: true})
	if err != nil {
		p.Fatal(err)
	}
}

// get reads an object of warder's.
func (p *plane) get(ctx context.Context, plural, namespace, name string) (*unstructured.Unstructured, error) {
	return p.dynamic.Resource(resource(plural)).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
}

// status is policyStatus of a policy, and the reason of one of its conditions.
func (p *plane) status(ctx context.Context, plural, namespace, name, condition string) (state, reason, message string, err error) {
	o, err := p.get(ctx, plural, namespace, name)
	if err != nil {
		return "", "", "", err
	}
	state, _, _ = unstructured.NestedString(o.Object, "status", "policyStatus")
	reason, message = conditionOf(o, condition)
	return state, reason, message, nil
}

func conditionOf(o *unstructured.Unstructured, kind string) (reason, message string) {
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range all {
		if m, ok := c.(map[string]any); ok && m["type"] == kind {
			return fmt.Sprint(m["status"], "/", m["reason"]), fmt.Sprint(m["message"])
		}
	}
	return "", ""
}

// wantStatus waits for a policy to be so.
func (p *plane) wantStatus(plural, namespace, name, state, condition, reason string) {
	p.Helper()
	eventually(p.T, fmt.Sprintf("%s %s/%s is %s, %s %s", plural, namespace, name, state, condition, reason), func(ctx context.Context) error {
		s, r, m, err := p.status(ctx, plural, namespace, name, condition)
		if err == nil && (s != state || r != reason) {
			err = fmt.Errorf("is %q, %s %q: %s", s, condition, r, m)
		}
		return err
	})
}

// patch changes an object of warder's by a JSON merge patch.
func (p *plane) patch(plural, namespace, name, text string) {
	p.Helper()
	_, err := p.dynamic.Resource(resource(plural)).Namespace(namespace).
		Patch(p.Context(), name, "application/merge-patch+json", []byte(text), metav1.PatchOptions{})
	if err != nil {
		p.Fatal(err)
	}
}

func (p *plane) delete(plural, namespace, name string) {
	p.Helper()
	if err := p.dynamic.Resource(resource(plural)).Namespace(namespace).Delete(p.Context(), name, metav1.DeleteOptions{}); err != nil {
		p.Fatal(err)
	}
}

// wantGone waits for an object of warder's to be gone.
func (p *plane) wantGone(plural, namespace, name string) {
	p.Helper()
	eventually(p.T, plural+" "+name+" is gone", func(ctx context.Context) error {
		_, err := p.get(ctx, plural, namespace, name)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %v", err)
	})
}

// patchReplica changes what a replica says.
func (p *plane) patchReplica(name, text string) {
	p.Helper()
	p.patch("policyserverreplicas", warderNamespace, name, text)
}

// settledWrites waits until the controller has not written for two seconds, and
// counts what it has until then.
func (p *plane) settledWrites() int {
	p.Helper()
	for before, _ := p.writes(); ; {
		<-time.After(2 * time.Second)
		now, _ := p.writes()
		if now == before {
			return now
		}
		before = now
	}
}

// later are the writes after the first n, two seconds from now.
func (p *plane) later(n int) (more int, what []string) {
	p.Helper()
	<-time.After(2 * time.Second)
	now, all := p.writes()
	return now - n, all[n:]
}

// writes counts what warder's controller has asked the API server to change since
// the beginning, its lease and events apart.
func (p *plane) writes() (n int, what []string) {
	p.Helper()
	text, err := os.ReadFile(p.audit)
	if err != nil {
		p.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e struct {
			Stage, Verb, RequestURI, UserAgent string
		}
		if json.Unmarshal([]byte(line), &e) != nil || e.Stage != "ResponseComplete" || !strings.HasPrefix(e.UserAgent, "warder-controller/") {
			continue
		}
		if e.Verb == "get" || e.Verb == "list" || e.Verb == "watch" || strings.Contains(e.RequestURI, "/leases") || strings.Contains(e.RequestURI, "/events") {
			continue
		}
		n++
		what = append(what, e.Verb+" "+e.RequestURI)
	}
	return n, what
}
