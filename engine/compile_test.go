package engine

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime"
)

// testModule is a WebAssembly module with functions that take nothing, give
// nothing and do nothing.
type testModule struct {
	exports  []string // of its one function
	imports  []string // "module.name"
	memory   bool
	loop     bool   // the function never returns
	metadata string // "" for none
}

// encode writes the module in the binary format. Source: the WebAssembly core
// specification, chapter 5.
func (m testModule) encode() []byte {
	const typeSection, importSection, functionSection, memorySection, exportSection, codeSection = 1, 2, 3, 5, 7, 10
	wasm := []byte("\x00asm\x01\x00\x00\x00")
	if m.metadata != "" {
		wasm = section(wasm, 0, append(wasmName(nil, runtimeMetadata), m.metadata...))
	}
	wasm = section(wasm, typeSection, []byte{1, 0x60, 0, 0})
	imports := binary.AppendUvarint(nil, uint64(len(m.imports)))
	for _, path := range m.imports {
		from, name, _ := strings.Cut(path, ".")
		imports = append(wasmName(wasmName(imports, from), name), 0, 0)
	}
	wasm = section(wasm, importSection, imports)
	wasm = section(wasm, functionSection, []byte{1, 0})
	exports := binary.AppendUvarint(nil, uint64(len(m.exports)))
	if m.memory {
		wasm = section(wasm, memorySection, []byte{1, 0, 1})
		exports[0]++
		exports = append(wasmName(exports, "memory"), 2, 0)
	}
	for _, name := range m.exports {
		exports = append(wasmName(exports, name), 0, byte(len(m.imports)))
	}
	wasm = section(wasm, exportSection, exports)
	body := []byte{0, 0x0b}
	if m.loop {
		body = []byte{0, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b}
	}
	return section(wasm, codeSection, append([]byte{1, byte(len(body))}, body...))
}

// runtimeMetadata is the name of the section in which Kubewarden's tools write
// what a policy is.
const runtimeMetadata = "io.kubewarden.metadata"

func section(wasm []byte, id byte, content []byte) []byte {
	return append(binary.AppendUvarint(append(wasm, id), uint64(len(content))), content...)
}

func wasmName(wasm []byte, name string) []byte {
	return append(binary.AppendUvarint(wasm, uint64(len(name))), name...)
}

func writeFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeModule(t testing.TB, m testModule) string {
	t.Helper()
	return writeFile(t, "policy.wasm", m.encode())
}

