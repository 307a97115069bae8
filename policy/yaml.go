package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// What aliases may make of a file: "billion laughs" is a dozen lines. The
// largest file that a ConfigMap can hold (1 MiB) has fewer values than this by
// half, and 64 times fewer bytes.
const (
	maxValues      = 1 << 20
	maxScalarBytes = 64 << 20
	maxNesting     = 500 // of settings; the API server's custom resources stop far below
)

// document is a YAML file that is being walked.
type document struct {
	report func(n *yaml.Node, problem string)
	values int
	bytes  int
	full   bool // a bound was met and reported
}

// parseYAML returns the only document of the text, nil when there is none.
func parseYAML(text []byte) (root *yaml.Node, err error) {
	defer func() {
		// The parser is not ours, and the file is somebody's mistake at worst:
		// it must not take the server down when it is read again.
		if r := recover(); r != nil {
			root, err = nil, fmt.Errorf("not YAML: the parser gave up: %v", r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(jsonAsYAML(text)))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, fmt.Errorf("a second document starts at line %d; want one", second.Line)
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, nil
	}
	return doc.Content[0], nil
}

// jsonAsYAML returns JSON in the spelling that the parser knows, other text as
// it is: it has no escapes of surrogates and slashes, and tabs are no space. Lines stay.
func jsonAsYAML(text []byte) []byte {
	if !json.Valid(text) {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\t':
			c = ' '
		case c == '\\' && text[i+1] == '/':
			i++
			c = '/'
		case c == '\\' && text[i+1] != 'u':
			out = append(out, c)
			i++
			c = text[i]
		case c == '\\':
			if r := escaped(text[i:]); utf16.IsSurrogate(r) {
				pair := utf16.DecodeRune(r, escaped(text[i+6:]))
				if pair != utf8.RuneError {
					i += 6
				}
				out = utf8.AppendRune(out, pair)
				i += 5
				continue
			}
		}
		out = append(out, c)
	}
	return out
}

// escaped returns the code that \uXXXX at the start of text stands for, 0 if
// there is none.
func escaped(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	code, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(code)
}

// visit follows an alias and counts the value. It is false, and has reported
// it, when the file is too large.
func (d *document) visit(n *yaml.Node) (*yaml.Node, bool) {
	for range maxNesting {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	d.values++
	d.bytes += len(n.Value)
	if d.values > maxValues || d.bytes > maxScalarBytes {
		d.stop(n, fmt.Sprintf("the file has more than %d values or %d MiB of text, its aliases resolved", maxValues, maxScalarBytes>>20))
	}
	return n, !d.full
}

func (d *document) stop(n *yaml.Node, problem string) {
	if !d.full {
		d.full = true
		d.report(n, problem)
	}
}

// field is a member of a mapping.
type field struct {
	name  string
	key   *yaml.Node
	value *yaml.Node // an alias is followed
}

// fields returns the members of a mapping in their order, what it merges
// ("<<") last. Names that come twice are reported.
func (d *document) fields(n *yaml.Node) []field { return d.fieldsAt(n, 0) }

func (d *document) fieldsAt(n *yaml.Node, depth int) []field {
	if depth > maxNesting {
		d.stop(n, "merges nest too deeply")
		return nil
	}
	var list []field
	var merged *yaml.Node
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content) && !d.full; i += 2 {
		key, _ := d.visit(n.Content[i])
		value, _ := d.visit(n.Content[i+1])
		if isMerge(key) && merged == nil {
			merged = value
			continue
		}
		name, problem := keyText(key)
		if problem != "" {
			d.report(n.Content[i], problem)
			continue
		}
		if line, ok := seen[name]; ok {
			d.report(n.Content[i], fmt.Sprintf("the key %q is there already, at line %d", name, line))
			continue
		}
		seen[name] = n.Content[i].Line
		list = append(list, field{name, n.Content[i], value})
	}
	if merged == nil {
		return list
	}
	for _, f := range d.merge(merged, depth) {
		if _, ok := seen[f.name]; !ok {
			seen[f.name] = f.key.Line
			list = append(list, f)
		}
	}
	return list
}

// merge returns the members of the mapping, or of the list of mappings, that a
// "<<" has; the first of a name counts.
func (d *document) merge(n *yaml.Node, depth int) []field {
	sources := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		sources = n.Content
	}
	var list []field
	for _, s := range sources {
		source, ok := d.visit(s)
		if !ok {
			return nil
		}
		if source.Kind != yaml.MappingNode {
			d.report(s, "want an object, or a list of objects, to merge, have "+describe(source))
			continue
		}
		list = append(list, d.fieldsAt(source, depth+1)...)
	}
	return list
}

func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && isPlain(key)
}

