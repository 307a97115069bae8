package sdk

import (
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	jsonpatch "github.com/evanphx/json-patch/v5"
)

func TestPatchKeepsWhatItDoesNotChange(t *testing.T) {
	tests := []struct {
		name, doc string
		patch     func(p *Patch)
		want      string
	}{
		{"nothing", ` {"a" : 1.50}`, func(*Patch) {}, ` {"a" : 1.50}`},
		{"add a member", `{"z": 1.50, "a" :[ ] }`, func(p *Patch) { p.Add("/b", 1) }, `{"z": 1.50, "a" :[ ] ,"b":1}`},
		{"add to the empty", `{ }`, func(p *Patch) { p.Add("/b", "x") }, `{ "b":"x"}`},
		{"add in place of", `{"a": {"x":1}, "b":2}`, func(p *Patch) { p.Add("/a", nil) }, `{"a": null, "b":2}`},
		{"add an element", `[1, 2]`, func(p *Patch) { p.Add("/1", 9) }, `[1, 9,2]`},
		{"add the first", `[1]`, func(p *Patch) { p.Add("/0", 9) }, `[9,1]`},
		{"add at the length", `[1 ]`, func(p *Patch) { p.Add("/1", 9) }, `[1 ,9]`},
		{"add at the end", `[1]`, func(p *Patch) { p.Add("/-", 9) }, `[1,9]`},
		{"add to an empty list", `[ ]`, func(p *Patch) { p.Add("/-", 9) }, `[ 9]`},
		{"replace deep", `{"a": [ {"b": "é"} ]}`, func(p *Patch) { p.Replace("/a/0/b", false) }, `{"a": [ {"b": false} ]}`},
		{"replace all", `{"a": 1}`, func(p *Patch) { p.Replace("", []int{1}) }, `[1]`},
		{"remove the first", `{ "a":1 , "b":2}`, func(p *Patch) { p.Remove("/a") }, `{ "b":2}`},
		{"remove the last", `{"a":1 , "b":2 }`, func(p *Patch) { p.Remove("/b") }, `{"a":1  }`},
		{"remove the only", `{ "a" : 1 }`, func(p *Patch) { p.Remove("/a") }, `{ }`},
		{"remove both of two", `{"a":1,"b":2,"a":3}`, func(p *Patch) { p.Remove("/a") }, `{"b":2}`},
		{"remove an element", `[1, 2 ,3]`, func(p *Patch) { p.Remove("/1") }, `[1, 3]`},
		{"remove the last element", `[1, [2] ]`, func(p *Patch) { p.Remove("/1") }, `[1 ]`},
		{"escaped names", `{"a/b": {"~": 1}}`, func(p *Patch) { p.Replace("/a~1b/~0", 2) }, `{"a/b": {"~": 2}}`},
		{"escaped in the text", `{"\u0061": 1}`, func(p *Patch) { p.Replace("/a", 2) }, `{"\u0061": 2}`},
		{"a name that is empty", `{"": 1}`, func(p *Patch) { p.Replace("/", 2) }, `{"": 2}`},
		{"a name that is a number", `{"0": 1}`, func(p *Patch) { p.Add("/1", 2) }, `{"0": 1,"1":2}`},
		{"a new name with escapes", `{}`, func(p *Patch) { p.Add("/a~1\"b\n", 2) }, `{"a/\"b\n":2}`},
		{"set makes the way", `{"spec": {}}`, func(p *Patch) { p.Set("/spec/a/b/c", true) }, `{"spec": {"a":{"b":{"c":true}}}}`},
		{"set passes null", `{"a": null, "b": 1}`, func(p *Patch) { p.Set("/a/x", 1) }, `{"a": {"x":1}, "b": 1}`},
		{"set replaces", `{"a": {"x": 2}}`, func(p *Patch) { p.Set("/a/x", 1) }, `{"a": {"x": 1}}`},
		{"set an element", `{"a": [1, 2]}`, func(p *Patch) { p.Set("/a/1", 3) }, `{"a": [1, 3]}`},
		{"set below an element", `[{}]`, func(p *Patch) { p.Set("/0/a/b", 3) }, `[{"a":{"b":3}}]`},
		{"in order", `{}`, func(p *Patch) { p.Add("/a", []int{}); p.Add("/a/-", 1); p.Add("/a/-", 2); p.Remove("/a/0") }, `{"a":[2]}`},
		{"on nothing", ``, func(p *Patch) { p.Add("", map[string]int{"a": 1}) }, `{"a":1}`},
	}
	for _, tt := range tests {
		before := strings.Clone(tt.doc)
		var p Patch
		tt.patch(&p)
		have, err := p.Apply(json.RawMessage(tt.doc))
		if err != nil || string(have) != tt.want {
			t.Errorf("%s: %s becomes %s, %v; want %s", tt.name, tt.doc, have, err, tt.want)
		}
		if tt.doc != before {
			t.Errorf("%s: the document itself has changed, to %s", tt.name, tt.doc)
		}
	}
}

