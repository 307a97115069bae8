package sdk

import (
	"fmt"
	"strings"
)

// Places are where something was found, for a message. Nobody reads on after
// ten, and each is found by reading the object again: the others are counted.
// The zero Places is empty.
type Places struct {
	texts []string
	more  int
}

const maxPlaces = 10

// Add appends the path of the value: spec.containers[0].image.
func (p *Places) Add(v Value) {
	if p.full() {
		return
	}
	p.texts = append(p.texts, v.Path())
}

// Addf appends the path of the value and what a format of package fmt makes:
// Addf(port, " is %d", 80).
func (p *Places) Addf(v Value, format string, args ...any) {
	if p.full() {
		return
	}
	p.texts = append(p.texts, v.Path()+fmt.Sprintf(format, args...))
}

// full reports whether there are enough places, and counts one more if so.
func (p *Places) full() bool {
	if len(p.texts) < maxPlaces {
		return false
	}
	p.more++
	return true
}

// Len is how many places there are.
func (p *Places) Len() int { return len(p.texts) + p.more }

// String joins the places: "a, b and 3 more"; "" when there are none.
func (p *Places) String() string {
	text := strings.Join(p.texts, ", ")
	if p.more > 0 {
		text += fmt.Sprintf(" and %d more", p.more)
	}
	return text
}
