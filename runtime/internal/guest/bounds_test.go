package guest

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/warder-dev/warder/wasm"
)

// A count that nobody has the bytes for would make the engine take gigabytes:
// such a module has to be refused before it sees it.
func TestAModuleCannotSayMoreThanItHas(t *testing.T) {
	const huge = "\xff\xff\xff\xff\x0f" // 2^32-1
	section := func(id byte, payload string) []byte {
		out := append([]byte(wasm.Header), id)
		return append(wasm.AppendU32(out, uint32(len(payload))), payload...)
	}
	tests := map[string]struct {
		binary []byte
		want   string
	}{
		"types":                {section(1, huge), "more elements than bytes"},
		"parameters":           {section(1, "\x01\x60"+huge), "more elements than bytes"},
		"results":              {section(1, "\x01\x60\x00"+huge), "more elements than bytes"},
		"imports":              {section(2, huge), "more elements than bytes"},
		"functions":            {section(3, huge), "more elements than bytes"},
		"tables":               {section(4, huge), "more elements than bytes"},
		"globals":              {section(6, huge), "more elements than bytes"},
		"exports":              {section(7, huge), "more elements than bytes"},
		"segments":             {section(9, huge), "more elements than bytes"},
		"functions of one":     {section(9, "\x01\x00\x41\x00\x0b"+huge), "more elements than bytes"},
		"expressions of one":   {section(9, "\x01\x05\x70"+huge), "more elements than bytes"},
		"bodies":               {section(10, huge), "more elements than bytes"},
		"locals":               {section(10, "\x01\x09\x01"+huge+"\x7f\x0b\x0b"), "4294967295 locals; 50000 are the most"},
		"locals of many":       {section(10, "\x01\x0b\x02\xd0\x86\x03\x7f\x01\x7e\x0b\x0b\x0b\x0b"), "50001 locals"},
		"data":                 {section(11, huge), "more elements than bytes"},
		"bytes of data":        {section(11, "\x01\x01"+huge), "more elements than bytes"},
		"entries of a million": {section(3, "\xc1\x84\x3d"+strings.Repeat("\x00", 1000001)), "1000001 elements; 1000000 are the most"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := Inspect(tt.binary); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Inspect = %v, want %q", err, tt.want)
			}
			if _, _, err := rewrite(tt.binary); err == nil {
				t.Error("rewrite takes it")
			}
		})
	}
}

// The engine decodes names, and believes how many there are.
func TestCustomSectionsDoNotReachTheEngine(t *testing.T) {
	for name, binary := range modules(t) {
		out, _, err := rewrite(binary)
		if err != nil {
			continue
		}
		all, err := wasm.Sections(out)
		if err != nil {
			t.Fatalf("%v: %v", name, err)
		}
		for _, s := range all {
			if s.ID == wasm.SectionCustom {
				t.Errorf("%v keeps a custom section %q", name, s.Payload[:min(20, len(s.Payload))])
			}
		}
	}
	named := append([]byte(wasm.Header), "\x00\x0b\x04name\x01\x05\xff\xff\xff\xff"...)
	if out, _, err := rewrite(named); err != nil || !bytes.Equal(out, []byte(wasm.Header)) {
		t.Errorf("rewrite = %x, %v, want an empty module", out, err)
	}
}

// TestAModuleThatTheEnginePanicsOnIsRefused: it costs its own policy, not the
// process. The module is one that fuzzing found.
func TestAModuleThatTheEnginePanicsOnIsRefused(t *testing.T) {
	file, err := os.ReadFile("testdata/fuzz/FuzzRewrite/76f179e2c9b97db7")
	if err != nil {
		t.Fatal(err)
	}
	quoted := strings.TrimSuffix(strings.TrimPrefix(strings.SplitN(string(file), "\n", 3)[1], "[]byte("), ")")
	text, err := strconv.Unquote(quoted)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCompiler(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if m, err := c.Compile(t.Context(), []byte(text), unlinked); err == nil {
		_ = m.Close()
		t.Error("Compile = nil, want the module refused")
	} else if !strings.Contains(err.Error(), "the engine gave up on it") {
		t.Errorf("Compile = %v, want that the engine gave up on it; if it no longer panics, this test may go", err)
	}
}
