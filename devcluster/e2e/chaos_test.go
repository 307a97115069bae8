package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/devcluster/stage"
	"github.com/warder-dev/warder/manifest"
)

// chaosSeed is that of what is done and when controllers are killed.
const chaosSeed = 20261124

const controllerUser = "system:serviceaccount:warder:warder-controller"

// chaosLease is short, so that a test can wait for many of them.
const chaosLease = 4 * time.Second

// step is one thing that a user does.
type step struct {
	verb string // apply or delete
	text string
}

// chaosSteps are a hundred creations, changes and deletions of policies of all
// kinds over two policy servers; about half of the policies are there at the end.
func chaosSteps(r *rand.Rand) []step {
	const rules = "rules: [{apiGroups: [''], apiVersions: [v1], resources: [%s], operations: [%s]}]"
	there := map[string]string{} // header by name
	var steps []step
	write := func(header, kind string) step {
		resources, operations := []string{"pods", "services", "configmaps"}[r.IntN(3)], []string{"CREATE", "CREATE, UPDATE", "DELETE"}[r.IntN(3)]
		spec := fmt.Sprintf("  "+rules+"\n  failurePolicy: %s\n  timeoutSeconds: %d\n", resources, operations, []string{"Fail", "Ignore"}[r.IntN(2)], 5+5*r.IntN(2))
		switch {
		case strings.HasSuffix(kind, "Group"):
			spec += fmt.Sprintf("  message: refused\n  expression: a() || b()\n  policies: {a: {module: 'builtin://pod-privileged'}, b: {module: 'builtin://safe-labels', settings: {mandatory_labels: [l%d]}}}\n", r.IntN(4))
		default:
			spec += fmt.Sprintf("  mutating: %t\n  module: builtin://safe-labels\n  settings: {mandatory_labels: [l%d]}\n", r.IntN(4) == 0, r.IntN(4))
		}
		return step{"apply", header + spec}
	}
	for n := 0; len(steps) < 100; n++ {
		names := make([]string, 0, len(there))
		for name := range there {
			names = append(names, name)
		}
		slices.Sort(names)
		switch what := r.IntN(10); {
		case what < 5 || len(names) < 5:
			kind := []string{"ClusterAdmissionPolicy", "AdmissionPolicy", "ClusterAdmissionPolicyGroup", "AdmissionPolicyGroup"}[n%4]
			name := fmt.Sprintf("chaos-%d", n)
			header := fmt.Sprintf("apiVersion: policies.kubewarden.io/v1\nkind: %s\nmetadata: {name: %s%s}\nspec:\n  policyServer: %s\n",
				kind, name, map[bool]string{true: ", namespace: default"}[!strings.HasPrefix(kind, "Cluster")], []string{"default", "second"}[r.IntN(2)])
			there[name] = header
			steps = append(steps, write(header, kind))
		case what < 8:
			header := there[names[r.IntN(len(names))]]
			kind, _, _ := strings.Cut(header[strings.Index(header, "kind: ")+6:], "\n")
			steps = append(steps, write(header, kind))
		default:
			name := names[r.IntN(len(names))]
			steps = append(steps, step{"delete", there[name]})
			delete(there, name)
		}
	}
	return steps
}

// chaos is a cluster in which a sequence of steps is done.
type chaos struct {
	*stage.Stage
	audit string
}

