package engine

import (
	"fmt"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
)

// benchmarkPolicies are n built-ins of one bundle, of which every step-th judges
// pods and the others something else.
func benchmarkPolicies(n, step int) []policy.Policy {
	kinds := []struct{ name, settings string }{
		{"pod-privileged", ""}, {"host-namespaces-psp", ""},
		{"safe-labels", `{"constrained_labels":{"team":"^[a-z]+$"}}`},
		{"trusted-repos", `{"registries":{"allow":["ghcr.io"]},"tags":{"reject":["latest"]}}`},
	}
	all := make([]policy.Policy, n)
	for i := range all {
		kind := kinds[i%len(kinds)]
		all[i] = builtinPolicy(fmt.Sprint("p", i), kind.name, kind.settings)
		all[i].Bundles, all[i].HostCapabilities = []string{"validate-1"}, []string{"*"} // as policies of a cluster
		resource := "pods"
		if i%step != 0 {
			resource = fmt.Sprint("widgets", i)
		}
		all[i].Rules = []policy.Rule{
			{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}, Operations: []string{"CREATE", "UPDATE"}},
			{APIGroups: []string{"", "x.io"}, APIVersions: []string{"v1"}, Resources: []string{resource}, Operations: []string{"CREATE", "UPDATE"}},
		}
	}
	return all
}

// benchmarkReview is the review of a pod like many are.
func benchmarkReview(tb testing.TB) []byte {
	var env string
	for i := range 20 {
		env += fmt.Sprintf(`{"name":"VARIABLE_%d","value":"the value of variable %d"},`, i, i)
	}
	container := `{"name":"c%d","image":"ghcr.io/acme/app:v1.2.3","env":[` + env + `{"name":"LAST","value":"1"}],` +
		`"resources":{"requests":{"cpu":"100m","memory":"64Mi"}},"securityContext":{"privileged":false}}`
	return []byte(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u1","kind":{"group":"","version":"v1","kind":"Pod"},` +
		`"resource":{"group":"","version":"v1","resource":"pods"},"operation":"CREATE","name":"p","namespace":"default","userInfo":{"username":"u"},` +
		`"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"default","labels":{"team":"web","app":"shop"}},` +
		`"spec":{"containers":[` + fmt.Sprintf(container, 1) + "," + fmt.Sprintf(container, 2) + `]}}}}`)
}

// BenchmarkBundle is what one request costs from its text to its answer.
func BenchmarkBundle(b *testing.B) {
	text := benchmarkReview(b)
	for _, tt := range []struct {
		name    string
		n, step int
	}{{"1", 1, 1}, {"200", 200, 1}, {"5of200", 200, 40}} {
		b.Run(tt.name, func(b *testing.B) {
			e := newEngine(b, Options{Metrics: prometheus.NewRegistry()})
			mustApply(b, e, benchmarkPolicies(tt.n, tt.step)...)
			b.ReportAllocs()
			for b.Loop() {
				rev, err := review.Decode(text)
				if err != nil {
					b.Fatal(err)
				}
				d, err := e.EvaluateBundle(b.Context(), "validate-1", rev.Request)
				if err != nil || !d.Response.Allowed {
					b.Fatalf("%s, %v", answer(d.Response), err)
				}
				_ = rev.AppendAnswer(nil, d.Response)
			}
		})
	}
}

// BenchmarkLoad is what it costs to add the thousandth policy to a bundle.
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		e := newEngine(b, Options{Metrics: prometheus.NewRegistry()})
		b.StartTimer()
		for _, p := range benchmarkPolicies(1000, 1) {
			if err := e.Load(b.Context(), p); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkTenThousandPolicies says what ten thousand policies hold, with all that
// an engine keeps of them: half are built-ins, half are in CEL with five
// expressions that no other policy has.
func BenchmarkTenThousandPolicies(b *testing.B) {
	const n = 10_000
	policies := benchmarkPolicies(n, 1)
	for i := 1; i < n; i += 2 {
		var validations []string
		for at := range 5 {
			validations = append(validations, fmt.Sprintf(
				`{expression: "object.spec.containers.all(c, c.image != 'registry.example.com/%d/%d' && size(c.name) > %d)", message: no}`, i, at, at))
		}
		inCEL := celPolicy(b, fmt.Sprint("p", i), "cel: {validations: ["+strings.Join(validations, ", ")+"]}")
		inCEL.Bundles, inCEL.Rules = policies[i].Bundles, policies[i].Rules
		policies[i] = inCEL
	}
	for b.Loop() {
		var before, after goruntime.MemStats
		goruntime.GC()
		goruntime.ReadMemStats(&before)
		e := newEngine(b, Options{Metrics: prometheus.NewRegistry()})
		mustApply(b, e, policies...)
		goruntime.GC()
		goruntime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		b.ReportMetric(float64(after.Sys)/(1<<20), "MiB-sys")
	}
}
