package guest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/wasm"
)

// Layout is what a module says of itself, and whether its instances can go
// back to a snapshot.
type Layout struct {
	// Exports are the names of the functions that the module exports.
	Exports []string
	// Imports are the functions that it imports, as "module.name".
	Imports []string
	// Metadata is the payload of the custom section io.kubewarden.metadata,
	// the first if there are several; nil without.
	Metadata []byte
	// Fresh says why an instance cannot go back to a snapshot, "" if it can.
	Fresh string

	globals int  // mutable globals exported by rewriting
	checked bool // the guest looks at the global interruptName
	start   bool // there is a startName
}

// MetadataSection is the custom section in which Kubewarden keeps a policy's
// metadata.
const MetadataSection = "io.kubewarden.metadata"

// Has reports whether the module exports a function of that name.
func (l Layout) Has(export string) bool { return slices.Contains(l.Exports, export) }

// HasPrefix reports whether it exports a function whose name starts so.
func (l Layout) HasPrefix(prefix string) bool {
	return slices.ContainsFunc(l.Exports, func(name string) bool { return strings.HasPrefix(name, prefix) })
}

// globalName is the export under which the i-th mutable global is found.
func globalName(i int) string { return fmt.Sprintf("warder:global:%d", i) }

// interruptName is the export of the global that stops a guest.
const interruptName = "warder:interrupt"

// startName is the export of the function that the module wanted to run while
// it is instantiated: it is run afterwards, when it can be stopped.
const startName = "warder:start"

// Inspect reads a module's sections. The error is about bytes that are not a
// module.
func Inspect(binary []byte) (Layout, error) {
	m, err := parse(binary)
	if err != nil {
		return Layout{}, err
	}
	return m.layout, nil
}

// module is what rewriting needs to know of a module.
type module struct {
	sections []wasm.Section
	layout   Layout

	functionImports uint32
	procExit        int64     // index of the import proc_exit, -1 without
	startType       int64     // type index of the function that exports _start
	start           int64     // its function index, -1 without
	startSection    int64     // function index of the start section, -1 without
	globals         uint32    // imported and own
	mutable         []uint32  // indexes of those that change
	memory          bool      // it has a memory of its own
	memories        int       // that it imports
	imported        *imported // the memory that it imports and will have of its own
	code            []byte    // with checks; nil when the code could not be read
}

func parse(binary []byte) (*module, error) {
	all, err := wasm.Sections(binary)
	if err != nil {
		return nil, err
	}
	if err := bounded(all); err != nil {
		return nil, err
	}
	m := &module{sections: all, procExit: -1, start: -1, startType: -1, startSection: -1}
	var codeSection []byte
	for _, s := range all {
		r := wasm.Reader{Text: s.Payload}
		switch s.ID {
		case wasm.SectionImport:
			m.readImports(&r)
		case wasm.SectionGlobal:
			m.readGlobals(&r)
		case wasm.SectionExport:
			m.readExports(&r)
		case wasm.SectionStart:
			m.startSection = int64(r.U32())
		case wasm.SectionMemory:
			m.memory = r.U32() > 0 || m.imported != nil
		case wasm.SectionCode:
			codeSection = s.Payload
		case wasm.SectionCustom:
			if r.Name() == MetadataSection && m.layout.Metadata == nil {
				m.layout.Metadata = r.Text[r.At:]
			}
			r.Err = nil // a custom section may be anything
		default:
		}
		if r.Err != nil {
			return nil, fmt.Errorf("section %d: %w", s.ID, r.Err)
		}
	}
	m.readStartType()
	m.readCode(codeSection)
	return m, nil
}

func (m *module) fresh(why string) {
	if m.layout.Fresh == "" {
		m.layout.Fresh = why
	}
}

func (m *module) readImports(r *wasm.Reader) {
	for n := r.U32(); n > 0 && r.Err == nil; n-- {
		start := r.At
		from, name := r.Name(), r.Name()
		switch kind := r.Byte(); kind {
		case 0: // function
			r.U32()
			if name == "proc_exit" && strings.HasPrefix(from, "wasi_") {
				m.procExit = int64(m.functionImports)
			}
			m.layout.Imports = append(m.layout.Imports, from+"."+name)
			m.functionImports++
		case 1: // table
			c := coder{Reader: *r}
			c.valueType()
			*r = c.Reader
			skipLimits(r)
			m.fresh("it imports a table")
		case 2:
			m.readImportedMemory(r, start, from == "env" && name == "memory")
		case 3: // global
			c := coder{Reader: *r}
			c.valueType()
			*r = c.Reader
			r.Byte()
			m.globals++
			m.fresh("it imports a global")
		case 4: // tag
			r.Byte()
			r.U32()
		default:
			r.Fail(fmt.Errorf("unknown kind of import %d", kind))
		}
	}
}

