package engine

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// randomJSON is a value with all sorts of spellings, and names that expansion
// looks for.
func randomJSON(r *rand.Rand, depth int) string {
	names := []string{"metadata", "spec", "template", "labels", "annotations", "name", "namespace", "generateName", "ownerReferences",
		"controller", `n\u0061me`, "a/b", "~", "", "é", "jobTemplate", "containers"}
	scalars := []string{"1.0", "1e3", "-0", "18446744073709551616", `"x"`, `"\u00e9\/"`, "null", "true", "false", `""`}
	space := []string{"", "", " ", "\n\t"}
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	kind := r.IntN(10)
	if depth == 0 || kind < 2 {
		return pick(scalars)
	}
	var parts []string
	for range r.IntN(5) {
		value := pick(space) + randomJSON(r, depth-1) + pick(space)
		if kind > 3 {
			value = pick(space) + `"` + pick(names) + `"` + pick(space) + ":" + value
		}
		parts = append(parts, value)
	}
	if kind > 3 {
		return "{" + pick(space) + strings.Join(parts, ",") + "}"
	}
	return "[" + pick(space) + strings.Join(parts, ",") + "]"
}

// randomTemplate is a pod template as a rule.
func randomTemplate(r *rand.Rand) string {
	parts := []string{`"spec":` + randomJSON(r, 4), `"x":` + randomJSON(r, 2)}
	if r.IntN(4) > 0 {
		parts = append(parts, `"metadata":`+randomJSON(r, 3))
	}
	r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	return "{" + strings.Join(parts, " , ") + "}"
}

// checkRoundTrip expands an object, and fails when what a policy that changes
// nothing, or one annotation, leaves of it is not just that.
func checkRoundTrip(t testing.TB, req *sdk.Request, way []string) (expanded bool) {
	t.Helper()
	x := expand(req, way)
	if x.pod == nil {
		return false
	}
	if err := sdk.Check(x.pod.Object); err != nil {
		t.Fatalf("the pod of %s is %s: %v", req.Object, x.pod.Object, err)
	}
	judged := func(v sdk.Verdict) Decision {
		resp, err := review.FromVerdict(x.pod, v)
		if err != nil {
			t.Fatalf("%s: %v", x.pod.Object, err)
		}
		d := x.moved(&entry{policy: policy.Policy{ID: "p", AllowedToMutate: true}}, req, Decision{Response: resp})
		if d.Err != nil || d.Response.Warnings != nil {
			t.Fatalf("%s: %v, %q", req.Object, d.Err, d.Response.Warnings)
		}
		return d
	}
	if d := judged(sdk.Mutate(append(append(json.RawMessage(" "), x.pod.Object...), '\n'))); d.Response.Patch != nil {
		t.Fatalf("%s: a change that is none gives %s", req.Object, d.Response.Patch)
	}
	const mark = "\u2713 marked"
	metadata := sdk.View(req.Object).Get(way...).Get("metadata")
	for name := range metadata.Members() {
		if name == "annotations" { // it is not one addition then
			return true
		}
	}
	var set sdk.Patch
	set.Set("/metadata/annotations", map[string]string{mark: "1.0"})
	d := judged(sdk.Verdict{Accepted: true, Patch: set})
	var ops sdk.Patch
	if err := json.Unmarshal(d.Response.Patch, &ops); err != nil || len(ops) != 1 {
		t.Fatalf("%s: an annotation gives the patch %s, want one operation", req.Object, d.Response.Patch)
	}
	if have := sdk.View(d.mutated).Get(way...).Get("metadata", "annotations", mark).String(); have != "1.0" {
		t.Fatalf("%s became %s, where the annotation is %q", req.Object, d.mutated, have)
	}
	before, after := strings.Trim(string(req.Object), " \t\r\n"), string(d.mutated)
	if metadata.Exists() && !isInserted(before, after) {
		t.Fatalf("%s became %s, where more is different than the annotation", before, after)
	}
	return true
}

// isInserted reports whether after is before with something put in at one place.
func isInserted(before, after string) bool {
	same := 0
	for same < len(before) && same < len(after) && before[same] == after[same] {
		same++
	}
	return strings.HasSuffix(after, before[same:])
}

func TestRandomWorkloadsComeBackAsTheyWere(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	count := 0
	for range 20000 {
		k := workloadKinds()[r.IntN(len(workloadKinds()))]
		req := k.create(t, randomTemplate(r))
		if r.IntN(2) == 0 {
			req.Operation, req.OldObject = sdk.Update, json.RawMessage(randomJSON(r, 5))
		}
		if checkRoundTrip(t, req, strings.Split(k.way, ".")) {
			count++
		}
	}
	if count < 2000 {
		t.Errorf("%d of the objects had a pod template, want at least 2000", count)
	}
}

