package rego

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/warder-dev/warder/runtime/internal/guest"
	"github.com/warder-dev/warder/sdk"
)

// interpreter is a policy in OPA's own interpreter.
type interpreter struct {
	flavour Flavour
	query   rego.PreparedEvalQuery
}

func interpret(t testing.TB, s source, data map[string]any) interpreter {
	t.Helper()
	q, err := rego.New(
		rego.Query("data."+strings.ReplaceAll(s.entrypoint(), "/", ".")),
		rego.Module("policy.rego", "package policy\n"+s.text),
		rego.Store(inmem.NewFromObject(data)),
	).PrepareForEval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return interpreter{s.flavour, q}
}

// result is what the interpreter says, in the form of the compiled policy.
func (i interpreter) result(ctx context.Context, input []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(input))
	d.UseNumber()
	var document any
	if err := d.Decode(&document); err != nil {
		return nil, err
	}
	set, err := i.query.Eval(ctx, rego.EvalInput(document))
	if err != nil || len(set) == 0 {
		return []byte("[]"), err
	}
	return json.Marshal([]any{map[string]any{"result": set[0].Expressions[0].Value}})
}

// normal is a result that can be compared: the lists in violations may be sets,
// whose order in the compiled policy is another.
func (i interpreter) normal(t testing.TB, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var all any
	if err := d.Decode(&all); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if i.flavour == Gatekeeper {
		sortLists(all)
	}
	return all
}

