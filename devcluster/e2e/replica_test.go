package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/warder-dev/warder/devcluster/cluster"
)

func policiesOf(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "policies.kubewarden.io", Version: "v1", Resource: resource}
}

func reportsOf() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "policies.warder.dev", Version: "v1alpha1", Resource: "policyserverreplicas"}
}

// replicaTest is a cluster with warder's kinds, a PolicyServer and a replica of
// it, which is a process of its own.
type replicaTest struct {
	*testing.T
	cluster     *cluster.Cluster
	client      *dynamic.DynamicClient
	api, probes string // host:port
	kubeconfig  string
	log         *lines
	process     *exec.Cmd
	http        *http.Client
}

// lines keeps what a process says.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startReplica starts all of it, and returns when the replica is ready.
func startReplica(t *testing.T, objects ...*unstructured.Unstructured) *replicaTest {
	t.Helper()
	r := &replicaTest{T: t, cluster: startCluster(t, cluster.Options{WithoutControllerManager: true})}
	cfg, err := r.cluster.Config()
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1
	if r.client, err = dynamic.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	r.installKinds()
	r.create(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "warder"},
	}})
	for _, o := range append(objects, policyServer()) {
		r.create(o)
	}
	r.kubeconfig = r.leastRights()
	r.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	t.Cleanup(r.http.CloseIdleConnections)
	r.run()
	return r
}

// leastRights returns a kubeconfig of somebody who may do what a replica does, and
// nothing else.
func (r *replicaTest) leastRights() (file string) {
	r.Helper()
	const rbac = `[
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"replica"},"rules":[
 {"apiGroups":["policies.kubewarden.io"],"verbs":["list","watch"],
  "resources":["policyservers","admissionpolicies","clusteradmissionpolicies","admissionpolicygroups","clusteradmissionpolicygroups"]}]},
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"replica"},
 "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"replica"},
 "subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"replica"}]},
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"replica","namespace":"warder"},"rules":[
 {"apiGroups":["policies.warder.dev"],"verbs":["create","patch","delete"],"resources":["policyserverreplicas"]}]},
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"replica","namespace":"warder"},
 "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"replica"},
 "subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"replica"}]}]`
	var objects []map[string]any
	if err := json.Unmarshal([]byte(rbac), &objects); err != nil {
		r.Fatal(err)
	}
	for _, o := range objects {
		r.create(&unstructured.Unstructured{Object: o})
	}
	cfg, err := r.cluster.UserConfig("replica")
	if err != nil {
		r.Fatal(err)
	}
	file = filepath.Join(r.TempDir(), "kubeconfig")
	if err := cluster.WriteKubeconfig(file, cfg); err != nil {
		r.Fatal(err)
	}
	return file
}

// installKinds makes the CRDs, and waits until they are served.
func (r *replicaTest) installKinds() {
	r.Helper()
	files, err := filepath.Glob("../../manifest/crds/*.yaml")
	if err != nil || len(files) == 0 {
		r.Fatalf("CRDs: %d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			r.Fatal(err)
		}
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &o.Object); err != nil {
			r.Fatalf("%s: %v", file, err)
		}
		r.create(o)
	}
	for _, of := range []schema.GroupVersionResource{
		policiesOf("policyservers"), policiesOf("clusteradmissionpolicies"), policiesOf("admissionpolicies"),
		policiesOf("clusteradmissionpolicygroups"), policiesOf("admissionpolicygroups"), reportsOf(),
	} {
		eventually(r.T, of.Resource+" are served", func(ctx context.Context) error {
			_, err := r.client.Resource(of).List(ctx, metav1.ListOptions{})
			return err
		})
	}
}

func resourceOf(o *unstructured.Unstructured) schema.GroupVersionResource {
	gvk := o.GroupVersionKind()
	plural := strings.ToLower(gvk.Kind) + "s"
	if trunk, ok := strings.CutSuffix(plural, "ys"); ok {
		plural = trunk + "ies"
	}
	return gvk.GroupVersion().WithResource(plural)
}

func (r *replicaTest) of(o *unstructured.Unstructured) dynamic.ResourceInterface {
	if o.GetNamespace() == "" {
		return r.client.Resource(resourceOf(o))
	}
	return r.client.Resource(resourceOf(o)).Namespace(o.GetNamespace())
}

func (r *replicaTest) create(o *unstructured.Unstructured) *unstructured.Unstructured {
	r.Helper()
	made, err := r.of(o).Create(r.Context(), o, metav1.CreateOptions{})
	if err != nil {
		r.Fatal(err)
	}
	return made
}

