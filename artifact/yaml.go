package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/warder-dev/warder/sdk"
)

// parseOneDocument returns the only document of a YAML text, nil when there is
// none.
func parseOneDocument(text []byte) (root *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil { // the parser is not ours
			root, err = nil, fmt.Errorf("not YAML: the parser gave up: %v", r)
		}
	}()
	if len(text) > maxConfigBytes {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", len(text), maxConfigBytes)
	}
	if json.Valid(text) {
		text = bytes.ReplaceAll(text, []byte("\t"), []byte(" ")) // which YAML has not for indentation
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, fmt.Errorf("a second document starts at line %d; want one", second.Line)
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, nil
	}
	return follow(doc.Content[0]), nil
}

// follow returns what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	for range 100 { // an alias of an alias, if the parser makes any
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	return n
}

func isNullNode(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// describeNode says what a node is, to somebody who wanted something else.
func describeNode(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch {
		case isNullNode(n):
			return "null"
		case n.ShortTag() == "!!str":
			return strconv.Quote(n.Value)
		}
		return n.Value
	}
	return "nothing"
}

// suggest names the known word that was perhaps meant, or all of them. Dashes
// and underscores are no difference.
func suggest(word string, known []string) string {
	plain := strings.NewReplacer("_", "", "-", "")
	words := map[string]string{}
	for _, k := range known {
		words[plain.Replace(k)] = k
	}
	if near := sdk.Nearest(plain.Replace(word), slices.Sorted(maps.Keys(words))); near != "" {
		return "; did you mean " + words[near] + "?"
	}
	return "; known are " + strings.Join(known, ", ")
}
