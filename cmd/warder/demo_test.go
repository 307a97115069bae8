package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestADemoVerdictIsComparedWithTheExpectedOne(t *testing.T) {
	patch := []demoOperation{{"add", "/spec", json.RawMessage(`{"cpu":"1"}`)}}
	tests := []struct {
		name string
		row  demoReview
		got  demoAnswer
		want string
	}{
		{"as expected", demoReview{Want: "denied", Says: []string{"no", "go"}}, demoAnswer{verdict: "denied", reason: "no, go"}, ""},
		{"another verdict", demoReview{Want: "denied"}, demoAnswer{verdict: "allowed"}, "expected denied"},
		{"another reason", demoReview{Want: "denied", Says: []string{"yes"}}, demoAnswer{verdict: "denied", reason: "no"}, `expected it to say "yes"`},
		{"the patch counts", demoReview{Want: "changed", Says: []string{"/spec", `"1"`}}, demoAnswer{verdict: "changed", patch: patch}, ""},
		{"another patch", demoReview{Want: "changed", Says: []string{"/metadata"}}, demoAnswer{verdict: "changed", patch: patch}, `expected it to say "/metadata"`},
	}
	for _, tt := range tests {
		if have := tt.row.problem(tt.got); have != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, have, tt.want)
		}
	}
}

func TestADemoWithAWrongVerdictFails(t *testing.T) {
	var out bytes.Buffer
	d := &demo{once: true, isolation: "snapshot", out: &out, dir: t.TempDir(), url: "https://" + serveDemo(t)}
	reviews := bytes.Replace(demoReviews, []byte(`"want": "allowed"`), []byte(`"want": "denied"`), 1)
	if bytes.Equal(reviews, demoReviews) {
		t.Fatal("no request of the demo is expected to be allowed")
	}
	err := d.show(t.Context(), reviews, map[string]bool{"baseline": true})
	if err == nil || err.Error() != "1 of 16 verdicts were not the expected ones" {
		t.Errorf("show = %v, want one wrong verdict of 16", err)
	}
	for _, want := range []string{"NOT AS EXPECTED: expected denied", "16 requests over HTTPS, 1 verdicts NOT as expected."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, &out)
		}
	}
}

// serveDemo serves the policies of the demo and returns where.
func serveDemo(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	module := filepath.Join(dir, "teamlabel.wasm")
	if err := unpack(module); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(demoPolicies), "file://TEAMLABEL", "file://"+module)
	s := startServe(t, text, "--policy-timeout", "30")
	return s.api
}

func TestAnAnswerOfTheDemoThatCannotBeReadIsAnError(t *testing.T) {
	for text, want := range map[string]string{
		`{`: "answer: ",
		`{"response":{"allowed":true,"patch":"*"}}`:            "patch: illegal base64",
		`{"response":{"allowed":true,"patch":"bm90IGpzb24="}}`: "patch: invalid character",
	} {
		if got, err := readAnswer([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("readAnswer(%s) = %+v, %v, want %q", text, got, err, want)
		}
	}
}

func TestTheTableWrapsLongLinesAndHasNoColoursInAFile(t *testing.T) {
	var out bytes.Buffer
	newTable(&out).row(demoReview{Name: "r", Policy: "p"}, demoAnswer{verdict: "denied", reason: strings.Repeat("word ", 60)}, "")
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) < 4 {
		t.Errorf("a reason of 300 letters has %d lines, want it wrapped", len(lines)-1)
	}
	for _, line := range lines[1:] {
		if len(line) > tableWidth || !strings.HasPrefix(line, "    ") {
			t.Errorf("line of %d columns: %q, want it indented and at most %d", len(line), line, tableWidth)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("colours in what is no terminal: %q", &out)
	}
	if have := (&table{colour: true}).paint("denied"); have != "\x1b[31mdenied \x1b[0m" {
		t.Errorf("on a terminal a denial is %q, want it red", have)
	}
}

func TestTheEmbeddedModuleIsWhatTheExampleBuildsTo(t *testing.T) {
	z, err := gzip.NewReader(bytes.NewReader(demoModule))
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(embedded, []byte(runtime.Version())) {
		t.Skipf("the embedded module was built by another Go than %s; go generate ./cmd/warder builds it anew", runtime.Version())
	}
	file := filepath.Join(t.TempDir(), "teamlabel.wasm")
	if err := sdktest.BuildFile("../../examples/teamlabel", sdktest.WASI, file); err != nil {
		t.Fatal(err)
	}
	built, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(embedded, built) {
		t.Errorf("the embedded module (%d bytes) is not what examples/teamlabel builds to (%d bytes): run go generate ./cmd/warder",
			len(embedded), len(built))
	}
}
