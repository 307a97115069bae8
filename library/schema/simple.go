package schema

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
)

// simpleType describes what has no parts, nil if the kind is not such. Integers
// of 64 bits have no bounds: many readers of JSON would round them.
func simpleType(k reflect.Kind) object {
	whole := func(least, most int64) object {
		return object{"type": "integer", "minimum": least, "maximum": most}
	}
	switch k {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Int8:
		return whole(math.MinInt8, math.MaxInt8)
	case reflect.Int16:
		return whole(math.MinInt16, math.MaxInt16)
	case reflect.Int32:
		return whole(math.MinInt32, math.MaxInt32)
	case reflect.Uint8:
		return whole(0, math.MaxUint8)
	case reflect.Uint16:
		return whole(0, math.MaxUint16)
	case reflect.Uint32:
		return whole(0, math.MaxUint32)
	}
	return nil
}

// defaultText finds "Default 2" and "Default: Always." in a comment: one word,
// which ends a sentence or goes on behind a colon or a semicolon.
func defaultText() *regexp.Regexp {
	return regexp.MustCompile(`\bDefault:? ([A-Za-z0-9_./-]*[A-Za-z0-9])(?:[.:;](?:\s|$)|$)`)
}

// defaultOf returns the default of a field, nil if there is none to be named.
// Value is what the empty settings have there after Validate.
func defaultOf(value reflect.Value, comment string) (any, error) {
	var filled any
	if !value.IsZero() && value.Kind() != reflect.Struct {
		text, err := json.Marshal(value.Interface())
		if err != nil {
			return nil, err
		}
		filled = json.RawMessage(text)
	}
	t := value.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	said := saidDefault(t, comment)
	if filled != nil && said != nil {
		if have, want := fmt.Sprintf("%s", filled), toJSON(said); have != want {
			return nil, fmt.Errorf("the comment says the default is %s, and Validate makes it %s", want, have)
		}
	}
	switch {
	case filled != nil:
		return filled, nil
	case said != nil:
		return said, nil
	case value.Kind() == reflect.Bool:
		return false, nil
	}
	return nil, nil //nolint:nilnil // most fields have none
}

func toJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// saidDefault reads a default from a comment, nil if it says none of the type.
func saidDefault(t reflect.Type, comment string) any {
	found := defaultText().FindStringSubmatch(comment)
	if found == nil {
		return nil
	}
	word := found[1]
	switch t.Kind() {
	case reflect.Bool:
		if b, err := strconv.ParseBool(word); err == nil {
			return b
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n, err := strconv.ParseInt(word, 10, 64); err == nil {
			return n
		}
	case reflect.String:
		if !isNoWord(word) {
			return word
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String && !isNoWord(word) {
			return []string{word}
		}
	}
	return nil
}

// isNoWord reports whether the default is described, and not named.
func isNoWord(word string) bool { return word == "none" || word == "any" || word == "all" }
