package sdk

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// documents are texts that are JSON, or nearly.
func documents() []string {
	docs := []string{
		"", " ", "\n", "null", "nul", "nulll", "true", "tru", "false", "fals", "falsey", "n", "t", "f", "nan", "NaN", "Infinity",
		"0", "-0", "-", "00", "01", "-01", "1", "12", "1.", "1.0", ".1", "1e", "1e1", "1E+1", "1e-1", "1e+", "1.e1", "1.5e10", "+1", "0x1", "1_0",
		"--1", "1-", "0e0", "0.0e-00", "1 2", "1,2", "123456789012345678901234567890",
		`""`, `"`, `"a`, `"a"b`, `"\"`, `"\\"`, `"\\\"`, `"\/\b\f\n\r\t"`, `"\x"`, `"\u"`, `"\u12"`, `"\u123g"`, `"\uD800"`, `"\u00e9é"`, `"\U0041"`,
		"\"\x00\"", "\"\x1f\"", "\"\x7f\"", "\"\xff\"", "\"a\nb\"", "\"\t\"", `'a'`,
		`{}`, `{ }`, `{`, `}`, `{,}`, `{"a"}`, `{"a":}`, `{"a":1`, `{"a":1}`, `{"a":1,}`, `{"a":1,"b"}`, `{"a":1 "b":2}`, `{a:1}`, `{"a"1}`,
		`{"a":1,,"b":2}`, `{1:2}`, `{"a":1]`, `{"a":{"b":{"c":[]}}}`, ` { "a" : [ 1 , 2 ] , "b" : { } } `, `{"":""}`, `{"a":1,"a":2}`, `{"a":1}}`,
		`[]`, `[ ]`, `[`, `]`, `[,]`, `[1`, `[1,`, `[1,]`, `[1 2]`, `[1,2]`, `[[]]`, `[[[]]`, `[]]`, `[}`, `[1}`, `[{}]`, `[{"a":[{}]}]`, `[null,true,false]`,
		"\ufeff{}", "[1]\u00a0", "\v[]", "[\r\n\t 1\r\n\t ]", "/**/1", `{"a":1} // x`,
		strings.Repeat("[", 70) + strings.Repeat("]", 70), strings.Repeat(`{"a":`, 130) + "1" + strings.Repeat("}", 130),
		strings.Repeat(`[{"a":`, 65) + strings.Repeat("}]", 65), strings.Repeat("[", 64) + "{}" + strings.Repeat("]", 63),
	}
	return docs
}

func TestCheckAgreesWithEncodingJSON(t *testing.T) {
	docs := append(documents(), string(podJSON(t)))
	for _, doc := range docs {
		checkAgrees(t, []byte(doc))
	}
	// Every document again, cut at every byte and with single bytes changed.
	random := rand.New(rand.NewPCG(1, 2))
	for _, doc := range docs {
		for cut := range len(doc) {
			checkAgrees(t, []byte(doc[:cut]))
		}
		for range 200 {
			text := []byte(doc)
			if len(text) == 0 {
				continue
			}
			const telling = "{}[],:\"\\ \t0123456789-+.eEtrufalsn\x00\x1f\x80\xff"
			text[random.IntN(len(text))] = telling[random.IntN(len(telling))]
			checkAgrees(t, text)
		}
	}
}

func checkAgrees(t *testing.T, text []byte) {
	t.Helper()
	err := Check(text)
	if (err == nil) != json.Valid(text) {
		t.Fatalf("Check(%q) = %v, but json.Valid says %t", text, err, json.Valid(text))
	}
	var syntax *SyntaxError
	if err != nil && (!errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(text) || syntax.Problem == "") {
		t.Fatalf("Check(%q) = %#v, want a *SyntaxError with a place and a problem", text, err)
	}
}

