package guest

import (
	"errors"

	"github.com/warder-dev/warder/wasm"
)

// imported is the memory that a module imports, as OPA's do: one for each
// instance, which the host is to make. It is written into the module instead, so
// that instances are like those of other modules. Nothing gets another index:
// memories are counted by themselves, and there is only one.
type imported struct {
	from, to int    // its place in the import section, as offsets
	section  []byte // the memory section
}

// minImportedPages is the least size of a memory that was imported, 320 KiB.
// Source: what Kubewarden gives to all of OPA's modules, burrego's
// MemoryType::new(5, None).
const minImportedPages = 5

// readImportedMemory reads the limits of a memory whose import starts at the
// given offset. One that is not OPA's, not a plain one, or not the only one
// stays an import.
func (m *module) readImportedMemory(r *wasm.Reader, start int, opa bool) {
	flags, least, most := r.Byte(), r.U32(), uint32(0)
	if flags&1 != 0 {
		most = r.U32()
	}
	m.memories++
	if !opa || flags > 1 || m.memories > 1 {
		m.imported, m.memory = nil, false
		m.fresh("it imports its memory")
		return
	}
	section := []byte{1, flags}
	if flags == 0 {
		section = wasm.AppendU32(section, max(least, minImportedPages))
	} else {
		section = wasm.AppendU32(section, max(least, min(most, minImportedPages)))
		section = wasm.AppendU32(section, most)
	}
	m.imported, m.memory = &imported{start, r.At, section}, true
}

// without is an import section with the import of the memory taken out.
func (i *imported) without(payload []byte) ([]byte, error) {
	r := wasm.Reader{Text: payload}
	if i.to > len(payload) {
		return nil, errors.New("two import sections")
	}
	out := wasm.AppendU32(make([]byte, 0, len(payload)), r.U32()-1)
	out = append(out, payload[r.At:i.from]...)
	return append(out, payload[i.to:]...), r.Err
}