func TestWhyAModuleDoesNotLoad(t *testing.T) {
	const protocolMissing = "Policy is missing protocol version, which is required for KubewardenWapc execution mode"
	component := []byte("\x00asm\x0d\x00\x01\x00")
	good := testModule{exports: []string{"_start"}, memory: true}.encode()
	tests := []struct {
		name  string
		wasm  []byte
		stage LoadStage
		want  string // %s is the module's URI
	}{
		{"empty", nil, StageCompile, `not a WebAssembly module: it does not start with \0asm`},
		{"text", []byte("apiVersion: v1"), StageCompile, `not a WebAssembly module: it does not start with \0asm`},
		{"component", component, StageCompile, "a WebAssembly component, not a core module: build the policy for wasm32-wasip1"},
		{"truncated", good[:len(good)-3], StageCompile, "sections: offset 49: unexpected end"},
		{"header alone", good[:8], StageCompile, notAPolicy},
		{
			"unknown function of a known module",
			testModule{exports: []string{"_start"}, memory: true, imports: []string{"host.shout"}}.encode(), StageCompile,
			`it imports host.shout: host module "host" has no such function`,
		},
		{
			"unknown module",
			testModule{exports: []string{"__guest_call"}, memory: true, imports: []string{"env.abort"}}.encode(), StageCompile,
			`it imports env.abort: there is no host module "env"`,
		},
		{
			"Rego",
			testModule{exports: []string{"opa_eval_ctx_new"}, memory: true}.encode(), StageCompile,
			`execution mode "opa": this version of warder does not run Rego`,
		},
		{
			"Rego by its metadata",
			testModule{exports: []string{"eval"}, memory: true, metadata: `{"executionMode":"gatekeeper"}`}.encode(), StageCompile,
			`execution mode "gatekeeper": this version of warder does not run Rego`,
		},
		{
			"unknown execution mode",
			testModule{exports: []string{"_start"}, memory: true, metadata: `{"executionMode":"python"}`}.encode(), StageCompile,
			`execution mode "python": want kubewarden-wapc or wasi`,
		},
		{
			"no protocol version",
			testModule{exports: []string{"__guest_call"}, memory: true, metadata: `{"rules":[]}`}.encode(), StageCompile, protocolMissing,
		},
		{
			"protocol version null",
			testModule{exports: []string{"__guest_call"}, memory: true, metadata: `{"protocolVersion":null}`}.encode(), StageCompile, protocolMissing,
		},
		{
			"another protocol version",
			testModule{exports: []string{"__guest_call"}, memory: true, metadata: `{"protocolVersion":"v2"}`}.encode(), StageCompile,
			"Policy uses protocol version v2 but only V1 is supported",
		},
		{
			"metadata that is not JSON",
			testModule{exports: []string{"_start"}, memory: true, metadata: `{"executionMode"`}.encode(), StageCompile,
			"cannot deserialize custom section `io.kubewarden.metadata` of wasm module: unexpected end of JSON input",
		},
		{
			"a reactor without the tag wapc",
			testModule{exports: []string{"_initialize"}, memory: true}.encode(), StageCompile, notAPolicy,
		},
		{
			"a command that is said to be a waPC guest",
			testModule{exports: []string{"_start"}, memory: true, metadata: `{"protocolVersion":"v1"}`}.encode(), StageCompile,
			"Guest call function (__guest_call) not exported by wasm module.",
		},
		{
			"a waPC guest that is said to be a command",
			testModule{exports: []string{"__guest_call"}, memory: true, metadata: `{"executionMode":"wasi"}`}.encode(), StageCompile,
			"cannot find `_start` function inside of module: a WASI policy is a command",
		},
		{
			"no memory",
			testModule{exports: []string{"_start"}}.encode(), StageCompile,
			"internal server error: instantiate: the module has no memory of its own",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEngine(t, Options{})
			uri := "file://" + writeFile(t, "policy.wasm", tt.wasm)
			checkLoadError(t, e, uri, &LoadError{At: tt.stage, Err: textError(`module "` + uri + `": ` + tt.want)})
			if n := len(e.modules.byDigest); n != 0 {
				t.Errorf("%d modules are held although none was loaded", n)
			}
		})
	}
}

const notAPolicy = "neither a waPC guest (it does not export __guest_call) nor a WASI command (it does not export _start); " +
	"a Go policy built with -buildmode=c-shared needs -tags wapc"

type textError string

func (e textError) Error() string { return string(e) }

// checkLoadError loads a policy of that module, which is to fail.
func checkLoadError(t *testing.T, e *Engine, uri string, want *LoadError) {
	t.Helper()
	want.Policy = "p"
	err := e.Load(t.Context(), policy.Policy{ID: "p", Module: uri, FailurePolicy: policy.Fail})
	if err == nil || err.Error() != want.Error() {
		t.Errorf("Load = %v\nwant   %v", err, want)
	}
}

func TestWhyAModuleIsNotFound(t *testing.T) {
	large := writeFile(t, "large.wasm", nil)
	if err := os.Truncate(large, maxModuleBytes+1); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing.wasm")
	folder := t.TempDir()
	const names = "capabilities-psp, container-resources, host-namespaces-psp, pod-privileged, safe-labels, trusted-repos"
	tests := []struct{ uri, want string }{
		{"builtin://pod-priviledged", "no built-in policy has this name; did you mean pod-privileged?"},
		{"builtin://x", "no built-in policy has this name; there are " + names},
		{"builtin://", "no built-in policy has this name; there are " + names},
		{"file://" + missing, "stat " + missing + ": no such file or directory"},
		{"file://" + folder, "read " + folder + ": is a directory"},
		{"file://" + large, "268435457 bytes are more than the 268435456 that a module may have"},
	}
	for _, tt := range tests {
		t.Run(tt.uri, func(t *testing.T) {
			checkLoadError(t, newEngine(t, Options{}), tt.uri,
				&LoadError{At: StageFetch, Err: textError(`module "` + tt.uri + `": ` + tt.want)})
		})
	}
	for _, uri := range []string{"registry://ghcr.io/kubewarden/policies/psp:v1", "https://example.com/p.wasm", ""} {
		checkLoadError(t, newEngine(t, Options{}), uri, &LoadError{At: StageFetch, Err: textError(
			"Error while downloading policy 'p' from " + uri + ": nothing is fetched here but builtin:// and file:// modules")})
	}
}

