package sdktest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/warder-dev/warder/sdk"
)

// Case is a policy's settings, a request, and what must come of the two. It is
// written as a txtar file:
//
//	What the case shows.
//	-- settings.json --
//	{"skip_init_containers": true}
//	-- request.json --
//	{"operation": "CREATE", "object": {"kind": "Pod", "spec": {}}}
//	-- want --
//	allowed
//
// Settings may be missing. A request says only what matters: what is missing of
// an AdmissionRequest is filled in, the kind and the API version from the
// object (a Pod if it does not say), the operation CREATE if there is an object
// and DELETE if there is none. A whole AdmissionReview is taken too. The
// document of a raw policy is raw.json instead. A policy that asks its host is
// answered from host.json, a list:
//
//	[{"capability": "kubernetes/get_resource", "question": {"name": "web", …}, "answer": {…}}]
//
// Without a question it answers every call of the capability; with an error, a
// text, instead of an answer the call fails.
//
// See Want for what may stand under want.
type Case struct {
	// Name is the file's name without .txtar.
	Name string
	// Comment says what the case shows.
	Comment string
	// Settings are the policy's settings, nil for none.
	Settings json.RawMessage
	// Request is nil when the case is about settings alone.
	Request *sdk.Request
	// Answers are what the host says, the first that fits; nil for no host.
	Answers []Answer
	Want    Want
}

// Outcome is what may come of a case.
type Outcome string

// The outcomes, as they are written under want.
const (
	// Allowed: the request goes through as it is.
	Allowed Outcome = "allowed"
	// Mutated: the request goes through changed.
	Mutated Outcome = "mutated"
	// Rejected: the request is refused.
	Rejected Outcome = "rejected"
	// NoVerdict: the policy returns an error.
	NoVerdict Outcome = "error"
	// InvalidSettings: the policy refuses its settings.
	InvalidSettings Outcome = "invalid settings"
)

// Want is what must come of a case, in one of these forms:
//
//	allowed
//	mutated
//	rejected: <message>
//	rejected <code>: <message>
//	error: <message>
//	invalid settings: <message>
//
// A message may have several lines. Without a code, the verdict must have none.
// "mutated" needs another file: patch.json, the RFC 6902 patch that the policy
// makes, or object.json, the whole object.
type Want struct {
	Outcome Outcome
	// Message is the whole message, word for word.
	Message string
	// Code is the verdict's code, 0 for none.
	Code uint16
	// Object is the object as it must be after the mutation, with which the
	// verdict's is compared as JSON.
	Object json.RawMessage
}

// Cases runs every case in the folder as a test of its own. A folder without
// cases is an error.
func Cases(t *testing.T, policy sdk.Policy, dir string) {
	t.Helper()
	cases, err := ReadCases(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(policy); err != nil {
				t.Errorf("%s\n%v", c.Comment, err)
			}
		})
	}
}

// ReadCases reads the cases of a folder, its *.txtar files in the order of
// their names. The error names the file; a folder without any is one.
func ReadCases(dir string) ([]Case, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no *.txtar files", dir)
	}
	cases := make([]Case, 0, len(files))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		c, err := ParseCase(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		c.Name = strings.TrimSuffix(filepath.Base(file), ".txtar")
		cases = append(cases, c)
	}
	return cases, nil
}

// ParseCase parses the text of one case; it has no Name. The error says which
// of its files is wrong.
func ParseCase(text string) (Case, error) {
	a, err := parseArchive(text)
	if err != nil {
		return Case{}, err
	}
	c := Case{Comment: strings.TrimSpace(a.comment)}
	if c.Comment == "" {
		return c, errors.New("the case does not say what it shows: start it with a line of text")
	}
	for name, body := range a.files {
		if err := c.addFile(name, body); err != nil {
			return c, fmt.Errorf("%s: %w", name, err)
		}
	}
	want, ok := a.files["want"]
	if !ok {
		return c, errors.New("want: missing")
	}
	if err := c.Want.parse(want); err != nil {
		return c, fmt.Errorf("want: %w", err)
	}
	if c.Request == nil && c.Want.Outcome != InvalidSettings {
		return c, errors.New("request.json: missing")
	}
	return c, c.wantObject(a.files)
}

