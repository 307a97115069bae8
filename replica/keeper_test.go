package replica

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
)

// kept is a keeper without an API server: its events are made by hand.
type kept struct {
	*keeper
	engine *recorded
}

// keep runs a test with a keeper, in time that passes when everybody waits.
func keep(t *testing.T, do func(t *testing.T, k *kept)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		k := &kept{keeper: newKeeper(Options{PolicyServer: "default", Engine: e}.withDefaults()), engine: e}
		k.loadUntil(t.Context())
		swept := make(chan struct{})
		go func() {
			defer close(swept)
			k.sweepUntilDone(t.Context())
		}()
		t.Cleanup(func() { <-swept })
		k.update(v1.ResourcePolicyServers, server())
		do(t, k)
	})
}

// put takes up an object, and returns when everything is loaded.
func (k *kept) put(p *v1.ClusterAdmissionPolicy) {
	if p.UID == "" {
		p.UID = "first"
	}
	k.update("clusteradmissionpolicies", p.DeepCopy())
	synctest.Wait()
}

func (k *kept) delete(p *v1.ClusterAdmissionPolicy) {
	k.remove("clusteradmissionpolicies", p.DeepCopy())
	synctest.Wait()
}

// pass lets time pass.
func (k *kept) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestADeletedPolicyIsUnloadedWhenItHasLingered(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		p := clusterPolicy("p", privileged, "")
		k.put(p)
		k.delete(p)
		k.pass(10*time.Second - time.Millisecond)
		if !k.engine.Has("kw.cap.p") {
			t.Error("unloaded before its time")
		}
		k.pass(time.Millisecond)
		if k.engine.Has("kw.cap.p") || len(k.held) != 0 {
			t.Errorf("not unloaded, or still known: %v", k.held)
		}
	})
}

func TestADeletedPolicyThatComesBackStays(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		p := clusterPolicy("p", labels, wantLabel("v1"))
		k.put(p)
		k.delete(p)
		k.pass(5 * time.Second)
		p.UID, p.Spec.Settings.Raw = "second", []byte(wantLabel("v2"))
		k.put(p)
		k.pass(time.Minute)
		if s := k.status(); !k.engine.Has("kw.cap.p") || s.Policies != 1 || len(s.Exceptions) != 0 {
			t.Errorf("status %+v, want the second policy served", s)
		}
		if have := string(k.engine.last("kw.cap.p").Settings); have != wantLabel("v2") {
			t.Errorf("settings %s, want those of the second", have)
		}
	})
}

func TestADeletedPolicyDoesNotJudgeForOthers(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		p := clusterPolicy("p", privileged, "")
		bundle := func() []string { return k.engine.last("kw.cap.p").Bundles }
		k.put(p)
		k.delete(p)
		if len(bundle()) != 1 {
			t.Errorf("bundles %q: nobody else is in its bundle, and an API server that has not heard may ask", bundle())
		}
		other := clusterPolicy("q", privileged, "")
		k.put(other)
		if len(bundle()) != 0 {
			t.Errorf("bundles %q: it is gone, and judges what is sent there for q", bundle())
		}
		if !k.engine.Has("kw.cap.p") {
			t.Error("unloaded before its time")
		}
		k.put(p)
		if len(bundle()) != 1 {
			t.Errorf("bundles %q: it is there again", bundle())
		}
		k.delete(p)
		if len(bundle()) != 0 {
			t.Errorf("bundles %q: it is gone again, and q was there before", bundle())
		}
		k.pass(10 * time.Second)
		if k.engine.Has("kw.cap.p") || !k.engine.Has("kw.cap.q") {
			t.Error("p is not unloaded, or q is")
		}
	})
}

func TestAPolicyLeavesABundleOfOthersAtOnce(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		p, q := clusterPolicy("p", privileged, ""), clusterPolicy("q", privileged, "")
		k.put(p)
		k.put(q)
		seven := int32(7)
		p.Spec.TimeoutSeconds, p.Generation = &seven, 2
		k.put(p)
		if all := k.engine.last("kw.cap.p").Bundles; len(all) != 1 || all[0] == k.engine.last("kw.cap.q").Bundles[0] {
			t.Errorf("bundles %q, want that of its spec alone", all)
		}
	})
}

