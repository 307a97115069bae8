package review

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/warder-dev/warder/sdk"
)

func TestDiffGoldenVectors(t *testing.T) {
	tests := []struct{ name, before, after, want string }{
		{"nested object", `{"metadata":{},"spec":{"replicas":1,"x":0}}`, `{"spec":{"replicas":3},"metadata":{"labels":{"a":"b"}}}`,
			`[{"op":"add","path":"/metadata/labels","value":{"a":"b"}},{"op":"replace","path":"/spec/replicas","value":3},{"op":"remove","path":"/spec/x"}]`},
		{"adds before removes, each in order", `{"d":1,"b":1}`, `{"c":1,"a":1}`,
			`[{"op":"add","path":"/a","value":1},{"op":"add","path":"/c","value":1},{"op":"remove","path":"/b"},{"op":"remove","path":"/d"}]`},
		{"list shrinks by two", `{"l":[1,2,3,4]}`, `{"l":[1,5]}`,
			`[{"op":"replace","path":"/l/1","value":5},{"op":"remove","path":"/l/2"},{"op":"remove","path":"/l/2"}]`},
		{"list grows", `[1]`, `[1,2,{"b":1,"a":[]}]`,
			`[{"op":"add","path":"/1","value":2},{"op":"add","path":"/2","value":{"a":[],"b":1}}]`},
		{"list to empty", `{"l":[1,2]}`, `{"l":[]}`, `[{"op":"remove","path":"/l/0"},{"op":"remove","path":"/l/0"}]`},
		{"root of another kind", `{"a":1}`, `[1, 2]`, `[{"op":"replace","path":"","value":[1,2]}]`},
		{"root scalar", `null`, ` {} `, `[{"op":"replace","path":"","value":{}}]`},
		{"slash and tilde", `{"a/b":{"~1":1}}`, `{"a/b":{"~1":2},"m~":null}`,
			`[{"op":"replace","path":"/a~1b/~01","value":2},{"op":"add","path":"/m~0","value":null}]`},
		{"integer and float", `{"a":1}`, `{"a":1.0}`, `[{"op":"replace","path":"/a","value":1.0}]`},
		{"one float, two spellings", `{"a":1.0,"b":1e2}`, `{"a":1.00,"b":100.0}`, ``},
		{"one string, two spellings", `{"a":"\u0041\/"}`, `{"\u0061":"A/"}`, ``},
		{"large integers", `{"a":18446744073709551616}`, `{"a":18446744073709551617}`,
			`[{"op":"replace","path":"/a","value":18446744073709551617}]`},
		{"out of range", `[1e400,1e400]`, `[1e400,1e401]`, `[{"op":"replace","path":"/1","value":1e401}]`},
		{"no HTML escapes", `{}`, `{"<k>":"<&>\u003c"}`, `[{"op":"add","path":"/<k>","value":"<&><"}]`},
		{"quotes in a path", `{"a\"b":1}`, `{}`, `[{"op":"remove","path":"/a\"b"}]`},
		{"the last of two names counts", `{"a":1,"a":2}`, `{"a":3,"a":2}`, ``},
		{"null is a value", `{"a":null}`, `{"a":false,"b":null}`,
			`[{"op":"replace","path":"/a","value":false},{"op":"add","path":"/b","value":null}]`},
		{"nothing", ``, ``, ``},
		{"order and space alone", `{"a":1,"b":[ ]}`, "{\"b\":[],\n\"a\":1}", ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Diff(json.RawMessage(tt.before), json.RawMessage(tt.after))
			if err != nil || string(got) != tt.want || (got == nil) != (tt.want == "") {
				t.Errorf("Diff(%s, %s)\n have %s, %v\n want %s", tt.before, tt.after, got, err, tt.want)
			}
		})
	}
}

func TestDiffRefusesWhatIsNotJSON(t *testing.T) {
	for _, tt := range [][3]string{
		{`{`, `{}`, "before: EOF while parsing an object at offset 1"},
		{`{}`, ``, "after: EOF while parsing a value at offset 0"},
		{``, `{}`, "before: EOF while parsing a value at offset 0"},
	} {
		if _, err := Diff(json.RawMessage(tt[0]), json.RawMessage(tt[1])); err == nil || err.Error() != tt[2] {
			t.Errorf("Diff(%s, %s) error = %v, want %s", tt[0], tt[1], err, tt[2])
		}
	}
}

