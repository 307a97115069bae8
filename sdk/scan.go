package sdk

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"math/bits"
	"strings"
)

// MaxDepth is how deep a JSON document may nest. Source: encoding/json's own
// limit, which is also the API server's.
const MaxDepth = 10000

// SyntaxError reports text that is not JSON.
type SyntaxError struct {
	// Offset is the index of the first byte that cannot be, from 0.
	Offset int
	// Problem says what was found or missing there.
	Problem string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at offset %d", e.Problem, e.Offset) }

// Check reports whether text is one JSON value and nothing else but space:
// nil, or a *SyntaxError. It does not look at the encoding of strings (whether
// they are UTF-8) nor for duplicate names. It allocates nothing when text is
// valid.
func Check(text []byte) error { return check(text, nil) }

// check is Check that notes where values end.
func check(text []byte, known *spans) error {
	start := skipSpace(text, 0)
	if start == len(text) {
		return &SyntaxError{start, "EOF while parsing a value"}
	}
	end, err := skipValue(text, start, known)
	if err != nil {
		return err
	}
	if end = skipSpace(text, end); end != len(text) {
		return &SyntaxError{end, "trailing characters"}
	}
	return nil
}

func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the end of the value that starts at text[i], which is not
// space. It does not recurse, so that a deep document costs no stack.
func skipValue(text []byte, i int, known *spans) (int, error) {
	if i < len(text) && text[i] != '{' && text[i] != '[' {
		return skipScalar(text, i)
	}
	return skipNested(text, i, known)
}

// skipNested walks objects and arrays. One bit a level says which of the two
// is open.
func skipNested(text []byte, i int, known *spans) (int, error) {
	var isObject [MaxDepth/64 + 1]uint64
	depth := 0
	open := func(object bool) {
		known.enter(depth, i)
		word, bit := depth/64, uint(depth%64)
		isObject[word] &^= 1 << bit
		if object {
			isObject[word] |= 1 << bit
		}
		depth++
	}
	inObject := func() bool { return isObject[(depth-1)/64]>>uint((depth-1)%64)&1 == 1 }

	for {
		// A value is due at i.
		if i = skipSpace(text, i); i == len(text) {
			return i, &SyntaxError{i, "EOF while parsing a value"}
		}
		switch c := text[i]; c {
		case '{', '[':
			if depth == MaxDepth {
				return i, &SyntaxError{i, "recursion limit exceeded"}
			}
			open(c == '{')
			next := skipSpace(text, i+1)
			if next < len(text) && text[next] == c+2 { // '}' is '{'+2 and ']' is '['+2
				depth--
				i = next + 1
				break
			}
			if i = next; c == '[' {
				continue
			}
			end, err := skipName(text, i)
			if err != nil {
				return i, err
			}
			i = end
			continue
		default:
			end, err := skipScalar(text, i)
			if err != nil {
				return i, err
			}
			i = end
		}
		// A value ended at i: close what it closes.
		for {
			if depth == 0 {
				return i, nil
			}
			if i = skipSpace(text, i); i == len(text) {
				return i, &SyntaxError{i, eofIn(inObject())}
			}
			object := inObject()
			if text[i] == ',' {
				i++
				if object {
					end, err := skipName(text, skipSpace(text, i))
					if err != nil {
						return i, err
					}
					i = end
				}
				break
			}
			if object && text[i] == '}' || !object && text[i] == ']' {
				depth--
				i++
				known.leave(text, depth, i)
				continue
			}
			if object {
				return i, &SyntaxError{i, "expected `,` or `}`"}
			}
			return i, &SyntaxError{i, "expected `,` or `]`"}
		}
	}
}

func eofIn(object bool) string {
	if object {
		return "EOF while parsing an object"
	}
	return "EOF while parsing a list"
}

// skipName skips `"name" :` at text[i] and returns where the value may start.
func skipName(text []byte, i int) (int, error) {
	if i == len(text) {
		return i, &SyntaxError{i, "EOF while parsing an object"}
	}
	if text[i] != '"' {
		return i, &SyntaxError{i, "key must be a string"}
	}
	i, err := skipString(text, i)
	if err != nil {
		return i, err
	}
	if i = skipSpace(text, i); i == len(text) {
		return i, &SyntaxError{i, "EOF while parsing an object"}
	}
	if text[i] != ':' {
		return i, &SyntaxError{i, "expected `:`"}
	}
	return i + 1, nil
}

func skipScalar(text []byte, i int) (int, error) {
	if i >= len(text) {
		return i, &SyntaxError{i, "EOF while parsing a value"}
	}
	switch c := text[i]; {
	case c == '"':
		return skipString(text, i)
	case c == '-' || '0' <= c && c <= '9':
		return skipNumber(text, i)
	case c == 't':
		return skipWord(text, i, "true")
	case c == 'f':
		return skipWord(text, i, "false")
	case c == 'n':
		return skipWord(text, i, "null")
	}
	return i, &SyntaxError{i, "expected value"}
}

func skipWord(text []byte, i int, word string) (int, error) {
	for k := range len(word) {
		if i+k == len(text) {
			return i + k, &SyntaxError{i + k, "EOF while parsing a value"}
		}
		if text[i+k] != word[k] {
			return i + k, &SyntaxError{i + k, "expected ident"}
		}
	}
	return i + len(word), nil
}

func skipString(text []byte, i int) (int, error) {
	for i = skipPlain(text, i+1); i < len(text); i = skipPlain(text, i+1) {
		switch c := text[i]; {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			i++
			if i == len(text) {
				return i, &SyntaxError{i, "EOF while parsing a string"}
			}
			switch text[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					if i++; i == len(text) {
						return i, &SyntaxError{i, "EOF while parsing a string"}
					}
					if !isHex(text[i]) {
						return i, &SyntaxError{i, "invalid escape"}
					}
				}
			default:
				return i, &SyntaxError{i, "invalid escape"}
			}
		case c < 0x20:
			return i, &SyntaxError{i, "control character (\\u0000-\\u001F) found while parsing a string"}
		}
	}
	return i, &SyntaxError{i, "EOF while parsing a string"}
}

