package review

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

type operation struct {
	Op, Path string
	Value    json.RawMessage
}

func decode(text []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	err = dec.Decode(&v)
	return v, err
}

// apply applies a patch as RFC 6902 has it, to what encoding/json decodes: it
// shares no code with what it tests.
func apply(doc any, patch []operation) (any, error) {
	for i, op := range patch {
		var tokens []string
		if op.Path != "" {
			tokens = strings.Split(op.Path, "/")[1:]
		}
		var value any
		var err error
		if op.Op != "remove" {
			if value, err = decode(op.Value); err != nil {
				return nil, err
			}
		}
		if doc, err = edit(doc, tokens, op.Op, value); err != nil {
			return nil, fmt.Errorf("operation %d, %s %q: %w", i, op.Op, op.Path, err)
		}
	}
	return doc, nil
}

func edit(doc any, tokens []string, op string, value any) (any, error) {
	if len(tokens) == 0 {
		return value, nil
	}
	name := strings.ReplaceAll(strings.ReplaceAll(tokens[0], "~1", "/"), "~0", "~")
	last := len(tokens) == 1
	switch doc := doc.(type) {
	case map[string]any:
		child, ok := doc[name]
		if !ok && !(last && op == "add") {
			return nil, fmt.Errorf("no member %q", name)
		}
		if last && op == "remove" {
			delete(doc, name)
			return doc, nil
		}
		child, err := edit(child, tokens[1:], op, value)
		doc[name] = child
		return doc, err
	case []any:
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i > len(doc) || i == len(doc) && !(last && op == "add") {
			return nil, fmt.Errorf("no element %q", name)
		}
		switch {
		case last && op == "add":
			return slices.Insert(doc, i, value), nil
		case last && op == "remove":
			return slices.Delete(doc, i, i+1), nil
		}
		doc[i], err = edit(doc[i], tokens[1:], op, value)
		return doc, err
	}
	return nil, fmt.Errorf("%q is below a scalar", name)
}
