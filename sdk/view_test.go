package sdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestViewReadsEveryType(t *testing.T) {
	v := View(json.RawMessage(` {"s": "a\u00e9b", "i": -42, "b": true, "f": false, "n": null, "o": {"x": {"y": "z"}}, "l": [1, "2", null]} `))
	if have := v.Get("s").String(); have != "aéb" {
		t.Errorf("string: have %q", have)
	}
	if have := v.Get("i").Int(); have != -42 {
		t.Errorf("integer: have %d", have)
	}
	if !v.Get("b").Bool() || v.Get("f").Bool() {
		t.Error("booleans: want true and false")
	}
	if have := v.Get("o", "x", "y").String(); have != "z" {
		t.Errorf("nested: have %q", have)
	}
	if have := string(v.Get("o").Raw()); have != `{"x": {"y": "z"}}` {
		t.Errorf("raw: have %s", have)
	}
	if a, b := v.Get("i").Scalar(), v.Get("s").Scalar(); a != "-42" || b != "aéb" {
		t.Errorf("scalars: have %q and %q", a, b)
	}
	var list []string
	for i, e := range v.Get("l").Elements() {
		list = append(list, fmt.Sprintf("%d=%s", i, e.Raw()))
	}
	if want := []string{"0=1", `1="2"`, "2="}; !slices.Equal(list, want) {
		t.Errorf("elements: have %q, want %q", list, want)
	}
	var names []string
	for name, m := range v.Members() {
		names = append(names, fmt.Sprintf("%s:%t", name, m.Exists()))
	}
	if want := []string{"s:true", "i:true", "b:true", "f:true", "n:false", "o:true", "l:true"}; !slices.Equal(names, want) {
		t.Errorf("members: have %q, want %q", names, want)
	}
	if err := v.Err(); err != nil {
		t.Errorf("everything had its type, but Err is %v", err)
	}
}

