package review

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Diff returns the JSON patch (RFC 6902) that makes after of before, nil when
// they are equal. The operations and their order are those of Kubewarden's
// server: members of after in the order of their names, then what is gone;
// elements of lists by index. Values have sorted names and no space; the
// spelling of their numbers is kept.
//
// 1 and 1.0 are different; 1.0 and 1.00 are equal. The error says which of the
// two is not JSON. Texts that are equal byte by byte are not looked at, whatever
// they are: nothing becomes of nothing without a patch.
func Diff(before, after json.RawMessage) (json.RawMessage, error) {
	if bytes.Equal(before, after) {
		return nil, nil
	}
	if err := sdk.Check(before); err != nil {
		return nil, fmt.Errorf("before: %w", err)
	}
	if err := sdk.Check(after); err != nil {
		return nil, fmt.Errorf("after: %w", err)
	}
	var d differ
	d.compare(parse(string(before)), parse(string(after)))
	if d.ops == nil {
		return nil, nil
	}
	return append(d.ops, ']'), nil
}

// Equal reports whether Diff finds nothing. It stops at the first difference.
// Text that is not JSON equals nothing but itself.
func Equal(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if sdk.Check(a) != nil || sdk.Check(b) != nil {
		return false
	}
	d := differ{first: true}
	d.compare(parse(string(a)), parse(string(b)))
	return d.ops == nil
}

func isNull(text []byte) bool { return string(bytes.TrimSpace(text)) == "null" }

// differ collects operations. path is the pointer to where it is.
type differ struct {
	ops  []byte // nil, or a list without its last bracket
	path []byte
	deep int
	// first is for whoever asks only whether there is one.
	first bool
}

// lazyDepth is how deep the texts of two values are compared before they are
// taken apart, and they are taken apart one level at a time. It saves the work
// for what is the same. Below it each is taken apart at once: otherwise a
// document of n bytes that nests n deep would cost n times n.
const lazyDepth = 32

func (d *differ) compare(left, right node) {
	if d.first && d.ops != nil {
		return
	}
	how := everything
	if d.deep < lazyDepth {
		if left.raw == right.raw {
			return
		}
		how = children
	}
	d.deep++
	switch {
	case left.kind() == '{' && right.kind() == '{':
		d.objects(left.open(how), right.open(how))
	case left.kind() == '[' && right.kind() == '[':
		d.lists(left.open(how), right.open(how))
	case !equalScalars(left, right):
		d.add("replace", right)
	}
	d.deep--
}

func (d *differ) objects(left, right node) {
	l := left.members
	for _, m := range right.members {
		for len(l) > 0 && l[0].name < m.name {
			l = l[1:]
		}
		mark := d.enter(m.name)
		if len(l) > 0 && l[0].name == m.name {
			d.compare(l[0].value, m.value)
		} else {
			d.add("add", m.value)
		}
		d.path = d.path[:mark]
	}
	r := right.members
	for _, m := range left.members {
		for len(r) > 0 && r[0].name < m.name {
			r = r[1:]
		}
		if len(r) > 0 && r[0].name == m.name {
			continue
		}
		mark := d.enter(m.name)
		d.remove()
		d.path = d.path[:mark]
	}
}

func (d *differ) lists(left, right node) {
	l, r := left.elements, right.elements
	for i := range max(len(l), len(r)) {
		mark := len(d.path)
		// What is removed makes the rest move up, so that every removal is at
		// the same index.
		d.path = strconv.AppendInt(append(d.path, '/'), int64(min(i, len(r))), 10)
		switch {
		case i >= len(r):
			d.remove()
		case i >= len(l):
			// The path has i already: it is below len(r).
			d.add("add", r[i])
		default:
			d.compare(l[i], r[i])
		}
		d.path = d.path[:mark]
	}
}

// enter appends a token to the path and returns the length to go back to.
func (d *differ) enter(name string) int {
	mark := len(d.path)
	d.path = append(append(d.path, '/'), sdk.EscapePointer(name)...)
	return mark
}

func (d *differ) add(op string, value node) {
	d.open(op)
	if d.first {
		return
	}
	d.ops = append(d.ops, `,"value":`...)
	d.ops = append(value.appendTo(d.ops), '}')
}

func (d *differ) remove() {
	d.open("remove")
	d.ops = append(d.ops, '}')
}

func (d *differ) open(op string) {
	if d.ops == nil {
		d.ops = append(d.ops, '[')
	} else {
		d.ops = append(d.ops, ',')
	}
	d.ops = append(append(append(d.ops, `{"op":"`...), op...), `","path":`...)
	d.ops = appendQuoted(d.ops, string(d.path))
}

// equalScalars compares two values of which at most one is a container.
func equalScalars(left, right node) bool {
	if left.raw == right.raw {
		return true
	}
	switch l, r := left.kind(), right.kind(); {
	case l == '"' && r == '"':
		return unquote(left.raw) == unquote(right.raw)
	case l == '0' && r == '0':
		return isFloat(left.raw) && isFloat(right.raw) && sameFloat(left.raw, right.raw)
	}
	return false // null, true and false have one spelling each
}

// isFloat reports whether a number is a floating one for serde_json. Integers
// have one spelling each, so that nothing else is asked of them.
func isFloat(number string) bool { return strings.ContainsAny(number, ".eE") || number == "-0" }

func sameFloat(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y // out of range: only the same text is the same
}
