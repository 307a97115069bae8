// Package review is what carries a request in and an answer out: the
// AdmissionReview of the API server, and Kubewarden's raw review, which has any
// JSON for a request. It also makes the JSON patch of a mutation.
package review

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/warder-dev/warder/sdk"
)

// Review is a request on its way in.
type Review struct {
	// APIVersion and Kind are those of the AdmissionReview, empty when it has
	// none. They are not checked; the answer repeats them.
	APIVersion, Kind string
	// Request is never nil. Its documents are pieces of the body that was
	// decoded, which must not be changed or used again as long as it lives.
	Request *sdk.Request
}

// Kind says what is wrong with a body.
type Kind int

const (
	// Malformed is a body that is not JSON: HTTP 400.
	Malformed Kind = iota + 1
	// Shape is JSON that is not a review: HTTP 422.
	Shape
)

// DecodeError reports a body that is not a review. Its text is the one that
// Kubewarden's clients know.
type DecodeError struct {
	Kind Kind
	// Path is the place in the review, "request.kind.group"; "" for the review
	// itself and for a Malformed body.
	Path string
	// Problem says what is wrong there.
	Problem string
	// Line and Column are where, from 1. Columns count bytes; 0 is the place
	// before the first.
	Line, Column int
}

func (e *DecodeError) Error() string {
	prefix := "Failed to deserialize the JSON body into the target type: "
	if e.Kind == Malformed {
		prefix = "Failed to parse the request body as JSON: "
	}
	if e.Path != "" {
		prefix += e.Path + ": "
	}
	return fmt.Sprintf("%s%s at line %d column %d", prefix, e.Problem, e.Line, e.Column)
}

// Decode decodes an AdmissionReview. The objects of the request stay pieces of
// body; nothing of their size is allocated. Members that an AdmissionReview
// does not have are ignored. The error is a *DecodeError.
func Decode(body []byte) (*Review, error) {
	r, checked, request, err := open(body)
	if err != nil {
		return nil, err
	}
	if text := raw(request); text[0] != '{' {
		return nil, requestError(body, "request", "invalid type: "+describe(text)+", expected an object")
	}
	r.Request, err = checked.Request(request)
	var field *sdk.FieldError
	switch {
	case errors.As(err, &field):
		path := "request"
		if field.Path != "" {
			path += "." + field.Path
		}
		return nil, problemAt(body, requestOffset(body)+field.Offset, DecodeError{Kind: Shape, Path: path, Problem: field.Problem})
	case err != nil:
		return nil, requestError(body, "request", err.Error())
	}
	return r, nil
}

// DecodeRaw decodes a raw review, {"request": X} with any JSON for X, which
// becomes Request.Raw. The UID is X's member "uid" if it is a string. The error
// is a *DecodeError.
func DecodeRaw(body []byte) (*Review, error) {
	r, _, request, err := open(body)
	if err != nil {
		return nil, err
	}
	r.Request = sdk.RawRequest(raw(request))
	return r, nil
}

// open checks that body is a JSON object in UTF-8 with one request, and returns
// it as a value of what was checked.
func open(body []byte) (r *Review, checked *sdk.Text, request sdk.Value, err error) {
	if checked, err = checkText(body); err != nil {
		return nil, nil, request, err
	}
	top := bytes.TrimSpace(body)
	if top[0] != '{' {
		return nil, nil, request, problemAt(body, bytes.IndexByte(body, top[0]),
			DecodeError{Kind: Shape, Problem: "invalid type: " + describe(top) + ", expected an object"})
	}
	r = &Review{}
	count := 0
	for name, v := range checked.View().Members() {
		switch name {
		case "apiVersion":
			r.APIVersion = text(v)
		case "kind":
			r.Kind = text(v)
		case "request":
			count++
			request = v
		}
	}
	switch count {
	case 0:
		end := bytes.LastIndexByte(body, '}')
		return nil, nil, request, problemAt(body, end, DecodeError{Kind: Shape, Problem: "missing field `request`"})
	case 1:
		return r, checked, request, nil
	}
	return nil, nil, request, requestError(body, "", "duplicate field `request`")
}

// raw is the text of a value, which may be null.
func raw(v sdk.Value) json.RawMessage {
	if text := v.Raw(); text != nil {
		return text
	}
	return json.RawMessage("null")
}

func checkText(body []byte) (*sdk.Text, error) {
	var syntax *sdk.SyntaxError
	text, err := sdk.CheckText(body)
	if errors.As(err, &syntax) {
		return nil, problemAt(body, syntax.Offset, DecodeError{Kind: Malformed, Problem: syntax.Problem})
	}
	if utf8.Valid(body) {
		return text, nil
	}
	at := 0
	for at < len(body) {
		r, size := utf8.DecodeRune(body[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return nil, problemAt(body, at, DecodeError{Kind: Malformed, Problem: "invalid unicode code point"})
}

// text returns a string, "" for anything else: apiVersion and kind are only
// repeated, so what they are is nobody's mistake.
func text(v sdk.Value) string {
	if raw := v.Raw(); len(raw) > 0 && raw[0] == '"' {
		return v.String()
	}
	return ""
}

func requestError(body []byte, path, problem string) error {
	return problemAt(body, requestOffset(body), DecodeError{Kind: Shape, Path: path, Problem: problem})
}

// problemAt returns e with the place of the byte at offset. Lines and columns
// are those of Rust's serde_json, which Kubewarden's users know.
func problemAt(body []byte, offset int, e DecodeError) error {
	before := body[:min(len(body), max(offset, 0)+1)]
	e.Line = 1 + bytes.Count(before, []byte{'\n'})
	e.Column = len(before) - (bytes.LastIndexByte(before, '\n') + 1)
	return &e
}

// requestOffset returns where the value of the last member "request" starts in
// body, which has one. Only errors need it, so it may be slow.
func requestOffset(body []byte) int {
	dec := json.NewDecoder(bytes.NewReader(body))
	found := 0
	_, err := dec.Token() // the brace
	for err == nil && dec.More() {
		name, _ := dec.Token()
		at := int(dec.InputOffset())
		if name == "request" {
			found = at + 1 + bytes.IndexByte(body[at:], ':')
			for bytes.IndexByte([]byte(" \t\r\n"), body[found]) >= 0 {
				found++
			}
		}
		var skipped json.RawMessage
		err = dec.Decode(&skipped)
	}
	return found
}

// describe names the type of a JSON value as serde_json does.
func describe(raw []byte) string {
	switch raw[0] {
	case '{':
		return "map"
	case '[':
		return "sequence"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean `" + string(raw) + "`"
	case 'n':
		return "null"
	}
	return "number `" + string(raw[:min(len(raw), 64)]) + "`"
}
