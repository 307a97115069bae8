package places_test

import (
	"strings"
	"testing"

	"github.com/warder-dev/warder/library/internal/places"
	"github.com/warder-dev/warder/sdk"
)

func TestListNamesTenPlacesAndCountsTheRest(t *testing.T) {
	var l places.List
	if !l.Empty() || l.String() != "" {
		t.Errorf("a new list is %q, want it empty", l.String())
	}
	for _, v := range sdk.View([]byte(`[1,2,3,4,5,6,7,8,9,10]`)).Elements() {
		l.Note(v)
	}
	if want := "[0], [1], [2], [3], [4], [5], [6], [7], [8], [9]"; l.String() != want || l.Empty() {
		t.Errorf("have %q, want %q", l.String(), want)
	}
	l.Note(sdk.Value{})
	l.Add(func() string {
		t.Error("text was made for a place that is not named")
		return ""
	})
	if want := "[8]; [9] and 2 more"; !strings.HasSuffix(l.Join("; "), want) {
		t.Errorf("have %q, want it to end in %q", l.Join("; "), want)
	}
}