// Eight bytes at a time: the high bits of a word's bytes say something of each.
// Only the lowest one that is set can be trusted, those above it may be carries.
// Source: Bit Twiddling Hacks, "Determine if a word has a byte less than n".
const (
	lanes = 0x0101010101010101
	highs = 0x80 * lanes
)

// equals marks the bytes of w that are b.
func equals(w uint64, b byte) uint64 {
	w ^= lanes * uint64(b)
	return (w - lanes) &^ w & highs
}

// skipPlain returns the index of the first byte from i on that means something
// in a string: a quote, a backslash or a control character; len(text) if there
// is none.
func skipPlain(text []byte, i int) int {
	for ; i+8 <= len(text); i += 8 {
		w := binary.LittleEndian.Uint64(text[i:])
		if marks := equals(w, '"') | equals(w, '\\') | (w-lanes*0x20)&^w&highs; marks != 0 {
			return i + bits.TrailingZeros64(marks)/8
		}
	}
	for i < len(text) && text[i] != '"' && text[i] != '\\' && text[i] >= 0x20 {
		i++
	}
	return i
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func skipNumber(text []byte, i int) (int, error) {
	digits := func() bool {
		from := i
		for i < len(text) && '0' <= text[i] && text[i] <= '9' {
			i++
		}
		return i > from
	}
	if text[i] == '-' {
		i++
	}
	if i < len(text) && text[i] == '0' {
		i++
	} else if !digits() {
		return i, &SyntaxError{i, "invalid number"}
	}
	if i < len(text) && text[i] == '.' {
		i++
		if !digits() {
			return i, &SyntaxError{i, "invalid number"}
		}
	}
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		if !digits() {
			return i, &SyntaxError{i, "invalid number"}
		}
	}
	return i, nil
}

// jumpValue is skipValue for a text that has been through Check: of an object or
// a list it finds the end alone. In other text the end may be anywhere, but
// never outside.
func jumpValue(text []byte, i int) (int, error) {
	if i >= len(text) || text[i] != '{' && text[i] != '[' {
		return skipScalar(text, i)
	}
	depth := 0
	for ; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, nil
			}
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		}
	}
	return len(text), &SyntaxError{len(text), "EOF while parsing a value"}
}

// member is one name and value of an object; both are slices of the text.
type member struct {
	name  []byte // with its quotes
	value []byte
}

// offsetIn returns where part starts in whole. Part must be a piece of whole, as
// members and elements yield it: both then end with the same array, so that the
// difference of their capacities is the offset.
func offsetIn(whole, part []byte) int { return cap(whole) - cap(part) }

// members yields the members of the object in text, in their order, and stops
// at the first thing that is not JSON. Space around the object is skipped.
func members(text []byte, known *spans) iter.Seq[member] {
	return func(yield func(member) bool) {
		known := known.of(text)
		i := skipSpace(text, 0)
		if i == len(text) || text[i] != '{' {
			return
		}
		i = skipSpace(text, i+1)
		for i < len(text) && text[i] == '"' {
			nameEnd, err := skipString(text, i)
			if err != nil {
				return
			}
			name := text[i:nameEnd]
			if i = skipSpace(text, nameEnd); i == len(text) || text[i] != ':' {
				return
			}
			i = skipSpace(text, i+1)
			end, err := known.jump(text, i)
			if err != nil || !yield(member{name, text[i:end]}) {
				return
			}
			if i = skipSpace(text, end); i == len(text) || text[i] != ',' {
				return
			}
			i = skipSpace(text, i+1)
		}
	}
}

// elements yields the elements of the array in text as members does.
func elements(text []byte, known *spans) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		known := known.of(text)
		i := skipSpace(text, 0)
		if i == len(text) || text[i] != '[' {
			return
		}
		i = skipSpace(text, i+1)
		for n := 0; i < len(text) && text[i] != ']'; n++ {
			end, err := known.jump(text, i)
			if err != nil || !yield(n, text[i:end]) {
				return
			}
			if i = skipSpace(text, end); i == len(text) || text[i] != ',' {
				return
			}
			i = skipSpace(text, i+1)
		}
	}
}

// named reports whether the quoted JSON string is name.
func named(quoted []byte, name string) bool {
	inner := quoted[1 : len(quoted)-1]
	if string(inner) == name {
		return strings.IndexByte(name, '\\') < 0 // an escape never means itself
	}
	for _, c := range inner {
		if c == '\\' || c >= 0x80 {
			return unquote(quoted) == name
		}
	}
	return false
}

// unquote returns the text of a JSON string.
func unquote(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	for _, c := range inner {
		if c == '\\' || c >= 0x80 {
			var s string
			if json.Unmarshal(quoted, &s) != nil {
				return ""
			}
			return s
		}
	}
	return string(inner)
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD, as in encoding/json.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&15])
		case r < 0x80:
			dst = append(dst, byte(r))
		default:
			dst = append(dst, string(r)...)
		}
	}
	return append(dst, '"')
}