func TestAPolicyOfAnotherServerIsUnloaded(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		p := clusterPolicy("p", privileged, "")
		k.put(p)
		p.Spec.PolicyServer = "somebody-else"
		k.put(p)
		k.pass(10 * time.Second)
		if k.engine.Has("kw.cap.p") || len(k.held) != 0 {
			t.Error("it is not unloaded")
		}
	})
}

func TestTheProgramOfADeletedPolicyDoesNotServeForAnother(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		p := clusterPolicy("p", privileged, "")
		k.put(p)
		k.delete(p)
		p.UID, p.Spec.Module = "second", nowhere
		k.put(p)
		if s := k.status(); len(s.Exceptions) != 1 || s.Exceptions[0].State != v1alpha1.Failed {
			t.Errorf("exceptions %+v, want it failed, not stale", s.Exceptions)
		}
		if s, ok := k.engine.Status("kw.cap.p"); !ok || s.State != "stale" {
			t.Errorf("the engine says %+v, want the old program until it has lingered", s)
		}
		k.pass(10 * time.Second)
		if s, ok := k.engine.Status("kw.cap.p"); !ok || s.State != "failed" {
			t.Errorf("the engine says %+v, want it failed", s)
		}
		if s := k.status(); len(s.Exceptions) != 1 || s.Exceptions[0].State != v1alpha1.Failed {
			t.Errorf("exceptions %+v, want it failed", s.Exceptions)
		}
	})
}

func TestARevisionThatDoesNotLoadIsStale(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		p := clusterPolicy("p", privileged, "")
		k.put(p)
		p.Spec.Module, p.Generation = nowhere, 2
		k.put(p)
		if s := k.status(); len(s.Exceptions) != 1 || s.Exceptions[0].State != v1alpha1.Stale || s.Exceptions[0].Generation != 2 {
			t.Errorf("exceptions %+v, want it stale", s.Exceptions)
		}
	})
}

func TestAPolicyThatMovesAnswersInBothBundles(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		bundleOf := func(p *v1.ClusterAdmissionPolicy) string {
			view, _ := v1.View(p)
			return policy.BundleOf(view)
		}
		in := func(when string, want ...string) {
			t.Helper()
			slices.Sort(want)
			if have := k.engine.last("kw.cap.p").Bundles; !slices.Equal(have, want) {
				t.Errorf("%s: bundles %q, want %q", when, have, want)
			}
		}
		p := clusterPolicy("p", privileged, "")
		first := bundleOf(p)
		k.put(p)
		in("at first", first)
		p.Status.Enforced = &v1.Enforcement{Bundle: first}
		k.put(p)
		p.Spec.TimeoutSeconds, p.Generation = new(int32(5)), 2
		second := bundleOf(p)
		k.put(p)
		in("on the way", first, second)
		k.pass(time.Hour)
		in("while its webhook points at the first", first, second)
		p.Status.Enforced = &v1.Enforcement{Bundle: second}
		k.put(p)
		k.pass(10*time.Second - time.Millisecond)
		in("while API servers may not know", first, second)
		k.pass(time.Millisecond)
		in("in the end", second)
		if !k.engine.HasBundle(second) || k.engine.HasBundle(first) {
			t.Error("the engine has not the bundle, or still the other one")
		}
		p.Spec.TimeoutSeconds, p.Generation = nil, 3 // back, and there again before it has lingered
		k.put(p)
		p.Spec.TimeoutSeconds, p.Generation = new(int32(5)), 4
		k.put(p)
		k.pass(time.Minute)
		in("there and back", second)
	})
}

func TestAReplacedListTakesAwayWhatIsNotInIt(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		stays, goes := clusterPolicy("stays", privileged, ""), clusterPolicy("goes", privileged, "")
		k.put(stays)
		k.put(goes)
		k.replace(listed{resource: "clusteradmissionpolicies", version: "9", epoch: 1}, []v1.Object{stays.DeepCopy()})
		k.replace(listed{resource: "admissionpolicies", version: "9", epoch: 1}, nil)
		k.pass(10 * time.Second)
		if !k.engine.Has("kw.cap.stays") || k.engine.Has("kw.cap.goes") {
			t.Error("want the one unloaded that is not in the list")
		}
	})
}

func TestARegistryThatHangsDoesNotHoldUpAnotherModule(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		start := time.Now()
		p := clusterPolicy("p", hangs, "")
		k.put(p)
		if s := k.status(); len(s.Exceptions) != 1 || s.Exceptions[0].State != v1alpha1.Loading {
			t.Errorf("exceptions %+v, want it loading", s.Exceptions)
		}
		p.Spec.Module, p.Generation = privileged, 2
		k.put(p)
		if s := k.status(); len(s.Exceptions) != 0 || time.Since(start) != 0 {
			t.Errorf("exceptions %+v after %s, want the other module at once", s.Exceptions, time.Since(start))
		}
	})
}

