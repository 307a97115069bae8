// Package schema makes a JSON Schema of the settings of a policy from their Go
// type, for editors and for people. Guests are compiled without it.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Draft is the version of JSON Schema that Of writes.
const Draft = "https://json-schema.org/draft/2020-12/schema"

// Describer is a type that says its own schema: one with an UnmarshalJSON must,
// and one with few values should. SettingsSchema is called on the zero value. It
// returns a JSON object; description and default are put in besides.
type Describer interface{ SettingsSchema() string }

// object is a JSON object that is being made.
type object = map[string]any

// Of returns the JSON Schema of settings, which are a struct. It takes what
// sdk.DecodeSettings takes, but for two liberties that nobody should use: names
// in another case, and null in place of leaving something out.
//
// A default is what Validate puts into the empty settings, or what the comment
// says: "Default true." The error says that the two differ, or which type needs
// a SettingsSchema.
func Of(title string, settings reflect.Type, docs Docs) (json.RawMessage, error) {
	if settings == nil || settings.Kind() != reflect.Struct {
		return nil, fmt.Errorf("settings of type %v: want a struct", settings)
	}
	defaults := reflect.New(settings)
	if v, ok := defaults.Interface().(sdk.Validator); ok {
		_ = v.Validate() // it fills in what it can, also when something must be given
	}
	m := maker{docs: docs, inside: map[reflect.Type]bool{}}
	root, err := m.schemaOf(settings, defaults.Elem())
	if err != nil {
		return nil, err
	}
	root["$schema"], root["title"] = Draft, title
	if text := docs.ofType(settings); text != "" {
		root["description"] = text
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err = e.Encode(root)
	return b.Bytes(), err
}

// maker makes one schema.
type maker struct {
	docs   Docs
	inside map[reflect.Type]bool // structs that are being described
}

// schemaOf describes a type. Defaults are a value of it, the zero one if nothing
// is known.
func (m maker) schemaOf(t reflect.Type, defaults reflect.Value) (object, error) {
	if d, ok := reflect.Zero(t).Interface().(Describer); ok && t.Kind() != reflect.Pointer {
		return describe(t, d)
	}
	if t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) && t != reflect.TypeFor[json.RawMessage]() {
		return nil, fmt.Errorf("%s decodes itself: give it a method SettingsSchema", t)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return m.schemaOf(t.Elem(), reflect.Zero(t.Elem()))
	case reflect.Struct:
		return m.structOf(t, defaults)
	case reflect.Map:
		return m.collection(object{"type": "object"}, "additionalProperties", t)
	case reflect.Slice:
		if t == reflect.TypeFor[json.RawMessage]() {
			return object{}, nil
		}
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}, nil
		}
		return m.collection(object{"type": "array"}, "items", t)
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return object{}, nil
		}
	}
	if simple := simpleType(t.Kind()); simple != nil {
		return simple, nil
	}
	return nil, fmt.Errorf("%s: JSON has no such thing", t)
}

// describe returns what a type says of itself.
func describe(t reflect.Type, d Describer) (object, error) {
	o := object{}
	if err := json.Unmarshal([]byte(d.SettingsSchema()), &o); err != nil {
		return nil, fmt.Errorf("%s: SettingsSchema: %w", t, err)
	}
	return o, nil
}

// collection completes the schema of a list or a map with that of its elements.
func (m maker) collection(o object, key string, t reflect.Type) (object, error) {
	if t.Kind() == reflect.Map && t.Key().Kind() != reflect.String {
		return nil, fmt.Errorf("%s: want names that are strings", t)
	}
	inner, err := m.schemaOf(t.Elem(), reflect.Zero(t.Elem()))
	if err != nil {
		return nil, err
	}
	if text := m.docs.ofType(t.Elem()); text != "" {
		inner["description"] = text
	}
	o[key] = inner
	return o, nil
}

// structOf describes an object, which has no names but those of the fields.
func (m maker) structOf(t reflect.Type, defaults reflect.Value) (object, error) {
	if m.inside[t] {
		return nil, fmt.Errorf("%s holds itself: settings have an end", t)
	}
	m.inside[t] = true
	defer delete(m.inside, t)
	properties := object{}
	if err := m.addFields(properties, t, defaults); err != nil {
		return nil, err
	}
	o := object{"type": "object", "additionalProperties": false}
	if len(properties) > 0 {
		o["properties"] = properties
	}
	return o, nil
}

// addFields adds the fields of a struct, and of what is embedded there unless
// its names are taken.
func (m maker) addFields(properties object, t reflect.Type, defaults reflect.Value) error {
	var embedded []int
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && f.Anonymous && structType(f.Type) != nil:
			embedded = append(embedded, i)
			continue
		case name == "-" || !f.IsExported():
			continue
		case strings.Contains(options, "string"):
			return fmt.Errorf("%s.%s: the option string is not known here", t, f.Name)
		case name == "":
			name = f.Name
		}
		if properties[name] != nil {
			continue
		}
		property, err := m.property(t, f, defaults.Field(i))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		properties[name] = property
	}
	for _, i := range embedded {
		inner, value := structType(t.Field(i).Type), defaults.Field(i)
		if value.Kind() == reflect.Pointer {
			value = reflect.Zero(inner)
		}
		if err := m.addFields(properties, inner, value); err != nil {
			return err
		}
	}
	return nil
}

// structType returns the struct that t is or points to, nil if none.
func structType(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

// property describes a field of t.
func (m maker) property(t reflect.Type, f reflect.StructField, value reflect.Value) (object, error) {
	o, err := m.schemaOf(f.Type, value)
	if err != nil {
		return nil, err
	}
	text := m.docs.ofField(t, f)
	if text != "" {
		o["description"] = text
	}
	fallback, err := defaultOf(value, text)
	if err != nil {
		return nil, err
	}
	if fallback != nil {
		o["default"] = fallback
	}
	return o, nil
}
