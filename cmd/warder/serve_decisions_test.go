package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestServeLogsDecisions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "decisions.jsonl")
	writeFile(t, file, "{}\n") // what is there stays
	s := startServe(t, "watched: {module: 'builtin://pod-privileged', policyMode: monitor}\n"+labels("calm", "one"),
		"--decision-log", file, "--decision-log-redact", "user,name")
	s.ask("/validate/watched")
	s.send("/validate/watched", strings.NewReader(strings.Replace(privilegedReview, "true", "false", 1)))
	s.ask("/validate/calm")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for line := range strings.Lines(string(text)) {
		var d struct{ Policy, Mode, Outcome, Kind, Namespace, Name, User, Message string }
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatal(err)
		}
		have = append(have, strings.Join([]string{d.Policy, d.Mode, d.Outcome, d.Kind, d.Namespace, d.Name + d.User, d.Message[:min(len(d.Message), 36)]}, " "))
	}
	want := []string{
		"      ",
		"watched monitor rejected Pod default  Privileged container is not allowed:",
		"calm protect rejected Pod default  The following mandatory labels are m",
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("decisions (-want +have):\n%s", diff)
	}
}
