package artifact

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Validate reports everything about the metadata that keeps a module from
// being annotated with them: nil, or joined *FieldErrors.
func (m *Metadata) Validate() error {
	var errs []error
	fail := func(path, problem string) { errs = append(errs, &FieldError{path, errors.New(problem)}) }
	if m.ProtocolVersion == "" || m.ProtocolVersion == ProtocolUnknown && m.ExecutionMode == WaPC {
		fail("protocolVersion", "Must specify a valid protocol version")
	}
	for i, rule := range m.Rules {
		rule.validate("rules["+strconv.Itoa(i)+"].", fail)
	}
	for i, r := range m.ContextAwareResources {
		path := "contextAwareResources[" + strconv.Itoa(i) + "]"
		if r.APIVersion == "" {
			fail(path+".apiVersion", "is empty")
		}
		if r.Kind == "" {
			fail(path+".kind", "is empty")
		}
	}
	return errors.Join(errs...)
}

func (r Rule) validate(path string, fail func(path, problem string)) {
	lists := []struct {
		name string
		list []string
	}{{"apiGroups", r.APIGroups}, {"apiVersions", r.APIVersions}, {"operations", r.Operations}, {"resources", r.Resources}}
	for _, l := range lists {
		switch {
		case len(l.list) == 0:
			fail(path+l.name, "is empty; say [\"*\"] for all")
		case l.name != "resources" && len(l.list) > 1 && slices.Contains(l.list, "*"):
			fail(path+l.name, "No other elements can be defined when '*' is used")
		}
	}
	for i, resource := range r.Resources {
		at := path + "resources[" + strconv.Itoa(i) + "]"
		if resource == "" {
			fail(at, "is empty")
		}
		for _, wide := range r.Resources {
			if wide != resource && covers(wide, resource) {
				fail(at, fmt.Sprintf("%q is part of %q already; leave one out", resource, wide))
				break
			}
		}
	}
}

// covers reports whether a pattern of resources leaves nothing for another one:
// "*/*" has all, "*" all that are no subresources, "pods/*" the subresources of
// pods (that it has pods too is why the two are often said together), and
// "*/status" those of that name.
func covers(wide, narrow string) bool {
	resource, sub, hasSub := strings.Cut(narrow, "/")
	switch wide {
	case "*/*":
		return true
	case "*":
		return !hasSub
	}
	return hasSub && (wide == resource+"/*" || wide == "*/"+sub)
}
