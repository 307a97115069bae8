package capability

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// listQuery asks for the objects of a kind. Equal queries have equal keys.
type listQuery struct {
	resource      Resource
	everywhere    bool // in all namespaces
	namespace     string
	labelSelector string
	fieldSelector string
	masks         []string
}

// key returns a text that no other query has, whatever is in its strings.
func (q listQuery) key() string {
	b := fmt.Appendf(make([]byte, 0, 128), "%q%q%t%q%q%q", q.resource.APIVersion, q.resource.Kind, q.everywhere, q.namespace, q.labelSelector, q.fieldSelector)
	for _, m := range q.masks {
		b = fmt.Appendf(b, "%q", m)
	}
	return string(b)
}

// filter says which objects are selected.
type filter struct {
	everywhere bool
	namespace  string
	labels     labels.Selector
	equal      []pair // labels that the selector wants to have one value
	fields     fields.Requirements
}

// filter parses the selectors.
func (q listQuery) filter() (*filter, error) {
	f := &filter{everywhere: q.everywhere, namespace: q.namespace}
	var err error
	if f.labels, err = labels.Parse(q.labelSelector); err != nil {
		return nil, fmt.Errorf("label_selector %q: %w", q.labelSelector, err)
	}
	requirements, selectable := f.labels.Requirements()
	if !selectable {
		return nil, fmt.Errorf("label_selector %q selects nothing", q.labelSelector)
	}
	for _, r := range requirements {
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			if values := r.ValuesUnsorted(); len(values) == 1 {
				f.equal = append(f.equal, pair{r.Key(), values[0]})
			}
		}
	}
	byField, err := fields.ParseSelector(q.fieldSelector)
	if err != nil {
		return nil, fmt.Errorf("field_selector %q: %w", q.fieldSelector, err)
	}
	f.fields = byField.Requirements()
	for _, r := range f.fields {
		if r.Field == "metadata.namespace" && r.Operator != selection.NotEquals && f.everywhere {
			f.everywhere, f.namespace = false, r.Value
		}
	}
	return f, nil
}

// matches says whether an object of the right namespace is selected.
func (f *filter) matches(o *object) (bool, error) {
	if !f.labels.Matches(o.labels) {
		return false, nil
	}
	for _, r := range f.fields {
		value, err := o.fieldValue(r.Field)
		if err != nil {
			return false, err
		}
		if (value == r.Value) == (r.Operator == selection.NotEquals) {
			return false, nil
		}
	}
	return true, nil
}

// fieldValue returns a field as a field selector compares it: the text of a
// string, number or boolean, and "" for what is not there, except for the few
// fields whose zero value the API server compares but does not encode.
// Source: the field label conversions of Kubernetes' core and batch groups.
func (o *object) fieldValue(field string) (string, error) {
	switch field {
	case "metadata.name":
		return o.name, nil
	case "metadata.namespace":
		return o.namespace, nil
	}
	path, zero := field, ""
	switch field {
	case "spec.unschedulable", "spec.hostNetwork":
		zero = "false"
	case "status.replicas":
		zero = "0"
	case "status.successful": // of a Job
		path, zero = "status.succeeded", "0"
	}
	raw := rawLookup(o.text, strings.Split(path, ".")...)
	if len(raw) == 0 {
		return zero, nil
	}
	switch raw[0] {
	case 'n':
		return zero, nil
	case '{', '[':
		return "", fmt.Errorf("field_selector: %s is no string, number or boolean in %s/%s", field, o.namespace, o.name)
	case '"':
		text, _ := rawText(raw)
		return text, nil
	}
	return string(raw), nil
}
