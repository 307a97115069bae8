package capability

import (
	"bytes"
	"encoding/json"
	"iter"
	"unicode/utf8"
)

// The functions here walk text that sdk.Check has found to be JSON, without
// decoding it. Of other text they return nonsense, but stay inside.

// skipRawSpace returns the first index from i on that is not space.
func skipRawSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return i
}

// rawEnd returns where the value that starts at text[i] ends.
func rawEnd(text []byte, i int) int {
	if i >= len(text) {
		return len(text)
	}
	switch text[i] {
	case '"':
		return rawStringEnd(text, i)
	case '{', '[':
		for depth := 0; i < len(text); i++ {
			switch text[i] {
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			case '"':
				i = rawStringEnd(text, i) - 1
			}
		}
		return len(text)
	}
	for ; i < len(text); i++ {
		switch text[i] {
		case ',', '}', ']', ' ', '\n', '\t', '\r':
			return i
		}
	}
	return i
}

// rawStringEnd returns the index after the quote that closes the one at i.
func rawStringEnd(text []byte, i int) int {
	for i++; ; {
		n := bytes.IndexByte(text[i:], '"')
		if n < 0 {
			return len(text)
		}
		end := i + n
		escapes := end
		for escapes > i && text[escapes-1] == '\\' {
			escapes--
		}
		if i = end + 1; (end-escapes)%2 == 0 {
			return i
		}
	}
}

// rawMembers yields the names (with their quotes) and the values of an object,
// nothing of another value.
func rawMembers(text []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		i := skipRawSpace(text, 0)
		if i == len(text) || text[i] != '{' {
			return
		}
		for i = skipRawSpace(text, i+1); i < len(text) && text[i] == '"'; i = skipRawSpace(text, i+1) {
			nameEnd := rawStringEnd(text, i)
			if nameEnd < i+2 {
				return
			}
			start := skipRawSpace(text, skipRawSpace(text, nameEnd)+1)
			end := rawEnd(text, min(start, len(text)))
			if start > end || !yield(text[i:nameEnd], text[start:end]) {
				return
			}
			if i = skipRawSpace(text, end); i >= len(text) || text[i] != ',' {
				return
			}
		}
	}
}

// rawElements yields the elements of an array, nothing of another value.
func rawElements(text []byte) iter.Seq[[]byte] {
	return func(yield func(value []byte) bool) {
		i := skipRawSpace(text, 0)
		if i == len(text) || text[i] != '[' {
			return
		}
		for i = skipRawSpace(text, i+1); i < len(text) && text[i] != ']'; i = skipRawSpace(text, i+1) {
			end := rawEnd(text, i)
			if !yield(text[i:end]) {
				return
			}
			if i = skipRawSpace(text, end); i >= len(text) || text[i] != ',' {
				return
			}
		}
	}
}

// rawText returns the text of a JSON string, and whether it is one.
func rawText(quoted []byte) (string, bool) {
	if len(quoted) < 2 || quoted[0] != '"' {
		return "", false
	}
	if isPlain(quoted) {
		return string(quoted[1 : len(quoted)-1]), true
	}
	var s string
	err := json.Unmarshal(quoted, &s)
	return s, err == nil
}

// isPlain says whether a quoted string means what is between its quotes.
func isPlain(quoted []byte) bool {
	return bytes.IndexByte(quoted, '\\') < 0 && utf8.Valid(quoted)
}

// rawLookup returns the value at a path of names, nil when there is none. The
// last of two equal names counts, as it does for the API server.
func rawLookup(text []byte, path ...string) []byte {
	for _, name := range path {
		var found []byte
		for quoted, value := range rawMembers(text) {
			if rawIs(quoted, name) {
				found = value
			}
		}
		if text = found; text == nil {
			return nil
		}
	}
	return text
}

// rawIs says whether a quoted string means name.
func rawIs(quoted []byte, name string) bool {
	if isPlain(quoted) {
		return string(quoted[1:len(quoted)-1]) == name // without making a string
	}
	text, ok := rawText(quoted)
	return ok && text == name
}

// appendJSON appends s as a JSON string.
func appendJSON(dst []byte, s string) []byte {
	text, _ := json.Marshal(s) // a string always encodes
	return append(dst, text...)
}
