package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// Value is a place in a JSON document, looked at without decoding the rest.
// The zero Value is absent, and so is every place below an absent one, so that
// a policy can ask for spec.securityContext.privileged in one line:
//
//	sdk.View(req.Object).Get("spec", "securityContext", "privileged").Bool()
//
// null is absent. Something of another type than asked for is absent too, and
// remembered: Err of any Value of the document returns the first such mistake.
// A policy that must not be fooled by a misshapen object checks Err before it
// accepts.
//
// A Value and its document are not safe for concurrent use.
type Value struct {
	doc *document
	raw []byte // the value's text in doc.text, nil when absent
}

type document struct {
	text  []byte
	spans *spans // nil when nothing is known
	err   error
}

// TypeError reports that a document has something of another type than the
// policy asked for.
type TypeError struct {
	Path string // as in Value.Path
	Want string // "an object", "a boolean" and so on
	Have string
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("%s: want %s, have %s", orRoot(e.Path), e.Want, e.Have)
}

func orRoot(path string) string {
	if path == "" {
		return "document"
	}
	return path
}

// View returns the top of the document in text, which must be valid JSON as
// everything in a Request is. Invalid text reads as absent where it is broken.
func View(text json.RawMessage) Value {
	trimmed := bytes.TrimSpace(text)
	v := Value{doc: &document{text: trimmed}}
	if len(trimmed) == 0 || trimmed[0] == 'n' {
		return v
	}
	if trimmed[0] != '{' && trimmed[0] != '[' {
		if end, err := skipScalar(trimmed, 0); err != nil || end != len(trimmed) {
			return v // as members and elements do with theirs
		}
	}
	v.raw = trimmed
	return v
}

// Exists reports whether the place is in the document and not null.
func (v Value) Exists() bool { return v.raw != nil }

// Raw returns the value's own text, nil when absent. It must not be changed.
func (v Value) Raw() json.RawMessage { return v.raw[:len(v.raw):len(v.raw)] }

// Err returns the first *TypeError met in this document, nil if none.
func (v Value) Err() error {
	if v.doc == nil {
		return nil
	}
	return v.doc.err
}

// is reports whether v is present and its text starts like the type want.
func (v Value) is(want string) bool {
	if v.raw == nil {
		return false
	}
	have := typeOf(v.raw)
	if have == want {
		return true
	}
	if v.doc.err == nil {
		v.doc.err = &TypeError{v.Path(), want, have}
	}
	return false
}

func typeOf(raw []byte) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// Get returns the value below the given names. When an object has a name
// twice the last one counts, as it does for the API server.
func (v Value) Get(names ...string) Value {
	for _, name := range names {
		if !v.is("an object") {
			return Value{doc: v.doc}
		}
		found := Value{doc: v.doc}
		for m := range members(v.raw, v.doc.spans) {
			if named(m.name, name) {
				found.raw = present(m.value)
			}
		}
		v = found
	}
	return v
}

// Fields returns the members of the given names, in their order, having read
// the object once. It is what Get does for each, and faster for several.
func (v Value) Fields(names ...string) []Value {
	found := make([]Value, len(names))
	for i := range found {
		found[i].doc = v.doc
	}
	if !v.is("an object") {
		return found
	}
	for m := range members(v.raw, v.doc.spans) {
		for i, name := range names {
			if named(m.name, name) {
				found[i].raw = present(m.value)
			}
		}
	}
	return found
}

func present(raw []byte) []byte {
	if len(raw) == 0 || raw[0] == 'n' {
		return nil
	}
	return raw
}

// Members yields the members of an object in their order.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if !v.is("an object") {
			return
		}
		for m := range members(v.raw, v.doc.spans) {
			if !yield(unquote(m.name), Value{v.doc, present(m.value)}) {
				return
			}
		}
	}
}

// Elements yields the elements of a list with their index.
func (v Value) Elements() iter.Seq2[int, Value] {
	return func(yield func(int, Value) bool) {
		if !v.is("a list") {
			return
		}
		for i, raw := range elements(v.raw, v.doc.spans) {
			if !yield(i, Value{v.doc, present(raw)}) {
				return
			}
		}
	}
}

// Bool returns a boolean, false when absent.
func (v Value) Bool() bool { return v.is("a boolean") && v.raw[0] == 't' }

// String returns a string, "" when absent.
func (v Value) String() string {
	if !v.is("a string") {
		return ""
	}
	return unquote(v.raw)
}

// Int returns an integer, 0 when absent. A number with a fraction, an exponent
// or more than 64 bits is a mistake of type.
func (v Value) Int() int64 {
	if !v.is("a number") {
		return 0
	}
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	if err != nil && v.doc.err == nil {
		v.doc.err = &TypeError{v.Path(), "an integer", string(v.raw)}
	}
	return n
}

// Scalar returns the text of a string or the digits of a number, as a
// quantity may be either; "" when absent.
func (v Value) Scalar() string {
	if v.raw != nil && typeOf(v.raw) == "a number" {
		return string(v.raw)
	}
	return v.String()
}

