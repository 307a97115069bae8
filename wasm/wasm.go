// Package wasm reads and writes the binary format of WebAssembly modules, as
// far as sections, names and numbers go.
//
// Format: https://webassembly.github.io/spec/core/binary/index.html.
package wasm

import (
	"errors"
	"fmt"
)

// Reader reads Text, which may be anything. The first mistake sticks: what is
// read after it is zero.
type Reader struct {
	Text []byte
	At   int   // offset of what is read next
	Err  error // the first mistake
}

var errShort = errors.New("unexpected end")

// Fail notes a mistake at the present offset and ends the reading.
func (r *Reader) Fail(err error) {
	if r.Err == nil {
		r.Err = fmt.Errorf("offset %d: %w", r.At, err)
		r.At = len(r.Text)
	}
}

// More reports whether there is anything left to read.
func (r *Reader) More() bool { return r.Err == nil && r.At < len(r.Text) }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if r.At >= len(r.Text) {
		r.Fail(errShort)
		return 0
	}
	r.At++
	return r.Text[r.At-1]
}

// Bytes reads n bytes, which are a part of Text.
func (r *Reader) Bytes(n uint32) []byte {
	if uint64(n) > uint64(len(r.Text)-r.At) {
		r.Fail(errShort)
		return nil
	}
	r.At += int(n)
	return r.Text[r.At-int(n) : r.At]
}

// U32 reads an unsigned LEB128 number of at most 32 bits.
func (r *Reader) U32() uint32 {
	var n uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.Byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if n > 1<<32-1 {
				break
			}
			return uint32(n)
		}
	}
	r.Fail(errors.New("number of more than 32 bits"))
	return 0
}

// SkipSigned skips a signed LEB128 number of at most the given bits.
func (r *Reader) SkipSigned(bits int) {
	for range (bits + 6) / 7 {
		if r.Byte() < 0x80 {
			return
		}
	}
	r.Fail(fmt.Errorf("number of more than %d bits", bits))
}

// Name reads a text with its length before it.
func (r *Reader) Name() string { return string(r.Bytes(r.U32())) }

// AppendU32 appends an unsigned number.
func AppendU32(dst []byte, n uint32) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// AppendS32 appends a signed number that is not negative.
func AppendS32(dst []byte, n uint32) []byte {
	for n >= 0x40 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// AppendName appends a text with its length before it.
func AppendName(dst []byte, name string) []byte {
	return append(AppendU32(dst, uint32(len(name))), name...)
}

// SectionID says what a section holds.
type SectionID byte

// The sections of a core module.
const (
	SectionCustom    SectionID = 0
	SectionType      SectionID = 1
	SectionImport    SectionID = 2
	SectionFunction  SectionID = 3
	SectionTable     SectionID = 4
	SectionMemory    SectionID = 5
	SectionGlobal    SectionID = 6
	SectionExport    SectionID = 7
	SectionStart     SectionID = 8
	SectionElement   SectionID = 9
	SectionCode      SectionID = 10
	SectionData      SectionID = 11
	SectionDataCount SectionID = 12
	SectionTag       SectionID = 13 // stands between memories and globals
)

// Section is one section of a module with the size taken off.
type Section struct {
	ID      SectionID
	Payload []byte
}

// Header is the magic number and the version of a core module.
const Header = "\x00asm\x01\x00\x00\x00"

// componentHeader is that of a component, which is something else.
const componentHeader = "\x00asm\x0d\x00\x01\x00"

// Sections splits a module into its sections, whose payloads are parts of it.
func Sections(module []byte) ([]Section, error) {
	if len(module) < len(Header) || string(module[:4]) != Header[:4] {
		return nil, errors.New("not a WebAssembly module: it does not start with \\0asm")
	}
	switch string(module[:len(Header)]) {
	case Header:
	case componentHeader:
		return nil, errors.New("a WebAssembly component, not a core module: build the policy for wasm32-wasip1")
	default:
		return nil, fmt.Errorf("WebAssembly version %x, want 1", module[4:len(Header)])
	}
	r := Reader{Text: module, At: len(Header)}
	var all []Section
	for r.More() {
		id := SectionID(r.Byte())
		all = append(all, Section{id, r.Bytes(r.U32())})
	}
	if r.Err != nil {
		return nil, fmt.Errorf("sections: %w", r.Err)
	}
	return all, nil
}

// Append appends a section to a module.
func Append(module []byte, s Section) []byte {
	module = AppendU32(append(module, byte(s.ID)), uint32(len(s.Payload)))
	return append(module, s.Payload...)
}
