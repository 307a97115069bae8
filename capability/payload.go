package capability

import (
	"encoding/json"
	"errors"
	"fmt"
)

// decode reads a question, an object whose mandatory members are there and not
// null. Others may be absent or null, and unknown ones are passed over, as in
// Kubewarden.
func decode(payload []byte, question any, mandatory ...string) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(payload, &members); err != nil {
		return err
	}
	for _, name := range mandatory {
		switch value, ok := members[name]; {
		case !ok:
			return fmt.Errorf("missing field `%s`", name)
		case string(value) == "null":
			return fmt.Errorf("field `%s` is null", name)
		}
	}
	return json.Unmarshal(payload, question)
}

// decodeText reads a question that is one JSON string.
func decodeText(payload []byte) (string, error) {
	var text *string
	if err := json.Unmarshal(payload, &text); err != nil {
		return "", err
	}
	if text == nil {
		return "", errors.New("want a string, have null")
	}
	return *text, nil
}

// octets are bytes that are a list of numbers in JSON.
type octets []byte

// UnmarshalJSON reads [45,45]. Text would be base64 to encoding/json; nobody
// sends that.
func (o *octets) UnmarshalJSON(text []byte) error {
	if text[0] != '[' {
		return fmt.Errorf("want a list of bytes, have %.20s", text)
	}
	return json.Unmarshal(text, (*[]byte)(o))
}

// MarshalJSON writes what UnmarshalJSON reads.
func (o octets) MarshalJSON() ([]byte, error) {
	numbers := make([]uint16, len(o))
	for i, b := range o {
		numbers[i] = uint16(b)
	}
	return json.Marshal(numbers)
}

// annotations are an object of strings, or nil. A list of {"key","value"}, which
// Kubewarden's documentation shows, is read too.
type annotations map[string]string

// UnmarshalJSON implements json.Unmarshaler.
func (a *annotations) UnmarshalJSON(text []byte) error {
	if text[0] != '[' {
		return json.Unmarshal(text, (*map[string]string)(a))
	}
	var pairs []struct{ Key, Value *string }
	if err := json.Unmarshal(text, &pairs); err != nil {
		return err
	}
	*a = annotations{}
	for i, p := range pairs {
		if p.Key == nil || p.Value == nil {
			return fmt.Errorf("annotations[%d]: want an object of key and value", i)
		}
		(*a)[*p.Key] = *p.Value
	}
	return nil
}