func (r *replicaTest) patch(o *unstructured.Unstructured, patch string) *unstructured.Unstructured {
	r.Helper()
	changed, err := r.of(o).Patch(r.Context(), o.GetName(), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		r.Fatal(err)
	}
	return changed
}

// run starts the replica.
func (r *replicaTest) run() {
	r.Helper()
	binary, err := cluster.Find("warder")
	if err != nil {
		r.Fatal(err)
	}
	r.log = &lines{}
	r.process = exec.Command(binary, "serve", "--policy-server", "default", "--report-namespace", "warder", "--replica-name", "one",
		"--addr", "127.0.0.1", "--port", "0", "--readiness-probe-port", "0", "--policies-download-dir", r.TempDir(), "--log-level", "debug")
	r.process.Env = append(os.Environ(), "KUBECONFIG="+r.kubeconfig)
	r.process.Stderr, r.process.SysProcAttr = r.log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.process.Start(); err != nil {
		r.Fatal(err)
	}
	process := r.process
	r.Cleanup(func() {
		_ = process.Process.Kill() // it may have ended
		_ = process.Wait()
		if r.Failed() {
			r.Logf("log of the replica:\n%s", r.log)
		}
	})
	serving := regexp.MustCompile(`msg=serving api=(\S+) probes=(\S+)`)
	eventually(r.T, "the replica is ready", func(context.Context) error {
		found := serving.FindStringSubmatch(r.log.String())
		if found == nil {
			return errors.New("it does not serve")
		}
		r.api, r.probes = found[1], found[2]
		resp, err := r.http.Get("http://" + r.probes + "/readiness")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// report is what the tests read of a PolicyServerReplica.
type report struct {
	Status struct {
		Ready     bool
		RenewTime time.Time
		Policies  int
		Failed    int
		Observed  []struct{ Resource, ResourceVersion string }

		Exceptions []struct {
			Policy, State, Stage, Message string
			Generation                    int64
		}
		ExceptionsLeftOut int
	}
}

func (s report) observed(resource string) int {
	for _, o := range s.Status.Observed {
		if o.Resource == resource {
			n, _ := strconv.Atoi(o.ResourceVersion) // 0 is observed nothing
			return n
		}
	}
	return 0
}

func (r *replicaTest) report(ctx context.Context) (s report, raw *unstructured.Unstructured, err error) {
	raw, err = r.client.Resource(reportsOf()).Namespace("warder").Get(ctx, "one", metav1.GetOptions{})
	if err != nil {
		return s, nil, err
	}
	text, err := raw.MarshalJSON()
	if err != nil {
		return s, nil, err
	}
	return s, raw, json.Unmarshal(text, &s)
}

// holds waits until the replica says that it holds an object as it is, and
// returns the report.
func (r *replicaTest) holds(o *unstructured.Unstructured) (s report) {
	r.Helper()
	want, err := strconv.Atoi(o.GetResourceVersion())
	if err != nil {
		r.Fatal(err)
	}
	eventually(r.T, o.GetName()+" is held", func(ctx context.Context) (err error) {
		if s, _, err = r.report(ctx); err != nil {
			return err
		}
		for _, e := range s.Status.Exceptions {
			if strings.HasSuffix(e.Policy, "."+o.GetName()) {
				return fmt.Errorf("it is %+v", e)
			}
		}
		if at := s.observed(resourceOf(o).Resource); at < want {
			return fmt.Errorf("observed %d of %d", at, want)
		}
		return nil
	})
	return s
}

func policyServer() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "policies.kubewarden.io/v1", "kind": "PolicyServer",
		"metadata": map[string]any{"name": "default"}, "spec": map[string]any{"replicas": int64(1)},
	}}
}

func clusterPolicy(name, module string, settings map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "policies.kubewarden.io/v1", "kind": "ClusterAdmissionPolicy", "metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"module": module, "mutating": false, "settings": settings,
			"rules": []any{map[string]any{
				"apiGroups": []any{""}, "apiVersions": []any{"v1"}, "resources": []any{"pods"}, "operations": []any{"CREATE"},
			}},
		},
	}}
}

// ask sends a pod with a label to a policy, and returns the answer.
func (r *replicaTest) ask(policy, label string) string {
	review := fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"group":"","version":"v1","kind":"Pod"},
"resource":{"group":"","version":"v1","resource":"pods"},"operation":"CREATE","name":"p","namespace":"default","userInfo":{"username":"jane"},
"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{%q:"x"}},"spec":{"containers":[]}}}}`, label)
	resp, err := r.http.Post("https://"+r.api+"/validate/"+policy, "application/json", strings.NewReader(review))
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, text)
}

