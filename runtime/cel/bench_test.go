package cel

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
)

// tenExpressions is a policy as teams have them: what each container must have
// and must not.
func tenExpressions() Spec {
	expressions := []string{
		"!has(object.spec.hostNetwork) || !object.spec.hostNetwork",
		"!has(object.spec.hostPID) || !object.spec.hostPID",
		"object.spec.containers.all(c, c.image.startsWith('ghcr.io/shop/'))",
		"object.spec.containers.all(c, !c.image.endsWith(':latest'))",
		"object.spec.containers.all(c, has(c.resources) && has(c.resources.limits) && 'memory' in c.resources.limits)",
		"object.spec.containers.all(c, !has(c.securityContext) || !has(c.securityContext.privileged) || !c.securityContext.privileged)",
		"has(object.metadata.labels) && 'team' in object.metadata.labels",
		"!has(object.spec.volumes) || object.spec.volumes.all(v, !has(v.hostPath))",
		"request.operation != 'CREATE' || request.userInfo.username != 'system:anonymous'",
		"size(object.spec.containers) <= 10",
	}
	spec := Spec{}
	for _, e := range expressions {
		spec.Validations = append(spec.Validations, admissionv1.Validation{Expression: e})
	}
	return spec
}

func typicalPod(b testing.TB) json.RawMessage {
	b.Helper()
	text, err := os.ReadFile("../../bench/testdata/review.json")
	if err != nil {
		b.Fatal(err)
	}
	var review struct {
		Request struct{ Object json.RawMessage }
	}
	if err := json.Unmarshal(text, &review); err != nil {
		b.Fatal(err)
	}
	return review.Request.Object
}

// BenchmarkTenExpressions is what a policy costs once the pod is decoded; ratio is
// that to decoding the same pod with encoding/json in the same run.
func BenchmarkTenExpressions(b *testing.B) {
	p, err := Compile(tenExpressions(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	req := creation()
	req.Object = typicalPod(b)
	ctx := Shared(b.Context())
	if v, err := p.Evaluate(ctx, req); err != nil || !v.Accepted {
		b.Fatal(v, err)
	}
	const decodings = 2000
	start := time.Now()
	for range decodings {
		var object map[string]any
		if err := json.Unmarshal(req.Object, &object); err != nil {
			b.Fatal(err)
		}
	}
	decoding := float64(time.Since(start).Nanoseconds()) / decodings
	b.ReportAllocs()
	for b.Loop() {
		if v, err := p.Evaluate(ctx, req); err != nil || !v.Accepted {
			b.Fatal(v, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/decoding, "of-decoding")
	b.ReportMetric(decoding, "ns-decoding")
}

// BenchmarkMemory is what one policy of many keeps: a few expressions, no two of
// them the same.
func BenchmarkMemory(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	keep := make([]*Program, 0, b.N)
	for i := range b.N {
		p, err := Compile(manyExpressions(i), Options{})
		if err != nil {
			b.Fatal(err)
		}
		keep = append(keep, p)
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(b.N), "B-kept/policy")
	runtime.KeepAlive(keep)
}

func manyExpressions(i int) Spec {
	return Spec{
		MatchConditions: []admissionv1.MatchCondition{{Name: "team", Expression: fmt.Sprintf("request.namespace != 'team-%d'", i)}},
		Variables:       []admissionv1.Variable{{Name: "containers", Expression: fmt.Sprintf("object.spec.containers.filter(c, c.name != 'sidecar-%d')", i)}},
		Validations: []admissionv1.Validation{
			{Expression: fmt.Sprintf("variables.containers.all(c, c.image.startsWith('registry-%d.example.org/'))", i), MessageExpression: fmt.Sprintf("'team-%d takes no image of ' + request.namespace", i)},
			{Expression: fmt.Sprintf("variables.containers.all(c, has(c.resources.limits) && c.resources.limits.memory != '%dMi')", i)},
		},
	}
}
