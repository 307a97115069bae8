package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
)

// celRefusing policies are asked about celEach creations each.
const (
	celRefusing = 63
	celEach     = 8
)

// refusals compares what somebody is told who is refused: policies bound with
// the action Deny beside the engine's answers. Each judges the objects that have
// its name as a label.
func (c *celCluster) refusals(seed uint64) {
	policies := slices.Concat(generateRefusing(seed+1, celRefusing), writtenPolicies(c.T, "celdiff-refuse"))
	e := c.engineOf(policies)
	c.namespace("refuse", "a", map[string]string{"env": "prod", "team": "web"})
	c.recorder()
	requests := c.requestsFor(policies, seed+1)
	id := func(i int) string { return fmt.Sprintf("refuse-%d", i) }
	answers := make([]celAnswer, len(requests))
	send := func(i int) (err error) {
		answers[i], err = c.send(requests[i], id(i), "refuse", "refuse-a")
		return err
	}
	c.sendAll(len(requests), send) // which the webhook sees: it does not see what is refused
	c.bind(policies, admissionv1.Deny, func(i int) *admissionv1.MatchResources {
		return &admissionv1.MatchResources{ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"judge": policies[i].name}}}
	})
	c.policiesWork()
	c.sendAll(len(requests), send)

	var refused atomic.Int64
	c.sendAll(len(requests), func(i int) error {
		p, req := policies[i/celEach], c.request(id(i))
		if req == nil {
			return fmt.Errorf("%s: not recorded: %d %s", requests[i], answers[i].code, answers[i].body)
		}
		d, err := e.Evaluate(c.Context(), policy.ID(p.name), req)
		if err != nil {
			return err
		}
		if answers[i].code >= 400 {
			refused.Add(1)
		}
		if problem := refusalDiffers(p, answers[i], d); problem != "" {
			c.Errorf("seed %d, %s, policy %s: %s\n%s\nobject: %.1500s", seed, requests[i], p.name, problem, p, req.Object)
		}
		return nil
	})
	c.Logf("%d policies, %d creations, %d refused", len(policies), len(requests), refused.Load())
	if int(refused.Load()) < len(requests)/4 || int(refused.Load()) == len(requests) {
		c.Errorf("%d of %d are refused: that compares little", refused.Load(), len(requests))
	}
}

// engineOf makes an engine of policies.
func (c *celCluster) engineOf(policies []*celPolicy) *engine.Engine {
	c.Helper()
	e, err := engine.New(engine.Options{Services: capability.Services{Cluster: c.ours}, Timeout: patience})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		if err := e.Close(); err != nil {
			c.Error(err)
		}
	})
	var all []policy.Policy
	for _, p := range policies {
		spec := v1.CELSpec(p.spec)
		all = append(all, policy.Policy{
			ID: policy.ID(p.name), CEL: &spec, Mode: policy.Protect, AllowedToMutate: len(spec.Mutations) > 0,
			FailurePolicy: policy.FailurePolicy(p.failure), HostCapabilities: []string{"kubernetes/can_i"},
		})
	}
	if err := e.Apply(c.Context(), all); err != nil {
		c.Fatal(err)
	}
	for _, s := range e.Statuses() {
		if s.Error != "" {
			c.Errorf("policy %s: %s", s.ID, s.Error)
		}
	}
	if c.Failed() {
		c.FailNow()
	}
	return e
}

// requestsFor returns celEach creations for each policy, labelled with its name.
func (c *celCluster) requestsFor(policies []*celPolicy, seed uint64) []celRequest {
	c.Helper()
	creations := map[string][]celRequest{}
	for _, r := range generateRequests(seed, 100*celEach) {
		if object, ok := r.body.(map[string]any); ok && r.method == http.MethodPost {
			kind, _ := object["kind"].(string)
			creations[kind] = append(creations[kind], r)
		}
	}
	kinds := map[string]string{"pods": "Pod", "deployments": "Deployment", "configmaps": "ConfigMap", "services": "Service", "widgets": "Widget", "secrets": "Secret", "*": ""}
	var all []celRequest
	for i, p := range policies {
		kind := kinds[p.rule.resources[0]]
		if kind == "" {
			kind = []string{"Pod", "ConfigMap", "Widget"}[i%3]
		}
		for n := range celEach {
			of := creations[kind]
			if len(of) == 0 {
				c.Fatalf("there is no creation of a %s", kind)
			}
			r := of[(i*celEach+n)%len(of)]
			r.body = withLabel(r.body.(map[string]any), p.name)
			all = append(all, r)
		}
	}
	return all
}

// withLabel is a copy of an object with the label that has the policy judge it.
func withLabel(object map[string]any, policy string) map[string]any {
	object = maps.Clone(object)
	meta := maps.Clone(object["metadata"].(map[string]any))
	labels, _ := meta["labels"].(map[string]any)
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]any{}
	}
	labels["judge"] = policy
	meta["labels"], object["metadata"] = labels, meta
	return object
}

// refusalDiffers says how the API server's answer differs from ours, "" if it
// does not. The API server gives the first reason; we give all of them, the
// first one first.
func refusalDiffers(p *celPolicy, theirs celAnswer, ours engine.Decision) string {
	said := "allowed"
	if !ours.Response.Allowed {
		said = fmt.Sprintf("refused with %+v, %v", ours.Response.Status, ours.Err)
	} else if ours.Err != nil {
		said += ", " + ours.Err.Error()
	}
	status := theirs.status()
	if theirs.code < http.StatusBadRequest {
		if !ours.Response.Allowed {
			return fmt.Sprintf("\n  API server: allowed\n  ours:       %s", said)
		}
		return ""
	}
	_, reason, ok := strings.Cut(status.Message, fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: ", p.name, p.name))
	differs := fmt.Sprintf("\n  API server: %d %s: %s\n  ours:       %s", theirs.code, status.Reason, status.Message, said)
	switch {
	case !ok, ours.Response.Allowed, ours.Response.Status == nil:
		return differs
	case ours.Err != nil: // no verdict: the text is in the error
		if strings.Contains(ours.Err.Error(), reason) {
			return ""
		}
		return differs
	}
	first := ours.Response.Status.Message
	if ref := p.spec.ParamRef; ref != nil && ref.Selector != nil && strings.Contains(first+"\n", "\n- "+reason+"\n") {
		return "" // by which of the params the API server judges first is chance
	}
	if _, list, several := strings.Cut(first, " reasons to refuse this request:\n- "); several {
		first = list[:min(len(list), len(reason))]
		if after := list[len(first):]; after != "" && !strings.HasPrefix(after, "\n- ") {
			return differs
		}
	}
	if first != reason || ours.Response.Status.Code != theirs.code {
		return differs
	}
	return ""
}
