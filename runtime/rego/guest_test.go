package rego

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/warder-dev/warder/runtime/internal/guest"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/wasm"
)

// misbehaves does what its request asks for.
var misbehaves = source{OPA, `
default main := {"response": {"uid": "", "allowed": true}}

do := input.request.object.do

main := n if {
	do == "loop"
	r := numbers.range(1, 2000)
	some i in r
	some j in r
	some k in r
	k == do
	n := [i, j]
}

main := x if {
	do == "paths"
	nodes := numbers.range(1, 9)
	edges := {n: nodes | some n in nodes}
	x := graph.reachable_paths(edges, {1})
}

main := x if {
	do == "output"
	x := [s | some y in numbers.range(1, 1500); s := sprintf("%1000d", [y])]
}

main := x if {
	do == "memory"
	x := [s | some y in numbers.range(1, 100000); s := sprintf("%1000d", [y])]
}

main := strings.render_template("{{range .l}}{{range $.l}}{{range $.l}}{{range $.l}}x{{end}}{{end}}{{end}}{{end}}", {"l": numbers.range(1, 40)}) if do == "builtin output"

main := x if {
	do == "conflict"
	some x in [1, 2]
}
`}

func do(what string) *sdk.Request { return request(`{"do":"` + what + `"}`) }

// accepts demands that the next request gets a right verdict.
func accepts(t *testing.T, p *Program) {
	t.Helper()
	if v, err := p.Evaluate(bounded(t), do("nothing")); err != nil || !v.Accepted {
		t.Errorf("the next request: %+v, error %v; want it accepted", v, err)
	}
}

func TestMisbehaviourIsAFailureOfItsOwnRequest(t *testing.T) {
	const engine = "internal server error: wasm engine error: "
	tests := []struct{ do, want string }{
		{"output", "internal server error: the policy wrote more than 1048576 bytes of output"},
		{"memory", engine + "sprintf: "},
		{"builtin output", "internal server error: the policy wrote more than 1048576 bytes of output"},
		{"conflict", engine + "opa_abort: policy.rego:"},
	}
	for _, isolation := range isolations() {
		p := program(t, misbehaves, isolated(isolation))
		for _, tt := range tests {
			_, err := p.Evaluate(bounded(t), do(tt.do))
			f := (*Failure)(nil)
			if !errors.As(err, &f) || f.At != guest.StageCall || !strings.HasPrefix(f.Text, tt.want) {
				t.Errorf("%s, %s: error %v, want %s", tt.do, isolation, err, tt.want)
			}
			accepts(t, p)
		}
	}
}

func TestDeadlineEndsEveryEvaluation(t *testing.T) {
	for _, isolation := range isolations() {
		p := program(t, misbehaves, isolated(isolation))
		for _, what := range []string{"loop", "paths"} {
			const limit = 50 * time.Millisecond
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			start := time.Now()
			v, err := p.Evaluate(ctx, do(what))
			cancel()
			t.Logf("%s: %v after the deadline", what, time.Since(start)-limit)
			f := (*Failure)(nil)
			const want = "internal server error: guest code interrupted, execution deadline exceeded"
			if !errors.As(err, &f) || f.Text != want || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s, %s: %+v, error %v; want a timeout", what, isolation, v, err)
			}
			accepts(t, p)
		}
	}
}

// lying returns a module whose exports are other functions of it: each name of
// lies is what the one beside it is.
func lying(t testing.TB, binary []byte, lies map[string]string) []byte {
	t.Helper()
	all, err := wasm.Sections(binary)
	if err != nil {
		t.Fatal(err)
	}
	out := []byte(wasm.Header)
	for _, s := range all {
		if s.ID == wasm.SectionExport {
			s.Payload = redirected(t, s.Payload, lies)
		}
		out = wasm.Append(out, s)
	}
	return out
}

