package cel

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	celgo "github.com/google/cel-go/cel"
	admission "k8s.io/apiserver/pkg/admission/plugin/cel"

	"github.com/warder-dev/warder/sdk"
)

// unknownName is how the compiler says that it does not know a name. There is no
// other way to learn which one it is.
var unknownName = regexp.MustCompile(`^(undeclared reference to|undefined field) '([^']*)'`)

// suggestions names what was meant, where a name is nearly one that there is.
func (c *kubernetes) suggestions(issues *celgo.Issues, options admission.OptionalVariableDeclarations) string {
	var b strings.Builder
	for _, e := range issues.Errors() {
		found := unknownName.FindStringSubmatch(e.Message)
		if found == nil {
			continue
		}
		known := slices.Collect(maps.Keys(c.variables.Fields))
		if found[1] == "undeclared reference to" {
			known = c.globals(options)
		} else {
			known = append(known, requestFields()...)
		}
		if near := sdk.Nearest(found[2], known); near != "" && near != found[2] {
			b.WriteString(" did you mean " + near + "?")
		}
	}
	return b.String()
}

// globals are the names that an expression may start with.
func (c *kubernetes) globals(options admission.OptionalVariableDeclarations) []string {
	known := []string{
		admission.ObjectVarName, admission.OldObjectVarName, admission.RequestVarName, admission.NamespaceVarName, admission.VariableVarName,
	}
	if options.HasParams {
		known = append(known, admission.ParamsVarName)
	}
	if options.HasAuthorizer {
		known = append(known, admission.AuthorizerVarName)
	}
	for name := range c.parser.Functions() {
		if isName(name) {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	return known
}

func requestFields() []string {
	return slices.Sorted(maps.Keys(admission.BuildRequestType().Fields))
}