func isPlain(n *yaml.Node) bool {
	return n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

// keyText returns a key as a string: JSON has no others.
func keyText(key *yaml.Node) (name, problem string) {
	if key.Kind != yaml.ScalarNode {
		return "", "a key must be a string, have " + describe(key)
	}
	s, problem := resolve(key)
	if problem == "" && s.kind == null {
		problem = "a key must be a string, have null; quote it if it is meant to be one"
	}
	return key.Value, problem
}

type scalarKind int

const (
	str scalarKind = iota
	null
	boolean
	integer
	float
)

// scalar is a scalar of YAML 1.2. For all but strings text is JSON.
type scalar struct {
	kind scalarKind
	text string
}

// resolve returns what a scalar is in YAML 1.2, as serde_yaml reads it: what
// the parser says is YAML 1.1, where 0777 is octal, 1_000 a number and
// 2001-01-01 a date.
func resolve(n *yaml.Node) (s scalar, problem string) {
	tag := ""
	if n.Style&yaml.TaggedStyle != 0 {
		tag = n.ShortTag()
	}
	if !isPlain(n) && tag == "" {
		return scalar{str, n.Value}, ""
	}
	s = plain(n.Value)
	if s.kind == float && s.text == "" {
		problem = fmt.Sprintf("%s is not a number that JSON has", n.Value)
	}
	want, ok := map[string]scalarKind{"!!null": null, "!!bool": boolean, "!!int": integer, "!!float": float}[tag]
	switch {
	case tag == "":
		return s, problem
	case tag == "!!str":
		return scalar{str, n.Value}, ""
	case !ok:
		return s, fmt.Sprintf("the tag %s has no meaning here; settings are JSON", tag)
	case s.kind == want || want == float && s.kind == integer:
		return s, problem
	}
	return s, fmt.Sprintf("%q is not what its tag %s says", n.Value, tag)
}

// plain resolves a scalar without quotes. A float that JSON does not have has
// no text.
func plain(text string) scalar {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return scalar{null, "null"}
	case "true", "True", "TRUE":
		return scalar{boolean, "true"}
	case "false", "False", "FALSE":
		return scalar{boolean, "false"}
	}
	unsigned := strings.TrimLeft(text, "+-")
	if len(text)-len(unsigned) > 1 {
		return scalar{str, text}
	}
	negative := text[0] == '-'
	if lower := strings.ToLower(unsigned); lower == ".inf" || lower == ".nan" && unsigned == text {
		return scalar{float, ""}
	}
	if number, ok := based(unsigned); ok {
		return scalar{integer, sign(negative, number)}
	}
	if digits(unsigned) == len(unsigned) {
		if unsigned == "" || len(unsigned) > 1 && unsigned[0] == '0' {
			return scalar{str, text} // 0777 has been three things in as many versions of YAML
		}
		return scalar{integer, sign(negative, unsigned)}
	}
	if isFloat(unsigned) {
		return scalar{float, sign(negative, jsonFloat(unsigned))}
	}
	return scalar{str, text}
}

func sign(negative bool, number string) string {
	if negative && number != "" {
		return "-" + number
	}
	return number
}

// based returns a hexadecimal or octal integer as a decimal.
func based(text string) (string, bool) {
	if !strings.HasPrefix(text, "0x") && !strings.HasPrefix(text, "0o") {
		return "", false
	}
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil || strings.Contains(text, "_") {
		return "", false
	}
	return strconv.FormatUint(n, 10), true
}

func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}

// isFloat reports whether s is (\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?.
func isFloat(s string) bool {
	whole := digits(s)
	s = s[whole:]
	if strings.HasPrefix(s, ".") {
		fraction := digits(s[1:])
		if whole+fraction == 0 {
			return false
		}
		s = s[1+fraction:]
	} else if whole == 0 {
		return false
	}
	if s == "" {
		return true
	}
	if s[0] != 'e' && s[0] != 'E' {
		return false
	}
	s = s[1:]
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	return s != "" && digits(s) == len(s)
}

// jsonFloat spells a float as JSON does, "" when it is too large to be one. Its
// digits are kept where that is possible: 1.10 stays 1.10.
func jsonFloat(s string) string {
	value, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(value, 0) {
		return ""
	}
	if json.Valid([]byte(s)) {
		return s
	}
	text := strconv.FormatFloat(value, 'g', -1, 64)
	if digits(text) == len(text) {
		text += ".0"
	}
	return text
}

// toJSON returns the value as JSON, members sorted by name; nil when something
// in it was reported.
func (d *document) toJSON(n *yaml.Node) json.RawMessage {
	w := writer{d: d, ok: true}
	w.value(n, 0)
	if !w.ok || d.full {
		return nil
	}
	return w.dst
}

type writer struct {
	d   *document
	dst []byte
	ok  bool
}

func (w *writer) fail(n *yaml.Node, problem string) {
	w.ok = false
	w.d.report(n, problem)
}

func (w *writer) value(at *yaml.Node, depth int) {
	n, ok := w.d.visit(at)
	if !ok {
		return
	}
	if depth > maxNesting {
		w.ok = false
		w.d.stop(at, fmt.Sprintf("the settings nest more than %d deep", maxNesting))
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		w.object(n, depth)
	case yaml.SequenceNode:
		w.dst = append(w.dst, '[')
		for i, element := range n.Content {
			if i > 0 {
				w.dst = append(w.dst, ',')
			}
			w.value(element, depth+1)
		}
		w.dst = append(w.dst, ']')
	case yaml.ScalarNode:
		w.scalar(at, n)
	default:
		w.fail(at, "an alias of nothing")
	}
}

func (w *writer) object(n *yaml.Node, depth int) {
	list := w.d.fields(n)
	slices.SortFunc(list, func(a, b field) int { return strings.Compare(a.name, b.name) })
	w.dst = append(w.dst, '{')
	for i, f := range list {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		w.dst = append(appendString(w.dst, f.name), ':')
		w.value(f.value, depth+1)
	}
	w.dst = append(w.dst, '}')
}

func (w *writer) scalar(at, n *yaml.Node) {
	s, problem := resolve(n)
	switch {
	case problem != "":
		w.fail(at, problem)
	case s.kind == str:
		w.dst = appendString(w.dst, s.text)
	default:
		w.dst = append(w.dst, s.text...)
	}
}

func appendString(dst []byte, s string) []byte {
	quoted, _ := json.Marshal(s) // strings always encode
	return append(dst, quoted...)
}

// describe says what a node is, to somebody who wanted something else there.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		s, problem := resolve(n)
		switch {
		case problem != "":
			return n.Value
		case s.kind == str:
			return strconv.Quote(s.text)
		case s.kind == null:
			return "null"
		}
		return n.Value
	}
	return "nothing"
}
