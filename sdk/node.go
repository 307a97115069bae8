package sdk

import (
	"fmt"
	"slices"
	"strconv"
)

// node is a value of a document that is being changed. It is its own text until
// a change goes below it; then its children are taken apart, once, and what is
// between them is kept, so that many changes cost little more than one.
type node struct {
	text     []byte
	opened   bool
	children []branch
	space    []byte // between the brackets of an empty object or list
}

// branch is a member of an object or an element of a list.
type branch struct {
	before []byte // space after the bracket or the comma
	name   []byte // of a member, with its quotes
	label  []byte // the name, the colon and the space around it
	value  node
	after  []byte // space before the comma or the bracket
}

func (n *node) isObject() bool { return n.text[0] == '{' }

// open takes the children of n apart. It reports whether n is an object or a
// list, and JSON.
func (n *node) open() bool {
	if n.opened {
		return true
	}
	text := n.text
	if text[0] != '{' && text[0] != '[' {
		return false
	}
	end := text[0] + 2 // '}' is '{'+2 and ']' is '['+2
	from := 1
	i := skipSpace(text, from)
	if i < len(text) && text[i] == end {
		n.space, n.opened = text[from:i], true
		return i+1 == len(text)
	}
	for {
		c := branch{before: text[from:i]}
		if text[0] == '{' {
			value, err := skipName(text, i)
			if err != nil {
				return false
			}
			nameEnd, _ := skipString(text, i) // skipName has been there
			value = skipSpace(text, value)
			c.name, c.label, i = text[i:nameEnd], text[i:value], value
		}
		valueEnd, err := jumpValue(text, i)
		if err != nil {
			return false
		}
		next := skipSpace(text, valueEnd)
		if next == len(text) || text[next] != ',' && text[next] != end {
			return false
		}
		c.value, c.after = node{text: text[i:valueEnd]}, text[valueEnd:next]
		n.children = append(n.children, c)
		if text[next] == end {
			n.opened = next+1 == len(text)
			return n.opened
		}
		from = next + 1
		i = skipSpace(text, from)
	}
}

// find returns the index of the child called token, the last of two members;
// the number of children if there is none.
func (n *node) find(token string) (at int, problem string) {
	if !n.open() {
		return 0, fmt.Sprintf("%q is below something that is neither an object nor a list", token)
	}
	if n.isObject() {
		for i, c := range slices.Backward(n.children) {
			if named(c.name, token) {
				return i, ""
			}
		}
		return len(n.children), ""
	}
	if token == "-" {
		return len(n.children), ""
	}
	at, err := strconv.Atoi(token)
	if err != nil || token[0] < '0' || token[0] > '9' || len(token) > 1 && token[0] == '0' {
		return 0, fmt.Sprintf("%q is not an index of a list", token)
	}
	if at > len(n.children) {
		return 0, fmt.Sprintf("the list has %d elements, there is no %d", len(n.children), at)
	}
	return at, ""
}

// put makes value the child at the index, which is called token: in place of
// the one that is there, or as the last.
func (n *node) put(at int, token string, value node) {
	if at < len(n.children) {
		n.children[at].value = value
		return
	}
	c := branch{value: value}
	if n.isObject() {
		c.name = appendQuoted(nil, token)
		c.label = append(slices.Clone(c.name), ':')
	}
	if at == 0 {
		c.before, n.space = n.space, nil
	}
	n.children = append(n.children, c)
}

// insert makes value the element before the one at the index.
func (n *node) insert(at int, value node) {
	c := branch{before: n.children[at].before, value: value}
	n.children[at].before = nil
	n.children = slices.Insert(n.children, at, c)
}

// remove takes out the child at the index, and the other members called token.
func (n *node) remove(at int, token string) {
	n.removeAt(at)
	if !n.isObject() {
		return
	}
	for at--; at >= 0; at-- {
		if named(n.children[at].name, token) {
			n.removeAt(at)
		}
	}
}

// removeAt takes out one child and the comma that sets it apart.
func (n *node) removeAt(at int) {
	c := n.children[at]
	switch {
	case at+1 < len(n.children):
		n.children[at+1].before = c.before
	case at > 0:
		previous := &n.children[at-1]
		previous.after = append(slices.Clone(previous.after), c.after...)
	default:
		n.space = c.after
	}
	n.children = slices.Delete(n.children, at, at+1)
}

// appendTo appends the value's text.
func (n *node) appendTo(dst []byte) []byte {
	if !n.opened {
		return append(dst, n.text...)
	}
	dst = append(append(dst, n.text[0]), n.space...)
	for i := range n.children {
		c := &n.children[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, c.before...), c.label...)
		dst = append(c.value.appendTo(dst), c.after...)
	}
	return append(dst, n.text[len(n.text)-1])
}
