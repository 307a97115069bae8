package review

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/sdk"
)

const head = `"uid":"u1","kind":{"group":"","version":"v1","kind":"Pod"},` +
	`"resource":{"group":"","version":"v1","resource":"pods"},"operation":"CREATE","userInfo":{}`

func podReview(object string) []byte {
	return []byte(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{` + head + `,"object":` + object + `}}`)
}

func TestDecodeKeepsTheObjectAsItIs(t *testing.T) {
	object := `{ "b":1.0, "a":[1e3, 18446744073709551616] }`
	body := podReview(object)
	r, err := Decode(body)
	if err != nil {
		t.Fatal(err)
	}
	want := &Review{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview", Request: &sdk.Request{
		UID: "u1", Operation: sdk.Create, Object: json.RawMessage(object),
		Kind:     sdk.GroupVersionKind{Version: "v1", Kind: "Pod"},
		Resource: sdk.GroupVersionResource{Version: "v1", Resource: "pods"},
	}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("Decode (-want +got):\n%s", diff)
	}
	if at := bytes.Index(body, []byte(object)); &r.Request.Object[0] != &body[at] {
		t.Error("Object is a copy, want a piece of the body")
	}
}

func TestDecodeSaysWhatIsWrongAndWhere(t *testing.T) {
	const (
		malformed = "Failed to parse the request body as JSON: "
		shape     = "Failed to deserialize the JSON body into the target type: "
	)
	tests := []struct {
		name, body string
		kind       Kind
		want       string
	}{
		{"empty", ``, Malformed, malformed + "EOF while parsing a value at line 1 column 0"},
		{"cut off", `{"request":`, Malformed, malformed + "EOF while parsing a value at line 1 column 11"},
		{"not JSON on line 2", "{\n  nope}", Malformed, malformed + "key must be a string at line 2 column 3"},
		{"two values", `{} {}`, Malformed, malformed + "trailing characters at line 1 column 4"},
		{"not UTF-8", "{\"a\":\"\xff\"}", Malformed, malformed + "invalid unicode code point at line 1 column 7"},
		{"a list", ` []`, Shape, shape + "invalid type: sequence, expected an object at line 1 column 2"},
		{"a number", `12`, Shape, shape + "invalid type: number `12`, expected an object at line 1 column 1"},
		{"no request", `{}`, Shape, shape + "missing field `request` at line 1 column 2"},
		{"null request", "{\n\"request\": null}", Shape, shape + "request: invalid type: null, expected an object at line 2 column 12"},
		{"request is a list", `{"request":[]}`, Shape, shape + "request: invalid type: sequence, expected an object at line 1 column 12"},
		{"two requests", `{"request":{},"request":{}}`, Shape, shape + "duplicate field `request` at line 1 column 25"},
		{"escaped duplicate", `{"request":{},"\u0072equest":{}}`, Shape, shape + "duplicate field `request` at line 1 column 30"},
		{"no uid", `{"request":{}}`, Shape, shape + "request: missing field `uid` at line 1 column 13"},
		{"kind without group", `{"request":{"uid":"u","kind":{"version":"v1","kind":"Pod"}}}`, Shape,
			shape + "request.kind: missing field `group` at line 1 column 58"},
		{"uid is a number", `{"kind":1,"request":{"uid":1}}`, Shape,
			shape + "request.uid: invalid type: number `1`, expected a string at line 1 column 28"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Decode([]byte(tt.body))
			var decode *DecodeError
			if !errors.As(err, &decode) || decode.Kind != tt.kind || err.Error() != tt.want {
				t.Errorf("Decode(%q)\n have %v\n want %s", tt.body, err, tt.want)
			}
		})
	}
}

func TestDecodeAllocatesNothingOfTheObjectsSize(t *testing.T) {
	cost := func(size int) (allocs, bytesPerOp int64) {
		body := podReview(`{"spec":{"data":"` + strings.Repeat("x", size) + `","list":[` + strings.Repeat("1,", size/4) + `1]}}`)
		b := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(body); err != nil {
					b.Fatal(err)
				}
			}
		})
		return b.AllocsPerOp(), b.AllocedBytesPerOp()
	}
	allocs, size := cost(5 << 10)
	moreAllocs, moreSize := cost(500 << 10)
	if moreAllocs > allocs || moreSize > size+64 {
		t.Errorf("500 KB object costs %d allocations, %d B; 5 KB object %d, %d B; want the same",
			moreAllocs, moreSize, allocs, size)
	}
}

func TestDecodeRawTakesAnyJSON(t *testing.T) {
	tests := []struct{ request, uid string }{
		{`{"uid":"r1","x":[1]}`, "r1"},
		{`{"uid":7}`, ""},
		{`"text"`, ""},
		{`[1, 2.50]`, ""},
		{`null`, ""},
	}
	for _, tt := range tests {
		r, err := DecodeRaw([]byte(`{"request": ` + tt.request + ` }`))
		if err != nil {
			t.Errorf("DecodeRaw of %s: %v", tt.request, err)
			continue
		}
		want := &sdk.Request{UID: tt.uid, Raw: json.RawMessage(tt.request)}
		if diff := cmp.Diff(want, r.Request); diff != "" {
			t.Errorf("DecodeRaw of %s (-want +got):\n%s", tt.request, diff)
		}
	}
	for _, body := range []string{`{}`, `{"request":1,"request":2}`, `{"request":`, `7`} {
		if _, err := DecodeRaw([]byte(body)); err == nil {
			t.Errorf("DecodeRaw(%s) succeeded, want an error", body)
		}
	}
}

// reference is an AdmissionReview as encoding/json decodes it. Pointers tell
// null from empty.
type reference struct {
	Request *struct {
		UID       string
		Kind      sdk.GroupVersionKind
		Resource  sdk.GroupVersionResource
		Operation sdk.Operation
		UserInfo  struct {
			Username, UID string
			Groups        []string
		}
		SubResource, RequestSubResource string
		Name, Namespace                 string
		DryRun                          *bool
		Object, OldObject, Options      json.RawMessage
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(podReview(`{"a":[1,{"b":null}]}`)))
	f.Add([]byte(`{"request":{` + head + `,"name":"n\u00e9","dryRun":true,"oldObject":null,"options":{"x":"\ud83d\ude00"}}}`))
	f.Add([]byte(`{"request":{` + head + `},"request":1}`))
	f.Add([]byte(` [ ]`))
	f.Add([]byte("{\"request\":{\"uid\":\"\xff\"}}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if raw, err := DecodeRaw(body); err == nil && !json.Valid(raw.Request.Raw) {
			t.Errorf("DecodeRaw(%q) has the request %q, which is not JSON", body, raw.Request.Raw)
		}
		r, err := Decode(body)
		if err != nil {
			var decode *DecodeError
			if !errors.As(err, &decode) || decode.Line < 1 || decode.Column < 0 {
				t.Errorf("Decode(%q) = %#v, want a *DecodeError with a place", body, err)
			}
			return
		}
		if !json.Valid(body) || !utf8.Valid(body) {
			t.Fatalf("Decode(%q) accepts what is not JSON", body)
		}
		if answer := r.AppendAnswer(nil, Response{UID: r.Request.UID}); !json.Valid(answer) {
			t.Errorf("answer to %q is not JSON: %s", body, answer)
		}
		if hasAmbiguousNames(body) {
			return
		}
		var want reference
		if err := json.Unmarshal(body, &want); err != nil || want.Request == nil {
			t.Fatalf("Decode(%q) accepts what encoding/json does not: %v", body, err)
		}
		w, g := want.Request, r.Request
		haveText := fmt.Sprintf("%q %q %q %q %q %q %q %q %q %q", g.UID, g.Kind, g.Resource, g.Operation, g.UserInfo.Username,
			g.UserInfo.Groups, g.SubResource, g.RequestSubResource, g.Name, g.Namespace)
		wantText := fmt.Sprintf("%q %q %q %q %q %q %q %q %q %q", w.UID, w.Kind, w.Resource, w.Operation, w.UserInfo.Username,
			w.UserInfo.Groups, w.SubResource, w.RequestSubResource, w.Name, w.Namespace)
		if haveText != wantText {
			t.Errorf("Decode(%q)\n have %s\n want %s", body, haveText, wantText)
		}
		if diff := cmp.Diff(w.DryRun, g.DryRun); diff != "" {
			t.Errorf("Decode(%q) dryRun (-want +got):\n%s", body, diff)
		}
		for name, pair := range map[string][2]json.RawMessage{
			"object": {w.Object, g.Object}, "oldObject": {w.OldObject, g.OldObject}, "options": {w.Options, g.Options},
		} {
			if isNull(pair[0]) {
				pair[0] = nil
			}
			if !bytes.Equal(pair[0], pair[1]) {
				t.Errorf("Decode(%q) %s = %s, want %s", body, name, pair[1], pair[0])
			}
		}
	})
}

// hasAmbiguousNames reports whether an object in the JSON text has two names
// that encoding/json does not tell apart, by case. What they mean is a matter
// of taste.
func hasAmbiguousNames(text []byte) bool {
	ambiguous := false
	var walk func(n node)
	walk = func(n node) {
		for i, m := range n.members {
			for _, o := range n.members[:i] {
				ambiguous = ambiguous || strings.EqualFold(m.name, o.name)
			}
			// A name that is a field but for its case.
			for _, field := range fieldNames {
				ambiguous = ambiguous || m.name != field && strings.EqualFold(m.name, field)
			}
			walk(m.value)
		}
		for _, e := range n.elements {
			walk(e)
		}
	}
	top := parse(string(text)).open(everything)
	walk(top)
	return ambiguous || bytes.Count(text, []byte(`"`)) != 2*countStrings(top)
}

var fieldNames = []string{"request", "uid", "kind", "group", "version", "resource", "operation", "userInfo", "username",
	"groups", "subResource", "requestSubResource", "name", "namespace", "dryRun", "object", "oldObject", "options"}

// countStrings counts the strings left in the tree: fewer than the text has
// quotes for when a name came twice (or a string has a quote).
func countStrings(n node) int {
	count := 0
	if n.kind() == '"' {
		count++
	}
	for _, m := range n.members {
		count += 1 + countStrings(m.value)
	}
	for _, e := range n.elements {
		count += countStrings(e)
	}
	return count
}

func BenchmarkDecode(b *testing.B) {
	body := podReview(`{"spec":{"containers":[` + strings.Repeat(`{"name":"a","image":"b:1","resources":{"limits":{"cpu":"1"}}},`, 80) + `{}]}}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(body); err != nil {
			b.Fatal(err)
		}
	}
}
