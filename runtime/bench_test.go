package runtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	opacompile "github.com/open-policy-agent/opa/v1/compile"

	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/runtime/rego"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// BenchmarkEvaluate judges a Pod of 5 KB with a guest made with our SDK.
func BenchmarkEvaluate(b *testing.B) {
	pod, err := os.ReadFile("../sdk/testdata/pod.json")
	if err != nil {
		b.Fatal(err)
	}
	req := &sdk.Request{UID: "1", Operation: sdk.Create, Object: bytes.TrimSpace(pod)}
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		wasm := guest(b, "misbehave", form)
		for _, isolation := range []runtime.Isolation{runtime.Snapshot, runtime.Fresh} {
			b.Run(fmt.Sprint(form, "/", isolation), func(b *testing.B) {
				p := start(b, wasm, runtime.ProgramOptions{Isolation: isolation})
				b.ReportAllocs()
				for b.Loop() {
					v, err := p.Evaluate(b.Context(), req)
					if err != nil || v.Message != `cannot do ""` {
						b.Fatal(v, err)
					}
				}
			})
		}
	}
}

// inventory is a cluster of namespaces that does not change.
type inventory struct{ list json.RawMessage }

func (i inventory) Inventory(context.Context, string, string) (string, json.RawMessage, uint64, error) {
	return "namespaces", i.list, 1, nil
}

// namespaces is a cluster with that many.
func namespaces(n int) inventory {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n%d","labels":{"team":"a","env":"prod"}}}`, i)
	}
	return inventory{json.RawMessage(`{"items":[` + strings.Join(items, ",") + `]}`)}
}

// regoModule compiles a policy of Gatekeeper's flavour.
func regoModule(b *testing.B, c *runtime.Compiler, text string) *rego.Module {
	b.Helper()
	parsed, err := ast.ParseModuleWithOpts("policy.rego", text, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		b.Fatal(err)
	}
	opa := opacompile.New().WithTarget(opacompile.TargetWasm).WithEntrypoints("policy/violation").WithBundle(&bundle.Bundle{
		Data:    map[string]any{},
		Modules: []bundle.ModuleFile{{URL: "/policy.rego", Path: "/policy.rego", Raw: []byte(text), Parsed: parsed}},
	})
	if err := opa.Build(b.Context()); err != nil {
		b.Fatal(err)
	}
	m, err := rego.Compile(b.Context(), c, opa.Bundle().WasmModules[0].Raw)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	return m
}

// BenchmarkRego judges a Pod of 5 KB in Gatekeeper's flavour: with what OPA
// compiles alone, with a built-in of the host, and with a cluster to look at.
func BenchmarkRego(b *testing.B) {
	pod, err := os.ReadFile("../sdk/testdata/pod.json")
	if err != nil {
		b.Fatal(err)
	}
	req := &sdk.Request{UID: "1", Operation: sdk.Create, Object: bytes.TrimSpace(pod)}
	const privileged = `package policy
violation contains {"msg": concat(" ", ["container", c.name, "is privileged"])} if {
	some c in input.review.object.spec.containers
	c.securityContext.privileged
}`
	const builtin = privileged + `
violation contains {"msg": sprintf("container %s has no name %v", [c.image, c])} if {
	some c in input.review.object.spec.containers
	yaml.marshal(c.name) == ""
}`
	const cluster = privileged + `
violation contains {"msg": "no such namespace"} if {
	input.review.object.metadata.namespace
	not data.inventory.cluster.v1.Namespace.n7
}`
	c := compiler(b)
	for _, tt := range []struct {
		name, text string
		options    rego.Options
	}{
		{"plain", privileged, rego.Options{}},
		{"builtin", builtin, rego.Options{}},
		{"inventory-100", cluster, rego.Options{Inventory: namespaces(100), Kinds: []rego.Kind{{APIVersion: "v1", Kind: "Namespace"}}}},
		{"inventory-5000", cluster, rego.Options{Inventory: namespaces(5000), Kinds: []rego.Kind{{APIVersion: "v1", Kind: "Namespace"}}}},
	} {
		m := regoModule(b, c, tt.text)
		for _, isolation := range []runtime.Isolation{runtime.Snapshot, runtime.Fresh} {
			b.Run(fmt.Sprint(tt.name, "/", isolation), func(b *testing.B) {
				opts := tt.options
				opts.Flavour, opts.Isolation = rego.Gatekeeper, isolation
				p, err := m.NewProgram(b.Context(), opts)
				if err != nil {
					b.Fatal(err)
				}
				defer p.Close()
				b.ReportAllocs()
				for b.Loop() {
					if v, err := p.Evaluate(b.Context(), req); err != nil || !v.Accepted {
						b.Fatal(v, err)
					}
				}
			})
		}
	}
}
