package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/warder-dev/warder/runtime/cel"
)

// celPolicy is a policy of which both sides are asked.
type celPolicy struct {
	name    string
	spec    cel.Spec
	failure admissionv1.FailurePolicyType
	rule    celRule
	program *cel.Program // ours
}

// celRule is what a policy is asked of: resources of some groups, "pods/exec".
type celRule struct {
	groups, resources []string
	operations        []admissionv1.OperationType
}

func (r celRule) named() []admissionv1.NamedRuleWithOperations {
	operations := r.operations
	if operations == nil {
		operations = []admissionv1.OperationType{admissionv1.OperationAll}
	}
	return []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: operations,
		Rule:       admissionv1.Rule{APIGroups: r.groups, APIVersions: []string{"*"}, Resources: r.resources},
	}}}
}

// matches says whether the API server asks the policy.
func (r celRule) matches(group, resource, operation string) bool {
	has := func(list []string, word string) bool {
		return slices.Contains(list, "*") || slices.Contains(list, word)
	}
	if r.operations != nil && !slices.Contains(r.operations, admissionv1.OperationType(operation)) {
		return false
	}
	return has(r.groups, group) && (slices.Contains(r.resources, resource) || slices.Contains(r.resources, "*") && !strings.Contains(resource, "/"))
}

// celTarget is what a generated policy is about.
type celTarget struct {
	celRule
	expressions []string
}

func celTargets() []celTarget {
	widgets := []string{"celdiff.example.com"}
	return []celTarget{
		{celRule{groups: []string{""}, resources: []string{"pods"}}, expressionsOf(podExpressions)},
		{celRule{groups: []string{"apps"}, resources: []string{"deployments"}}, expressionsOf(deploymentExpressions)},
		{celRule{groups: []string{""}, resources: []string{"configmaps"}}, expressionsOf(configMapExpressions)},
		{celRule{groups: []string{""}, resources: []string{"services"}}, expressionsOf(serviceExpressions)},
		{celRule{groups: widgets, resources: []string{"widgets", "widgets/status"}}, expressionsOf(widgetExpressions)},
		{celRule{groups: []string{"*"}, resources: []string{"*"}}, expressionsOf(anyExpressions)},
		{celRule{groups: []string{""}, resources: []string{"secrets"}}, expressionsOf(secretExpressions)},
		{celRule{groups: []string{""}, resources: []string{"namespaces"}}, expressionsOf(namespaceExpressions)},
		{celRule{groups: []string{"*"}, resources: []string{"deployments/scale", "widgets/scale"}}, expressionsOf(scaleExpressions)},
		{celRule{groups: []string{""}, resources: []string{"pods/exec", "pods/proxy", "services/proxy"}}, expressionsOf(connectExpressions)},
		{celRule{groups: []string{"*"}, resources: []string{"*", "pods/status", "deployments/status"}}, expressionsOf(anyExpressions)},
	}
}

// celGenerator makes policies of varied shape.
type celGenerator struct {
	*rand.Rand
	target celTarget
	common []string
	errs   []string
	// refusing are policies that may refuse a request outright, which those that
	// are bound for the audit log alone must not.
	refusing bool
}

func (g *celGenerator) one(of []string) string { return of[g.IntN(len(of))] }

func (g *celGenerator) chance(percent int) bool { return g.IntN(100) < percent }

// generatePolicies makes n policies; one of the same seed and index is the same.
func generatePolicies(seed uint64, n int) []*celPolicy {
	all := make([]*celPolicy, n)
	targets := celTargets()
	for i := range n {
		all[i] = newGenerator(seed, i, targets[i%len(targets)]).policy(fmt.Sprintf("p%03d", i), i/len(targets))
	}
	return all
}

func newGenerator(seed uint64, i int, target celTarget) *celGenerator {
	random := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // reproducible on purpose
	return &celGenerator{Rand: random, target: target, common: expressionsOf(anyExpressions), errs: expressionsOf(erringExpressions)}
}

