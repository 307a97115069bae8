package artifact

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

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
