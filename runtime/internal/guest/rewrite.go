package guest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
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
func Inspect(wasm []byte) (Layout, error) {
	m, err := parse(wasm)
	if err != nil {
		return Layout{}, err
	}
	return m.layout, nil
}

// module is what rewriting needs to know of a module.
type module struct {
	sections []section
	layout   Layout

	functionImports uint32
	procExit        int64    // index of the import proc_exit, -1 without
	startType       int64    // type index of the function that exports _start
	start           int64    // its function index, -1 without
	startSection    int64    // function index of the start section, -1 without
	globals         uint32   // imported and own
	mutable         []uint32 // indexes of those that change
	memory          bool     // it has a memory of its own
	code            []byte   // with checks; nil when the code could not be read
}

func parse(wasm []byte) (*module, error) {
	all, err := sections(wasm)
	if err != nil {
		return nil, err
	}
	if err := bounded(all); err != nil {
		return nil, err
	}
	m := &module{sections: all, procExit: -1, start: -1, startType: -1, startSection: -1}
	var codeSection []byte
	for _, s := range all {
		r := reader{text: s.payload}
		switch s.id {
		case sectionImport:
			m.readImports(&r)
		case sectionGlobal:
			m.readGlobals(&r)
		case sectionExport:
			m.readExports(&r)
		case sectionStart:
			m.startSection = int64(r.u32())
		case sectionMemory:
			m.memory = r.u32() > 0
		case sectionCode:
			codeSection = s.payload
		case sectionCustom:
			if r.name() == MetadataSection && m.layout.Metadata == nil {
				m.layout.Metadata = r.text[r.at:]
			}
			r.err = nil // a custom section may be anything
		default:
		}
		if r.err != nil {
			return nil, fmt.Errorf("section %d: %w", s.id, r.err)
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

func (m *module) readImports(r *reader) {
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		from, name := r.name(), r.name()
		switch kind := r.byte(); kind {
		case 0: // function
			r.u32()
			if name == "proc_exit" && strings.HasPrefix(from, "wasi_") {
				m.procExit = int64(m.functionImports)
			}
			m.layout.Imports = append(m.layout.Imports, from+"."+name)
			m.functionImports++
		case 1: // table
			c := coder{reader: *r}
			c.valueType()
			*r = c.reader
			r.limits()
			m.fresh("it imports a table")
		case 2:
			r.limits()
			m.fresh("it imports its memory")
		case 3: // global
			c := coder{reader: *r}
			c.valueType()
			*r = c.reader
			r.byte()
			m.globals++
			m.fresh("it imports a global")
		case 4: // tag
			r.byte()
			r.u32()
		default:
			r.fail(fmt.Errorf("unknown kind of import %d", kind))
		}
	}
}

func (r *reader) limits() {
	flags := r.byte()
	r.u32()
	if flags&1 != 0 {
		r.u32()
	}
}

// readGlobals notes the mutable globals, which a snapshot has to hold.
func (m *module) readGlobals(r *reader) {
	count := r.u32()
	for i := uint32(0); i < count && r.err == nil; i++ {
		kind := r.byte()
		if kind == 0x63 || kind == 0x64 {
			r.skipSigned(33)
		}
		mutable := r.byte() == 1
		c := coder{reader: *r}
		for c.more() && c.text[c.at] != 0x0b {
			c.instruction()
		}
		c.byte()
		*r = c.reader
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

func (m *module) readExports(r *reader) {
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		name, kind, index := r.name(), r.byte(), r.u32()
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
		if s.id != sectionFunction {
			continue
		}
		r := reader{text: s.payload}
		count := int64(r.u32())
		for i := range count {
			index := r.u32()
			if r.err != nil {
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
func rewrite(wasm []byte) ([]byte, Layout, error) {
	m, err := parse(wasm)
	if err != nil {
		return nil, Layout{}, err
	}
	if m.code == nil {
		return m.stripped(), m.layout, nil
	}
	m.layout.checked, m.layout.start = true, m.startSection >= 0
	w := writer{module: m, out: append(make([]byte, 0, len(wasm)+len(wasm)/8), header...)}
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
	w := writer{module: m, out: []byte(header)}
	for _, s := range m.sections {
		if s.id != sectionCustom {
			w.add(s.id, s.payload)
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
}

// addedGlobal is a mutable i32 that begins as zero.
const addedGlobal = "\x7f\x01\x41\x00\x0b"

func (w *writer) section(s section) error {
	if s.id == sectionCustom {
		return nil // see stripped
	}
	if after := s.id > sectionGlobal && s.id != sectionTag; after && !w.flagged {
		w.flagged = true
		w.add(sectionGlobal, append([]byte{addedGlobals}, strings.Repeat(addedGlobal, addedGlobals)...))
	}
	payload, err := s.payload, error(nil)
	switch s.id {
	case sectionStart:
		return nil
	case sectionGlobal:
		w.flagged = true
		payload, err = appended(payload, []byte(strings.Repeat(addedGlobal, addedGlobals)), addedGlobals)
	case sectionFunction:
		if w.wrap {
			payload, err = appended(payload, appendU32(nil, uint32(w.startType)), 1)
		}
	case sectionTable:
		payload, err = boundTables(payload)
	case sectionExport:
		payload, err = w.exports(payload)
	case sectionCode:
		payload = w.code
		if w.wrap {
			payload, err = appended(payload, w.startBody(), 1)
		}
	default:
	}
	if err != nil {
		return err
	}
	w.add(s.id, payload)
	return nil
}

func (w *writer) add(id sectionID, payload []byte) {
	w.out = append(w.out, byte(id))
	w.out = append(appendU32(w.out, uint32(len(payload))), payload...)
}

// appended adds n elements to a section that is a vector.
func appended(payload, elements []byte, n uint32) ([]byte, error) {
	r := reader{text: payload}
	count := r.u32()
	if r.err != nil || count > 1<<32-1-n {
		return nil, errors.New("section: no count")
	}
	out := appendU32(make([]byte, 0, len(payload)+len(elements)+5), count+n)
	out = append(out, payload[r.at:]...)
	return append(out, elements...), nil
}

// startBody calls the old _start, then proc_exit(0).
func (m *module) startBody() []byte {
	code := []byte{0, 0x10} // no locals; call
	code = appendU32(code, uint32(m.start))
	code = append(code, 0x41, 0, 0x10) // i32.const 0; call
	code = appendU32(code, uint32(m.procExit))
	code = append(code, 0x00, 0x0b) // unreachable; end
	return append(appendU32(nil, uint32(len(code))), code...)
}

// exports adds the globals and points _start to the function that will be the
// last one.
func (w *writer) exports(payload []byte) ([]byte, error) {
	r := reader{text: payload}
	var kept []byte
	count := r.u32()
	for range count {
		from := r.at
		name, kind := r.name(), r.byte()
		if r.u32(); r.err != nil {
			return nil, r.err
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
		kept = append(kept, r.text[from:r.at]...)
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
	return append(append(appendU32(nil, count+extra), kept...), added...), nil
}

func appendExport(dst []byte, name string, kind byte, index uint32) []byte {
	dst = append(appendU32(dst, uint32(len(name))), name...)
	return appendU32(append(dst, kind), index)
}

// functionCount is how many functions the module has, imports included.
func (m *module) functionCount() (uint32, error) {
	for _, s := range m.sections {
		if s.id == sectionFunction {
			r := reader{text: s.payload}
			count := r.u32()
			return m.functionImports + count, r.err
		}
	}
	return 0, errors.New("no function section")
}
