//go:build !wasip1

package library_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// example is what these tests look at in the resource of a README.
type example struct {
	Spec struct {
		Rules                 []library.Rule
		ContextAwareResources []library.Resource
	}
}

func exampleOf(t *testing.T, b library.Builtin) example {
	t.Helper()
	text, err := os.ReadFile(strings.ReplaceAll(b.Name, "-", "") + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatalf("%s: the README has no block of yaml", b.Name)
	}
	var e example
	if err := yaml.Unmarshal(block[1], &e); err != nil {
		t.Fatalf("%s: %v", b.Name, err)
	}
	return e
}

// What metadata say a policy is for must hold what its README has it for.
func TestEveryBuiltinHasRulesThatItsREADMEFits(t *testing.T) {
	for _, b := range library.All() {
		rules := b.Rules()
		if len(rules) == 0 {
			t.Errorf("%s has no rules: say in rules.go which requests it is for", b.Name)
			continue
		}
		for _, r := range exampleOf(t, b).Spec.Rules {
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, operation := range r.Operations {
						if !possible(group, resource) {
							continue
						}
						if !slices.ContainsFunc(rules, func(rule library.Rule) bool {
							return has(rule.APIGroups, group) && has(rule.Resources, resource) && has(rule.Operations, operation)
						}) {
							t.Errorf("%s: the README has it judge %s of %s in group %q; rules.go does not", b.Name, operation, resource, group)
						}
					}
				}
			}
		}
	}
}

// possible reports whether a group has the resource: READMEs write those of three
// groups in one rule.
func possible(group, resource string) bool {
	groups := map[string]string{
		"pods": "", "replicationcontrollers": "", "deployments": "apps", "replicasets": "apps", "statefulsets": "apps", "daemonsets": "apps",
		"jobs": "batch", "cronjobs": "batch",
	}
	its, known := groups[resource]
	return !known || its == group
}

func has(list []string, one string) bool {
	return slices.Contains(list, one) || slices.Contains(list, "*") || slices.Contains(list, "*/*")
}

// What a policy reads and asks is what it is granted in its README, and what its
// cases answer. What its code asks is compared when it is built as a module.
func TestWhatBuiltinsAskIsWhatTheirCasesAnswer(t *testing.T) {
	for _, b := range library.All() {
		want := slices.Clone(exampleOf(t, b).Spec.ContextAwareResources)
		have := slices.Clone(b.Reads())
		if !slices.Equal(have, want) {
			t.Errorf("%s reads %v, and the README grants %v", b.Name, have, want)
		}
		cases, err := sdktest.ReadCases(strings.ReplaceAll(b.Name, "-", "") + "/testdata")
		if err != nil {
			t.Fatal(err)
		}
		asked := map[string]bool{}
		for _, c := range cases {
			for _, a := range c.Answers {
				asked[a.Capability] = true
			}
		}
		for capability := range asked {
			if !slices.Contains(b.Capabilities(), capability) {
				t.Errorf("%s: a case answers %s; asks.go does not have it", b.Name, capability)
			}
		}
		for _, capability := range b.Capabilities() {
			if len(asked) > 0 && !asked[capability] { // those without any have a test in Go
				t.Errorf("%s: no case answers %s", b.Name, capability)
			}
		}
		if b.AsksHost != (len(b.Capabilities()) > 0) {
			t.Errorf("%s: asks the host: %t; capabilities %q", b.Name, b.AsksHost, b.Capabilities())
		}
	}
}
