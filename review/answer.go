package review

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/warder-dev/warder/sdk"
)

// Response is the answer to a request. The zero Response refuses it.
type Response struct {
	UID     string
	Allowed bool
	// Patch is a JSON patch (RFC 6902) as text, not in base64; nil changes
	// nothing.
	Patch json.RawMessage
	// Status is nil when there is nothing to say.
	Status *Status
	// AuditAnnotations and Warnings are null in the answer when they are nil.
	AuditAnnotations map[string]string
	Warnings         []string
}

// Status is what the client reads. Fields that are empty are left out.
type Status struct {
	Message string
	Reason  string
	Code    int // an HTTP status
	Causes  []Cause
}

// Cause is one reason among several. Fields that are empty are null, as in
// Kubewarden's answers; but where its server puts an empty message, in a cause
// without a field, it is an empty string.
type Cause struct {
	Reason, Message, Field string
}

// Source: k8s.io/api/admission/v1.
const (
	defaultAPIVersion = "admission.k8s.io/v1"
	defaultKind       = "AdmissionReview"
)

// AppendAnswer appends the review that answers r, as JSON: an AdmissionReview
// of the version that was asked, or for a raw review the response alone.
func (r *Review) AppendAnswer(dst []byte, resp Response) []byte {
	e := encoder{append(dst, '{')}
	if r.Request == nil || r.Request.Raw == nil {
		e.str("kind", cmp.Or(r.Kind, defaultKind))
		e.str("apiVersion", cmp.Or(r.APIVersion, defaultAPIVersion))
	}
	e.name("response")
	e.response(resp, asNull)
	return append(e.dst, '}')
}

// AppendJSON appends the response alone, as kwctl prints it: what is empty is left
// out.
func (resp Response) AppendJSON(dst []byte) []byte {
	e := encoder{dst}
	e.response(resp, omitted)
	return e.dst
}

// empty says how lists and maps are written that are not there.
type empty int

const (
	asNull empty = iota
	omitted
)

// encoder appends JSON. The order of members is that of Kubewarden's server.
type encoder struct{ dst []byte }

func (e *encoder) separate() {
	if c := e.dst[len(e.dst)-1]; c != '{' && c != '[' {
		e.dst = append(e.dst, ',')
	}
}

func (e *encoder) name(name string) {
	e.separate()
	e.dst = append(appendQuoted(e.dst, name), ':')
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

func (e *encoder) orNull(name, value string) {
	if value != "" {
		e.str(name, value)
		return
	}
	e.name(name)
	e.dst = append(e.dst, "null"...)
}

func (e *encoder) response(resp Response, none empty) {
	e.dst = append(e.dst, '{')
	e.str("uid", resp.UID)
	e.name("allowed")
	e.dst = strconv.AppendBool(e.dst, resp.Allowed)
	if resp.Patch != nil {
		e.str("patchType", "JSONPatch")
		e.name("patch")
		e.dst = append(e.dst, '"')
		e.dst = base64.StdEncoding.AppendEncode(e.dst, resp.Patch)
		e.dst = append(e.dst, '"')
	}
	if resp.Status != nil {
		e.status(*resp.Status)
	}
	if none == asNull || resp.AuditAnnotations != nil {
		e.annotations(resp.AuditAnnotations)
	}
	if none == asNull || resp.Warnings != nil {
		e.warnings(resp.Warnings)
	}
	e.dst = append(e.dst, '}')
}

func (e *encoder) status(s Status) {
	e.name("status")
	e.dst = append(e.dst, '{')
	e.optional("message", s.Message)
	e.optional("reason", s.Reason)
	if len(s.Causes) > 0 {
		e.name("details")
		e.dst = append(e.dst, `{"causes":[`...)
		for _, c := range s.Causes {
			e.separate()
			e.dst = append(e.dst, '{')
			e.orNull("reason", c.Reason)
			if c.Field == "" {
				e.str("message", c.Message)
			} else {
				e.orNull("message", c.Message)
			}
			e.orNull("field", c.Field)
			e.dst = append(e.dst, '}')
		}
		e.dst = append(e.dst, "]}"...)
	}
	if s.Code != 0 {
		e.name("code")
		e.dst = strconv.AppendInt(e.dst, int64(s.Code), 10)
	}
	e.dst = append(e.dst, '}')
}

func (e *encoder) annotations(m map[string]string) {
	e.name("auditAnnotations")
	if m == nil {
		e.dst = append(e.dst, "null"...)
		return
	}
	e.dst = append(e.dst, '{')
	for _, key := range slices.Sorted(maps.Keys(m)) {
		e.str(key, m[key])
	}
	e.dst = append(e.dst, '}')
}

func (e *encoder) warnings(list []string) {
	e.name("warnings")
	if list == nil {
		e.dst = append(e.dst, "null"...)
		return
	}
	e.dst = append(e.dst, '[')
	for _, w := range list {
		e.separate()
		e.dst = appendQuoted(e.dst, w)
	}
	e.dst = append(e.dst, ']')
}

// appendQuoted appends s as a JSON string the way serde_json writes it: nothing
// is escaped that need not be, so that < stays < in a message. Bytes that are
// not UTF-8 become U+FFFD.
func appendQuoted(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r >= 0x20:
			dst = utf8.AppendRune(dst, r)
		case r >= '\b' && r <= '\r' && r != '\v':
			dst = append(dst, '\\', "btn_fr"[r-'\b'])
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		}
	}
	return append(dst, '"')
}

// noObject is the rejection of a mutation that has nothing to change. The text
// is Kubewarden's.
const noObject = "Incoming object is null, which happens only with DELETE operations, " +
	"but the policy is attempting a mutation. This is not allowed"

// FromVerdict returns the response that says the verdict on req: what changes
// becomes the patch from the request's object (the whole document of a raw
// request) to the verdict's. A change that is none leaves no patch; one where
// there is no object is refused.
//
// The error says why the verdict is not one: a patch that does not apply, a
// mutated object that is not JSON.
func FromVerdict(req *sdk.Request, v sdk.Verdict) (Response, error) {
	if v.MutatedObject != nil && len(v.Patch) > 0 {
		return Response{}, errors.New("verdict: both a patch and a mutated object")
	}
	if isNull(v.MutatedObject) {
		v.MutatedObject = nil
	}
	subject := req.Object
	if req.Raw != nil {
		subject = req.Raw
	}
	if subject == nil && (v.MutatedObject != nil || len(v.Patch) > 0) {
		return Response{UID: req.UID, Status: &Status{Message: noObject}}, nil
	}
	v, err := v.Resolve(req)
	if err != nil {
		return Response{}, fmt.Errorf("verdict: %w", err)
	}
	resp := Response{
		UID:              req.UID,
		Allowed:          v.Accepted,
		AuditAnnotations: v.AuditAnnotations,
		Warnings:         v.Warnings,
	}
	if v.Message != "" || v.Code != 0 {
		resp.Status = &Status{Message: v.Message, Code: int(v.Code)}
	}
	if v.MutatedObject == nil {
		return resp, nil
	}
	if resp.Patch, err = Diff(subject, v.MutatedObject); err != nil {
		return Response{}, fmt.Errorf("verdict: mutated object: %w", err)
	}
	return resp, nil
}