func FuzzExpand(f *testing.F) {
	f.Add([]byte(deployment().object(plainTemplate)), []byte(deployment().object(privilegedTemplate)), true)
	f.Add([]byte(`{"metadata":{"name":"\ud800","ownerReferences":[{}]},"spec":{"template":{"metadata":null,"spec":{}}}}`), []byte(`null`), false)
	f.Add([]byte(`{"spec":{"template":{"metadata":{"n\u0061me":1,"name":null,"\ud83d":2,"labels":[]},"spec":{"a":1.0},"spec":{}}}}`), []byte(`7`), false)
	f.Add([]byte(`{"spec":[],"spec":{"template":{"spec":{},"metadata":{ }}},"metadata":[]}`), []byte(`{"spec":{"template":1}}`), true)
	f.Fuzz(func(t *testing.T, object, old []byte, update bool) {
		// What has come through package review is valid.
		if sdk.Check(object) != nil || !utf8.Valid(object) || sdk.Check(old) != nil || !utf8.Valid(old) {
			return
		}
		req := &sdk.Request{UID: "u", Namespace: "ns", Operation: sdk.Create, Object: object,
			Kind: sdk.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}}
		if update {
			req.Operation, req.OldObject = sdk.Update, old
		}
		checkRoundTrip(t, req, []string{"spec", "template"})
	})
}

func FuzzTell(f *testing.F) {
	f.Add("a: spec.containers[0].image, /metadata/labels/a. metadata.name \xff spec.os")
	f.Add("spec.spec.os..spec.os./spec/os//spec/os")
	f.Fuzz(func(t *testing.T, text string) {
		x := &expansion{way: []string{"spec", "template"}}
		told := x.tell(text)
		// What was put in is all that is new.
		plain := strings.TrimPrefix(told, "the pod that spec.template describes: ")
		if plain = strings.ReplaceAll(strings.ReplaceAll(plain, "spec.template.", ""), "spec/template/", ""); !strings.Contains(text, ".template.") &&
			!strings.Contains(text, "/template/") && !strings.HasPrefix(text, "the pod that") && plain != text {
			t.Errorf("tell(%q) = %q", text, told)
		}
	})
}

// BenchmarkExpand judges a Deployment with a template of 4 KB by the pod in it,
// and the same pod as it is.
func BenchmarkExpand(b *testing.B) {
	env := strings.Repeat(`{"name":"VARIABLE","valueFrom":{"secretKeyRef":{"name":"credentials","key":"password"}}},`, 40)
	template := `{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"i:1","env":[` + env + `{"name":"X"}]}]}}`
	req := deployment().create(b, template)
	other := deployment().update(b, plainTemplate, template)
	pod := expand(req, []string{"spec", "template"}).pod
	for _, r := range []**sdk.Request{&req, &other, &pod} { // as they come from the API server
		decoded, err := review.Decode(append((*r).AppendJSON([]byte(`{"request":`)), '}'))
		if err != nil {
			b.Fatal(err)
		}
		*r = decoded.Request
	}
	bundle := make([]policy.Policy, 20)
	for i := range bundle {
		bundle[i] = bundled(builtinPolicy(string(rune('a'+i)), "pod-privileged", ""), expanding)
	}
	e := newEngine(b, Options{})
	native := builtinPolicy("native", "pod-privileged", "")
	guest := guestPolicy("guest", portable(b, sdktest.WaPC), innerPolicy{Policy: "pod-privileged"})
	expanding(&native)
	expanding(&guest)
	mustApply(b, e, append(bundle, native, guest)...)
	for _, bm := range []struct {
		name string
		req  *sdk.Request
	}{{"pod", pod}, {"deployment", req}, {"changed deployment", other}} {
		for _, id := range []policy.ID{"native", "guest"} {
			b.Run(bm.name+"/"+string(id), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if d, err := e.Evaluate(b.Context(), id, bm.req); err != nil || !d.Response.Allowed {
						b.Fatal(err, d.Response.Status)
					}
				}
			})
		}
		b.Run(bm.name+"/20 natives", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d, err := e.EvaluateBundle(b.Context(), "all", bm.req); err != nil || !d.Response.Allowed {
					b.Fatal(err, d.Response.Status)
				}
			}
		})
	}
}
