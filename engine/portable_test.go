package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// portableCase is a case of a built-in policy, and the policy on an engine that
// it is to be judged by. Cases with the same settings share one.
type portableCase struct {
	sdktest.Case
	builtin string
	id      policy.ID
}

// portableCases reads the cases of all built-in policies, by "policy/case".
func portableCases(t *testing.T) map[string]portableCase {
	t.Helper()
	cases := map[string]portableCase{}
	for _, name := range library.Names() {
		dir := "../library/" + strings.ReplaceAll(name, "-", "") + "/testdata"
		found, err := sdktest.ReadCases(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range found {
			sum := sha256.Sum256(c.Settings)
			id := policy.ID(name + "." + hex.EncodeToString(sum[:4]))
			cases[name+"/"+c.Name] = portableCase{c, name, id}
		}
	}
	return cases
}

// outcome is all that comes of a case.
type outcome struct {
	Settings string // why they are refused
	Response review.Response
	Answer   string // the same as text
}

// afterText is the time in an answer without a verdict, which differs from one
// evaluation to the next.
func afterText() *regexp.Regexp { return regexp.MustCompile(`, after [0-9.]+(µs|ms|s)\)$`) }

// waPCFailure is what Kubewarden's policy server puts before the words of a
// waPC guest that fails, and of no other. It is all that may differ.
const waPCFailure = "internal server error: Guest call failure: "

// outcomes runs the cases on an engine that has the policies as made by load.
func outcomes(t *testing.T, e *Engine, cases map[string]portableCase, load func(portableCase) policy.Policy) map[string]outcome {
	t.Helper()
	policies := map[policy.ID]policy.Policy{}
	for _, c := range cases {
		p := load(c)
		p.AllowedToMutate = true
		policies[c.id] = p
	}
	list := make([]policy.Policy, 0, len(policies))
	for _, p := range policies {
		list = append(list, p)
	}
	_ = e.Apply(t.Context(), list) // some of the settings are wrong: see below
	all := map[string]outcome{}
	for name, c := range cases {
		var bad *runtime.SettingsError
		if ent := e.state.Load().byID[c.id]; ent.err != nil {
			if !errors.As(ent.err, &bad) {
				t.Fatalf("%s: %v", name, ent.err)
			}
			all[name] = outcome{Settings: bad.Message}
			continue
		}
		if c.Request == nil {
			t.Fatalf("%s: the settings are accepted, and there is no request", name)
		}
		d := evaluate(t, e, c.id, c.Request)
		if s := d.Response.Status; s != nil && d.Err != nil {
			s.Message = afterText().ReplaceAllString(s.Message, ")")
			s.Message = strings.TrimPrefix(s.Message, waPCFailure)
		}
		all[name] = outcome{"", d.Response, answer(d.Response)}
	}
	return all
}

// Every case is judged natively, and by snapshots of modules of both kinds. A
// fresh instance for each request takes long, and starts where a snapshot does:
// one case of each policy is enough for that.
func TestBuiltinsSayTheSameInEveryRuntime(t *testing.T) {
	cases := portableCases(t)
	want := outcomes(t, newEngine(t, Options{}), cases, func(c portableCase) policy.Policy {
		return builtinPolicy(string(c.id), c.builtin, string(c.Settings))
	})
	checkVariety(t, want)
	sample := sampleOf(cases, want)
	if len(sample) != len(library.Names()) {
		t.Errorf("one case for each policy: have %d, want %d", len(sample), len(library.Names()))
	}
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		for isolation, cases := range map[runtime.Isolation]map[string]portableCase{runtime.Snapshot: cases, runtime.Fresh: sample} {
			t.Run(fmt.Sprintf("%s %s", form, isolation), func(t *testing.T) {
				module := portable(t, form)
				e := newEngine(t, Options{Isolation: isolation})
				start := time.Now()
				have := outcomes(t, e, cases, func(c portableCase) policy.Policy {
					return guestPolicy(string(c.id), module, innerPolicy{c.builtin, c.Settings})
				})
				t.Logf("%d cases in %s", len(cases), time.Since(start).Round(time.Millisecond))
				for name := range cases {
					if diff := cmp.Diff(want[name], have[name]); diff != "" {
						t.Errorf("%s: native (-) and %s (+) differ:\n%s", name, form, diff)
					}
				}
				checkIsolation(t, e, isolation)
			})
		}
	}
}

