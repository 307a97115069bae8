package warder_test

import (
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRules shows every rule something that breaks it, beside something close
// to it that does not.
func TestRules(t *testing.T) {
	const wazero = `import _ "github.com/tetratelabs/wazero"`
	tests := []struct {
		name, file, code string
		want             string // the one report, or none
	}{
		{"own import outside the row", "library/hostnetwork/bad.go", `import _ "` + module + `/capability"`,
			`library/hostnetwork/bad.go imports capability; mayImport allows library/hostnetwork only "sdk", "library/internal/*"`},
		{"own import outside a longer row", "admission/bad.go", `import _ "` + module + `/capability"`,
			`admission/bad.go imports capability; mayImport allows admission only "engine", "policy", "review", "sdk"`},
		{"own import where the row is empty", "sdk/bad.go", `import _ "` + module + `/policy"`,
			`sdk/bad.go imports policy; mayImport allows sdk nothing`},
		{"engine reaches past the runtimes", "engine/bad.go", `import _ "` + module + `/runtime/internal/guest"`,
			`engine/bad.go imports runtime/internal/guest; mayImport allows engine only "policy", "runtime", "runtime/*", "library", "capability", "artifact", "review", "sdk"`},
		{"example uses more than the SDK", "examples/labels/bad.go", `import _ "` + module + `/library"`,
			`examples/labels/bad.go imports library; mayImport allows examples/labels only "sdk"`},
		{"engine imports every runtime", "engine/good.go", `import _ "` + module + `/runtime/wasi"`, ""},
		{"cmd/warder imports everything", "cmd/warder/good.go", `import _ "` + module + `/runtime/wasi"`, ""},

		{"helper of tests of our own", "engine/bad.go", `import _ "` + module + `/sdk/sdktest"`,
			"engine/bad.go imports sdk/sdktest; only tests may"},
		{"helper of tests in a package that imports everything", "cmd/warder/bad.go", `import _ "` + module + `/sdk/sdktest"`,
			"cmd/warder/bad.go imports sdk/sdktest; only tests may"},
		{"helper of tests of the standard library", "library/bad.go", `import _ "testing/fstest"`,
			"library/bad.go imports testing/fstest; only tests may"},
		{"sdktest is for tests", "sdk/sdktest/good.go", `import _ "testing"`, ""},

		{"no row", "metrics/bad.go", "", "package metrics has no row in mayImport"},
		{"no row below a pattern", "library/hostnetwork/internal/bad.go", "", "package library/hostnetwork/internal has no row in mayImport"},

		{"foreign import in the SDK", "sdk/bad.go", `import _ "golang.org/x/sys/unix"`,
			"sdk/bad.go imports golang.org/x/sys/unix; sdk imports the standard library alone"},
		{"foreign import in a built-in", "library/hostnetwork/bad.go", wazero,
			"library/hostnetwork/bad.go imports github.com/tetratelabs/wazero; library/hostnetwork imports the standard library alone"},
		{"standard import in the SDK", "sdk/good.go", `import _ "encoding/json"`, ""},

		{"wazero away from home", "engine/bad.go", wazero,
			`engine/bad.go imports github.com/tetratelabs/wazero; homes allows it in only "runtime/*", "runtime/internal/*"`},
		{"a package below wazero", "bench/bad.go", `import _ "github.com/tetratelabs/wazero/api"`,
			`bench/bad.go imports github.com/tetratelabs/wazero/api; homes allows it in only "runtime/*", "runtime/internal/*"`},
		{"wazero at home", "runtime/internal/guest/good.go", wazero, ""},
		{"cobra away from home", "policy/bad.go", `import _ "github.com/spf13/cobra"`,
			`policy/bad.go imports github.com/spf13/cobra; homes allows it in only "cmd/warder"`},
		{"YAML at home", "policy/good.go", `import _ "go.yaml.in/yaml/v3"`, ""},
		{"dependency without a home", "controller/bad.go", `import _ "k8s.io/kubernetes/pkg/apis/core"`,
			"controller/bad.go imports k8s.io/kubernetes/pkg/apis/core; homes allows it in nothing"},
		{"the longest prefix is the home", "manifest/good.go", `import _ "k8s.io/api/core/v1"`, ""},

		{"func init", "engine/bad.go", "func init() {}", "engine/bad.go has a func init; call it where it is wanted"},
		{"method called init", "engine/good.go", "type t struct{}\n\nfunc (t) init() {}", ""},
		{"cgo", "engine/bad.go", `import "C"`, `engine/bad.go imports "C"; the binary is built without cgo`},
		{"601 lines", "engine/bad.go", strings.Repeat("\n", 598), "engine/bad.go has 601 lines; 600 are the most"},
		{"600 lines", "engine/good.go", strings.Repeat("\n", 597), ""},
		{"no Go", "engine/bad.go", "}", "engine/bad.go:3:1: expected declaration, found '}'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			source := "// Package p is a package.\npackage p\n" + tt.code + "\n"
			checkReport(t, map[string]string{tt.file: source}, tt.want)
		})
	}
}

