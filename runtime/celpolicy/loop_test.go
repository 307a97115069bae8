package celpolicy

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// A loop is not planned as CEL does it: what it is worth and costs is the same.
func TestLoopsCostWhatTheyCostInCEL(t *testing.T) {
	c, compiled := newComparison(t), 0
	for seed := range uint64(100) {
		g := generator{rand.New(rand.NewPCG(seed, 1))}
		a := fmt.Sprintf("[0, 1, 2].all(x, [2].exists(y, [1].all(z, %s)))", g.boolean(4))
		b := fmt.Sprintf("[1, 0].map(x, [2].map(y, [0].map(z, %s)))", g.list(4))
		if c.check(t, a, b) {
			compiled++
		}
	}
	if compiled < 50 {
		t.Errorf("%d of 100 pairs of expressions compile, want more", compiled)
	}
}

// generator makes expressions of loops in loops.
type generator struct{ *rand.Rand }

func (g generator) pick(texts ...string) string { return texts[g.IntN(len(texts))] }

func (g generator) name() string { return g.pick("x", "y", "z") }

func (g generator) boolean(depth int) string {
	if depth == 0 {
		return g.pick("true", "false", "x > 1", "y == 2", "1 / x == 1", "has(object.metadata.labels)")
	}
	l, b, i := g.list, g.boolean, g.integer
	switch depth--; g.IntN(8) {
	case 0:
		return fmt.Sprintf("(%s && %s)", b(depth), b(depth))
	case 1:
		return fmt.Sprintf("(%s || %s)", b(depth), b(depth))
	case 2:
		return fmt.Sprintf("(%s ? %s : !%s)", b(depth), b(depth), b(depth))
	case 3:
		return fmt.Sprintf("%s in %s", i(depth), l(depth))
	case 4:
		return fmt.Sprintf("%s.exists_one(%s, %s)", l(depth), g.name(), b(depth))
	case 5:
		return fmt.Sprintf("%s.exists(%s, %s)", l(depth), g.name(), b(depth))
	default:
		return fmt.Sprintf("%s.all(%s, %s)", l(depth), g.name(), b(depth))
	}
}

func (g generator) integer(depth int) string {
	if depth == 0 {
		return g.pick("0", "1", "x", "y", "size(object.spec.containers)")
	}
	switch depth--; g.IntN(3) {
	case 0:
		return fmt.Sprintf("(%s + %s)", g.integer(depth), g.integer(depth))
	case 1:
		return fmt.Sprintf("(%s ? %s : %s)", g.boolean(depth), g.integer(depth), g.integer(depth))
	default:
		return fmt.Sprintf("size(%s)", g.list(depth))
	}
}

func (g generator) list(depth int) string {
	if depth == 0 {
		return g.pick("[1, 2]", "[0]", "[3, 1, 2]", "lists.range(4)")
	}
	switch depth--; g.IntN(5) {
	case 0:
		return fmt.Sprintf("[%s, %s]", g.integer(depth), g.integer(depth))
	case 1:
		return fmt.Sprintf("(%s + %s)", g.list(depth), g.list(depth))
	case 2:
		return fmt.Sprintf("%s.filter(%s, %s)", g.list(depth), g.name(), g.boolean(depth))
	case 3:
		return fmt.Sprintf("%s.map(%s, %s, %s)", g.list(depth), g.name(), g.boolean(depth), g.integer(depth))
	default:
		return fmt.Sprintf("%s.map(%s, %s)", g.list(depth), g.name(), g.integer(depth))
	}
}
