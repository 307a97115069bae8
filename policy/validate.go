package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warder-dev/warder/sdk"
)

// MaxTimeout bounds Policy.Timeout. The API server waits for 30 s at most; a
// raw policy has other callers, but none that waits a day.
const MaxTimeout = 24 * time.Hour

// InvalidError reports one thing about a policy that cannot work.
type InvalidError struct {
	Policy ID
	// Path is the field, as policies.yml calls it: "rules[0].operations"; ""
	// for the policy itself.
	Path string
	// Problem says what is wrong, and where that is not plain what to do.
	Problem string
}

func (e *InvalidError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("policy %q: %s", e.Policy, e.Problem)
	}
	return fmt.Sprintf("policy %q: %s: %s", e.Policy, e.Path, e.Problem)
}

// Validate reports everything about the policy that cannot work, not only the
// first: nil, or joined *InvalidErrors. Settings are checked to be a JSON
// object; what they mean is the module's to say.
func (p Policy) Validate() error {
	v := validator{id: p.ID}
	v.policy(p)
	return errors.Join(v.errs...)
}

// bundlePath is the key of a policy's i-th bundle. policies.yml has one.
func bundlePath(i int) string {
	if i == 0 {
		return "bundle"
	}
	return "bundles[" + strconv.Itoa(i) + "]"
}

func (v *validator) bundle(path, name string) {
	switch {
	case strings.Contains(name, "/"):
		v.fail(path, "%q contains a slash; it is the last segment of a URL", name)
	case name == "." || name == "..":
		v.fail(path, "%q cannot be part of a URL", name)
	case name == "":
		v.fail(path, "the name is empty")
	}
}

type validator struct {
	id   ID
	path string // with a dot at its end, unless it is empty
	errs []error
}

func (v *validator) fail(path, format string, args ...any) {
	path = strings.TrimSuffix(v.path+path, ".")
	v.errs = append(v.errs, &InvalidError{v.id, path, fmt.Sprintf(format, args...)})
}

func (v *validator) policy(p Policy) {
	switch {
	case p.ID == "":
		v.fail("", "the name is empty")
	case strings.Contains(string(p.ID), "/"):
		v.fail("", "policy name '%s' contains a '/' character", p.ID)
	case p.ID == "." || p.ID == "..":
		v.fail("", "the name cannot be part of a URL")
	}
	if p.Mode != "" && p.Mode != Protect && p.Mode != Monitor {
		v.fail("policyMode", "want monitor or protect, have %q", p.Mode)
	}
	if p.FailurePolicy != "" && p.FailurePolicy != Fail && p.FailurePolicy != Ignore {
		v.fail("failurePolicy", "want Fail or Ignore, have %q", p.FailurePolicy)
	}
	for i, bundle := range p.Bundles {
		v.bundle(bundlePath(i), bundle)
	}
	for i, rule := range p.Rules {
		v.rule("rules["+strconv.Itoa(i)+"].", rule)
	}
	v.workloads(p)
	if p.Group != nil {
		v.group(p)
		return
	}
	v.module(p)
	if p.mutatesInCEL() && !p.AllowedToMutate {
		v.fail("allowedToMutate", "must be true of a policy with cel.mutations")
	}
}

// module checks what a policy and a member of a group have in common.
func (v *validator) module(p Policy) {
	v.source(p)
	if s := bytes.TrimSpace(p.Settings); len(s) > 0 {
		if err := sdk.Check(s); err != nil {
			v.fail("settings", "%v", err)
		} else if s[0] != '{' && s[0] != 'n' {
			v.fail("settings", "want an object")
		}
	}
	if p.Timeout < 0 || p.Timeout > MaxTimeout {
		v.fail("timeoutEvalSeconds", "%s is outside 1s to %s", p.Timeout, MaxTimeout)
	}
	for i, r := range p.ContextAwareResources {
		path := "contextAwareResources[" + strconv.Itoa(i) + "]"
		if r.APIVersion == "" {
			v.fail(path+".apiVersion", "is missing or empty")
		}
		if r.Kind == "" {
			v.fail(path+".kind", "is missing or empty")
		}
	}
	for i, pattern := range p.HostCapabilities {
		if strings.TrimSpace(pattern) == "*" {
			break // as ParseGrants: nothing after it matters
		}
		if _, err := ParseGrants([]string{pattern}); err != nil {
			v.fail("hostCapabilities["+strconv.Itoa(i)+"]", "%v", err)
		}
	}
}

func (v *validator) group(p Policy) {
	if p.Module != "" {
		v.fail("module", "a group has no module of its own")
	}
	if p.CEL != nil {
		v.fail("cel", "a group has no expressions but its own; its members may be written in CEL")
	}
	if p.AllowedToMutate {
		v.fail("allowedToMutate", "a group cannot mutate")
	}
	if strings.TrimSpace(p.Group.Expression) == "" {
		v.fail("expression", "is missing: say which members have to accept, as in \"a() && !b()\"")
	}
	if p.Group.Message == "" {
		v.fail("message", "is missing: say what a rejected user is told")
	}
	if len(p.Group.Members) == 0 {
		v.fail("policies", "the group has no members")
	}
	var slashed []string
	for _, name := range slices.Sorted(maps.Keys(p.Group.Members)) {
		inner := validator{id: v.id, path: v.path + "policies." + name + "."}
		switch {
		case strings.Contains(name, "/"):
			slashed = append(slashed, name)
		case !isIdentifier(name):
			inner.fail("", "an expression cannot call this name: use letters, digits and underscores")
		case slices.Contains(reservedWords(), name):
			inner.fail("", "an expression cannot call this name: it is a reserved word")
		}
		member := p.Group.Members[name]
		member.Namespace = p.Namespace
		inner.module(member)
		if member.mutatesInCEL() {
			inner.fail("cel.mutations", "a member of a group cannot mutate")
		}
		v.errs = append(v.errs, inner.errs...)
	}
	if slashed != nil {
		list, _ := json.Marshal(slashed) // strings always encode
		v.fail("policies", "policy group '%s' contains policies with invalid names: %s", v.id, list)
	}
}

