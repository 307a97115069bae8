package main

import (
	"context"
	"flag"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/rest"

	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/replica"
)

// update writes the golden files anew: go test ./cmd/warder -run Metrics -update.
var update = flag.Bool("update", false, "write golden files anew")

const metricsFile = "../../docs/metrics.golden"

// metricLines returns the metrics of warder in the text of /metrics, a line
// each: its name, its labels and its type.
func metricLines(page string) []string {
	labels := map[string]map[string]bool{}
	kinds := map[string]string{}
	sample := regexp.MustCompile(`^(warder_\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+$`)
	label := regexp.MustCompile(`(\w+)="`)
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if name, kind, ok := strings.Cut(strings.TrimPrefix(line, "# TYPE "), " "); ok && strings.HasPrefix(line, "# TYPE warder_") {
			kinds[name], labels[name] = kind, map[string]bool{}
		}
		if m := sample.FindStringSubmatch(line); m != nil && labels[m[1]] != nil {
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				labels[m[1]][l[1]] = true
			}
			delete(labels[m[1]], "le") // the bounds of a histogram
		}
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		lines = append(lines, name+"{"+strings.Join(slices.Sorted(maps.Keys(labels[name])), ",")+"} "+kinds[name])
	}
	return lines
}

// replicaMetrics returns what a replica adds to /metrics.
func replicaMetrics(t *testing.T) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	eng, err := engine.New(engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	r, err := replica.New(replica.Options{
		Config: &rest.Config{Host: "127.0.0.1:1"}, PolicyServer: "default", Namespace: "warder", Engine: eng, Metrics: replica.NewMetrics(registry),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.Run(ctx, func() {})
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func TestMetricsAreThoseOfTheDocumentation(t *testing.T) {
	s := startServe(t, privileged+"broken: {module: \"builtin://nowhere\"}\n", "--decision-log", filepath.Join(t.TempDir(), "decisions"))
	if have := s.ask("/validate/privileged"); !strings.Contains(have, rejected) {
		t.Fatal(have)
	}
	page := s.get("/metrics")
	have := metricLines(page + replicaMetrics(t))
	if *update {
		if err := os.WriteFile(metricsFile, []byte(strings.Join(have, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(metricsFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(golden)), "\n"), have); diff != "" {
		t.Errorf("metrics (-%s +have), write it anew with -update:\n%s", metricsFile, diff)
	}
	for _, want := range []string{
		`warder_evaluations_total{outcome="rejected",policy="privileged"} 1`, `warder_requests_total{code="200",route="validate"} 1`,
		`warder_policies{state="loaded"} 1`, "go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(page, "\n"+want) {
			t.Errorf("/metrics has no line %q", want)
		}
	}
}