func TestPatchSaysWhyItDoesNotApply(t *testing.T) {
	tests := []struct {
		name, doc string
		op        PatchOperation
		want      string
	}{
		{"no slash", `{}`, PatchOperation{PatchAdd, "a", raw(`1`)}, `patch operation 1: add "a": the path does not start with a slash`},
		{"missing member", `{"a": {}}`, PatchOperation{PatchReplace, "/a/b", raw(`1`)}, `patch operation 1: replace "/a/b": there is no "b"`},
		{"missing way", `{}`, PatchOperation{PatchAdd, "/a/b", raw(`1`)}, `patch operation 1: add "/a/b": there is no "a"`},
		{"missing to remove", `{}`, PatchOperation{Op: PatchRemove, Path: "/a"}, `patch operation 1: remove "/a": there is no "a"`},
		{"below a scalar", `{"a": 1}`, PatchOperation{PatchSet, "/a/b", raw(`1`)}, `patch operation 1: set "/a/b": "b" is below something that is neither an object nor a list`},
		{"beyond the list", `[1]`, PatchOperation{PatchAdd, "/3", raw(`1`)}, `patch operation 1: add "/3": the list has 1 elements, there is no 3`},
		{"set below what is beyond the list", `[]`, PatchOperation{PatchSet, "/0/a", raw(`1`)}, `patch operation 1: set "/0/a": there is no "0"`},
		{"no index", `[1]`, PatchOperation{PatchReplace, "/01", raw(`1`)}, `patch operation 1: replace "/01": "01" is not an index of a list`},
		{"negative index", `[1]`, PatchOperation{Op: PatchRemove, Path: "/-1"}, `patch operation 1: remove "/-1": "-1" is not an index of a list`},
		{"signed index", `[1,2]`, PatchOperation{Op: PatchRemove, Path: "/+1"}, `patch operation 1: remove "/+1": "+1" is not an index of a list`},
		{"the end", `[1]`, PatchOperation{Op: PatchRemove, Path: "/-"}, `patch operation 1: remove "/-": there is no "-"`},
		{"remove all", `[1]`, PatchOperation{Op: PatchRemove, Path: ""}, `patch operation 1: remove "": the document itself cannot be removed`},
		{"no value", `{}`, PatchOperation{Op: PatchAdd, Path: "/a"}, `patch operation 1: add "/a": the value is not JSON`},
		{"broken value", `{}`, PatchOperation{PatchAdd, "/a", raw(`{`)}, `patch operation 1: add "/a": the value is not JSON`},
		{"unknown operation", `{"a": 1}`, PatchOperation{"move", "/a", raw(`1`)}, `patch operation 1: move "/a": no operation is called "move"`},
		{"unknown operation on all", `{"a": 1}`, PatchOperation{"move", "", raw(`1`)}, `patch operation 1: move "": no operation is called "move"`},
	}
	for _, tt := range tests {
		fine := PatchOperation{PatchReplace, "", raw(tt.doc)}
		have, err := Patch{fine, tt.op}.Apply(raw(`{}`))
		var patchErr *PatchError
		if err == nil || err.Error() != tt.want || !errors.As(err, &patchErr) || patchErr.Index != 1 {
			t.Errorf("%s: have %s, %v; want %s", tt.name, have, err, tt.want)
		}
	}
	var p Patch
	p.Set("/a", func() {})
	if _, err := p.Apply(raw(`{}`)); err == nil {
		t.Error("a value that cannot be JSON applies")
	}
}

func TestPatchOfWhatIsNotJSONIsRefused(t *testing.T) {
	for _, doc := range []string{`{`, `{"a":1`, `{"a":{"b":1,}}`, `{"a" 1}`, `{"a":1}}`, `{"a":x}`, `{"a":{"b":1]}`, `[`, `[1,]`, `[1 2]`, `[]]`, `{1:2}`, `"a`} {
		for _, path := range []string{"/a", "/a/b", "/0", "/-"} {
			for _, op := range []PatchOp{PatchAdd, PatchSet, PatchReplace, PatchRemove} {
				have, err := Patch{{op, path, raw(`1`)}}.Apply(raw(doc))
				if err == nil || !strings.HasSuffix(err.Error(), "the document is not JSON") {
					t.Errorf("%s %s on %s is %s, %v, want an error", op, path, doc, have, err)
				}
			}
		}
	}
}

// Many changes of one document must not read it as many times.
func TestManyChangesCostLittleMoreThanOne(t *testing.T) {
	const elements = 20000
	doc := `{"list": [` + strings.Repeat(`{"a": "some text that is copied"},`, elements) + `{}]}`
	var p Patch
	for i := range elements {
		p.Set("/list/"+strconv.Itoa(i)+"/b/c", i)
	}
	have, err := p.Apply(raw(doc)) // 20,000 copies of 700 kB would take a minute
	if err != nil || strings.Count(string(have), `"b":{"c":`) != elements {
		t.Errorf("%d changes are there, %v", strings.Count(string(have), `"b":{"c":`), err)
	}
}

func raw(text string) json.RawMessage { return json.RawMessage(text) }