func TestCheckSaysWhatAndWhere(t *testing.T) {
	tests := []struct{ text, want string }{
		{``, "EOF while parsing a value at offset 0"},
		{`{"a":1`, "EOF while parsing an object at offset 6"},
		{`[1`, "EOF while parsing a list at offset 2"},
		{`{"a":1,}`, "key must be a string at offset 7"},
		{`{"a" 1}`, "expected `:` at offset 5"},
		{`{"a":1 "b":2}`, "expected `,` or `}` at offset 7"},
		{`[1 2]`, "expected `,` or `]` at offset 3"},
		{`[1,]`, "expected value at offset 3"},
		{`tru`, "EOF while parsing a value at offset 3"},
		{`trux`, "expected ident at offset 3"},
		{`1.x`, "invalid number at offset 2"},
		{`"\x"`, "invalid escape at offset 2"},
		{`"a`, "EOF while parsing a string at offset 2"},
		{"\"a\n\"", `control character (\u0000-\u001F) found while parsing a string at offset 2`},
		{`{} {}`, "trailing characters at offset 3"},
	}
	for _, tt := range tests {
		if err := Check([]byte(tt.text)); err == nil || err.Error() != tt.want {
			t.Errorf("Check(%q) = %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestCheckBoundsTheDepth(t *testing.T) {
	nested := func(depth int) []byte {
		return []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
	}
	if err := Check(nested(MaxDepth)); err != nil {
		t.Errorf("%d levels: %v, want them to pass", MaxDepth, err)
	}
	var syntax *SyntaxError
	if err := Check(nested(MaxDepth + 1)); !errors.As(err, &syntax) || syntax.Problem != "recursion limit exceeded" {
		t.Errorf("%d levels: %v, want the limit", MaxDepth+1, err)
	}
	// A deep text must not take the stack with it.
	if err := Check([]byte(strings.Repeat("[", 1<<20))); err == nil {
		t.Error("a million brackets pass")
	}
}

func TestCheckAllocatesNothing(t *testing.T) {
	text := podJSON(t)
	if n := testing.AllocsPerRun(10, func() { _ = Check(text) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestNamedComparesWhatTheNameMeans(t *testing.T) {
	tests := []struct {
		quoted, name string
		want         bool
	}{
		{`"a"`, "a", true},
		{`"a"`, "b", false},
		{`"\u0061"`, "a", true},
		{`"\u0061b"`, "ab", true},
		{`"a\/b"`, "a/b", true},
		{`"\u0061"`, `\u0061`, false}, // the name has a backslash of its own
		{`"\\u0061"`, `\u0061`, true},
		{`""`, "", true},
		{`"é"`, "é", true},
		{"\"\xff\"", "\ufffd", true},
	}
	for _, tt := range tests {
		if have := named([]byte(tt.quoted), tt.name); have != tt.want {
			t.Errorf("named(%s, %q) = %t, want %t", tt.quoted, tt.name, have, tt.want)
		}
	}
}

func TestAppendQuotedIsReadBackAsItWas(t *testing.T) {
	for _, s := range []string{"", "a", `"\`, "\x00\x01\x1f\x7f", "\n\r\t", "é€😀", "\u2028</script>", `\u0061`} {
		quoted := appendQuoted([]byte("x"), s)[1:]
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil || back != s {
			t.Errorf("appendQuoted(%q) = %s, which reads as %q, %v", s, quoted, back, err)
		}
		if have := unquote(quoted); have != s {
			t.Errorf("unquote(%s) = %q, want %q", quoted, have, s)
		}
	}
	if have := string(appendQuoted(nil, "a\xffb")); have != "\"a\ufffdb\"" {
		t.Errorf("a byte that is not UTF-8: have %s, want U+FFFD", have)
	}
}

func FuzzCheck(f *testing.F) {
	for _, doc := range documents() {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, text []byte) { checkAgrees(t, text) })
}

func FuzzAppendQuoted(f *testing.F) {
	for _, s := range []string{"", "a", "\"\\\x00é\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted := appendQuoted(nil, s)
		want := strings.ToValidUTF8(s, "\ufffd")
		if !utf8.ValidString(s) { // each wrong byte becomes one U+FFFD
			want = string([]rune(s))
		}
		if have := unquote(quoted); have != want {
			t.Errorf("%q quoted is %s, which reads as %q", s, quoted, have)
		}
	})
}
