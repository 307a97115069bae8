package capability

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// exchangeYAML is an exchange in a session file.
type exchangeYAML struct {
	Type     string       `yaml:"type"` // Exchange
	Request  *string      `yaml:"request"`
	Response responseYAML `yaml:"response"`
}

type responseYAML struct {
	Type    string  `yaml:"type"` // Success or Error
	Payload *string `yaml:"payload,omitempty"`
	Message *string `yaml:"message,omitempty"`
}

// ParseSession reads a session file of kwctl: a list in YAML. The error says
// which exchange is wrong, and where it is.
func ParseSession(text []byte) (s *Session, err error) {
	defer func() {
		if r := recover(); r != nil { // the parser is not ours
			s, err = nil, fmt.Errorf("session: not YAML: the parser gave up: %v", r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var items []yaml.Node
	switch err := dec.Decode(&items); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("session: it is empty; a session without exchanges is []")
	case err != nil:
		return nil, fmt.Errorf("session: %w", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("session: it holds more than one YAML document")
	}
	s = &Session{}
	for i := range items {
		e, err := parseExchange(&items[i])
		if err != nil {
			return nil, fmt.Errorf("session: exchange %d, line %d: %w", i+1, items[i].Line, err)
		}
		s.exchanges = append(s.exchanges, e)
	}
	return s, nil
}

func parseExchange(node *yaml.Node) (e exchange, err error) {
	var y exchangeYAML
	if err := node.Decode(&y); err != nil {
		return exchange{}, err
	}
	var answer *string
	switch r := y.Response; {
	case y.Type != "" && y.Type != "Exchange":
		return exchange{}, fmt.Errorf("type %q, want Exchange", y.Type)
	case y.Request == nil:
		return exchange{}, errors.New("request is missing")
	case r.Type == "Success" && r.Payload == nil:
		return exchange{}, errors.New("response: payload is missing")
	case r.Type == "Error" && r.Message == nil:
		return exchange{}, errors.New("response: message is missing")
	case r.Type == "Success":
		answer = r.Payload
	case r.Type == "Error":
		answer, e.err = r.Message, true
	default:
		return exchange{}, fmt.Errorf("response: type %q, want Success or Error", r.Type)
	}
	e.answer = *answer
	if e.question, err = parseQuestion(*y.Request); err != nil {
		return exchange{}, fmt.Errorf("request: %w", err)
	}
	return e, nil
}

// parseQuestion reads the text of a request, which is a YAML document itself: a
// mapping whose tag names what is asked.
func parseQuestion(text string) (question, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return question{}, err
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return question{}, errors.New("want a mapping with a tag such as !DNSLookupHost")
	}
	node := doc.Content[0]
	tag, _ := strings.CutPrefix(node.Tag, "!")
	q := question{tag, newFields(tag)}
	if q.fields == nil {
		return question{}, fmt.Errorf("unknown tag %q", node.Tag)
	}
	value, err := plain(node)
	if err != nil {
		return question{}, fmt.Errorf("%s: %w", node.Tag, err)
	}
	asJSON, err := json.Marshal(value)
	if err != nil {
		return question{}, fmt.Errorf("%s: %w", node.Tag, err)
	}
	if err := json.Unmarshal(asJSON, q.fields); err != nil {
		return question{}, fmt.Errorf("%s: %w", node.Tag, err)
	}
	return q, nil
}

// plain returns a node as encoding/json has values.
func plain(node *yaml.Node) (any, error) {
	switch node.Kind {
	case yaml.MappingNode:
		object := map[string]any{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i].Value
			if _, ok := object[key]; ok {
				return nil, fmt.Errorf("line %d: key %q is there twice", node.Content[i].Line, key)
			}
			value, err := plain(node.Content[i+1])
			if err != nil {
				return nil, err
			}
			object[key] = value
		}
		return object, nil
	case yaml.SequenceNode:
		list := make([]any, len(node.Content))
		for i, item := range node.Content {
			var err error
			if list[i], err = plain(item); err != nil {
				return nil, err
			}
		}
		return list, nil
	case yaml.ScalarNode:
		if tag := node.ShortTag(); tag == "!!timestamp" || tag == "!!str" {
			return node.Value, nil
		}
		var value any // null, a boolean or a number
		err := node.Decode(&value)
		return value, err
	}
	return nil, fmt.Errorf("line %d: want no alias here", node.Line)
}

// Encode writes the session as kwctl does. What it writes, ParseSession reads.
func (s *Session) Encode() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := make([]yaml.Node, len(s.exchanges))
	for i, e := range s.exchanges {
		if err := e.encode(&items[i]); err != nil {
			return nil, fmt.Errorf("session: exchange %d: %w", i+1, err)
		}
	}
	return encodeYAML(items)
}

func (e exchange) encode(to *yaml.Node) error {
	if !utf8.ValidString(e.answer) {
		return errors.New("the answer is not UTF-8, and no session can hold it")
	}
	request, err := e.question.encode()
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	answer := scalar(e.answer)
	response := mapping(scalar("type"), scalar("Success"), scalar("payload"), answer)
	if e.err {
		response = mapping(scalar("type"), scalar("Error"), scalar("message"), answer)
	}
	asked := scalar(string(request))
	asked.Style = yaml.LiteralStyle // it is made of what can be written so
	*to = *mapping(scalar("type"), scalar("Exchange"), scalar("request"), asked, scalar("response"), response)
	return nil
}

func (q question) encode() ([]byte, error) {
	text, err := json.Marshal(q.fields)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	node, err := nodeOf(dec)
	if err != nil {
		return nil, err
	}
	node.Tag = "!" + q.tag
	return encodeYAML(node)
}

// nodeOf reads one JSON value as YAML; members stay in their order.
func nodeOf(dec *json.Decoder) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim: // { or [
		node := &yaml.Node{Kind: yaml.SequenceNode}
		if t == '{' {
			node.Kind = yaml.MappingNode
		}
		for dec.More() {
			inner, err := nodeOf(dec)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, inner)
		}
		_, err := dec.Token() // the end of it
		return node, err
	case string:
		return scalar(t), nil
	}
	text, err := json.Marshal(token) // null, a boolean or a number
	return &yaml.Node{Kind: yaml.ScalarNode, Value: string(text)}, err
}

func mapping(content ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: content}
}

// scalar is a string. Line breaks are escaped: a block would not keep every one.
func scalar(text string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if strings.ContainsAny(text, "\r\n\u0085\u2028\u2029") {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}

func encodeYAML(value any) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	err := enc.Encode(value)
	return b.Bytes(), errors.Join(err, enc.Close())
}
