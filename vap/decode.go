package vap

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
)

// maxDocument bounds one document: etcd takes no object larger than 1.5 MiB.
const maxDocument = 4 << 20

// Objects are the policies and bindings of some files.
type Objects struct {
	Policies []Policy
	Bindings []Binding
}

// Read adds what a file has: YAML or JSON, several documents and lists too. A
// field that is not known is an error, since it may be one that narrows.
func (o *Objects) Read(text []byte) error {
	return eachDocument(text, func(text []byte) error { return o.addJSON(text, 0) })
}

// eachDocument gives each document to add, as JSON.
func eachDocument(text []byte, add func([]byte) error) error {
	reader := yamlstream.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for i := 1; ; i++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && len(document) > maxDocument {
			err = fmt.Errorf("has %d bytes, more than an API server takes", len(document))
		}
		if err == nil {
			document, err = yaml.YAMLToJSONStrict(document)
		}
		if err == nil && string(bytes.TrimSpace(document)) != "null" { // nothing but comments
			err = add(document)
		}
		if err != nil {
			return fmt.Errorf("document %d: %w", i, err)
		}
	}
}

// ReadPolicies are the policies of ours in a file, YAML or JSON, with several
// documents or not. A field that is not known is an error.
func ReadPolicies(text []byte) ([]v1.Policy, error) {
	var all []v1.Policy
	err := eachDocument(text, func(text []byte) error {
		var h head
		if err := json.Unmarshal(text, &h); err != nil {
			return fmt.Errorf("want an object: %w", err)
		}
		object := v1.Kind(h.Kind).New()
		switch {
		case object == nil:
			return fmt.Errorf("kind: want one of %q, have %q", v1.Kinds(), h.Kind)
		case h.APIVersion != v1.GroupVersion().String():
			return fmt.Errorf("apiVersion: want %q, have %q", v1.GroupVersion(), h.APIVersion)
		}
		if err := strict(text, object); err != nil {
			return fmt.Errorf("%s: %w", h.Kind, err)
		}
		p, _ := v1.View(object)
		if p.Object.GetName() == "" || p.Kind.Namespaced() && p.Object.GetNamespace() == "" {
			return fmt.Errorf("%s: metadata: want a name, and a namespace if the kind has one", h.Kind)
		}
		all = append(all, p)
		return nil
	})
	if err == nil && len(all) == 0 {
		err = errors.New("there is no policy")
	}
	return all, err
}

// head is what all objects have.
type head struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Items      []json.RawMessage `json:"items"`
}

func (o *Objects) addJSON(text []byte, depth int) error {
	var h head
	if err := json.Unmarshal(text, &h); err != nil {
		return fmt.Errorf("want an object: %w", err)
	}
	if h.Kind == "List" && h.APIVersion == "v1" && depth == 0 {
		for i, item := range h.Items {
			if err := o.addJSON(item, depth+1); err != nil {
				return fmt.Errorf("items[%d]: %w", i, err)
			}
		}
		return nil
	}
	version := admissionv1.SchemeGroupVersion.String()
	kinds := []string{kindValidating, kindValidating + bindingSuffix, kindMutating, kindMutating + bindingSuffix}
	switch {
	case !slices.Contains(kinds, h.Kind):
		return fmt.Errorf("kind: want one of %q, have %q", kinds, h.Kind)
	case h.APIVersion != version:
		return fmt.Errorf("apiVersion: want %q, have %q", version, h.APIVersion)
	}
	switch h.Kind {
	case kindValidating:
		var p admissionv1.ValidatingAdmissionPolicy
		if err := strict(text, &p); err != nil {
			return fmt.Errorf("%s %q: %w", h.Kind, p.Name, err)
		}
		o.Policies = append(o.Policies, Policy{Name: p.Name, Spec: p.Spec})
	case kindMutating:
		var p admissionv1.MutatingAdmissionPolicy
		if err := strict(text, &p); err != nil {
			return fmt.Errorf("%s %q: %w", h.Kind, p.Name, err)
		}
		o.Policies = append(o.Policies, MutatingPolicy(p))
	case kindValidating + bindingSuffix:
		var b admissionv1.ValidatingAdmissionPolicyBinding
		if err := strict(text, &b); err != nil {
			return fmt.Errorf("%s %q: %w", h.Kind, b.Name, err)
		}
		o.Bindings = append(o.Bindings, Binding{Name: b.Name, Spec: b.Spec})
	default:
		var b admissionv1.MutatingAdmissionPolicyBinding
		if err := strict(text, &b); err != nil {
			return fmt.Errorf("%s %q: %w", h.Kind, b.Name, err)
		}
		o.Bindings = append(o.Bindings, MutatingBinding(b))
	}
	return nil
}

// strict decodes one object of which nothing is unknown.
func strict(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// MutatingPolicy is a MutatingAdmissionPolicy as a Policy.
func MutatingPolicy(p admissionv1.MutatingAdmissionPolicy) Policy {
	return Policy{
		Name: p.Name, Mutating: true, Mutations: p.Spec.Mutations, Reinvocation: p.Spec.ReinvocationPolicy,
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			ParamKind: p.Spec.ParamKind, MatchConstraints: p.Spec.MatchConstraints, FailurePolicy: p.Spec.FailurePolicy,
			MatchConditions: p.Spec.MatchConditions, Variables: p.Spec.Variables,
		},
	}
}

// MutatingBinding is a MutatingAdmissionPolicyBinding as a Binding.
func MutatingBinding(b admissionv1.MutatingAdmissionPolicyBinding) Binding {
	return Binding{Name: b.Name, Mutating: true, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: b.Spec.PolicyName, ParamRef: b.Spec.ParamRef, MatchResources: b.Spec.MatchResources,
	}}
}

// Pairs are the policies with their bindings, in the order of the bindings. A
// policy that has none judges nothing, which is an error; so is a binding
// without its policy.
func (o *Objects) Pairs() ([]Pair, error) {
	var pairs []Pair
	var errs []error
	bound := map[int]bool{}
	for _, b := range o.Bindings {
		at := slices.IndexFunc(o.Policies, func(p Policy) bool { return p.Mutating == b.Mutating && p.Name == b.Spec.PolicyName })
		if at < 0 {
			errs = append(errs, fmt.Errorf("binding %q: spec.policyName: there is no policy %q among the files", b.Name, b.Spec.PolicyName))
			continue
		}
		bound[at] = true
		pairs = append(pairs, Pair{Policy: o.Policies[at], Binding: b})
	}
	for i, p := range o.Policies {
		if !bound[i] {
			errs = append(errs, fmt.Errorf("%s %q: no binding among the files puts it into force; add one, with -b", p.Kind(), p.Name))
		}
	}
	if len(o.Policies) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("there is no policy among the files"))
	}
	return pairs, errors.Join(errs...)
}
