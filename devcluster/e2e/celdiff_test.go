package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/warder-dev/warder/runtime/cel"
	"github.com/warder-dev/warder/sdk"
)

// What is compared: policies are generated, besides those that are written, and
// each is asked about each request that it matches.
const (
	celGenerated = 150
	celRequests  = 1500
	// celGroups is over how many namespaces the policies are spread: the audit
	// log has at most fifty failures of a request.
	celGroups = 3
	// celShown bounds how many differences are printed.
	celShown = 25
)

// celSeed is what the generators start from; WARDER_CEL_SEED changes it.
func celSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("WARDER_CEL_SEED")
	if text == "" {
		return 5
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("WARDER_CEL_SEED: %v", err)
	}
	return seed
}

// TestDecisionsAreTheAPIServers compares, on one cluster, decisions, refusals and
// mutations.
func TestDecisionsAreTheAPIServers(t *testing.T) {
	t.Parallel()
	start, seed := time.Now(), celSeed(t)
	c := startCELCluster(t)
	for g := range celGroups {
		group := fmt.Sprintf("g%d", g)
		c.namespace(group, "a", map[string]string{"env": "prod", "team": "web"})
		c.namespace(group, "b", map[string]string{"env": "dev"})
	}
	c.objects("grants.yaml")
	t.Logf("%s: the cluster is there", time.Since(start).Round(time.Second))
	for _, part := range []struct {
		name string
		run  func(c *celCluster, seed uint64)
	}{
		{"mutations", (*celCluster).mutations}, {"refusals", (*celCluster).refusals}, {"decisions", (*celCluster).decisions},
	} {
		t.Run(part.name, func(t *testing.T) {
			start := time.Now()
			c.T = t
			part.run(c, seed)
			t.Logf("%s took %s", part.name, time.Since(start).Round(time.Second))
		})
	}
}

// decisions asks the API server and runtime/cel about the
// same requests. The policies are bound with the action Audit, so that one
// request has an answer of each of them in the audit log; a webhook keeps the
// review, which our programs judge.
func (c *celCluster) decisions(seed uint64) {
	t, start := c.T, time.Now()
	policies := slices.Concat(generatePolicies(seed, celGenerated), writtenPolicies(t, "celdiff"))
	c.compile(policies)
	c.recorder()
	c.bind(policies, admissionv1.Audit, func(i int) *admissionv1.MatchResources {
		return &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"celdiff": fmt.Sprintf("g%d", i%celGroups)}}}
	})
	c.policiesWork()
	t.Logf("%s: the policies work", time.Since(start).Round(time.Second))

	requests := generateRequests(seed, celRequests)
	id := func(i int) string { return fmt.Sprintf("celdiff-%d-%d", i%celGroups, i/celGroups) }
	answers := make([]celAnswer, len(requests)*celGroups)
	c.sendAll(len(answers), func(i int) error {
		r, group := requests[i/celGroups], fmt.Sprintf("g%d", i%celGroups)
		var err error
		answers[i], err = c.send(r, id(i), group, group+"-"+[]string{"a", "b"}[r.index/7%2])
		return err
	})
	t.Logf("%s: %d requests are answered", time.Since(start).Round(time.Second), len(answers))
	logged := c.annotations(len(answers), func(id string) bool { return strings.HasPrefix(id, "celdiff-") })

	all := celComparison{celCluster: c, policies: policies, shown: map[string]int{}, unjudged: map[string]int{}}
	c.sendAll(len(answers), func(i int) error {
		r, req := requests[i/celGroups], c.request(id(i))
		if req == nil {
			all.notJudged(r, answers[i])
			return nil
		}
		have, err := theirs(logged[id(i)])
		if err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
		all.compare(fmt.Sprintf("seed %d, %s in group %d", seed, r, i%celGroups), req, have, i%celGroups)
		return nil
	})
	t.Logf("%s: %d policies, %d requests, of which %d were refused before; %d comparisons, %d of them without a failure, %d failing expressions, %d audit annotations, %d differences",
		time.Since(start).Round(time.Second), len(policies), len(answers), all.notJudgedAtAll, all.compared, all.passes, all.failures, all.annotations, all.different)
	if all.different > 0 {
		t.Errorf("%d differences, of policies %v", all.different, all.shown)
	}
	if all.notJudgedAtAll > len(answers)/50 {
		t.Errorf("%d of %d requests were not judged: make better ones", all.notJudgedAtAll, len(answers))
	}
	if all.passes < all.compared/10 || all.failures < all.compared/10 {
		t.Error("nearly all policies say the same: that compares little")
	}
}

