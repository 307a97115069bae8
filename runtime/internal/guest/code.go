package guest

import (
	"errors"
	"fmt"

	"github.com/warder-dev/warder/wasm"
)

// effects are what code can do to an instance that a snapshot of memory and
// globals does not undo.
type effects struct {
	table   bool // changes a table: table.set, grow, fill, copy, init
	dropped bool // drops a passive segment: data.drop, elem.drop
	atomics bool // shares memory with threads
}

// checks rewrites a code section so that the guest can be stopped, and lets the
// rest of the process live: every loop, every function that calls another and
// every bulk operation counts down the ticks, and when they are used up yields
// (see newProbe). The three globals from the given index on are for that. The
// result says what the code does besides. The error says that there is an
// instruction it does not know; then nothing is known of the rest.
func checks(payload []byte, global uint32) ([]byte, effects, error) {
	look := newProbe(global)
	c := wasm.Reader{Text: payload}
	count := c.U32()
	out := wasm.AppendU32(make([]byte, 0, len(payload)+len(payload)/4), count)
	var does effects
	var body []byte
	for ; count > 0 && c.Err == nil; count-- {
		b := coder{Reader: wasm.Reader{Text: c.Bytes(c.U32())}}
		body = b.body(body[:0], look)
		if b.Err != nil {
			c.Fail(b.Err)
		}
		does.merge(b.effects)
		out = append(wasm.AppendU32(out, uint32(len(body))), body...)
	}
	if c.Err == nil && c.More() {
		c.Fail(errors.New("more bytes than functions"))
	}
	if c.Err != nil {
		return nil, does, fmt.Errorf("code: %w", c.Err)
	}
	return out, does, nil
}

// probe is the code of a check.
type probe struct {
	turn []byte // for a turn of a loop or a call
	bulk []byte // for a bulk operation, whose length is on top of the stack
}

// addedGlobals is how many globals the checks need: the interrupt flag, the
// ticks that are left, and a place to keep a length in.
const addedGlobals = 3

// yieldTicks is how many turns and calls a guest makes between two yields. A
// yield costs about 0.1 µs and 4,096 turns 4 µs or more, so yielding itself is
// under 3 %; others get the processor after some microseconds to a millisecond.
// Counting costs more: 5 to 30 % of a Go policy's processor time (BenchmarkEvaluate
// of package runtime, on a busy machine), beside a check that only looked.
const yieldTicks = 4096

// bulkShift makes 1 KiB of a bulk operation a tick.
const bulkShift = 10

// newProbe makes the code of the checks. A yield is memory.grow by nothing:
// wazero leaves compiled code for it, which is the only place where the
// scheduler and the garbage collector get hold of a goroutine that runs a
// guest. Without it one guest in a loop, and a collection that waits for it,
// stop the whole process, the timer of the guest's deadline too. (wazero can
// do so at each turn of a loop, which made Go policies half as fast.) After the
// yield the guest looks at the interrupt flag, and traps when it is not zero.
func newProbe(global uint32) probe {
	const get, set, constant, subtract = 0x23, 0x24, 0x41, 0x6b
	flag, ticks, length := wasm.AppendU32(nil, global), wasm.AppendU32(nil, global+1), wasm.AppendU32(nil, global+2)
	code := func(parts ...any) (out []byte) {
		for _, part := range parts {
			switch p := part.(type) {
			case int:
				out = append(out, byte(p))
			case []byte:
				out = append(out, p...)
			}
		}
		return out
	}
	turn := code(
		get, ticks, constant, 1, subtract, set, ticks,
		get, ticks, constant, 0, 0x48, 0x04, 0x40, // i32.lt_s; if
		constant, 0, 0x40, 0, 0x1a, // memory.grow; drop
		constant, wasm.AppendS32(nil, yieldTicks), set, ticks,
		get, flag, 0x04, 0x40, 0x00, 0x0b, // if; unreachable; end
		0x0b)
	return probe{turn: turn, bulk: code(
		set, length,
		get, ticks, get, length, constant, bulkShift, 0x76, subtract, set, ticks, // i32.shr_u
		turn, get, length)}
}

// body appends the function's body with the checks in it.
func (c *coder) body(dst []byte, look probe) []byte {
	c.locals()
	entry := c.At
	for c.More() {
		c.instruction()
	}
	if c.Err != nil {
		return dst
	}
	dst = append(dst, c.Text[:entry]...)
	if c.calls && !c.loopsFirst {
		dst = append(dst, look.turn...)
	}
	from := entry
	for _, p := range c.places {
		dst = append(dst, c.Text[from:p.at]...)
		if p.bulk {
			dst = append(dst, look.bulk...)
		} else {
			dst = append(dst, look.turn...)
		}
		from = p.at
	}
	return append(dst, c.Text[from:]...)
}

func (e *effects) merge(other effects) {
	e.table = e.table || other.table
	e.dropped = e.dropped || other.dropped
	e.atomics = e.atomics || other.atomics
}

type coder struct {
	wasm.Reader
	effects effects
	places  []place // that want a check, in ascending order
	calls   bool

	over error // a count that nobody may believe

	branched   bool // there was something that does not always go on to the next
	loopsFirst bool // whoever enters the function enters a loop, as in all that Go compiles
}

// place is where a check goes: before the body of a loop or a bulk operation.
type place struct {
	at   int
	bulk bool
}

func (c *coder) locals() {
	for n := c.U32(); n > 0 && c.Err == nil; n-- {
		c.U32()
		c.valueType()
	}
}

// valueType skips a value type; 0x63 and 0x64 are references to a heap type.
func (c *coder) valueType() {
	if b := c.Byte(); b == 0x63 || b == 0x64 {
		c.SkipSigned(33)
	}
}