func redirected(t testing.TB, payload []byte, lies map[string]string) []byte {
	t.Helper()
	type export struct {
		name  string
		kind  byte
		index uint32
	}
	r := wasm.Reader{Text: payload}
	var exports []export
	byName := map[string]export{}
	for range r.U32() {
		e := export{r.Name(), r.Byte(), r.U32()}
		exports = append(exports, e)
		byName[e.name] = e
	}
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	out := wasm.AppendU32(nil, uint32(len(exports)))
	for _, e := range exports {
		if to, ok := lies[e.name]; ok {
			e.kind, e.index = byName[to].kind, byName[to].index
		}
		out = wasm.AppendU32(append(wasm.AppendName(out, e.name), e.kind), e.index)
	}
	return out
}

func TestModulesThatLie(t *testing.T) {
	const engine = "internal server error: wasm engine error: "
	tests := []struct {
		lies map[string]string
		at   guest.Stage
		want string
	}{
		{map[string]string{"builtins": "entrypoints"}, guest.StageInstantiate, "internal server error: Missing Rego builtins: policy/main"},
		{map[string]string{"entrypoints": "opa_heap_ptr_get"}, guest.StageInstantiate, "internal server error: entrypoints: "},
		{map[string]string{"opa_json_dump": "opa_malloc"}, guest.StageInstantiate, "internal server error: builtins: unexpected end of JSON input"},
		{map[string]string{"opa_malloc": "opa_heap_ptr_get"}, guest.StageInstantiate, engine + "data: expected 0 params, but passed 1"},
		{map[string]string{"opa_json_parse": "opa_strlen"}, guest.StageInstantiate, ""},
		{map[string]string{"opa_malloc": "memory"}, "", "it does not export opa_malloc, as modules built with `opa build -t wasm` do"},
		{map[string]string{"eval": "opa_malloc"}, guest.StageDecode, "internal server error: result: "},
		{map[string]string{"eval": "opa_heap_ptr_set"}, guest.StageDecode, "internal server error: result: "},
		{map[string]string{"opa_value_dump": "opa_json_parse"}, guest.StageCall, engine},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.lies), func(t *testing.T) {
			var err error
			m, err := compiled(t, lying(t, build(t, misbehaves), tt.lies))
			if err == nil {
				var p *Program
				if p, err = m.NewProgram(bounded(t), Options{Flavour: OPA}); err == nil {
					defer p.Close()
					_, err = p.Evaluate(bounded(t), do("paths"))
				}
			}
			f := (*Failure)(nil)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || tt.at != "" && (!errors.As(err, &f) || f.At != tt.at) {
				t.Errorf("error %#v %v, want one at %s: %s", err, err, tt.at, tt.want)
			}
		})
	}
}