func sortLists(value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, inner := range v {
			sortLists(inner)
		}
	case []any:
		for _, inner := range v {
			sortLists(inner)
		}
		slices.SortFunc(v, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
}

// pair is a policy in both forms.
type pair struct {
	interpreter interpreter
	program     *Program
}

func pairOf(t testing.TB, s source, settings string) pair {
	t.Helper()
	data := map[string]any{}
	if s.flavour == OPA && settings != "" {
		if err := json.Unmarshal([]byte(settings), &data); err != nil {
			t.Fatal(err)
		}
	}
	opts := Options{ProgramOptions: guest.ProgramOptions{Settings: json.RawMessage(settings), Instances: 1}}
	return pair{interpret(t, s, data), program(t, s, opts)}
}

// compare demands that both say the same, and returns it.
func (p pair) compare(t testing.TB, req *sdk.Request) string {
	t.Helper()
	input, err := p.program.opts.Flavour.input(req, p.program.opts.Settings)
	if err != nil {
		t.Fatal(err)
	}
	want, wantErr := p.interpreter.result(bounded(t), input)
	got, err := p.program.ask(bounded(t), input)
	if wantErr != nil || err != nil {
		t.Fatalf("%s:\nerror %v\ninterpreter's error %v", input, err, wantErr)
	}
	if diff := cmp.Diff(p.interpreter.normal(t, want), p.interpreter.normal(t, got)); diff != "" {
		t.Errorf("%s: (-interpreter +compiled)\n%s", input, diff)
	}
	v, err := p.program.Evaluate(bounded(t), req)
	if err != nil {
		return err.Error()
	}
	return string(v.AppendJSON(nil))
}

// policies are of varied shape: what policies in the field do, and what differs
// most between OPA's compiler and its interpreter.
func policies() map[string]source {
	return map[string]source{
		"privileged": privileged,
		"required labels": {Gatekeeper, `
violation contains {"msg": msg, "details": {"missing_labels": missing}} if {
	provided := {label | input.review.object.metadata.labels[label]}
	required := {label | label := input.parameters.labels[_].key}
	missing := required - provided
	count(missing) > 0
	msg := sprintf("you must provide labels: %v", [missing])
}

violation contains {"msg": msg} if {
	some expected in input.parameters.labels
	value := input.review.object.metadata.labels[expected.key]
	not regex.match(expected.allowedRegex, value)
	msg := sprintf("label <%v: %v> does not satisfy %q", [expected.key, value, expected.allowedRegex])
}`},
		"allowed repositories": {Gatekeeper, `
containers contains c if some c in input.review.object.spec.containers
containers contains c if some c in input.review.object.spec.initContainers

violation contains {"msg": sprintf("container <%v> has an invalid image repo <%v>", [c.name, c.image])} if {
	some c in containers
	satisfied := [good | some repo in input.parameters.repos; good = startswith(c.image, repo)]
	not any_true(satisfied)
}

any_true(list) if list[_] == true`},
		"limits": {Gatekeeper, `
violation contains {"msg": msg} if {
	some i, c in input.review.object.spec.containers
	bytes := units.parse_bytes(c.resources.limits.memory)
	bytes > units.parse_bytes(input.parameters.memory)
	msg := sprintf("containers[%d] %s: %v > %v", [i, c.name, c.resources.limits.memory, input.parameters.memory])
}

violation contains {"msg": sprintf("containers[%d] has no memory limit", [i])} if {
	some i
	input.review.object.spec.containers[i]
	not input.review.object.spec.containers[i].resources.limits.memory
}`},
		"updates": {Gatekeeper, `
violation contains {"msg": sprintf("%s changed from %v to %v", [name, old, new])} if {
	input.review.operation == "UPDATE"
	some name, old in input.review.oldObject.metadata.labels
	new := object.get(input.review.object.metadata.labels, name, "nothing")
	new != old
}

violation contains {"msg": "numbers"} if {
	some n in input.review.object.numbers
	is_number(n)
	n * 2 > 10
}`},
		"walk": {Gatekeeper, `
violation contains {"msg": sprintf("%s: %v", [concat(".", [sprintf("%v", [p]) | some p in path]), value])} if {
	[path, value] := walk(input.review.object)
	is_string(value)
	lower(value) == value
	contains(value, "secret")
}`},
		"everything": {Gatekeeper, `
violation contains {"msg": sprintf("%v", [input.review.object])}

violation contains {"msg": sprintf("%v", [json.unmarshal(json.marshal(input.review.object))])} if {
	is_object(input.review.object)
}

violation contains {"msg": yaml.marshal(input.review.object), "is": type_name(input.review.object)}`},
		"allow": {OPA, `
default allow := false

allow if {
	every c in input.request.object.spec.containers {
		semver_of(c.image)
	}
}

semver_of(image) if semver.is_valid(split(image, ":")[1])

main := {"response": {"uid": input.request.uid, "allowed": allow, "status": {"message": message}}}

message := concat(", ", sort([c.image | some c in input.request.object.spec.containers; not semver_of(c.image)]))`},
		"settings": {OPA, `
import data.denied as denied

main := {"response": {
	"uid": input.request.uid,
	"allowed": count(bad) == 0,
	"status": {"message": sprintf("denied: %s", [concat(", ", sort(bad))]), "code": object.get(data.codes, "denied", 403)},
}}

bad contains name if {
	some name, _ in input.request.object.metadata.labels
	some d in denied
	glob.match(d, [], name)
}`},
		"mutation": {OPA, `
main := {"response": object.union({"uid": input.request.uid, "allowed": true}, patch)}

default patch := {}

patch := {"patchType": "JSONPatch", "patch": base64.encode(json.marshal(ops))} if count(ops) > 0

ops contains {"op": "add", "path": "/metadata/labels", "value": {"made-by": input.request.operation}} if {
	not input.request.object.metadata.labels
	input.request.object.metadata
}`},
		"reasons": {OPA, `
main := {"response": {"uid": "", "allowed": count(deny) == 0, "warnings": sort([w | some w in deny])}}

deny contains sprintf("%s runs as root (%v)", [c.name, c.securityContext.runAsUser]) if {
	some c in input.request.object.spec.containers
	c.securityContext.runAsUser == 0
}

deny contains msg if {
	some name, value in input.request.object.metadata.annotations
	decoded := base64.decode(value)
	json.is_valid(decoded)
	msg := sprintf("%s holds %s", [name, json.unmarshal(decoded)])
}

deny contains trim_space(upper(x)) if {
	some x in array.concat(input.request.object.words, ["x"])
	not x == "x"
	re := regex.find_n("[a-z]+", x, -1)
	count(re) > 1
}`},
		"recursion by hand": {OPA, `
main := {"response": {"uid": "", "allowed": total <= 100, "status": {"message": sprintf("%v of %v", [total, parts])}}}

parts := {name: value |
	some name, value in input.request.object.sizes
	is_number(value)
}

default total := 0

total := sum([v | some v in parts])`},
	}
}

// objects are documents for the policies above.
func objects() []string {
	return []string{
		`{}`, `null`, `[]`, `"x"`, `1.50`, `[1,1.0,10,1e1,-0,0.1]`, twoPrivileged,
		`{"metadata":{"labels":{"team":"a","owner":"UPPER"},"annotations":{"a":"eyJiIjoxfQ==","b":"%"}}}`,
		`{"metadata":{"name":"x"},"words":["ab cd","x","é ü a b","a\u0000b c"],"numbers":[1,5.5,6,"7",1e3]}`,
		`{"spec":{"containers":[{"name":"a","image":"r.io/a:1.2.3","resources":{"limits":{"memory":"2Gi"}},"securityContext":{"runAsUser":0}},
			{"name":"b","image":"b:latest","resources":{"limits":{"memory":"64Mi"}}},{"image":5}],"initContainers":[{"name":"i","image":"evil/i"}]}}`,
		`{"spec":{"containers":{"a":{"name":"in an object","image":"a:1"}}}}`,
		`{"sizes":{"a":1,"b":99.5,"c":"x","d":1e2},"deep":{"list":[["a secret"],{"secret":"my secret"}]}}`,
		"{\"odd\":\"\\u0000\\u0007\\b\\u001b\\u007f\\u00a0\\u200b\\u2028\\ud83d\\ude00 secret\",\"<&>\":\"'\\\"\\\\\"}",
		`{"big":123456789012345678901234567890,"tiny":1e-9,"exp":1E+2,"neg":-0.0}`,
	}
}

// settingsFor are settings that the policies above know.
const settingsFor = `{"labels":[{"key":"team","allowedRegex":"^[a-z]+$"},{"key":"owner","allowedRegex":"^[a-z]+$"}],
	"repos":["r.io/","x/"],"memory":"1Gi","exemptImages":["y/"],"denied":["te*","own?r"],"codes":{"denied":451}}`

// old is what objects were before.
const old = `{"metadata":{"labels":{"team":"b","gone":"x"}}}`

func TestCompiledPoliciesSayWhatTheInterpreterSays(t *testing.T) {
	for name, s := range policies() {
		t.Run(name, func(t *testing.T) {
			said := map[string]bool{}
			for _, settings := range []string{"", settingsFor} {
				p := pairOf(t, s, settings)
				for _, object := range objects() {
					req := request(object)
					said[p.compare(t, req)] = true
					req.Operation, req.OldObject = sdk.Update, json.RawMessage(old)
					said[p.compare(t, req)] = true
				}
			}
			if len(said) < 2 {
				t.Errorf("always says %v: nothing is compared", said)
			}
		})
	}
}

// What a compiled policy says of any document is what the interpreter says.
func FuzzCompiledPolicies(f *testing.F) {
	var pairs []pair
	for _, s := range policies() {
		pairs = append(pairs, pairOf(f, s, settingsFor))
	}
	for _, object := range objects() {
		f.Add([]byte(object))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		if len(object) > 4<<10 {
			return
		}
		// The API server's encoder leaves no half of a surrogate pair and nothing
		// that is not UTF-8, of which a compiled policy aborts.
		d := json.NewDecoder(bytes.NewReader(object))
		d.UseNumber()
		var document any
		if d.Decode(&document) != nil {
			return
		}
		object, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pairs {
			p.compare(t, request(string(object)))
		}
	})
}
