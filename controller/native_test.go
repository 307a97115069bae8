package controller

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
)

// celView is a policy in CEL of generation 2; at is who enforces it.
func celView(t *testing.T, at, more string) v1.Policy {
	t.Helper()
	p := &v1.ClusterAdmissionPolicy{}
	text := `
metadata: {name: p, uid: u, generation: 2}
spec:
  policyServer: default
  enforceAt: ` + at + `
  mutating: false
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
  cel: {validations: [{expression: "true"}]}
` + more
	if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
		t.Fatal(err)
	}
	view, _ := v1.View(p)
	return view
}

func TestStatusOfAPolicyThatTheAPIServerEnforces(t *testing.T) {
	webhook := &v1.Enforcement{Generation: 1, Configuration: "c", Bundle: "b"}
	native := func(generation int64) *v1.Enforcement {
		return &v1.Enforcement{Generation: generation, Configuration: "kw.cap.p", At: v1.AtAPIServer}
	}
	wanted := nativeStanding{wanted: true, kind: "ValidatingAdmissionPolicy"}
	effective := wanted
	effective.effective = true
	warned := effective
	warned.warnings = []string{"spec.validations[0].expression: undefined field 'x'"}
	tests := []struct {
		name     string
		s        standing
		state    v1.PolicyState
		enforced string // of the condition, and its message
	}{
		{"it is new", standing{server: true, native: wanted}, v1.Pending,
			`False/TakenUpByAPIServer ValidatingAdmissionPolicy "kw.cap.p" is of generation 2, which API servers take up within 5s; nobody enforces the policy meanwhile`},
		{"a webhook still enforces it", standing{server: true, native: wanted, enforced: webhook}, v1.Active,
			`False/TakenUpByAPIServer ValidatingAdmissionPolicy "kw.cap.p" is of generation 2, which API servers take up within 5s; webhook configuration "c" enforces generation 1 meanwhile`},
		{"it has changed", standing{native: wanted, enforced: native(1)}, v1.Active,
			`False/TakenUpByAPIServer ValidatingAdmissionPolicy "kw.cap.p" is of generation 2, which API servers take up within 5s; the API server enforces generation 1 meanwhile`},
		{"it is enforced, and there is no policy server", standing{native: effective, enforced: native(2)}, v1.Active,
			`True/EnforcedByAPIServer generation 2 is enforced by the API server itself, as ValidatingAdmissionPolicy "kw.cap.p"`},
		{"the API server warns", standing{server: true, native: warned, enforced: native(2)}, v1.Active,
			`True/EnforcedByAPIServer generation 2 is enforced by the API server itself, as ValidatingAdmissionPolicy "kw.cap.p"; it warns: spec.validations[0].expression: undefined field 'x'`},
		{"it is refused", standing{server: true, native: wanted, enforced: native(1), refused: errors.New("no")}, v1.Active,
			"False/NotForAPIServer no; the API server enforces generation 1 meanwhile"},
		{"it is to have a webhook again", standing{server: true, enforced: native(1)}, v1.Active,
			"False/OlderGeneration the API server enforces generation 1 by itself until a webhook asks for generation 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.s.policy = celView(t, "APIServer", "")
			status := tt.s.status()
			c := meta.FindStatusCondition(status.Conditions, v1.ConditionEnforced)
			if got := fmt.Sprintf("%s/%s %s", c.Status, c.Reason, c.Message); got != tt.enforced {
				t.Errorf("Enforced: %s\nwant %s", got, tt.enforced)
			}
			if status.PolicyStatus != tt.state {
				t.Errorf("policyStatus %s, want %s", status.PolicyStatus, tt.state)
			}
			// Audits need the policy server, enforcement does not.
			ready := meta.FindStatusCondition(status.Conditions, v1.ConditionReady)
			if tt.s.native.wanted && (ready.Status != c.Status || ready.Reason != c.Reason) {
				t.Errorf("Ready: %s/%s, Enforced: %s/%s", ready.Status, ready.Reason, c.Status, c.Reason)
			}
		})
	}
}

// rounds are the rounds of an enforcer about one policy, and the cluster between
// them.
type rounds struct {
	t       *testing.T
	e       *enforcer
	memory  *serverMemory
	natives manifest.NativeObjects
	configs configurations
	status  v1.PolicyStatus
}

