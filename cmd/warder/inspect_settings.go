package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// setting is what people are told of a schema.
type setting struct {
	Description string             `json:"description"`
	Type        any                `json:"type"` // a name, or a list of them
	Enum        []string           `json:"enum"`
	Properties  map[string]setting `json:"properties"`
	Others      json.RawMessage    `json:"additionalProperties"` // false, or a schema
	Items       *setting           `json:"items"`
	Default     json.RawMessage    `json:"default"`
}

// describeSettings shows the settings of a schema as kubectl explain would.
func describeSettings(b *bytes.Buffer, schema json.RawMessage) error {
	var root setting
	if err := json.Unmarshal(schema, &root); err != nil {
		return err
	}
	b.WriteString("\nSettings\n")
	if len(root.Properties) == 0 {
		b.WriteString("  none\n")
	}
	return root.list(b, "  ")
}

// list writes the properties, and those of what is in them below them.
func (s setting) list(b *bytes.Buffer, indent string) error {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		word, inner, err := p.kind()
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "%s%s: %s", indent, name, word)
		if values := strings.Join(slices.DeleteFunc(p.Enum, func(v string) bool { return v == "" }), ", "); values != "" {
			fmt.Fprintf(b, ", one of %s", values)
		}
		if p.Default != nil {
			fmt.Fprintf(b, ", default %s", p.Default)
		}
		b.WriteByte('\n')
		for line := range strings.SplitSeq(p.Description, "\n\n") {
			wrap(b, indent+"    ", line)
		}
		if err := inner.list(b, indent+"  "); err != nil {
			return err
		}
	}
	return nil
}

// kind is the type in words, and the schema of the objects in it.
func (s setting) kind() (word string, inner setting, err error) {
	switch {
	case s.Items != nil:
		word, inner, err = s.Items.kind()
		return "list of " + word, inner, err
	case len(s.Others) > 0 && string(s.Others) != "false":
		var other setting
		if err := json.Unmarshal(s.Others, &other); err != nil {
			return "", inner, err
		}
		word, inner, err = other.kind()
		return "map of " + word, inner, err
	}
	names, isList := s.Type.([]any)
	if !isList {
		return fmt.Sprint(cmp.Or(s.Type, any("anything"))), s, nil
	}
	words := make([]string, len(names))
	for i, name := range names {
		words[i] = fmt.Sprint(name)
	}
	return strings.Join(words, " or "), s, nil
}

// lineWidth is how long a line of a description becomes.
const lineWidth = 100

// wrap writes the words of a text in lines.
func wrap(b *bytes.Buffer, indent, text string) {
	at := 0
	for _, word := range strings.Fields(text) {
		switch {
		case at == 0:
			b.WriteString(indent)
			at = len(indent)
		case at+1+len(word) > lineWidth:
			b.WriteString("\n" + indent)
			at = len(indent)
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	if at > 0 {
		b.WriteByte('\n')
	}
}
