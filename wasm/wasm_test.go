package wasm

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestNumbersAreReadAsTheyWereWritten(t *testing.T) {
	for _, n := range []uint32{0, 1, 0x3f, 0x40, 0x7f, 0x80, 300, 1 << 20, 1<<31 - 1, 1<<32 - 1} {
		r := Reader{Text: AppendU32(nil, n)}
		if have := r.U32(); have != n || r.Err != nil || r.More() {
			t.Errorf("%d: read %d, %v", n, have, r.Err)
		}
		if n < 1<<31 {
			r = Reader{Text: AppendS32(nil, n)}
			if r.SkipSigned(32); r.Err != nil || r.More() || r.Text[len(r.Text)-1]&0x40 != 0 {
				t.Errorf("%d signed: % x, %v, want it not negative", n, r.Text, r.Err)
			}
		}
	}
}

func TestTheFirstMistakeSticks(t *testing.T) {
	tests := []struct {
		name string
		text string
		read func(*Reader)
		want string
	}{
		{"a byte", "", func(r *Reader) { r.Byte() }, "offset 0: unexpected end"},
		{"bytes", "abc", func(r *Reader) { r.Bytes(4) }, "offset 0: unexpected end"},
		{"a name", "\x05abc", func(r *Reader) { r.Name() }, "offset 1: unexpected end"},
		{"a number without end", "\x80\x80\x80", func(r *Reader) { r.U32() }, "offset 3: unexpected end"},
		{"a number of 33 bits", "\xff\xff\xff\xff\x1f", func(r *Reader) { r.U32() }, "offset 5: number of more than 32 bits"},
		{"a signed number without end", "\x80\x80\x80\x80\x80\x00", func(r *Reader) { r.SkipSigned(32) }, "offset 5: number of more than 32 bits"},
		{"all the memory there is", "\xff\xff\xff\xff\x0f", func(r *Reader) { r.Name() }, "offset 5: unexpected end"},
	}
	for _, tt := range tests {
		r := &Reader{Text: []byte(tt.text)}
		tt.read(r)
		if r.Err == nil || r.Err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, r.Err, tt.want)
		}
		first := r.Err
		if r.Byte() != 0 || r.U32() != 0 || r.Name() != "" || r.More() || !errors.Is(r.Err, first) {
			t.Errorf("%s: reading goes on after it: %v", tt.name, r.Err)
		}
	}
}

func TestWhatIsNoModuleIsSaid(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "not a WebAssembly module: it does not start with \\0asm",
		"MZ":                                "not a WebAssembly module: it does not start with \\0asm",
		"\x00asm\x0d\x00\x01\x00":           "a WebAssembly component, not a core module",
		"\x00asm\x02\x00\x00\x00":           "WebAssembly version 02000000, want 1",
		Header + "\x01":                     "sections: offset 9: unexpected end",
		Header + "\x00\xff\xff\xff\xff\x0f": "sections: offset 14: unexpected end",
	} {
		if _, err := Sections([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// FuzzSections splits what a stranger has sent: a module that can be split is
// the same when it is put together again, unless its numbers were longer than
// they need to be.
func FuzzSections(f *testing.F) {
	f.Add([]byte(Header))
	f.Add(Append([]byte(Header), Section{SectionCustom, AppendName(nil, "name")}))
	f.Add([]byte(Header + "\x0a\x80\x00"))
	f.Fuzz(func(t *testing.T, module []byte) {
		all, err := Sections(module)
		if err != nil {
			return
		}
		again := []byte(Header)
		for _, s := range all {
			again = Append(again, s)
		}
		if len(again) > len(module) || len(again) == len(module) && !bytes.Equal(again, module) {
			t.Errorf("% x becomes % x", module, again)
		}
		if split, err := Sections(again); err != nil || len(split) != len(all) {
			t.Errorf("% x becomes % x: %d sections of %d, %v", module, again, len(split), len(all), err)
		}
	})
}