// sampleOf returns one case of each policy, the last by name that comes to a
// verdict: what policies reject is named last.
func sampleOf(cases map[string]portableCase, all map[string]outcome) map[string]portableCase {
	last := map[string]string{}
	for name, c := range cases {
		if all[name].Settings == "" && name > last[c.builtin] {
			last[c.builtin] = name
		}
	}
	sample := map[string]portableCase{}
	for _, name := range last {
		sample[name] = cases[name]
	}
	return sample
}

// checkVariety fails when the cases are not what they are taken for.
func checkVariety(t *testing.T, all map[string]outcome) {
	t.Helper()
	count := map[sdktest.Outcome]int{}
	for _, o := range all {
		switch {
		case o.Settings != "":
			count[sdktest.InvalidSettings]++
		case o.Response.Patch != nil:
			count[sdktest.Mutated]++
		case o.Response.Allowed:
			count[sdktest.Allowed]++
		case o.Response.Status != nil && o.Response.Status.Code == errorCode:
			count[sdktest.NoVerdict]++
		default:
			count[sdktest.Rejected]++
		}
	}
	t.Logf("%d cases: %v", len(all), count)
	for _, o := range []sdktest.Outcome{sdktest.Allowed, sdktest.Mutated, sdktest.Rejected, sdktest.NoVerdict, sdktest.InvalidSettings} {
		if count[o] < 5 {
			t.Errorf("%d cases end with %q, want at least 5", count[o], o)
		}
	}
}

// checkIsolation fails when a policy was not asked in the way that the test is
// about.
func checkIsolation(t *testing.T, e *Engine, want runtime.Isolation) {
	t.Helper()
	text := map[runtime.Isolation]string{runtime.Snapshot: "snapshot", runtime.Fresh: "fresh (asked for)"}[want]
	for _, s := range e.Statuses() {
		if s.State == Loaded && s.Isolation != text {
			t.Errorf("policy %q: isolation %q, want %q", s.ID, s.Isolation, text)
		}
	}
}

// Built-ins use hardly any codes and warnings, and no annotations, so the policy
// that says what it is told shows them.
func TestAWholeVerdictComesThroughEveryRuntime(t *testing.T) {
	scripts := map[string]struct{ script, want string }{
		"rejected": {
			`{"message":"<no> & \"never\" é","code":418,"warnings":["a","b"],"annotations":{"k":"v","j":"w"}}`,
			`{"uid":"U","allowed":false,"status":{"message":"<no> & \"never\" é","code":418},` +
				`"auditAnnotations":{"j":"w","k":"v"},"warnings":["a","b"]}`,
		},
		"allowed": {
			`{"accepted":true,"warnings":["a"],"annotations":{"k":"v"}}`,
			`{"uid":"U","allowed":true,"auditAnnotations":{"k":"v"},"warnings":["a"]}`,
		},
		"no reason": {`{}`, `{"uid":"U","allowed":false,"auditAnnotations":null,"warnings":null}`},
		"changed": {
			`{"accepted":true,"append":"!"}`,
			`{"uid":"U","allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJyZXBsYWNlIiwicGF0aCI6Ii90cmFpbCIsInZhbHVlIjoiYSEifV0=",` +
				`"auditAnnotations":null,"warnings":null}`,
		},
	}
	req := pod(t, `,"trail":"a"`)
	req.UID = "U"
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		for _, isolation := range []runtime.Isolation{runtime.Snapshot, runtime.Fresh} {
			e := newEngine(t, Options{Isolation: isolation})
			for name, tt := range scripts {
				p := guestPolicy(name, portable(t, form), script(tt.script))
				p.AllowedToMutate = true
				if err := e.Load(t.Context(), p); err != nil {
					t.Fatal(err)
				}
				var have struct{ Response json.RawMessage }
				text := answer(evaluate(t, e, p.ID, req).Response)
				if err := json.Unmarshal([]byte(text), &have); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, string(have.Response)); diff != "" {
					t.Errorf("%s, %s, %s (-want +have):\n%s", form, isolation, name, diff)
				}
			}
		}
	}
}
