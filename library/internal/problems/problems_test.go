package problems_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/warder-dev/warder/library/internal/problems"
)

func TestListShowsTenProblemsAndCountsTheRest(t *testing.T) {
	var l problems.List
	if !l.Empty() || l.String() != "" {
		t.Errorf("a new list is %q, want it empty", l.String())
	}
	for i := range 10 {
		l.Add(func() string { return strconv.Itoa(i) })
	}
	if want := "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"; l.String() != want || l.Empty() {
		t.Errorf("have %q, want %q", l.String(), want)
	}
	for range 2 {
		l.Add(func() string {
			t.Error("text was made for a problem that is not shown")
			return ""
		})
	}
	if want := "8; 9 and 2 more"; !strings.HasSuffix(l.Join("; "), want) {
		t.Errorf("have %q, want it to end in %q", l.Join("; "), want)
	}
}
