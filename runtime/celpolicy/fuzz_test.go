package celpolicy

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	k8sjson "k8s.io/apimachinery/pkg/util/json"
	apiserver "k8s.io/apiserver/pkg/apis/cel"

	"github.com/warder-dev/warder/runtime/native"
	"github.com/warder-dev/warder/sdk"
)

// answers is a host with an answer to everything.
func answers() sdk.Host {
	return hostFunc(func(_ context.Context, call sdk.HostCall) ([]byte, error) {
		return []byte(map[string]string{
			"kubernetes": `{"kind":"List","metadata":{"name":"shop","labels":{"team":"a"}},"items":[{"metadata":{"name":"x"},"data":{"max":"4"}}],"data":{"max":"3"}}`,
			"oci":        `{"digest":"sha256:00","manifest":{"schemaVersion":2},"config":{"architecture":"amd64"},"is_trusted":true}`,
			"net":        `{"ips":["10.0.0.1"]}`,
			"crypto":     `{"trusted":true,"reason":""}`,
		}[call.Namespace]), nil
	})
}

// FuzzSettings looks for settings on which the policy panics: they come from
// whoever may create a policy in some namespace.
func FuzzSettings(f *testing.F) {
	for _, seed := range []string{
		benchSettings, `{}`, `null`, `[]`, `{"validations":[{}]}`,
		`{"validations":[{"expression":"kw.k8s.apiVersion('v1').kind('Pod').list().items.size() == 0","messageExpression":"''","reason":"Forbidden"}],"failurePolicy":"Ignore"}`,
		`{"variables":[{"name":"a","expression":"kw.sigstore.image('i')"},{"name":"b","expression":"variables.a.pubKey('k').verify()"}],"validations":[{"expression":"variables.b.isTrusted()"}]}`,
		`{"paramKind":{"apiVersion":"v1","kind":"ConfigMap"},"paramRef":{"selector":{"matchLabels":{"a":"b"}},"parameterNotFoundAction":"Deny"},"validations":[{"expression":"params.data.max == '4'"}]}`,
		`{"paramKind":{"apiVersion":"v1","kind":"ConfigMap"},"paramRef":{"name":"x","parameterNotFoundAction":"Allow"},"validations":[{"expression":"params.data.max == namespaceObject.metadata.name"}]}`,
	} {
		f.Add(seed)
	}
	req := benchPod(f)
	f.Fuzz(func(t *testing.T, settings string) {
		p, err := native.New(Policy(), json.RawMessage(settings), answers())
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without text")
			}
			return
		}
		if v, err := p.Evaluate(t.Context(), req); err == nil && v.Accepted != (v.Code == 0) {
			t.Errorf("accepted %t with the code %d", v.Accepted, v.Code)
		}
	})
}

// FuzzExpressions holds expressions of one program to what each is worth and
// costs in a program of its own, made by CEL.
func FuzzExpressions(f *testing.F) {
	for _, seed := range [][2]string{
		{"object.kind == 'Pod'", "object.spec.containers.map(c, c.image)"},
		{"variables.a.exists(c, c.name == 'web') ? 1 : 2", "has(variables.a)"},
		{"object.?spec.?nothing.orValue(3) + 4", "optional.of(1).or(optional.none()).value()"},
		{"sets.contains([1, 2, 3], [2]) && [3, 1, 2].sort() == [1, 2, 3]", "[[1], [2]].flatten().distinct().reverse()"},
		{"cel.bind(x, object.metadata, x.name + x.namespace)", "'%d-%s'.format([1, 'a'])"},
		{"object.metadata.labels.all(k, v, v != '')", "object.spec.containers.transformMap(i, c, c.name)"},
		{"1 / 0 == 1 || true", "request.object.spec == object.spec && request.userInfo.groups == ['dev']"},
		{"'abc'.matches('a.c') && 'abc'.find('b') == 'b'", "quantity(object.spec.containers[0].resources.limits.memory).isGreaterThan(quantity('1Mi'))"},
		{"object", "{'a': [1.5, 2], 'b': null}"}, {"lists.range(500).all(i, i < 0 || i >= 0)", "timestamp('2030-01-01T00:00:00Z') > timestamp('2020-01-01T00:00:00Z')"},
		{"[1, 2, 3].all(x, [4, 5].exists(y, x < y && [y].all(z, z == y))) ? [1].map(x, x) : []", "[0, 1, 2].exists(x, 1 / x == 1 || x == 2)"},
		{"[1, 2, 3, 4].filter(x, x % 2 == 0).map(x, x * x)", "{'a': 1, 'b': 2}.exists_one(k, v, v == 1 || k == 'c')"},
		{"[1, 2].map(x, x > 1, cel.bind(y, x + 1, [y, y].map(z, z + x)))", "object.spec.containers.map(c, c.env.map(e, e.name + c.name))"},
		{"type(object.spec) == map && size(object.spec) > 1", "dyn(object.metadata) in [object.metadata]"},
	} {
		f.Add(seed[0], seed[1])
	}
	c := newComparison(f)
	f.Fuzz(func(t *testing.T, a, b string) { c.check(t, a, b) })
}

