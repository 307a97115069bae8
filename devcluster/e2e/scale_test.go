package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/warder-dev/warder/devcluster/stage"
)

// scaleVariable makes TestTwoHundredPolicies measure for longer: see "make
// bench-cluster".
const scaleVariable = "WARDER_E2E_SCALE"

// scale is a stage with many policies.
type scale struct {
	*stage.Stage
	rounds, pods, workers int
}

// many applies n policies that judge pods of namespaces with the label, several at
// a time, and waits until all are enforced.
func (s *scale) many(server, label string, from, n int) time.Duration {
	s.T.Helper()
	kinds := [][2]string{
		{"pod-privileged", "{}"}, {"host-namespaces-psp", "{}"},
		{"safe-labels", `{constrained_labels: {team: "^[a-z]+$"}}`},
		{"trusted-repos", `{registries: {allow: [registry.example.com]}, tags: {reject: [latest]}}`},
	}
	begin := time.Now()
	var group sync.WaitGroup
	next := atomic.Int64{}
	errs := make([]error, n)
	for range 16 {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				kind := kinds[i%len(kinds)]
				_, errs[i] = s.TryApply(capOf(fmt.Sprintf("%s-%d", label, from+i), "builtin://"+kind[0], kind[1]) +
					fmt.Sprintf("  policyServer: %s\n  namespaceSelector: {matchLabels: {judged: %s}}\n", server, label))
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		s.T.Fatal(err)
	}
	s.Eventually(func() string {
		list, err := s.Dynamic.Resource(resource("clusteradmissionpolicies")).List(s.T.Context(), metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		ready := 0
		for i := range list.Items {
			if is, _ := stage.Condition(&list.Items[i], "Ready"); is == "True" && strings.HasPrefix(list.Items[i].GetName(), label+"-") {
				ready++
			}
		}
		if ready < from+n {
			return fmt.Sprintf("%d of %d policies are enforced", ready, from+n)
		}
		return ""
	})
	return time.Since(begin)
}

// rate is how many pods a second can be created in the namespace. They are
// deleted again, without the clock.
func (s *scale) rate(namespace string, n int) float64 {
	s.T.Helper()
	pods := s.Client.CoreV1().Pods(namespace)
	next, errs := atomic.Int64{}, make([]error, s.workers)
	var group sync.WaitGroup
	begin := time.Now()
	for w := range s.workers {
		group.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(n) || errs[w] != nil {
					return
				}
				_, errs[w] = pods.Create(s.T.Context(), stage.Pod(fmt.Sprintf("p%d", i), func(p *corev1.Pod) {
					p.Labels = map[string]string{"team": "web", "app": "shop"}
				}), metav1.CreateOptions{})
			}
		})
	}
	group.Wait()
	took := time.Since(begin)
	if err := errors.Join(errs...); err != nil {
		s.T.Fatal(err)
	}
	err := pods.DeleteCollection(s.T.Context(), metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{})
	if err != nil {
		s.T.Fatal(err)
	}
	return float64(n) / took.Seconds()
}

// compare measures two namespaces in turn and returns the medians.
func (s *scale) compare(a, b string, n int) (rateA, rateB float64) {
	s.T.Helper()
	var as, bs []float64
	s.rate(a, min(n, 20)) // connections, caches
	s.rate(b, min(n, 20))
	for range s.rounds {
		as, bs = append(as, s.rate(a, s.pods)), append(bs, s.rate(b, n))
	}
	slices.Sort(as)
	slices.Sort(bs)
	return as[len(as)/2], bs[len(bs)/2]
}

// metric is the sum of a metric of the server's pods, by the beginning of its
// lines: "warder_requests_total{".
func (s *scale) metric(pods, prefix string) int { return int(s.metricValue(pods, prefix)) }

func (s *scale) metricValue(pods, prefix string) float64 {
	s.T.Helper()
	sum := 0.0
	for _, p := range s.Pods(pods) {
		address, err := s.Node.Address(p.Namespace, p.Name, 8081)
		if err != nil {
			s.T.Fatal(err)
		}
		req, err := http.NewRequestWithContext(s.T.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
		if err != nil {
			s.T.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			s.T.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			s.T.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(string(line)), " "); ok && strings.HasPrefix(name, prefix) {
				f, err := strconv.ParseFloat(value, 64)
				if err != nil {
					s.T.Fatal(err)
				}
				sum += f
			}
		}
	}
	return sum
}

// memory is what the processes of pods have of it, in MiB each.
func (s *scale) memory(pods string) string {
	s.T.Helper()
	var all []string
	for _, p := range s.Pods(pods) {
		pid, err := s.Node.PID(p.Namespace, p.Name)
		if err != nil {
			s.T.Fatal(err)
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			s.T.Skip(err) // not Linux
		}
		if m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text); m != nil {
			kb, _ := strconv.Atoi(string(m[1])) // digits
			all = append(all, strconv.Itoa(kb>>10))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "+") + " MiB"
}

