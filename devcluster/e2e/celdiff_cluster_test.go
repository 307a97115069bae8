package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/sdk"
)

// celCluster is a cluster of which the API server's decisions are compared with
// ours.
type celCluster struct {
	*testing.T            // of the part that runs
	whole      *testing.T // of all parts
	records    bool       // there is a webhook that records
	client     *kubernetes.Clientset
	url        string
	http       *http.Client
	auditLog   string
	ours       *capability.Cluster // with the rights of a policy server

	mu       sync.Mutex
	recorded map[string][]byte // reviews by the ID of the request
	// answer is what the webhook says to a request; nil is yes.
	answer func(r *admissionv1.AdmissionResponse, req *sdk.Request)
}

func startCELCluster(t *testing.T) *celCluster {
	t.Helper()
	dir := t.TempDir()
	c := &celCluster{T: t, whole: t, auditLog: filepath.Join(dir, "audit.log"), recorded: map[string][]byte{}}
	auditPolicy := filepath.Join(dir, "audit.yaml")
	// The audit's user is the one before impersonation.
	const text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- {level: Metadata, users: [admin]}\n- {level: None}\n"
	if err := os.WriteFile(auditPolicy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	running := startCluster(t, cluster.Options{WithoutControllerManager: true, AuditLog: c.auditLog, AuditPolicy: auditPolicy})
	c.client, c.url = admin(t, running), running.URL()
	cfg, err := running.Config()
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.http = &http.Client{Transport: transport}
	c.objects("setup.yaml")
	server, err := running.ServiceAccountConfig(t.Context(), "default", "policy-server")
	if err != nil {
		t.Fatal(err)
	}
	server.QPS = -1
	if c.ours, err = capability.NewCluster(server, capability.ClusterOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.ours.Close)
	return c
}

// objects creates those of a file below testdata/celdiff-cluster, in its order.
// A kind that is not served yet is waited for.
func (c *celCluster) objects(file string) {
	c.Helper()
	f, err := os.Open(filepath.Join("testdata", "celdiff-cluster", file))
	if err != nil {
		c.Fatal(err)
	}
	defer f.Close()
	documents := yaml.NewYAMLReader(bufio.NewReader(f))
	for {
		text, err := documents.Read()
		if err == io.EOF {
			return
		}
		o := &unstructured.Unstructured{}
		if err == nil {
			err = yaml.Unmarshal(text, &o.Object)
		}
		if err != nil {
			c.Fatalf("%s: %v in:\n%s", file, err, text)
		}
		c.create(o)
	}
}

// create creates an object, with the namespace that it names.
func (c *celCluster) create(o *unstructured.Unstructured) {
	c.Helper()
	of := resourceOf(o)
	path := "/apis/" + of.Group + "/" + of.Version
	if of.Group == "" {
		path = "/api/" + of.Version
	}
	if ns := o.GetNamespace(); ns != "" {
		path += "/namespaces/" + ns
	}
	body, err := json.Marshal(o)
	if err != nil {
		c.Fatal(err)
	}
	eventually(c.T, "create "+o.GetKind()+" "+o.GetName(), func(ctx context.Context) error {
		err := c.client.RESTClient().Post().AbsPath(path, of.Resource).Body(body).SetHeader("Content-Type", "application/json").Do(ctx).Error()
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

// namespace makes a namespace for a group, with an object of each kind of each
// of the names.
func (c *celCluster) namespace(group, suffix string, labels map[string]string) {
	c.Helper()
	name := group + "-" + suffix
	all := map[string]any{"celdiff": group}
	for k, v := range labels {
		all[k] = v
	}
	c.create(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{
		"name": name, "labels": all, "annotations": map[string]any{"owner": "somebody"},
	}}})
	meta := func(object string) map[string]any { return map[string]any{"name": object, "namespace": name} }
	c.create(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("default")}})
	pod := map[string]any{"containers": []any{map[string]any{"name": "c", "image": "registry.example.com/app:v1"}}}
	app := map[string]any{"app": "web"}
	for i, object := range stored() {
		o := func(apiVersion, kind string, more map[string]any) {
			m := meta(object)
			if i != 2 {
				m["labels"], m["annotations"] = map[string]any{"app": "web", "tier": "front"}, map[string]any{"keep": fmt.Sprint(i == 1)}
			}
			more["apiVersion"], more["kind"], more["metadata"] = apiVersion, kind, m
			c.create(&unstructured.Unstructured{Object: more})
		}
		o("v1", "Pod", map[string]any{"spec": pod})
		o("apps/v1", "Deployment", map[string]any{"spec": map[string]any{
			"replicas": i + 1, "selector": map[string]any{"matchLabels": app}, "template": map[string]any{"metadata": map[string]any{"labels": app}, "spec": pod},
		}})
		o("v1", "ConfigMap", map[string]any{"data": map[string]any{"text": "stored", "number": "7"}})
		o("v1", "Secret", map[string]any{"data": map[string]any{"token": "YQ=="}})
		o("v1", "Service", map[string]any{"spec": map[string]any{"selector": app, "ports": []any{map[string]any{"port": 80}}}})
		o("celdiff.example.com/v1", "Widget", map[string]any{"spec": map[string]any{"size": i + 1, "kind": "small", "ratio": 0.5, "tags": []any{"a", "b"}}})
	}
}

