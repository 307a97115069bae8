package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// inner is what afterText is, in the middle of a text.
func inner() *regexp.Regexp { return regexp.MustCompile(`, after [0-9.]+(µs|ms|s)\)`) }

const noBuiltin = `policy "g/missing": fetch: module "builtin://nope": no built-in policy has this name; there are `

func TestAWrongExpressionIsFoundWhenTheGroupIsLoaded(t *testing.T) {
	e := newEngine(t, Options{})
	err := e.Load(t.Context(), groupOf("accepts() || refuse()", map[string]policy.Policy{"accepts": accepts(), "refuses": refuses()}))
	const want = "policy \"g\": expression: 1:14: the group has no member refuse; did you mean refuses()?\n" +
		" | accepts() || refuse()\n | .............^"
	if err == nil || err.Error() != want {
		t.Errorf("Load = %v\nwant   %s", err, want)
	}
	d := evaluate(t, e, "g", plainPod(t))
	if have := messageOf(d.Response); have != groupErrorText+want || d.Response.Status.Code != 500 {
		t.Errorf("message = %q with code %d, want %q with 500", have, d.Response.Status.Code, groupErrorText+want)
	}
	if s := status(t, e, "g"); s.State != Failed || s.Error != want {
		t.Errorf("status = %+v, want failed: %s", s, want)
	}
}

func TestAMemberThatDoesNotLoadDegradesItsGroupAlone(t *testing.T) {
	lines, registry := &logLines{}, prometheus.NewRegistry()
	e := newEngine(t, Options{Log: lines.logger(), Metrics: registry})
	group := groupOf("accepts() || missing()", map[string]policy.Policy{"accepts": accepts(), "missing": missing()})
	err := e.Apply(t.Context(), []policy.Policy{group, revision("other", 1)})
	if err == nil || !strings.HasPrefix(err.Error(), `policy "g": members: `+noBuiltin) {
		t.Errorf("Apply = %v, want the member named", err)
	}
	if d := evaluate(t, e, "g", plainPod(t)); !d.Response.Allowed || d.Err != nil {
		t.Errorf("a verdict that does not depend on the member: %+v, %v", d.Response, d.Err)
	}
	d := evaluate(t, e, "g", privilegedPod(t))
	const want = groupErrorText + `bootstrap failure: g/missing: module "builtin://nope": no built-in policy`
	if d.Response.Allowed || d.Response.Status.Code != 500 || !strings.HasPrefix(messageOf(d.Response), want) {
		t.Errorf("a verdict that depends on the member: %+v\nwant 500 %s", d.Response.Status, want)
	}
	if n, err := revisionOf(evaluate(t, e, "other", plainPod(t))); n != 1 || err != nil {
		t.Errorf("the other policy: revision %d, %v", n, err)
	}
	s := status(t, e, "g")
	if s.State != Degraded || !strings.HasPrefix(s.Error, `policy "g": members: `+noBuiltin) || s.Runtime != groupRuntime {
		t.Errorf("status = %+v, want degraded and why", s)
	}
	var members []string
	for _, m := range s.Members {
		members = append(members, fmt.Sprintf("%s %s %s", m.ID, m.State, m.Module))
	}
	if diff := cmp.Diff([]string{"g/accepts loaded builtin://pod-privileged", "g/missing failed builtin://nope"}, members); diff != "" {
		t.Errorf("members (-want +have):\n%s", diff)
	}
	if lines.count("level=ERROR", "policy group has members that did not load", "policy=g", "g/missing") != 1 {
		t.Errorf("the log does not say so:\n%s", lines)
	}
	if have := strings.Join(samples(t, registry), "\n"); !strings.Contains(have, `warder_policies{state="degraded"} 1`) {
		t.Errorf("metrics:\n%s", have)
	}
}

func TestAGroupWithoutAnyMemberHasFailed(t *testing.T) {
	e := newEngine(t, Options{})
	if err := e.Load(t.Context(), groupOf("missing()", map[string]policy.Policy{"missing": missing()})); err == nil {
		t.Fatal("a group without its only member was loaded")
	}
	if s := status(t, e, "g"); s.State != Failed || !strings.Contains(s.Error, noBuiltin) {
		t.Errorf("status = %+v, want failed", s)
	}
}

func TestAMemberThatIsNotAskedIsSaid(t *testing.T) {
	lines := &logLines{}
	e := newEngine(t, Options{Log: lines.logger()})
	mustApply(t, e, groupOf("a()", map[string]policy.Policy{"a": accepts(), "b": accepts()}))
	if lines.count("level=WARN", "policy is in a group whose expression does not ask it", "policy=g/b") != 1 {
		t.Errorf("the log does not say so:\n%s", lines)
	}
}

