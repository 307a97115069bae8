package controller

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/warder-dev/warder/runtime/cel"
)

// group checks what only groups have.
func (c *policyCheck) group(spec *field.Path) {
	g := c.view.Group
	at := spec.Child("policies")
	if len(c.view.Members) == 0 {
		c.add(field.Required(at, "policy groups must have at least one policy member"))
	}
	names := slices.Sorted(maps.Keys(c.view.Members))
	for _, name := range names {
		if !callable(name) {
			c.add(field.Invalid(at, name, "policy group member name is invalid"))
		}
		if m := c.view.Members[name]; m.Module == "" && m.CEL == nil {
			c.add(field.Required(at.Key(name).Child("module"), "must be non-empty"))
		}
	}
	c.memberTimeouts(at, names)
	if g.Message == "" {
		c.add(field.Required(spec.Child("message"), "must be non-empty"))
	}
	if g.Expression == "" {
		c.add(field.Required(spec.Child("expression"), "must be non-empty"))
		return
	}
	compiled, err := cel.CompileGroup(g.Expression, names)
	if err != nil {
		c.add(field.Invalid(spec.Child("expression"), g.Expression, "compilation failed: "+err.Error()))
		return
	}
	for _, name := range names {
		if !slices.Contains(compiled.Calls(), name) {
			c.warnings = append(c.warnings, fmt.Sprintf("%s: the expression does not ask it", at.Key(name)))
		}
	}
}

// callable reports whether an expression can call a member of that name.
func callable(name string) bool {
	// What is no identifier of CEL would compile as something else, such as a
	// name with a dot in it.
	if !regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`).MatchString(name) {
		return false
	}
	return !slices.Contains([]string{
		"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if",
		"import", "let", "loop", "package", "namespace", "return", "var", "void", "while",
	}, name)
}

// memberTimeouts holds the members, which may be asked one after the other, to
// what the API server waits for the group.
func (c *policyCheck) memberTimeouts(at *field.Path, names []string) {
	timeout := c.view.Matching.TimeoutSeconds
	var sum int64
	for _, name := range names {
		eval := c.view.Members[name].TimeoutEvalSeconds
		if eval == nil {
			continue
		}
		sum += int64(*eval)
		path := at.Key(name).Child("timeoutEvalSeconds")
		c.seconds(path, eval)
		if timeout != nil && *eval > *timeout {
			c.add(field.Invalid(path, *eval, "timeoutEvalSeconds cannot be greater than group timeoutSeconds"))
		}
	}
	if timeout != nil && sum > int64(*timeout) {
		c.add(field.Invalid(at, sum, fmt.Sprintf("the sum of all members' timeoutEvalSeconds cannot be greater than group timeoutSeconds (%d)", *timeout)))
	}
	if sum > maxTimeoutSeconds {
		c.add(field.Invalid(at, sum, fmt.Sprintf("the sum of all members' timeoutEvalSeconds cannot be greater than %d (Kubernetes webhook max timeout)", maxTimeoutSeconds)))
	}
}
