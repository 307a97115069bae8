package guest

import (
	"bytes"
	"testing"

	"github.com/warder-dev/warder/wasm"
)

// A module that imports its memory gets one of its own, and is then like others:
// it goes back to its snapshot.
func TestImportedMemoryBecomesItsOwn(t *testing.T) {
	for name, binary := range map[string][]byte{"plain": load(t, "imported"), "dressed": dress(t, load(t, "imported"))} {
		rewritten, layout, err := rewrite(binary)
		if err != nil || layout.Fresh != "" || !layout.checked || layout.globals != 1 {
			t.Fatalf("%s: layout %+v, error %v; want one that can go back", name, layout, err)
		}
		if err := compiles(t, rewritten); err != nil {
			t.Fatal(err)
		}
		in := instance(t, binary)
		state, err := in.Capture()
		if err != nil {
			t.Fatal(err)
		}
		defer state.Free()
		for _, want := range []uint64{54201, 54202} { // 5 pages, 42, and how often
			if got, err := call(t.Context(), in, "compute", 0); err != nil || got[0] != want {
				t.Errorf("%s: %v, error %v; want %d", name, got, err, want)
			}
		}
		if err := in.Restore(state); err != nil {
			t.Fatal(err)
		}
		if got, err := call(t.Context(), in, "compute", 0); err != nil || got[0] != 54201 {
			t.Errorf("%s: after Restore %v, error %v; want 54201", name, got, err)
		}
		for _, tt := range []struct{ by, want uint64 }{{4, 5}, {1, 1<<32 - 1}} { // 9 pages are the most
			if got, err := call(t.Context(), in, "grow", tt.by); err != nil || uint64(uint32(got[0])) != tt.want {
				t.Errorf("%s: growing by %d: %v, error %v; want %d", name, tt.by, got, err, tt.want)
			}
		}
	}
}

// with returns the module with another import section.
func with(t *testing.T, binary []byte, imports string) []byte {
	t.Helper()
	all, err := wasm.Sections(binary)
	if err != nil {
		t.Fatal(err)
	}
	out := []byte(wasm.Header)
	for _, s := range all {
		if s.ID == wasm.SectionImport {
			s.Payload = []byte(imports)
		}
		out = wasm.Append(out, s)
	}
	return out
}

func TestImportedMemoryLimits(t *testing.T) {
	const memory = "\x03env\x06memory\x02"
	tests := []struct {
		name, imports string
		section       []byte // nil where it stays an import
	}{
		{"no maximum", "\x01" + memory + "\x00\x02", []byte{1, 0, 5}},
		{"more than we give", "\x01" + memory + "\x00\x20", []byte{1, 0, 32}},
		{"a maximum below that", "\x01" + memory + "\x01\x02\x03", []byte{1, 1, 3, 3}},
		{"a function before and after", "\x03\x01a\x01b\x00\x00" + memory + "\x01\x01\x08" + "\x01a\x01c\x00\x00", []byte{1, 1, 5, 8}},
		{"shared", "\x01" + memory + "\x03\x01\x08", nil},
		{"of 64 bits", "\x01" + memory + "\x04\x01", nil},
		{"two", "\x02" + memory + "\x00\x01" + memory + "\x00\x01", nil},
		{"three", "\x03" + memory + "\x00\x01" + memory + "\x00\x01" + memory + "\x00\x01", nil},
		{"of somebody else", "\x01\x03env\x03mem\x02\x00\x02", nil},
	}
	for _, tt := range tests {
		rewritten, layout, err := rewrite(with(t, load(t, "imported"), tt.imports))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		var section []byte
		all, err := wasm.Sections(rewritten)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			if s.ID == wasm.SectionMemory {
				section = s.Payload
			}
			if s.ID == wasm.SectionImport && tt.section != nil && bytes.Contains(s.Payload, []byte("memory")) {
				t.Errorf("%s: imports %q, want no memory", tt.name, s.Payload)
			}
		}
		if !bytes.Equal(section, tt.section) {
			t.Errorf("%s: memory section %x, want %x", tt.name, section, tt.section)
		}
		if fresh := layout.Fresh != ""; fresh != (tt.section == nil) {
			t.Errorf("%s: %q", tt.name, layout.Fresh)
		}
	}
	for _, binary := range [][]byte{ // two sections, in either order
		wasm.Append(load(t, "imported"), wasm.Section{ID: wasm.SectionImport, Payload: []byte{0}}),
		append(wasm.Append([]byte(wasm.Header), wasm.Section{ID: wasm.SectionImport, Payload: []byte{0}}), load(t, "imported")[8:]...),
	} {
		if rewritten, _, err := rewrite(binary); err == nil && compiles(t, rewritten) == nil {
			t.Error("two import sections make a module")
		}
	}
}
