package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/runtime/cel"
	"github.com/warder-dev/warder/runtime/native"
	"github.com/warder-dev/warder/sdk"
)

// judging is what one policy needs for a pod that is decoded already, without a
// server around it.
type judging struct {
	Name   string  `json:"name"`
	Micros float64 `json:"us"`
	// ToDecoding is how many times it is what encoding/json needs to decode the
	// pod: a ratio of the same round, which a busy machine leaves as it is.
	ToDecoding float64 `json:"to_decoding"`
}

// Names of what is measured without a server.
const (
	decoding   = "json-decoding"
	judgeCEL   = "cel-ten-expressions"
	judgeFirst = "cel-ten-expressions-first" // of a request: it decodes the pod
)

// tenExpressions are what a team asks of its pods.
func tenExpressions() cel.Spec {
	spec := cel.Spec{}
	for _, e := range []string{
		"!has(object.spec.hostNetwork) || !object.spec.hostNetwork",
		"!has(object.spec.hostPID) || !object.spec.hostPID",
		"object.spec.containers.all(c, c.image.startsWith('ghcr.io/'))",
		"object.spec.containers.all(c, !c.image.endsWith(':latest'))",
		"object.spec.containers.all(c, has(c.resources) && has(c.resources.limits) && 'memory' in c.resources.limits)",
		"object.spec.containers.all(c, !has(c.securityContext) || !has(c.securityContext.privileged) || !c.securityContext.privileged)",
		"has(object.metadata.labels) && 'team' in object.metadata.labels",
		"!has(object.spec.volumes) || object.spec.volumes.all(v, !has(v.hostPath))",
		"request.operation != 'CREATE' || request.userInfo.username != 'system:anonymous'",
		"size(object.spec.containers) <= 10",
	} {
		spec.Validations = append(spec.Validations, admissionv1.Validation{Expression: e})
	}
	return spec
}

// measureJudging measures policies without a server.
func (b *bench) measureJudging(ctx context.Context, res *result) error {
	r, err := review.Decode(podReview)
	if err != nil {
		return err
	}
	req := r.Request
	builtin, _ := library.Lookup("pod-privileged")
	privileged, err := native.New(builtin.Policy, nil, nil)
	if err != nil {
		return err
	}
	ten, err := cel.Compile(tenExpressions(), cel.Options{})
	if err != nil {
		return err
	}
	accepted := func(v sdk.Verdict, err error) error {
		if err == nil && !v.Accepted {
			err = fmt.Errorf("the pod is refused: %s", v.Message)
		}
		return err
	}
	shared := cel.Shared(ctx)
	work := []struct {
		name string
		do   func() error
	}{
		{decoding, func() error {
			var pod map[string]any
			return json.Unmarshal(req.Object, &pod)
		}},
		{nativeRow, func() error { _, err := privileged.Evaluate(ctx, req); return err }},
		{judgeCEL, func() error { return accepted(ten.Evaluate(shared, req)) }},
		{judgeFirst, func() error { return accepted(ten.Evaluate(ctx, req)) }},
	}
	micros, ratios := make([][]float64, len(work)), make([][]float64, len(work))
	for range b.opts.rounds {
		for i, w := range work {
			one, err := perCall(b.opts.time, w.do)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			micros[i] = append(micros[i], one)
			ratios[i] = append(ratios[i], one/micros[0][len(micros[0])-1])
		}
	}
	for i, w := range work {
		slices.Sort(micros[i])
		slices.Sort(ratios[i])
		res.Judging = append(res.Judging, judging{w.name, micros[i][len(micros[i])/2], ratios[i][len(ratios[i])/2]})
	}
	return nil
}

// perCall returns how many microseconds one call takes, of as many as there is
// time for.
func perCall(period time.Duration, do func() error) (float64, error) {
	start, calls := time.Now(), 0
	for time.Since(start) < period {
		for range 100 {
			if err := do(); err != nil {
				return 0, err
			}
		}
		calls += 100
	}
	return float64(time.Since(start).Nanoseconds()) / 1000 / float64(calls), nil
}

func (r *result) printJudging(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "without a server\tµs\tx JSON decoding\t")
	for _, j := range r.Judging {
		fmt.Fprintf(t, "%s\t%.1f\t%.3f\t\n", j.Name, j.Micros, j.ToDecoding)
	}
	_ = t.Flush() // as with Fprintln
	fmt.Fprintln(w)
}
