package main

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"warder": main})
}

func TestHelpListsEachCommandInAGroup(t *testing.T) {
	root := newRoot()
	for _, c := range root.Commands() {
		if c.GroupID == "" || !root.ContainsGroup(c.GroupID) {
			t.Errorf("%s is in no group of the help", c.CommandPath())
		}
	}
	var stdout, stderr strings.Builder
	if code := run([]string{"--help"}, &stdout, &stderr); code != exitOK {
		t.Fatalf("exit status %d: %s", code, stderr.String())
	}
	for _, title := range []string{"Server:", "Policies as artifacts:", "Signatures:", "Other:"} {
		if !strings.Contains(stdout.String(), title) {
			t.Errorf("no %q in the help:\n%s", title, stdout.String())
		}
	}
	if strings.Contains(stdout.String(), "Additional Commands") {
		t.Errorf("commands are left over:\n%s", stdout.String())
	}
}

func TestHelpOfEachCommandExplainsAndHasAnExample(t *testing.T) {
	var check func(*cobra.Command)
	check = func(c *cobra.Command) {
		if c.Long == "" || c.Example == "" {
			t.Errorf("%s: long help %q, example %q: want both", c.CommandPath(), c.Long, c.Example)
		}
		for _, inner := range c.Commands() {
			check(inner)
		}
	}
	for _, c := range newRoot().Commands() {
		check(c)
	}
}