// skipLimits skips how large a table or a memory may be.
func skipLimits(r *wasm.Reader) {
	flags := r.Byte()
	r.U32()
	if flags&1 != 0 {
		r.U32()
	}
}

// readGlobals notes the mutable globals, which a snapshot has to hold.
func (m *module) readGlobals(r *wasm.Reader) {
	count := r.U32()
	for i := uint32(0); i < count && r.Err == nil; i++ {
		kind := r.Byte()
		if kind == 0x63 || kind == 0x64 {
			r.SkipSigned(33)
		}
		mutable := r.Byte() == 1
		c := coder{Reader: *r}
		for c.More() && c.Text[c.At] != 0x0b {
			c.instruction()
		}
		c.Byte()
		*r = c.Reader
		if !mutable {
			continue
		}
		if kind < 0x7c { // not i32, i64, f32 or f64
			m.fresh("it has a mutable global that is a vector or a reference")
			continue
		}
		m.mutable = append(m.mutable, m.globals+i)
	}
	m.globals += count
}

func (m *module) readExports(r *wasm.Reader) {
	for n := r.U32(); n > 0 && r.Err == nil; n-- {
		name, kind, index := r.Name(), r.Byte(), r.U32()
		if kind != 0 {
			continue
		}
		m.layout.Exports = append(m.layout.Exports, name)
		if name == "_start" {
			m.start = int64(index)
		}
	}
}

func (m *module) readCode(payload []byte) {
	if payload == nil || !m.memory {
		return // without a memory it cannot yield, and will get no instance
	}
	code, does, err := checks(payload, m.globals)
	m.code = code
	switch {
	case err != nil:
		m.fresh(err.Error())
	case does.table:
		m.fresh("it changes its tables")
	case does.dropped:
		m.fresh("it drops passive segments")
	case does.atomics:
		m.fresh("it uses threads")
	}
}

// readStartType finds the type of the function that _start is.
func (m *module) readStartType() {
	if m.start < int64(m.functionImports) {
		return
	}
	for _, s := range m.sections {
		if s.ID != wasm.SectionFunction {
			continue
		}
		r := wasm.Reader{Text: s.Payload}
		count := int64(r.U32())
		for i := range count {
			index := r.U32()
			if r.Err != nil {
				return
			}
			if i == m.start-int64(m.functionImports) {
				m.startType = int64(index)
				return
			}
		}
	}
}

// rewrite returns the module with checks in its code (see checks) and, unless
// its instances cannot go back to a snapshot, with its mutable globals exported
// and with a _start that leaves through proc_exit even where main just returns:
// a host function is the only place to go back from. A module whose code cannot
// be read is returned as it is, but for its custom sections.
func rewrite(binary []byte) ([]byte, Layout, error) {
	m, err := parse(binary)
	if err != nil {
		return nil, Layout{}, err
	}
	if m.code == nil {
		return m.stripped(), m.layout, nil
	}
	m.layout.checked, m.layout.start = true, m.startSection >= 0
	w := writer{module: m, out: append(make([]byte, 0, len(binary)+len(binary)/8), wasm.Header...)}
	w.owned = m.imported == nil
	if m.layout.Fresh == "" {
		w.wrap = m.procExit >= 0 && m.startType >= 0
		w.exported = m.mutable
		m.layout.globals = len(m.mutable)
	}
	for _, s := range m.sections {
		if err := w.section(s); err != nil {
			return nil, m.layout, err
		}
	}
	return w.out, m.layout, nil
}

// stripped is the module without its custom sections: names and lines for
// debuggers, which the engine would decode, and believe how many there are.
func (m *module) stripped() []byte {
	w := writer{module: m, out: []byte(wasm.Header)}
	for _, s := range m.sections {
		if s.ID != wasm.SectionCustom {
			w.add(s.ID, s.Payload)
		}
	}
	return w.out
}

// writer puts a module together again.
type writer struct {
	*module
	out      []byte
	wrap     bool     // _start is replaced
	exported []uint32 // globals
	flagged  bool     // the globals of the checks are there
	owned    bool     // the memory that was imported is there
}

// addedGlobal is a mutable i32 that begins as zero.
const addedGlobal = "\x7f\x01\x41\x00\x0b"