// recorder registers a webhook that keeps the reviews of what is asked in the
// namespaces of celdiff, as a validating one, once, and waits until it does.
func (c *celCluster) recorder() {
	c.Helper()
	if c.records {
		return
	}
	c.records = true
	client, rules, selector := c.recording()
	fail, none, seconds := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone, int32(30)
	_, err := c.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(c.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "recorder"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "recorder.example.com", ClientConfig: client, FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			Rules: rules, NamespaceSelector: selector, TimeoutSeconds: &seconds,
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
	eventually(c.T, "the webhook is called", func(context.Context) error { return c.probe("called-2", true) })
}

// mutatingRecorder is recorder as a mutating webhook, until stop is called.
func (c *celCluster) mutatingRecorder() (stop func()) {
	c.Helper()
	client, rules, selector := c.recording()
	fail, none, seconds := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone, int32(30)
	api := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	_, err := api.Create(c.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "recorder"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "recorder.example.com", ClientConfig: client, FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			Rules: rules, NamespaceSelector: selector, TimeoutSeconds: &seconds,
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return func() {
		if err := api.Delete(c.Context(), "recorder", metav1.DeleteOptions{}); err != nil {
			c.Fatal(err)
		}
	}
}

// recording is where the webhook is, and what it is asked.
func (c *celCluster) recording() (admissionregistrationv1.WebhookClientConfig, []admissionregistrationv1.RuleWithOperations, *metav1.LabelSelector) {
	c.Helper()
	server, ca := webhookServer(c.whole, c.record)
	scope, url := admissionregistrationv1.AllScopes, server.URL+"/record"
	return admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: ca}, []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.OperationAll},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}, Scope: &scope},
		}}, &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "celdiff", Operator: metav1.LabelSelectorOpExists}},
		}
}

// record keeps one review, as bytes.
func (c *celCluster) record(_ context.Context, _ string, r *admissionv1.AdmissionReview) {
	r.Response.Allowed = true
	ids := r.Request.UserInfo.Extra["request"]
	if len(ids) != 1 {
		return // a request of the setup
	}
	text, err := json.Marshal(&admissionv1.AdmissionReview{TypeMeta: r.TypeMeta, Request: r.Request})
	if err != nil {
		c.Error(err)
		return
	}
	c.mu.Lock()
	c.recorded[ids[0]] = text
	answer := c.answer
	c.mu.Unlock()
	if answer == nil {
		return
	}
	req, err := review.Decode(text)
	if err != nil {
		c.Error(err)
		return
	}
	answer(r.Response, req.Request)
}

