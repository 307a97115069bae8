// Package places names the places in an object that a rejection is about.
package places

import (
	"fmt"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// most bounds the places that a message names. Nobody reads on, and each is
// found by reading the object again.
const most = 10

// List is places in their order. The zero value has none.
type List struct {
	named []string
	more  int // that are not named
}

// Note appends the place of a value that is there.
func (l *List) Note(v sdk.Value) {
	if len(l.named) < most {
		l.named = append(l.named, v.Path())
		return
	}
	l.more++
}

// Add appends text about a place, which is made only if it is to be shown.
func (l *List) Add(text func() string) {
	if len(l.named) < most {
		l.named = append(l.named, text())
		return
	}
	l.more++
}

// Empty reports whether no place has been noted.
func (l *List) Empty() bool { return len(l.named) == 0 }

// Join returns the places with the separator between them, and how many more
// there are.
func (l *List) Join(separator string) string {
	text := strings.Join(l.named, separator)
	if l.more > 0 {
		text += fmt.Sprintf(" and %d more", l.more)
	}
	return text
}

// String joins the places with commas.
func (l *List) String() string { return l.Join(", ") }