// generateRefusing makes policies of creations, which may refuse.
func generateRefusing(seed uint64, n int) []*celPolicy {
	all := make([]*celPolicy, n)
	targets := celTargets()[:7]
	for i := range n {
		g := newGenerator(seed, i, targets[i%len(targets)])
		g.refusing = true
		all[i] = g.policy(fmt.Sprintf("d%03d", i), i/len(targets))
		all[i].rule.operations = []admissionv1.OperationType{admissionv1.Create}
	}
	return all
}

// policy makes one; turn says which feature it must have, so that every target
// meets every feature.
func (g *celGenerator) policy(name string, turn int) *celPolicy {
	p := &celPolicy{name: name, rule: g.target.celRule, failure: admissionv1.Fail}
	if g.chance(40) {
		p.failure = admissionv1.Ignore
	}
	if g.chance(25) {
		p.rule.operations = []admissionv1.OperationType{admissionv1.Create, admissionv1.Update, admissionv1.Connect}
	}
	if turn%3 == 0 || g.chance(15) {
		g.params(p)
	}
	for i := range g.IntN(3) * g.IntN(2) { // these do not have the variables
		p.spec.MatchConditions = append(p.spec.MatchConditions, admissionv1.MatchCondition{Name: "c" + strconv.Itoa(i), Expression: g.condition(p)})
	}
	if turn%2 == 0 || g.chance(20) {
		g.variables(p)
	}
	for range 1 + g.IntN(2) + g.IntN(2)*g.IntN(3) {
		p.spec.Validations = append(p.spec.Validations, g.validation(p))
	}
	for i := range g.IntN(2) * g.IntN(4) {
		g.annotation(p, i)
	}
	return p
}

// condition is mostly true: what does not match is not compared any further.
func (g *celGenerator) condition(p *celPolicy) string {
	switch g.IntN(8) {
	case 0:
		return g.boolean(p)
	case 1:
		return g.one(expressionsOf(authorizerExpressions))
	case 2:
		return "true || " + g.one(g.errs)
	case 3:
		return "object == null || " + g.one(g.common)
	default:
		return "request.userInfo.username != 'nobody' // " + strconv.Itoa(g.IntN(100))
	}
}

// boolean is an expression over all that the policy has.
func (g *celGenerator) boolean(p *celPolicy) string {
	simple := func() string {
		switch n := g.IntN(100); {
		case n < 12 && p.spec.ParamKind != nil, n < 30 && p.spec.ParamKind != nil && len(p.spec.Variables) == 0:
			return g.one(paramExpressions(p.spec.ParamKind.Kind))
		case n < 30 && len(p.spec.Variables) > 0:
			return g.ofVariable(p)
		case n < 36:
			return g.one(g.errs)
		case n < 44:
			return g.one(expressionsOf(authorizerExpressions))
		case n < 60:
			return g.one(g.common)
		default:
			return g.one(g.target.expressions)
		}
	}
	a := simple()
	switch g.IntN(12) {
	case 0:
		return "!(" + a + ")"
	case 1:
		return "(" + a + ") && (" + simple() + ")"
	case 2:
		return "(" + a + ") || (" + simple() + ")"
	case 3:
		return "(" + a + ") ? (" + simple() + ") : (" + simple() + ")"
	case 4:
		return "\n  (" + a + ") ==\n  (" + simple() + ")\n"
	default:
		return a
	}
}

// ofVariable is a condition on one of the variables, whatever its type is.
func (g *celGenerator) ofVariable(p *celPolicy) string {
	v := "dyn(variables." + p.spec.Variables[g.IntN(len(p.spec.Variables))].Name + ")"
	return g.one([]string{
		v + " == 'w1'", v + " == null", "type(" + v + ") == string", v + ".size() > 3", v + " in ['new', 'prod', 'p0']",
		v + " == " + v + " && string(" + v + ").size() > 0", "[" + v + "].exists(x, x == 6)", v + ".startsWith('a')",
	})
}

