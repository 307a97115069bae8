package engine

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/policy"
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
			"The policy has been created with Rego, please specify which Opa runtime has to be used: " +
				"annotate the module with executionMode: opa or gatekeeper in its metadata",
		},
		{
			"Rego by its metadata",
			testModule{exports: []string{"eval"}, memory: true, metadata: `{"rules":[],"mutating":false,"executionMode":"gatekeeper"}`}.encode(), StageCompile,
			"it does not export builtins, as modules built with `opa build -t wasm` do",
		},
		{
			"CEL compiled to Wasm, by its metadata",
			testModule{exports: []string{"evaluate"}, memory: true, metadata: `{"rules":[],"mutating":false,"executionMode":"ferricel"}`}.encode(), StageCompile,
			artifact.ErrCompiledCEL.Error(),
		},
		{
			"CEL compiled to Wasm, by its exports",
			testModule{exports: []string{"cel_malloc", "evaluate"}, memory: true}.encode(), StageCompile,
			artifact.ErrCompiledCEL.Error(),
		},
		{
			"unknown execution mode",
			testModule{exports: []string{"_start"}, memory: true, metadata: `{"rules":[],"mutating":false,"executionMode":"python"}`}.encode(), StageCompile,
			"cannot deserialize custom section `io.kubewarden.metadata` of wasm module: executionMode: unknown variant `python`, " +
				"expected one of `kubewarden-wapc`, `opa`, `gatekeeper`, `wasi`, `ferricel`",
		},
		{
			"no protocol version",
			testModule{exports: []string{"__guest_call"}, memory: true, metadata: `{"rules":[],"mutating":false}`}.encode(), StageCompile, protocolMissing,
		},
		{
			"protocol version null",
			testModule{exports: []string{"__guest_call"}, memory: true, metadata: `{"rules":[],"mutating":false,"protocolVersion":null}`}.encode(), StageCompile, protocolMissing,
		},
		{
			"another protocol version",
			testModule{exports: []string{"__guest_call"}, memory: true, metadata: `{"rules":[],"mutating":false,"protocolVersion":"Unknown"}`}.encode(), StageCompile,
			"Policy uses protocol version Unknown but only V1 is supported",
		},
		{
			"a protocol version that there is not",
			testModule{exports: []string{"__guest_call"}, memory: true, metadata: `{"rules":[],"mutating":false,"protocolVersion":"v2"}`}.encode(), StageCompile,
			"cannot deserialize custom section `io.kubewarden.metadata` of wasm module: protocolVersion: unknown variant `v2`, expected one of `v1`, `Unknown`",
		},
		{
			"a later Kubewarden",
			testModule{exports: []string{"_start"}, memory: true, metadata: `{"rules":[],"mutating":false,"executionMode":"wasi","minimumKubewardenVersion":"9.1.2"}`}.encode(), StageCompile,
			"Policy required Kubewarden version 9.1.0 but is running on 1.38.0",
		},
		{
			"metadata that lack what they must have",
			testModule{exports: []string{"_start"}, memory: true, metadata: `{"executionMode":"wasi"}`}.encode(), StageCompile,
			"cannot deserialize custom section `io.kubewarden.metadata` of wasm module: missing field `rules`",
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
			testModule{exports: []string{"_start"}, memory: true, metadata: `{"rules":[],"mutating":false,"protocolVersion":"v1"}`}.encode(), StageCompile,
			"Guest call function (__guest_call) not exported by wasm module.",
		},
		{
			"a waPC guest that is said to be a command",
			testModule{exports: []string{"__guest_call"}, memory: true, metadata: `{"rules":[],"mutating":false,"executionMode":"wasi"}`}.encode(), StageCompile,
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
	names := strings.Join(BuiltinNames(), ", ")
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
	wapc, wasi := artifact.Metadata{ExecutionMode: artifact.WaPC, ProtocolVersion: artifact.ProtocolV1}, artifact.Metadata{ExecutionMode: artifact.WASI}
	tests := []struct {
		name     string
		exports  []string
		metadata *artifact.Metadata
		want     string
	}{
		{"waPC by its exports", []string{"__guest_call", "_start"}, nil, wapcRuntime},
		{"WASI by its exports", []string{"_start"}, nil, wasiRuntime},
		{"waPC by its metadata, whatever it exports", []string{"_start"}, &wapc, wapcRuntime},
		{"WASI by its metadata, whatever it exports", []string{"__guest_call"}, &wasi, wasiRuntime},
		{"OPA by its metadata", nil, &artifact.Metadata{ExecutionMode: artifact.OPA}, opaRuntime},
		{"Gatekeeper by its metadata", nil, &artifact.Metadata{ExecutionMode: artifact.Gatekeeper, ProtocolVersion: "Unknown"}, gatekeeperRuntime},
	}
	for _, tt := range tests {
		if have, err := executionMode(tt.exports, tt.metadata); have != tt.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", tt.name, have, err, tt.want)
		}
	}
}
