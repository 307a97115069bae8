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
	fields     []fieldTest
}

// fieldTest compares one field of an object with a value.
type fieldTest struct {
	field, value string
	path         []string
	zero         string // what is not there counts as
	unequal      bool   // is wanted
}

// newFieldTest returns a test of a field, whose value is "" when it is not
// there, except for the few fields whose zero value the API server compares but
// does not encode. Source: the field label conversions of Kubernetes' core and
// batch groups.
func newFieldTest(r fields.Requirement) fieldTest {
	t := fieldTest{field: r.Field, value: r.Value, unequal: r.Operator == selection.NotEquals}
	path := r.Field
	switch r.Field {
	case "spec.unschedulable", "spec.hostNetwork":
		t.zero = "false"
	case "status.replicas":
		t.zero = "0"
	case "status.successful": // of a Job
		path, t.zero = "status.succeeded", "0"
	}
	t.path = strings.Split(path, ".")
	return t
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
	for _, r := range byField.Requirements() {
		f.fields = append(f.fields, newFieldTest(r))
		if r.Field == "metadata.namespace" && r.Operator != selection.NotEquals && f.everywhere {
			f.everywhere, f.namespace = false, r.Value
		}
	}
	return f, nil
}

// matches says whether an object of the right namespace is selected.
func (f *filter) matches(o *object) (bool, error) {
	if !f.labels.Matches(&o.labels) {
		return false, nil
	}
	for _, test := range f.fields {
		if ok, err := test.matches(o); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// matches compares the text of a string, number or boolean.
func (t *fieldTest) matches(o *object) (bool, error) {
	switch t.field {
	case "metadata.name":
		return (o.name == t.value) != t.unequal, nil
	case "metadata.namespace":
		return (o.namespace == t.value) != t.unequal, nil
	}
	is := t.zero == t.value
	if raw := rawLookup(o.text, t.path...); len(raw) > 0 {
		switch raw[0] {
		case 'n':
		case '{', '[':
			return false, fmt.Errorf("field_selector: %s is no string, number or boolean in %s/%s", t.field, o.namespace, o.name)
		case '"':
			is = rawIs(raw, t.value)
		default:
			is = string(raw) == t.value
		}
	}
	return is != t.unequal, nil
}