func TestAnInvalidPolicyThatIsSeenFirstIsInTheEngineNevertheless(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		p := clusterPolicy("p", privileged, "")
		p.Spec.Rules[0].Resources = []string{"*", "pods"}
		k.put(p)
		if s := k.status(); len(s.Exceptions) != 1 || s.Exceptions[0].State != v1alpha1.Failed || s.Exceptions[0].Stage != "spec" {
			t.Errorf("exceptions %+v, want it failed for its spec", s.Exceptions)
		}
		if !k.engine.Has("kw.cap.p") {
			t.Error("a bundle would let through what the policy is there for")
		}
	})
}

func TestExceptionsAreBoundedAndFailuresComeFirst(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		for i := range 600 {
			p := clusterPolicy("loading-"+string(rune('A'+i)), privileged, "")
			p.UID = types.UID(p.Name)
			k.put(p)
			k.held[policy.ID("kw.cap."+p.Name)].loaded = 0 // as before it has loaded
			p = clusterPolicy("z-failed-"+string(rune('A'+i)), nowhere, "")
			p.UID = types.UID(p.Name)
			k.put(p)
		}
		s := k.status()
		if len(s.Exceptions) != v1alpha1.MaxExceptions || s.ExceptionsLeftOut != 200 || s.Failed != 600 || s.Policies != 1200 {
			t.Fatalf("%d exceptions, %d left out, %d failed of %d", len(s.Exceptions), s.ExceptionsLeftOut, s.Failed, s.Policies)
		}
		for i, e := range s.Exceptions {
			if (e.Message != "") != (i < maxMessages) {
				t.Errorf("exception %d says %q", i, e.Message)
			}
			if want := i < 600; want != (e.State == v1alpha1.Failed) || i > 0 && i != 600 && e.Policy <= s.Exceptions[i-1].Policy {
				t.Errorf("exception %d is %s, %s: want failures first, and each in order", i, e.Policy, e.State)
			}
		}
	})
}

func TestMessagesAreCutAtARune(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"short":       {"a", "a"},
		"just fits":   {strings.Repeat("a", 512), strings.Repeat("a", 512)},
		"too long":    {strings.Repeat("a", 513), strings.Repeat("a", 509) + "…"},
		"in a rune":   {strings.Repeat("é", 300), strings.Repeat("é", 254) + "…"},
		"no UTF-8":    {"a\xff", "a\uFFFD"},
		"all invalid": {strings.Repeat("\xff", 600), "\uFFFD"},
	} {
		have := shortened(tt.text)
		if have != tt.want || len(have) > maxMessage || !utf8.ValidString(have) {
			t.Errorf("%s: %q (%d bytes), want %q", name, have, len(have), tt.want)
		}
	}
}

func TestOptionsThatCannotWorkAreAllNamed(t *testing.T) {
	_, err := New(Options{PolicyServer: "Default", Name: "a/b", LeaseDuration: time.Millisecond})
	for _, want := range []string{"no client configuration", "no engine", `PolicyServer "Default"`, `namespace ""`, `name "a/b"`, "lease of 1ms"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

func TestAChangeOfThePreferenceForBuiltinsReloads(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		const module = "registry://ghcr.io/kubewarden/policies/pod-privileged:v1"
		k.put(clusterPolicy("p", module, ""))
		if s, _ := k.engine.Status("kw.cap.p"); s.State == engine.Loaded || s.Builtin != "" {
			t.Errorf("status %+v, want nobody to answer: there is no registry here", s)
		}
		for _, prefer := range []bool{true, false} {
			changed := server()
			changed.Spec.PreferBuiltins = prefer
			k.update(v1.ResourcePolicyServers, changed)
			synctest.Wait()
			if have := k.engine.last("kw.cap.p").PreferBuiltin; have != prefer {
				t.Errorf("the policy prefers built-ins: %t, want %t as the PolicyServer", have, prefer)
			}
			if s, _ := k.engine.Status("kw.cap.p"); prefer && (s.State != engine.Loaded || s.Builtin != "pod-privileged") {
				t.Errorf("status %+v, want the built-in to answer", s)
			}
		}
	})
}
