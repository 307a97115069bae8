package policy

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/sdk"
)

// readers read the values of an object's keys.
type readers map[string]func(path string, n *yaml.Node)

// members reads an object that has these keys and no others. A null is as if it
// were not there.
func (p *parser) members(path string, n *yaml.Node, known readers) {
	for _, f := range p.object(path, n) {
		inner := path + "." + f.name
		read, ok := known[f.name]
		switch {
		case !ok:
			names := slices.Sorted(maps.Keys(known))
			p.fail(f.key, inner, unknownKey(f.name, names))
			p.failed[path+"."+sdk.Nearest(f.name, names)] = true // it is not missing
		case !isNull(f.value):
			p.at[inner], p.path = f.value, inner
			read(inner, f.value)
		}
	}
}

// text reads a string into where it belongs.
func text[T ~string](p *parser, to *T) func(string, *yaml.Node) {
	return func(path string, n *yaml.Node) { *to = T(p.str(path, n)) }
}

// listOf reads a list of objects, one after the other.
func listOf[T any](p *parser, to *[]T, keys func(*T) readers) func(string, *yaml.Node) {
	return func(path string, n *yaml.Node) {
		for i, element := range p.elements(path, n) {
			at := index(path, i)
			p.at[at] = element
			var one T
			p.members(at, element, keys(&one))
			*to = append(*to, one)
		}
	}
}

// objectOf reads an object that need not be there.
func objectOf[T any](p *parser, to **T, keys func(*T) readers) func(string, *yaml.Node) {
	return func(path string, n *yaml.Node) {
		*to = new(T)
		p.members(path, n, keys(*to))
	}
}

// cel reads a policy in CEL: the fields of v1.CELSpec.
func (p *parser) cel(path string, n *yaml.Node) *v1.CELSpec {
	c, before := &v1.CELSpec{}, len(p.errs)
	p.members(path, n, readers{
		"paramKind": objectOf(p, &c.ParamKind, func(k *admissionv1.ParamKind) readers {
			return readers{"apiVersion": text(p, &k.APIVersion), "kind": text(p, &k.Kind)}
		}),
		"paramRef": objectOf(p, &c.ParamRef, p.paramRef),
		"matchConditions": listOf(p, &c.MatchConditions, func(m *admissionv1.MatchCondition) readers {
			return readers{"name": text(p, &m.Name), "expression": text(p, &m.Expression)}
		}),
		"variables": listOf(p, &c.Variables, func(v *admissionv1.Variable) readers {
			return readers{"name": text(p, &v.Name), "expression": text(p, &v.Expression)}
		}),
		"validations": listOf(p, &c.Validations, func(v *admissionv1.Validation) readers {
			return readers{
				"expression": text(p, &v.Expression), "message": text(p, &v.Message), "messageExpression": text(p, &v.MessageExpression),
				"reason": func(path string, n *yaml.Node) {
					reason := metav1.StatusReason(p.str(path, n))
					v.Reason = &reason
				},
			}
		}),
		"auditAnnotations": listOf(p, &c.AuditAnnotations, func(a *admissionv1.AuditAnnotation) readers {
			return readers{"key": text(p, &a.Key), "valueExpression": text(p, &a.ValueExpression)}
		}),
		"mutations": listOf(p, &c.Mutations, func(m *admissionv1.Mutation) readers {
			return readers{
				"patchType": text(p, &m.PatchType),
				"applyConfiguration": objectOf(p, &m.ApplyConfiguration, func(a *admissionv1.ApplyConfiguration) readers {
					return readers{"expression": text(p, &a.Expression)}
				}),
				"jsonPatch": objectOf(p, &m.JSONPatch, func(j *admissionv1.JSONPatch) readers {
					return readers{"expression": text(p, &j.Expression)}
				}),
			}
		}),
	})
	if len(p.errs) > before && len(c.Validations)+len(c.Mutations)+len(c.AuditAnnotations) == 0 {
		p.failed[path] = true // it is perhaps not as empty as it looks
	}
	return c
}

func (p *parser) paramRef(r *admissionv1.ParamRef) readers {
	return readers{
		"name": text(p, &r.Name), "namespace": text(p, &r.Namespace), "selector": objectOf(p, &r.Selector, p.labelSelector),
		"parameterNotFoundAction": func(path string, n *yaml.Node) {
			action := admissionv1.ParameterNotFoundActionType(p.str(path, n))
			r.ParameterNotFoundAction = &action
		},
	}
}

func (p *parser) labelSelector(s *metav1.LabelSelector) readers {
	return readers{
		"matchLabels": func(path string, n *yaml.Node) {
			s.MatchLabels = map[string]string{}
			for _, f := range p.object(path, n) {
				s.MatchLabels[f.name] = p.str(path+"."+f.name, f.value)
			}
		},
		"matchExpressions": listOf(p, &s.MatchExpressions, func(r *metav1.LabelSelectorRequirement) readers {
			return readers{
				"key": text(p, &r.Key), "operator": text(p, &r.Operator),
				"values": func(path string, n *yaml.Node) { r.Values = p.strings(path, n) },
			}
		}),
	}
}
