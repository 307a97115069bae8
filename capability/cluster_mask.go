package capability

import "strings"

// mask says which fields of an object to keep: the names on this level, each
// with the mask below it; a name with an empty mask keeps all that is under it.
// Where one path is the beginning of another, the longer one counts.
type mask map[string]mask

// newMask returns the mask of dotted paths; nil, which keeps everything, when
// there are none.
func newMask(paths []string) mask {
	if len(paths) == 0 {
		return nil
	}
	top := mask{}
	for _, path := range paths {
		m := top
		for name := range strings.SplitSeq(path, ".") {
			if m[name] == nil {
				m[name] = mask{}
			}
			m = m[name]
		}
	}
	// These three are never pruned.
	for _, name := range []string{"apiVersion", "kind", "metadata"} {
		top[name] = mask{}
	}
	return top
}

// appendTo appends what the mask keeps of a value that is valid JSON.
func (m mask) appendTo(dst, value []byte) []byte {
	if len(m) == 0 || len(value) == 0 {
		return append(dst, value...)
	}
	switch value[0] {
	case '{':
		start := len(dst)
		for name, child := range rawMembers(value) {
			below, ok := m.below(name)
			if !ok {
				continue
			}
			dst = append(dst, ',')
			dst = append(append(dst, name...), ':')
			dst = below.appendTo(dst, child)
		}
		return enclose(dst, start, "{}")
	case '[':
		start := len(dst)
		for element := range rawElements(value) {
			dst = m.appendTo(append(dst, ','), element)
		}
		return enclose(dst, start, "[]")
	}
	return append(dst, value...)
}

// below returns the mask under a quoted name, and whether the name is kept.
func (m mask) below(quoted []byte) (mask, bool) {
	if below, ok := m[string(quoted[1:len(quoted)-1])]; isPlain(quoted) {
		return below, ok
	}
	name, _ := rawText(quoted)
	below, ok := m[name]
	return below, ok
}

// enclose puts brackets around what was appended since start, each part of
// which has a comma before it.
func enclose(dst []byte, start int, brackets string) []byte {
	if len(dst) == start {
		return append(dst, brackets...)
	}
	dst[start] = brackets[0]
	return append(dst, brackets[1])
}
