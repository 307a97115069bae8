package sdk

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// randomJSON makes documents with the things that go wrong: escapes, space in
// odd places, empty containers, names that look like indexes.
type randomJSON struct{ *rand.Rand }

func newRandomJSON(seed uint64) randomJSON { return randomJSON{rand.New(rand.NewPCG(seed, 0))} }

func (r randomJSON) pick(list ...string) string { return list[r.IntN(len(list))] }

func (r randomJSON) space() string { return r.pick("", "", "", " ", "\n", "\t ") }

// names are in JSON, with their quotes.
func (r randomJSON) name() string {
	return r.pick(`"a"`, `"b"`, `"c"`, `"0"`, `"1"`, `"-"`, `""`, `"a/b"`, `"a~b"`, `"~1"`, `"é"`, `"\u0064"`, `"x\"y"`, `"\\"`, `"long name here"`)
}

func (r randomJSON) scalar() string {
	return r.pick("null", "true", "false", "0", "-1", "1.50", "1e3", "12345678901234567890", `""`, `"s"`, `"\u00e9\n\\"`, `"{[,]}:"`, `"é"`)
}

// document returns a value that nests at most depth levels. No object has a
// name twice.
func (r randomJSON) document(depth int) string {
	var b strings.Builder
	r.write(&b, depth)
	return b.String()
}

func (r randomJSON) write(b *strings.Builder, depth int) {
	b.WriteString(r.space())
	defer func() { b.WriteString(r.space()) }()
	kind := r.IntN(5)
	if depth == 0 || kind == 0 {
		b.WriteString(r.scalar())
		return
	}
	brackets := "{}"
	if kind > 2 {
		brackets = "[]"
	}
	b.WriteByte(brackets[0])
	seen := map[string]bool{}
	for i := range r.IntN(4) {
		name := r.name()
		if seen[name] {
			name = fmt.Sprintf(`"n%d"`, i)
		}
		seen[name] = true
		if i > 0 {
			b.WriteByte(',')
		}
		if brackets == "{}" {
			fmt.Fprintf(b, "%s%s%s:", r.space(), name, r.space())
		}
		r.write(b, depth-1)
	}
	b.WriteString(r.space())
	b.WriteByte(brackets[1])
}