// plan plans a round, at which every replica holds the policy.
func (c *rounds) plan(p v1.Policy) (*round, *standing) {
	*p.Status = c.status
	s := &standing{policy: p, server: true, held: true, reachable: true, tally: tally{live: 1, held: 1}}
	server := &v1.PolicyServer{}
	server.Name = "default"
	r := &round{
		serverMemory: c.memory, name: "default", server: server, present: true, policies: []*standing{s},
		reachable: true, nativesNow: c.natives, current: c.configs,
	}
	c.e.plan(r)
	return r, s
}

// do does what was planned, and writes the status.
func (c *rounds) do(r *round, s *standing) {
	c.t.Helper()
	for _, objects := range r.natives.Apply {
		for _, o := range objects {
			switch o := o.(type) {
			case *admissionregv1.ValidatingAdmissionPolicy:
				c.natives.ValidatingPolicies = []admissionregv1.ValidatingAdmissionPolicy{*o}
			case *admissionregv1.ValidatingAdmissionPolicyBinding:
				c.natives.ValidatingBindings = []admissionregv1.ValidatingAdmissionPolicyBinding{*o}
			}
		}
	}
	write := func(objects []v1.Object) {
		for _, o := range objects {
			if config, ok := o.(*admissionregv1.ValidatingWebhookConfiguration); ok {
				c.configs.validating = []admissionregv1.ValidatingWebhookConfiguration{*config}
			}
		}
	}
	write(r.webhooks.Widen)
	c.status = s.status()
	if !r.graceUntil.IsZero() {
		return
	}
	write(r.webhooks.Narrow)
	if len(r.webhooks.Delete) > 0 {
		c.configs = configurations{}
	}
	if len(r.natives.Delete) > 0 {
		c.natives = manifest.NativeObjects{}
	}
}

// enforcing says who enforces the policy now.
func (c *rounds) enforcing() string {
	var all []string
	if len(c.configs.validating) > 0 {
		all = append(all, "webhook")
	}
	if len(c.natives.ValidatingPolicies) > 0 && len(c.natives.ValidatingBindings) > 0 {
		all = append(all, "API server")
	}
	return strings.Join(all, ", ")
}

func TestAPolicyMovesBetweenAWebhookAndTheAPIServerWithoutAGap(t *testing.T) {
	c := &rounds{t: t, e: &enforcer{natives: nativeKinds{validating: true, mutating: true}}, memory: newServerMemory()}
	// Time goes by: what has begun, has begun before.
	later := func(by time.Duration) {
		for uid, seen := range c.memory.nativeSeen {
			c.memory.nativeSeen[uid] = nativeSeen{seen.generation, seen.since.Add(-by)}
		}
		for uid, since := range c.memory.moving {
			c.memory.moving[uid] = since.Add(-by)
		}
	}
	step := func(at string, generation int64, after time.Duration, want string) {
		t.Helper()
		later(after)
		p := celView(t, at, "")
		p.Object.SetGeneration(generation)
		r, s := c.plan(p)
		c.do(r, s)
		said := "nobody"
		if e := c.status.Enforced; e != nil {
			said = map[bool]string{true: "API server", false: "webhook"}[e.At == v1.AtAPIServer] + fmt.Sprint(" at ", e.Generation)
		}
		if got := c.enforcing() + "; says " + said; got != want {
			t.Errorf("generation %d: %s, want %s", generation, got, want)
		}
		waits := !r.graceUntil.IsZero() || !r.nativeUntil.IsZero()
		if next := r.next(time.Now()); waits != (next > 0) {
			t.Errorf("generation %d: it waits: %v, and looks again after %v", generation, waits, next)
		}
	}
	step("Webhook", 2, 0, "webhook; says webhook at 2")
	step("APIServer", 3, 0, "webhook, API server; says webhook at 2")            // just written
	step("APIServer", 3, 0, "webhook, API server; says webhook at 2")            // seen
	step("APIServer", 3, time.Second, "webhook, API server; says webhook at 2")  // not everywhere yet
	step("APIServer", 3, nativeGrace, "API server; says API server at 3")        // by now
	step("APIServer", 4, time.Hour, "API server; says API server at 3")          // it has changed
	step("APIServer", 4, 0, "API server; says API server at 3")                  // not everywhere yet
	step("APIServer", 4, nativeGrace, "API server; says API server at 4")        //
	step("Webhook", 5, time.Hour, "webhook, API server; says API server at 4")   // not everywhere yet
	step("Webhook", 5, time.Second, "webhook, API server; says API server at 4") //
	step("Webhook", 5, moveGrace, "webhook; says webhook at 5")                  // by now
	step("APIServer", 6, time.Hour, "webhook, API server; says webhook at 5")    //
	step("Webhook", 7, 0, "webhook; says webhook at 7")                          // changed his mind
	step("APIServer", 8, time.Hour, "webhook, API server; says webhook at 7")    //
	step("APIServer", 8, 0, "webhook, API server; says webhook at 7")            // seen
	c.memory = newServerMemory()                                                 // another controller leads
	step("APIServer", 8, nativeGrace, "webhook, API server; says webhook at 7")  // and has to wait
	step("APIServer", 8, nativeGrace, "API server; says API server at 8")        //
	c.memory = newServerMemory()                                                 // what was said holds
	step("APIServer", 8, 0, "API server; says API server at 8")                  //
	if got := c.memory.nativeSeen[types.UID("u")].generation; got != 8 {
		t.Errorf("generation %d is remembered, want 8", got)
	}
}