func TestEscapePointerIsUndoneByApply(t *testing.T) {
	for _, name := range []string{"", "a", "a/b", "a~b", "~1", "~0", "~01", "//", "é", `"`} {
		doc, _ := json.Marshal(map[string]int{name: 1, "other": 1})
		var p Patch
		p.Replace("/"+EscapePointer(name), 2)
		have, err := p.Apply(doc)
		var object map[string]int
		if err != nil || json.Unmarshal(have, &object) != nil || object[name] != 2 || object["other"] != 1 {
			t.Errorf("%q: have %s, %v", name, have, err)
		}
	}
}

// checkPatch compares Apply with another implementation. Where that refuses
// this must refuse too, and the other way round.
func checkPatch(t *testing.T, doc string, p Patch) {
	t.Helper()
	have, err := p.Apply(raw(doc))
	text, _ := json.Marshal(p)
	reference, decodeErr := jsonpatch.DecodePatch(text)
	if decodeErr != nil {
		t.Fatal(decodeErr)
	}
	want, wantErr := reference.ApplyWithOptions([]byte(doc), &jsonpatch.ApplyOptions{})
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s\npatched with %s\nis %s, %v\nwant %s, %v", doc, text, have, err, want, wantErr)
	}
	if err != nil {
		return
	}
	if checkErr := Check(have); checkErr != nil {
		t.Fatalf("%s\npatched with %s\nis %s: %v", doc, text, have, checkErr)
	}
	if !reflect.DeepEqual(decodeNumbers(t, have), decodeNumbers(t, want)) {
		t.Fatalf("%s\npatched with %s\nis   %s\nwant %s", doc, text, have, want)
	}
}

func decodeNumbers(t *testing.T, text []byte) (v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// pointers returns the pointers of everything in the document but its top.
func pointers(doc string) (all []string) {
	walk(View(raw(doc)), nil, func(_ Value, way []any) {
		pointer := ""
		for _, step := range way {
			switch step := step.(type) {
			case string:
				pointer += "/" + EscapePointer(step)
			case int:
				pointer += "/" + strconv.Itoa(step)
			}
		}
		if pointer != "" {
			all = append(all, pointer)
		}
	})
	return all
}

func TestPatchAgreesWithAnotherImplementation(t *testing.T) {
	random := newRandomJSON(7)
	applied := 0
	for range 5000 {
		doc := strings.TrimSpace(random.document(4))
		for range 4 {
			if len(pointers(doc)) == 0 {
				break
			}
			p := Patch{{
				Op:    PatchOp(random.pick("add", "replace", "remove")),
				Path:  random.pick(pointers(doc)...),
				Value: raw(strings.TrimSpace(random.document(1))),
			}}
			if random.IntN(3) == 0 {
				p[0].Path += "/" + random.pick("a", "b", "0", "1", "2", "-", "x~1y")
			}
			if p[0].Op == PatchRemove {
				p[0].Value = nil
			}
			if strings.Contains(p[0].Path+"/", "//") {
				continue // the other one does not find names that are empty
			}
			checkPatch(t, doc, p)
			if next, err := p.Apply(raw(doc)); err == nil {
				doc, applied = string(next), applied+1
			}
		}
	}
	if applied < 1000 {
		t.Errorf("only %d operations applied", applied)
	}
}

func FuzzPatch(f *testing.F) {
	f.Add(`{"a":[1,{"b":2}]}`, "add", "/a/1/c", `{"x":[]}`)
	f.Add(`[ 1 , 2 ]`, "remove", "/0", ``)
	f.Add(`{"a":1,"b":2}`, "replace", "/b", `"x"`)
	f.Add(`{"a":null}`, "set", "/a/b/c", `1`)
	f.Fuzz(func(t *testing.T, doc, op, path, value string) {
		if len(doc)+len(path)+len(value) > 500 {
			return
		}
		if !json.Valid([]byte(doc)) || !utf8.ValidString(path) {
			_, _ = Patch{{Op: PatchOp(op), Path: path, Value: raw(value)}}.Apply(raw(doc)) // must not panic
			return
		}
		before := strings.Clone(doc)
		have, err := Patch{{Op: PatchOp(op), Path: path, Value: raw(value)}}.Apply(raw(doc))
		if doc != before {
			t.Fatalf("the document has changed, to %s", doc)
		}
		if err == nil && !json.Valid(have) {
			t.Fatalf("%s %s %s on %s is %s, which is not JSON", op, path, value, doc, have)
		}
		if err != nil || op == string(PatchRemove) {
			return
		}
		// What was put there can be read there.
		place := View(have)
		for i, token := range strings.Split(path, "/") {
			if i == 0 {
				continue
			}
			token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
			place = childOf(place, token)
		}
		if want := View(raw(value)); string(place.Raw()) != string(want.Raw()) && !strings.HasSuffix(path, "/-") {
			t.Fatalf("%s %s %s on %s is %s: there is %s", op, path, value, doc, have, place.Raw())
		}
	})
}

// childOf returns the member or the element that a token of a pointer names.
func childOf(v Value, token string) (child Value) {
	if v.Exists() && v.raw[0] == '{' {
		return v.Get(token)
	}
	for i, e := range v.Elements() {
		if strconv.Itoa(i) == token {
			return e
		}
	}
	return child
}