func (w *writer) section(s wasm.Section) error {
	if s.ID == wasm.SectionCustom {
		return nil // see stripped
	}
	if after := s.ID > wasm.SectionMemory; after && !w.owned {
		w.owned = true
		w.add(wasm.SectionMemory, w.imported.section)
	}
	if after := s.ID > wasm.SectionGlobal && s.ID != wasm.SectionTag; after && !w.flagged {
		w.flagged = true
		w.add(wasm.SectionGlobal, append([]byte{addedGlobals}, strings.Repeat(addedGlobal, addedGlobals)...))
	}
	payload, err := s.Payload, error(nil)
	switch s.ID {
	case wasm.SectionStart:
		return nil
	case wasm.SectionImport:
		if w.imported != nil {
			payload, err = w.imported.without(payload)
		}
	case wasm.SectionMemory:
		if !w.owned {
			w.owned, payload = true, w.imported.section
		}
	case wasm.SectionGlobal:
		w.flagged = true
		payload, err = appended(payload, []byte(strings.Repeat(addedGlobal, addedGlobals)), addedGlobals)
	case wasm.SectionFunction:
		if w.wrap {
			payload, err = appended(payload, wasm.AppendU32(nil, uint32(w.startType)), 1)
		}
	case wasm.SectionTable:
		payload, err = boundTables(payload)
	case wasm.SectionExport:
		payload, err = w.exports(payload)
	case wasm.SectionCode:
		payload = w.code
		if w.wrap {
			payload, err = appended(payload, w.startBody(), 1)
		}
	default:
	}
	if err != nil {
		return err
	}
	w.add(s.ID, payload)
	return nil
}

func (w *writer) add(id wasm.SectionID, payload []byte) {
	w.out = append(w.out, byte(id))
	w.out = append(wasm.AppendU32(w.out, uint32(len(payload))), payload...)
}

// appended adds n elements to a section that is a vector.
func appended(payload, elements []byte, n uint32) ([]byte, error) {
	r := wasm.Reader{Text: payload}
	count := r.U32()
	if r.Err != nil || count > 1<<32-1-n {
		return nil, errors.New("section: no count")
	}
	out := wasm.AppendU32(make([]byte, 0, len(payload)+len(elements)+5), count+n)
	out = append(out, payload[r.At:]...)
	return append(out, elements...), nil
}

// startBody calls the old _start, then proc_exit(0).
func (m *module) startBody() []byte {
	code := []byte{0, 0x10} // no locals; call
	code = wasm.AppendU32(code, uint32(m.start))
	code = append(code, 0x41, 0, 0x10) // i32.const 0; call
	code = wasm.AppendU32(code, uint32(m.procExit))
	code = append(code, 0x00, 0x0b) // unreachable; end
	return append(wasm.AppendU32(nil, uint32(len(code))), code...)
}

// exports adds the globals and points _start to the function that will be the
// last one.
func (w *writer) exports(payload []byte) ([]byte, error) {
	r := wasm.Reader{Text: payload}
	var kept []byte
	count := r.U32()
	for range count {
		from := r.At
		name, kind := r.Name(), r.Byte()
		if r.U32(); r.Err != nil {
			return nil, r.Err
		}
		if strings.HasPrefix(name, "warder:") {
			return nil, fmt.Errorf("export %q: names that start with \"warder:\" are the host's own", name)
		}
		if w.wrap && kind == 0 && name == "_start" {
			last, err := w.functionCount()
			if err != nil {
				return nil, err
			}
			kept = appendExport(kept, name, 0, last)
			continue
		}
		kept = append(kept, r.Text[from:r.At]...)
	}
	added := []byte(nil)
	extra := uint32(1)
	added = appendExport(added, interruptName, 3, w.globals)
	if w.startSection >= 0 {
		added = appendExport(added, startName, 0, uint32(w.startSection))
		extra++
	}
	for i, index := range w.exported {
		added = appendExport(added, globalName(i), 3, index)
		extra++
	}
	return append(append(wasm.AppendU32(nil, count+extra), kept...), added...), nil
}

func appendExport(dst []byte, name string, kind byte, index uint32) []byte {
	dst = append(wasm.AppendU32(dst, uint32(len(name))), name...)
	return wasm.AppendU32(append(dst, kind), index)
}

// functionCount is how many functions the module has, imports included.
func (m *module) functionCount() (uint32, error) {
	for _, s := range m.sections {
		if s.ID == wasm.SectionFunction {
			r := wasm.Reader{Text: s.Payload}
			count := r.U32()
			return m.functionImports + count, r.Err
		}
	}
	return 0, errors.New("no function section")
}
