package capability

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/warder-dev/warder/sdk"
)

// storeOf returns a store that holds objects.
func storeOf(t testing.TB, texts ...string) *store {
	t.Helper()
	var revision uint64
	s := newStore(func() uint64 { revision++; return revision })
	p := newObjectParser(pods)
	var list []any
	for _, text := range texts {
		o, err := p.parse([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		list = append(list, o)
	}
	if err := s.Replace(list, ""); err != nil {
		t.Fatal(err)
	}
	return s
}

// found returns the names that a query finds.
func found(t testing.TB, s *store, q listQuery) string {
	t.Helper()
	f, err := q.filter()
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	objects, _, err := s.find(f)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	var names []string
	for _, o := range objects {
		names = append(names, o.namespace+"/"+o.name)
	}
	return strings.Join(names, " ")
}

func TestSelectors(t *testing.T) {
	s := storeOf(t,
		`{"metadata":{"namespace":"y","name":"a","labels":{"app":"web","tier":"1"}},"spec":{"nodeName":"n1","replicas":3,"unschedulable":true,"quoted\"name":"q"},"status":{"phase":"Running","succeeded":2}}`,
		`{"metadata":{"namespace":"x","name":"b","labels":{"app":"web"}},"spec":{"nodeName":"n2","ratio":1.5,"on":false,"gone":null},"status":{"phase":"Pending"}}`,
		`{"metadata":{"namespace":"x","name":"a","labels":{"app":"db","empty":""}},"spec":{"nodeName":"n\u0031"}}`,
		`{"metadata":{"name":"c"}}`,
	)
	for _, tt := range []struct{ labels, fields, want string }{
		{"", "", "/c x/a x/b y/a"},
		{"app=web", "", "x/b y/a"},
		{"app==web", "", "x/b y/a"},
		{"app=web,tier=1", "", "y/a"},
		{"app=web,app=db", "", ""},
		{"app=none", "", ""},
		{"app!=web", "", "/c x/a"},
		{"app in (web,db)", "", "x/a x/b y/a"},
		{"app in (web)", "", "x/b y/a"},
		{"app notin (web)", "", "/c x/a"},
		{"app", "", "x/a x/b y/a"},
		{"!app", "", "/c"},
		{"empty=", "", "x/a"},
		{"tier>0", "", "y/a"},
		{"tier<1", "", ""},
		{"", "metadata.name=a", "x/a y/a"},
		{"", "metadata.name!=a", "/c x/b"},
		{"", "metadata.namespace=x", "x/a x/b"},
		{"", "metadata.namespace==x,metadata.name=a", "x/a"},
		{"", "metadata.namespace!=x", "/c y/a"},
		{"", "metadata.namespace=x,metadata.namespace=y", ""},
		{"app=db", "metadata.namespace=x", "x/a"},
		{"", "spec.nodeName=n1", "x/a y/a"},
		{"", "spec.nodeName=", "/c"},
		{"", "spec.nodeName!=n1", "/c x/b"},
		{"", "status.phase=Running", "y/a"},
		{"", "spec.replicas=3", "y/a"},
		{"", "spec.ratio=1.5", "x/b"},
		{"", "spec.on=false", "x/b"},
		{"", "spec.gone=", "/c x/a x/b y/a"},
		{"", "spec.unschedulable=false", "/c x/a x/b"},
		{"", "spec.unschedulable=true", "y/a"},
		{"", "spec.hostNetwork=false", "/c x/a x/b y/a"},
		{"", "status.replicas=0", "/c x/a x/b y/a"},
		{"", "status.successful=2", "y/a"},
		{"", "status.successful=0", "/c x/a x/b"},
		{"", "spec.nodeName.more=", "/c x/a x/b y/a"},
	} {
		for range 2 { // before and after there is an index
			if have := found(t, s, listQuery{resource: pods, everywhere: true, labelSelector: tt.labels, fieldSelector: tt.fields}); have != tt.want {
				t.Errorf("%q, %q select %q, want %q", tt.labels, tt.fields, have, tt.want)
			}
		}
		var inX []string
		for name := range strings.FieldsSeq(tt.want) {
			if strings.HasPrefix(name, "x/") {
				inX = append(inX, name)
			}
		}
		if have, want := found(t, s, listQuery{resource: pods, namespace: "x", labelSelector: tt.labels, fieldSelector: tt.fields}), strings.Join(inX, " "); have != want {
			t.Errorf("%q, %q in x select %q, want %q", tt.labels, tt.fields, have, want)
		}
	}
}

func TestQueriesThatDifferHaveOtherKeys(t *testing.T) {
	queries := []listQuery{
		{resource: pods}, {resource: pods, everywhere: true}, {resource: deployments}, {resource: pods, namespace: "a"},
		{resource: pods, labelSelector: "a"}, {resource: pods, fieldSelector: "a"}, {resource: pods, masks: []string{"a"}}, {resource: pods, masks: []string{""}},
		{resource: pods, masks: []string{"a", "b"}}, {resource: pods, masks: []string{"a\x00b"}}, {resource: pods, masks: []string{`a""b`}}, {resource: pods, masks: []string{"ab"}},
		{resource: pods, namespace: `""`}, {resource: Resource{`v1""`, "Pod"}}, {resource: Resource{"v1", `""Pod`}},
	}
	seen := map[string]listQuery{}
	for _, q := range queries {
		if other, ok := seen[q.key()]; ok {
			t.Errorf("%+v and %+v have one key", q, other)
		}
		seen[q.key()] = q
	}
}

func TestMasks(t *testing.T) {
	const object = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"y"}},"spec":{"containers":[{"name":"c","image":"i","env":[{"name":"e"}]},{"name":"d"},7],"nodeName":"n"},"data":{"k":"v"},"quo\"ted":{"\u0061b":1},"list":[[{"a":1,"b":2}],"s",null],"none":null}`
	const always = `"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"y"}}`
	for _, tt := range []struct {
		name  string
		masks []string
		want  string // beside what is always there
	}{
		{"an unknown field", []string{"nope"}, ``},
		{"metadata is never pruned", []string{"metadata.name"}, ``},
		{"nor are apiVersion and kind", []string{"kind.x", "apiVersion.y"}, ``},
		{"a leaf keeps what is under it", []string{"data"}, `,"data":{"k":"v"}`},
		{"a path below", []string{"spec.nodeName"}, `,"spec":{"nodeName":"n"}`},
		{"a path to nothing keeps its beginning", []string{"spec.nope"}, `,"spec":{}`},
		{"arrays are transparent", []string{"spec.containers.name"}, `,"spec":{"containers":[{"name":"c"},{"name":"d"},7]}`},
		{"two in one object", []string{"spec.containers.image", "spec.nodeName"}, `,"spec":{"containers":[{"image":"i"},{},7],"nodeName":"n"}`},
		{"the longer path counts", []string{"spec", "spec.nodeName"}, `,"spec":{"nodeName":"n"}`},
		{"in either order", []string{"spec.nodeName", "spec"}, `,"spec":{"nodeName":"n"}`},
		{"below a text there is the text", []string{"spec.nodeName.x"}, `,"spec":{"nodeName":"n"}`},
		{"arrays in arrays", []string{"list.b"}, `,"list":[[{"b":2}],"s",null]`},
		{"null", []string{"none.x"}, `,"none":null`},
		{"names with escapes", []string{`quo"ted.ab`}, `,"quo\"ted":{"\u0061b":1}`},
		{"an empty path", []string{""}, ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			have := newMask(tt.masks).appendTo(nil, []byte(object))
			if diff := cmp.Diff("{"+always+tt.want+"}", string(have)); diff != "" {
				t.Errorf("pruned (-want +have):\n%s", diff)
			}
		})
	}
	for _, none := range [][]string{nil, {}} {
		if have := newMask(none).appendTo(nil, []byte(object)); string(have) != object {
			t.Errorf("no masks: %s", have)
		}
	}
}

