package rego

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/warder-dev/warder/sdk"
)

func TestValuesGoThereAndBack(t *testing.T) {
	tests := []struct{ dumped, want string }{ // want "" where they are the same
		{`null`, ""}, {`true`, ""}, {`1.50`, ""}, {`1e2`, ""}, {`12345678901234567890`, ""}, {`"a\"\\é\u0007"`, ""},
		{`[1,[],{}]`, ""}, {`{"a":{"b":[null]}}`, ""}, {`set()`, ""}, {`{1}`, ""}, {`{ 2, 1 }`, `{1,2}`},
		{`{1:2,[3]:set(),{4}:{5}}`, ""}, {`[{{1}}]`, ""}, {"\"\U0001f600\"", ""}, {`"\ud83d\ude00"`, "\"\U0001f600\""},
	}
	for _, tt := range tests {
		term, err := parseValue([]byte(tt.dumped))
		if err != nil {
			t.Errorf("%s: %v", tt.dumped, err)
			continue
		}
		got, err := formatValue(term.Value, 1000)
		if want := tt.want; err != nil || want == "" && string(got) != tt.dumped || want != "" && string(got) != want {
			t.Errorf("%s: %s, error %v; want %s", tt.dumped, got, err, tt.want)
		}
	}
}

func TestWhatIsNoValue(t *testing.T) {
	for text, want := range map[string]string{
		`1 2`:                      "trailing characters at offset 3",
		`input`:                    "it is not a value",
		`{x | x := 1}`:             "it is not a value",
		`[data.a]`:                 "it is not a value",
		`{1, count([1])}`:          "it is not a value",
		``:                         "expected exactly one term",
		`{1,`:                      "rego_parse_error",
		strings.Repeat(`{`, 20000): "it is nested more than 10000 deep",
		strings.Repeat(`(`, 20000): "it is nested more than 10000 deep",
	} {
		if _, err := parseValue([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.50s: error %v, want %s", text, err, want)
		}
	}
	deep := ast.ArrayTerm()
	for range maxDepth + 2 {
		deep = ast.ArrayTerm(deep)
	}
	if _, err := formatValue(deep.Value, 1<<20); err == nil || err.Error() != errDeep.Error() {
		t.Errorf("error %v of a deep value", err)
	}
	if _, err := formatValue(ast.ArrayTerm(ast.StringTerm("aaaa"), ast.StringTerm("b")).Value, 5); err == nil ||
		err.Error() != "the policy wrote more than 5 bytes of output" {
		t.Errorf("error %v of a long value", err)
	}
	if _, err := formatValue(ast.MustParseTerm("x").Value, 5); err == nil {
		t.Error("a variable is a value")
	}
}

// A value that was written is the same when it is read and written again. (What
// is read first may have a name twice, or text that is not UTF-8.)
func FuzzValue(f *testing.F) {
	for _, seed := range append(objects(), `set()`, `{1,"a"}`, `{[1]:{2}}`, `{1: 2}`, `{x|x}`, `input`, `1 2`, `r"x"`, "`raw`", `$"{1}"`) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4<<10 {
			return
		}
		term, err := parseValue(text)
		if err != nil {
			return
		}
		var written [2][]byte
		var read [2]*ast.Term
		for n := range written {
			if written[n], err = formatValue(term.Value, 1<<20); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if read[n], err = parseValue(written[n]); err != nil {
				t.Fatalf("%q: %s: %v", text, written[n], err)
			}
			term = read[n]
		}
		if read[0].Value.Compare(read[1].Value) != 0 {
			t.Errorf("%q: %s, and then %s", text, written[0], written[1])
		}
	})
}

// A result lets a request through only where it says so, and never panics.
func FuzzResult(f *testing.F) {
	for _, seed := range []string{`[{"result":[]}]`, `[{"result":[{"msg":"a"}]}]`, `[]`, `[{"result":{"response":{"uid":"","allowed":true}}}]`,
		`[{"result":{"response":{"uid":"","allowed":true,"patchType":"JSONPatch","patch":"W10="}}}]`, `[{"result":null}]`, `{}`, `[[]]`,
		`[{"result":{"response":{"uid":"","allowed":false,"status":{"message":"m","code":403},"warnings":["w"],"auditAnnotations":{"a":"b"}}}}]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := Gatekeeper.verdict(request(`{}`), text)
		var said []struct{ Result []any }
		if err == nil && v.Accepted && (json.Unmarshal(text, &said) != nil || len(said) == 0 || len(said[0].Result) > 0) {
			t.Errorf("%s: accepted", text)
		}
		v, err = OPA.verdict(request(`{}`), text)
		if err == nil && v.Accepted && !(strings.Contains(string(text), "allowed") || strings.Contains(string(text), `\u`)) {
			t.Errorf("%s: accepted", text)
		}
		if err == nil && v.MutatedObject != nil && sdk.Check(v.MutatedObject) != nil {
			t.Errorf("%s: mutated to %s", text, v.MutatedObject)
		}
	})
}

// A patch of a policy applies or is refused.
func FuzzPatch(f *testing.F) {
	for _, seed := range []string{`[]`, `[{"op":"add","path":"/a/-","value":1}]`, `[{"op":"copy","from":"","path":"/a"}]`, `[{"op":"move","from":"/a","path":"/b"}]`,
		`[{"op":"test","path":"/a"}]`, `[{"op":"remove","path":""}]`, `[{"op":"replace","path":"","value":null}]`, `[null]`, `[{}]`, `[{"op":null}]`, `[{"op":"add","path":"/a/99999999999","value":1}]`,
		`[{"op":"add","path":null}]`, `[{"op":"copy","path":"/a"}]`, `[{"op":"move","from":null,"path":"/a"}]`, `null`} {
		f.Add([]byte(seed), []byte(`{"a":[1,{"b":2}],"c":null}`))
		f.Add([]byte(seed), []byte(`[]`))
		f.Add([]byte(seed), []byte(`null`))
	}
	f.Fuzz(func(t *testing.T, patch, object []byte) {
		if len(object) > 4<<10 || sdk.Check(object) != nil {
			return
		}
		mutated, err := patched(request(string(object)), patch)
		if err == nil && mutated != nil && sdk.Check(mutated) != nil {
			t.Errorf("%s of %s: %s", patch, object, mutated)
		}
	})
}
