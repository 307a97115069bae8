package cel

import (
	"strings"
	"testing"
)

func TestMatchConditionsAreCheckedAsTheAPIServerDoes(t *testing.T) {
	var m MatchConditions
	for _, tt := range []struct{ expression, want string }{
		{"true", ""},
		{" request.operation == 'CREATE'\n", ""},
		{"has(object.metadata.labels) && object.metadata.labels['a'] == 'b'", ""},
		{"oldObject == null", ""},
		{"namespaceObject.metadata.name != 'kube-system'", ""},
		{"authorizer.group('').resource('pods').check('list').allowed()", ""},
		{"!request.userInfo.groups.exists(g, g == 'system:nodes')", ""},
		{"1 + 1", "must evaluate to bool but got int"},
		{"object.metadata.name", "must evaluate to bool but got dyn"},
		{"request.opration == 'CREATE'", "compilation failed: ERROR: <input>:1:8: undefined field 'opration'"},
		{"params.x", "compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'"},
		{"true &&", "compilation failed: ERROR: <input>:1:8: Syntax error"},
		{"", "compilation failed"},
		{strings.Repeat("(", 5000), "compilation failed"},
	} {
		err := m.Check(tt.expression)
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("Check(%.60q) = %v, want %q", tt.expression, err, tt.want)
		}
	}
}

// FuzzMatchConditions looks for expressions on which the compiler panics: they
// come from whoever may create a policy in some namespace.
func FuzzMatchConditions(f *testing.F) {
	for _, seed := range []string{
		"true", "object.metadata.name == 'x'", "request.userInfo.groups.exists(g, g == 'a')", "authorizer.group('').resource('pods').check('get').allowed()",
		"[1, 2].map(x, x * 2).size() > 0", "'a'.matches('(')", "quantity('1Gi').isGreaterThan(quantity('1Mi'))", "cel.bind(x, 1, x > 0)", "object.?a.orValue(true)",
	} {
		f.Add(seed)
	}
	var m MatchConditions
	f.Fuzz(func(t *testing.T, expression string) {
		if err := m.Check(expression); err != nil && err.Error() == "" {
			t.Errorf("Check(%q): an error without text", expression)
		}
	})
}
