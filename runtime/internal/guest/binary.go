package guest

import (
	"errors"
	"fmt"
)

// reader reads the WebAssembly binary format from text, which may be anything.
// The first mistake sticks: what is read after it is zero.
// Format: https://webassembly.github.io/spec/core/binary/index.html.
type reader struct {
	text []byte
	at   int
	err  error
}

var errShort = errors.New("unexpected end")

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("offset %d: %w", r.at, err)
		r.at = len(r.text)
	}
}

func (r *reader) more() bool { return r.err == nil && r.at < len(r.text) }

func (r *reader) byte() byte {
	if r.at >= len(r.text) {
		r.fail(errShort)
		return 0
	}
	r.at++
	return r.text[r.at-1]
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(r.text)-r.at) {
		r.fail(errShort)
		return nil
	}
	r.at += int(n)
	return r.text[r.at-int(n) : r.at]
}

// u32 reads an unsigned LEB128 number of at most 32 bits.
func (r *reader) u32() uint32 {
	var n uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if n > 1<<32-1 {
				break
			}
			return uint32(n)
		}
	}
	r.fail(errors.New("number of more than 32 bits"))
	return 0
}

// skipSigned skips a signed LEB128 number of at most the given bits.
func (r *reader) skipSigned(bits int) {
	for range (bits + 6) / 7 {
		if r.byte() < 0x80 {
			return
		}
	}
	r.fail(fmt.Errorf("number of more than %d bits", bits))
}

func (r *reader) name() string { return string(r.bytes(r.u32())) }

func appendU32(dst []byte, n uint32) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// appendS32 appends a signed number that is not negative.
func appendS32(dst []byte, n uint32) []byte {
	for n >= 0x40 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// sectionID says what a section holds.
type sectionID byte

const (
	sectionCustom    sectionID = 0
	sectionType      sectionID = 1
	sectionImport    sectionID = 2
	sectionFunction  sectionID = 3
	sectionTable     sectionID = 4
	sectionMemory    sectionID = 5
	sectionGlobal    sectionID = 6
	sectionExport    sectionID = 7
	sectionStart     sectionID = 8
	sectionElement   sectionID = 9
	sectionCode      sectionID = 10
	sectionData      sectionID = 11
	sectionDataCount sectionID = 12
	sectionTag       sectionID = 13 // stands between memories and globals
)

// section is one section of a module with the size taken off.
type section struct {
	id      sectionID
	payload []byte
}

// header is the magic number and the version of a core module.
const header = "\x00asm\x01\x00\x00\x00"

// componentHeader is that of a component, which is something else.
const componentHeader = "\x00asm\x0d\x00\x01\x00"

// sections splits a module into its sections.
func sections(wasm []byte) ([]section, error) {
	if len(wasm) < len(header) || string(wasm[:4]) != header[:4] {
		return nil, errors.New("not a WebAssembly module: it does not start with \\0asm")
	}
	switch string(wasm[:len(header)]) {
	case header:
	case componentHeader:
		return nil, errors.New("a WebAssembly component, not a core module: build the policy for wasm32-wasip1")
	default:
		return nil, fmt.Errorf("WebAssembly version %x, want 1", wasm[4:len(header)])
	}
	r := reader{text: wasm, at: len(header)}
	var all []section
	for r.more() {
		id := sectionID(r.byte())
		all = append(all, section{id, r.bytes(r.u32())})
	}
	if r.err != nil {
		return nil, fmt.Errorf("sections: %w", r.err)
	}
	return all, nil
}
