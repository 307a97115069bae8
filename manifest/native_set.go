package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	v1 "github.com/warder-dev/warder/api/v1"
)

// annotationGeneration is the generation of the policy of which an object was made.
const annotationGeneration = "policies.warder.dev/generation"

// NativeObjects are the ValidatingAdmissionPolicies, MutatingAdmissionPolicies and
// bindings of the cluster that have LabelPartOf.
type NativeObjects struct {
	ValidatingPolicies []admissionv1.ValidatingAdmissionPolicy
	ValidatingBindings []admissionv1.ValidatingAdmissionPolicyBinding
	MutatingPolicies   []admissionv1.MutatingAdmissionPolicy
	MutatingBindings   []admissionv1.MutatingAdmissionPolicyBinding
}

// NativeSetInput is what decides on the policies that the API server enforces.
type NativeSetInput struct {
	// Server is the policy server; it may have its name alone.
	Server  *v1.PolicyServer
	Options Options
	// Wanted are those that the API server is to enforce.
	Wanted []v1.Policy
	// Kept are those that it is to leave to a webhook, which they have not got yet:
	// what enforces them now stays as it is.
	Kept []v1.Policy
	// Current are the objects as they are now.
	Current NativeObjects
}

// NativeSet is what there is to do. It is done in this order: Apply, then Delete.
type NativeSet struct {
	// Apply are those that are not as they should be, by unique name; a policy
	// comes before its binding.
	Apply map[string][]v1.Object
	// Delete are those that nobody wants, bindings first, with their UIDs. They
	// match nothing that the others do not.
	Delete []v1.Object
	// InPlace is what the API server enforces now, by unique name: that of an older
	// generation, too.
	InPlace map[string]v1.Enforcement
	// Unsuited are the wanted policies that the API server cannot enforce, with
	// the reason. What they have stays as it is.
	Unsuited map[string]error
	// Warnings are those of each policy that is to be enforced, of the API server's
	// own type checking among them.
	Warnings map[string][]string
}

// nativePair is what there is of a policy.
type nativePair struct {
	policy, binding v1.Object
}

// generation is that of which both were made, 0 of what is not complete.
func (p nativePair) generation() int64 {
	if p.policy == nil || p.binding == nil {
		return 0
	}
	of := func(o v1.Object) int64 {
		n, err := strconv.ParseInt(o.GetAnnotations()[annotationGeneration], 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return min(of(p.policy), of(p.binding))
}

// Natives says what to do about what the API server enforces by itself.
func Natives(in NativeSetInput) NativeSet {
	set := NativeSet{
		Apply: map[string][]v1.Object{}, InPlace: map[string]v1.Enforcement{}, Unsuited: map[string]error{}, Warnings: map[string][]string{},
	}
	current, wanted := in.Current.of(in.Server.Name), map[key]bool{}
	keep := func(name string) { wanted[key{false, name}], wanted[key{true, name}] = true, true }
	for _, pol := range in.Kept {
		keep(pol.UniqueName())
	}
	for _, pol := range sorted(in.Wanted) {
		name := pol.UniqueName()
		native, err := NativeOf(NativeInput{Policy: pol, Server: in.Server.Spec, Options: in.Options})
		if err != nil {
			set.Unsuited[name] = err
			keep(name)
			continue
		}
		k := key{len(pol.Single.CEL.Mutations) > 0, name}
		have := current[k]
		set.Warnings[name] = append(native.Warnings, typeWarnings(have.policy)...)
		if !sameNative(native.Policy, have.policy) {
			set.Apply[name] = append(set.Apply[name], native.Policy)
		}
		if !sameNative(native.Binding, have.binding) {
			set.Apply[name] = append(set.Apply[name], native.Binding)
		}
		wanted[k] = true
		if len(set.Apply[name]) > 0 {
			keep(name) // it may have become a mutating one
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(current), key.compare) {
		have := current[k]
		if generation := have.generation(); generation > 0 && wanted[k] {
			set.InPlace[k.name] = v1.Enforcement{Generation: generation, Configuration: k.name, Mutating: k.mutating, At: v1.AtAPIServer}
		}
		if wanted[k] {
			continue
		}
		for _, o := range []v1.Object{have.binding, have.policy} {
			if o != nil {
				set.Delete = append(set.Delete, o)
			}
		}
	}
	return set
}

// of are the objects of a policy server's policies.
func (c NativeObjects) of(server string) map[key]nativePair {
	all := map[key]nativePair{}
	add := func(mutating bool, o v1.Object, at func(*nativePair) *v1.Object) {
		if o.GetLabels()[LabelPartOf] != PartOf || o.GetLabels()[LabelPolicyServer] != server {
			return
		}
		k := key{mutating, o.GetName()}
		pair := all[k]
		*at(&pair) = o
		all[k] = pair
	}
	policy, binding := func(p *nativePair) *v1.Object { return &p.policy }, func(p *nativePair) *v1.Object { return &p.binding }
	for i := range c.ValidatingPolicies {
		add(false, typed(&c.ValidatingPolicies[i], "ValidatingAdmissionPolicy"), policy)
	}
	for i := range c.ValidatingBindings {
		add(false, typed(&c.ValidatingBindings[i], "ValidatingAdmissionPolicyBinding"), binding)
	}
	for i := range c.MutatingPolicies {
		add(true, typed(&c.MutatingPolicies[i], "MutatingAdmissionPolicy"), policy)
	}
	for i := range c.MutatingBindings {
		add(true, typed(&c.MutatingBindings[i], "MutatingAdmissionPolicyBinding"), binding)
	}
	return all
}

// typed is a copy that says its kind, which objects of lists do not.
func typed(o v1.Object, kind string) v1.Object {
	out, ok := o.DeepCopyObject().(v1.Object)
	if !ok { // it is a copy of an Object
		return o
	}
	out.GetObjectKind().SetGroupVersionKind(admissionv1.SchemeGroupVersion.WithKind(kind))
	return out
}

// sameNative says whether there is nothing to write.
func sameNative(want, have v1.Object) bool {
	if have == nil || !contains(have.GetLabels(), want.GetLabels()) || !contains(have.GetAnnotations(), want.GetAnnotations()) {
		return false
	}
	return equality.Semantic.DeepEqual(NativeSpec(want), NativeSpec(have))
}

// NativeSpec is the spec of an object of NativeObjects, nil of any other: nobody
// but us has a say in it.
func NativeSpec(o v1.Object) any {
	switch o := o.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		return o.Spec
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		return o.Spec
	case *admissionv1.MutatingAdmissionPolicy:
		return o.Spec
	case *admissionv1.MutatingAdmissionPolicyBinding:
		return o.Spec
	}
	return nil
}

// typeWarnings are what the API server has found by checking types.
func typeWarnings(o v1.Object) []string {
	p, ok := o.(*admissionv1.ValidatingAdmissionPolicy)
	if !ok || p.Status.TypeChecking == nil || p.Status.ObservedGeneration != p.Generation {
		return nil
	}
	var all []string
	for _, w := range p.Status.TypeChecking.ExpressionWarnings {
		all = append(all, fmt.Sprintf("%s: %s", w.FieldRef, w.Warning))
	}
	return all
}
