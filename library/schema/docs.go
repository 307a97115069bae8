package schema

import (
	"go/token"
	"reflect"
	"regexp"
	"strings"
)

// Docs are the comments of types and of their fields, by import path within the
// module and name: "library/labels.Settings", "library/labels.Settings.Values".
// A Go program does not carry its comments, so they come from a generated file.
type Docs map[string]string

// module is our module, which keys of Docs do without.
const module = "github.com/warder-dev/warder/"

// Key returns the key of a type, "" for one without a name.
func Key(t reflect.Type) string {
	if t.Name() == "" || t.PkgPath() == "" {
		return ""
	}
	return strings.TrimPrefix(t.PkgPath(), module) + "." + t.Name()
}

// ofType returns the description of a type, or of what a pointer points to. One
// that is not exported is a matter of the code.
func (d Docs) ofType(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !token.IsExported(t.Name()) {
		return ""
	}
	first, rest, _ := strings.Cut(d[Key(t)], " ") // the first is the type itself
	return strings.TrimSpace(first + " " + inJSON(t, rest))
}

// ofField returns the description of a field of t: its comment, and that of its
// type.
func (d Docs) ofField(t reflect.Type, f reflect.StructField) string {
	text := inJSON(t, d[Key(t)+"."+f.Name])
	ofType := d.ofType(f.Type)
	if text == "" || ofType == "" {
		return text + ofType
	}
	return text + "\n\n" + ofType
}

// goName finds what may be the name of a field.
func goName() *regexp.Regexp { return regexp.MustCompile(`\b[A-Z][A-Za-z0-9]*\b`) }

// inJSON replaces the names that the fields of t have in Go by those that they
// have in JSON: nobody who writes settings knows the others.
func inJSON(t reflect.Type, text string) string {
	if t.Kind() != reflect.Struct {
		return text
	}
	return goName().ReplaceAllStringFunc(text, func(word string) string {
		f, ok := t.FieldByName(word)
		if !ok || !f.IsExported() {
			return word
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			return word
		}
		return name
	})
}
