// Package policy is what a policy is, as data: a module with settings, mode,
// timeout and grants, under an ID. It comes from policies.yml or from a custom
// resource; the engine makes a program of it.
package policy

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/warder-dev/warder/api/v1"
)

// ID names a policy on one server. It is the last segment of its URL and has
// no slash.
type ID string

// Policy is one entry of policies.yml.
type Policy struct {
	ID ID
	// Aliases are other names that the policy answers to, as long as no other
	// policy has one of them: what older webhooks ask for. An extension of warder.
	Aliases []ID
	// Namespace is that of a namespaced policy: what it reads of the cluster
	// stays in it. Empty for a policy of the whole cluster. The members of a
	// group have the group's.
	Namespace string
	// Module is where the module is: builtin://NAME, file:///PATH and so on.
	Module string
	// CEL is a policy in CEL; Module and Settings are then empty. An extension of
	// warder.
	CEL *v1.CELSpec
	// Settings are the policy's own, a JSON object; nil is the empty object.
	Settings json.RawMessage
	Mode     Mode
	// AllowedToMutate lets the verdict change the object.
	AllowedToMutate bool
	// Message, when not empty, replaces the policy's own in a rejection.
	Message string
	// Timeout bounds one evaluation, host calls included; 0 is the server's
	// default.
	Timeout               time.Duration
	ContextAwareResources []Resource
	// HostCapabilities are patterns of what the policy may ask of the host;
	// empty grants nothing.
	HostCapabilities []string

	// FailurePolicy says what no verdict means. An extension of warder.
	FailurePolicy FailurePolicy
	// Bundles join the policy to the others of these names, which answer one
	// request together at /review/{bundle}. It is in one, or in none; in two
	// while it moves from one to the other. An extension of warder.
	Bundles []string
	// Order is the policy's place in its bundle, low first; equal ones are in
	// the order of their IDs. An extension of warder.
	Order int
	// Rules narrow the requests that the policy judges in its bundle; none
	// judges all. An extension of warder.
	Rules []Rule
	// Workloads says whether the policy, when its rules name pods, also judges
	// the pods that workloads would create; empty is IgnoreWorkloads. An
	// extension of warder.
	Workloads Workloads
	// WorkloadTemplates are kinds beside those of Kubernetes that are expanded:
	// where the pod template is ("spec.template"), by the name of the custom
	// resource definition ("rollouts.argoproj.io"). An extension of warder.
	WorkloadTemplates map[string]string
	// PreferBuiltin lets a built-in answer that stands for the module, if there is
	// one; of a group, for those of its members. An extension of warder.
	PreferBuiltin bool

	// Group makes the policy a group: a boolean expression over members. Module
	// and what belongs to it are then empty.
	Group *Group
}

// Modules returns where the modules are: one, or that of each member of a group
// in the order of their names. A policy in CEL has none.
func (p Policy) Modules() []string {
	if p.Group == nil && p.CEL != nil {
		return nil
	}
	if p.Group == nil {
		return []string{p.Module}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(p.Group.Members)) {
		all = append(all, p.Group.Members[name].Modules()...)
	}
	return all
}

// mutatesInCEL reports whether the policy is written in CEL and changes objects.
func (p Policy) mutatesInCEL() bool { return p.CEL != nil && len(p.CEL.Mutations) > 0 }

// Mode says what a verdict does to the request.
type Mode string

// Protect refuses what the policy refuses; Monitor only records it.
const (
	Protect Mode = "protect"
	Monitor Mode = "monitor"
)

// FailurePolicy says what happens to a request for which a policy has no
// verdict: it could not be loaded, or failed, or took too long.
type FailurePolicy string

// Fail refuses the request, Ignore lets it through with a warning.
const (
	Fail   FailurePolicy = "Fail"
	Ignore FailurePolicy = "Ignore"
)

// Resource names a kind that a policy may read from the cluster.
type Resource struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// Rule says which requests a policy judges. "*" stands for all; resources may
// be "pods", "pods/status", "pods/*", "*/status" or "*/*". Every list has at
// least one element.
type Rule struct {
	APIGroups   []string
	APIVersions []string
	Resources   []string
	Operations  []string
	// Scope narrows the rule to what is in a namespace or to what is not. A
	// namespace itself is not in one. Empty is EveryScope.
	Scope Scope
}

// Scope says whether a rule is about what is in a namespace.
type Scope string

// The scopes of a rule. Source: k8s.io/api/admissionregistration/v1.
const (
	EveryScope Scope = "*"
	Cluster    Scope = "Cluster"
	Namespaced Scope = "Namespaced"
)

// ValidatingBundle is how the names of bundles start that a validating webhook
// asks. The API server takes no patch from one, so no policy of such a bundle
// may mutate, whatever its AllowedToMutate says: a policy that becomes a mutating
// one is in both kinds of bundle for a while.
const ValidatingBundle = "validate-"

// Mutates reports whether policies of the bundle may mutate.
func Mutates(bundle string) bool { return !strings.HasPrefix(bundle, ValidatingBundle) }

// Group is a policy whose verdict is an expression over its members'.
type Group struct {
	Expression string
	Message    string
	Members    map[string]Policy // by name; only module, settings, CEL, timeout and grants are used
}
