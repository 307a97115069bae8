package cel

import (
	"slices"

	"github.com/google/cel-go/common/ast"
	admission "k8s.io/apiserver/pkg/admission/plugin/cel"
)

// Kind is a kind of objects of the cluster.
type Kind struct{ APIVersion, Kind string }

// Reads returns the kinds of the cluster that programs of the spec read: that of
// params, and Namespace when an expression names namespaceObject.
func Reads(spec Spec) []Kind {
	var kinds []Kind
	if spec.ParamKind != nil && spec.ParamRef != nil {
		kinds = append(kinds, Kind{spec.ParamKind.APIVersion, spec.ParamKind.Kind})
	}
	c, err := sharedCompiler()
	namespace := Kind{"v1", "Namespace"}
	if err == nil && namesIn(c, spec).namespace && !slices.Contains(kinds, namespace) {
		kinds = append(kinds, namespace)
	}
	return kinds
}

// names are those of variables of the API server that expressions use.
type names struct{ namespace, authorizer, variables bool }

// namesIn looks for names in all expressions. In matchConditions namespaceObject
// is null, as the API server has it.
func namesIn(c *kubernetes, spec Spec) names {
	var all, matching names
	for _, v := range spec.Variables {
		all.find(c, v.Expression)
	}
	for _, v := range spec.Validations {
		all.find(c, v.Expression)
		all.find(c, v.MessageExpression)
	}
	for _, a := range spec.AuditAnnotations {
		all.find(c, a.ValueExpression)
	}
	for _, m := range spec.Mutations {
		if m.JSONPatch != nil {
			all.find(c, m.JSONPatch.Expression)
		}
		if m.ApplyConfiguration != nil {
			all.find(c, m.ApplyConfiguration.Expression)
		}
	}
	for _, m := range spec.MatchConditions {
		matching.find(c, m.Expression)
	}
	all.authorizer = all.authorizer || matching.authorizer
	all.variables = all.variables || matching.variables
	return all
}

// find adds the names of one expression. What does not parse has none.
func (n *names) find(c *kubernetes, expression string) {
	tree, issues := c.parser.Parse(expression)
	if issues.Err() != nil {
		return
	}
	root := ast.NavigateAST(tree.NativeRep())
	for _, e := range ast.MatchDescendants(root, ast.KindMatcher(ast.IdentKind)) {
		switch e.AsIdent() {
		case admission.NamespaceVarName, "." + admission.NamespaceVarName:
			n.namespace = true
		case admission.AuthorizerVarName, "." + admission.AuthorizerVarName:
			n.authorizer = true
		case admission.VariableVarName, "." + admission.VariableVarName:
			n.variables = true
		}
	}
}
