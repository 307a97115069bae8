package sdk

import (
	"encoding/json"
	"math"
)

// Text is a text that is JSON, and where the larger values in it end, so that
// what was walked once to check it is not walked again at each look.
type Text struct {
	raw   []byte
	spans spans
}

// CheckText is Check for a text that will be looked at. The text must not be
// changed afterwards.
func CheckText(text []byte) (*Text, error) {
	t := &Text{raw: text}
	t.spans.begin(text)
	if err := check(text, &t.spans); err != nil {
		return nil, err
	}
	return t, nil
}

// View returns the top of the text.
func (t *Text) View() Value {
	v := View(t.raw)
	v.doc.spans = &t.spans
	return v
}

// Request is ParseRequest for a value of the text. The offset of an error is
// from the start of the value.
func (t *Text) Request(v Value) (*Request, error) {
	p := parser{text: v.raw, spans: &t.spans}
	return p.request(v.raw)
}

// spans remembers where objects and lists of one array of bytes end, as many as
// it has room for, in a table of a fixed size. A place is how many bytes it is
// from the end of the array, which is the same whatever piece of the array one
// looks at. A nil *spans remembers nothing.
type spans struct {
	last   *byte // of the array; nil when there is none
	slots  [64]span
	starts [maxSpanDepth]int // of the values that are open
}

type span struct{ from, to uint32 }

// Shorter values are walked as fast as they are found; deeper ones are details
// of one field.
const (
	minSpan      = 64
	maxSpanDepth = 8
)

func lastOf(text []byte) *byte {
	whole := text[:cap(text)]
	if len(whole) == 0 || len(whole) > math.MaxUint32 {
		return nil
	}
	return &whole[len(whole)-1]
}

func (s *spans) begin(text []byte) { s.last = lastOf(text) }

// of returns s if text is a piece of its array, nil otherwise.
func (s *spans) of(text []byte) *spans {
	if s == nil || s.last == nil || lastOf(text) != s.last {
		return nil
	}
	return s
}

func (s *spans) slot(from uint32) *span { return &s.slots[from*0x9e3779b1>>26] }

// enter and leave say where a value of that depth starts and ends.
func (s *spans) enter(depth, at int) {
	if s != nil && depth < maxSpanDepth {
		s.starts[depth] = at
	}
}

func (s *spans) leave(text []byte, depth, at int) {
	if s != nil && depth < maxSpanDepth {
		s.add(text, s.starts[depth], at)
	}
}

// add remembers that the value at text[from] ends at to. Of two values in one
// slot the longer one stays.
func (s *spans) add(text []byte, from, to int) {
	if to-from < minSpan {
		return
	}
	n := span{uint32(cap(text) - from), uint32(cap(text) - to)}
	if old := s.slot(n.from); n.from-n.to > old.from-old.to {
		*old = n
	}
}

// jump is jumpValue, without the walk where the end is known.
func (s *spans) jump(text []byte, i int) (int, error) {
	if s != nil && i < len(text) && (text[i] == '{' || text[i] == '[') {
		from := uint32(cap(text) - i)
		if known := s.slot(from); known.from == from {
			if end := cap(text) - int(known.to); end <= len(text) {
				return end, nil
			}
		}
	}
	return jumpValue(text, i)
}

// whole returns a document of the request as the piece of text that it was
// found in, with what is known of it, when that is what the document still is.
func (r *Request) whole(document json.RawMessage, found []byte) ([]byte, *spans) {
	if len(found) == len(document) && len(found) > 0 && &found[0] == &document[0] {
		return found, r.spans
	}
	return document, nil
}

func (r *Request) view(document json.RawMessage, found []byte) Value {
	text, known := r.whole(document, found)
	v := View(json.RawMessage(text))
	v.doc.spans = known
	return v
}

// ViewObject is View of the object, faster where the review was checked here.
func (r *Request) ViewObject() Value { return r.view(r.Object, r.object) }

// ViewOldObject is ViewObject of the old object.
func (r *Request) ViewOldObject() Value { return r.view(r.OldObject, r.oldObject) }

// SetObject makes the text the object of a request that has no old object. Hosts
// call it for a request that they make themselves.
func (r *Request) SetObject(t *Text) {
	r.object, r.spans = t.raw, &t.spans
	r.Object = r.object[:len(r.object):len(r.object)]
}