// footprint logs what the policies cost beside requests.
func (s *scale) footprint(what string) {
	s.T.Helper()
	s.T.Logf("%s: memory of the controllers %s, of the policy server %s", what, s.memory("warder-controller"), s.memory("policy-server-default"))
}

// written is how often the bundled webhooks of the default policy server have
// been written, and how large they are.
func (s *scale) written() (times int64, bytes int) {
	s.T.Helper()
	c, err := s.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(s.T.Context(), bundled, metav1.GetOptions{})
	if err != nil {
		return 0, 0
	}
	text, err := json.Marshal(c)
	if err != nil {
		s.T.Fatal(err)
	}
	return c.Generation, len(text)
}

func (s *scale) reports(what string, before int) {
	s.T.Helper()
	list, err := s.Dynamic.Resource(resource("policyserverreplicas")).Namespace(stage.Namespace).List(s.T.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		s.T.Fatalf("%d reports of replicas: %v", len(list.Items), err)
	}
	text, err := json.Marshal(list.Items[0].Object)
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Logf("%s: %d writes of the replica's report, which has %d bytes", what, s.metric("policy-server-default", `warder_replica_report_writes_total{outcome="written"}`)-before, len(text))
}

func TestTwoHundredPolicies(t *testing.T) {
	s := &scale{Stage: stage.New(t), rounds: 3, pods: 150, workers: 8}
	few := 10 // for what calls two hundred webhooks
	if os.Getenv(scaleVariable) != "" {
		s.rounds, s.pods, few = 9, 600, 50
	}
	s.Apply("apiVersion: policies.kubewarden.io/v1\nkind: PolicyServer\nmetadata: {name: alone}\nspec: {replicas: 1, webhooks: PerPolicy}")
	for _, name := range []string{"none", "bundled", "alone"} {
		s.Apply(fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {judged: %[1]s}}", name))
	}
	s.Eventually(func() string {
		for _, name := range []string{"none", "bundled", "alone"} {
			if _, err := s.Client.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
				return err.Error()
			}
		}
		return ""
	})
	s.footprint("no policy")
	const reports = `warder_replica_report_writes_total{outcome="written"}`
	before := s.metric("policy-server-default", reports)
	took := s.many("default", "bundled", 0, 200)
	writes, size := s.written()
	t.Logf("200 policies applied at once, all enforced after %s: %d writes of the webhook configuration, which has %d bytes", took.Round(time.Millisecond), writes, size)
	if writes > 20 {
		t.Errorf("%d writes of a webhook configuration whose rules are always the same", writes)
	}
	s.reports("200 policies", before)
	s.footprint("200 policies")

	t.Run("one call for each request", func(t *testing.T) {
		before := s.metric("policy-server-default", "warder_requests_total{")
		s.rate("bundled", 20)
		if n := s.metric("policy-server-default", "warder_requests_total{") - before; n != 20 {
			t.Errorf("20 pods are created with %d calls, want one for each", n)
		}
		if evaluated := s.metric("policy-server-default", `warder_evaluations_total{`); evaluated < 20*200 {
			t.Errorf("%d evaluations, want 200 for each pod", evaluated)
		}
	})
	reviews := s.metric("policy-server-default", "warder_request_duration_seconds_count")
	spent := s.metricValue("policy-server-default", "warder_request_duration_seconds_sum")
	used := s.metricValue("policy-server-default", "process_cpu_seconds_total")
	none, bundledRate := s.compare("none", "bundled", s.pods)
	reviews = s.metric("policy-server-default", "warder_request_duration_seconds_count") - reviews
	t.Logf("a review of 200 policies takes the server %.2f ms, and %.2f ms of a processor",
		1000*(s.metricValue("policy-server-default", "warder_request_duration_seconds_sum")-spent)/float64(reviews),
		1000*(s.metricValue("policy-server-default", "process_cpu_seconds_total")-used)/float64(reviews))

	before = s.metric("policy-server-default", reports)
	took = s.many("default", "bundled", 200, 300)
	writes, size = s.written()
	t.Logf("300 more, all enforced after %s: %d writes of the webhook configuration altogether, which has %d bytes", took.Round(time.Millisecond), writes, size)
	s.reports("300 more", before)
	s.footprint("500 policies")

	took = s.many("alone", "alone", 0, 200)
	t.Logf("200 policies with a webhook each, all enforced after %s", took.Round(time.Millisecond))
	t.Run("a call for each policy", func(t *testing.T) {
		before := s.metric("policy-server-alone", "warder_requests_total{")
		s.rate("alone", 2)
		if n := s.metric("policy-server-alone", "warder_requests_total{") - before; n != 2*200 {
			t.Errorf("2 pods are created with %d calls, want 200 for each", n)
		}
	})
	noneAgain, alone := s.compare("none", "alone", few)
	t.Logf("pods/s: none %.0f, bundled %.0f (x%.2f), per policy %.0f (x%.2f)", none, bundledRate, bundledRate/none, alone, alone/noneAgain)
}
