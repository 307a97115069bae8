package quantity

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
)

func TestParseIsExact(t *testing.T) {
	tests := []struct {
		text  string
		nanos string
	}{
		{"0", "0"},
		{"-0", "0"},
		{"1", "1000000000"},
		{"+1", "1000000000"},
		{"-1", "-1000000000"},
		{"1.", "1000000000"},
		{".5", "500000000"},
		{"0.5", "500000000"},
		{"007", "7000000000"},
		{"1n", "1"},
		{"1u", "1000"},
		{"1m", "1000000"},
		{"1.5m", "1500000"},
		{"1k", "1000000000000"},
		{"1M", "1000000000000000"},
		{"1G", "1000000000000000000"},
		{"1T", "1000000000000000000000"},
		{"1P", "1000000000000000000000000"},
		{"1E", "1000000000000000000000000000"},
		{"1Ki", "1024000000000"},
		{"1Mi", "1048576000000000"},
		{"1Gi", "1073741824000000000"},
		{"1Ti", "1099511627776000000000"},
		{"1Pi", "1125899906842624000000000"},
		{"1Ei", "1152921504606846976000000000"},
		{"0.5Ki", "512000000000"},
		{"1e3", "1000000000000"},
		{"1E3", "1000000000000"},
		{"1e+3", "1000000000000"},
		{"1e-3", "1000000"},
		{"12.345e2", "1234500000000"},
		{"1.1n", "2"},   // rounded up, as Kubernetes does
		{"-1.1n", "-2"}, // away from zero
		{"0.0000000001", "1"},
		{"1e-99999999999999999999", "1"},
		{"0e99999999999999999999", "0"},
		{"9223372036854775807", "9223372036854775807000000000"},
		{"9223372036854775808", "9223372036854775807000000000"}, // bounded
		{"-10E", "-9223372036854775807000000000"},
		{"1e99999999999999999999", "9223372036854775807000000000"},
	}
	for _, tt := range tests {
		q, err := Parse(tt.text)
		if err != nil {
			t.Errorf("Parse(%q): %v, want %s", tt.text, err, tt.nanos)
			continue
		}
		if have := q.value().String(); have != tt.nanos {
			t.Errorf("Parse(%q) = %s billionths, want %s", tt.text, have, tt.nanos)
		}
		if q.String() != tt.text {
			t.Errorf("Parse(%q).String() = %q, want the text as it was", tt.text, q.String())
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "1 ", " 1", ".", "+", "-", "--1", "+-1", "1.2.3", "1,5", "0x10", "1_000", "m", "Ki", "1ki", "1K", "1Kii",
		"1KiB", "1mi", "1ni", "1e", "1e1.5", "1e+", "1e3m", "1EE", "1Ee3i", "1B", "１", "Inf", "NaN", "1ee3", "1e0x3",
		strings.Repeat("9", maxQuantityBytes+1),
	} {
		if q, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %s billionths, want an error", text, q.value())
		}
	}
}

