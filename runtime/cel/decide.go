package cel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	apiserver "k8s.io/apiserver/pkg/admission"
	admissionauthorizer "k8s.io/apiserver/pkg/admission/plugin/authorizer"
	admission "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/warder-dev/warder/sdk"
)

// maxAnnotation bounds the value of an audit annotation, in bytes. Source:
// k8s.io/apiserver's validating policies.
const maxAnnotation = 10 << 10

// Decide is Evaluate with what each expression says, before the failurePolicy.
// The error is why none was asked: the request or the params.
func (p *Program) Decide(ctx context.Context, req *sdk.Request) (Decision, error) {
	if p.validator == nil && req.Operation == sdk.Delete {
		return Decision{}, nil // there is nothing to mutate: the API server does not ask either
	}
	if p.host != nil {
		ctx = sdk.WithHost(ctx, p.host)
	}
	all, err := p.paramsOf(ctx, req)
	if err != nil {
		return Decision{}, err
	}
	if len(all) == 0 {
		return Decision{}, nil
	}
	in := inputs{}
	if in.attributes, err = attributes(ctx, req); err != nil {
		return Decision{}, err
	}
	if in.namespace, err = p.namespaceOf(ctx, req); err != nil {
		return Decision{}, err
	}
	if p.asks.authorizer {
		in.authorizer = admissionauthorizer.NewCachingAuthorizer(access{ctx})
	}
	d := Decision{}
	if p.validator != nil {
		for _, param := range all {
			d.Judgements = append(d.Judgements, p.validate(ctx, req, in, param))
		}
		return d, nil
	}
	before := in.attributes.VersionedObject.Object()
	for _, param := range all {
		j, err := p.mutate(ctx, req, in, param)
		if err != nil {
			return Decision{}, err
		}
		d.Judgements = append(d.Judgements, j)
	}
	after := in.attributes.VersionedObject.Object()
	if in.attributes.Dirty && !equality.Semantic.DeepEqual(before, after) {
		object, ok := after.(*unstructured.Unstructured)
		if !ok {
			return Decision{}, fmt.Errorf("the mutated object is %T", after)
		}
		d.MutatedObject, err = json.Marshal(object.Object)
	}
	return d, err
}

// inputs are what the expressions see of one request, besides params.
type inputs struct {
	attributes *apiserver.VersionedAttributes
	namespace  *corev1.Namespace
	authorizer authorizer.UnconditionalAuthorizer
}

// validate asks the validations.
func (p *Program) validate(ctx context.Context, req *sdk.Request, in inputs, param runtime.Object) Judgement {
	result := p.validator.Validate(ctx, resourceOf(req.Resource), in.attributes, param, in.namespace, celconfig.RuntimeCELCostBudget, in.authorizer)
	j := Judgement{Params: nameOf(param)}
	for _, d := range result.Decisions {
		j.Outcomes = append(j.Outcomes, Outcome{Result: Result(d.Evaluation), Message: d.Message, Reason: d.Reason})
	}
	for _, a := range result.AuditAnnotations {
		switch a.Action {
		case validating.AuditAnnotationActionPublish:
			if j.AuditAnnotations == nil {
				j.AuditAnnotations = map[string]string{}
			}
			j.AuditAnnotations[a.Key] = a.Value[:min(len(a.Value), maxAnnotation)]
		case validating.AuditAnnotationActionError:
			j.AuditErrors = append(j.AuditErrors, a.Error)
		}
	}
	return j
}

// mutate applies the mutations, each to what the one before has left. One that
// errs does not keep the others from it; the error is one that ends them all.
func (p *Program) mutate(ctx context.Context, req *sdk.Request, in inputs, param runtime.Object) (Judgement, error) {
	j := Judgement{Params: nameOf(param)}
	if p.matcher != nil {
		match := p.matcher.Match(ctx, in.attributes, param, in.authorizer)
		if match.Error != nil {
			j.Outcomes = []Outcome{{Result: Errored, Message: match.Error.Error()}}
		}
		if match.Error != nil || !match.Matches {
			return j, nil
		}
	}
	if p.asks.variables {
		ctx = p.variables.in(ctx)
	}
	for _, m := range p.mutators {
		if in.attributes.VersionedObject.Object() == nil {
			continue
		}
		object, err := m.Patch(ctx, patch.Request{
			MatchedResource: resourceOf(req.Resource), VersionedAttributes: in.attributes, ObjectInterfaces: objectInterfaces(),
			OptionalVariables: admission.OptionalVariableBindings{VersionedParams: param, Authorizer: in.authorizer},
			Namespace:         in.namespace, TypeConverter: converterFor(in.attributes.VersionedKind),
		}, celconfig.RuntimeCELCostBudget)
		if status := (*apierrors.StatusError)(nil); errors.As(err, &status) {
			return j, err
		}
		if err != nil {
			j.Outcomes = append(j.Outcomes, Outcome{Result: Errored, Message: err.Error()})
			continue
		}
		in.attributes.UpdateObject(object)
		j.Outcomes = append(j.Outcomes, Outcome{Result: Admit})
	}
	return j, nil
}

func nameOf(param runtime.Object) string {
	if param == nil {
		return ""
	}
	object, err := meta.Accessor(param)
	if err != nil {
		return ""
	}
	if object.GetNamespace() == "" {
		return object.GetName()
	}
	return object.GetNamespace() + "/" + object.GetName()
}
