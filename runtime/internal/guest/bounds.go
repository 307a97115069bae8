package guest

import (
	"errors"
	"fmt"

	"github.com/warder-dev/warder/wasm"
)

// What a module may have of one thing. Source: the limits that browsers agreed
// on, https://webassembly.github.io/spec/js-api/index.html#limits; the largest
// policies of Kubewarden's catalogue have a tenth of it.
const (
	maxEntries = 1000000 // types, functions, imports, exports, segments
	maxLocals  = 50000   // of one function
)

// errCount is about a count of things for which there are not even the bytes.
var errCount = errors.New("more elements than bytes")

// bounded refuses a module that says it has more of something than it has bytes
// for, or than anybody needs. The engine believes such a count and makes room
// for it: a hundred bytes would take all the memory there is. Anything else that
// is wrong with the module is left for the engine to say.
func bounded(all []wasm.Section) error {
	for _, s := range all {
		b := bounds{coder{Reader: wasm.Reader{Text: s.Payload}}}
		switch s.ID {
		case wasm.SectionCustom:
			continue
		case wasm.SectionType:
			b.each(b.functionType)
		case wasm.SectionElement:
			b.each(b.element)
		case wasm.SectionCode:
			b.each(b.locals)
		case wasm.SectionData:
			b.each(b.data)
		case wasm.SectionStart, wasm.SectionDataCount:
		default:
			b.count(maxEntries)
		}
		if b.over != nil {
			return fmt.Errorf("section %d: offset %d: %w", s.ID, b.At, b.over)
		}
	}
	return nil
}

type bounds struct{ coder }

// count reads how many elements follow, each at least a byte.
func (b *bounds) count(most uint32) uint32 {
	n := b.U32()
	switch {
	case b.Err != nil || b.over != nil:
		return 0
	case uint64(n) > uint64(len(b.Text)-b.At):
		b.over = errCount
	case n > most:
		b.over = fmt.Errorf("%d elements; %d are the most", n, most)
	default:
		return n
	}
	return 0
}

func (b *bounds) each(element func()) {
	for n := b.count(maxEntries); n > 0 && b.Err == nil && b.over == nil; n-- {
		element()
	}
}

func (b *bounds) functionType() {
	if b.Byte() != 0x60 {
		b.Fail(errors.New("not a function's type"))
	}
	for range 2 { // parameters, results
		for n := b.count(maxEntries); n > 0 && b.Err == nil; n-- {
			b.valueType()
		}
	}
}

// locals looks at the locals of one function and skips its body.
func (b *bounds) locals() {
	body := coder{Reader: wasm.Reader{Text: b.Bytes(b.U32())}}
	total := uint64(0)
	for n := body.U32(); n > 0 && body.Err == nil; n-- {
		total += uint64(body.U32())
		body.valueType()
	}
	if total > maxLocals {
		b.over = fmt.Errorf("%d locals; %d are the most", total, maxLocals)
	}
}

// expression skips a constant expression.
func (b *bounds) expression() {
	for b.More() && b.Text[b.At] != 0x0b {
		b.instruction()
	}
	b.Byte()
}

// element skips a segment of a table. Its first number has three bits: passive
// or declared, with a table or a kind, of expressions.
func (b *bounds) element() {
	flags := b.U32()
	if flags > 7 {
		b.Fail(errors.New("unknown kind of segment"))
		return
	}
	if flags&1 == 0 {
		if flags&2 != 0 {
			b.U32()
		}
		b.expression()
	}
	if flags&3 != 0 {
		b.valueType() // or the kind, a byte
	}
	for n := b.count(10 * maxEntries); n > 0 && b.Err == nil; n-- {
		if flags&4 != 0 {
			b.expression()
		} else {
			b.U32()
		}
	}
}

func (b *bounds) data() {
	switch flags := b.U32(); flags {
	case 0, 2:
		if flags == 2 {
			b.U32()
		}
		b.expression()
	case 1:
	default:
		b.Fail(errors.New("unknown kind of segment"))
		return
	}
	n := b.U32()
	if b.Err == nil && uint64(n) > uint64(len(b.Text)-b.At) {
		b.over = errCount
		return
	}
	b.Bytes(n)
}
