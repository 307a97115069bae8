//go:build !wasip1

package library_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/library/schema"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// jsonSchema is what these schemas have of JSON Schema.
type jsonSchema struct {
	Draft       string                 `json:"$schema"`
	Title       string                 `json:"title"`
	Description string                 `json:"description"`
	Type        any                    `json:"type"` // a name, or a list of them
	Properties  map[string]*jsonSchema `json:"properties"`
	Others      json.RawMessage        `json:"additionalProperties"` // false, or a schema
	Items       *jsonSchema            `json:"items"`
	AnyOf       []*jsonSchema          `json:"anyOf"`
	Enum        []any                  `json:"enum"`
	Pattern     string                 `json:"pattern"`
	Minimum     *float64               `json:"minimum"`
	Maximum     *float64               `json:"maximum"`
	Default     json.RawMessage        `json:"default"`
	Encoding    string                 `json:"contentEncoding"`
}

// parseSchema takes nothing that check does not understand.
func parseSchema(t *testing.T, text []byte) *jsonSchema {
	t.Helper()
	var s jsonSchema
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return &s
}

func schemaOf(t *testing.T, b library.Builtin) *jsonSchema {
	t.Helper()
	text, err := b.Schema()
	if err != nil {
		t.Fatal(err)
	}
	return parseSchema(t, text)
}

// all yields the properties, those inside of others too, by their path.
func (s *jsonSchema) all(path string) iter.Seq2[string, *jsonSchema] {
	return func(yield func(string, *jsonSchema) bool) {
		for name, p := range s.Properties {
			if !yield(path+name, p) {
				return
			}
			for inner, q := range p.all(path + name + ".") {
				if !yield(inner, q) {
					return
				}
			}
		}
		if s.Items != nil {
			for inner, q := range s.Items.all(strings.TrimSuffix(path, ".") + "[].") {
				if !yield(inner, q) {
					return
				}
			}
		}
	}
}

// check validates a decoded document, as JSON Schema's draft 2020-12 says.
func (s *jsonSchema) check(path string, v any) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%s: "+format, append([]any{path}, args...)...)
	}
	kinds, _ := s.Type.([]any)
	if name, ok := s.Type.(string); ok {
		kinds = []any{name}
	}
	if len(kinds) > 0 && !slices.ContainsFunc(kinds, func(kind any) bool { return isA(v, kind.(string)) }) {
		return wrong("want %v, have %T", kinds, v)
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
		return wrong("want one of %v, have %v", s.Enum, v)
	}
	if len(s.AnyOf) > 0 && !slices.ContainsFunc(s.AnyOf, func(s *jsonSchema) bool { return s.check(path, v) == nil }) {
		return wrong("%v is none of those", v)
	}
	switch v := v.(type) {
	case float64:
		if s.Minimum != nil && v < *s.Minimum || s.Maximum != nil && v > *s.Maximum {
			return wrong("%v is out of bounds", v)
		}
	case string:
		if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) {
			return wrong("%q does not match", v)
		}
	case []any:
		for i, inner := range v {
			if s.Items == nil {
				continue
			}
			if err := s.Items.check(fmt.Sprintf("%s[%d]", path, i), inner); err != nil {
				return err
			}
		}
	case map[string]any:
		return s.checkMembers(path, v)
	}
	return nil
}

func (s *jsonSchema) checkMembers(path string, members map[string]any) error {
	for name, inner := range members {
		p := s.Properties[name]
		switch {
		case p != nil || s.Others == nil:
		case string(s.Others) == "false":
			return fmt.Errorf("%s.%s: unknown", path, name)
		default:
			p = &jsonSchema{}
			if err := json.Unmarshal(s.Others, p); err != nil {
				return err
			}
		}
		if p == nil {
			continue
		}
		if err := p.check(path+"."+name, inner); err != nil {
			return err
		}
	}
	return nil
}

func isA(v any, kind string) bool {
	switch v := v.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == "boolean"
	case string:
		return kind == "string"
	case float64:
		return kind == "number" || kind == "integer" && v == math.Trunc(v)
	case []any:
		return kind == "array"
	case map[string]any:
		return kind == "object"
	}
	return false
}

// structural are the reasons for which sdk.DecodeSettings refuses settings, and
// which a schema must know: a name, or a type.
func structural(message string) bool {
	return strings.Contains(message, ": unknown setting") || regexp.MustCompile(`^\S+: want (a|an) .*, have (a |an )?\w+( \S+)?$`).MatchString(message)
}

