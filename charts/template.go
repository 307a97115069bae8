package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// template is an object of which parts are for Helm to fill in.
type template struct {
	object map[string]any
	says   []string // by the number of the token
}

// token stands for something until the object is YAML:
//
//	{{ EXPR }}        the same
//	if COND\nTEXT     the field or element with the text as its value, if COND
//	with EXPR         the field with the map or list, unless that is empty
//	quoted EXPR       the field with the string, unless that is empty
//	set EXPR          the field, unless that is null; an empty list is none
//	append EXPR       the elements of the list
func (t *template) token(says string) string {
	t.says = append(t.says, says)
	return fmt.Sprintf("xtoken%dx", len(t.says)-1)
}

// at returns the map at a path.
func (t *template) at(path string) map[string]any {
	m := t.object
	for _, name := range strings.Split(path, ".") {
		next, ok := m[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[name] = next
		}
		m = next
	}
	return m
}

// set puts a token at a path.
func (t *template) set(path, says string) {
	dot := strings.LastIndex(path, ".")
	t.at(path[:dot])[path[dot+1:]] = t.token(says)
}

// text is the object as a document of the template, there under the condition if
// it is not "".
func (t *template) text(condition string) (string, error) {
	plain, err := yaml.Marshal(t.object)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if condition != "" {
		b.WriteString("{{- if " + condition + " }}\n")
	}
	b.WriteString("---\n")
	line := regexp.MustCompile(`^( *)((?:- )*)(?:([A-Za-z]+): )?xtoken(\d+)x$`)
	for _, l := range strings.Split(strings.TrimSuffix(string(plain), "\n"), "\n") {
		if value, ok := strings.CutSuffix(l, ": "+releaseNamespace); ok {
			l = value + ": {{ .Release.Namespace | quote }}" // it may look like a number
		}
		l = strings.ReplaceAll(l, releaseNamespace, "{{ .Release.Namespace }}")
		parts := line.FindStringSubmatch(l)
		if parts == nil {
			b.WriteString(l + "\n")
			continue
		}
		number, err := strconv.Atoi(parts[4])
		if err != nil {
			return "", err
		}
		filled, err := fill(parts[1], parts[2], parts[3], t.says[number])
		if err != nil {
			return "", fmt.Errorf("%s: %w", strings.TrimSpace(l), err)
		}
		b.WriteString(filled)
	}
	if condition != "" {
		b.WriteString("{{- end }}\n")
	}
	text := b.String()
	for _, left := range []string{"xtoken", releaseImage, releaseSecret, releaseClientCA} {
		if strings.Contains(text, left) {
			return "", fmt.Errorf("%s is left in:\n%s", left, text)
		}
	}
	return text, nil
}

// fill is a line with a token: its indentation, the dashes of lists, the name of
// the field, and what the token says.
func fill(indent, dash, field, says string) (string, error) {
	verb, rest, _ := strings.Cut(says, " ")
	start := indent + dash
	if field != "" {
		start += field + ": "
	}
	if verb != "{{" && verb != "if" && verb != "append" && (dash != "" || field == "") {
		return "", fmt.Errorf("%q stands for a field of its own line", says)
	}
	block := func(condition, text string) string {
		return fmt.Sprintf("%[1]s{{- %[2]s }}\n%[3]s\n%[1]s{{- end }}\n", indent, condition, text)
	}
	switch verb {
	case "{{":
		return start + says + "\n", nil
	case "if":
		condition, text, _ := strings.Cut(rest, "\n")
		return block("if "+condition, start+text), nil
	case "with":
		return block("with "+rest, fmt.Sprintf("%s%s:\n%s  {{- toYaml . | nindent %d }}", indent, field, indent, len(indent)+2)), nil
	case "quoted":
		return block("with "+rest, start+"{{ . | quote }}"), nil
	case "set":
		return block(`if not (kindIs "invalid" (`+rest+`))`, start+"{{ toJson ("+rest+") }}"), nil
	case "append":
		return block("with "+rest, fmt.Sprintf("%s{{- toYaml . | nindent %d }}", indent, len(indent))), nil
	}
	return "", fmt.Errorf("%q is nothing that a token says", says)
}
