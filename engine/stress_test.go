package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// TestEverythingAtOnce changes policies of every runtime in every way while they
// are asked, fetched and counted. WARDER_STRESS makes it longer: "1m".
func TestEverythingAtOnce(t *testing.T) {
	length := 2 * time.Second
	if text := os.Getenv("WARDER_STRESS"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	modules := map[string]string{
		"registry://x/wapc:v1": portable(t, sdktest.WaPC), "registry://x/wasi:v1": portable(t, sdktest.WASI),
		"registry://x/rego:v1": regoModule(t, namePolicy, "policy/violation", `{"rules":[],"mutating":false,"executionMode":"gatekeeper"}`),
	}
	var kept []policy.Policy // by which the modules stay compiled: there would be time for nothing else
	for uri, file := range modules {
		settings := guestRevision("", "", 1).Settings
		kept = append(kept, policy.Policy{ID: policy.ID(strings.NewReplacer("/", "-").Replace(uri)), Module: file, Settings: settings})
	}
	var generation atomic.Int64
	registry := prometheus.NewRegistry()
	e := newEngine(t, Options{
		Metrics: registry,
		Stamp: func(uri string) string {
			if strings.HasPrefix(uri, "file://") {
				return ""
			}
			return fmt.Sprint(generation.Load() / 8)
		},
		Fetch: func(ctx context.Context, uri string) (Fetched, error) {
			if strings.HasPrefix(uri, "file://") {
				return fetchFile(ctx, uri)
			}
			if rand.IntN(4) == 0 {
				return Fetched{}, errors.New("not now")
			}
			got, err := fetchFile(ctx, modules[uri])
			if rand.IntN(4) == 0 {
				got.Away = errors.New("away")
			}
			return got, err
		},
	})
	some := func() policy.Policy {
		n := rand.IntN(8)
		id := fmt.Sprint("p", n)
		var p policy.Policy
		switch n % 4 {
		case 0:
			p = revision(id, 1)
		case 1:
			p = guestRevision(id, "registry://x/wapc:v1", 1)
		case 2:
			p = builtinPolicy(id, "", `{"want":"revision-1"}`)
			p.Module = "registry://x/rego:v1"
		default:
			p = policy.Policy{ID: policy.ID(id), Mode: policy.Protect, FailurePolicy: policy.Fail, Group: &policy.Group{
				Expression: "a() && (b() || c())", Message: "no: revision-1", Members: map[string]policy.Policy{
					"a": {Module: "registry://x/wasi:v1", Settings: guestRevision("", "", 1).Settings},
					"b": {Module: "builtin://pod-privileged"}, "c": {Module: "registry://x/wapc:v1", Settings: guestRevision("", "", 1).Settings},
				},
			}}
		}
		if rand.IntN(2) == 0 {
			p.Bundles = []string{"all"}
		}
		p.Order = rand.IntN(3) // so that the policy is another one
		return p
	}
	mustApply(t, e, kept...)
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var wg sync.WaitGroup
	var judged atomic.Int64
	again := func(do func()) {
		wg.Go(func() {
			for ctx.Err() == nil {
				do()
			}
		})
	}
	req := pod(t, "")
	check := func(d Decision, err error) {
		unknown := (*UnknownPolicyError)(nil)
		switch {
		case errors.As(err, &unknown):
			return
		case err != nil:
			t.Errorf("Evaluate = %v", err)
		case d.Err != nil && !strings.Contains(d.Err.Error(), "not now"):
			t.Errorf("%s: no verdict: %v", d.Policy, d.Err)
		case d.Response.UID != req.UID:
			t.Errorf("%s: answer to another request: %+v", d.Policy, d.Response)
		}
		judged.Add(1)
	}
	for range 4 {
		again(func() { check(e.Evaluate(context.Background(), policy.ID(fmt.Sprint("p", rand.IntN(8))), req)) })
	}
	again(func() { check(e.EvaluateBundle(context.Background(), "all", req)) })
	again(func() { check(e.Audit(context.Background(), "p3/a", req)) })
	again(func() { _ = e.Load(context.Background(), some()) }) // may not be fetched
	again(func() { e.Unload(policy.ID(fmt.Sprint("p", rand.IntN(8)))); <-time.After(time.Millisecond) })
	again(func() {
		list := map[policy.ID]policy.Policy{}
		for range 6 {
			p := some()
			list[p.ID] = p
		}
		all := slices.Clone(kept)
		for _, p := range list {
			all = append(all, p)
		}
		_ = e.Apply(context.Background(), all)
		<-time.After(5 * time.Millisecond)
	})
	again(func() { generation.Add(1); e.Refresh(context.Background()); <-time.After(time.Millisecond) })
	again(func() {
		_ = e.Statuses()
		if _, err := registry.Gather(); err != nil {
			t.Errorf("metrics: %v", err)
		}
		<-time.After(time.Millisecond)
	})
	wg.Wait()
	if judged.Load() == 0 {
		t.Error("nothing was judged")
	}
	t.Logf("%d requests", judged.Load())
	mustApply(t, e)
	if n := len(e.modules.byDigest); n != 0 || len(e.permits) != 0 {
		t.Errorf("%d modules and %d permits are held by nobody", n, len(e.permits))
	}
}
