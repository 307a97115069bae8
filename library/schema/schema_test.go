package schema_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/library/schema"
)

type inner struct {
	// Shared is in settings as if it were the outer struct's.
	Shared string `json:"shared"`
	Hidden string `json:"name"` // the outer struct's goes before
}

// Own decodes itself, and says how.
type Own struct{ text string }

func (o *Own) UnmarshalJSON(text []byte) error { o.text = string(text); return nil }

func (Own) SettingsSchema() string { return `{"type": ["string", "integer"]}` }

type settings struct {
	inner
	*Pointed
	Name     string `json:"name"`
	NoTag    bool
	Skipped  string                    `json:"-"`
	Small    int8                      `json:"small,omitempty"`
	Port     *uint16                   `json:"port"`
	Large    uint64                    `json:"large"`
	Ratio    float32                   `json:"ratio"`
	Any      any                       `json:"any"`
	Raw      json.RawMessage           `json:"raw"`
	Bytes    []byte                    `json:"bytes"`
	Own      *Own                      `json:"own"`
	Nested   map[string][]*Pointed     `json:"nested"`
	Tree     map[string]map[string]int `json:"tree"`
	internal func()
}

// Pointed is a part.
type Pointed struct {
	Part int `json:"part"`
}

func (s *settings) Validate() error {
	s.internal = func() {}
	s.Name, s.Small = "filled in", 3
	return errors.New("something must be given")
}

func TestEveryKindOfSetting(t *testing.T) {
	docs := schema.Docs{
		"library/schema_test.settings":         "settings is not exported.",
		"library/schema_test.settings.Port":    "Port is where, beside Name. Default 443; HTTPS.",
		"library/schema_test.settings.NoTag":   "NoTag is on, unless told otherwise. Default true.",
		"library/schema_test.settings.Raw":     "Raw is Default none.",
		"library/schema_test.inner.Shared":     "Shared is one. Default: any.",
		"library/schema_test.Pointed":          "Pointed is a part.",
		"library/schema_test.Pointed.Part":     "Part of it.",
		"library/schema_test.settings.Unknown": "nothing",
	}
	have, err := schema.Of("all", reflect.TypeFor[settings](), docs)
	if err != nil {
		t.Fatal(err)
	}
	part := `"type": "object", "additionalProperties": false, "properties": {"part": {"type": "integer", "description": "part of it."}}`
	want := `{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "all", "type": "object", "additionalProperties": false, "properties": {
		"shared": {"type": "string", "description": "shared is one. Default: any."},
		"part":   {"type": "integer", "description": "part of it."},
		"name":   {"type": "string", "default": "filled in"},
		"NoTag":  {"type": "boolean", "default": true, "description": "NoTag is on, unless told otherwise. Default true."},
		"small":  {"type": "integer", "minimum": -128, "maximum": 127, "default": 3},
		"port":   {"type": "integer", "minimum": 0, "maximum": 65535, "default": 443, "description": "port is where, beside name. Default 443; HTTPS."},
		"large":  {"type": "integer", "minimum": 0},
		"ratio":  {"type": "number"},
		"any":    {},
		"raw":    {"description": "raw is Default none."},
		"bytes":  {"type": "string", "contentEncoding": "base64"},
		"own":    {"type": ["string", "integer"]},
		"nested": {"type": "object", "additionalProperties": {"type": "array", "items": {"description": "Pointed is a part.", ` + part + `}}},
		"tree":   {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {"type": "integer"}}}
	}}`
	if diff := cmp.Diff(decoded(t, []byte(want)), decoded(t, have)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if bytes.Contains(have, []byte("internal")) {
		t.Errorf("what is not exported is in\n%s", have)
	}
}

func decoded(t *testing.T, text []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return v
}

type silent struct{}

func (*silent) UnmarshalJSON([]byte) error { return nil }

type wrong struct{}

func (wrong) SettingsSchema() string { return `{"type"` }

type recursive struct {
	Next []recursive `json:"next"`
}

type contradicted struct {
	Count int `json:"count"`
}

func (c *contradicted) Validate() error { c.Count = 3; return nil }

func TestTypesThatNoSchemaCanBeMadeOfSayWhy(t *testing.T) {
	docs := schema.Docs{"library/schema_test.contradicted.Count": "Count is how many. Default 2."}
	for _, tt := range []struct {
		settings reflect.Type
		want     string
	}{
		{nil, "settings of type <nil>: want a struct"},
		{reflect.TypeFor[string](), "settings of type string: want a struct"},
		{reflect.TypeFor[struct {
			A []silent `json:"a"`
		}](), "a: schema_test.silent decodes itself: give it a method SettingsSchema"},
		{reflect.TypeFor[struct {
			A struct {
				B wrong `json:"b"`
			} `json:"a"`
		}](), "a: b: schema_test.wrong: SettingsSchema: unexpected end of JSON input"},
		{reflect.TypeFor[recursive](), "next: schema_test.recursive holds itself"},
		{reflect.TypeFor[struct{ A chan int }](), "A: chan int: JSON has no such thing"},
		{reflect.TypeFor[struct{ A error }](), "A: error: JSON has no such thing"},
		{reflect.TypeFor[struct{ A map[int]string }](), "A: map[int]string: want names that are strings"},
		{reflect.TypeFor[struct {
			A int `json:"a,string"`
		}](), ".A: the option string is not known here"},
		{reflect.TypeFor[contradicted](), "count: the comment says the default is 2, and Validate makes it 3"},
	} {
		if _, err := schema.Of("x", tt.settings, docs); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.settings, err, tt.want)
		}
	}
}