// request returns the request that was recorded; nil if there is none.
func (c *celCluster) request(id string) *sdk.Request {
	c.Helper()
	c.mu.Lock()
	text := c.recorded[id]
	c.mu.Unlock()
	if text == nil {
		return nil
	}
	r, err := review.Decode(text)
	if err != nil {
		c.Fatal(err)
	}
	return r.Request
}

// probe creates a ConfigMap under an ID. The error says that a webhook has not
// seen it, or has, against what is wanted.
func (c *celCluster) probe(id string, seen bool) error {
	a, err := c.send(celRequest{
		method: http.MethodPost, path: "/api/v1/namespaces/{ns}/configmaps", query: map[string][]string{"dryRun": {"All"}}, user: celUsers()[0],
		body: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "probe"}},
	}, id, "g0", "g0-a")
	switch {
	case err != nil:
		return err
	case a.code != http.StatusCreated:
		return fmt.Errorf("answered %d %s", a.code, a.body)
	case (c.request(id) != nil) != seen:
		return fmt.Errorf("the webhook was called: %t", !seen)
	}
	return nil
}

// celAnswer is what the API server answered.
type celAnswer struct {
	code int
	body []byte
}

// status is the Status in it.
func (a celAnswer) status() metav1.Status {
	var s metav1.Status
	_ = json.Unmarshal(a.body, &s) // what is none stays empty
	return s
}

// send sends a request under an ID, in a namespace. It is safe for concurrent use.
func (c *celCluster) send(r celRequest, id, group, namespace string) (celAnswer, error) {
	fill := strings.NewReplacer("{ns}", namespace, "{group}", group)
	var body []byte
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return celAnswer{}, err
		}
		body = []byte(fill.Replace(string(text)))
	}
	req, err := http.NewRequestWithContext(c.Context(), r.method, c.url+fill.Replace(r.path)+"?"+r.query.Encode(), bytes.NewReader(body))
	if err != nil {
		return celAnswer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if r.method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	req.Header.Set("Audit-ID", id)
	req.Header.Set("Impersonate-User", r.user.name)
	req.Header["Impersonate-Group"] = r.user.groups
	req.Header.Set("Impersonate-Extra-Request", id)
	resp, err := c.http.Do(req)
	if err != nil {
		return celAnswer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return celAnswer{resp.StatusCode, text}, err
}

// sendAll sends requests eight at a time.
func (c *celCluster) sendAll(n int, send func(i int) error) {
	c.Helper()
	var all sync.WaitGroup
	next := make(chan int)
	for range 8 {
		all.Go(func() {
			for i := range next {
				if err := send(i); err != nil {
					c.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}

// annotations are those of the audit log, by the ID of the request. They are
// written when a request has been answered, so the last ones are waited for.
func (c *celCluster) annotations(n int, wanted func(id string) bool) map[string]map[string]string {
	c.Helper()
	found := map[string]map[string]string{}
	var file *os.File
	var rest []byte
	eventually(c.T, "the audit log has all requests", func(context.Context) error {
		if file == nil {
			var err error
			if file, err = os.Open(c.auditLog); err != nil {
				return err
			}
			c.whole.Cleanup(func() { file.Close() })
		}
		text, err := io.ReadAll(file)
		if err != nil {
			return err
		}
		rest = append(rest, text...)
		for {
			line, after, whole := bytes.Cut(rest, []byte("\n"))
			if !whole {
				break
			}
			rest = after
			var event struct {
				AuditID     string
				Stage       string
				Annotations map[string]string
			}
			if err := json.Unmarshal(line, &event); err != nil {
				return err
			}
			if event.Stage == "ResponseComplete" && wanted(event.AuditID) {
				found[event.AuditID] = event.Annotations
			}
		}
		if len(found) < n {
			return fmt.Errorf("it has %d of %d", len(found), n)
		}
		return nil
	})
	return found
}
