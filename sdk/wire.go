package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// FieldError reports a request that is JSON but not shaped like one.
type FieldError struct {
	// Path is the field in question, "kind.group"; "" for the request itself.
	Path string
	// Problem says what is wrong with it.
	Problem string
	// Offset is where in the text, from 0.
	Offset int
}

func (e *FieldError) Error() string {
	if e.Path == "" {
		return e.Problem
	}
	return e.Path + ": " + e.Problem
}

// ParseRequest decodes the request member of an AdmissionReview. Objects are
// kept as pieces of text; nothing of their size is allocated. Names that are
// not of AdmissionRequest are ignored. The error is a *SyntaxError or a
// *FieldError.
func ParseRequest(text json.RawMessage) (*Request, error) {
	p := parser{text: text}
	if err := Check(text); err != nil {
		return nil, err
	}
	return p.request(text)
}

// parseChecked is ParseRequest for a piece of a text that has been
// through Check already.
func parseChecked(text json.RawMessage) (*Request, error) {
	p := parser{text: text}
	return p.request(text)
}

type parser struct {
	text  []byte
	spans *spans
	err   *FieldError
}

func (p *parser) fail(at []byte, path, problem string) {
	if p.err == nil {
		p.err = &FieldError{path, problem, offsetIn(p.text, at)}
	}
}

// object calls field for each member of raw that is not null, refuses names
// that come twice among known, and returns the known names that were there.
func (p *parser) object(raw []byte, path string, known []string, field func(name string, value []byte)) (seen uint32) {
	if typeOf(raw) != "an object" {
		p.fail(raw, path, "invalid type: "+describe(raw)+", expected an object")
		return 0
	}
	for m := range members(raw, p.spans) {
		for i, name := range known {
			if !named(m.name, name) {
				continue
			}
			if seen>>i&1 == 1 {
				p.fail(m.name, path, "duplicate field `"+name+"`")
				return seen
			}
			seen |= 1 << i
			field(name, m.value)
		}
	}
	return seen
}

// need fails for the first of the names, the first ones known, not seen.
func (p *parser) need(raw []byte, path string, names []string, seen uint32) {
	for i, name := range names {
		if seen>>i&1 == 0 {
			p.fail(raw[len(raw)-1:], path, "missing field `"+name+"`")
		}
	}
}

func (p *parser) str(raw []byte, path string) string {
	if typeOf(raw) != "a string" {
		p.fail(raw, path, "invalid type: "+describe(raw)+", expected a string")
		return ""
	}
	return unquote(raw)
}

// optional is str where null is as good as nothing.
func (p *parser) optional(raw []byte, path string) string {
	if raw[0] == 'n' {
		return ""
	}
	return p.str(raw, path)
}

func describe(raw []byte) string {
	switch raw[0] {
	case '{':
		return "map"
	case '[':
		return "sequence"
	case '"':
		return "string " + string(raw[:min(len(raw), 64)])
	case 't', 'f':
		return "boolean `" + string(raw) + "`"
	case 'n':
		return "null"
	}
	return "number `" + string(raw[:min(len(raw), 64)]) + "`"
}

// requestFields are the fields of AdmissionRequest, the required ones first.
// Source: k8s.io/api/admission/v1.
var requestFields = []string{
	"uid", "kind", "resource", "operation", "userInfo",
	"subResource", "requestKind", "requestResource", "requestSubResource",
	"name", "namespace", "dryRun", "object", "oldObject", "options",
}

func (p *parser) request(text []byte) (*Request, error) {
	start := skipSpace(text, 0)
	if start == len(text) {
		return nil, &SyntaxError{start, "EOF while parsing a value"}
	}
	raw := text[start:]
	r := &Request{}
	seen := p.object(raw, "", requestFields, func(name string, v []byte) { p.requestField(r, name, v) })
	p.need(raw, "", requestFields[:5], seen)
	if p.err != nil {
		return nil, p.err
	}
	return r, nil
}

