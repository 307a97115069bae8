package policy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/warder-dev/warder/sdk"
)

// Place is where something is in a file of policies.
type Place struct {
	File string
	// Line and Column count from 1; 0 is the file as a whole.
	Line, Column int
	// Policy is the entry, "" outside of one.
	Policy ID
	// Path is the key in the entry: "policies.signed.module".
	Path string
}

func (p Place) String() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d:%d", p.Line, p.Column)
	}
	if p.Policy != "" {
		s += ": " + string(p.Policy)
	}
	if p.Path != "" {
		s += ": " + p.Path
	}
	return s
}

// FileError is one mistake in a file of policies.
type FileError struct {
	Place
	Problem string
}

func (e *FileError) Error() string { return e.String() + ": " + e.Problem }

// Warning is something in a file of policies that has no effect, and probably
// should have.
type Warning struct {
	Place
	Text string
}

func (w Warning) String() string { return w.Place.String() + ": " + w.Text }

// ParseFile reads policies.yml: a map from the ID of a policy to what it is, in
// YAML or JSON. Name is that of the file, for messages. The policies are sorted
// by ID, and each is valid as Policy.Validate has it; Mode and FailurePolicy
// are never empty.
//
// The error joins a *FileError for each of the first hundred mistakes in the
// file. Then there are no policies: half a file may be worse than none. The
// warnings are about keys that nobody reads.
func ParseFile(name string, data []byte) ([]Policy, []Warning, error) {
	p := parser{file: name}
	p.doc.report = func(n *yaml.Node, problem string) { p.fail(n, p.path, problem) }
	policies := p.parse(data)
	if p.errs != nil {
		slices.SortStableFunc(p.errs, func(a, b *FileError) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, p.warnings, p.joined()
	}
	slices.SortFunc(policies, func(a, b Policy) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return policies, p.warnings, nil
}

// maxMistakes is how many mistakes of a file are reported: more than anybody
// reads, and no more than a log line holds.
const maxMistakes = 100

func (p *parser) joined() error {
	var errs []error
	for i, err := range p.errs {
		if i == maxMistakes {
			more := fmt.Sprintf("%d more mistakes", len(p.errs)-i)
			errs = append(errs, &FileError{Place{File: p.file}, more})
			break
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

type parser struct {
	file     string
	doc      document
	errs     []*FileError
	warnings []Warning

	// Of the entry that is being read:
	id     ID
	path   string                // of the key that is being read
	at     map[string]*yaml.Node // where each path is
	failed map[string]bool       // paths with a mistake
}

func (p *parser) place(n *yaml.Node, path string) Place {
	place := Place{File: p.file, Policy: p.id, Path: path}
	if n != nil {
		place.Line, place.Column = n.Line, n.Column
	}
	return place
}

func (p *parser) fail(n *yaml.Node, path, problem string) {
	if p.failed != nil {
		p.failed[path] = true
	}
	p.errs = append(p.errs, &FileError{p.place(n, path), problem})
}

func (p *parser) warn(f field, text string) {
	p.warnings = append(p.warnings, Warning{p.place(f.key, f.name), text})
}

func (p *parser) parse(data []byte) []Policy {
	root, err := parseYAML(data)
	if err != nil {
		p.fail(nil, "", err.Error())
		return nil
	}
	if root == nil || root.Kind == yaml.ScalarNode && root.Value == "" {
		p.fail(root, "", "the file is empty; write {} if there shall be no policies")
		return nil
	}
	if root.Kind != yaml.MappingNode {
		p.fail(root, "", "want an object that has policies by their names, have "+describe(root))
		return nil
	}
	var policies []Policy
	for _, f := range p.doc.fields(root) {
		p.id, p.path = ID(f.name), ""
		p.at, p.failed = map[string]*yaml.Node{"": f.key}, map[string]bool{}
		policies = append(policies, p.entry(f))
		p.id = ""
	}
	return policies
}

func (p *parser) entry(f field) Policy {
	pol := Policy{ID: p.id, Mode: Protect, FailurePolicy: Fail}
	if f.value.Kind != yaml.MappingNode {
		p.fail(f.value, "", "want an object with a module or cel (one policy) or with policies (a group), have "+describe(f.value))
		return pol
	}
	fields := p.doc.fields(f.value)
	byName := map[string]field{}
	for _, f := range fields {
		byName[f.name] = f
	}
	_, module := byName["module"]
	_, cel := byName["cel"]
	single := module || cel
	policies, group := byName["policies"]
	switch {
	case single && group:
		p.fail(policies.key, "policies", "a policy has a module or cel, a group has policies; the entry has both")
	case group:
		pol.Group = &Group{}
	case !single:
		p.neither(f, fields)
	}
	for _, f := range fields {
		p.at[f.name], p.path = f.value, f.name
		if isNull(f.value) && f.name != "namespacedName" {
			continue // as if it were not there; but what a policy may read depends on its namespace
		}
		if !p.common(&pol, f) && !p.kindOf(&pol, f) {
			p.unknown(f, pol)
		}
	}
	p.path = ""
	p.validate(pol)
	p.idleWorkloads(pol, byName)
	return pol
}

// idleWorkloads warns of what is said of workloads to no effect.
func (p *parser) idleWorkloads(pol Policy, fields map[string]field) {
	switch expands := pol.Workloads == ExpandWorkloads; {
	case expands && len(pol.Rules) == 0:
		p.warn(fields["workloads"], "has no effect: a policy without rules judges workloads as they are; give it rules that name pods")
	case expands && ExpansionRules(pol.Rules, nil) == nil:
		p.warn(fields["workloads"], "has no effect: no rule names pods with the operation CREATE")
	case !expands && len(pol.WorkloadTemplates) > 0:
		p.warn(fields[workloadTemplatesKey], "has no effect without workloads: Expand")
	}
}

// neither reports an entry that is neither a policy nor a group, with the key
// that was perhaps meant to make it one.
func (p *parser) neither(f field, fields []field) {
	problem := "want a module or cel (one policy) or policies (a group), have neither"
	for _, inner := range fields {
		if near := sdk.Nearest(inner.name, []string{"module", "policies", "cel"}); near != "" {
			problem += fmt.Sprintf("; is %q meant to be %q?", inner.name, near)
		}
	}
	p.fail(f.key, "", problem)
	p.failed["module"] = true
}

func isNull(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	s, problem := resolve(n)
	return problem == "" && s.kind == null
}

// validate reports what Validate finds where the file has it, leaving out what
// follows from a mistake in reading.
func (p *parser) validate(pol Policy) {
	v := validator{id: pol.ID}
	v.policy(pol)
	for _, err := range v.errs {
		var invalid *InvalidError
		if errors.As(err, &invalid) && !p.hasFailed(invalid.Path) {
			p.errs = append(p.errs, &FileError{p.place(p.nearest(invalid.Path), invalid.Path), invalid.Problem})
		}
	}
}

func (p *parser) hasFailed(path string) bool {
	for ; path != ""; path = parent(path) {
		if p.failed[path] {
			return true
		}
	}
	return false
}

// nearest returns the node of the path, or of what should have it.
func (p *parser) nearest(path string) *yaml.Node {
	for ; path != ""; path = parent(path) {
		if n := p.at[path]; n != nil {
			return n
		}
	}
	return p.at[""]
}

func parent(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

// entryKeys are the keys that policies and groups have in common.
func entryKeys() []string {
	return []string{
		"namespacedName", "policyMode", "message", "failurePolicy", "bundle", "order", "rules", "workloads", workloadTemplatesKey,
	}
}

func singleKeys() []string { return append([]string{"allowedToMutate"}, memberKeys()...) }

func groupKeys() []string { return []string{"policies", "expression"} }

func memberKeys() []string {
	return []string{"module", "cel", "settings", "contextAwareResources", "timeoutEvalSeconds", "hostCapabilities"}
}

// unknown warns of a key that nobody reads. It is no mistake: Kubewarden's
// server tolerates it, and its controller makes use of that.
func (p *parser) unknown(f field, pol Policy) {
	known, other, kind := singleKeys(), groupKeys(), "one policy"
	if pol.Group != nil {
		known, other, kind = other, known, "a group"
	}
	known = append(known, entryKeys()...)
	text := "unknown key, ignored"
	if slices.Contains(other, f.name) {
		text = "has no meaning for " + kind + ", ignored"
	} else if near := sdk.Nearest(f.name, known); near != "" {
		text += "; did you mean " + near + "?"
	}
	p.warn(f, text)
}

// common reads a key that policies and groups have, and reports whether it is
// one.
func (p *parser) common(pol *Policy, f field) bool {
	switch f.name {
	case "namespacedName":
		pol.Namespace = p.namespaceOf(f)
	case "policyMode":
		pol.Mode = Mode(p.str(f.name, f.value))
	case "message":
		if pol.Group != nil {
			pol.Group.Message = p.str(f.name, f.value)
		} else {
			pol.Message = p.str(f.name, f.value)
		}
	case "failurePolicy":
		pol.FailurePolicy = FailurePolicy(p.str(f.name, f.value))
	case "bundle":
		if name := p.str(f.name, f.value); name != "" { // "" is none, as it always was
			pol.Bundles = []string{name}
		}
	case "order":
		pol.Order = int(p.integer(f.name, f.value))
	case "rules":
		for i, element := range p.elements(f.name, f.value) {
			pol.Rules = append(pol.Rules, p.rule(index(f.name, i), element))
		}
	case "workloads":
		pol.Workloads = Workloads(p.str(f.name, f.value))
	case workloadTemplatesKey:
		pol.WorkloadTemplates = map[string]string{}
		for _, t := range p.object(f.name, f.value) {
			pol.WorkloadTemplates[t.name] = p.str(f.name+"."+t.name, t.value)
		}
	default:
		return false
	}
	return true
}

// kindOf reads a key that only one policy has, or only a group.
func (p *parser) kindOf(pol *Policy, f field) bool {
	if pol.Group == nil {
		if f.name == "allowedToMutate" {
			pol.AllowedToMutate = p.boolean(f.name, f.value)
			return true
		}
		return p.member(pol, "", f)
	}
	switch f.name {
	case "expression":
		pol.Group.Expression = p.str(f.name, f.value)
	case "policies":
		pol.Group.Members = map[string]Policy{}
		for _, m := range p.object(f.name, f.value) {
			pol.Group.Members[m.name] = p.groupMember(f.name+"."+m.name, m)
		}
	default:
		return false
	}
	return true
}

// namespaceOf reads namespacedName, which the controller writes: {Namespace,
// Name}, as Go encodes a types.NamespacedName. An empty Namespace is that of a
// policy of the whole cluster. It has to be said: it widens what the policy may
// read. Name is the custom resource's and part of the ID already.
func (p *parser) namespaceOf(f field) string {
	keys := []string{"Namespace", "Name"}
	have := map[string]string{}
	for _, inner := range p.object(f.name, f.value) {
		if slices.Contains(keys, inner.name) {
			have[inner.name] = p.str(f.name+"."+inner.name, inner.value)
			continue
		}
		text := "unknown key, ignored"
		if near := sdk.Nearest(inner.name, keys); near != "" {
			text += "; did you mean " + near + "?"
		}
		p.warnings = append(p.warnings, Warning{p.place(inner.key, f.name+"."+inner.name), text})
	}
	for _, key := range keys {
		if _, ok := have[key]; !ok && f.value.Kind == yaml.MappingNode {
			p.fail(f.value, f.name+"."+key, "is missing; a policy of the whole cluster has Namespace: \"\"")
		}
	}
	return have["Namespace"]
}

func (p *parser) groupMember(path string, m field) Policy {
	var pol Policy
	p.at[path] = m.key
	for _, f := range p.object(path, m.value) {
		p.at[path+"."+f.name], p.path = f.value, path+"."+f.name
		if !slices.Contains(memberKeys(), f.name) {
			p.fail(f.key, path+"."+f.name, unknownKey(f.name, memberKeys()))
		} else if !isNull(f.value) {
			p.member(&pol, path+".", f)
		}
	}
	return pol
}

func unknownKey(name string, known []string) string {
	if near := sdk.Nearest(name, known); near != "" {
		return "unknown key; did you mean " + near + "?"
	}
	return "unknown key; known are " + strings.Join(known, ", ")
}

// member reads a key that a policy has, alone or in a group.
func (p *parser) member(pol *Policy, prefix string, f field) bool {
	path := prefix + f.name
	switch f.name {
	case "module":
		pol.Module = p.str(path, f.value)
	case "cel":
		pol.CEL = p.cel(path, f.value)
	case "settings":
		pol.Settings = p.settings(path, f.value)
	case "timeoutEvalSeconds":
		pol.Timeout = p.timeout(path, f.value)
	case "hostCapabilities":
		pol.HostCapabilities = p.strings(path, f.value)
	case "contextAwareResources":
		for i, element := range p.elements(path, f.value) {
			pol.ContextAwareResources = append(pol.ContextAwareResources, p.resource(index(path, i), element))
		}
	default:
		return false
	}
	return true
}

func (p *parser) settings(path string, n *yaml.Node) json.RawMessage {
	if n.Kind != yaml.MappingNode {
		p.fail(n, path, "want an object, have "+describe(n))
		return nil
	}
	p.path = path
	return p.doc.toJSON(n)
}

func (p *parser) timeout(path string, n *yaml.Node) time.Duration {
	seconds := p.integer(path, n)
	switch {
	case p.failed[path]:
	case seconds == 0:
		p.fail(n, path, "0 leaves the policy no time at all; leave it out for the server's default, or say 1 or more")
	case seconds < 0 || seconds > int64(MaxTimeout/time.Second):
		p.fail(n, path, fmt.Sprintf("%d is outside 1 to %d seconds", seconds, MaxTimeout/time.Second))
	default:
		return time.Duration(seconds) * time.Second
	}
	return 0
}

func (p *parser) resource(path string, n *yaml.Node) (r Resource) {
	for _, f := range p.object(path, n) {
		inner := path + "." + f.name
		switch f.name {
		case "apiVersion":
			r.APIVersion = p.str(inner, f.value)
		case "kind":
			r.Kind = p.str(inner, f.value)
		default:
			p.fail(f.key, inner, unknownKey(f.name, []string{"apiVersion", "kind"}))
		}
	}
	return r
}

func (p *parser) rule(path string, n *yaml.Node) (r Rule) {
	lists := map[string]*[]string{
		"apiGroups": &r.APIGroups, "apiVersions": &r.APIVersions, "resources": &r.Resources, "operations": &r.Operations,
	}
	for _, f := range p.object(path, n) {
		inner := path + "." + f.name
		switch list, ok := lists[f.name]; {
		case ok:
			*list = p.strings(inner, f.value)
		case f.name == "scope":
			r.Scope = Scope(p.str(inner, f.value))
		default:
			p.fail(f.key, inner, unknownKey(f.name, append(slices.Sorted(maps.Keys(lists)), "scope")))
		}
	}
	return r
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// The functions below read a value of one type, or report what is there
// instead and return the zero value. Each notes where the path is.

func (p *parser) want(path string, n *yaml.Node, what string) {
	p.fail(n, path, "want "+what+", have "+describe(n))
}

func (p *parser) scalar(path string, n *yaml.Node) (scalar, bool) {
	p.at[path] = n
	if n.Kind != yaml.ScalarNode {
		return scalar{}, false
	}
	s, problem := resolve(n)
	return s, problem == ""
}

func (p *parser) str(path string, n *yaml.Node) string {
	s, ok := p.scalar(path, n)
	switch {
	case ok && s.kind == str:
		return s.text
	case ok && s.kind != null:
		p.want(path, n, "a string")
		p.errs[len(p.errs)-1].Problem += "; quote it"
	default:
		p.want(path, n, "a string")
	}
	return ""
}

func (p *parser) boolean(path string, n *yaml.Node) bool {
	s, ok := p.scalar(path, n)
	if !ok || s.kind != boolean {
		p.want(path, n, "true or false")
	}
	return s.kind == boolean && s.text == "true"
}

func (p *parser) integer(path string, n *yaml.Node) int64 {
	s, ok := p.scalar(path, n)
	if !ok || s.kind != integer {
		p.want(path, n, "an integer")
		return 0
	}
	i, err := strconv.ParseInt(s.text, 10, 32)
	if err != nil {
		p.fail(n, path, s.text+" is out of range")
	}
	return i
}

func (p *parser) strings(path string, n *yaml.Node) (list []string) {
	for i, element := range p.elements(path, n) {
		list = append(list, p.str(index(path, i), element))
	}
	return list
}

func (p *parser) elements(path string, n *yaml.Node) (list []*yaml.Node) {
	p.at[path], p.path = n, path
	if n.Kind != yaml.SequenceNode {
		p.want(path, n, "a list")
		return nil
	}
	for _, element := range n.Content {
		value, ok := p.doc.visit(element)
		if !ok {
			return nil
		}
		list = append(list, value)
	}
	return list
}

func (p *parser) object(path string, n *yaml.Node) []field {
	if p.at[path] == nil {
		p.at[path] = n
	}
	p.path = path
	if n.Kind != yaml.MappingNode {
		p.want(path, n, "an object")
		return nil
	}
	return p.doc.fields(n)
}
