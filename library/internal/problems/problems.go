// Package problems collects what a rejection says of several places, of each in
// a sentence of its own. For places alone there is sdk.Places.
package problems

import (
	"fmt"
	"strings"
)

// most bounds the sentences of a message. Nobody reads on, and each place is
// found by reading the object again.
const most = 10

// List is problems in their order. The zero value has none.
type List struct {
	texts []string
	more  int // that are not shown
}

// Add appends a problem, whose text is made only if it is to be shown.
func (l *List) Add(text func() string) {
	if len(l.texts) < most {
		l.texts = append(l.texts, text())
		return
	}
	l.more++
}

// Empty reports whether there is no problem.
func (l *List) Empty() bool { return len(l.texts) == 0 }

// Join returns the problems with the separator between them, and how many more
// there are.
func (l *List) Join(separator string) string {
	text := strings.Join(l.texts, separator)
	if l.more > 0 {
		text += fmt.Sprintf(" and %d more", l.more)
	}
	return text
}

// String joins the problems with commas.
func (l *List) String() string { return l.Join(", ") }
