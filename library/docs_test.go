package library_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/library"
)

var update = flag.Bool("update", false, "write ../docs/builtin-policies.md")

// The table of the built-in policies in the documentation, and how many the
// README says there are, come from All.
func TestDocumentationListsEveryPolicy(t *testing.T) {
	const file = "../docs/builtin-policies.md"
	want := builtinPolicies()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil { //nolint:gosec // everybody may read it
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(have)); diff != "" {
		t.Errorf("%s is not current; run: go test ./library -run TestDocumentation -update (-want +have)\n%s", file, diff)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if count := fmt.Sprintf("[%d built-ins](docs/builtin-policies.md)", len(library.All())); !strings.Contains(string(readme), count) {
		t.Errorf("README.md does not say %q", count)
	}
}

// builtinPolicies is the page about the built-in policies.
func builtinPolicies() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<!-- Written by "go test ./library -run TestDocumentation -update". Do not edit. -->

# Built-in policies

Warder brings %d policies with it. `+"`module: builtin://NAME`"+` uses one without a download; its name leads to its settings and
an example. Each takes the settings of the Kubewarden policy of that name, if there is one. One that mutates does so with some
settings at least, and needs `+"`allowedToMutate: true`"+` (`+"`mutating: true`"+` in a custom resource). One that asks the host needs
`+"`contextAwareResources` or `hostCapabilities`"+` for what it asks.

`+"`warder inspect builtin://NAME`"+` lists the settings with their types and defaults, `+"`--schema`"+` prints their JSON Schema, and
`+"`warder run builtin://NAME --request FILE`"+` tries one ([run.md](run.md)). `+"`make policies`"+` builds them all as WebAssembly modules with
metadata, ready for `+"`warder push`"+`. Beside these there is `+"`builtin://cel-policy`"+`, whose settings are expressions ([cel.md](cel.md)).

| Name | What it does | Mutates | Asks the host | Category | Severity |
| --- | --- | --- | --- | --- | --- |
`, len(library.All()))
	yes := map[bool]string{true: "yes"}
	for _, p := range library.All() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", link(p.Name), p.Summary, yes[p.Mutating], yes[p.AsksHost], p.Category, p.Severity)
	}
	fmt.Fprintf(&b, `
## If you come from Polaris

Each of the %d checks of Fairwinds Polaris, the built-in that gives its verdict, and the settings with which that looks at nothing
else. Severity is high for what Polaris calls danger by default, and medium for what it warns of; a policy gives its own in the
annotations `+"`io.kubewarden.policy.category` and `io.kubewarden.policy.severity`"+`. Where Polaris looks at some containers
only, the built-ins look at all of them, init and ephemeral containers too, unless the settings say otherwise.

| Check | Built-in | Settings | Category | Severity | To know |
| --- | --- | --- | --- | --- | --- |
`, len(library.PolarisChecks()))
	for _, c := range library.PolarisChecks() {
		settings := ""
		if c.Settings != "" {
			settings = "`" + c.Settings + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", c.Name, link(c.Builtin), settings, c.Category, c.Severity, c.Note)
	}
	return b.String()
}

// link leads to the folder of a policy.
func link(name string) string {
	return fmt.Sprintf("[%s](../library/%s)", name, strings.ReplaceAll(name, "-", ""))
}
