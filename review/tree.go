package review

import (
	"encoding/json"
	"slices"
	"strings"
)

// node is a JSON value, taken apart when somebody looks inside. encoding/json
// would decode every string and number of two documents of which nearly
// everything is the same.
type node struct {
	raw      string // without space around
	opened   bool   // members or elements are there
	members  []member
	elements []node
}

// member is a member of an object. They are sorted by name; when a name comes
// twice the last one counts, as it does for the API server.
type member struct {
	name  string
	value node
}

// kind is '{', '[', '"', '0' (a number), 't', 'f' or 'n'.
func (n node) kind() byte {
	if c := n.raw[0]; c != '-' && (c < '0' || c > '9') {
		return c
	}
	return '0'
}

// parse returns the value in a text that sdk.Check found valid.
func parse(text string) node { return node{raw: strings.Trim(text, " \t\r\n")} }

// reach says how much of a container is taken apart.
type reach int

const (
	children reach = iota
	everything
)

// open returns the container with its children. Recursion is bounded by
// sdk.MaxDepth.
func (n node) open(how reach) node {
	if n.opened {
		return n
	}
	p := parser{text: n.raw, reach: how}
	n.opened = true
	switch n.kind() {
	case '{':
		n.members = p.object()
	case '[':
		n.elements = p.list()
	}
	return n
}

type parser struct {
	text  string
	at    int
	reach reach
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

func (p *parser) value() node {
	p.space()
	start := p.at
	var n node
	switch c := p.text[p.at]; {
	case c == '"':
		p.str()
	case c != '{' && c != '[':
		for p.at < len(p.text) && strings.IndexByte(" \t\r\n,]}", p.text[p.at]) < 0 {
			p.at++
		}
	case p.reach == children:
		p.skip()
	case c == '{':
		n.members, n.opened = p.object(), true
	default:
		n.elements, n.opened = p.list(), true
	}
	n.raw = p.text[start:p.at]
	return n
}

// skip steps over a container.
func (p *parser) skip() {
	depth := 0
	for {
		switch p.text[p.at] {
		case '"':
			p.str()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		p.at++
		if depth == 0 {
			return
		}
	}
}

// more steps over an opening bracket or a comma and reports whether a child
// follows; otherwise it steps over the closing bracket.
func (p *parser) more() bool {
	c := p.text[p.at]
	p.at++
	p.space()
	if c == ',' {
		return true
	}
	if c == '}' || c == ']' {
		return false
	}
	if next := p.text[p.at]; next == '}' || next == ']' {
		p.at++
		return false
	}
	return true
}

func (p *parser) object() []member {
	var list []member
	for p.more() {
		start := p.at
		p.str()
		name := unquote(p.text[start:p.at])
		p.space()
		p.at++ // the colon
		list = append(list, member{name, p.value()})
		p.space()
	}
	byName := func(a, b member) int { return strings.Compare(a.name, b.name) }
	if !slices.IsSortedFunc(list, byName) {
		slices.SortStableFunc(list, byName)
	}
	// Keep the last of equals: they are in the order of the text.
	kept := list[:0]
	for i, m := range list {
		if i+1 == len(list) || list[i+1].name != m.name {
			kept = append(kept, m)
		}
	}
	return kept
}

func (p *parser) list() []node {
	var list []node
	for p.more() {
		list = append(list, p.value())
		p.space()
	}
	return list
}

func (p *parser) str() {
	for p.at++; p.text[p.at] != '"'; p.at++ {
		if p.text[p.at] == '\\' {
			p.at++
		}
	}
	p.at++
}

// unquote returns the text of a JSON string.
func unquote(quoted string) string {
	inner := quoted[1 : len(quoted)-1]
	if strings.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	if json.Unmarshal([]byte(quoted), &s) != nil {
		return inner // it was checked before
	}
	return s
}

// appendTo appends the value with sorted names and no space.
func (n node) appendTo(dst []byte) []byte {
	n = n.open(everything)
	switch n.kind() {
	case '{':
		e := encoder{append(dst, '{')}
		for _, m := range n.members {
			e.name(m.name)
			e.dst = m.value.appendTo(e.dst)
		}
		return append(e.dst, '}')
	case '[':
		e := encoder{append(dst, '[')}
		for _, v := range n.elements {
			e.separate()
			e.dst = v.appendTo(e.dst)
		}
		return append(e.dst, ']')
	case '"':
		return appendQuoted(dst, unquote(n.raw))
	}
	return append(dst, n.raw...)
}
