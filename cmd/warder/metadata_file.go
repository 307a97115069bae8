package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/sdk"
)

// metadataFile is metadata.yml: what a policy's author says of the policy, in
// YAML or JSON.
type metadataFile struct {
	name  string
	at    map[string]*yaml.Node // where each path is
	errs  []error
	spent int
}

// What aliases may make of a file: texts and paths of so many bytes, and so many
// values in one another. Metadata have three, and a usage text of kilobytes.
const (
	maxMetadataBytes   = 16 << 20
	maxMetadataNesting = 10
)

// parseMetadataFile reads metadata.yml. Name is that of the file: the error
// says file, line and column of each mistake.
func parseMetadataFile(name string, text []byte) (*metadataFile, artifact.Metadata, error) {
	f := &metadataFile{name: name, at: map[string]*yaml.Node{}}
	var m artifact.Metadata
	root, err := parseYAML(jsonAsYAML(text))
	if err != nil {
		return nil, m, fmt.Errorf("%s: %w", name, err)
	}
	value := f.value("", root, 0)
	if f.errs != nil {
		return nil, m, errors.Join(f.errs...)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, m, fmt.Errorf("%s: %w", name, err)
	}
	if err := json.Unmarshal(encoded, &m); err != nil {
		return nil, m, f.place(err)
	}
	return f, m, nil
}

// jsonAsYAML returns JSON in the spelling that the parser of YAML knows, other
// text as it is: tabs are no space there, and there are no escapes of slashes
// and surrogates. Lines stay.
func jsonAsYAML(text []byte) []byte {
	if !json.Valid(text) {
		return text
	}
	text = bytes.ReplaceAll(text, []byte("\t"), []byte(" ")) // in a string they would be escaped
	escapes := regexp.MustCompile(`(\\u[dD][89abAB]..)?\\u[dD][89a-fA-F]..|\\.`)
	return escapes.ReplaceAllFunc(text, func(escape []byte) []byte {
		var char string
		if escape[1] != '/' && escape[1] != 'u' || json.Unmarshal([]byte(`"`+string(escape)+`"`), &char) != nil {
			return escape
		}
		return []byte(char)
	})
}

// parseYAML returns the root of a YAML document. The parser is not ours: that
// it gives up is a mistake of the file.
func parseYAML(text []byte) (root *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, fmt.Errorf("not YAML: %v", r)
		}
	}()
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) == 0 {
		return nil, errors.New("the file is empty")
	}
	return doc.Content[0], nil
}

// place says where in the file a mistake in the metadata is.
func (f *metadataFile) place(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, one := range joined.Unwrap() {
			all = append(all, f.place(one))
		}
		return errors.Join(all...)
	}
	wrong := (*artifact.FieldError)(nil)
	if !errors.As(err, &wrong) {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	for path := wrong.Path; ; path = path[:strings.LastIndexAny(path, ".[")] {
		if n := f.at[path]; n != nil {
			return fmt.Errorf("%s:%d:%d: %w", f.name, n.Line, n.Column, err)
		}
		if !strings.ContainsAny(path, ".[") {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
}

func (f *metadataFile) fail(n *yaml.Node, path, problem string) {
	f.errs = append(f.errs, fmt.Errorf("%s:%d:%d: %s: %s", f.name, n.Line, n.Column, path, problem))
}

// metadataKeys are the keys of the objects in metadata.yml, by their paths
// without indexes; those that are not here may have any.
func metadataKeys() map[string][]string {
	return map[string][]string{
		"": {
			"protocolVersion", "rules", "annotations", "mutating", "backgroundAudit", "executionMode", "policyType",
			"contextAwareResources", "hostCapabilities", "minimumKubewardenVersion",
			"contextAware", // of old policies, ignored
		},
		"rules[]":                 {"apiGroups", "apiVersions", "resources", "operations"},
		"contextAwareResources[]": {"apiVersion", "kind"},
	}
}

// value returns a node as encoding/json has it, and notes where it is.
func (f *metadataFile) value(path string, n *yaml.Node, depth int) any {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	f.spent += len(path) + len(n.Value) + 64
	if f.spent > maxMetadataBytes || depth > maxMetadataNesting {
		if f.errs == nil {
			f.fail(n, fmt.Sprintf("%.100s", path), "the file is too large, too deep, or contains itself")
		}
		return nil
	}
	f.at[path] = n
	switch n.Kind {
	case yaml.MappingNode:
		return f.object(path, n, depth+1)
	case yaml.SequenceNode:
		list := []any{}
		for i, element := range n.Content {
			list = append(list, f.value(path+"["+strconv.Itoa(i)+"]", element, depth+1))
		}
		return list
	default:
		return scalarOf(n)
	}
}

// scalarOf returns a scalar. A date is the text that it is.
func scalarOf(n *yaml.Node) any {
	var v any
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool", "!!int", "!!float":
		if n.Decode(&v) == nil {
			return v
		}
	}
	return n.Value
}

func (f *metadataFile) object(path string, n *yaml.Node, depth int) map[string]any {
	known, checked := metadataKeys()[withoutIndexes(path)]
	object := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		inner := strings.TrimPrefix(path+"."+key.Value, ".")
		if _, twice := object[key.Value]; twice {
			f.fail(key, inner, "the key is there already")
			continue
		}
		if checked && !slices.Contains(known, key.Value) {
			f.fail(key, inner, unknownMetadataKey(key.Value, known))
			continue
		}
		if path == "annotations" && value.Kind != yaml.ScalarNode && slices.Contains(metadataKeys()[""], key.Value) {
			f.fail(key, inner, "annotations are texts; move this key out of them")
			continue
		}
		object[key.Value] = f.value(inner, value, depth)
	}
	return object
}

func withoutIndexes(path string) string {
	before, after, ok := strings.Cut(path, "[")
	if !ok {
		return path
	}
	_, after, _ = strings.Cut(after, "]")
	return before + "[]" + after
}

func unknownMetadataKey(name string, known []string) string {
	if near := sdk.Nearest(name, known); near != "" {
		return "unknown key; did you mean " + near + "?"
	}
	return "unknown key; known are " + strings.Join(known, ", ")
}
