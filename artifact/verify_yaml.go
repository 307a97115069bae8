package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
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

// object returns the members of a mapping by key, without those that are null.
// Keys that are not known are reported; nil knows every key.
func (p *configParser) object(n *yaml.Node, path string, known []string) (map[string]*yaml.Node, bool) {
	n = follow(n)
	if n.Kind != yaml.MappingNode {
		p.want(n, path, "an object")
		return nil, false
	}
	fields, seen := map[string]*yaml.Node{}, map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], follow(n.Content[i+1])
		inner := strings.TrimPrefix(path+"."+key.Value, ".")
		line, twice := seen[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str":
			p.fail(key, path, "a key must be a string, have "+describeNode(key))
		case twice:
			p.fail(key, inner, fmt.Sprintf("is there already, at line %d", line))
		case known != nil && !slices.Contains(known, key.Value):
			p.fail(key, inner, "unknown key"+suggest(key.Value, known))
		case !isNullNode(value):
			fields[key.Value] = value
		}
		seen[key.Value] = key.Line
	}
	return fields, true
}

func (p *configParser) want(n *yaml.Node, path, what string) {
	p.fail(n, path, "want "+what+", have "+describeNode(n))
}

func (p *configParser) text(n *yaml.Node, path string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		p.want(n, path, "a string")
		return "", false
	}
	switch n.ShortTag() {
	case "!!str", "!!timestamp": // a date is a string since YAML 1.2
		return n.Value, true
	case "!!null":
		p.want(n, path, "a string")
	default:
		p.want(n, path, "a string; quote it")
	}
	return "", false
}

func (p *configParser) integer(n *yaml.Node, path string) (int, bool) {
	value, err := strconv.ParseUint(n.Value, 10, 8)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil {
		p.want(n, path, "an integer from 0 to 255")
		return 0, false
	}
	return int(value), true
}

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

// suggest names the known word that was perhaps meant, or all of them.
func suggest(word string, known []string) string {
	for _, k := range known {
		if distance(strings.ToLower(word), strings.ToLower(k)) <= max(1, len(k)/4) {
			return "; did you mean " + k + "?"
		}
	}
	return "; known are " + strings.Join(known, ", ")
}

// distance is how many letters must be changed, added or removed to make b of a
// (Levenshtein); words too long for a key are far from all.
func distance(a, b string) int {
	const longest = 40
	if len(a) > longest || len(b) > longest {
		return longest
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// DefaultVerificationConfig is a verification.yml to start from: it wants
// modules signed by Kubewarden's own workflows.
func DefaultVerificationConfig() string {
	return `# By whom policies must be signed before they are loaded.
# Everything in allOf must be satisfied, and minimumMatches of anyOf.
apiVersion: v1

allOf:
  # A workflow of GitHub Actions in a repository of this owner.
  - kind: githubAction
    owner: kubewarden # mandatory
    # repo: policy-server # optional: that repository only
    # annotations: # optional: must be signed too
    #   env: prod

# anyOf:
#   minimumMatches: 2 # optional, 1 if it is left out
#   signatures:
#     # A key, for example one made by "warder keygen".
#     - kind: pubKey
#       owner: alice # optional, for you to know whose it is
#       key: |
#         -----BEGIN PUBLIC KEY-----
#         ...
#         -----END PUBLIC KEY-----
#     # A keyless signer, as the issuer of the identity knows it.
#     - kind: genericIssuer
#       issuer: https://accounts.google.com
#       subject:
#         equal: alice@example.com
#     - kind: genericIssuer
#       issuer: https://token.actions.githubusercontent.com
#       subject:
#         urlPrefix: https://github.com/flavio/
`
}
