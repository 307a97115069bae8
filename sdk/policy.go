package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Judge says what a policy, its settings given, thinks of one request. It is
// called concurrently. The error means "no verdict".
type Judge func(ctx context.Context, req *Request) (Verdict, error)

// Policy is a module before it has its settings.
type Policy struct {
	load     func(settings json.RawMessage) (Judge, error)
	settings reflect.Type
}

// Settings returns the type that the settings are decoded into, nil for a policy
// that is not defined. It is for those who describe settings: a guest has no use
// for it.
func (p Policy) Settings() reflect.Type { return p.settings }

// Validator is a settings type that checks itself. Validate is called once,
// after decoding; it may prepare what Judge needs (compile an expression) in
// unexported fields. The error is shown to whoever wrote the settings.
type Validator interface{ Validate() error }

// Define makes a policy of a settings type and a function. Settings are a JSON
// object decoded into S with encoding/json; no settings are the empty object;
// a name that S does not have is an error that suggests the nearest one.
func Define[S any](judge func(ctx context.Context, settings *S, req *Request) (Verdict, error)) Policy {
	return Policy{settings: reflect.TypeFor[S](), load: func(raw json.RawMessage) (Judge, error) {
		settings := new(S)
		if err := DecodeSettings(raw, settings); err != nil {
			return nil, err
		}
		if v, ok := any(settings).(Validator); ok {
			if err := v.Validate(); err != nil {
				return nil, err
			}
		}
		return func(ctx context.Context, req *Request) (Verdict, error) {
			return judge(ctx, settings, req)
		}, nil
	}}
}

// Load gives the policy its settings. Nil settings are the empty object. The
// error says what is wrong with them.
func (p Policy) Load(settings json.RawMessage) (Judge, error) {
	if p.load == nil {
		return nil, errors.New("the policy is not defined: make it with sdk.Define")
	}
	return p.load(settings)
}

// DecodeSettings decodes a JSON object into target, which points to a struct.
// A name that the struct does not have is an error.
func DecodeSettings(raw json.RawMessage, target any) error {
	raw = bytes.Trim(raw, " \t\r\n") // JSON has no other space
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	err := dec.Decode(target)
	if err == nil {
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return errors.New("settings: more than one JSON value")
		}
		return nil
	}
	return settingsError(raw, err, reflect.TypeOf(target))
}

// settingsError says err in the words of somebody who writes settings.
func settingsError(raw []byte, err error, target reflect.Type) error {
	if broken := Check(raw); broken != nil {
		return fmt.Errorf("settings: %w", broken)
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		where := wrong.Field
		if where == "" {
			where = "settings"
		}
		return fmt.Errorf("%s: want %s, have %s", where, typeName(wrong.Type), wrong.Value)
	}
	if path, known := unknownName(View(raw), target); path != "" {
		if near := nearest(lastName(path), known); near != "" {
			return fmt.Errorf("%s: unknown setting; did you mean %s?", path, near)
		}
		if len(known) == 0 {
			return fmt.Errorf("%s: unknown setting; there are none", path)
		}
		return fmt.Errorf("%s: unknown setting; known are %s", path, strings.Join(known, ", "))
	}
	return fmt.Errorf("settings: %w", err)
}

// lastName returns the last name of a path: b of a.b and of a["b"].
func lastName(path string) string {
	if start := strings.LastIndex(path, `["`); start >= 0 && strings.HasSuffix(path, `"]`) {
		if name, err := strconv.Unquote(path[start+1 : len(path)-1]); err == nil {
			return name
		}
	}
	return path[strings.LastIndexByte(path, '.')+1:]
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "a boolean"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "an integer (" + t.Kind().String() + ")"
}

// unknownName finds the first name in v that the type does not have, and the
// names that it has there.
func unknownName(v Value, t reflect.Type) (path string, known []string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !v.Exists() || reflect.PointerTo(t).Implements(unmarshaler) {
		return "", nil
	}
	switch have := typeOf(v.raw); {
	case t.Kind() == reflect.Struct && have == "an object":
		fields := fieldTypes(t)
		for name, inner := range v.Members() {
			field, ok := fields[strings.ToLower(name)]
			if !ok {
				for _, f := range fields {
					known = append(known, f.name)
				}
				slices.Sort(known)
				return inner.pathOr(v, name), known
			}
			if path, known := unknownName(inner, field.typ); path != "" {
				return path, known
			}
		}
	case t.Kind() == reflect.Map && have == "an object":
		for _, inner := range v.Members() {
			if path, known := unknownName(inner, t.Elem()); path != "" {
				return path, known
			}
		}
	case t.Kind() == reflect.Slice && have == "a list":
		for _, inner := range v.Elements() {
			if path, known := unknownName(inner, t.Elem()); path != "" {
				return path, known
			}
		}
	}
	return "", nil
}

// pathOr is Path, also for a null member called name of parent.
func (v Value) pathOr(parent Value, name string) string {
	if v.Exists() {
		return v.Path()
	}
	if path := parent.Path(); path != "" {
		return path + "." + name
	}
	return name
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

type namedField struct {
	name string
	typ  reflect.Type
}

// fieldTypes returns the JSON names of a struct, in lower case since
// encoding/json does not tell them apart by case.
func fieldTypes(t reflect.Type) map[string]namedField {
	fields := map[string]namedField{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || f.Anonymous {
			continue
		}
		if name == "" {
			name = f.Name
		}
		fields[strings.ToLower(name)] = namedField{name, f.Type}
	}
	return fields
}

// nearest returns the known name that is at most a third of name's length
// away from it in single letters, "" if none.
func nearest(name string, known []string) string {
	best, bestAway := "", len(name)/3+1
	for _, k := range known {
		if away := distance(strings.ToLower(name), strings.ToLower(k)); away < bestAway {
			best, bestAway = k, away
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := min(row[j]+1, row[j+1]+1, diagonal)
			if a[i] != b[j] {
				next = min(row[j]+1, row[j+1]+1, diagonal+1)
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// Nearest returns the known name that name is most likely a slip of, "" if
// none is near.
func Nearest(name string, known []string) string { return nearest(name, known) }