// prunedMap is what a mask does, in the plainest words: it prunes a decoded
// value by the list of paths.
func prunedMap(value any, paths [][]string) any {
	deeper := slices.DeleteFunc(slices.Clone(paths), func(p []string) bool { return len(p) == 0 })
	if len(deeper) == 0 {
		return value
	}
	switch v := value.(type) {
	case map[string]any:
		kept := map[string]any{}
		for name, child := range v {
			var below [][]string
			for _, p := range deeper {
				if p[0] == name {
					below = append(below, p[1:])
				}
			}
			if below != nil {
				kept[name] = prunedMap(child, below)
			}
		}
		return kept
	case []any:
		kept := make([]any, len(v))
		for i := range v {
			kept[i] = prunedMap(v[i], deeper)
		}
		return kept
	}
	return value
}

func decoded(t *testing.T, text []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// hasTwins reports whether an object in text has a name twice, which no two
// implementations agree on.
func hasTwins(text []byte) bool {
	seen := map[string]bool{}
	for name, value := range rawMembers(text) {
		plain, _ := rawText(name)
		if seen[plain] || hasTwins(value) {
			return true
		}
		seen[plain] = true
	}
	for value := range rawElements(text) {
		if hasTwins(value) {
			return true
		}
	}
	return false
}

func FuzzMasks(f *testing.F) {
	f.Add(`{"metadata":{"a":1},"spec":{"c":[{"name":"x","image":"y"},[{"name":1}]],"n":null}}`, "spec.c.name\nspec.n")
	f.Add(`{"a":{"b":{"c":1}},"a.b":2,"":{"":3}}`, "a\na.b\n")
	f.Add(`[{"a":" \" "}, 1.50, "\u0061"]`, "a")
	f.Fuzz(func(t *testing.T, object, masks string) {
		if sdk.Check([]byte(object)) != nil || !json.Valid([]byte(object)) || hasTwins([]byte(object)) {
			return
		}
		text := bytes.TrimSpace([]byte(object))
		var paths [][]string
		for _, path := range append(strings.Split(masks, "\n"), "apiVersion", "kind", "metadata") {
			first, _, _ := strings.Cut(path, ".")
			if first == "apiVersion" || first == "kind" || first == "metadata" {
				path = first
			}
			paths = append(paths, strings.Split(path, "."))
		}
		have := newMask(strings.Split(masks, "\n")).appendTo(nil, text)
		if want := prunedMap(decoded(t, text), paths); !reflect.DeepEqual(decoded(t, have), want) {
			t.Errorf("%s with %q is pruned to %s, want %v", object, masks, have, want)
		}
	})
}

func FuzzSelectors(f *testing.F) {
	f.Add("app=web", "metadata.name=a", `{"app":"web","tier":"1"}`, true)
	f.Add("app in (web),!x", "spec.n!=1", `{"x":""}`, false)
	f.Add("a>1,b notin (c)", `spec.q=\=`, `{}`, true)
	f.Fuzz(func(t *testing.T, labelSelector, fieldSelector, ofFirst string, everywhere bool) {
		var set map[string]string
		if json.Unmarshal([]byte(ofFirst), &set) != nil {
			return
		}
		encoded, _ := json.Marshal(set)
		s := storeOf(t,
			fmt.Sprintf(`{"metadata":{"namespace":"x","name":"a","labels":%s},"spec":{"n":1,"q":"="}}`, encoded),
			`{"metadata":{"namespace":"x","name":"b","labels":{"app":"web"}},"spec":{"n":2}}`,
			`{"metadata":{"namespace":"y","name":"a","labels":{"app":"db","tier":"1"}}}`,
		)
		q := listQuery{resource: pods, everywhere: everywhere, namespace: "x", labelSelector: labelSelector, fieldSelector: fieldSelector}
		filter, err := q.filter()
		if err != nil {
			return
		}
		selector := labels.SelectorFromSet(nil)
		if parsed, err := labels.Parse(labelSelector); err == nil {
			selector = parsed
		}
		for range 2 {
			objects, _, err := s.find(filter)
			if err != nil {
				return
			}
			var want []*object
			for _, o := range s.objects {
				m := labels.Set{}
				for _, l := range o.labels {
					m[l.key] = l.value
				}
				ok := selector.Matches(m) && (everywhere || o.namespace == "x")
				for _, test := range filter.fields {
					ok = ok && (plainField(t, o, test.field) == test.value) != test.unequal
				}
				if ok {
					want = append(want, o)
				}
			}
			if !slices.Equal(objects, want) {
				t.Errorf("%q, %q find %d objects, want %d", labelSelector, fieldSelector, len(objects), len(want))
			}
		}
	})
}

// plainField returns the value of a field as a field selector compares it, from
// the decoded object.
func plainField(t *testing.T, o *object, field string) string {
	zero := map[string]string{"spec.unschedulable": "false", "spec.hostNetwork": "false", "status.replicas": "0", "status.successful": "0"}[field]
	if field == "status.successful" {
		field = "status.succeeded"
	}
	v := decoded(t, o.text)
	for name := range strings.SplitSeq(field, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	switch {
	case v == nil && field == "metadata.namespace":
		return ""
	case v == nil:
		return zero
	}
	return fmt.Sprint(v)
}

// FuzzObject compares what is kept of an object with what encoding/json makes
// of it.
func FuzzObject(f *testing.F) {
	f.Add(`{"kind":"X","metadata":{"name":"a","namespace":"b","labels":{"k":"v"},"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","a":"b"},"managedFields":[{}]},"spec":{"\u0000":[1.0,null]}}`)
	f.Add(` { "metadata" : { "name" : "\u0061" , "annotations" : null } } `)
	f.Add(`{"metadata":{"labels":{"a":1}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		o, err := newObjectParser(pods).parse([]byte(text))
		if err != nil || hasTwins([]byte(text)) {
			return
		}
		want, ok := decoded(t, []byte(text)).(map[string]any)
		if !ok {
			t.Fatalf("%s is taken for an object", text)
		}
		metadata := want["metadata"].(map[string]any)
		annotations, _ := metadata["annotations"].(map[string]any)
		if annotations == nil {
			annotations = map[string]any{}
		}
		delete(annotations, lastApplied)
		want["apiVersion"], want["kind"], metadata["managedFields"], metadata["annotations"] = "v1", "Pod", []any{}, annotations
		if diff := cmp.Diff(any(want), decoded(t, o.text)); diff != "" {
			t.Errorf("object (-want +have):\n%s", diff)
		}
		if o.name != metadata["name"] {
			t.Errorf("name = %q, want %q", o.name, metadata["name"])
		}
		for _, l := range o.labels {
			if metadata["labels"].(map[string]any)[l.key] != l.value {
				t.Errorf("label %q = %q", l.key, l.value)
			}
		}
	})
}

// FuzzStream reads lists and events that are not as they should be.
func FuzzStream(f *testing.F) {
	f.Add(`{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a"}}]}`)
	f.Add(`{"type":"ADDED","object":{"metadata":{"name":"a"}}}{"type":"ERROR","object":{"code":410}}{"type":"BOOKMARK","object":{}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := readPage(strings.NewReader(text), newObjectParser(pods)); err == nil && p.ResourceVersion == "" {
			t.Error("a list without a version is taken for one")
		}
		events := newEventStream(io.NopCloser(strings.NewReader(text)), newObjectParser(pods))
		for {
			typ, o, err := events.Decode()
			if err != nil {
				break
			}
			if made, ok := o.(*object); ok && typ != "BOOKMARK" && (made.name == "" || !json.Valid(made.text)) {
				t.Errorf("%s event with %+v", typ, made)
			}
		}
		_, _, _ = pick([]byte(text), schema.GroupVersion{Version: "v1"}, "Pod")
	})
}

// FuzzKubernetesPayload gives every operation whatever a guest may send.
func FuzzKubernetesPayload(f *testing.F) {
	for _, seed := range []string{
		`{"api_version":"v1","kind":"Pod","namespace":"x","label_selector":"a in (b)","field_selector":"metadata.name=a","field_masks":["spec.a",""]}`,
		`{"api_version":"v1","kind":"Pod","name":"a","namespace":"x","disable_cache":true}`,
		`{"subject_access_review":{"user":"a","groups":[],"resource_attributes":{"verb":"get","resource":"pods"}}}`,
		`{"api_version":"a/b/c","kind":"\u0000"}`, `[]`, `null`, `{"name":"../x"}`,
	} {
		f.Add(seed)
	}
	s := newAPIServer(f)
	s.put("pods", pod("x", "a", `"a":"b"`))
	s.review = `,"status":{"allowed":true}`
	h, _ := kubernetesHost(f, s)
	f.Fuzz(func(t *testing.T, payload string) {
		for _, operation := range []string{"list_resources_all", "list_resources_by_namespace", "get_resource", "can_i"} {
			answer, err := h.Call(t.Context(), call("kubernetes", operation, payload))
			if err == nil && !json.Valid(answer) {
				t.Errorf("%s %s = %s", operation, payload, answer)
			}
		}
	})
}
