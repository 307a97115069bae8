package engine

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	opabundle "github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/compile"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/sdk"
)

// regoModule compiles a policy in Rego and annotates it.
func regoModule(t *testing.T, text, entrypoint, metadata string) string {
	t.Helper()
	parsed, err := ast.ParseModuleWithOpts("policy.rego", text, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		t.Fatal(err)
	}
	c := compile.New().WithTarget(compile.TargetWasm).WithEntrypoints(entrypoint).WithBundle(&opabundle.Bundle{
		Data:    map[string]any{},
		Modules: []opabundle.ModuleFile{{URL: "/policy.rego", Path: "/policy.rego", Raw: []byte(text), Parsed: parsed}},
	})
	if err := c.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	wasm := c.Bundle().WasmModules[0].Raw
	return "file://" + writeFile(t, "policy.wasm", section(wasm, 0, append(wasmName(nil, runtimeMetadata), metadata...)))
}

const (
	limitPolicy = `package policy
main := {"response": {"uid": "", "allowed": data.limit > 1, "status": {"message": input.request.name, "code": 418}}}`
	namePolicy = `package policy
violation contains {"msg": sprintf("%s is not %s", [input.review.name, input.parameters.want])} if {
	print("judging", input.review.name)
	input.review.name != input.parameters.want
}`
	forever = `package policy
violation contains {"msg": "never"} if {
	r := numbers.range(1, 2000)
	some i in r
	some j in r
	some k in r
	k == input.review.uid
	i == j
}`
)

func TestRegoInBothFlavours(t *testing.T) {
	tests := []struct {
		name   string
		policy policy.Policy
		want   review.Status
	}{
		{"opa", policy.Policy{Module: regoModule(t, limitPolicy, "policy/main", `{"rules":[],"mutating":false,"executionMode":"opa"}`), Settings: json.RawMessage(`{"limit":1}`)},
			review.Status{Message: "web", Code: 418}},
		{"gatekeeper", policy.Policy{Module: regoModule(t, namePolicy, "policy/violation", `{"rules":[],"mutating":false,"executionMode":"gatekeeper"}`),
			Settings: json.RawMessage(`{"want":"db"}`)}, review.Status{Message: "web is not db"}},
	}
	for _, tt := range tests {
		lines := &logLines{}
		e := newEngine(t, Options{Log: lines.logger()})
		tt.policy.ID, tt.policy.Mode = "p", policy.Protect
		mustApply(t, e, tt.policy)
		d := evaluate(t, e, "p", &sdk.Request{UID: "u", Name: "web"})
		if d.Err != nil || d.Response.Allowed || d.Response.Status == nil || !cmp.Equal(*d.Response.Status, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, d, tt.want)
		}
		if s := e.Statuses()[0]; s.Runtime != tt.name || s.Isolation != "snapshot" {
			t.Errorf("%s: status %+v", tt.name, s)
		}
	}
}

func TestRegoIsStoppedAtItsDeadline(t *testing.T) {
	e := newEngine(t, Options{})
	mustApply(t, e, policy.Policy{ID: "p", Module: regoModule(t, forever, "policy/violation", `{"rules":[],"mutating":false,"executionMode":"gatekeeper"}`),
		Mode: policy.Protect, Timeout: 50 * time.Millisecond})
	d := evaluate(t, e, "p", &sdk.Request{UID: "u"})
	if !errors.Is(d.Err, context.DeadlineExceeded) || !strings.HasPrefix(messageOf(d.Response), timeoutText) {
		t.Errorf("%+v, want a timeout", d)
	}
}

// permitted counts the permits that are out while it is asked.
type permitted struct {
	engine *Engine
	out    int
}

func (p *permitted) Inventory(context.Context, string, string) (string, json.RawMessage, uint64, error) {
	p.out = len(p.engine.permits)
	return "pods", json.RawMessage(`{"items":[]}`), 7, nil
}

func TestAPolicyThatWaitsForTheInventoryLeavesItsWorkerToOthers(t *testing.T) {
	e := newEngine(t, Options{Workers: 1})
	of := &permitted{engine: e}
	ask := func(ctx context.Context) {
		plural, _, revision, err := yieldingInventory{of}.Inventory(ctx, "v1", "Pod")
		if plural != "pods" || revision != 7 || err != nil || of.out != 0 {
			t.Errorf("%s, %d, error %v with %d permits out", plural, revision, err, of.out)
		}
	}
	ask(t.Context())
	p := &permit{engine: e}
	if err := p.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask(context.WithValue(t.Context(), permitKey{}, p))
	if len(e.permits) != 1 {
		t.Errorf("%d permits are out afterwards, want the policy's own", len(e.permits))
	}
}
