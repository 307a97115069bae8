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
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/warder-dev/warder/runtime/cel"
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

	var compared, unjudged, different, passes, failures, annotated atomic.Int64
	var mu sync.Mutex
	shown, refused := map[string]int{}, map[string]int{}
	c.sendAll(len(answers), func(i int) error {
		r := requests[i/celGroups]
		req := c.request(id(i))
		if req == nil {
			unjudged.Add(1)
			mu.Lock()
			defer mu.Unlock()
			if why := fmt.Sprint(r.method, " ", r.path, " ", answers[i].code); refused[why] == 0 {
				refused[why]++
				t.Logf("%s: not judged: %d %.300s", r, answers[i].code, answers[i].body)
			}
			return nil
		}
		have, err := theirs(logged[id(i)])
		if err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
		ctx := cel.Shared(t.Context())
		resource := req.Resource.Resource
		if req.SubResource != "" {
			resource += "/" + req.SubResource
		}
		for at := i % celGroups; at < len(policies); at += celGroups {
			p := policies[at]
			if !p.rule.matches(req.Resource.Group, resource, string(req.Operation)) {
				continue
			}
			compared.Add(1)
			want, text := have[p.name], ""
			switch {
			case want == nil || len(want.failures) == 0:
				passes.Add(1)
			default:
				failures.Add(int64(len(want.failures)))
			}
			if want != nil {
				annotated.Add(int64(len(want.annotations)))
			}
			if mine, err := ours(ctx, p, req); err != nil {
				text = "no answer of ours: " + err.Error()
			} else {
				text = difference(want, mine)
			}
			if text == "" {
				continue
			}
			different.Add(1)
			mu.Lock()
			if shown[p.name]++; shown[p.name] == 1 && len(shown) <= celShown {
				t.Errorf("seed %d, %s in group %d, policy %s: %s\n%s\nobject: %.1500s\nold: %.800s", seed, r, i%celGroups, p.name, text, p, req.Object, req.OldObject)
			}
			mu.Unlock()
		}
		return nil
	})
	t.Logf("%s: %d policies, %d requests (%d not judged, being refused before), %d comparisons, %d without a failure, %d failing expressions, %d audit annotations, %d differences",
		time.Since(start).Round(time.Second), len(policies), len(answers), unjudged.Load(), compared.Load(), passes.Load(), failures.Load(), annotated.Load(), different.Load())
	if different.Load() > 0 {
		t.Errorf("%d differences, of policies %v", different.Load(), shown)
	}
	if int(unjudged.Load()) > len(answers)/50 {
		t.Errorf("%d of %d requests were not judged: make better ones", unjudged.Load(), len(answers))
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
