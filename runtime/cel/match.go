package cel

import (
	"errors"
	"strings"
	"sync"

	admission "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"
)

// MatchConditions checks expressions of matchConditions of webhooks, as the API
// server does when a webhook is registered. The zero value works, and is safe
// for concurrent use; the first check takes some 50 ms longer.
type MatchConditions struct {
	once     sync.Once
	compiler admission.Compiler
}

// Check reports why the API server would refuse the expression: it does not
// compile over object, oldObject, request, namespaceObject and authorizer, or
// gives something else than a boolean. The text is the API server's.
func (m *MatchConditions) Check(expression string) error {
	m.once.Do(func() {
		m.compiler = admission.NewCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	})
	result := m.compiler.CompileCELExpression(
		&matchconditions.MatchCondition{Expression: strings.TrimSpace(expression)},
		admission.OptionalVariableDeclarations{HasAuthorizer: true},
		environment.NewExpressions,
	)
	if result.Error != nil {
		return errors.New(result.Error.Detail)
	}
	return nil
}