// celComparison counts what is compared.
type celComparison struct {
	*celCluster
	policies []*celPolicy

	mu                                                 sync.Mutex
	compared, passes, failures, annotations, different int
	shown                                              map[string]int // differences by policy
	notJudgedAtAll                                     int
	unjudged                                           map[string]int
}

// notJudged notes a request that the webhook has not seen, and shows one of each
// sort.
func (a *celComparison) notJudged(r celRequest, answer celAnswer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notJudgedAtAll++
	why := fmt.Sprint(r.method, " ", r.path, " ", answer.code)
	if a.unjudged[why]++; a.unjudged[why] == 1 {
		a.Logf("%s: not judged: %d %.300s", r, answer.code, answer.body)
	}
}

// compare compares what the API server says of a request with what ours says, by
// each policy of the group that it matches.
func (a *celComparison) compare(of string, req *sdk.Request, have map[string]*said, group int) {
	ctx := cel.Shared(a.Context())
	resource := req.Resource.Resource
	if req.SubResource != "" {
		resource += "/" + req.SubResource
	}
	for at := group; at < len(a.policies); at += celGroups {
		p := a.policies[at]
		if !p.rule.matches(req.Resource.Group, resource, string(req.Operation)) {
			continue
		}
		text := ""
		if mine, err := ours(ctx, p, req); err != nil {
			text = "no answer of ours: " + err.Error()
		} else {
			text = difference(have[p.name], mine)
		}
		a.count(have[p.name])
		delete(have, p.name)
		a.report(of, p.name, text, fmt.Sprintf("%s\nobject: %.1500s\nold: %.800s", p, req.Object, req.OldObject))
	}
	for name := range have {
		a.report(of, name, "the API server has asked it, and we have not", "")
	}
}

func (a *celComparison) count(theirs *said) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.compared++
	if theirs == nil || len(theirs.failures) == 0 {
		a.passes++
	}
	if theirs != nil {
		a.failures += len(theirs.failures)
		a.annotations += len(theirs.annotations)
	}
}

// report counts a difference, if there is one, and shows the first of a policy.
func (a *celComparison) report(of, policy, difference, more string) {
	if difference == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.different++
	if a.shown[policy]++; a.shown[policy] == 1 && len(a.shown) <= celShown {
		a.Errorf("%s, policy %s: %s\n%s", of, policy, difference, more)
	}
}

// policiesWork waits until the API server asks the policies that it has been
// given: it does when it asks those that it was given after them, of which each
// has params of another kind.
func (c *celCluster) policiesWork() {
	c.Helper()
	action := admissionv1.DenyAction
	var last []*celPolicy
	for i, kind := range []admissionv1.ParamKind{
		{APIVersion: "v1", Kind: "ConfigMap"}, {APIVersion: "celdiff.example.com/v1", Kind: "Limit"}, {APIVersion: "celdiff.example.com/v1", Kind: "ClusterLimit"},
	} {
		p := &celPolicy{name: fmt.Sprintf("last-%s-%d", strings.ToLower(kind.Kind), i), failure: admissionv1.Fail}
		p.rule = celRule{groups: []string{""}, resources: []string{"configmaps"}}
		p.spec.ParamKind = &kind
		p.spec.ParamRef = &admissionv1.ParamRef{Name: "limit", ParameterNotFoundAction: &action}
		if kind.Kind != "ClusterLimit" {
			p.spec.ParamRef.Namespace = "default"
		}
		p.spec.Validations = []admissionv1.Validation{{Expression: "params.metadata.name != 'limit'", Message: "works: " + p.name}}
		last = append(last, p)
	}
	api := c.client.AdmissionregistrationV1()
	for _, p := range last {
		c.bind([]*celPolicy{p}, admissionv1.Deny, func(int) *admissionv1.MatchResources {
			return &admissionv1.MatchResources{ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"probe": p.name}}}
		})
		probe := configMap("probe")
		probe.Labels = map[string]string{"probe": p.name}
		eventually(c.T, p.name+" refuses", func(ctx context.Context) error {
			_, err := c.client.CoreV1().ConfigMaps("default").Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil && strings.Contains(err.Error(), "works: "+p.name) {
				return nil
			}
			return errors.Join(errors.New("not yet"), err)
		})
		if err := errors.Join(api.ValidatingAdmissionPolicyBindings().Delete(c.Context(), p.name, metav1.DeleteOptions{}),
			api.ValidatingAdmissionPolicies().Delete(c.Context(), p.name, metav1.DeleteOptions{})); err != nil {
			c.Fatal(err)
		}
	}
}
