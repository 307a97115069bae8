package capability

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/warder-dev/warder/sdk"
)

// lastApplied is the annotation in which kubectl keeps a copy of the object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// object is one object of the cluster as policies are told of it: encoded, and
// beside it only what it is selected by. It does not change once it is made.
type object struct {
	namespace, name string
	version         string // metadata.resourceVersion
	labels          pairs
	text            []byte
	lastInitial     bool // a bookmark that ends the initial events of a watch
}

// pairs are the labels of an object. There are few, so they are searched.
type pairs []pair

type pair struct{ key, value string }

// Has, Get and Lookup make pairs what a selector asks.

// Has says whether there is a label of that key.
func (p pairs) Has(key string) bool {
	_, ok := p.Lookup(key)
	return ok
}

// Get returns the value of a label, "" when there is none.
func (p pairs) Get(key string) string {
	value, _ := p.Lookup(key)
	return value
}

// Lookup returns the value of a label, and whether there is one.
func (p pairs) Lookup(key string) (string, bool) {
	for _, l := range p {
		if l.key == key {
			return l.value, true
		}
	}
	return "", false
}

// GetObjectKind, DeepCopyObject and GetObjectMeta make an object what client-go
// passes from its watch to our store.

// GetObjectKind returns no kind: the watch knows it.
func (o *object) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns the object itself, which nobody changes.
func (o *object) DeepCopyObject() runtime.Object { return o }

// GetObjectMeta returns what a watch looks at.
func (o *object) GetObjectMeta() metav1.Object {
	m := &metav1.ObjectMeta{Namespace: o.namespace, Name: o.name, ResourceVersion: o.version}
	if o.lastInitial {
		m.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	}
	return m
}

// compare orders objects by namespace and name.
func (o *object) compare(other *object) int {
	if c := strings.Compare(o.namespace, other.namespace); c != 0 {
		return c
	}
	return strings.Compare(o.name, other.name)
}

// objectParser makes objects of a kind from what the API server sends. It is
// not safe for concurrent use.
type objectParser struct {
	typeMeta []byte // `{"apiVersion":"v1","kind":"Pod"`
	scratch  []byte
}

func newObjectParser(r Resource) *objectParser {
	typeMeta := appendJSON([]byte(`{"apiVersion":`), r.APIVersion)
	typeMeta = appendJSON(append(typeMeta, `,"kind":`...), r.Kind)
	return &objectParser{typeMeta: typeMeta}
}

// parse reads one object. Its text has apiVersion and kind first, which the
// items of a list lack, and metadata as Kubewarden gives it to policies: no
// managed fields, annotations always there, and without kubectl's own.
func (p *objectParser) parse(raw []byte) (*object, error) {
	if err := sdk.Check(raw); err != nil {
		return nil, err
	}
	o := &object{}
	found := false
	p.scratch = append(p.scratch[:0], p.typeMeta...)
	for name, value := range rawMembers(raw) {
		if rawIs(name, "apiVersion") || rawIs(name, "kind") {
			continue
		}
		p.scratch = append(append(append(p.scratch, ','), name...), ':')
		if !rawIs(name, "metadata") {
			p.scratch = append(p.scratch, value...)
			continue
		}
		if err := p.metadata(o, value); err != nil {
			return nil, fmt.Errorf("metadata%w", err)
		}
		found = true
	}
	if !found || o.name == "" {
		return nil, errors.New("an object without metadata.name")
	}
	p.scratch = append(p.scratch, '}')
	o.text = bytes.Clone(p.scratch)
	return o, nil
}

// metadata reads and appends the metadata of an object.
func (p *objectParser) metadata(o *object, raw []byte) error {
	if raw[0] != '{' {
		return errors.New(": want an object")
	}
	annotated := false
	p.scratch = append(p.scratch, '{')
	for name, value := range rawMembers(raw) {
		if rawIs(name, "managedFields") {
			continue
		}
		p.scratch = append(append(p.scratch, name...), ':')
		var err error
		switch {
		case rawIs(name, "annotations"):
			annotated = true
			err = p.annotations(value)
		default:
			p.scratch = append(p.scratch, value...)
			err = o.field(name, value)
		}
		if err != nil {
			return fmt.Errorf(".%s: %w", name[1:len(name)-1], err)
		}
		p.scratch = append(p.scratch, ',')
	}
	if !annotated {
		p.scratch = append(p.scratch, `"annotations":{},`...)
	}
	p.scratch = append(p.scratch, `"managedFields":[]}`...)
	return nil
}

// annotations appends annotations without kubectl's.
func (p *objectParser) annotations(raw []byte) error {
	if raw[0] != '{' && raw[0] != 'n' {
		return errors.New("want an object")
	}
	start := len(p.scratch)
	for name, value := range rawMembers(raw) {
		if !rawIs(name, lastApplied) {
			p.scratch = append(append(append(append(p.scratch, ','), name...), ':'), value...)
		}
	}
	p.scratch = enclose(p.scratch, start, "{}")
	return nil
}

// field keeps a field of the metadata that objects are selected by.
func (o *object) field(name, value []byte) error {
	var target *string
	switch {
	case rawIs(name, "name"):
		target = &o.name
	case rawIs(name, "namespace"):
		target = &o.namespace
	case rawIs(name, "resourceVersion"):
		target = &o.version
	case rawIs(name, "labels"):
		return o.label(value)
	default:
		return nil
	}
	text, ok := rawText(value)
	if !ok {
		return errors.New("want a string")
	}
	if target == &o.namespace { // many objects share one
		text = unique.Make(text).Value()
	}
	*target = text
	return nil
}

func (o *object) label(raw []byte) error {
	if raw[0] != '{' && raw[0] != 'n' {
		return errors.New("want an object")
	}
	o.labels = nil
	for quoted, value := range rawMembers(raw) {
		key, isText := rawText(quoted)
		text, ok := rawText(value)
		if !ok || !isText {
			return fmt.Errorf("%q: want a string", key)
		}
		for i := range o.labels {
			if o.labels[i].key == key { // the last of two counts
				o.labels = append(o.labels[:i], o.labels[i+1:]...)
				break
			}
		}
		o.labels = append(o.labels, pair{unique.Make(key).Value(), unique.Make(text).Value()})
	}
	return nil
}