func TestAbsentIsNoMistake(t *testing.T) {
	for _, text := range []string{``, ` `, `null`, `{}`, `{"a": null}`} {
		v := View(json.RawMessage(text))
		below := v.Get("a", "b", "c")
		for range below.Elements() {
			t.Errorf("%q: an element of nothing", text)
		}
		for range below.Members() {
			t.Errorf("%q: a member of nothing", text)
		}
		for range below.Containers() {
			t.Errorf("%q: a container of nothing", text)
		}
		if below.Exists() || below.Bool() || below.String() != "" || below.Int() != 0 || below.Scalar() != "" || below.Raw() != nil {
			t.Errorf("%q: something below nothing", text)
		}
		var target any = "untouched"
		if err := below.Decode(&target); err != nil || target != "untouched" {
			t.Errorf("%q: Decode = %v, target %v", text, err, target)
		}
		if below.Path() != "" || below.Pointer() != "" {
			t.Errorf("%q: nothing is at %q", text, below.Path())
		}
		if err := v.Err(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	var zero Value
	if zero.Exists() || zero.Get("a").Exists() || zero.Err() != nil || zero.Path() != "" {
		t.Error("the zero Value is something")
	}
}

func TestWrongTypesAreRemembered(t *testing.T) {
	const text = `{"a": {"b": [1.5, "x", {"c": true}]}, "weird key": 1, "big": 9223372036854775808}`
	tests := []struct {
		name string
		use  func(v Value)
		want string
	}{
		{"member of a list", func(v Value) { v.Get("a", "b", "c") }, "a.b: want an object, have a list"},
		{"elements of an object", func(v Value) {
			for range v.Get("a").Elements() {
				panic("an element")
			}
		}, "a: want a list, have an object"},
		{"members of a number", func(v Value) {
			for range v.Get("weird key").Members() {
				panic("a member")
			}
		}, `["weird key"]: want an object, have a number`},
		{"boolean", func(v Value) { v.Get("a").Bool() }, "a: want a boolean, have an object"},
		{"string", func(v Value) { _ = v.Get("weird key").String() }, `["weird key"]: want a string, have a number`},
		{"scalar", func(v Value) { v.Get("a").Scalar() }, "a: want a string, have an object"},
		{"integer of a string", func(v Value) { second(v).Int() }, "a.b[1]: want a number, have a string"},
		{"integer with a fraction", func(v Value) { first(v).Int() }, "a.b[0]: want an integer, have 1.5"},
		{"integer of 65 bits", func(v Value) { v.Get("big").Int() }, "big: want an integer, have 9223372036854775808"},
		{"the first one counts", func(v Value) { second(v).Bool(); v.Get("a").Bool() }, "a.b[1]: want a boolean, have a string"},
	}
	for _, tt := range tests {
		v := View(json.RawMessage(text))
		tt.use(v)
		err := v.Get("nothing").Err() // any Value of the document knows it
		var wrong *TypeError
		if err == nil || err.Error() != tt.want || !errors.As(err, &wrong) {
			t.Errorf("%s: have %v, want %s", tt.name, err, tt.want)
		}
	}
	top := View(json.RawMessage(`[]`))
	top.Get("a")
	if err := top.Err(); err == nil || err.Error() != "document: want an object, have a list" {
		t.Errorf("top: have %v", err)
	}
}

func first(v Value) Value  { return element(v, 0) }
func second(v Value) Value { return element(v, 1) }

func element(v Value, want int) (found Value) {
	for i, e := range v.Get("a", "b").Elements() {
		if i == want {
			found = e
		}
	}
	return found
}

func TestDecodeNamesThePlace(t *testing.T) {
	v := View(json.RawMessage(`{"a": [{"n": "x"}]}`))
	for _, e := range v.Get("a").Elements() {
		var target struct{ N int }
		err := e.Decode(&target)
		if err == nil || !strings.HasPrefix(err.Error(), "a[0]: ") {
			t.Errorf("have %v, want an error that starts with a[0]", err)
		}
		var right struct{ N string }
		if err := e.Decode(&right); err != nil || right.N != "x" {
			t.Errorf("have %v, %q", err, right.N)
		}
	}
}

func TestTheLastOfTwoMembersCounts(t *testing.T) {
	v := View(json.RawMessage(`{"a": 1, "\u0061": 2, "b": {"c": 1}, "b": null}`))
	if have := v.Get("a").Int(); have != 2 {
		t.Errorf("have %d, want 2", have)
	}
	if v.Get("b", "c").Exists() {
		t.Error("b is null in the end, but has a member")
	}
}

func TestPathsAreReadByPeople(t *testing.T) {
	v := View(json.RawMessage(`{"metadata": {"labels": {"app.kubernetes.io/name": "x", "a~b": ""}}, "spec": {"c_1": [[0, {"": 1}]]}}`))
	tests := []struct {
		at            Value
		path, pointer string
	}{
		{v, "", ""},
		{v.Get("metadata", "labels", "app.kubernetes.io/name"), `metadata.labels["app.kubernetes.io/name"]`, "/metadata/labels/app.kubernetes.io~1name"},
		{v.Get("metadata", "labels", "a~b"), `metadata.labels["a~b"]`, "/metadata/labels/a~0b"},
		{v.Get("spec", "c_1"), "spec.c_1", "/spec/c_1"},
	}
	for _, e := range v.Get("spec", "c_1").Elements() {
		for _, inner := range e.Elements() {
			if inner.is("an object") {
				tests = append(tests, struct {
					at            Value
					path, pointer string
				}{inner.Get(""), `spec.c_1[0][1][""]`, "/spec/c_1/0/1/"})
			}
		}
	}
	if len(tests) != 5 {
		t.Fatal("the walk did not find the last value")
	}
	for _, tt := range tests {
		if tt.at.Path() != tt.path || tt.at.Pointer() != tt.pointer {
			t.Errorf("have %s and %s, want %s and %s", tt.at.Path(), tt.at.Pointer(), tt.path, tt.pointer)
		}
	}
}

// walk visits every value with the steps that lead to it.
func walk(v Value, way []any, visit func(v Value, way []any)) {
	visit(v, way)
	if !v.Exists() {
		return
	}
	switch typeOf(v.raw) {
	case "an object":
		for name, m := range v.Members() {
			walk(m, append(way[:len(way):len(way)], name), visit)
		}
	case "a list":
		for i, e := range v.Elements() {
			walk(e, append(way[:len(way):len(way)], i), visit)
		}
	}
}

// checkWalk compares what a walk of the document finds with encoding/json: each
// value by its way, its pointer, and what decoding its own text gives.
func checkWalk(t *testing.T, text []byte) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber()
	var whole any
	if err := dec.Decode(&whole); err != nil {
		t.Fatal(err)
	}
	top := View(text)
	walk(top, nil, func(v Value, way []any) {
		want, pointer, path := whole, "", ""
		for _, s := range way {
			switch s := s.(type) {
			case string:
				want, pointer = want.(map[string]any)[s], pointer+"/"+EscapePointer(s)
				switch {
				case !regexp.MustCompile(`^\w+$`).MatchString(s):
					path += "[" + strconv.Quote(s) + "]"
				case path == "":
					path = s
				default:
					path += "." + s
				}
			case int:
				want, pointer = want.([]any)[s], pointer+"/"+strconv.Itoa(s)
				path += "[" + strconv.Itoa(s) + "]"
			}
		}
		if !v.Exists() {
			if want != nil {
				t.Fatalf("%s: %s is absent, want %v", text, pointer, want)
			}
			return
		}
		if v.Pointer() != pointer || v.Path() != path {
			t.Fatalf("%s: a value at %s says that it is at %s, %s", text, pointer, v.Pointer(), v.Path())
		}
		have := any(nil)
		dec := json.NewDecoder(strings.NewReader(string(v.Raw())))
		dec.UseNumber()
		if err := dec.Decode(&have); err != nil || !reflect.DeepEqual(have, want) {
			t.Fatalf("%s: %s is %v (%v), want %v", text, pointer, have, err, want)
		}
	})
	if err := top.Err(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

func TestEveryValueKnowsWhereItIs(t *testing.T) {
	checkWalk(t, podJSON(t))
	for _, doc := range documents() {
		if json.Valid([]byte(doc)) && !strings.Contains(doc, `"a":1,"a":2`) {
			checkWalk(t, []byte(doc))
		}
	}
	random := newRandomJSON(3)
	for range 500 {
		checkWalk(t, []byte(random.document(4)))
	}
}

// A request's objects are pieces of a larger text: a path must not count from
// its start.
func TestPathsStartAtTheObjectOfARequest(t *testing.T) {
	text := `{"uid":"u","kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},` +
		`"operation":"CREATE","userInfo":{},"object": {"spec":{"containers":[{"image":"a"},{"image":"b"}]}},"oldObject":{"spec":1}}`
	req, err := ParseRequest(json.RawMessage(text))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := req.PodSpec()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for c := range spec.Containers() {
		paths = append(paths, c.Get("image").Path())
	}
	if want := []string{"spec.containers[0].image", "spec.containers[1].image"}; !slices.Equal(paths, want) {
		t.Errorf("have %q, want %q", paths, want)
	}
}

func TestPodSpecFindsThePodOfEveryKind(t *testing.T) {
	tests := map[string]string{
		"Pod":                   `{"spec": {"x": 1}}`,
		"Deployment":            `{"spec": {"template": {"spec": {"x": 1}}}}`,
		"ReplicaSet":            `{"spec": {"template": {"spec": {"x": 1}}}}`,
		"StatefulSet":           `{"spec": {"template": {"spec": {"x": 1}}}}`,
		"DaemonSet":             `{"spec": {"template": {"spec": {"x": 1}}}}`,
		"ReplicationController": `{"spec": {"template": {"spec": {"x": 1}}}}`,
		"Job":                   `{"spec": {"template": {"spec": {"x": 1}}}}`,
		"CronJob":               `{"spec": {"jobTemplate": {"spec": {"template": {"spec": {"x": 1}}}}}}`,
	}
	for kind, object := range tests {
		req := &Request{Kind: GroupVersionKind{Kind: kind}, Object: json.RawMessage(object)}
		spec, err := req.PodSpec()
		if err != nil || spec.Get("x").Int() != 1 {
			t.Errorf("%s: %v, %s", kind, err, spec.Raw())
		}
		if have, want := spec.Path(), strings.Join(PodTemplatePath(kind), "."); have != want {
			t.Errorf("%s: path %q, want %q", kind, have, want)
		}
		req.Object = nil
		if spec, err := req.PodSpec(); err != nil || spec.Exists() {
			t.Errorf("%s without an object: %v, %s", kind, err, spec.Raw())
		}
		req.Object = json.RawMessage(`{"spec": []}`)
		var wrong *TypeError
		if spec, err := req.PodSpec(); !errors.As(err, &wrong) || spec.Exists() {
			t.Errorf("%s with a list for a spec: %v, want a *TypeError", kind, err)
		}
	}
	_, err := (&Request{Kind: GroupVersionKind{Kind: "Service"}, Object: json.RawMessage(`{}`)}).PodSpec()
	if !errors.Is(err, ErrNoPodSpec) || !strings.Contains(err.Error(), `have "Service"`) {
		t.Errorf("Service: %v, want ErrNoPodSpec", err)
	}
	if PodTemplatePath("Service") != nil {
		t.Error("a Service has a pod template")
	}
}

func TestContainersYieldsTheListsAskedFor(t *testing.T) {
	spec := View(json.RawMessage(`{"containers": ["c0", "c1"], "initContainers": ["i0"], "ephemeralContainers": ["e0"]}`))
	collect := func(lists ...string) (names []string) {
		for c := range spec.Containers(lists...) {
			names = append(names, c.String())
		}
		return names
	}
	if have := collect(); !slices.Equal(have, []string{"i0", "c0", "c1", "e0"}) {
		t.Errorf("all: have %q", have)
	}
	if have := collect("ephemeralContainers", "containers"); !slices.Equal(have, []string{"e0", "c0", "c1"}) {
		t.Errorf("two lists: have %q", have)
	}
	for c := range spec.Containers() {
		if c.String() != "i0" {
			t.Errorf("the loop went on to %s", c.Raw())
		}
		break
	}
}

func TestViewOfAPodAllocatesLittle(t *testing.T) {
	text := podJSON(t)
	n := testing.AllocsPerRun(10, func() {
		for c := range View(text).Get("spec").Containers() {
			c.Get("securityContext", "privileged").Bool()
		}
	})
	if n > 2 {
		t.Errorf("%v allocations, want at most 2", n)
	}
}

// Text that is not JSON reads as absent where it is broken; nothing panics.
func FuzzView(f *testing.F) {
	for _, doc := range documents() {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if json.Valid(text) && len(text) < 1000 && !hasTwins(text) {
			checkWalk(t, text)
			return
		}
		if len(text) > 1000 {
			return
		}
		walk(View(text), nil, func(v Value, _ []any) {
			_, _, _, _, _ = v.Bool(), v.String(), v.Int(), v.Scalar(), v.Path()
			_ = v.Get("a", "b").Pointer()
		})
	})
}

// hasTwins reports whether an object of the document has a name twice:
// encoding/json keeps the last value alone, a walk yields both.
func hasTwins(text []byte) (twins bool) {
	walk(View(text), nil, func(v Value, _ []any) {
		if !v.Exists() || typeOf(v.raw) != "an object" {
			return
		}
		seen := map[string]bool{}
		for name := range v.Members() {
			twins = twins || seen[name]
			seen[name] = true
		}
	})
	return twins
}
