package rego

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/compile"

	"github.com/warder-dev/warder/runtime/internal/guest"
	"github.com/warder-dev/warder/sdk"
)

// cacheVariable names the folder of compiled code that all tests share.
const cacheVariable = "WARDER_TEST_CACHE"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "warder-rego-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system cleans up after us
	if err := os.Setenv(cacheVariable, dir); err != nil {
		panic(err)
	}
	m.Run()
}

// source is a policy as its author writes it.
type source struct {
	flavour Flavour
	text    string // of package policy
}

// entrypoint is what the flavour is built with by convention.
func (s source) entrypoint() string {
	if s.flavour == Gatekeeper {
		return "policy/violation"
	}
	return "policy/main"
}

// build compiles a policy with OPA's own compiler, once for all tests.
func build(t testing.TB, s source) []byte {
	t.Helper()
	file := filepath.Join(os.Getenv(cacheVariable), fmt.Sprintf("%x.wasm", sha256.Sum256([]byte(string(s.flavour)+s.text))))
	if wasm, err := os.ReadFile(file); err == nil {
		return wasm
	}
	text := "package policy\n" + s.text
	parsed, err := ast.ParseModuleWithOpts("policy.rego", text, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		t.Fatal(err)
	}
	c := compile.New().WithTarget(compile.TargetWasm).WithEntrypoints(s.entrypoint()).
		WithEnablePrintStatements(true).
		WithBundle(&bundle.Bundle{
			Data: map[string]any{},
			Modules: []bundle.ModuleFile{{
				URL: "/policy.rego", Path: "/policy.rego", Raw: []byte(text), Parsed: parsed,
			}},
		})
	if err := c.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	wasm := c.Bundle().WasmModules[0].Raw
	if err := os.WriteFile(file, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	return wasm
}

// compiled compiles a module. 1 MiB of output and 32 MiB of memory are the
// bounds.
func compiled(t testing.TB, wasm []byte) (*Module, error) {
	t.Helper()
	c, err := guest.NewCompiler(guest.Options{
		CacheDir: os.Getenv(cacheVariable), MemoryLimit: 32 << 20, OutputLimit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	m, err := Compile(t.Context(), c, wasm)
	if err == nil {
		t.Cleanup(func() { m.Close() })
	}
	return m, err
}

// load builds and compiles a policy.
func load(t testing.TB, s source) *Module {
	t.Helper()
	m, err := compiled(t, build(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// program makes a program of a policy.
func program(t testing.TB, s source, opts Options) *Program {
	t.Helper()
	opts.Flavour = s.flavour
	p, err := load(t, s).NewProgram(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if mode, why := p.Isolation(); opts.Isolation == "" && mode != guest.Snapshot {
		t.Errorf("isolation %s: %s", mode, why)
	}
	return p
}

// isolations are both ways to keep requests apart.
func isolations() []guest.Isolation { return []guest.Isolation{guest.Snapshot, guest.Fresh} }

// isolated is options with an isolation.
func isolated(i guest.Isolation) Options {
	return Options{ProgramOptions: guest.ProgramOptions{Isolation: i}}
}

// bounded is a context that ends soon enough to notice a test that hangs.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// request is a creation of an object.
func request(object string) *sdk.Request {
	return &sdk.Request{UID: "u1", Operation: sdk.Create, Name: "web", Namespace: "prod",
		Kind: sdk.GroupVersionKind{Version: "v1", Kind: "Pod"}, Object: json.RawMessage(object)}
}

// privileged is a policy in Gatekeeper's style, as in its library.
var privileged = source{Gatekeeper, `
violation contains {"msg": msg, "details": {}} if {
	some c in input.review.object.spec.containers
	c.securityContext.privileged
	not exempt(c.image)
	msg := sprintf("Privileged container is not allowed: %v, securityContext: %v", [c.name, c.securityContext])
}

exempt(image) if {
	some prefix in input.parameters.exemptImages
	startswith(image, prefix)
}`}

// answers is a policy in OPA's style whose object says what to answer.
var answers = source{OPA, `main := {"response": input.request.object.answer}`}

const twoPrivileged = `{"spec":{"containers":[{"name":"a","image":"x/a","securityContext":{"privileged":true}},
	{"name":"b","image":"y/b","securityContext":{"privileged":true}},{"name":"c","image":"c"}]}}`

func TestGatekeeperVerdicts(t *testing.T) {
	const one = "Privileged container is not allowed: %s, securityContext: {\"privileged\": true}"
	tests := []struct{ name, settings, object, want string }{
		{"no violation is accepted", ``, `{"spec":{"containers":[{"name":"c"}]}}`, ""},
		{"violations are joined", ``, twoPrivileged, fmt.Sprintf(one+", "+one, "a", "b")},
		{"settings are the parameters", `{"exemptImages":["x/"]}`, twoPrivileged, fmt.Sprintf(one, "b")},
	}
	for _, isolation := range isolations() {
		for _, tt := range tests {
			opts := isolated(isolation)
			opts.Settings = json.RawMessage(tt.settings)
			p := program(t, privileged, opts)
			v, err := p.Evaluate(bounded(t), request(tt.object))
			if want := (sdk.Verdict{Accepted: tt.want == "", Message: tt.want}); err != nil || !sameMessages(v, want) {
				t.Errorf("%s, %s: %+v, error %v; want %+v", tt.name, isolation, v, err, want)
			}
		}
	}
}

// sameMessages compares verdicts whose violations may come in any order.
func sameMessages(a, b sdk.Verdict) bool {
	split := func(v sdk.Verdict) map[string]int {
		all := map[string]int{}
		for m := range strings.SplitSeq(v.Message, ", Priv") {
			all[strings.TrimPrefix(m, "Priv")]++
		}
		return all
	}
	return a.Accepted == b.Accepted && cmp.Equal(split(a), split(b))
}

func TestGatekeeperRefusesRawRequests(t *testing.T) {
	p := program(t, privileged, Options{})
	_, err := p.Evaluate(bounded(t), &sdk.Request{UID: "u1", Raw: json.RawMessage(`{"a":1}`)})
	const want = "internal server error: Gatekeeper does not support raw validation requests"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// What Gatekeeper's policies may say, well or not. Nothing that does not decode
// lets a request through.
func TestGatekeeperResults(t *testing.T) {
	const prefix = "cannot interpret Gatekeeper policy result: "
	tests := []struct {
		result, err string
		want        sdk.Verdict
	}{
		{`[{"result":[]}]`, "", sdk.Verdict{Accepted: true}},
		{`[{"result":[{"msg":"a"},{"msg":"b"}]}]`, "", sdk.Verdict{Message: "a, b"}},
		{`[{"result":[{"msg":"a"},{},{"msg":null},{"msg":"d","details":{"x":1}}]}]`, "", sdk.Verdict{Message: "a, d"}},
		{`[{"result":[{}]}]`, "", sdk.Verdict{}},
		{`[]`, prefix + "the entrypoint is undefined", sdk.Verdict{}},
		{`[{}]`, prefix + "the entrypoint is undefined", sdk.Verdict{}},
		{`[{"Result":[]}]`, prefix + "the entrypoint is undefined", sdk.Verdict{}},
		{`[{"result":null}]`, prefix + "it is not a list of violations", sdk.Verdict{}},
		{`[{"result":false}]`, prefix + "it is not a list of violations", sdk.Verdict{}},
		{`[{"result":{}}]`, prefix + "it is not a list of violations", sdk.Verdict{}},
		{`[{"result":["a"]}]`, prefix + "violation 0 is not an object", sdk.Verdict{}},
		{`[{"result":[{"msg":"a"},null]}]`, prefix + "violation 1 is not an object", sdk.Verdict{}},
		{`[{"result":[{"msg":1}]}]`, prefix + "violation 0: msg is not a string", sdk.Verdict{}},
		{`{"result":[]}`, "result: json: cannot unmarshal object into Go value of type []json.RawMessage", sdk.Verdict{}},
		{`]`, "result: invalid character ']' looking for beginning of value", sdk.Verdict{}},
		{``, "result: unexpected end of JSON input", sdk.Verdict{}},
	}
	for _, tt := range tests {
		v, err := Gatekeeper.verdict(request(`{}`), []byte(tt.result))
		if text := fmt.Sprint(err); err != nil && text != tt.err || err == nil && (tt.err != "" || !cmp.Equal(v, tt.want)) {
			t.Errorf("%s: %+v, error %v; want %+v, %s", tt.result, v, err, tt.want, tt.err)
		}
	}
}

func TestOPAVerdicts(t *testing.T) {
	// [{"op":"replace","path":"/answer","value":2}]
	const patch = "W3sib3AiOiJyZXBsYWNlIiwicGF0aCI6Ii9hbnN3ZXIiLCJ2YWx1ZSI6Mn1d"
	tests := []struct {
		name, answer, err string
		want              sdk.Verdict
	}{
		{"allowed", `{"uid":"","allowed":true}`, "", sdk.Verdict{Accepted: true}},
		{"a message and a code", `{"uid":"x","allowed":false,"status":{"message":"no <b>","code":403,"reason":"r"}}`, "",
			sdk.Verdict{Message: "no <b>", Code: 403}},
		{"warnings and annotations", `{"uid":"x","allowed":true,"warnings":["w"],"auditAnnotations":{"k":"v"}}`, "",
			sdk.Verdict{Accepted: true, Warnings: []string{"w"}, AuditAnnotations: map[string]string{"k": "v"}}},
		{"null is as good as nothing", `{"uid":"x","allowed":true,"status":null,"patch":null,"patchType":null,"warnings":null,"auditAnnotations":null}`, "",
			sdk.Verdict{Accepted: true}},
		{"a patch", `{"uid":"x","allowed":true,"patchType":"JSONPatch","patch":"` + patch + `"}`, "",
			sdk.Verdict{Accepted: true, MutatedObject: json.RawMessage(`{"answer":2}`)}},
		{"an empty patch", `{"uid":"x","allowed":true,"patchType":"JSONPatch","patch":"W10="}`, "", sdk.Verdict{Accepted: true}},
		{"no uid", `{"allowed":true}`, "missing field `uid`", sdk.Verdict{}},
		{"a uid of null", `{"uid":null,"allowed":true}`, "missing field `uid`", sdk.Verdict{}},
		{"a uid that is none", `{"uid":1,"allowed":true}`, "uid: json: cannot unmarshal number into Go value of type string", sdk.Verdict{}},
		{"nothing of allowed", `{"uid":"x"}`, "missing field `allowed`", sdk.Verdict{}},
		{"names are exact", `{"uid":"x","Allowed":true}`, "missing field `allowed`", sdk.Verdict{}},
		{"no response object", `7`, "invalid type of the response, expected an AdmissionResponse", sdk.Verdict{}},
		{"a code that is none", `{"uid":"x","allowed":false,"status":{"code":70000}}`, "code: json: cannot unmarshal number 70000 into Go value of type uint16", sdk.Verdict{}},
		{"a status that is none", `{"uid":"x","allowed":false,"status":"no"}`, "status: it is not an object", sdk.Verdict{}},
		{"a patch in another encoding", `{"uid":"x","allowed":true,"patchType":"JSONPatch","patch":"%"}`, "patch: illegal base64 data at input byte 0", sdk.Verdict{}},
		{"a patch that is none", `{"uid":"x","allowed":true,"patchType":"JSONPatch","patch":"e30="}`, "patch: json: cannot unmarshal", sdk.Verdict{}},
		{"a patch that does not apply", `{"uid":"x","allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJyZW1vdmUiLCJwYXRoIjoiL3gifV0="}`,
			"patch: error in remove for path: '/x': unable to remove nonexistent key: x: missing value", sdk.Verdict{}},
		{"a patch without a type", `{"uid":"x","allowed":true,"patch":"W10="}`, "a patch without patchType", sdk.Verdict{}},
		{"a patch of another type", `{"uid":"x","allowed":true,"patch":"W10=","patchType":"Merge"}`,
			"patchType: unknown variant `Merge`, expected `JSONPatch`", sdk.Verdict{}},
	}
	for _, isolation := range isolations() {
		p := program(t, answers, isolated(isolation))
		for _, tt := range tests {
			v, err := p.Evaluate(bounded(t), request(`{"answer":`+tt.answer+`}`))
			f := (*Failure)(nil)
			switch {
			case tt.err == "" && (err != nil || !cmp.Equal(v, tt.want)):
				t.Errorf("%s, %s: %+v, error %v; want %+v", tt.name, isolation, v, err, tt.want)
			case tt.err != "" && (!errors.As(err, &f) || f.At != guest.StageDecode || !strings.HasPrefix(f.Text, "internal server error: "+tt.err)):
				t.Errorf("%s, %s: %+v, error %v; want one: %s", tt.name, isolation, v, err, tt.err)
			}
		}
		_, err := p.Evaluate(bounded(t), request(`{}`))
		if want := "internal server error: cannot interpret OPA policy result"; err == nil || err.Error() != want {
			t.Errorf("undefined: error %v, want %s", err, want)
		}
	}
}

func TestOPAPatchOfARawRequestAndOfNone(t *testing.T) {
	p := program(t, source{OPA, `
main := {"response": {"uid": "", "allowed": true, "patchType": "JSONPatch", "patch": base64.encode(json.marshal(patch))}}
patch := [{"op": "test", "path": "", "value": input.request}, {"op": "copy", "from": "/a", "path": "/b"}]`}, Options{})
	v, err := p.Evaluate(bounded(t), &sdk.Request{UID: "u1", Raw: json.RawMessage(`{"a":1e2}`)})
	if err != nil || string(v.MutatedObject) != `{"a":1e2,"b":1e2}` {
		t.Errorf("%s, error %v; want the copy", v.MutatedObject, err)
	}
	v, err = p.Evaluate(bounded(t), &sdk.Request{UID: "u1", Operation: sdk.Delete})
	if err != nil || string(v.MutatedObject) != `{}` {
		t.Errorf("%s, error %v; want something for the host to refuse", v.MutatedObject, err)
	}
}

func TestOPASeesSettingsAndRawRequests(t *testing.T) {
	s := source{OPA, `
main := {"response": {"uid": input.request.id, "allowed": data.limit >= input.request.n}}`}
	for _, isolation := range isolations() {
		opts := isolated(isolation)
		opts.Settings = json.RawMessage(`{"limit":9007199254740993}`)
		p := program(t, s, opts)
		for n, want := range map[string]bool{"9007199254740993": true, "9007199254740994": false} {
			v, err := p.Evaluate(bounded(t), &sdk.Request{UID: "u1", Raw: json.RawMessage(`{"id":"r","n":` + n + `}`)})
			if err != nil || v.Accepted != want {
				t.Errorf("%s: %s: %+v, error %v; want %t", isolation, n, v, err, want)
			}
		}
	}
	m := load(t, s)
	for _, settings := range []string{`[]`, `{`, `1`} {
		_, err := m.NewProgram(t.Context(), Options{Flavour: OPA, ProgramOptions: guest.ProgramOptions{Settings: json.RawMessage(settings)}})
		if bad := (*guest.SettingsError)(nil); !errors.As(err, &bad) {
			t.Errorf("settings %s: error %v, want one about them", settings, err)
		}
	}
	p := program(t, s, Options{ProgramOptions: guest.ProgramOptions{Settings: json.RawMessage(` null`)}})
	if v, err := p.Evaluate(bounded(t), request(`{}`)); err == nil {
		t.Errorf("%+v without settings, want it undefined", v)
	}
}
