package guest

import (
	"errors"
	"fmt"

	"github.com/warder-dev/warder/wasm"
)

// maxTableEntries bounds a table: 1,048,576 entries of 8 bytes are 8 MiB. A
// table lives in the memory of the process, outside the guest's own limit. The
// largest policy of Kubewarden's catalogue (62 MB of code) has under 100,000
// functions to put into one.
const maxTableEntries = 1 << 20

// maxTables bounds the tables of a module; compilers make one.
const maxTables = 8

// boundTables gives every table of a table section a maximum. The error is
// about a table that begins larger, or that is of a kind unknown here.
func boundTables(payload []byte) ([]byte, error) {
	c := coder{Reader: wasm.Reader{Text: payload}}
	count := c.U32()
	if count > maxTables {
		return nil, fmt.Errorf("%d tables; %d are the most", count, maxTables)
	}
	out := wasm.AppendU32(nil, count)
	for i := range count {
		out = c.boundTable(out)
		if c.Err != nil {
			return nil, fmt.Errorf("table %d: %w", i, c.Err)
		}
	}
	return append(out, payload[c.At:]...), nil
}

// boundTable appends the next table: a type, limits, and, when it begins with
// 0x40 0x00, what its entries are at first.
func (c *coder) boundTable(dst []byte) []byte {
	from, initialised := c.At, false
	if c.More() && c.Text[c.At] == 0x40 {
		initialised = true
		c.Bytes(2)
	}
	c.valueType()
	dst = append(dst, c.Text[from:c.At]...)
	flags, least, most := c.Byte(), c.U32(), uint32(maxTableEntries)
	if flags == 1 {
		most = min(most, c.U32())
	}
	switch {
	case flags > 1:
		c.Fail(errors.New("limits of an unknown kind"))
	case least > maxTableEntries:
		c.Fail(fmt.Errorf("it begins with %d entries; %d are the most", least, maxTableEntries))
	}
	dst = wasm.AppendU32(wasm.AppendU32(append(dst, 1), least), most)
	if !initialised {
		return dst
	}
	from = c.At
	for c.More() && c.Text[c.At] != 0x0b {
		c.instruction()
	}
	c.Byte()
	return append(dst, c.Text[from:c.At]...)
}