func (c *coder) blockType() {
	if c.More() && (c.Text[c.At] == 0x63 || c.Text[c.At] == 0x64) {
		c.valueType()
		return
	}
	c.SkipSigned(33)
}

// memarg skips alignment and offset; bit 6 of the alignment announces the
// index of a memory.
func (c *coder) memarg() {
	if c.U32()&0x40 != 0 {
		c.U32()
	}
	c.offset()
}

// offset is a 64-bit number in the memory64 proposal.
func (c *coder) offset() {
	for range 10 {
		if c.Byte() < 0x80 {
			return
		}
	}
	c.Fail(errors.New("offset of more than 64 bits"))
}

// instruction skips one instruction and notes its effects. Numbers are those
// of https://webassembly.github.io/spec/core/appendix/index-instructions.html.
func (c *coder) instruction() {
	op := c.Byte()
	c.branched = c.branched || branches(op)
	switch {
	case 0x20 <= op && op <= 0x26: // local.get to table.set
		c.U32()
		c.effects.table = c.effects.table || op == 0x26
	case 0x28 <= op && op <= 0x3e: // loads and stores
		c.memarg()
	case op == 0x41:
		c.SkipSigned(32)
	case op == 0x03: // loop
		c.blockType()
		c.places = append(c.places, place{at: c.At})
		c.loopsFirst = c.loopsFirst || !c.branched
	case op == 0x10 || 0x12 <= op && op <= 0x15: // calls
		c.calls = true
		c.U32()
		if op == 0x13 {
			c.U32()
		}
	case op == 0x11: // call_indirect
		c.calls = true
		c.U32()
		c.U32()
	case op == 0x02 || op == 0x04 || op == 0x06: // block, if, try
		c.blockType()
	case op == 0x07 || op == 0x08 || op == 0x09: // catch, throw, rethrow
		c.U32()
	case op == 0x0c || op == 0x0d || op == 0x18: // br, br_if, delegate
		c.U32()
	case op == 0x0e: // br_table
		for n := uint64(c.U32()) + 1; n > 0 && c.Err == nil; n-- {
			c.U32()
		}
	case op == 0x1c: // select with types
		for n := c.U32(); n > 0 && c.Err == nil; n-- {
			c.valueType()
		}
	case op == 0x1f: // try_table
		c.tryTable()
	case op == 0x3f || op == 0x40: // memory.size, memory.grow
		c.U32()
	case op == 0x42:
		c.SkipSigned(64)
	case op == 0x43:
		c.Bytes(4)
	case op == 0x44:
		c.Bytes(8)
	case op == 0xd0: // ref.null
		c.SkipSigned(33)
	case op == 0xd2 || op == 0xd5 || op == 0xd6: // ref.func, br_on_null, br_on_non_null
		c.U32()
	case op == 0xfc:
		c.prefixed()
	case op == 0xfd:
		c.vector()
	case op == 0xfe:
		c.effects.atomics = true
		c.At = len(c.Text) // nothing more to learn: such a module gets no snapshot
	case plain(op):
	default:
		c.Fail(fmt.Errorf("unknown instruction 0x%02x", op))
	}
}

// branches reports whether an instruction may go on elsewhere than at the next
// one, or makes a call: all control but nop, block, loop and end.
func branches(op byte) bool {
	return op <= 0x1f && op != 0x01 && op != 0x02 && op != 0x03 && op != 0x0b && op < 0x1a || op == 0x1f || op == 0xd5 || op == 0xd6
}

// plain reports whether an instruction is its first byte and nothing else.
func plain(op byte) bool {
	switch op {
	case 0x00, 0x01, 0x05, 0x0a, 0x0b, 0x0f, 0x19, 0x1a, 0x1b, 0xd1, 0xd3, 0xd4:
		return true
	}
	return 0x45 <= op && op <= 0xc4
}

func (c *coder) tryTable() {
	c.blockType()
	for n := c.U32(); n > 0 && c.Err == nil; n-- {
		if kind := c.Byte(); kind < 2 { // catch and catch_ref name a tag
			c.U32()
		}
		c.U32()
	}
}

// prefixed skips an instruction of the 0xfc page.
func (c *coder) prefixed() {
	at := c.At - 1
	op := c.U32()
	switch op {
	case 8, 10, 11, 12, 14, 15, 17: // the last operand is a length
		c.places = append(c.places, place{at, true})
	}
	switch op {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating conversions
	case 8: // memory.init
		c.U32()
		c.U32()
	case 9, 13: // data.drop, elem.drop
		c.U32()
		c.effects.dropped = true
	case 10: // memory.copy
		c.U32()
		c.U32()
	case 11, 16: // memory.fill, table.size
		c.U32()
	case 12, 14: // table.init, table.copy
		c.U32()
		c.U32()
		c.effects.table = true
	case 15, 17: // table.grow, table.fill
		c.U32()
		c.effects.table = true
	default:
		c.Fail(fmt.Errorf("unknown instruction 0xfc %d", op))
	}
}

// vector skips an instruction of the 0xfd page, SIMD with relaxed SIMD.
func (c *coder) vector() {
	switch op := c.U32(); {
	case op <= 11 || op == 92 || op == 93: // loads and stores
		c.memarg()
	case op == 12 || op == 13: // v128.const, i8x16.shuffle
		c.Bytes(16)
	case 21 <= op && op <= 34: // lanes
		c.Byte()
	case 84 <= op && op <= 91: // loads and stores of a lane
		c.memarg()
		c.Byte()
	case op <= 275:
	default:
		c.Fail(fmt.Errorf("unknown instruction 0xfd %d", op))
	}
}