// TestRulesOfWholeFiles does the same where a rule looks at more than the code.
func TestRulesOfWholeFiles(t *testing.T) {
	const documented = "// Package p is a package.\npackage p\n"
	const foreign = `import _ "golang.org/x/sys/unix"` + "\n"
	tests := []struct {
		name    string
		sources map[string]string
		want    string // the one report, or none
	}{
		{"foreign import behind a build tag", map[string]string{"sdk/bad.go": "//go:build wasip1 && wapc\n\n" + documented + foreign},
			"sdk/bad.go imports golang.org/x/sys/unix; sdk imports the standard library alone"},
		{"foreign import in a file of another system", map[string]string{"sdk/bad_windows.go": documented + foreign},
			"sdk/bad_windows.go imports golang.org/x/sys/unix; sdk imports the standard library alone"},
		{"a test imports what it likes", map[string]string{
			"policy/policy.go":      documented,
			"policy/policy_test.go": "package p_test\n\nimport _ \"" + module + "/sdk/sdktest\"\n" + foreign,
		}, ""},
		{"a test is not free to use cgo", map[string]string{"policy/policy.go": documented, "policy/bad_test.go": "package p\n\nimport \"C\"\n"},
			`policy/bad_test.go imports "C"; the binary is built without cgo`},
		{"no package comment", map[string]string{"sdk/a.go": "package sdk\n", "sdk/b.go": "package sdk\n"},
			"package sdk has no package comment"},
		{"one package comment for two files", map[string]string{"sdk/a.go": "package sdk\n", "sdk/b.go": documented}, ""},
		{"comment away from the package clause", map[string]string{"sdk/a.go": "// Copyright the authors.\n\npackage sdk\n"},
			"package sdk has no package comment"},
		{"comment in a test only", map[string]string{"sdk/a.go": "package sdk\n", "sdk/a_test.go": documented},
			"package sdk has no package comment"},
		{"generated, and longer", map[string]string{
			"api/v1/good.go": "// Code generated by controller-gen. DO NOT EDIT.\n\n" + documented + strings.Repeat("\n", maxLines),
		}, ""},
		{"a drawer", map[string]string{"report/bad.go": "// Package util is a drawer.\npackage util\n"},
			"report/bad.go is in package util; name the thing that it is about"},
		{"the test of a drawer", map[string]string{"report/report.go": documented, "report/bad_test.go": "package helpers_test\n"},
			"report/bad_test.go is in package helpers; name the thing that it is about"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkReport(t, tt.sources, tt.want) })
	}
}

// TestTablesNameEachOther finds a word in a table that no row stands for, which
// would allow nothing and say nothing.
func TestTablesNameEachOther(t *testing.T) {
	rows := mayImport()
	check := func(from, dir string) {
		for row := range rows {
			if ok, err := path.Match(dir, row); err == nil && ok {
				return
			}
		}
		t.Errorf("%s: %q is no row of mayImport", from, dir)
	}
	for from, row := range rows {
		for _, dir := range row {
			if dir != everything {
				check(from, dir)
			}
		}
	}
	for prefix, dirs := range homes() {
		for _, dir := range dirs {
			check(prefix, dir)
		}
	}
	for _, dir := range standardAlone() {
		check("standardAlone", dir)
	}
}

func checkReport(t *testing.T, sources map[string]string, want string) {
	t.Helper()
	if diff := cmp.Diff(want, strings.Join(violations(sources), "\n")); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}
