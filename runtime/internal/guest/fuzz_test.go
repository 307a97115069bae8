package guest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
)

// modules are all small modules of the runtimes' testdata.
func modules(t testing.TB) [][]byte {
	t.Helper()
	var all [][]byte
	for _, pattern := range []string{"testdata/*.wasm", "../../wapc/testdata/*.wasm", "../../wasi/testdata/*.wasm"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, error %v", pattern, err)
		}
		for _, file := range files {
			wasm, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(wasm) < maxFuzzed {
				all = append(all, wasm)
			}
		}
	}
	return all
}

// maxFuzzed keeps what is fuzzed quick to compile, in bytes.
const maxFuzzed = 4 << 10

// compiles reports whether wazero takes a module, with the features and bounds
// that Compile gives it. The interpreter checks the same and is ready sooner.
func compiles(t *testing.T, wasm []byte) error {
	t.Helper()
	ctx := t.Context()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().
		WithCoreFeatures(features).WithMemoryLimitPages(512).WithDebugInfoEnabled(false))
	defer r.Close(ctx)
	_, err := compiled(ctx, r, wasm)
	return err
}

// Rewriting never panics, and what wazero compiled before it compiles after, or
// the module is refused for a reason of ours, or left as it was.
func FuzzRewrite(f *testing.F) {
	for _, wasm := range modules(f) {
		f.Add(wasm)
		for _, cut := range []int{8, len(wasm) / 3, len(wasm) / 2, len(wasm) - 1} {
			f.Add(wasm[:cut])
		}
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		if len(wasm) > maxFuzzed {
			return
		}
		before := bytes.Clone(wasm)
		rewritten, layout, err := rewrite(wasm)
		if !bytes.Equal(wasm, before) {
			t.Fatal("rewrite changed its argument")
		}
		if err != nil || bytes.Equal(rewritten, wasm) || compiles(t, wasm) != nil {
			return
		}
		if err := compiles(t, rewritten); err != nil {
			t.Errorf("wazero compiles the module, and not the rewritten one (%+v): %v\n%x\n%x", layout, err, wasm, rewritten)
		}
	})
}

// A module that wazero compiles can be inspected, and names what it imports. One
// that is refused for its counts is not shown to wazero, which would believe them.
func FuzzInspect(f *testing.F) {
	for _, wasm := range modules(f) {
		f.Add(wasm)
		f.Add(wasm[:len(wasm)/2])
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		if len(wasm) > maxFuzzed {
			return
		}
		layout, err := Inspect(wasm)
		if err == nil && len(layout.Exports)+len(layout.Imports)+len(layout.Metadata) > len(wasm) {
			t.Errorf("%+v from %d bytes", layout, len(wasm))
		}
		if err != nil && !errors.Is(err, errCount) && compiles(t, wasm) == nil {
			t.Errorf("wazero compiles what cannot be inspected: %v\n%x", err, wasm)
		}
	})
}

// A verdict that decodes says whether it accepts, and says the same when it is
// encoded and decoded again.
func FuzzDecodeVerdict(f *testing.F) {
	for _, seed := range []string{`{"accepted":true}`, `{"accepted":false,"message":"no","code":403}`, `{"accepted":null}`,
		`{"accepted":true,"mutated_object":{"a":1},"warnings":["w"],"audit_annotations":{"k":"v"}}`, ` {} `, ``, `[]`,
		`{"accepted":true} x`, `{"accepted":true,"code":70000}`, `{"accepted":true,"mutated_object":null,"new":1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := DecodeVerdict(text)
		if err != nil || !utf8.Valid(text) {
			return
		}
		again, err := DecodeVerdict(v.AppendJSON(nil))
		if err != nil || again.Accepted != v.Accepted || again.Message != v.Message || again.Code != v.Code || len(again.Warnings) != len(v.Warnings) {
			t.Errorf("%s: %+v, and then %+v, error %v", text, v, again, err)
		}
	})
}

// An answer about settings that decodes says whether they are valid.
func FuzzDecodeSettingsVerdict(f *testing.F) {
	for _, seed := range []string{`{"valid":true}`, `{"valid":false,"message":"no"}`, `{"valid":true,"message":null}`, `{"message":"x"}`, `null`, `{"valid":1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := DecodeSettingsVerdict(text)
		if err == nil && !bytes.Contains(bytes.ToLower(text), []byte("valid")) && !bytes.Contains(text, []byte(`\u`)) {
			t.Errorf("%q: %+v, though it says nothing of it", text, v)
		}
	})
}
