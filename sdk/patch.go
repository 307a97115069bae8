package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Patch is a list of changes to a JSON document, as RFC 6902 has them. It
// edits the text in place of what changes: names that the author of the policy
// has never heard of, the order of members and the spelling of numbers stay.
type Patch []PatchOperation

// PatchOperation is one change.
type PatchOperation struct {
	Op    PatchOp         `json:"op"`
	Path  string          `json:"path"` // a JSON pointer, RFC 6901
	Value json.RawMessage `json:"value,omitempty"`
}

// PatchOp says what a PatchOperation does.
type PatchOp string

// The operations that a policy may use. Set is Add that also makes the objects
// missing on the way; it is of this package, not of RFC 6902, and never leaves
// the policy.
const (
	PatchAdd     PatchOp = "add"
	PatchReplace PatchOp = "replace"
	PatchRemove  PatchOp = "remove"
	PatchSet     PatchOp = "set"
)

// Set appends the change that makes value the member at the pointer, making
// objects that are missing (or null) on the way. The value is encoded with
// encoding/json; one that cannot be is an error of Apply.
func (p *Patch) Set(pointer string, value any) { p.add(PatchSet, pointer, value) }

// Add appends the change that adds value at the pointer: a member (in place of
// the one that was there), or an element before that index ("-" for the end).
func (p *Patch) Add(pointer string, value any) { p.add(PatchAdd, pointer, value) }

// Replace appends the change that replaces the value at the pointer.
func (p *Patch) Replace(pointer string, value any) { p.add(PatchReplace, pointer, value) }

// Remove appends the change that removes the value at the pointer.
func (p *Patch) Remove(pointer string) {
	*p = append(*p, PatchOperation{Op: PatchRemove, Path: pointer})
}

func (p *Patch) add(op PatchOp, pointer string, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		raw = nil // Apply refuses an operation without a value
	}
	*p = append(*p, PatchOperation{Op: op, Path: pointer, Value: raw})
}

// EscapePointer returns name as one token of a JSON pointer.
func EscapePointer(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

// PatchError reports the operation of a Patch that cannot be done.
type PatchError struct {
	Index     int // of the operation, from 0
	Operation PatchOperation
	Problem   string
}

func (e *PatchError) Error() string {
	return fmt.Sprintf("patch operation %d: %s %q: %s", e.Index, e.Operation.Op, e.Operation.Path, e.Problem)
}

// Apply returns the document with the changes made in their order. The text
// given is not changed. The error is a *PatchError.
func (p Patch) Apply(text json.RawMessage) (json.RawMessage, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		text = json.RawMessage("null")
	}
	for i, op := range p {
		next, problem := op.apply(text)
		if problem != "" {
			return nil, &PatchError{i, op, problem}
		}
		text = next
	}
	return text, nil
}

func (op PatchOperation) apply(text []byte) (result []byte, problem string) {
	if op.Op != PatchRemove {
		if err := Check(op.Value); err != nil {
			return nil, "the value is not JSON"
		}
	}
	if op.Path == "" {
		if op.Op == PatchRemove {
			return nil, "the document itself cannot be removed"
		}
		return op.Value, ""
	}
	if op.Path[0] != '/' {
		return nil, "the path does not start with a slash"
	}
	tokens := strings.Split(op.Path[1:], "/")
	for i := range tokens {
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(tokens[i], "~1", "/"), "~0", "~")
	}
	return op.edit(text, tokens)
}