func startChaos(t *testing.T) *chaos {
	t.Helper()
	c := &chaos{audit: filepath.Join(t.TempDir(), "audit.log")}
	c.Stage = stage.Bare(t, cluster.Options{AuditLog: c.audit})
	c.Warder("install", "--wait", "--timeout="+stage.Patience.String())
	_, err := c.Client.AppsV1().Deployments(stage.Namespace).Patch(t.Context(), "warder-controller", "application/json-patch+json",
		[]byte(fmt.Sprintf(`[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--leader-elect-lease-duration=%s"}]`, chaosLease)), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.Ready(c.Apply("apiVersion: policies.kubewarden.io/v1\nkind: PolicyServer\nmetadata: {name: second}\nspec: {replicas: 1}"))
	c.Eventually(func() string {
		pods := c.Pods("warder-controller")
		for _, p := range pods {
			if p.DeletionTimestamp != nil || !slices.Contains(p.Spec.Containers[0].Args, "--leader-elect-lease-duration="+chaosLease.String()) {
				return "an old controller is there"
			}
		}
		if len(pods) != 2 || c.leader() == "" {
			return fmt.Sprintf("%d controllers, %q leads", len(pods), c.leader())
		}
		return ""
	})
	return c
}

// leader is the pod that leads, "" for none. The lease does not say which one it
// is, since all pods have the name of this machine; the audit log does.
func (c *chaos) leader() string {
	if c.holder() == "" {
		return ""
	}
	events := c.events()
	for i := len(events) - 1; i >= 0; i-- {
		if !events[i].ofLease() {
			continue
		}
		name := events[i].pod()
		if _, err := c.Node.PID(stage.Namespace, name); err != nil {
			return ""
		}
		return name
	}
	return ""
}

// do does the steps, as fast as they are taken. Meanwhile disturb is called
// before each.
func (c *chaos) do(steps []step, disturb func(int)) {
	c.T.Helper()
	for i, s := range steps {
		disturb(i)
		c.Eventually(func() string { // with no controller there are no webhooks of kinds
			var err error
			if s.verb == "apply" {
				_, err = c.TryApply(s.text)
			} else {
				o := c.Object(s.text)
				err = c.Of(o).Delete(c.T.Context(), o.GetName(), metav1.DeleteOptions{})
				if apierrors.IsNotFound(err) {
					err = nil
				}
			}
			if apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
				c.T.Fatalf("step %d: %v in:\n%s", i, err, s.text)
			}
			if err != nil {
				return fmt.Sprintf("step %d: %v", i, err)
			}
			return ""
		})
	}
}

// policies are those that there are.
func (c *chaos) policies() []v1.Policy {
	c.T.Helper()
	var all []v1.Policy
	for _, kind := range v1.Kinds() {
		list, err := c.Dynamic.Resource(resource(kind.Resource())).List(c.T.Context(), metav1.ListOptions{})
		if err != nil {
			c.T.Fatal(err)
		}
		for _, item := range list.Items {
			o := kind.New()
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, o); err != nil {
				c.T.Fatal(err)
			}
			p, _ := v1.View(o)
			all = append(all, p)
		}
	}
	return all
}

// settle waits until everything is as the final policies want it.
func (c *chaos) settle() {
	c.T.Helper()
	c.Eventually(func() string {
		for _, p := range c.policies() {
			if p.Object.GetDeletionTimestamp() != nil {
				return p.UniqueName() + " is being deleted"
			}
			e := p.Status.Enforced
			if e == nil || e.Generation != p.Object.GetGeneration() || p.Status.PolicyStatus != v1.Active {
				return fmt.Sprintf("%s is %q", p.UniqueName(), p.Status.PolicyStatus)
			}
		}
		for _, server := range []string{"default", "second"} {
			if todo := c.todo(server); todo != "" {
				return todo
			}
		}
		return ""
	})
}

// todo is what the pure function says that is still to do, "" for nothing.
func (c *chaos) todo(server string) string {
	c.T.Helper()
	in := manifest.WebhookInput{Server: &v1.PolicyServer{}, Options: manifest.Options{Namespace: stage.Namespace}}
	got, err := c.Dynamic.Resource(resource("policyservers")).Get(c.T.Context(), server, metav1.GetOptions{})
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(got.Object, in.Server)
	}
	if err != nil {
		c.T.Fatal(err)
	}
	for _, p := range c.policies() {
		if p.Serving.PolicyServer == server {
			in.Settled = append(in.Settled, p)
		}
	}
	in.Validating, in.Mutating = c.configurations()
	for _, v := range in.Validating {
		for _, w := range v.Webhooks {
			in.CABundle = w.ClientConfig.CABundle
		}
	}
	set := manifest.Webhooks(in)
	if n := len(set.Widen) + len(set.Narrow) + len(set.Delete); n > 0 {
		text, _ := json.Marshal(set)
		return fmt.Sprintf("%s: %d webhook configurations are not as the policies want them: %.500s", server, n, text)
	}
	return ""
}

func (c *chaos) configurations() (validating []admissionregv1.ValidatingWebhookConfiguration, mutating []admissionregv1.MutatingWebhookConfiguration) {
	c.T.Helper()
	v, err := c.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(c.T.Context(), metav1.ListOptions{})
	if err != nil {
		c.T.Fatal(err)
	}
	m, err := c.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(c.T.Context(), metav1.ListOptions{})
	if err != nil {
		c.T.Fatal(err)
	}
	return v.Items, m.Items
}