func TestDiffOfEqualTextsAllocatesNothing(t *testing.T) {
	text := json.RawMessage(`{"a":[` + strings.Repeat(`{"b":"c"},`, 1000) + `1]}`)
	same := bytes.Clone(text)
	allocs := testing.AllocsPerRun(100, func() {
		if patch, err := Diff(text, same); patch != nil || err != nil {
			t.Fatalf("Diff = %s, %v, want none", patch, err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

// TestDiffOfADeepDocumentIsLinear would take minutes if every level looked at
// all that is below it.
func TestDiffOfADeepDocumentIsLinear(t *testing.T) {
	const depth = sdk.MaxDepth - 1
	pad := `"` + strings.Repeat("x", 1<<20) + `"`
	deep := func(leaf string) json.RawMessage {
		return json.RawMessage(strings.Repeat(`{"a":`, depth) + `[` + pad + `,` + leaf + `]` + strings.Repeat(`}`, depth))
	}
	patch, err := Diff(deep("1"), deep("2"))
	want := `[{"op":"replace","path":"` + strings.Repeat("/a", depth) + `/1","value":2}]`
	if err != nil || string(patch) != want {
		t.Errorf("Diff = %.80s…, %v, want %.80s…", patch, err, want)
	}
}

// document makes a random JSON document of few names, so that two of them have
// something in common.
func document(r *rand.Rand, depth int) any {
	kinds := 10
	if depth == 0 {
		kinds = 6
	}
	switch r.IntN(kinds) {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return r.IntN(4)
	case 3:
		return json.Number(fmt.Sprintf("%d.%d", r.IntN(3), r.IntN(3)))
	case 4, 5:
		return []string{"", "<a>", "é\n", "~/\"", "\u2028"}[r.IntN(5)]
	case 6, 7:
		list := make([]any, r.IntN(4))
		for i := range list {
			list[i] = document(r, depth-1)
		}
		return list
	}
	m := map[string]any{}
	for range r.IntN(5) {
		m[[]string{"a", "b/c", "~", "", "d\"", "é"}[r.IntN(6)]] = document(r, depth-1)
	}
	return m
}

func TestDiffAppliedToBeforeGivesAfter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		before, errB := json.Marshal(document(r, 4))
		after, errA := json.Marshal(document(r, 4))
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if problem := checkDiff(before, after); problem != "" {
			t.Fatal(problem)
		}
	}
}

// checkDiff says what is wrong with the patch between two valid documents.
func checkDiff(before, after []byte) string {
	text, err := Diff(before, after)
	if err != nil {
		return fmt.Sprintf("Diff(%s, %s): %v", before, after, err)
	}
	var patch []operation
	if text != nil {
		if err := json.Unmarshal(text, &patch); err != nil || len(patch) == 0 {
			return fmt.Sprintf("Diff(%s, %s) = %s is no patch: %v", before, after, text, err)
		}
	}
	start, err := decode(before)
	if err != nil {
		return err.Error()
	}
	want, err := decode(after)
	if err != nil {
		return err.Error()
	}
	result, err := apply(start, patch)
	if err != nil {
		return fmt.Sprintf("Diff(%s, %s) = %s does not apply: %v", before, after, text, err)
	}
	if have, want := canonical(result), canonical(want); have != want {
		return fmt.Sprintf("Diff(%s, %s) = %s makes %s, want %s", before, after, text, have, want)
	}
	return ""
}

// canonical spells a document so that numbers are their value, integers and
// floating ones apart.
func canonical(v any) string {
	switch v := v.(type) {
	case json.Number:
		if f, err := v.Float64(); err == nil && isFloat(string(v)) {
			return fmt.Sprintf("float %v", f+0) // +0: no minus zero
		}
		return "integer " + string(v)
	case []any:
		parts := []string{}
		for _, e := range v {
			parts = append(parts, canonical(e))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case map[string]any:
		parts := []string{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, fmt.Sprintf("%q:%s", k, canonical(v[k])))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	return fmt.Sprintf("%#v", v)
}

func FuzzDiff(f *testing.F) {
	f.Add([]byte(`{"a":[1,2,{"b":1.0}]}`), []byte(`{"a":[1,{"b":1.00}],"c":"\u0000"}`))
	f.Add([]byte(`[[],[1]]`), []byte(`[[1],[]]`))
	f.Add([]byte(`{"a":1,"a":{}}`), []byte(`-0`))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		if !json.Valid(before) || !json.Valid(after) {
			if _, err := Diff(before, after); err == nil && !bytes.Equal(before, after) {
				t.Errorf("Diff(%q, %q) accepts what is not JSON", before, after)
			}
			return
		}
		if !utf8.Valid(before) || !utf8.Valid(after) {
			return // Decode has refused it
		}
		if problem := checkDiff(before, after); problem != "" {
			t.Error(problem)
		}
		checkEqual(t, before, after)
	})
}

// checkEqual fails when Equal does not say what Diff says.
func checkEqual(t *testing.T, a, b []byte) {
	t.Helper()
	patch, err := Diff(a, b)
	if have, want := Equal(a, b), err == nil && patch == nil; have != want {
		t.Errorf("Equal(%q, %q) = %t, and Diff = %s, %v", a, b, have, patch, err)
	}
}

func TestEqualIsWhereDiffFindsNothing(t *testing.T) {
	texts := []string{`{"a":[1,{"b":1.0}],"c":null}`, ` { "c" : null , "a":[1,{"b":1.00} ]}`, `{"a":[1,{"b":1}],"c":null}`, `{"a":[1,{"b":1.0}]}`,
		`{"a":[1],"c":null}`, `{"a":[1,{"b":1.0},2],"c":null}`, `[]`, `{}`, `null`, `""`, ``, `{`, strings.Repeat("[", 50) + strings.Repeat("]", 50),
		strings.Repeat("[", 50) + "1" + strings.Repeat("]", 50)}
	for _, a := range texts {
		for _, b := range texts {
			checkEqual(t, []byte(a), []byte(b))
		}
	}
}

func BenchmarkDiffOneLabel(b *testing.B) {
	pods := strings.Repeat(`{"name":"a","image":"b:1","resources":{"limits":{"cpu":"1"}}},`, 80)
	before := json.RawMessage(`{"metadata":{"labels":{}},"spec":{"containers":[` + pods + `{}]}}`)
	after := json.RawMessage(`{"metadata":{"labels":{"x":"y"}},"spec":{"containers":[` + pods + `{}]}}`)
	b.SetBytes(int64(len(before)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Diff(before, after); err != nil {
			b.Fatal(err)
		}
	}
}
