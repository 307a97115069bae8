package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// review is the AdmissionReview that an API server would send.
func (r demoReview) review() ([]byte, error) {
	k, err := r.kind()
	if err != nil {
		return nil, err
	}
	object, old := r.Object, json.RawMessage("null")
	if r.Operation == "DELETE" {
		object, old = old, object
	}
	group, version, ok := strings.Cut(k.APIVersion, "/")
	if !ok {
		group, version = "", k.APIVersion
	}
	gvk := map[string]string{"group": group, "version": version, "kind": k.Kind}
	gvr := map[string]string{"group": group, "version": version, "resource": strings.ToLower(k.Kind) + "s"}
	return json.MarshalIndent(map[string]any{
		"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
		"request": map[string]any{
			"uid": "demo-" + r.Name, "kind": gvk, "requestKind": gvk, "resource": gvr, "requestResource": gvr,
			"name": k.Metadata.Name, "namespace": k.Metadata.Namespace, "operation": r.operation(),
			"userInfo": map[string]any{"username": "jane@example.com", "groups": []string{"developers", "system:authenticated"}},
			"object":   object, "oldObject": old, "dryRun": false, "options": nil,
		},
	}, "", "  ")
}

func (r demoReview) operation() string { return cmp.Or(r.Operation, "CREATE") }

type objectKind struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name, Namespace string
	} `json:"metadata"`
}

func (r demoReview) kind() (k objectKind, err error) {
	err = json.Unmarshal(r.Object, &k)
	return k, err
}

// table prints what became of requests, for people: a line for each, and its
// reason or its patch below.
type table struct {
	out    io.Writer
	colour bool
	width  int
}

// tableWidth is the width of the text, in columns. It fits most terminals.
const tableWidth = 100

func newTable(out io.Writer) *table {
	t := &table{out: out, width: tableWidth}
	if f, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" {
		info, err := f.Stat()
		t.colour = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return t
}

const rowFormat = "%-44s %-18s %s %9s\n"

func (t *table) header() {
	t.print(rowFormat, "REQUEST", "POLICY", "VERDICT", "TIME")
}

func (t *table) print(format string, args ...any) { _, _ = fmt.Fprintf(t.out, format, args...) }

func (t *table) row(r demoReview, got demoAnswer, problem string) {
	what := r.Name
	if k, err := r.kind(); err == nil {
		what = fmt.Sprintf("%s %s %s/%s", r.operation(), k.Kind, k.Metadata.Namespace, k.Metadata.Name)
	}
	t.print(rowFormat, what, r.Policy, t.paint(got.verdict), fmt.Sprintf("%.2f ms", float64(got.took)/float64(time.Millisecond)))
	for _, line := range strings.Split(got.reason, "\n") {
		t.wrap(line)
	}
	for _, op := range got.patch {
		t.wrap(strings.TrimSpace(fmt.Sprintf("%s %s %s", op.Op, op.Path, op.Value)))
	}
	for _, w := range got.warnings {
		t.wrap("warning: " + w)
	}
	t.wrap(r.Note)
	if problem != "" {
		t.wrap("NOT AS EXPECTED: " + problem)
	}
}

// paint pads a verdict and colours it on a terminal.
func (t *table) paint(verdict string) string {
	text := fmt.Sprintf("%-7s", verdict)
	if !t.colour {
		return text
	}
	colours := map[string]string{"allowed": "32", "changed": "33", "denied": "31"}
	return "\x1b[" + colours[verdict] + "m" + text + "\x1b[0m"
}

// wrap prints text below its row, in lines of the table's width.
func (t *table) wrap(text string) {
	const indent = "    "
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > t.width && line != indent {
			t.print("%s\n", line)
			line = indent + "  "
		}
		if strings.TrimSpace(line) != "" {
			line += " "
		}
		line += word
	}
	if strings.TrimSpace(line) != "" {
		t.print("%s\n", line)
	}
}

func (t *table) footer(count, wrong int) {
	if wrong == 0 {
		t.print("\n%d requests over HTTPS, every verdict as expected.\n", count)
		return
	}
	t.print("\n%d requests over HTTPS, %d verdicts NOT as expected.\n", count, wrong)
}

// invite says how to send a request of one's own.
func (d *demo) invite() {
	file := filepath.Join(d.dir, "privileged-pod.json")
	_, _ = fmt.Fprintf(d.out, `
The server is still there. Send it the request of the second row yourself:

  curl -sk -H 'Content-Type: application/json' --data @%s \
    %s/validate/no-privileged

Change the file and send it again; the other requests lie beside it. Ask every policy
of the bundle at once with /review/baseline, and see how the policies stand with

  curl -sk %s/policies

Ctrl-C ends the demo and removes its files.
`, file, d.url, d.url)
}