func TestARevisionOfAGroupThatDoesNotLoadLeavesTheOlderOneInPlace(t *testing.T) {
	module := portable(t, sdktest.WaPC)
	e := newEngine(t, Options{})
	good := func() policy.Policy {
		return groupOf("a()", map[string]policy.Policy{"a": guestRevision("", module, 1)})
	}
	mustApply(t, e, good())
	member := e.state.Load().byID["g"].member("a")
	for what, broken := range map[string]policy.Policy{
		"expression": groupOf("a() && b()", map[string]policy.Policy{"a": guestRevision("", module, 2)}),
		"member":     groupOf("a() && b()", map[string]policy.Policy{"a": guestRevision("", module, 2), "b": missing()}),
		"single":     builtinPolicy("g", "nope", ""),
	} {
		for range 2 {
			if err := e.Load(t.Context(), broken); err == nil {
				t.Fatalf("%s: a broken revision was loaded", what)
			}
		}
		d := evaluate(t, e, "g", plainPod(t))
		if diff := cmp.Diff([]string{"spec.policies.a: revision-1"}, messages(d.Response.Status.Causes)); diff != "" {
			t.Errorf("%s: causes (-want +have):\n%s", what, diff)
		}
		if s := status(t, e, "g"); s.State != Stale || s.Error == "" {
			t.Errorf("%s: status = %+v, want stale and why", what, s)
		}
	}
	mustApply(t, e, good())
	if s := status(t, e, "g"); s.State != Loaded || e.state.Load().byID["g"].member("a") != member {
		t.Errorf("status = %+v, want loaded with the member that was there", s)
	}
	mustApply(t, e)
	if n := len(e.modules.byDigest); n != 0 {
		t.Errorf("%d modules are held after the group has gone", n)
	}
	if refs := member.refs.Load(); refs != 0 {
		t.Errorf("the member is held %d times after the group has gone", refs)
	}
}

func TestADegradedGroupTriesItsMembersAgain(t *testing.T) {
	wasm, err := os.ReadFile(strings.TrimPrefix(portable(t, sdktest.WASI), "file://"))
	if err != nil {
		t.Fatal(err)
	}
	lines := &logLines{}
	e := newEngine(t, Options{Log: lines.logger()})
	file := filepath.Join(t.TempDir(), "policy.wasm")
	group := groupOf("a() && b()", map[string]policy.Policy{"a": accepts(), "b": guestRevision("", "file://"+file, 1)})
	for range 2 {
		if err := e.Apply(t.Context(), []policy.Policy{group}); err == nil {
			t.Fatal("a module that is not there was loaded")
		}
		if s := status(t, e, "g"); s.State != Degraded {
			t.Errorf("status = %+v, want degraded", s)
		}
	}
	replaceFile(t, file, wasm)
	mustApply(t, e, group)
	if n := lines.count(`msg="policy loaded"`, "policy=g/a"); n != 1 {
		t.Errorf("the member that has not changed was loaded %d times", n)
	}
	before := e.state.Load().byID["g"]
	mustApply(t, e, group)
	if e.state.Load().byID["g"] != before {
		t.Error("a group that has not changed was loaded again")
	}
	replaceFile(t, file, wasm[:len(wasm)/2])
	if err := e.Apply(t.Context(), []policy.Policy{group}); err == nil {
		t.Fatal("half a module was loaded")
	}
	if s := status(t, e, "g"); s.State != Stale {
		t.Errorf("status = %+v, want stale: the last good module serves", s)
	}
}

func TestGroupsAndPoliciesShareTheCodeOfTheirModules(t *testing.T) {
	module := portable(t, sdktest.WaPC)
	e := newEngine(t, Options{})
	mustApply(t, e, guestRevision("single", module, 1), groupOf("a() || b()", map[string]policy.Policy{
		"a": guestRevision("", module, 2), "b": guestRevision("", module, 3),
	}))
	for digest, mod := range e.modules.byDigest {
		if mod.refs != 3 || len(e.modules.byDigest) != 1 {
			t.Errorf("module %s is held %d times among %d modules, want 3 times alone", digest, mod.refs, len(e.modules.byDigest))
		}
	}
}

func TestGroupsAreReplacedUnderTrafficWithoutLosingARequest(t *testing.T) {
	module := portable(t, sdktest.WaPC)
	e := newEngine(t, Options{})
	req := pod(t, "")
	group := func(n int) policy.Policy {
		p := groupOf("a() || b()", map[string]policy.Policy{"a": guestRevision("", module, n/2), "b": revision("", n)})
		p.Group.Message = fmt.Sprintf("revision-%d", n)
		return p
	}
	mustApply(t, e, group(1))
	whole := &traffic{engine: e, id: "g"}
	whole.started.Store(1)
	whole.applied.Store(1)
	member := &traffic{engine: e, id: "g/b"}
	member.started.Store(1)
	member.applied.Store(1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { []*traffic{whole, member}[i%2].run(ctx, t, req) })
	}
	for n := 2; n <= 20; n++ {
		member.started.Store(int64(n))
		whole.replace(t, n, func() error { return e.Load(t.Context(), group(n)) })
		member.applied.Store(int64(n))
	}
	stop()
	wg.Wait()
	mustApply(t, e)
	if n := len(e.modules.byDigest); n != 0 {
		t.Errorf("%d modules are held after the group has gone", n)
	}
}

