package sdk

import (
	"strings"
	"testing"
)

func TestPlacesNamesTenAndCountsTheRest(t *testing.T) {
	list := View([]byte("[" + strings.Repeat("1,", 12) + "1]"))
	var p, with Places
	if p.String() != "" || p.Len() != 0 {
		t.Errorf("empty: %q, %d", p.String(), p.Len())
	}
	for i, v := range list.Elements() {
		p.Add(v)
		if i < 2 {
			with.Addf(v, " is %d", v.Int())
		}
	}
	if want := "[0], [1], [2], [3], [4], [5], [6], [7], [8], [9] and 3 more"; p.String() != want || p.Len() != 13 {
		t.Errorf("%q, %d, want %q, 13", p.String(), p.Len(), want)
	}
	if want := "[0] is 1, [1] is 1"; with.String() != want || with.Len() != 2 {
		t.Errorf("%q, want %q", with.String(), want)
	}
}