// Decode decodes the value into target as encoding/json does; an absent value
// leaves target alone. The error names the place in the document.
func (v Value) Decode(target any) error {
	if v.raw == nil {
		return nil
	}
	if err := json.Unmarshal(v.raw, target); err != nil {
		return fmt.Errorf("%s: %w", orRoot(v.Path()), err)
	}
	return nil
}

// Path returns where the value is, as people write it:
// spec.containers[0].image, or metadata.labels["app.kubernetes.io/name"]. It
// is "" for the top and for an absent value. It is found by reading the
// document again: for messages, not for loops.
func (v Value) Path() string {
	var b strings.Builder
	for _, step := range v.steps() {
		switch {
		case step.index >= 0:
			fmt.Fprintf(&b, "[%d]", step.index)
		case !plainName(step.name):
			fmt.Fprintf(&b, "[%q]", step.name)
		case b.Len() == 0:
			b.WriteString(step.name)
		default:
			b.WriteString("." + step.name)
		}
	}
	return b.String()
}

// Pointer returns where the value is as a JSON pointer (RFC 6901), the form
// that Patch takes.
func (v Value) Pointer() string {
	var b strings.Builder
	for _, step := range v.steps() {
		b.WriteByte('/')
		if step.index >= 0 {
			b.WriteString(strconv.Itoa(step.index))
		} else {
			b.WriteString(EscapePointer(step.name))
		}
	}
	return b.String()
}

func plainName(name string) bool {
	for _, r := range name {
		if r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return name != ""
}

type step struct {
	name  string
	index int // -1 for a name
}

// steps finds the way from the top of the document to v.raw.
func (v Value) steps() []step {
	if v.raw == nil || v.doc == nil {
		return nil
	}
	at := offsetIn(v.doc.text, v.raw)
	var steps []step
	here := v.doc.text
	for {
		if offsetIn(v.doc.text, here) == at && len(here) == len(v.raw) {
			return steps
		}
		s, next := child(v.doc.text, here, at)
		if next == nil {
			return steps
		}
		steps, here = append(steps, s), next
	}
}

// child returns the step from the container here to its child that holds the
// byte at offset at of text.
func child(text, here []byte, at int) (step, []byte) {
	holds := func(raw []byte) bool {
		from := offsetIn(text, raw)
		return from <= at && at < from+len(raw)
	}
	for m := range members(here, nil) {
		if holds(m.value) {
			return step{unquote(m.name), -1}, m.value
		}
	}
	for i, raw := range elements(here, nil) {
		if holds(raw) {
			return step{"", i}, raw
		}
	}
	return step{}, nil
}

// ErrRaw is the error of a policy that judges requests to the API server and is
// given the document of a raw one.
var ErrRaw = errors.New("want a request to the API server, have another document")

// ErrNoPodSpec is wrapped by the error of PodSpec for a kind that has none.
var ErrNoPodSpec = errors.New("Object should be one of these kinds: Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController, Job, CronJob, Pod") //nolint:staticcheck // the text is upstream's, and users see it

// PodSpec returns the pod spec inside the object of a request about a Pod or
// a kind that makes pods: Deployment, ReplicaSet, StatefulSet, DaemonSet,
// ReplicationController, Job, CronJob. It is absent when the object has none.
// The error wraps ErrNoPodSpec for another kind, or is a *TypeError when the
// object is not shaped like one.
func (r *Request) PodSpec() (Value, error) {
	way, ok := podSpecPath[r.Kind.Kind]
	if !ok {
		return Value{}, fmt.Errorf("%w, have %q", ErrNoPodSpec, r.Kind.Kind)
	}
	spec := r.ViewObject().Get(way...)
	if spec.raw != nil && !spec.is("an object") {
		return Value{}, spec.Err()
	}
	return spec, spec.Err()
}

// PodTemplatePath returns the names that lead to the pod spec in an object of
// the kind, nil if it has none.
func PodTemplatePath(kind string) []string { return podSpecPath[kind] }

var podSpecPath = map[string][]string{
	"Pod":                   {"spec"},
	"Deployment":            {"spec", "template", "spec"},
	"ReplicaSet":            {"spec", "template", "spec"},
	"StatefulSet":           {"spec", "template", "spec"},
	"DaemonSet":             {"spec", "template", "spec"},
	"ReplicationController": {"spec", "template", "spec"},
	"Job":                   {"spec", "template", "spec"},
	"CronJob":               {"spec", "jobTemplate", "spec", "template", "spec"},
}

// Containers yields the elements of the named lists of a pod spec, in order:
// "containers", "initContainers", "ephemeralContainers". Without names it
// yields all three.
func (v Value) Containers(lists ...string) iter.Seq[Value] {
	if len(lists) == 0 {
		lists = []string{"initContainers", "containers", "ephemeralContainers"}
	}
	return func(yield func(Value) bool) {
		for _, list := range v.Fields(lists...) {
			for _, c := range list.Elements() {
				if !yield(c) {
					return
				}
			}
		}
	}
}