func TestAnAPIServerWithoutPoliciesOfItsOwnIsNotAsked(t *testing.T) {
	mutating := celView(t, "APIServer", "")
	mutating.Single.CEL.Mutations = make([]admissionregv1.Mutation, 1)
	tests := []struct {
		name string
		has  nativeKinds
		p    v1.Policy
		want string
	}{
		{"Kubernetes 1.29", nativeKinds{}, celView(t, "APIServer", ""), "ValidatingAdmissionPolicy of admissionregistration.k8s.io/v1, which came with Kubernetes 1.30"},
		{"Kubernetes 1.35", nativeKinds{validating: true}, mutating, "MutatingAdmissionPolicy of admissionregistration.k8s.io/v1, which came with Kubernetes 1.36"},
		{"Kubernetes 1.35, validating", nativeKinds{validating: true}, celView(t, "APIServer", ""), ""},
	}
	for _, tt := range tests {
		c := &rounds{t: t, e: &enforcer{natives: tt.has}, memory: newServerMemory()}
		r, s := c.plan(tt.p)
		if tt.want == "" {
			if s.refused != nil || len(r.natives.Apply) != 1 {
				t.Errorf("%s: %v, %v", tt.name, s.refused, r.natives.Apply)
			}
			continue
		}
		if s.refused == nil || !strings.Contains(s.refused.Error(), tt.want) || len(r.natives.Apply) > 0 {
			t.Errorf("%s: %v, want %s", tt.name, s.refused, tt.want)
		}
	}
}

func TestKubectlApplyIsToldWhatTheAPIServerCannotEnforce(t *testing.T) {
	tests := []struct{ name, more, want string }{
		{"workloads", "  workloads: Expand", "spec.workloads: Forbidden: the API server cannot judge workloads by the pods that they would make; " +
			"set it to Ignore, or leave enforceAt out (spec.enforceAt is APIServer)"},
		{"a time", "  timeoutEvalSeconds: 3", ""},
	}
	for _, tt := range tests {
		c := &policyCheck{view: celView(t, "APIServer", tt.more)}
		c.enforcedAt(field.NewPath("spec"))
		got := ""
		if len(c.errs) > 0 {
			got = c.errs.ToAggregate().Error()
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if tt.want == "" && len(c.warnings) != 1 {
			t.Errorf("%s: warnings %q, want one", tt.name, c.warnings)
		}
	}
	elsewhere := &policyCheck{view: celView(t, "Node", "")}
	elsewhere.enforcedAt(field.NewPath("spec"))
	if len(elsewhere.errs) != 1 || elsewhere.errs[0].Field != "spec.enforceAt" {
		t.Errorf("enforced elsewhere: %v", elsewhere.errs)
	}
}