// state is everything that warder has made or has a say in, without what
// differs from cluster to cluster: times, versions, UIDs, keys.
func (c *chaos) state() string {
	c.T.Helper()
	var all []string
	add := func(resource string, list *unstructured.UnstructuredList, err error) {
		if err != nil {
			c.T.Fatal(err)
		}
		for _, o := range list.Items {
			if resource == "deployments" {
				if o.GetName() == "warder-controller" { // that one is killed
					continue
				}
				delete(o.Object, "status") // how it has come there is the cluster's own
			}
			text, err := json.MarshalIndent(normalize(o.Object), "", " ")
			if err != nil {
				c.T.Fatal(err)
			}
			all = append(all, resource+"/"+o.GetNamespace()+"/"+o.GetName()+" "+string(text))
		}
	}
	for _, kind := range v1.Kinds() {
		list, err := c.Dynamic.Resource(resource(kind.Resource())).List(c.T.Context(), metav1.ListOptions{})
		add(kind.Resource(), list, err)
	}
	list, err := c.Dynamic.Resource(resource("policyservers")).List(c.T.Context(), metav1.ListOptions{})
	add("policyservers", list, err)
	for _, r := range []string{"validatingwebhookconfigurations", "mutatingwebhookconfigurations"} {
		list, err := c.Dynamic.Resource(admissionregv1.SchemeGroupVersion.WithResource(r)).List(c.T.Context(), metav1.ListOptions{})
		add(r, list, err)
	}
	for _, gvr := range ownedResources() {
		list, err := c.Dynamic.Resource(gvr).Namespace(stage.Namespace).List(c.T.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=kubewarden"})
		add(gvr.Resource, list, err)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// ownedResources are what a policy server consists of.
func ownedResources() []schema.GroupVersionResource {
	return []schema.GroupVersionResource{
		{Version: "v1", Resource: "services"}, {Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "secrets"},
		{Version: "v1", Resource: "serviceaccounts"}, {Group: "apps", Version: "v1", Resource: "deployments"},
		{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	}
}

// normalize removes what is another thing in each cluster.
func normalize(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range []string{
			"resourceVersion", "uid", "creationTimestamp", "managedFields", "lastTransitionTime", "lastUpdateTime", "caBundle", "data", "generation",
			"observedGeneration", "clusterIP", "clusterIPs", "deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration",
		} {
			delete(v, key)
		}
		for key := range v {
			if strings.HasPrefix(key, "kubewarden/") && strings.Contains(key, "version") { // resource versions of what pods mount
				delete(v, key)
				continue
			}
			v[key] = normalize(v[key])
		}
	case []any:
		for i := range v {
			v[i] = normalize(v[i])
		}
	}
	return value
}

// TestKilledControllersMakeNoDifference does the same in two clusters. In one of
// them controllers are killed all the time.
func TestKilledControllersMakeNoDifference(t *testing.T) {
	t.Parallel()
	t.Logf("seed %d", chaosSeed)
	steps := chaosSteps(rand.New(rand.NewPCG(chaosSeed, 1)))
	calm := startChaos(t)
	started := time.Now()
	calm.do(steps, func(int) {})
	applied := time.Since(started)
	calm.settle()
	t.Logf("without kills: %d steps applied in %s, settled after %s", len(steps), applied.Round(time.Millisecond), time.Since(started).Round(time.Millisecond))
	want := calm.state()

	wild := startChaos(t)
	kills := rand.New(rand.NewPCG(chaosSeed, 2))
	n := 0
	started = time.Now()
	wild.do(steps, func(i int) {
		// Moments are those of the controller's work, not of the steps': a kill comes
		// some time after a step.
		<-time.After(time.Duration(kills.IntN(200)) * time.Millisecond)
		if kills.IntN(4) > 0 {
			return
		}
		pods := wild.Pods("warder-controller")
		victim := pods[kills.IntN(len(pods))].Name
		if leader := wild.leader(); leader != "" && kills.IntN(3) > 0 {
			victim = leader
		}
		if wild.Node.Kill(stage.Namespace, victim) == nil { // it may be starting
			n++
		}
	})
	applied = time.Since(started)
	wild.settle()
	t.Logf("with %d kills: applied in %s, settled after %s", n, applied.Round(time.Millisecond), time.Since(started).Round(time.Millisecond))
	if n < 10 {
		t.Errorf("%d kills: that is no chaos", n)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(wild.state(), "\n")); diff != "" {
		t.Errorf("kills make a difference (- without, + with):\n%s", diff)
	}
	wild.failover()
}

// failover kills the leader, and then ends the next one in order.
func (c *chaos) failover() {
	c.T.Helper()
	first := ""
	c.Eventually(func() string {
		if first = c.leader(); first == "" || len(c.Pods("warder-controller")) != 2 {
			return "nobody leads"
		}
		return ""
	})
	// The other one must be up when its turn comes.
	c.Eventually(func() string {
		for _, p := range c.Pods("warder-controller") {
			if len(p.Status.ContainerStatuses) == 0 || !p.Status.ContainerStatuses[0].Ready {
				return p.Name + " is not ready"
			}
		}
		return ""
	})
	takesOver := func(how string, end func(string) error) {
		c.T.Helper()
		was, holder := c.leader(), c.holder()
		begin := time.Now()
		if err := end(was); err != nil {
			c.T.Fatal(err)
		}
		c.Eventually(func() string {
			if now := c.holder(); now == "" || now == holder {
				return "nobody has taken over from " + was
			}
			return ""
		})
		c.T.Logf("leader %s: the other one leads after %s, lease %s", how, time.Since(begin).Round(time.Millisecond), chaosLease)
	}
	takesOver("killed", func(name string) error { return c.Node.Kill(stage.Namespace, name) })
	takesOver("ended in order", func(name string) error {
		return c.Client.CoreV1().Pods(stage.Namespace).Delete(c.T.Context(), name, metav1.DeleteOptions{})
	})
	c.checkWriters()
}

func (c *chaos) holder() string {
	lease, err := c.Client.CoordinationV1().Leases(stage.Namespace).Get(c.T.Context(), "a4ddbf36.kubewarden.io", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// auditEvent is a write of a controller's that the API server has taken.
type auditEvent struct {
	Stage, Verb, RequestURI  string
	RequestReceivedTimestamp metav1.MicroTime
	User                     struct {
		Username string
		Extra    map[string][]string
	}
	ResponseStatus struct{ Code int }
}

func (e auditEvent) ofLease() bool { return strings.Contains(e.RequestURI, "/leases") }

func (e auditEvent) pod() string {
	return strings.Join(e.User.Extra["authentication.kubernetes.io/pod-name"], "")
}

// events are what controllers have written so far.
func (c *chaos) events() []auditEvent {
	c.T.Helper()
	text, err := os.ReadFile(c.audit)
	if err != nil {
		c.T.Fatal(err)
	}
	var events []auditEvent
	for line := range bytes.Lines(text) {
		var e auditEvent
		if !bytes.Contains(line, []byte(controllerUser)) || json.Unmarshal(line, &e) != nil || e.Stage != "ResponseComplete" ||
			slices.Contains([]string{"get", "list", "watch"}, e.Verb) || strings.Contains(e.RequestURI, "/events") || e.ResponseStatus.Code >= 300 {
			continue
		}
		if e.User.Username != controllerUser {
			continue
		}
		if e.pod() == "" {
			c.T.Fatalf("the audit log does not say which pod has asked: %s", line)
		}
		events = append(events, e)
	}
	slices.SortStableFunc(events, func(a, b auditEvent) int { return a.RequestReceivedTimestamp.Compare(b.RequestReceivedTimestamp.Time) })
	return events
}

// checkWriters reads in the audit log who has written when: a pod of the
// controller that has taken the lease is the only one that writes until another
// one has.
func (c *chaos) checkWriters() {
	c.T.Helper()
	holder, writes, leaders := "", map[string]int{}, 0
	for _, e := range c.events() {
		switch pod := e.pod(); {
		case e.ofLease():
			if pod != holder {
				holder, leaders = pod, leaders+1
			}
		case pod != holder:
			c.T.Errorf("%s: %s %s by %s while %s leads", e.RequestReceivedTimestamp.Format(time.StampMicro), e.Verb, e.RequestURI, pod, holder)
		default:
			writes[pod]++
		}
	}
	c.T.Logf("%d changes of leaders; writes by pod: %v", leaders, writes)
	if len(writes) < 2 {
		c.T.Errorf("writes by %v: no other one has taken over", writes)
	}
}