// edit makes the change at the end of tokens below the container in text.
func (op PatchOperation) edit(text []byte, tokens []string) ([]byte, string) {
	text = bytes.TrimSpace(text)
	token, rest := tokens[0], tokens[1:]
	if len(text) == 0 || text[0] != '{' && text[0] != '[' {
		return nil, fmt.Sprintf("%q is below something that is neither an object nor a list", token)
	}
	place, problem := find(text, token)
	if problem != "" {
		return nil, problem
	}
	if len(rest) == 0 {
		return op.change(text, token, place)
	}
	if !place.found || op.Op == PatchSet && isNull(text[place.from:place.to]) {
		if op.Op != PatchSet || text[0] != '{' {
			return nil, fmt.Sprintf("there is no %q", token)
		}
		inner, problem := op.edit([]byte("{}"), rest)
		if problem != "" {
			return nil, problem
		}
		return put(text, token, place, inner), ""
	}
	inner, problem := op.edit(text[place.from:place.to], rest)
	if problem != "" {
		return nil, problem
	}
	return splice(text, place.from, place.to, inner), ""
}

func isNull(raw []byte) bool { return string(raw) == "null" }

// place is where a child is in the text of its container. When it is not
// found, from is where a new last child would go.
type place struct {
	found bool
	// from and to bound the child's value.
	from, to int
	// start bounds the child with its name.
	start int
	count int // children of the container
}

// find looks for the member or element called token.
func find(text []byte, token string) (place, string) {
	p := place{from: len(text) - 1, to: len(text) - 1}
	if text[0] == '{' {
		for m := range members(text) {
			p.count++
			if named(m.name, token) { // the last of two counts
				p.found = true
				p.start = offsetIn(text, m.name)
				p.from = offsetIn(text, m.value)
				p.to = p.from + len(m.value)
			}
		}
		return p, ""
	}
	want := -1
	if token != "-" {
		n, err := strconv.Atoi(token)
		if err != nil || n < 0 || len(token) > 1 && token[0] == '0' {
			return p, fmt.Sprintf("%q is not an index of a list", token)
		}
		want = n
	}
	for i, raw := range elements(text) {
		p.count++
		if i == want {
			p.found = true
			p.from = offsetIn(text, raw)
			p.start, p.to = p.from, p.from+len(raw)
		}
	}
	if !p.found && want > p.count {
		return p, fmt.Sprintf("the list has %d elements, there is no %d", p.count, want)
	}
	return p, ""
}

// change does op to the child at p of the container in text.
func (op PatchOperation) change(text []byte, token string, p place) ([]byte, string) {
	switch op.Op {
	case PatchAdd, PatchSet:
		if text[0] == '[' && p.found && op.Op == PatchAdd {
			return splice(text, p.from, p.from, append(bytes.Clone(op.Value), ',')), ""
		}
		return put(text, token, p, op.Value), ""
	case PatchReplace:
		if !p.found {
			return nil, fmt.Sprintf("there is no %q", token)
		}
		return splice(text, p.from, p.to, op.Value), ""
	case PatchRemove:
		if !p.found {
			return nil, fmt.Sprintf("there is no %q", token)
		}
		return cut(text, p), ""
	}
	return nil, fmt.Sprintf("no operation is called %q", op.Op)
}

// put makes value the child called token, in place of the one at p or last.
func put(text []byte, token string, p place, value []byte) []byte {
	if p.found {
		return splice(text, p.from, p.to, value)
	}
	var child []byte
	if p.count > 0 {
		child = append(child, ',')
	}
	if text[0] == '{' {
		child = append(appendQuoted(child, token), ':')
	}
	return splice(text, p.from, p.from, append(child, value...))
}

// cut removes the child at p with the comma that sets it apart.
func cut(text []byte, p place) []byte {
	after := skipSpace(text, p.to)
	if after < len(text) && text[after] == ',' {
		return splice(text, p.start, skipSpace(text, after+1), nil)
	}
	before := p.start
	for before > 0 && text[before] != ',' && text[before] != text[0] {
		before--
	}
	if before == 0 {
		before = 1 // the only child: keep the bracket
	}
	return splice(text, before, p.to, nil)
}

func splice(text []byte, from, to int, with []byte) []byte {
	out := make([]byte, 0, len(text)-(to-from)+len(with))
	out = append(out, text[:from]...)
	out = append(out, with...)
	return append(out, text[to:]...)
}
