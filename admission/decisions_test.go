package admission

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/sdk"
)

// judgement is a rejection by a policy that protects.
func judgement(uid string) engine.Judgement {
	dry := true
	refused := engine.Decision{Response: review.Response{Status: &review.Status{Message: "spec.hostNetwork is true", Code: 403}}}
	return engine.Judgement{
		Policy: &policy.Policy{ID: "kw.cap.a", Mode: policy.Protect}, Bundle: "validate-1",
		Request: &sdk.Request{
			UID: uid, Operation: sdk.Create, Namespace: "web", Name: "shop", DryRun: &dry,
			Kind: sdk.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, Resource: sdk.GroupVersionResource{Resource: "deployments"},
			UserInfo: sdk.UserInfo{Username: "alice"}, Object: json.RawMessage(`{"secret":"treasure"}`),
		},
		Verdict: refused, Decision: refused,
	}
}

// log makes a log with these options, has it told of judgements, and returns its
// lines without their times.
func log(t *testing.T, opts DecisionLogOptions, judgements ...engine.Judgement) []map[string]any {
	t.Helper()
	var out bytes.Buffer
	opts.To = &out
	l, err := NewDecisionLog(opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range judgements {
		l.Judged(t.Context(), j)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "treasure") {
		t.Errorf("the object is in the log: %s", &out)
	}
	var lines []map[string]any
	for text := range strings.Lines(out.String()) {
		line := map[string]any{}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line["time"] == nil {
			t.Errorf("no time in %s", text)
		}
		delete(line, "time")
		lines = append(lines, line)
	}
	return lines
}

func TestADecisionHasWhoWasAskedAndWhatWasSaid(t *testing.T) {
	want := []map[string]any{{
		"policy": "kw.cap.a", "bundle": "validate-1", "mode": "protect", "outcome": "rejected", "allowed": false,
		"message": "spec.hostNetwork is true", "code": 403.0, "took_ms": 0.0, "request": "u1", "operation": "CREATE",
		"apiVersion": "apps/v1", "kind": "Deployment", "resource": "deployments", "namespace": "web", "name": "shop", "user": "alice", "dryRun": true,
	}}
	if diff := cmp.Diff(want, log(t, DecisionLogOptions{}, judgement("u1"))); diff != "" {
		t.Errorf("log (-want +have):\n%s", diff)
	}
}

func TestMonitorModeShowsWhatWouldHaveBeenRefused(t *testing.T) {
	j := judgement("u1")
	j.Decision = engine.Decision{Response: review.Response{Allowed: true}}
	line := log(t, DecisionLogOptions{}, j)[0]
	if line["outcome"] != "rejected" || line["allowed"] != true || line["message"] != "spec.hostNetwork is true" {
		t.Errorf("line %v", line)
	}
}

func TestWhatIsRedactedIsNotThere(t *testing.T) {
	line := log(t, DecisionLogOptions{Redact: Redactable()}, judgement("u1"))[0]
	for _, field := range Redactable() {
		if line[field] != nil {
			t.Errorf("%s is %v", field, line[field])
		}
	}
	secret := judgement("u1")
	secret.Request.Kind = sdk.GroupVersionKind{Version: "v1", Kind: "Secret"}
	if line := log(t, DecisionLogOptions{}, secret)[0]; line["message"] != nil || line["apiVersion"] != "v1" {
		t.Errorf("of a Secret: %v", line)
	}
}

func TestAcceptedRequestsAreSampledWhole(t *testing.T) {
	const requests = 10000
	var all []engine.Judgement
	for i := range requests {
		for range 2 {
			j := judgement(fmt.Sprintf("705ab4f5-6393-11e8-b7cc-42010a80%04d", i))
			j.Verdict = engine.Decision{Response: review.Response{Allowed: true}}
			j.Decision = j.Verdict
			all = append(all, j)
		}
	}
	for _, share := range []float64{0, .1, 1} {
		kept := map[any]int{}
		for at := range 20 { // in parts, so that the queue does not overflow
			for _, line := range log(t, DecisionLogOptions{Accepted: share}, all[at*len(all)/20:(at+1)*len(all)/20]...) {
				kept[line["request"]]++
			}
		}
		// A tenth of 10,000 has a standard deviation of 30.
		if have := float64(len(kept)); have < share*requests-150 || have > share*requests+150 {
			t.Errorf("%v requests of %d with a share of %v", have, requests, share)
		}
		for uid, n := range kept {
			if n != 2 {
				t.Fatalf("request %v has %d judgements, want both", uid, n)
			}
		}
	}
}

// stuck is a writer that waits, and fails after that.
type stuck struct{ goOn chan struct{} }

func (s stuck) Write([]byte) (int, error) {
	<-s.goOn
	return 0, errors.New("disk full")
}

func TestAnAnswerNeverWaitsForTheLog(t *testing.T) {
	registry := prometheus.NewRegistry()
	to := stuck{make(chan struct{})}
	l, err := NewDecisionLog(DecisionLogOptions{To: to, Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	var tellers sync.WaitGroup
	for range 4 {
		tellers.Go(func() {
			for range queueLength {
				l.Judged(t.Context(), judgement("u"))
			}
		})
	}
	tellers.Wait()
	close(to.goOn)
	if err := l.Close(); err == nil || err.Error() != "decision log: disk full" {
		t.Errorf("Close: %v", err)
	}
	l.Judged(t.Context(), judgement("u")) // is lost, and does not panic
	counted := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			counted[f.GetName()] += m.GetCounter().GetValue()
		}
	}
	if lost, written := counted["warder_decisions_dropped_total"], counted["warder_decisions_logged_total"]; lost != 4*queueLength || written != 0 {
		t.Errorf("%v of %d counted as lost, %v as written", lost, 4*queueLength, written)
	}
}

func TestLongTextsAreCut(t *testing.T) {
	j := judgement("u1")
	j.Verdict.Response.Status.Message = strings.Repeat("é", maxLogged)
	message, _ := log(t, DecisionLogOptions{}, j)[0]["message"].(string)
	if len(message) == 0 || len(message) > maxLogged || !utf8.ValidString(message) {
		t.Errorf("a message of %d bytes", len(message))
	}
}

func TestBadDecisionLogOptions(t *testing.T) {
	_, err := NewDecisionLog(DecisionLogOptions{Accepted: 2, Redact: []string{"object"}})
	const want = "decision log: nowhere to write to\na share of accepted requests of 2; want 0 to 1\n\"object\" cannot be left out; there are message, name, namespace, user"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