// comparison compares expressions of one program with programs of their own.
type comparison struct {
	req     *sdk.Request
	decoded any // the object
}

func newComparison(tb testing.TB) comparison {
	tb.Helper()
	c := comparison{req: benchPod(tb)}
	if err := k8sjson.Unmarshal(c.req.Object, &c.decoded); err != nil {
		tb.Fatal(err)
	}
	return c
}

// check reports whether the expressions compile, and fails when they differ.
func (x comparison) check(t *testing.T, a, b string) bool {
	t.Helper()
	places := &places{}
	c, err := newCompiler(&Settings{}, places)
	if err != nil {
		t.Fatal(err)
	}
	variable, of := c.expression("variable", "object.spec.containers", nil)
	c.known.fields["a"] = &types.FieldType{Type: of}
	c.expression("a", a, nil)
	c.expression("b", b, nil)
	if places.err() != nil {
		return false
	}
	r := &rules{names: map[string]int{"a": 0}, variables: []expression{variable}, program: c.program()}
	if r.program == nil {
		return false // a regular expression that is none
	}
	fresh := func() *evaluation {
		return &evaluation{ctx: t.Context(), rules: r, req: x.req, variables: make([]ref.Val, 1), budget: math.MaxInt64}
	}
	for at, one := range c.checked {
		// The evaluation that it is compared with has the object decoded.
		eager := fresh()
		eager.object = types.DefaultTypeAdapter.NativeToValue(x.decoded)
		alone, err := c.base.PlanProgram(one.ast, cel.InterruptCheckFrequency(apiserver.CheckFrequency))
		if err != nil {
			t.Fatalf("%q: %v", one.text, err)
		}
		want, details, wantErr := alone.ContextEval(t.Context(), eager)
		have, cost, err := r.program.evaluate(t.Context(), at, fresh())
		if fmt.Sprint(err) != fmt.Sprint(wantErr) || cost != *details.ActualCost() || !same(have, want) {
			t.Errorf("%q: have %v, %v for %d, want %v, %v for %d", one.text, have, err, cost, want, wantErr, *details.ActualCost())
		}
	}
	return true
}

// same says whether two values are the same. NaN is the same as NaN.
func same(a, b ref.Val) bool {
	if a == nil || b == nil || types.IsUnknownOrError(a) {
		return true // compared as errors
	}
	return reflect.DeepEqual(a.Type().TypeName(), b.Type().TypeName()) && (a.Equal(b) == types.True || a.Equal(a) != types.True)
}

// FuzzDocument holds our reading of JSON to the API server's.
func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		string(benchPod(f).Object), `{"a":null,"b":[1,-0,1.0,1e3,9223372036854775807,9223372036854775808,true,"x\u00e9\ud83d\ude00"],"a":{}}`, `null`, `"a"`, `[[],[{}]]`, ` {"" : 0.1e-7 } `,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want any
		if sdk.Check([]byte(text)) != nil || k8sjson.Unmarshal([]byte(text), &want) != nil {
			_ = fromJSON([]byte(text))
			return
		}
		if have := plain(fromJSON([]byte(text))); !reflect.DeepEqual(have, want) {
			t.Errorf("%q: have %#v, want %#v", text, have, want)
		}
	})
}

// plain is a value as encoding/json would have it.
func plain(v ref.Val) any {
	switch v := v.(type) {
	case traits.Mapper:
		m := map[string]any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			m[string(key.(types.String))] = plain(v.Get(key))
		}
		return m
	case traits.Lister:
		l := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			l = append(l, plain(it.Next()))
		}
		return l
	case types.Null:
		return nil
	}
	return v.Value()
}