func TestWrongGrantsAreRefused(t *testing.T) {
	wrong := builtinPolicy("p", "pod-privileged", "")
	wrong.HostCapabilities = []string{"oci/*", "net/v2/*"}
	const want = `policy "p": settings: hostCapabilities: invalid pattern "net/v2/*": unknown segment "v2", ` +
		`valid options at this level are: v1`
	if err := newEngine(t, Options{}).Load(t.Context(), wrong); err == nil || err.Error() != want {
		t.Errorf("Load = %v\nwant   %s", err, want)
	}
}

func TestTheExecutionModeIsWhatTheModuleSays(t *testing.T) {
	tests := []struct {
		name     string
		exports  []string
		metadata string
		want     string
	}{
		{"waPC by its exports", []string{"__guest_call", "_start"}, "", wapcRuntime},
		{"WASI by its exports", []string{"_start"}, "", wasiRuntime},
		{"waPC by default where there is metadata", []string{"_start"}, `{"protocolVersion":"v1"}`, wapcRuntime},
		{"waPC by its metadata", nil, `{"executionMode":"kubewarden-wapc","protocolVersion":"v1"}`, wapcRuntime},
		{"WASI by its metadata, whatever it exports", []string{"__guest_call"}, `{"executionMode":"wasi"}`, wasiRuntime},
		{"WASI of an unknown protocol", nil, `{"executionMode":"wasi","protocolVersion":"Unknown"}`, wasiRuntime},
	}
	for _, tt := range tests {
		layout := runtime.Layout{Exports: tt.exports}
		if tt.metadata != "" {
			layout.Metadata = []byte(tt.metadata)
		}
		if have, err := executionMode(layout); have != tt.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", tt.name, have, err, tt.want)
		}
	}
}

// FuzzMetadata reads what a stranger has written into a module's metadata: it
// gives a runtime that there is, or an error, and it never takes a waPC guest
// of another protocol than ours.
func FuzzMetadata(f *testing.F) {
	for _, seed := range []string{
		`{"executionMode":"wasi"}`, `{"protocolVersion":"v1"}`, `{"executionMode":"opa"}`, `{"executionMode":7}`,
		`{"executionMode":null,"protocolVersion":"v2"}`, `null`, `[]`, `{`, ``, `{"EXECUTIONMODE":"wasi","executionMode":"x"}`,
	} {
		f.Add([]byte(seed), "__guest_call")
		f.Add([]byte(seed), "_start")
	}
	f.Fuzz(func(t *testing.T, text []byte, export string) {
		mode, err := executionMode(runtime.Layout{Metadata: text, Exports: []string{export}})
		switch {
		case (mode == "") == (err == nil):
			t.Errorf("executionMode(%q, %q) = %q, %v, want one of the two", text, export, mode, err)
		case err == nil && mode != wasiRuntime && mode != wapcRuntime:
			t.Errorf("executionMode(%q, %q) = %q, which is no runtime", text, export, mode)
		}
		var m metadata
		if text != nil && json.Unmarshal(text, &m) != nil && err == nil {
			t.Errorf("executionMode(%q, %q) = %q, want an error: it is not JSON", text, export, mode)
		}
		if mode == wapcRuntime && text != nil && (m.ProtocolVersion == nil || *m.ProtocolVersion != "v1") {
			t.Errorf("executionMode(%q, %q) takes a guest of another protocol", text, export)
		}
	})
}