const (
	allowed  = `"allowed":true`
	rejected = `"allowed":false`
	noPolicy = "404 "
)

func (r *replicaTest) answers(policy, label, want string) {
	r.Helper()
	if have := r.ask(policy, label); !strings.Contains(have, want) {
		r.Errorf("%s says %s of the label %s, want %s", policy, have, label, want)
	}
}

func wantsLabel(label string) map[string]any {
	return map[string]any{"mandatory_labels": []any{label}}
}

func TestAReplicaServesAndReportsWhatIsApplied(t *testing.T) {
	t.Parallel()
	early := clusterPolicy("early", "builtin://safe-labels", wantsLabel("a"))
	r := startReplica(t, early)
	r.answers("kw.cap.early", "a", allowed)
	r.answers("kw.cap.early", "b", rejected)
	late := r.create(clusterPolicy("late", "builtin://safe-labels", wantsLabel("b")))
	broken := r.create(clusterPolicy("broken", "builtin://nowhere", nil))
	other := clusterPolicy("other", "builtin://safe-labels", nil)
	if err := unstructured.SetNestedField(other.Object, "somebody-else", "spec", "policyServer"); err != nil {
		t.Fatal(err)
	}
	r.create(other)
	r.holds(late)
	r.answers("kw.cap.late", "b", allowed)
	r.answers("kw.cap.late", "a", rejected)
	r.answers("kw.cap.other", "a", noPolicy)
	eventually(t, "the broken one is reported", func(ctx context.Context) error {
		s, _, err := r.report(ctx)
		if err != nil || s.Status.Failed != 1 {
			return errors.Join(fmt.Errorf("status %+v", s.Status), err)
		}
		if e := s.Status.Exceptions[0]; e.Policy != "kw.cap.broken" || e.State != "Failed" || e.Stage != "fetch" || s.Status.Policies != 3 {
			t.Errorf("status %+v, want the broken one of three", s.Status)
		}
		return nil
	})
	r.holds(r.patch(broken, `{"spec":{"module":"builtin://pod-privileged"}}`))
	r.answers("kw.cap.broken", "a", allowed)
	if err := r.client.Resource(reportsOf()).Namespace("warder").Delete(t.Context(), "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the report is made again", func(ctx context.Context) error {
		_, _, err := r.report(ctx)
		return err
	})
	if err := r.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the report goes with the replica", func(ctx context.Context) error {
		_, _, err := r.report(ctx)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
}

// Once a replica says that it holds a revision, no answer is of an older one.
func TestAChangeUnderLoadIsNeverJudgedByWhatWasBefore(t *testing.T) {
	t.Parallel()
	p := clusterPolicy("p", "builtin://safe-labels", wantsLabel("v0"))
	r := startReplica(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.RWMutex // held for reading by who asks, for writing by who says what is held
	held, asked := 0, 0
	var wrong []string
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for ctx.Err() == nil {
				mu.RLock()
				floor := held
				mu.RUnlock()
				// The label of the revision before the one that is held: no later one
				// wants it.
				answer := r.ask("kw.cap.p", "v"+strconv.Itoa(floor-1))
				mu.Lock()
				asked++
				if !strings.Contains(answer, rejected) {
					wrong = append(wrong, fmt.Sprintf("revision %d is held: %s", floor, answer))
				}
				mu.Unlock()
			}
		})
	}
	for i := 1; i <= 10; i++ {
		changed := r.patch(p, fmt.Sprintf(`{"spec":{"settings":{"mandatory_labels":["v%d"]}}}`, i))
		r.holds(changed)
		r.answers("kw.cap.p", "v"+strconv.Itoa(i), allowed)
		mu.Lock()
		held = i
		mu.Unlock()
	}
	cancel()
	askers.Wait()
	for _, w := range wrong {
		t.Error(w)
	}
	t.Logf("%d answers, 10 changes", asked)
}