func (p *parser) requestField(r *Request, name string, v []byte) {
	document := func() json.RawMessage { return present(v[:len(v):len(v)]) }
	switch name {
	case "uid":
		r.UID = p.str(v, name)
	case "kind":
		r.Kind = p.triple(v, name, "kind")
	case "resource":
		t := p.triple(v, name, "resource")
		r.Resource = GroupVersionResource{t.Group, t.Version, t.Kind}
	case "operation":
		r.Operation = Operation(p.str(v, name))
	case "userInfo":
		r.UserInfo = p.userInfo(v)
	case "subResource":
		r.SubResource = p.optional(v, name)
	case "requestKind":
		if v[0] != 'n' {
			t := p.triple(v, name, "kind")
			r.RequestKind = &t
		}
	case "requestResource":
		if v[0] != 'n' {
			t := p.triple(v, name, "resource")
			r.RequestResource = &GroupVersionResource{t.Group, t.Version, t.Kind}
		}
	case "requestSubResource":
		r.RequestSubResource = p.optional(v, name)
	case "name":
		r.Name = p.optional(v, name)
	case "namespace":
		r.Namespace = p.optional(v, name)
	case "dryRun":
		r.DryRun = p.boolean(v, name)
	case "object":
		r.Object = document()
		r.object, r.spans = v, p.spans
	case "oldObject":
		r.OldObject = document()
		r.oldObject, r.spans = v, p.spans
	case "options":
		r.Options = document()
	}
}

func (p *parser) boolean(v []byte, path string) *bool {
	switch v[0] {
	case 'n':
		return nil
	case 't', 'f':
		b := v[0] == 't'
		return &b
	}
	p.fail(v, path, "invalid type: "+describe(v)+", expected a boolean")
	return nil
}

// triple decodes a group, a version and a third string.
func (p *parser) triple(raw []byte, path, third string) (t GroupVersionKind) {
	known := []string{"group", "version", third}
	seen := p.object(raw, path, known, func(name string, v []byte) {
		s := p.str(v, path+"."+name)
		switch name {
		case "group":
			t.Group = s
		case "version":
			t.Version = s
		default:
			t.Kind = s
		}
	})
	p.need(raw, path, known, seen)
	return t
}

func (p *parser) userInfo(raw []byte) (u UserInfo) {
	p.object(raw, "userInfo", []string{"username", "uid", "groups", "extra"}, func(name string, v []byte) {
		path := "userInfo." + name
		switch {
		case v[0] == 'n':
		case name == "username":
			u.Username = p.str(v, path)
		case name == "uid":
			u.UID = p.str(v, path)
		case name == "groups":
			u.Groups = p.strings(v, path)
		case typeOf(v) != "an object":
			p.fail(v, path, "invalid type: "+describe(v)+", expected an object")
		default:
			u.Extra = map[string][]string{}
			for m := range members(v, p.spans) {
				u.Extra[unquote(m.name)] = p.strings(m.value, path)
			}
		}
	})
	return u
}

func (p *parser) strings(raw []byte, path string) (list []string) {
	if typeOf(raw) != "a list" {
		p.fail(raw, path, "invalid type: "+describe(raw)+", expected a list")
		return nil
	}
	for i, v := range elements(raw, p.spans) {
		list = append(list, p.str(v, path+"["+strconv.Itoa(i)+"]"))
	}
	return list
}

// AppendJSON appends the request as a policy gets it: absent fields are left
// out, never null, and Object, OldObject, Options and Raw are copied as they
// are.
func (r *Request) AppendJSON(dst []byte) []byte {
	if r.Raw != nil {
		return append(dst, r.Raw...)
	}
	e := encoder{dst: append(dst, '{')}
	e.str("uid", r.UID)
	e.triple("kind", "kind", r.Kind)
	e.triple("resource", "resource", r.Resource.asKind())
	e.optional("subResource", r.SubResource)
	if k := r.RequestKind; k != nil {
		e.triple("requestKind", "kind", *k)
	}
	if k := r.RequestResource; k != nil {
		e.triple("requestResource", "resource", k.asKind())
	}
	e.optional("requestSubResource", r.RequestSubResource)
	e.optional("name", r.Name)
	e.optional("namespace", r.Namespace)
	e.str("operation", string(r.Operation))
	e.userInfo(r.UserInfo)
	e.raw("object", r.Object)
	e.raw("oldObject", r.OldObject)
	if r.DryRun != nil {
		e.raw("dryRun", strconv.AppendBool(nil, *r.DryRun))
	}
	e.raw("options", r.Options)
	return append(e.dst, '}')
}

// Equal reports whether two requests say the same, to the byte in what is raw.
func (r *Request) Equal(other *Request) bool {
	if r == nil || other == nil {
		return r == other
	}
	return bytes.Equal(r.AppendJSON(nil), other.AppendJSON(nil)) && r.UID == other.UID
}

// MarshalJSON is AppendJSON for encoding/json.
func (r *Request) MarshalJSON() ([]byte, error) { return r.AppendJSON(nil), nil }