func (g *celGenerator) variables(p *celPolicy) {
	for i := range 1 + g.IntN(5) {
		e := g.one(expressionsOf(variableExpressions))
		if i > 0 && g.chance(50) {
			before := "variables.v" + strconv.Itoa(g.IntN(i))
			e = g.one([]string{"dyn(" + before + ") == null", "[" + before + "]", "{'was': " + before + "}", "string(dyn(" + before + ")) + '!'", before})
		}
		if g.chance(12) {
			e = g.boolean(p)
		}
		p.spec.Variables = append(p.spec.Variables, admissionv1.Variable{Name: "v" + strconv.Itoa(i), Expression: e})
	}
}

// tooLong is longer than messages (5 KiB) and annotations (10 KiB) may be.
const tooLong = `'xxxxxxxxxxxxxxxxxxxx'.replace('x', 'yyyyyyyyyyyyyyyyyyyyyyyyyy').replace('y', 'zzzzzzzzzzzzzzzzzzzz')`

func (g *celGenerator) validation(p *celPolicy) admissionv1.Validation {
	v := admissionv1.Validation{Expression: g.boolean(p)}
	if g.chance(40) || strings.Contains(v.Expression, "\n") {
		v.Message = g.one([]string{"not so", "  spaces around ", "the name is wrong: \"quoted\" and ünïcode", "x"})
	}
	if g.chance(45) {
		v.MessageExpression = g.one([]string{
			`'name ' + object.metadata.name`, `'%s is refused'.format([object.metadata.name])`, `'no such thing: ' + object.nothere`, `''`, `'   '`,
			`'two\nlines'`, tooLong, `request.operation + ' by ' + request.userInfo.username`, `'in ' + namespaceObject.metadata.labels.env`,
			`'  trimmed\n'`, `object == null ? 'gone' : 'kind ' + object.kind`, `string(object.metadata.name.size()) + ' letters'`,
			`'was ' + oldObject.metadata.name`, `'labels: ' + object.metadata.labels.map(k, k).sort().join(', ')`,
		})
		if len(p.spec.Variables) > 0 && g.chance(40) {
			v.MessageExpression = "'have ' + string(dyn(variables." + p.spec.Variables[g.IntN(len(p.spec.Variables))].Name + "))"
		}
		if p.spec.ParamKind != nil && g.chance(50) {
			v.MessageExpression = "'by ' + params.metadata.name + ' of ' + params.kind"
		}
	}
	if g.chance(50) {
		reason := []metav1.StatusReason{metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge}[g.IntN(3)]
		v.Reason = &reason
	}
	return v
}

// annotation adds one that cannot err when an error refuses the request.
func (g *celGenerator) annotation(p *celPolicy, i int) {
	of := []string{`request.operation`, `''`, `'  trimmed  '`, `null`, `'two\nlines'`, tooLong, `object == null ? '' : 'kind ' + object.?kind.orValue('?')`, `'of ' + request.userInfo.username`}
	if p.failure == admissionv1.Ignore || g.refusing {
		of = append(of, `'name ' + object.metadata.name`, `'no ' + object.nothere`, `'in ' + namespaceObject.metadata.labels.env`)
		if len(p.spec.Variables) > 0 {
			of = append(of, "'v ' + string(dyn(variables.v0))", "'v ' + string(dyn(variables.v0))")
		}
	}
	if p.spec.ParamKind != nil && p.spec.ParamRef != nil {
		of = append(of, "'by ' + params.metadata.name", "'by ' + params.metadata.name")
	}
	p.spec.AuditAnnotations = append(p.spec.AuditAnnotations, admissionv1.AuditAnnotation{Key: "k" + strconv.Itoa(i), ValueExpression: g.one(of)})
}