func TestAModuleWithoutItsEntrypoint(t *testing.T) {
	m, err := compiled(t, lying(t, build(t, answers), map[string]string{"entrypoints": "builtins"}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.NewProgram(bounded(t), Options{Flavour: OPA})
	const want = "internal server error: Rego wasm error: Cannot find the specified entrypoint 0 inside of {}"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestMissingBuiltins(t *testing.T) {
	tests := []struct {
		table map[string]uint32
		want  string
	}{
		{map[string]uint32{"sprintf": 0, "z.unknown": 1, "a.unknown": 2}, "Missing Rego builtins: a.unknown, z.unknown"},
		{map[string]uint32{"http.send": 0, "no.such": 1, "opa.runtime": 2},
			"Missing Rego builtins: http.send, no.such, opa.runtime (a policy may not use http.send, opa.runtime: it has neither network nor environment)"},
		{map[string]uint32{"sprintf": 0, "trace": 0}, "builtins: two names have the same number"},
	}
	for _, tt := range tests {
		if _, err := builtinsOf(tt.table); err == nil || err.Error() != tt.want {
			t.Errorf("%v: error %v, want %s", tt.table, err, tt.want)
		}
	}
	m := load(t, source{OPA, `main := http.send({"method": "get", "url": input.request.object})`})
	_, err := m.NewProgram(t.Context(), Options{Flavour: OPA})
	const want = "internal server error: Missing Rego builtins: http.send (a policy may not use http.send: it has neither network nor environment)"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestBuiltinsAreCalledInAnEvaluationOnly(t *testing.T) {
	p := program(t, misbehaves, Options{})
	i, err := p.instantiate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.in.Close()
	if _, err := i.answer(3, nil); err == nil || err.Error() != "built-in 3 is called outside of an evaluation" {
		t.Errorf("error %v before an evaluation", err)
	}
	i.evaluation = &evaluation{ctx: t.Context(), builtins: p.builtins}
	if _, err := i.answer(9999, nil); err == nil || err.Error() != "no built-in has the number 9999" {
		t.Errorf("error %v for an unknown number", err)
	}
	i.nested = true
	if _, err := i.answer(0, nil); err == nil || err.Error() != "built-in 0 is called outside of an evaluation" {
		t.Errorf("error %v inside of another built-in", err)
	}
}

// run runs a built-in that is not OPA's.
func run(t *testing.T, e *evaluation, call topdown.BuiltinFunc) error {
	t.Helper()
	value, err := e.run(builtin{"test", call}, nil)
	if value != nil {
		t.Errorf("value %v", value)
	}
	return err
}

func TestABuiltinThatPanicsOrHaltsGivesNoVerdict(t *testing.T) {
	e := &evaluation{ctx: t.Context(), log: slog.New(slog.DiscardHandler), strays: new(atomic.Int32)}
	for want, call := range map[string]topdown.BuiltinFunc{
		"test: panic: oh": func(topdown.BuiltinContext, []*ast.Term, func(*ast.Term) error) error { panic("oh") },
		"test: that is it": func(topdown.BuiltinContext, []*ast.Term, func(*ast.Term) error) error {
			return topdown.Halt{Err: errors.New("that is it")}
		},
		"<nil>": func(topdown.BuiltinContext, []*ast.Term, func(*ast.Term) error) error { return errors.New("undefined") },
	} {
		if err := run(t, e, call); fmt.Sprint(err) != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestBuiltinsThatDoNotStopAreFew(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	strays := new(atomic.Int32)
	release := make(chan struct{})
	stuck := func(topdown.BuiltinContext, []*ast.Term, func(*ast.Term) error) error {
		<-release
		return nil
	}
	for range maxStrays {
		e := &evaluation{ctx: ctx, log: slog.New(slog.DiscardHandler), strays: strays}
		if err := run(t, e, stuck); !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v, want the context's", err)
		}
	}
	e := &evaluation{ctx: t.Context(), log: slog.New(slog.DiscardHandler), strays: strays}
	const want = "test: 4 built-ins of earlier requests have not stopped at their deadline"
	if err := run(t, e, stuck); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	close(release)
	for strays.Load() > 0 {
		goruntime.Gosched()
	}
	if err := run(t, e, stuck); err != nil {
		t.Errorf("afterwards error %v", err)
	}
}

// The cancel that OPA's built-ins look at is that of the request.
func TestCancellationReachesTheBuiltin(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := &evaluation{ctx: ctx, log: slog.New(slog.DiscardHandler), strays: new(atomic.Int32)}
	defer e.end()
	bctx := e.builtinContext()
	cancel()
	for !bctx.Cancel.Cancelled() {
		goruntime.Gosched()
	}
	if bctx.Context.Err() == nil {
		t.Error("the context is not the request's")
	}
	if again := e.builtinContext(); again.Time != bctx.Time {
		t.Error("time passes within an evaluation")
	}
}

func TestASchemaCannotReadFilesOrTheNetwork(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret.json")
	if err := os.WriteFile(file, []byte(`{"type":"string"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := source{OPA, `main := {
	"match": [x | x := json.match_schema("text", input.request)],
	"verify": [x | x := json.verify_schema(input.request)[0]],
	"text": [x | x := json.match_schema("text", json.marshal(input.request))],
}`}
	p := program(t, s, Options{})
	interpreted := interpret(t, s, map[string]any{})
	asked := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked = true
		_, _ = w.Write([]byte(`{"type":"string"}`)) // it is not to be asked at all
	}))
	defer server.Close()
	const nothing, refused = `[{"result":{"match":[],"verify":[],"text":[]}}]`, `[{"result":{"match":[],"verify":[false],"text":[]}}]`
	for schema, want := range map[string]string{
		`{"$ref":"file://` + file + `"}`:                                   nothing,
		`{"$ref":"FILE:/` + file + `"}`:                                    nothing,
		`{"$id":"file:///","properties":{"a":{"$ref":"` + file + `#/x"}}}`: nothing,
		`{"$schema":"file://` + file + `"}`:                                nothing,
		`{"$ref":"` + server.URL + `"}`:                                    refused,
	} {
		input, err := OPA.input(&sdk.Request{Raw: json.RawMessage(schema)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.ask(bounded(t), input)
		if err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(interpreted.normal(t, got), interpreted.normal(t, []byte(want))) {
			t.Errorf("%s: %s, want %s", schema, got, want)
		}
	}
	if asked {
		t.Error("a schema was fetched from the network")
	}
}

// lines collects a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(text)
}

func TestWhatAPolicySaysIsLogged(t *testing.T) {
	l := &lines{}
	log := slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})).With("policy", "p")
	s := source{OPA, `
main := {"response": {"uid": "", "allowed": true}} if {
	print("I see", input.request.object.x, input.nothing, {1})
	trace("a trace")
	y := [z | z := hex.decode("zz")]
	abort
}

default abort := true

abort := x if {
	some x in input.request.object.list
}`}
	p := program(t, s, Options{Log: log})
	if _, err := p.Evaluate(bounded(t), request(`{"x":"you"}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Evaluate(bounded(t), request(`{"list":[1,2]}`)); err == nil {
		t.Fatal("a conflict is no error")
	}
	for _, want := range []string{
		`level=INFO msg="policy says" policy=p text="I see you <undefined> {1}"`,
		`level=DEBUG msg="policy traces" policy=p text="a trace"`,
		`level=DEBUG msg="built-in is undefined" policy=p builtin=hex.decode err=`,
		`level=INFO msg="policy aborts" policy=p text="policy.rego:`,
	} {
		if !strings.Contains(l.buf.String(), want) {
			t.Errorf("no line %s in\n%s", want, l.buf.String())
		}
	}
}

// Whatever functions a module has under the names of the ABI, it is refused or
// gives a verdict or none, in its time, and the process lives on.
func FuzzModulesThatLie(f *testing.F) {
	binary := build(f, misbehaves)
	names := append(exports(), "opa_value_dump", "opa_value_parse")
	for n := range names {
		f.Add(byte(n), byte(n+1), byte(0), byte(0))
		f.Add(byte(n), byte(n+3), byte(n+1), byte(n))
	}
	c, err := guest.NewCompiler(guest.Options{MemoryLimit: 8 << 20, OutputLimit: 64 << 10})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	f.Fuzz(func(t *testing.T, name, as, name2, as2 byte) {
		pick := func(b byte) string { return names[int(b)%len(names)] }
		m, err := Compile(t.Context(), c, lying(t, binary, map[string]string{pick(name): pick(as), pick(name2): pick(as2)}))
		if err != nil {
			return
		}
		defer m.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		p, err := m.NewProgram(ctx, Options{Flavour: OPA})
		if err != nil {
			return
		}
		defer p.Close()
		for _, what := range []string{"nothing", "memory", "nothing"} {
			_, err = p.Evaluate(ctx, do(what))
			if fail := (*Failure)(nil); err != nil && !errors.As(err, &fail) {
				t.Errorf("error %#v, want a failure", err)
			}
		}
	})
}