func isIdentifier(name string) bool {
	for i, r := range name {
		digit := '0' <= r && r <= '9'
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (!digit || i == 0) {
			return false
		}
	}
	return name != ""
}

// reservedWords returns the words that are no identifiers in CEL. Source:
// https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax.
func reservedWords() []string {
	return []string{
		"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if",
		"import", "let", "loop", "package", "namespace", "return", "var", "void", "while",
	}
}

func (v *validator) rule(path string, r Rule) {
	lists := []struct {
		name string
		list []string
	}{{"apiGroups", r.APIGroups}, {"apiVersions", r.APIVersions}, {"resources", r.Resources}, {"operations", r.Operations}}
	for _, l := range lists {
		switch {
		case len(l.list) == 0:
			v.fail(path+l.name, "is missing or empty; say [\"*\"] for all")
		case l.name != "resources" && len(l.list) > 1 && slices.Contains(l.list, "*"):
			v.fail(path+l.name, "No other elements can be defined when '*' is used")
		case l.name != "apiGroups" && slices.Contains(l.list, ""):
			v.fail(path+l.name, "has an empty element")
		}
	}
	for i, op := range r.Operations {
		switch sdk.Operation(op) {
		case sdk.Create, sdk.Update, sdk.Delete, sdk.Connect, "*", "":
		default:
			v.fail(path+"operations["+strconv.Itoa(i)+"]", "want CREATE, UPDATE, DELETE, CONNECT or *, have %q", op)
		}
	}
	v.resources(path+"resources", r.Resources)
	switch r.Scope {
	case "", EveryScope, Cluster, Namespaced:
	default:
		v.fail(path+"scope", "want Cluster, Namespaced or *, have %q", r.Scope)
	}
}

// resources refuses elements that another one includes already, as the API
// server does for webhooks, in whichever order they are.
func (v *validator) resources(path string, list []string) {
	for i, r := range list {
		resource, sub, hasSub := strings.Cut(r, "/")
		if hasSub && (resource == "" || sub == "" || strings.Contains(sub, "/")) {
			v.fail(path+"["+strconv.Itoa(i)+"]", "want a resource or resource/subresource, have %q", r)
			continue
		}
		for _, wide := range []string{"*/*", resource + "/*", "*/" + sub, "*"} {
			if wide == r || !slices.Contains(list, wide) || !includes(wide, resource, hasSub) {
				continue
			}
			v.fail(path+"["+strconv.Itoa(i)+"]", "%q is part of %q already; leave one out", r, wide)
			break
		}
	}
}

// includes reports whether the pattern, which is "*/*", "*", "*/sub" or
// "resource/*", leaves nothing for another one of that resource.
func includes(wide, resource string, hasSub bool) bool {
	switch wide {
	case "*/*":
		return true
	case "*":
		return !hasSub
	}
	return hasSub || wide != resource+"/*" // "pods" and "pods/*" are often said together
}

// Matches reports whether the policy judges the request: it has no rules, or
// one of them has the request's operation, group, version, resource and scope. A
// raw request has none of these and matches always.
func (p Policy) Matches(req *sdk.Request) bool {
	if len(p.Rules) == 0 || req.Raw != nil {
		return true
	}
	// What makes the pods that a rule names is matched too, see Expands.
	return slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.matches(req) }) || p.expands(req) != nil
}

func (r Rule) matches(req *sdk.Request) bool {
	has := func(list []string, want string) bool {
		return slices.Contains(list, "*") || slices.Contains(list, want)
	}
	return r.Scope.holds(req) && has(r.Operations, string(req.Operation)) &&
		has(r.APIGroups, req.Resource.Group) &&
		has(r.APIVersions, req.Resource.Version) &&
		slices.ContainsFunc(r.Resources, func(pattern string) bool {
			// "pods/*" is also "pods", and "*" has no subresources, as in the
			// API server: k8s.io/apiserver plugin/webhook/predicates/rules.
			resource, sub, _ := strings.Cut(pattern, "/")
			return (resource == "*" || resource == req.Resource.Resource) && (sub == "*" || sub == req.SubResource)
		})
}

// InNamespace reports whether a request is about something in a namespace. One
// for a namespace has that namespace's name as its own, and is about the cluster
// nevertheless, as in the API server: k8s.io/apiserver
// plugin/webhook/predicates/rules.
func InNamespace(req *sdk.Request) bool {
	return req.Namespace != "" && req.Resource != (sdk.GroupVersionResource{Version: "v1", Resource: "namespaces"})
}

// holds reports whether the request is about something of that scope.
func (s Scope) holds(req *sdk.Request) bool {
	switch s {
	case Namespaced:
		return InNamespace(req)
	case Cluster:
		return !InNamespace(req)
	}
	return true
}