func TestADeletedPolicyAnswersForAWhile(t *testing.T) {
	t.Parallel()
	p := clusterPolicy("p", "builtin://safe-labels", wantsLabel("a"))
	p.SetFinalizers([]string{"kubewarden.io/finalizer"})
	r := startReplica(t, p)
	if err := r.of(p).Delete(t.Context(), "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	deleting, err := r.of(p).Get(t.Context(), "p", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s := r.holds(deleting); s.Status.Policies != 1 {
		t.Errorf("%d policies, want the one that is being deleted", s.Status.Policies)
	}
	r.answers("kw.cap.p", "a", allowed)
	r.patch(p, `{"metadata":{"finalizers":null}}`)
	eventually(t, "it is not counted any more", func(ctx context.Context) error {
		s, _, err := r.report(ctx)
		if err != nil || s.Status.Policies != 0 {
			return errors.Join(fmt.Errorf("status %+v", s.Status), err)
		}
		return nil
	})
	r.answers("kw.cap.p", "b", rejected)
	eventually(t, "it is unloaded", func(context.Context) error {
		if have := r.ask("kw.cap.p", "b"); !strings.HasPrefix(have, noPolicy) {
			return errors.New(have)
		}
		return nil
	})
}

func TestAReplicaOutlivesTheAPIServer(t *testing.T) {
	t.Parallel()
	p := clusterPolicy("p", "builtin://safe-labels", wantsLabel("a"))
	r := startReplica(t, p)
	if err := r.cluster.KillPart(cluster.APIServer); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replica notices", func(context.Context) error {
		if !strings.Contains(r.log.String(), "watch does not work") {
			return errors.New("it does not")
		}
		return nil
	})
	r.answers("kw.cap.p", "a", allowed)
	r.answers("kw.cap.p", "b", rejected)
	if err := r.cluster.StartPart(t.Context(), cluster.APIServer); err != nil {
		t.Fatal(err)
	}
	var changed *unstructured.Unstructured
	eventually(t, "the API server takes a change", func(ctx context.Context) (err error) {
		changed, err = r.of(p).Patch(ctx, "p", types.MergePatchType, []byte(`{"spec":{"settings":{"mandatory_labels":["b"]}}}`), metav1.PatchOptions{})
		return err
	})
	r.holds(changed)
	r.answers("kw.cap.p", "b", allowed)
}

// Fifty replicas may report on five hundred policies: what that costs is
// printed.
func TestManyPoliciesMakeNeitherLargeNorManyReports(t *testing.T) {
	t.Parallel()
	const policies = 500
	r := startReplica(t)
	before := r.writes()
	start := time.Now()
	var last *unstructured.Unstructured
	for i := range policies {
		last = r.create(clusterPolicy(fmt.Sprintf("p%d", i), "builtin://safe-labels", wantsLabel("a")))
	}
	applied := time.Since(start)
	r.holds(last)
	eventually(t, "all are held", func(ctx context.Context) error {
		s, _, err := r.report(ctx)
		if err != nil || s.Status.Policies != policies || len(s.Status.Exceptions) > 0 {
			return errors.Join(fmt.Errorf("%d policies, %d exceptions", s.Status.Policies, len(s.Status.Exceptions)), err)
		}
		return nil
	})
	took, writes := time.Since(start), r.writes()-before
	_, raw, err := r.report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := raw.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	metrics := r.metrics()
	t.Logf("%d policies applied in %s, held after %s: %d reports, the last of %d bytes, %d of them managedFields; resident memory %s bytes",
		policies, applied.Round(time.Millisecond), took.Round(time.Millisecond), writes, len(text), managed(t, raw),
		regexp.MustCompile(`(?m)^process_resident_memory_bytes (\S+)`).FindStringSubmatch(metrics)[1])
	if len(text) > 8<<10 {
		t.Errorf("a report of %d bytes, although nothing is wrong", len(text))
	}
	if limit := int(took.Seconds()) + 6; writes > limit { // one a second, and those before the churn
		t.Errorf("%d reports in %s, want at most %d", writes, took, limit)
	}
	at := time.Now()
	one := r.patch(last, `{"spec":{"settings":{"mandatory_labels":["b"]}}}`)
	r.holds(one)
	t.Logf("a change of one is held after %s, seen by polling every 50 ms", time.Since(at).Round(time.Millisecond))
}

func managed(t *testing.T, o *unstructured.Unstructured) int {
	t.Helper()
	text, err := json.Marshal(o.GetManagedFields())
	if err != nil {
		t.Fatal(err)
	}
	return len(text)
}

func (r *replicaTest) metrics() string {
	r.Helper()
	resp, err := r.http.Get("http://" + r.probes + "/metrics")
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return string(text)
}

// writes is how many reports the replica has written.
func (r *replicaTest) writes() int {
	r.Helper()
	found := regexp.MustCompile(`(?m)^warder_replica_report_writes_total\{outcome="written"\} (\d+)`).FindStringSubmatch(r.metrics())
	if found == nil {
		r.Fatal("there is no warder_replica_report_writes_total")
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		r.Fatal(err)
	}
	return n
}
