package guest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/warder-dev/warder/wasm"
)

func load(t testing.TB, name string) []byte {
	t.Helper()
	binary, err := os.ReadFile(filepath.Join("testdata", name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func unlinked(context.Context, wazero.Runtime) error { return nil }

// instance compiles a module without imports and makes an instance.
func instance(t *testing.T, binary []byte) *Instance {
	t.Helper()
	c, err := NewCompiler(Options{MemoryLimit: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	m, err := c.Compile(t.Context(), binary, unlinked)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	in, err := m.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.Close)
	return in
}

// call calls a function of an instance within its time.
func call(ctx context.Context, in *Instance, name string, args ...uint64) ([]uint64, error) {
	in.Begin(ctx, nil, nil)
	defer in.Watch(ctx)()
	results, err := in.Function(name).Call(in.Life(), args...)
	return results, in.Explain(err)
}

// plainly is what a function says in an engine that knows nothing of us.
func plainly(t *testing.T, binary []byte, name string, args ...uint64) []uint64 {
	t.Helper()
	r := wazero.NewRuntime(t.Context())
	defer r.Close(t.Context())
	mod, err := r.Instantiate(t.Context(), binary)
	if err != nil {
		t.Fatal(err)
	}
	results, err := mod.ExportedFunction(name).Call(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func TestEveryWayToRunForEverIsInterrupted(t *testing.T) {
	for _, name := range []string{"loop", "loop_if", "loop_table", "loop_result", "loop_values", "nested",
		"recursion", "recursion_indirect", "tail", "bulk"} {
		t.Run(name, func(t *testing.T) {
			in := instance(t, load(t, "interrupt"))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if results, err := call(ctx, in, name); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("results %v, error %v; want the deadline's", results, err)
			}
		})
	}
}

// dress puts custom sections between all sections of a module, and around.
func dress(t *testing.T, binary []byte) []byte {
	t.Helper()
	all, err := wasm.Sections(binary)
	if err != nil {
		t.Fatal(err)
	}
	custom := append(wasm.AppendU32(nil, 5), "wrapsanything at all"...)
	w := writer{out: []byte(wasm.Header)}
	w.add(wasm.SectionCustom, custom)
	for _, s := range all {
		w.add(s.ID, s.Payload)
		w.add(wasm.SectionCustom, custom)
	}
	return w.out
}

func TestRewrittenModuleDoesTheSame(t *testing.T) {
	for _, name := range []string{"compute", "start"} {
		for _, binary := range [][]byte{load(t, name), dress(t, load(t, name))} {
			rewritten, layout, err := rewrite(binary)
			if err != nil || !layout.checked || bytes.Equal(rewritten, binary) {
				t.Fatalf("%s: not rewritten: %+v, error %v", name, layout, err)
			}
			for _, n := range []uint64{1, 2, 10_000} {
				want := plainly(t, binary, "compute", n)
				got, err := call(t.Context(), instance(t, binary), "compute", n)
				if err != nil || got[0] != want[0] {
					t.Errorf("%s(%d) = %v, error %v; want %v", name, n, got, err, want)
				}
			}
		}
	}
}

func TestRewritingTwiceIsRefused(t *testing.T) {
	once, _, err := rewrite(load(t, "compute"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := rewrite(once); err == nil || !strings.Contains(err.Error(), `names that start with "warder:" are the host's own`) {
		t.Errorf("error %v, want one about our names", err)
	}
}

func TestRewritingExportsWhatASnapshotHolds(t *testing.T) {
	_, layout, err := rewrite(load(t, "compute"))
	if err != nil {
		t.Fatal(err)
	}
	if layout.globals != 1 || layout.start || layout.Fresh != "" {
		t.Errorf("layout %+v, want one global", layout)
	}
	if _, layout, _ = rewrite(load(t, "start")); !layout.start || layout.globals != 0 {
		t.Errorf("layout %+v, want a start function that is put off", layout)
	}
	in := instance(t, load(t, "compute"))
	state, err := in.Capture()
	if err != nil {
		t.Fatal(err)
	}
	defer state.Free()
	first, err := call(t.Context(), in, "compute", 3)
	if err != nil {
		t.Fatal(err)
	}
	second, err := call(t.Context(), in, "compute", 3)
	if err != nil || second[0] == first[0] {
		t.Errorf("two calls say %v and %v, error %v; want the global to tell them apart", first, second, err)
	}
	if err := in.Restore(state); err != nil {
		t.Fatal(err)
	}
	if third, err := call(t.Context(), in, "compute", 3); err != nil || third[0] != first[0] {
		t.Errorf("after Restore %v, error %v; want %v", third, err, first)
	}
}

func TestTablesAreBounded(t *testing.T) {
	in := instance(t, load(t, "tables"))
	for name, want := range map[string]uint64{"endless": 65535*16 + 1, "small": 5} {
		if got, err := call(t.Context(), in, name); err != nil || got[0] != want {
			t.Errorf("%s: %v entries, error %v; want %d", name, got, err, want)
		}
	}
	_, _, err := rewrite(load(t, "large_table"))
	if want := "table 0: offset 6: it begins with 16777216 entries; 1048576 are the most"; err == nil || !strings.Contains(err.Error(), "it begins with 16777216 entries; 1048576 are the most") {
		t.Errorf("error %v, want %s", err, want)
	}
	if _, err := boundTables([]byte{9}); err == nil || err.Error() != "9 tables; 8 are the most" {
		t.Errorf("error %v for nine tables", err)
	}
	initialised := []byte{1, 0x40, 0, 0x70, 0, 1, 0xd0, 0x70, 0x0b} // ref.null func
	want := []byte{1, 0x40, 0, 0x70, 1, 1, 0x80, 0x80, 0x40, 0xd0, 0x70, 0x0b}
	if got, err := boundTables(initialised); err != nil || !bytes.Equal(got, want) {
		t.Errorf("a table with an initialiser: %x, error %v; want %x", got, err, want)
	}
}

func TestInspect(t *testing.T) {
	metadata := func(text string) []byte {
		w := writer{}
		w.add(wasm.SectionCustom, append(append(wasm.AppendU32(nil, uint32(len(MetadataSection))), MetadataSection...), text...))
		return w.out
	}
	binary := append(append(load(t, "interrupt"), metadata(`{"first":1}`)...), metadata(`{}`)...)
	layout, err := Inspect(binary)
	if err != nil {
		t.Fatal(err)
	}
	if string(layout.Metadata) != `{"first":1}` {
		t.Errorf("metadata %s, want that of the first section", layout.Metadata)
	}
	if !layout.Has("recursion") || layout.Has("memory") || !layout.HasPrefix("loop_") || layout.HasPrefix("opa_") {
		t.Errorf("exports %v, want the functions", layout.Exports)
	}
	if layout, _ = Inspect(load(t, "start")); layout.Metadata != nil {
		t.Errorf("metadata %q, want nil", layout.Metadata)
	}
	for want, binary := range map[string]string{
		"not a WebAssembly module: it does not start with \\0asm":     "MZ",
		"a WebAssembly component, not a core module":                  "\x00asm\x0d\x00\x01\x00",
		"WebAssembly version 02000000, want 1":                        "\x00asm\x02\x00\x00\x00",
		"sections: offset 10: unexpected end":                         wasm.Header + "\x01\x05",
		"section 2: offset 6: unexpected end":                         wasm.Header + "\x02\x06\x01\x01a\x01b\x00",
		"section 2: offset 6: unknown kind of import 9":               wasm.Header + "\x02\x06\x01\x01a\x01b\x09",
		"number of more than 32 bits":                                 wasm.Header + "\x01\xff\xff\xff\xff\x7f",
		"section 7: offset 1: more elements than bytes":               wasm.Header + "\x07\x01\x05",
		"sections: offset 9: unexpected end":                          wasm.Header + "\x01",
		"not a WebAssembly module: it does not start with \\0asm\x00": "",
	} {
		if _, err := Inspect([]byte(binary)); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(want, "\x00")) {
			t.Errorf("%q: error %v, want %s", binary, err, want)
		}
	}
}

func TestInterruptSaysWhy(t *testing.T) {
	in := instance(t, load(t, "compute"))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("nobody waits"))
	if _, err := call(ctx, in, "compute", 1<<31); err == nil || err.Error() != "nobody waits" {
		t.Errorf("error %v, want the cause", err)
	}
}