func TestAMemberThatCouldNotBeFetchedIsFetchedLaterAndNoOtherOne(t *testing.T) {
	const a, b = "registry://example.com/policies/a:v1", "registry://example.com/policies/b:v1"
	host, registry := newShelf(), prometheus.NewRegistry()
	host.put(a, Fetched{Wasm: portableModule(t), Reference: a + "@sha256:0"})
	e := newEngine(t, Options{Fetch: host.fetch, Metrics: registry})
	group := groupOf("a() || b()", map[string]policy.Policy{"a": guestRevision("", a, 1), "b": guestRevision("", b, 2)})
	err := e.Apply(t.Context(), []policy.Policy{group})
	const want = `policy "g": members: policy "g/b": fetch: Error while downloading policy 'g/b' from ` + b + `: 404 Not Found`
	if err == nil || err.Error() != want {
		t.Errorf("Apply = %v, want %s", err, want)
	}
	lines := samples(t, registry)
	for _, want := range []string{`warder_policy_load_failed{policy="g",stage="members"} 1`, `warder_policy_load_failed{policy="g/b",stage="fetch"} 1`} {
		if !slices.Contains(lines, want) {
			t.Errorf("metrics have no %s: %q", want, lines)
		}
	}
	if s := status(t, e, "g"); s.State != Degraded || s.Retry == nil || s.Members[0].Reference == "" || s.Members[1].Stage != StageFetch {
		t.Errorf("status = %+v, want degraded, with a retry to come", s)
	}
	host.put(b, Fetched{Wasm: portableModule(t), Away: errors.New("connection refused")})
	come(e)
	if !e.Refresh(t.Context()) {
		t.Error("Refresh changed nothing")
	}
	if s := status(t, e, "g"); s.State != Loaded || s.Away != `policy "g/b": connection refused` || s.Retry == nil {
		t.Errorf("status = %+v, want loaded, from the store", s)
	}
	host.put(b, Fetched{Wasm: portableModule(t)})
	come(e)
	e.Refresh(t.Context())
	come(e)
	if e.Refresh(t.Context()) {
		t.Error("a group that is as it should be was loaded again")
	}
	if s := status(t, e, "g"); s.State != Loaded || s.Away != "" || s.Retry != nil {
		t.Errorf("status = %+v, want loaded", s)
	}
	if diff := cmp.Diff([]string{a, b, b, b}, host.asked); diff != "" {
		t.Errorf("fetched (-want +have):\n%s", diff)
	}
	mustApply(t, e)
	if n := len(e.modules.byDigest); n != 0 {
		t.Errorf("%d modules are held after the group has gone", n)
	}
}

func TestAMembersModuleThatChangesReplacesItsGroup(t *testing.T) {
	wasm := portableModule(t)
	e := newEngine(t, Options{})
	file := filepath.Join(t.TempDir(), "policy.wasm")
	replaceFile(t, file, wasm[:len(wasm)/2])
	group := groupOf("a() || b()", map[string]policy.Policy{"a": refuses(), "b": guestRevision("", "file://"+file, 1)})
	if err := e.Load(t.Context(), group); err == nil {
		t.Fatal("half a module was loaded")
	}
	replaceFile(t, file, wasm)
	if !e.Refresh(t.Context()) || e.Refresh(t.Context()) {
		t.Error("want the change noticed, once")
	}
	d := evaluate(t, e, "g", plainPod(t))
	if diff := cmp.Diff([]string{"spec.policies.a: " + refusal, "spec.policies.b: revision-1"}, messages(d.Response.Status.Causes)); diff != "" {
		t.Errorf("causes (-want +have):\n%s", diff)
	}
}

func TestADegradedGroupOutlastsARevisionThatCannotAnswerAtAll(t *testing.T) {
	e := newEngine(t, Options{})
	degraded := func(message string) policy.Policy {
		p := groupOf("refuses() && missing()", map[string]policy.Policy{"refuses": refuses(), "missing": missing()})
		p.Group.Message = message
		return p
	}
	for _, tt := range []struct {
		name, message string
		policy        policy.Policy
		state         State
	}{
		{"the first revision", "first", degraded("first"), Degraded},
		{"one with a wrong expression", "first", groupOf("nope()", map[string]policy.Policy{"a": accepts()}), Stale},
		{"a single policy that does not load", "first", builtinPolicy("g", "nope", ""), Stale},
		{"one that lacks a member too", "second", degraded("second"), Degraded},
	} {
		if err := e.Load(t.Context(), tt.policy); err == nil {
			t.Fatalf("%s was loaded", tt.name)
		}
		d := evaluate(t, e, "g", plainPod(t))
		if s := status(t, e, "g"); s.State != tt.state || messageOf(d.Response) != tt.message {
			t.Errorf("%s: state %s, message %q, want %s, %q", tt.name, s.State, messageOf(d.Response), tt.state, tt.message)
		}
	}
}