func TestQuantityComparesAmountsNotTexts(t *testing.T) {
	inOrder := [][]string{
		{"-1"}, {"0", "0m", "0Ki", "", "-0"}, {"1n"}, {"999u"}, {"1m", "0.001", "1e-3", "1000u"}, {"0.999"}, {"1", "1000m", "1.0"},
		{"1000", "1k", "1e3"}, {"1024", "1Ki"}, {"1G", "1000M"}, {"1Gi", "1024Mi", "1073741824"}, {"7E"}, {"8E", "8000P"}, {"10E", "20Ei"},
	}
	parse := func(text string) (q Quantity) {
		if text == "" {
			return q
		}
		q, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	for i, lesser := range inOrder {
		for j, greater := range inOrder {
			want := max(-1, min(1, i-j))
			for _, a := range lesser {
				for _, b := range greater {
					if have := parse(a).Compare(parse(b)); have != want {
						t.Errorf("Compare(%q, %q) = %d, want %d", a, b, have, want)
					}
				}
			}
		}
	}
}

func TestQuantityComesFromNumbersAndStrings(t *testing.T) {
	tests := []struct{ json, text, err string }{
		{`"200Mi"`, "200Mi", ""},
		{`2`, "2", ""},
		{`0.5`, "0.5", ""},
		{`1.0`, "1.0", ""},
		{`1e3`, "1e3", ""},
		{`null`, "", ""},
		{`"\u0031"`, "1", ""},
		{`true`, "", "true: want a string or a number"},
		{`{"a":1}`, "", `{"a":1}: want a string or a number`},
		{`-5`, "", `"-5": want an amount of 0 or more`},
	}
	for _, tt := range tests {
		var s struct{ Q Quantity }
		if err := json.Unmarshal([]byte(`{"Q":`+tt.json+`}`), &s); err != nil {
			t.Errorf("%s: %v", tt.json, err)
			continue
		}
		problem := ""
		if err := s.Q.Err(); err != nil {
			problem = err.Error()
		}
		if s.Q.String() != tt.text || problem != tt.err {
			t.Errorf("%s: have %q and error %q, want %q and %q", tt.json, s.Q, problem, tt.text, tt.err)
		}
	}
}

// FuzzParseQuantity compares what is parsed with big.Rat, which knows decimals
// and exponents but no suffixes.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"1", "0.5", "1e3", "-1.25e-3", "9.99", "1Ki", "", "1e999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := Parse(text)
		if err != nil || strings.Trim(text, "0123456789.+-e") != "" || len(text) > 20 {
			return
		}
		if _, exponent, _ := strings.Cut(text, "e"); len(strings.Trim(exponent, "+-")) > 2 {
			return
		}
		want, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("Parse(%q) = %s billionths, but it is no number", text, q.value())
		}
		want.Mul(want, big.NewRat(1_000_000_000, 1))
		bound := new(big.Rat).SetInt(maxNanos())
		if new(big.Rat).Abs(want).Cmp(bound) > 0 {
			want.SetInt(new(big.Int).Mul(maxNanos(), big.NewInt(int64(want.Sign()))))
		}
		over := new(big.Rat).Sub(new(big.Rat).SetInt(q.value()), want)
		if want.Sign() < 0 {
			over.Neg(over)
		}
		if over.Sign() < 0 || over.Cmp(big.NewRat(1, 1)) >= 0 {
			t.Errorf("Parse(%q) = %s billionths, want %s rounded up", text, q.value(), want)
		}
	})
}

func TestSumsAreWrittenAsKubernetesWritesThem(t *testing.T) {
	tests := []struct{ a, b, minus, plus string }{
		{"2048Mi", "1124Mi", "924Mi", "3172Mi"},
		{"2Gi", "1Gi", "1Gi", "3Gi"},
		{"1Gi", "1023Mi", "1Mi", "2047Mi"},
		{"1Gi", "1", "1073741823", "1073741825"},
		{"1Ki", "1", "1023", "1025"},
		{"1Ki", "1m", "1023999m", "1024001m"},
		{"2000m", "500m", "1500m", "2500m"},
		{"2", "500m", "1500m", "2500m"},
		{"20", "18", "2", "38"},
		{"0", "2Gi", "-2Gi", "2Gi"},
		{"1", "1", "0", "2"},
		{"3000", "1k", "2k", "4k"},
		{"1e3", "1", "999", "1001"},
		{"1n", "2n", "-1n", "3n"},
	}
	for _, tt := range tests {
		a, errA := Parse(tt.a)
		b, errB := Parse(tt.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		minus, plus := a.Minus(b), a.Plus(b)
		if minus.String() != tt.minus || plus.String() != tt.plus {
			t.Errorf("%s and %s: less %s, together %s; want %s, %s", a, b, minus, plus, tt.minus, tt.plus)
		}
		if back := plus.Minus(b); back.Compare(a) != 0 {
			t.Errorf("%s and %s: there and back is %s", a, b, back)
		}
	}
}
