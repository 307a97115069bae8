package criteria_test

import (
	"strings"
	"testing"

	"github.com/warder-dev/warder/library/internal/criteria"
)

func TestProblem(t *testing.T) {
	tests := []struct {
		criteria criteria.Criteria
		accepted string   // lists of names, by blanks; the rule has the values a and b
		refused  []string // names, and what the message ends in
	}{
		{criteria.ContainsAnyOf, "a b a,b a,c", []string{"", "found: a, b", "c", "found: a, b"}},
		{criteria.DoesNotContainAnyOf, "- c c,d", []string{"a", "found: a", "b,a,c", "found: a, b"}},
		{criteria.ContainsAllOf, "a,b a,b,c", []string{"", "missing: a, b", "b,c", "missing: a"}},
		{criteria.DoesNotContainAllOf, "- a b b,c", []string{"a,b", "together: a, b", "c,b,a", "together: a, b"}},
		{criteria.ContainsOtherThan, "c a,c a,b,c", []string{"", "is not among a, b", "a", "is not among a, b", "a,b", "is not among a, b"}},
		{criteria.DoesNotContainOtherThan, "- a b a,b", []string{"c", "present: c", "d,a,c", "present: c, d"}},
	}
	names := func(text string) []string {
		if text == "" || text == "-" {
			return nil
		}
		return strings.Split(text, ",")
	}
	for _, tt := range tests {
		rule := criteria.Rule{Criteria: tt.criteria, Values: []string{"b", "a", "b"}, Noun: "label"}
		for _, text := range strings.Fields(tt.accepted) {
			if problem := rule.Problem(names(text)); problem != "" {
				t.Errorf("%s: %s is refused: %s", tt.criteria, text, problem)
			}
		}
		for i := 0; i < len(tt.refused); i += 2 {
			problem := rule.Problem(names(tt.refused[i]))
			if !strings.HasSuffix(problem, tt.refused[i+1]) || !strings.HasPrefix(problem, "Resource ") {
				t.Errorf("%s: %q gives %q, want it to end in %q", tt.criteria, tt.refused[i], problem, tt.refused[i+1])
			}
		}
	}
}

func TestValidateSaysWhatIsWrong(t *testing.T) {
	malformed := func(value string) bool { return value == "bad" }
	tests := []struct {
		criteria, values, want string
	}{
		{"containsAnyOf", "a", ""},
		{"", "a", "criteria: missing; known are containsAnyOf, doesNotContainAnyOf, "},
		{"containsAny", "a", `criteria: "containsAny" is none; did you mean containsAnyOf?`},
		{"never", "a", `criteria: "never" is none; known are containsAnyOf, `},
		{"containsAnyOf", "", "Empty label list is not allowed"},
		{"containsAnyOf", "a bad", "Invalid label names: bad"},
	}
	for _, tt := range tests {
		rule := criteria.Rule{Criteria: criteria.Criteria(tt.criteria), Values: strings.Fields(tt.values), Noun: "label"}
		err := rule.Validate(malformed)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%q of %q: %v, want no error", tt.criteria, tt.values, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q of %q: %v, want %q", tt.criteria, tt.values, err, tt.want)
		}
	}
}

func TestValidKey(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, key := range []string{"a", "A-b_c.d", "9", "example.com/a", "a/b", "x-y.z0/A", long[1:], strings.Repeat("a.", 126) + "a/b"} {
		if !criteria.ValidKey(key) {
			t.Errorf("ValidKey(%q) = false, want true", key)
		}
	}
	for _, key := range []string{"", "-a", "a-", "a b", "é", "/a", "a/", "a/b/c", "Upper/a", "a..b/c", "-a/b", "a_b/c", long, strings.Repeat("a.", 127) + "a/b"} {
		if criteria.ValidKey(key) {
			t.Errorf("ValidKey(%q) = true, want false", key)
		}
	}
}