// What a policy takes its schema takes, and what is refused for a name or a type
// the schema refuses, in the settings of all cases.
func TestSchemasAgreeWithThePolicies(t *testing.T) {
	var taken, refused, other int
	for _, b := range library.All() {
		s := schemaOf(t, b)
		cases, err := sdktest.ReadCases(strings.ReplaceAll(b.Name, "-", "") + "/testdata")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			settings := c.Settings
			if settings == nil {
				settings = json.RawMessage("{}")
			}
			var v any
			if err := json.Unmarshal(settings, &v); err != nil {
				continue // it is no JSON
			}
			invalid := s.check("settings", v)
			_, err := b.Policy.Load(settings)
			switch {
			case err == nil && invalid != nil:
				t.Errorf("%s/%s: the policy takes %s, and the schema says %v", b.Name, c.Name, settings, invalid)
			case err == nil:
				taken++
			case structural(err.Error()) && invalid == nil:
				t.Errorf("%s/%s: the schema takes %s, and the policy says %v", b.Name, c.Name, settings, err)
			case structural(err.Error()):
				refused++
			default:
				other++
			}
		}
	}
	t.Logf("settings: %d taken, %d refused for a name or a type, %d for what a schema does not say", taken, refused, other)
	if taken < 500 || refused < 20 {
		t.Errorf("%d taken, %d refused: the cases are not what they are taken for", taken, refused)
	}
}

// Whatever is done to a property, schema and policy agree on its name and its
// type.
func TestSchemasKnowEveryNameAndType(t *testing.T) {
	values := []string{`true`, `"x"`, `7`, `-1`, `1.5`, `[]`, `{}`, `["x"]`, `[7]`, `[[]]`, `[{}]`, `{"zzz": 1}`, `[{"zzz": 1}]`, `5000000000`, `70000`}
	for _, b := range library.All() {
		s := schemaOf(t, b)
		if s.Draft != schema.Draft || s.Title != b.Name || s.Description == "" {
			t.Errorf("%s: $schema %q, title %q, description %q", b.Name, s.Draft, s.Title, s.Description)
		}
		paths := []string{"zzz"}
		for path := range s.all("") {
			paths = append(paths, path)
		}
		for _, path := range paths {
			for _, value := range values {
				settings := nested(path, value)
				var v any
				if err := json.Unmarshal([]byte(settings), &v); err != nil {
					t.Fatal(err)
				}
				invalid := s.check("settings", v)
				_, err := b.Policy.Load(json.RawMessage(settings))
				if err == nil && invalid != nil || err != nil && structural(err.Error()) && invalid == nil {
					t.Errorf("%s: %s: the policy says %v, and the schema %v", b.Name, settings, err, invalid)
				}
			}
		}
	}
}

// nested is a document that has the value at the path: a.b[].c.
func nested(path, value string) string {
	name, rest, inside := strings.Cut(path, ".")
	bare, isList := strings.CutSuffix(name, "[]")
	if inside {
		value = nested(rest, value)
	}
	if isList {
		value = "[" + value + "]"
	}
	return fmt.Sprintf(`{%q: %s}`, bare, value)
}

// A default is what the policy does without the setting: saying it changes
// nothing about whether the settings are taken, and it fits the schema.
func TestDefaultsAreValid(t *testing.T) {
	count := 0
	for _, b := range library.All() {
		for path, p := range schemaOf(t, b).all("") {
			if p.Default == nil {
				continue
			}
			count++
			var v any
			if err := json.Unmarshal(p.Default, &v); err != nil {
				t.Fatal(err)
			}
			if err := p.check(path, v); err != nil {
				t.Errorf("%s: default: %v", b.Name, err)
			}
			_, without := b.Policy.Load(nil)
			_, with := b.Policy.Load(json.RawMessage(nested(path, string(p.Default))))
			if without == nil && with != nil && !strings.Contains(path, "[].") {
				t.Errorf("%s: %s: default %s: %v", b.Name, path, p.Default, with)
			}
		}
	}
	if count < 40 {
		t.Errorf("%d settings have a default, want more", count)
	}
}

func TestSchemaOfOnePolicyInFull(t *testing.T) {
	b, _ := library.Lookup("image-tag")
	text, err := b.Schema()
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "additionalProperties": false,
  "description": "Settings are the settings of image-tag. The zero value wants a tag other than latest, or a digest.",
  "properties": {
    "allowLatest": {
      "default": false,
      "description": "allowLatest lets images have the tag latest, if they say so.",
      "type": "boolean"
    },
    "requireDigest": {
      "default": false,
      "description": "requireDigest wants a digest; a tag is not enough then, since somebody can move it.",
      "type": "boolean"
    }
  },
  "title": "image-tag",
  "type": "object"
}
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if _, err := (library.Builtin{Name: "x"}).Schema(); err == nil || errors.Unwrap(err) == nil {
		t.Errorf("a built-in without a policy: %v", err)
	}
}
