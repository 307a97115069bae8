package artifact

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/semver"
)

// member is one member of a JSON object: where its value goes. One that is not
// required may be missing or null.
type member struct {
	name     string
	required bool
	decode   func(text json.RawMessage) error
}

// decodeMembers reads an object. The names are compared exactly, and those that
// nobody asks for are ignored. The error says under which name it is.
func decodeMembers(text []byte, members ...member) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return plain(err, "an object")
	}
	for _, m := range members {
		value, ok := object[m.name]
		switch {
		case (!ok || string(value) == "null") && m.required:
			return fmt.Errorf("missing field `%s`", m.name)
		case !ok || string(value) == "null":
			continue
		}
		if err := m.decode(value); err != nil {
			return under(m.name, err)
		}
	}
	return nil
}

// FieldError is a mistake in metadata, and where it is: "rules[0].operations".
type FieldError struct {
	Path string
	Err  error
}

func (e *FieldError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap returns the mistake.
func (e *FieldError) Unwrap() error { return e.Err }

// under puts a name before the place of an error.
func under(name string, err error) error {
	inner := (*FieldError)(nil)
	if !errors.As(err, &inner) {
		return &FieldError{name, err}
	}
	if !strings.HasPrefix(inner.Path, "[") {
		name += "."
	}
	return &FieldError{name + inner.Path, inner.Err}
}

// plain is an error of encoding/json without the names of Go's types.
func plain(err error, want string) error {
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("want %s, have %s", want, wrong.Value)
	}
	return err
}

func into[T any](to *T, want string) func(json.RawMessage) error {
	return func(text json.RawMessage) error {
		if err := json.Unmarshal(text, to); err != nil {
			return plain(err, want)
		}
		return nil
	}
}

// oneOf reads a text that is one of a few.
func oneOf[T ~string](to *T, values ...T) func(json.RawMessage) error {
	return func(text json.RawMessage) error {
		if err := into(to, "a string")(text); err != nil {
			return err
		}
		if slices.Contains(values, *to) {
			return nil
		}
		return fmt.Errorf("unknown variant `%s`, expected one of %s", *to, quotedList(values))
	}
}

func quotedList[T ~string](values []T) string {
	var all []string
	for _, v := range values {
		all = append(all, "`"+string(v)+"`")
	}
	return strings.Join(all, ", ")
}

// listOf reads a list whose elements are read by one function.
func listOf[T any](to *[]T, decode func(to *T, text json.RawMessage) error) func(json.RawMessage) error {
	return func(text json.RawMessage) error {
		var elements []json.RawMessage
		if err := json.Unmarshal(text, &elements); err != nil {
			return plain(err, "a list")
		}
		*to = make([]T, len(elements))
		for i, element := range elements {
			if err := decode(&(*to)[i], element); err != nil {
				return under("["+strconv.Itoa(i)+"]", err)
			}
		}
		return nil
	}
}

func decodeString(to *string, text json.RawMessage) error {
	if string(text) == "null" {
		return errors.New("want a string, have null")
	}
	return into(to, "a string")(text)
}

func stringList(to *[]string) func(json.RawMessage) error { return listOf(to, decodeString) }

// Operations of rules.
func operations() []string { return []string{"CREATE", "UPDATE", "DELETE", "CONNECT", "*"} }

func decodeRule(to *Rule, text json.RawMessage) error {
	return decodeMembers(text,
		member{"apiGroups", true, stringList(&to.APIGroups)},
		member{"apiVersions", true, stringList(&to.APIVersions)},
		member{"resources", true, stringList(&to.Resources)},
		member{"operations", true, listOf(&to.Operations, func(to *string, text json.RawMessage) error {
			return oneOf(to, operations()...)(text)
		})},
	)
}

func decodeResource(to *Resource, text json.RawMessage) error {
	return decodeMembers(text,
		member{"apiVersion", true, func(text json.RawMessage) error { return decodeString(&to.APIVersion, text) }},
		member{"kind", true, func(text json.RawMessage) error { return decodeString(&to.Kind, text) }},
	)
}

func compareResources(a, b Resource) int {
	return cmp.Or(strings.Compare(a.APIVersion, b.APIVersion), strings.Compare(a.Kind, b.Kind))
}

// decodeVersion reads a semantic version with all of its three numbers.
func decodeVersion(to *string) func(json.RawMessage) error {
	return func(text json.RawMessage) error {
		if err := decodeString(to, text); err != nil {
			return err
		}
		core, _, _ := strings.Cut("v"+*to, "+")
		if !semver.IsValid("v"+*to) || semver.Canonical(core) != core {
			return fmt.Errorf("%q is no semantic version, as 1.30.0 is", *to)
		}
		return nil
	}
}

// decodeAnnotations reads a map of strings.
func decodeAnnotations(to *map[string]string) func(json.RawMessage) error {
	return func(text json.RawMessage) error {
		var values map[string]json.RawMessage
		if err := json.Unmarshal(text, &values); err != nil {
			return plain(err, "an object")
		}
		*to = make(map[string]string, len(values))
		for key, value := range values {
			var s string
			if err := decodeString(&s, value); err != nil {
				return under(key, err)
			}
			(*to)[key] = s
		}
		return nil
	}
}

// UnmarshalJSON reads metadata and fills in the defaults. Names that nobody
// knows are ignored.
func (m *Metadata) UnmarshalJSON(text []byte) error {
	*m = Metadata{BackgroundAudit: true, ExecutionMode: WaPC, PolicyType: KubernetesPolicy}
	return decodeMembers(text,
		member{"protocolVersion", false, oneOf(&m.ProtocolVersion, ProtocolV1, ProtocolUnknown)},
		member{"rules", true, listOf(&m.Rules, decodeRule)},
		member{"annotations", false, decodeAnnotations(&m.Annotations)},
		member{"mutating", true, into(&m.Mutating, "true or false")},
		member{"backgroundAudit", false, into(&m.BackgroundAudit, "true or false")},
		member{"executionMode", false, oneOf(&m.ExecutionMode, WaPC, OPA, Gatekeeper, WASI, Ferricel)},
		member{"policyType", false, oneOf(&m.PolicyType, KubernetesPolicy, RawPolicy)},
		member{"contextAwareResources", false, listOf(&m.ContextAwareResources, decodeResource)},
		member{"hostCapabilities", false, stringList(&m.HostCapabilities)},
		member{"minimumKubewardenVersion", false, decodeVersion(&m.MinimumKubewardenVersion)},
	)
}