func (c *Case) addFile(name, body string) (err error) {
	switch name {
	case "settings.json":
		c.Settings = json.RawMessage(strings.TrimSpace(body))
	case "request.json":
		c.Request, err = completeRequest(json.RawMessage(body))
	case "raw.json":
		raw := json.RawMessage(strings.TrimSpace(body))
		if err = sdk.Check(raw); err == nil {
			c.Request = sdk.RawRequest(raw)
		}
	case "host.json":
		c.Answers, err = parseAnswers(body)
	case "want", "patch.json", "object.json":
	default:
		err = errors.New("no such part; known are settings.json, request.json, raw.json, host.json, want, patch.json, object.json")
	}
	return err
}

// parseAnswers reads host.json.
func parseAnswers(text string) ([]Answer, error) {
	var list []struct {
		Capability       string
		Question, Answer json.RawMessage
		Error            string
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil {
		return nil, err
	}
	answers := make([]Answer, 0, len(list))
	for i, l := range list {
		if l.Capability == "" || (l.Answer == nil) == (l.Error == "") {
			return nil, fmt.Errorf("answer %d: want a capability, and an answer or an error", i)
		}
		a := Answer{Capability: l.Capability, Question: l.Question, Payload: l.Answer}
		if l.Error != "" {
			a.Err = errors.New(l.Error)
		}
		answers = append(answers, a)
	}
	return answers, nil
}

// completeRequest fills in what a case leaves out of an AdmissionRequest.
func completeRequest(text json.RawMessage) (*sdk.Request, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	if inner, ok := fields["request"]; ok && fields["object"] == nil {
		return sdk.ParseRequest(inner)
	}
	subject := fields["object"]
	if subject == nil || string(subject) == "null" {
		subject = fields["oldObject"]
	}
	top := sdk.View(subject)
	kind := top.Get("kind").String()
	if kind == "" {
		kind = "Pod"
	}
	gvk := kindOf(kind, top.Get("apiVersion").String())
	operation := sdk.Create
	if !sdk.View(fields["object"]).Exists() {
		operation = sdk.Delete
	}
	complete := map[string]any{
		"uid": testUID, "kind": gvk, "operation": operation, "userInfo": struct{}{},
	}
	for name, value := range fields {
		complete[name] = value
	}
	if given, ok := fields["kind"]; ok && json.Unmarshal(given, &gvk) != nil {
		return nil, errors.New("kind: want an object with group, version and kind")
	}
	if _, ok := complete["resource"]; !ok {
		complete["resource"] = resourceOf(gvk)
	}
	whole, err := marshal(complete)
	if err != nil {
		return nil, err
	}
	return sdk.ParseRequest(whole)
}

// parse reads the text under want.
func (w *Want) parse(text string) error {
	text = strings.TrimSpace(text)
	if text == string(Allowed) || text == string(Mutated) {
		w.Outcome = Outcome(text)
		return nil
	}
	head, message, _ := strings.Cut(text, ":")
	head, code, coded := strings.Cut(head, " ")
	if head == "invalid" {
		head, coded = head+" "+code, false
	}
	w.Outcome, w.Message = Outcome(head), strings.TrimSpace(message)
	switch w.Outcome {
	case Rejected, NoVerdict, InvalidSettings:
	default:
		return fmt.Errorf(`%q: want "allowed", "mutated", "rejected: <message>", "error: <message>" or "invalid settings: <message>"`, text)
	}
	if w.Message == "" {
		return fmt.Errorf("%q: the message is missing", text)
	}
	if !coded {
		return nil
	}
	n, err := strconv.ParseUint(code, 10, 16)
	if err != nil || w.Outcome != Rejected {
		return fmt.Errorf("%q: want a code from 0 to 65535 after \"rejected\"", code)
	}
	w.Code = uint16(n)
	return nil
}

// wantObject reads the object that must come of a mutation.
func (c *Case) wantObject(files map[string]string) error {
	patch, patched := files["patch.json"]
	object, whole := files["object.json"]
	if c.Want.Outcome != Mutated {
		if patched || whole {
			return errors.New(`patch.json and object.json are for "mutated"`)
		}
		return nil
	}
	if patched == whole {
		return errors.New(`"mutated" needs either patch.json or object.json`)
	}
	if whole {
		c.Want.Object = json.RawMessage(strings.TrimSpace(object))
		if err := sdk.Check(c.Want.Object); err != nil {
			return fmt.Errorf("object.json: %w", err)
		}
		return nil
	}
	var operations sdk.Patch
	if err := json.Unmarshal([]byte(patch), &operations); err != nil {
		return fmt.Errorf("patch.json: %w", err)
	}
	for i, op := range operations {
		if op.Op == sdk.PatchSet {
			return fmt.Errorf("patch.json: operation %d: %q is not of RFC 6902", i, op.Op)
		}
	}
	mutated, err := operations.Apply(c.subject())
	if err != nil {
		return fmt.Errorf("patch.json: %w", err)
	}
	c.Want.Object = mutated
	return nil
}

// subject is the document that the policy may change.
func (c Case) subject() json.RawMessage {
	if c.Request.Raw != nil {
		return c.Request.Raw
	}
	return c.Request.Object
}

// Run judges the case natively and returns how the answer differs from what the
// case wants, nil if it does not. What a policy has mutated it must accept
// unchanged, or each pass of the API server would change the object again.
func (c Case) Run(policy sdk.Policy) error {
	judge, err := policy.Load(c.Settings)
	if err != nil {
		return c.CheckInvalid(err.Error())
	}
	if c.Request == nil {
		return errors.New("the settings are valid, want: " + c.Want.String())
	}
	v, err := c.ask(judge, c.Request)
	if err != nil {
		return c.CheckError(err.Error())
	}
	if err := c.CheckVerdict(v); err != nil {
		return err
	}
	if v.MutatedObject == nil {
		return nil
	}
	again := *c.Request
	if again.Raw != nil {
		again.Raw = v.MutatedObject
	} else {
		again.Object = v.MutatedObject
	}
	v, err = c.ask(judge, &again)
	switch {
	case err != nil:
		return fmt.Errorf("second pass: %w", err)
	case !v.Accepted:
		return fmt.Errorf("second pass: rejected: %s", v.Message)
	case v.MutatedObject != nil && !sameJSON(v.MutatedObject, c.Want.Object):
		return fmt.Errorf("second pass: mutated once more, to %s", v.MutatedObject)
	}
	return nil
}

func (c Case) ask(judge sdk.Judge, req *sdk.Request) (sdk.Verdict, error) {
	ctx := context.Background()
	if c.Answers != nil {
		ctx = sdk.WithHost(ctx, recorded(c.Answers))
	}
	v, err := judge(ctx, req)
	if err != nil {
		return v, err
	}
	return v.Resolve(req)
}

// CheckInvalid compares the message with which a policy refused the case's
// settings with what the case wants.
func (c Case) CheckInvalid(message string) error {
	return c.compare(Want{Outcome: InvalidSettings, Message: message})
}

// CheckError compares the error of a policy that gave no verdict with what the
// case wants.
func (c Case) CheckError(message string) error {
	return c.compare(Want{Outcome: NoVerdict, Message: message})
}

// CheckVerdict compares a verdict, its patch applied, with what the case wants.
func (c Case) CheckVerdict(v sdk.Verdict) error {
	have := Want{Outcome: Allowed, Message: v.Message, Code: v.Code, Object: v.MutatedObject}
	switch {
	case !v.Accepted:
		have.Outcome = Rejected
	case v.MutatedObject != nil:
		have.Outcome = Mutated
	}
	return c.compare(have)
}

func (c Case) compare(have Want) error {
	want := c.Want
	if have.Outcome == want.Outcome && have.Message == want.Message && have.Code == want.Code &&
		sameJSON(have.Object, want.Object) {
		return nil
	}
	return fmt.Errorf("have: %s\nwant: %s", have, want)
}

// String is the outcome as it is written in a case.
func (w Want) String() string {
	s := string(w.Outcome)
	if w.Code != 0 {
		s += " " + strconv.Itoa(int(w.Code))
	}
	if w.Message != "" {
		s += ": " + w.Message
	}
	if w.Object != nil {
		s += ": " + string(w.Object)
	}
	return s
}

// sameJSON reports whether two documents are the same but for space and the
// order of members. Nil is the same as nil alone.
func sameJSON(a, b json.RawMessage) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	va, errA := decode(a)
	vb, errB := decode(b)
	return errA == nil && errB == nil && reflect.DeepEqual(va, vb)
}

func decode(text []byte) (value any, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return value, dec.Decode(&value)
}
