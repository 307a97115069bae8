package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/google/go-cmp/cmp"
	admissionreviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk"
)

// mutations compares what is stored: once with a webhook that answers with the
// engine's patch, and once with MutatingAdmissionPolicies. Each policy changes
// the objects that have its name as a label.
func (c *celCluster) mutations(seed uint64) {
	policies := writtenPolicies(c.T, "celdiff-mutate")
	e := c.engineOf(policies)
	c.namespace("mutate", "a", map[string]string{"env": "prod", "team": "web"})
	requests := c.requestsFor(policies, seed+2)
	send := func(name string, answers []celAnswer) {
		c.sendAll(len(requests), func(i int) (err error) {
			answers[i], err = c.send(requests[i], fmt.Sprintf("%s-%d", name, i), "mutate", "mutate-a")
			return err
		})
	}

	var changed, refused atomic.Int64
	stop := c.mutatingRecorder()
	c.answer = func(r *admissionreviewv1.AdmissionResponse, req *sdk.Request) {
		id := sdk.View(req.Object).Get("metadata", "labels", "judge").String()
		if id == "" {
			return
		}
		d, err := e.Evaluate(context.Background(), policy.ID(id), req)
		if err != nil {
			c.Error(err)
			return
		}
		if r.Allowed = d.Response.Allowed; !r.Allowed {
			r.Result = &metav1.Status{Message: fmt.Sprint(d.Response.Status, d.Err)}
		}
		if d.Response.Patch != nil {
			changed.Add(1)
			jsonPatch := admissionreviewv1.PatchTypeJSONPatch
			r.Patch, r.PatchType = d.Response.Patch, &jsonPatch
		}
	}
	eventually(c.T, "the webhook is called", func(context.Context) error { return c.probe("called-1", true) })
	ours, theirs := make([]celAnswer, len(requests)), make([]celAnswer, len(requests))
	send("ours", ours)
	stop()
	c.answer = nil
	called := 0
	eventually(c.T, "the webhook is not called", func(context.Context) error {
		called++
		return c.probe(fmt.Sprintf("uncalled-%d", called), false)
	})
	c.bindMutating(policies)
	send("theirs", theirs)

	c.sendAll(len(requests), func(i int) error {
		p, req := policies[i/celEach], c.request(fmt.Sprintf("ours-%d", i))
		if req == nil {
			return fmt.Errorf("%s: not recorded: %d %s", requests[i], ours[i].code, ours[i].body)
		}
		problem := ""
		switch _, reason, no := strings.Cut(theirs[i].status().Message, fmt.Sprintf("policy '%s' with binding '%s' denied request: ", p.name, p.name)); {
		case no:
			refused.Add(1)
			if !strings.Contains(ours[i].status().Message, reason) {
				problem = fmt.Sprintf("\n  API server: %s\n  ours:       %s", theirs[i].body, ours[i].body)
			}
		case theirs[i].code >= http.StatusBadRequest || ours[i].code >= http.StatusBadRequest:
			if theirs[i].code != ours[i].code || theirs[i].status().Message != ours[i].status().Message {
				problem = fmt.Sprintf("\n  API server: %d %s\n  ours:       %d %s", theirs[i].code, theirs[i].body, ours[i].code, ours[i].body)
			}
		default:
			problem = cmp.Diff(withoutChance(theirs[i].body), withoutChance(ours[i].body))
		}
		if problem != "" {
			c.Errorf("seed %d, %s, policy %s (- API server, + ours): %s\n%s\nobject: %.1500s", seed, requests[i], p.name, problem, p, req.Object)
		}
		return nil
	})
	c.Logf("%d policies, %d creations, %d changed, %d refused", len(policies), len(requests), changed.Load(), refused.Load())
	if changed.Load() == 0 || refused.Load() == 0 {
		c.Error("nothing is changed, or refused: that compares little")
	}
}

// withoutChance is an object without what is different each time.
func withoutChance(text []byte) map[string]any {
	text = regexp.MustCompile(`kube-api-access-[a-z0-9]{5}`).ReplaceAll(text, []byte("kube-api-access"))
	object := map[string]any{}
	if err := json.Unmarshal(text, &object); err != nil {
		return map[string]any{"text": string(text)}
	}
	if meta, ok := object["metadata"].(map[string]any); ok {
		for _, name := range []string{"uid", "creationTimestamp", "managedFields", "generation", "resourceVersion"} {
			delete(meta, name)
		}
	}
	spec, ok := object["spec"].(map[string]any)
	if !ok {
		return object
	}
	for _, name := range []string{"clusterIP", "clusterIPs"} {
		if spec[name] != "None" {
			delete(spec, name)
		}
	}
	if ports, ok := spec["ports"].([]any); ok {
		for _, p := range ports {
			if p, ok := p.(map[string]any); ok {
				delete(p, "nodePort")
			}
		}
	}
	return object
}

// bindMutating gives the API server policies, a last one after them, and returns
// when that one works.
func (c *celCluster) bindMutating(policies []*celPolicy) {
	c.Helper()
	api, never := c.client.AdmissionregistrationV1(), admissionv1.NeverReinvocationPolicy
	last := &celPolicy{name: "last-mutating", failure: admissionv1.Fail, rule: celRule{groups: []string{""}, resources: []string{"configmaps"}}}
	last.spec.Mutations = []admissionv1.Mutation{{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{
		Expression: `[JSONPatch{op: "add", path: "/data", value: {"works": "yes"}}]`,
	}}}
	create := func(p *celPolicy) error {
		_, err := api.MutatingAdmissionPolicies().Create(c.Context(), &admissionv1.MutatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: p.name},
			Spec: admissionv1.MutatingAdmissionPolicySpec{
				ParamKind: p.spec.ParamKind, MatchConditions: p.spec.MatchConditions, Variables: p.spec.Variables, Mutations: p.spec.Mutations,
				FailurePolicy: &p.failure, ReinvocationPolicy: never, MatchConstraints: &admissionv1.MatchResources{ResourceRules: p.rule.named()},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("policy %s: %w\n%s", p.name, err, p)
		}
		_, err = api.MutatingAdmissionPolicyBindings().Create(c.Context(), &admissionv1.MutatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: p.name},
			Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{
				PolicyName: p.name, ParamRef: p.spec.ParamRef,
				MatchResources: &admissionv1.MatchResources{ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"judge": p.name}}},
			},
		}, metav1.CreateOptions{})
		return err
	}
	c.sendAll(len(policies), func(i int) error { return create(policies[i]) })
	if err := create(last); err != nil {
		c.Fatal(err)
	}
	if c.Failed() {
		c.FailNow()
	}
	probe := configMap("probe")
	probe.Labels, probe.Data = map[string]string{"judge": last.name}, nil
	eventually(c.T, "the last MutatingAdmissionPolicy works", func(ctx context.Context) error {
		made, err := c.client.CoreV1().ConfigMaps("default").Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && made.Data["works"] != "yes" {
			err = fmt.Errorf("not yet")
		}
		return err
	})
}