// UnmarshalJSON is ParseRequest for encoding/json. The objects are copied.
func (r *Request) UnmarshalJSON(text []byte) error {
	parsed, err := ParseRequest(slices.Clone(text))
	if err != nil {
		return err
	}
	*r = *parsed
	return nil
}

// encoder appends the members of an object.
type encoder struct{ dst []byte }

func (e *encoder) name(name string) {
	if c := e.dst[len(e.dst)-1]; c != '{' && c != '[' {
		e.dst = append(e.dst, ',')
	}
	e.dst = append(append(append(e.dst, '"'), name...), '"', ':')
}

func (e *encoder) str(name, value string) {
	e.name(name)
	e.dst = appendQuoted(e.dst, value)
}

func (e *encoder) optional(name, value string) {
	if value != "" {
		e.str(name, value)
	}
}

func (e *encoder) raw(name string, value []byte) {
	if value != nil {
		e.name(name)
		e.dst = append(e.dst, value...)
	}
}

// asKind is the resource in the fields of a kind, which are encoded alike.
func (r GroupVersionResource) asKind() GroupVersionKind {
	return GroupVersionKind{r.Group, r.Version, r.Resource}
}

// triple appends a group, a version and what is called third.
func (e *encoder) triple(name, third string, t GroupVersionKind) {
	e.name(name)
	e.dst = append(e.dst, '{')
	e.str("group", t.Group)
	e.str("version", t.Version)
	e.str(third, t.Kind)
	e.dst = append(e.dst, '}')
}

func (e *encoder) userInfo(u UserInfo) {
	e.name("userInfo")
	e.dst = append(e.dst, '{')
	e.optional("username", u.Username)
	e.optional("uid", u.UID)
	if u.Groups != nil {
		e.name("groups")
		e.strings(u.Groups)
	}
	if u.Extra != nil {
		e.name("extra")
		e.dst = append(e.dst, '{')
		for _, key := range slices.Sorted(maps.Keys(u.Extra)) {
			if c := e.dst[len(e.dst)-1]; c != '{' {
				e.dst = append(e.dst, ',')
			}
			e.dst = append(appendQuoted(e.dst, key), ':')
			e.strings(u.Extra[key])
		}
		e.dst = append(e.dst, '}')
	}
	e.dst = append(e.dst, '}')
}

func (e *encoder) strings(list []string) {
	e.dst = append(e.dst, '[')
	for i, s := range list {
		if i > 0 {
			e.dst = append(e.dst, ',')
		}
		e.dst = appendQuoted(e.dst, s)
	}
	e.dst = append(e.dst, ']')
}

// AppendJSON appends the verdict as Kubewarden's ValidationResponse. A Patch
// must have been resolved before.
func (v Verdict) AppendJSON(dst []byte) []byte {
	e := encoder{dst: append(dst, '{')}
	e.raw("accepted", strconv.AppendBool(nil, v.Accepted))
	e.optional("message", v.Message)
	if v.Code != 0 {
		e.raw("code", strconv.AppendUint(nil, uint64(v.Code), 10))
	}
	e.raw("mutated_object", v.MutatedObject)
	if len(v.AuditAnnotations) > 0 {
		e.name("audit_annotations")
		e.dst = append(e.dst, '{')
		for i, key := range slices.Sorted(maps.Keys(v.AuditAnnotations)) {
			if i > 0 {
				e.dst = append(e.dst, ',')
			}
			e.dst = append(appendQuoted(e.dst, key), ':')
			e.dst = appendQuoted(e.dst, v.AuditAnnotations[key])
		}
		e.dst = append(e.dst, '}')
	}
	if len(v.Warnings) > 0 {
		e.name("warnings")
		e.strings(v.Warnings)
	}
	return append(e.dst, '}')
}

// SettingsVerdict is the answer of a policy to the question whether its
// settings are valid.
type SettingsVerdict struct {
	Valid   bool   `json:"valid"`
	Message string `json:"message,omitempty"`
}

// parseInput splits a policy's input into its two documents. What is in them is
// not checked: the host has done so, and a policy at the speed of WebAssembly
// would spend more on it than on its verdict.
func parseInput(text []byte) (request, settings json.RawMessage, err error) {
	for m := range members(text, nil) {
		switch {
		case named(m.name, "request"):
			request = m.value
		case named(m.name, "settings"):
			settings = m.value
		}
	}
	if request == nil {
		if err := Check(text); err != nil {
			return nil, nil, fmt.Errorf("input: %w", err)
		}
		return nil, nil, errors.New("input: missing field `request`")
	}
	return request, settings, nil
}
