package vap

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// eventsGroup has the events of the core group as well.
const eventsGroup = "events.k8s.io"

const (
	noSubresource = `(!has(request.subResource) || request.subResource == "")`
	// A namespace is in none, though requests for one have its name there. Source:
	// k8s.io/apiserver pkg/admission/plugin/webhook/predicates/rules.
	inNamespace = `(has(request.namespace) && request.namespace != "" && ` +
		`!(request.resource.group == "" && request.resource.version == "v1" && request.resource.resource == "namespaces"))`
)

// ruleTerm is the expression that is true of what a rule matches, its names
// included. Expressions see the resource that was asked for, not the one that it
// is equivalent to: with Equivalent, versions have to be looked at before, and
// events of both their groups are the same.
func ruleTerm(r admissionv1.NamedRuleWithOperations, policy admissionv1.MatchPolicyType) string {
	var terms []string
	if !slices.Contains(r.APIGroups, "*") {
		term := "request.resource.group in " + list(r.APIGroups)
		if twin, ok := eventsTwin(r); ok && policy == admissionv1.Equivalent {
			term = "(" + term + " || request.resource.group == " + quoted(twin.APIGroups[0]) + ` && request.resource.resource == "events")`
		}
		terms = append(terms, term)
	}
	if policy == admissionv1.Exact && !slices.Contains(r.APIVersions, "*") {
		terms = append(terms, "request.resource.version in "+list(r.APIVersions))
	}
	if t := resourcesTerm(r.Resources); t != "" {
		terms = append(terms, t)
	}
	if !slices.Contains(r.Operations, "*") {
		terms = append(terms, "request.operation in "+list(r.Operations))
	}
	switch scopeOf(r) {
	case admissionv1.NamespacedScope:
		terms = append(terms, inNamespace)
	case admissionv1.ClusterScope:
		terms = append(terms, "!"+inNamespace)
	}
	if len(r.ResourceNames) > 0 {
		terms = append(terms, nameIn(r.ResourceNames))
	}
	if len(terms) == 0 {
		return "(true)"
	}
	return "(" + strings.Join(terms, " && ") + ")"
}

// resourcesTerm is "" for everything.
func resourcesTerm(patterns []string) string {
	var terms []string
	for _, p := range patterns {
		resource, sub, _ := strings.Cut(p, "/")
		var t []string
		if resource != "*" {
			t = append(t, "request.resource.resource == "+quoted(resource))
		}
		switch sub {
		case "*":
		case "":
			t = append(t, noSubresource)
		default:
			t = append(t, "has(request.subResource) && request.subResource == "+quoted(sub))
		}
		if len(t) == 0 {
			return ""
		}
		terms = append(terms, joined(t, " && "))
	}
	return "(" + strings.Join(terms, " || ") + ")"
}

// nameIn is the expression that is true of these objects. One whose name the API
// server has still to make has none.
func nameIn(names []string) string {
	return "(has(request.name) && request.name in " + list(names) + ")"
}

// selecting is the expression that is true if the selector selects the new object
// or the old one. Source: k8s.io/apiserver
// pkg/admission/plugin/webhook/predicates/object.
func selecting(s *metav1.LabelSelector) string {
	return "(" + selectingOne("object", s) + " || " + selectingOne("oldObject", s) + ")"
}

// selectingOne is that of one of the two, which may be null or have no metadata.
func selectingOne(object string, s *metav1.LabelSelector) string {
	labels := object + ".metadata.labels"
	has := func(key string) string { return "(has(" + labels + ") && " + quoted(key) + " in " + labels + ")" }
	is := func(key string, values []string) string {
		return "(has(" + labels + ") && " + quoted(key) + " in " + labels + " && " + labels + "[" + quoted(key) + "] in " + list(values) + ")"
	}
	terms := []string{object + " != null", "has(" + object + ".metadata)"}
	for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		terms = append(terms, is(key, []string{s.MatchLabels[key]}))
	}
	for _, e := range s.MatchExpressions {
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			terms = append(terms, is(e.Key, e.Values))
		case metav1.LabelSelectorOpNotIn:
			terms = append(terms, "!"+is(e.Key, e.Values))
		case metav1.LabelSelectorOpExists:
			terms = append(terms, has(e.Key))
		case metav1.LabelSelectorOpDoesNotExist:
			terms = append(terms, "!"+has(e.Key))
		}
	}
	return joined(terms, " && ")
}

// joined has parentheses if there is more than one.
func joined(terms []string, by string) string {
	if len(terms) == 1 {
		return terms[0]
	}
	return "(" + strings.Join(terms, by) + ")"
}

// list is a list of strings in CEL, whose literals are those of Go as far as
// strconv writes them.
func list[T ~string](values []T) string {
	var all []string
	for _, v := range values {
		all = append(all, quoted(string(v)))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func quoted(s string) string { return strconv.QuoteToASCII(s) }
