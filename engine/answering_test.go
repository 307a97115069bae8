package engine

import (
	"strings"
	"testing"

	"github.com/warder-dev/warder/policy"
)

const kubewardens = "registry://ghcr.io/kubewarden/policies/"

// preferring is a policy of a module that prefers built-ins.
func preferring(id, module, settings string) policy.Policy {
	p := builtinPolicy(id, "", settings)
	p.Module, p.PreferBuiltin = module, true
	return p
}

func TestWhichModulesABuiltinStandsFor(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0", 64)
	for module, want := range map[string]string{
		kubewardens + "pod-privileged:v1.0.10":                  "pod-privileged",
		kubewardens + "pod-privileged":                          "pod-privileged",
		kubewardens + "pod-privileged" + digest:                 "pod-privileged",
		kubewardens + "pod-privileged:v1" + digest:              "pod-privileged",
		kubewardens + "psp-apparmor:v0.1.9":                     "apparmor-psp",
		"ghcr.io/kubewarden/policies/labels:v1":                 "labels",
		"REGISTRY://ghcr.io/kubewarden/policies/labels":         "labels",
		kubewardens + "echo:v1":                                 "",
		kubewardens + "min-replicas:v1":                         "",
		"registry://ghcr.io/kubewarden/tests/labels:v1":         "",
		"registry://ghcr.io/acme/policies/labels:v1":            "",
		"registry://ghcr.io:5000/kubewarden/policies/labels:v1": "",
		"https://ghcr.io/kubewarden/policies/labels:v1":         "",
		"file:///ghcr.io/kubewarden/policies/labels":            "",
		"builtin://labels":                                      "",
		"registry://ghcr.io/kubewarden/policies/labels:":        "",
	} {
		p := preferring("p", module, "")
		if have := instead(p); have != want {
			t.Errorf("%s: %q answers, want %q", module, have, want)
		}
		p.PreferBuiltin = false
		if have := instead(p); have != "" {
			t.Errorf("%s: %q answers though nobody prefers it", module, have)
		}
	}
}

// A built-in answers without anybody being asked for the module, alone and as a
// member of a group, and everybody who looks is told so.
func TestABuiltinAnswersInPlaceOfAModule(t *testing.T) {
	host, lines := newShelf(), &logLines{}
	other := "registry://example.com/policies/other:v1"
	host.put(other, Fetched{Wasm: portableModule(t)})
	e := newEngine(t, Options{Fetch: host.fetch, Log: lines.logger()})
	group := groupOf("privileged() && other()", map[string]policy.Policy{
		"privileged": {Module: kubewardens + "pod-privileged:v1"}, "other": guestPolicy("", other, script(`{"accepted":true}`)),
	})
	group.PreferBuiltin = true
	mustApply(t, e, preferring("p", kubewardens+"pod-privileged:v1", ""), group)
	if len(host.asked) != 1 || host.asked[0] != other {
		t.Errorf("asked for %q, want %q alone", host.asked, other)
	}
	for _, id := range []policy.ID{"p", "g"} {
		if d := evaluate(t, e, id, privilegedPod(t)); d.Response.Allowed || d.Err != nil {
			t.Errorf("%s: %+v, %v, want the privileged pod refused", id, d.Response, d.Err)
		}
		if d := evaluate(t, e, id, plainPod(t)); !d.Response.Allowed {
			t.Errorf("%s: %+v, want the plain pod allowed", id, d.Response)
		}
	}
	for _, id := range []policy.ID{"p", "g/privileged"} {
		if s, _ := e.Status(id); s.Builtin != "pod-privileged" || s.Module != kubewardens+"pod-privileged:v1" || s.Runtime != nativeRuntime || s.Digest != "" {
			t.Errorf("status = %+v, want the module and what answers in its place", s)
		}
	}
	if s, _ := e.Status("g/other"); s.Builtin != "" || s.Digest == "" {
		t.Errorf("status = %+v, want the module itself", s)
	}
	if text := lines.String(); strings.Count(text, "builtin=pod-privileged") != 2 {
		t.Errorf("log does not say twice which built-in answers:\n%s", text)
	}
}

func TestSettingsThatTheBuiltinRefusesSayWhoAnswers(t *testing.T) {
	e := newEngine(t, Options{Fetch: newShelf().fetch})
	err := e.Check(t.Context(), preferring("p", kubewardens+"pod-privileged:v1", `{"skip_init": true}`))
	const want = "(builtin://pod-privileged answers in place of registry://ghcr.io/kubewarden/policies/pod-privileged:v1)"
	if err == nil || !strings.Contains(err.Error(), "skip_init: unknown setting") || !strings.Contains(err.Error(), want) {
		t.Errorf("Check = %v, want it to say who answers", err)
	}
}

// Whoever changes the preference changes who answers, and touches no policy that
// it makes no difference to.
func TestAChangeOfThePreferenceLoadsWhatItIsAbout(t *testing.T) {
	kubewarden, other := kubewardens+"safe-labels:v1", "registry://example.com/policies/other:v1"
	host := newShelf()
	host.put(kubewarden, Fetched{Wasm: portableModule(t)})
	host.put(other, Fetched{Wasm: portableModule(t)})
	e := newEngine(t, Options{Fetch: host.fetch})
	// The settings are those of safe-labels, and of the portable module.
	p := preferring("p", kubewarden, `{"mandatory_labels": ["team"]}`)
	q := preferring("q", other, script(`{"accepted":true}`).String())
	mustApply(t, e, p, q)
	before := e.state.Load().byID["q"]
	if s := status(t, e, "p"); s.Builtin != "safe-labels" || len(host.asked) != 1 {
		t.Errorf("status = %+v after %q", s, host.asked)
	}
	p.PreferBuiltin, q.PreferBuiltin = false, false
	p.Settings = []byte(script(`{"message":"the module"}`).String())
	mustApply(t, e, p, q)
	if s := status(t, e, "p"); s.Builtin != "" || s.Digest == "" || messageOf(evaluate(t, e, "p", plainPod(t)).Response) != "the module" {
		t.Errorf("status = %+v, want the module to answer", s)
	}
	if after := e.state.Load().byID["q"]; after.root() != before || len(host.asked) != 2 {
		t.Errorf("asked for %q, want the other policy's program taken over", host.asked)
	}
	p.PreferBuiltin, p.Settings = true, []byte(`{"mandatory_labels": ["team"]}`)
	mustApply(t, e, p, q)
	if s := status(t, e, "p"); s.Builtin != "safe-labels" || len(host.asked) != 2 {
		t.Errorf("status = %+v, want the built-in again", s)
	}
}