func paramExpressions(kind string) []string {
	if kind == "ConfigMap" {
		return []string{
			"object.metadata.name.size() <= int(params.data.max)", "params.metadata.name.startsWith('l')", "params == null || params.kind == 'ConfigMap'",
			"params.data.?prefix.orValue('a') == object.metadata.name.charAt(0)", "params.metadata.labels.tier == 'gold'", "params.data.nothere == 'x'",
			"params.apiVersion == 'v1' && params.metadata.namespace == 'default'", "has(params.metadata.uid) && params.data.max > '3'",
		}
	}
	return []string{
		"object.metadata.name.size() <= params.spec.max", "params.spec.names.exists(n, object.metadata.name.startsWith(n))",
		"params.spec.?ratio.orValue(1.5) > 1.0", "params == null || params.kind.endsWith('Limit')", "params.spec.nothere == 1",
		"params.metadata.generation == 1 && params.spec.max / 2 > 1", "params.?metadata.?namespace.orValue('') == ''",
	}
}

// params gives the policy params: of every kind, by name and by selector, there
// or not. Those that refuse a request outright are for those whom nobody is
// refused by: with failurePolicy Ignore.
func (g *celGenerator) params(p *celPolicy) {
	kind := []admissionv1.ParamKind{
		{APIVersion: "v1", Kind: "ConfigMap"}, {APIVersion: "celdiff.example.com/v1", Kind: "Limit"}, {APIVersion: "celdiff.example.com/v1", Kind: "ClusterLimit"},
	}[g.IntN(3)]
	p.spec.ParamKind = &kind
	if g.chance(8) {
		return // a binding without a reference: params are null
	}
	action := admissionv1.AllowAction
	if (p.failure == admissionv1.Ignore || g.refusing) && g.chance(50) {
		action = admissionv1.DenyAction
	}
	ref := &admissionv1.ParamRef{ParameterNotFoundAction: &action}
	if kind.Kind != "ClusterLimit" && g.chance(70) {
		ref.Namespace = "default"
	}
	switch g.IntN(6) {
	case 0, 1:
		ref.Name = "limit"
	case 2:
		ref.Name = "missing"
	case 3:
		ref.Selector = &metav1.LabelSelector{} // all
		if kind.Kind == "ConfigMap" {
			ref.Selector.MatchLabels = map[string]string{"param": "yes"}
		}
	case 4:
		ref.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "gold"}}
	default:
		ref.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "tier", Operator: metav1.LabelSelectorOpIn, Values: []string{"gold", "silver"}}, {Key: "old", Operator: metav1.LabelSelectorOpDoesNotExist},
		}}
	}
	p.spec.ParamRef = ref
}

// writtenPolicies are those of testdata/celdiff: what people write, and what a
// generator does not come upon.
func writtenPolicies(t *testing.T, folder string) []*celPolicy {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata/%s: %d files, %v", folder, len(files), err)
	}
	var all []*celPolicy
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			p := struct {
				Name          string
				FailurePolicy admissionv1.FailurePolicyType
				Groups        []string
				Resources     []string
				Operations    []admissionv1.OperationType
				Spec          struct {
					admissionv1.ValidatingAdmissionPolicySpec
					ParamRef  *admissionv1.ParamRef
					Mutations []admissionv1.Mutation
				}
			}{}
			if err := yaml.UnmarshalStrict([]byte(document), &p); err != nil {
				t.Fatalf("%s: %v in:\n%s", file, err, document)
			}
			if p.FailurePolicy == "" {
				p.FailurePolicy = admissionv1.Fail
			}
			all = append(all, &celPolicy{name: p.Name, failure: p.FailurePolicy, rule: celRule{p.Groups, p.Resources, p.Operations}, spec: cel.Spec{
				ParamKind: p.Spec.ParamKind, ParamRef: p.Spec.ParamRef, MatchConditions: p.Spec.MatchConditions, Variables: p.Spec.Variables,
				Validations: p.Spec.Validations, AuditAnnotations: p.Spec.AuditAnnotations, Mutations: p.Spec.Mutations,
			}})
		}
	}
	return all
}
