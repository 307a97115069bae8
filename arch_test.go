package warder_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

const (
	module     = "github.com/warder-dev/warder"
	maxLines   = 600
	everything = "everything"
)

// mayImport says which of our packages a package may import. A row imports only
// rows below it. Some rows are of packages that come later: the arrow is agreed
// on first. Tests are free, but see testHelpers.
func mayImport() map[string][]string {
	return map[string][]string{
		".":                      nil, // doc.go: the tour
		"bench":                  {everything},
		"charts":                 {"api/*", "library", "manifest"},
		"cmd/warder":             {everything},
		"admission":              {"engine", "policy", "review", "sdk"},
		"audit":                  {"policy", "review", "report", "sdk"},
		"controller":             {"api/*", "manifest", "policy", "runtime/cel"},
		"dashboard":              {"api/v1", "report"},
		"engine":                 {"policy", "runtime", "runtime/*", "library", "capability", "artifact", "review", "sdk"},
		"replica":                {"api/*", "engine", "policy"},
		"install":                {"api/*", "manifest"},
		"manifest":               {"api/*", "policy"},
		"report":                 {"sdk"},
		"capability":             {"artifact", "sdk"},
		"runtime":                {"runtime/internal/guest"},
		"runtime/wapc":           {"runtime/internal/guest", "sdk"},
		"runtime/wasi":           {"runtime/internal/guest", "sdk"},
		"runtime/rego":           {"runtime/internal/guest", "sdk"},
		"runtime/cel":            {"sdk"},
		"runtime/celpolicy":      {"runtime/cel", "sdk"},
		"runtime/native":         {"sdk"},
		"library":                {"sdk", "library/*"},
		"runtime/internal/guest": {"sdk", "wasm"},
		"artifact":               {"wasm", "sdk"},
		"review":                 {"sdk"},
		"policy":                 {"api/v1", "sdk"},
		"library/*":              {"sdk", "library/internal/*"},
		"library/internal/*":     {"sdk"}, // what several built-ins share
		"examples/*":             {"sdk"},
		"sdk/sdktest":            {"sdk"},
		"sdk":                    nil,
		"wasm":                   nil,
		"api/v1alpha1":           nil,
		"api/v1alpha2":           {"api/v1"},
		"api/v1":                 nil,
	}
}

// homes says where a heavy dependency may be imported; the longest prefix
// counts, and no home at all is for what nobody may import.
func homes() map[string][]string {
	return map[string][]string{
		"github.com/google/cel-go":               {"runtime/cel", "runtime/celpolicy"},
		"github.com/google/go-containerregistry": {"artifact"},
		"github.com/open-policy-agent/opa":       {"runtime/rego"},
		"github.com/prometheus":                  {"admission", "engine", "capability", "audit", "controller", "replica", "cmd/warder", "bench"},
		"github.com/schollz/progressbar":         {"cmd/warder"},
		"github.com/sigstore":                    {"artifact"},
		"github.com/spf13/cobra":                 {"cmd/warder"},
		"github.com/spf13/pflag":                 {"cmd/warder"},
		"github.com/tetratelabs/wazero":          {"runtime/*", "runtime/internal/*"},
		"go.yaml.in/yaml/v3":                     {"policy", "artifact", "capability", "cmd/warder"},
		"gopkg.in/yaml.v3":                       nil, // go.yaml.in/yaml/v3 is its successor
		"k8s.io":                                 nil,
		"k8s.io/api":                             {"api/*", "policy", "runtime/cel", "capability", "manifest", "controller", "install", "replica", "cmd/warder", "bench"},
		"k8s.io/apiextensions-apiserver":         {"manifest", "controller"},
		"k8s.io/apimachinery":                    {"api/*", "policy", "runtime/cel", "runtime/celpolicy", "capability", "audit", "manifest", "controller", "install", "replica", "cmd/warder"},
		"k8s.io/apiserver":                       {"runtime/cel", "runtime/celpolicy"},
		"k8s.io/apiserver/pkg/cel/openapi":       {"runtime/cel", "controller"}, // schemas of a cluster
		"k8s.io/client-go":                       {"capability", "audit", "controller", "install", "replica", "cmd/warder"},
		"k8s.io/client-go/applyconfigurations":   {"runtime/cel"}, // the schema of the kinds that Kubernetes comes with
		"k8s.io/client-go/kubernetes/scheme":     {"runtime/cel", "controller"},
		"k8s.io/klog":                            {"cmd/warder"}, // so that client-go speaks through our log
		"sigs.k8s.io/controller-runtime":         {"controller", "cmd/warder"},
	}
}

// standardAlone are the packages that a policy author compiles, and the root.
func standardAlone() []string {
	return []string{".", "sdk", "sdk/sdktest", "library", "library/*", "library/internal/*", "examples/*"}
}

// testHelpers are for tests, for sdktest, which is made of them, and for bench.
func testHelpers() []string {
	return []string{
		module + "/sdk/sdktest", "testing", "testing/*", "net/http/httptest",
		"github.com/google/go-cmp/cmp", "github.com/rogpeppe/go-internal/*",
	}
}

// drawers are names under which anything could be put.
func drawers() []string { return []string{"common", "helper", "helpers", "util", "utils"} }

// matches says whether name is one of patterns; "*" is one path element.
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return err == nil && ok
	})
}

// rowOf returns the row of the package in dir, an exact one first.
func rowOf(dir string) (row []string, ok bool) {
	if row, ok = mayImport()[dir]; ok {
		return row, true
	}
	for pattern, row := range mayImport() {
		if matches([]string{pattern}, dir) {
			return row, true
		}
	}
	return nil, false
}

// homeOf returns the longest prefix of homes that the import is under.
func homeOf(imported string) (prefix string, ok bool) {
	for p := range homes() {
		if (imported == p || strings.HasPrefix(imported, p+"/")) && len(p) > len(prefix) {
			prefix = p
		}
	}
	return prefix, prefix != ""
}

// checker collects what breaks a rule, one sentence each.
type checker struct {
	found      []string
	documented map[string]bool // by folder: one of its files has a package comment
}

// violations checks sources, by path below the module's root.
func violations(sources map[string]string) []string {
	c := checker{documented: map[string]bool{}}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		c.file(name, sources[name])
	}
	for dir, documented := range c.documented {
		if _, ok := rowOf(dir); !ok {
			c.report("package %s has no row in mayImport", dir)
		}
		if !documented {
			c.report("package %s has no package comment", dir)
		}
	}
	slices.Sort(c.found)
	return c.found
}

func (c *checker) report(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

// file checks one file. It is parsed here, and not asked of "go list", which
// knows one GOOS only and hides from the test cache what it has read.
func (c *checker) file(name, source string) {
	f, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		c.report("%v", err)
		return
	}
	dir, isTest := path.Dir(name), strings.HasSuffix(name, "_test.go")
	c.documented[dir] = c.documented[dir] || !isTest && f.Doc.Text() != ""
	if lines := strings.Count(source, "\n"); lines > maxLines && !ast.IsGenerated(f) {
		c.report("%s has %d lines; %d are the most", name, lines, maxLines)
	}
	if p := strings.TrimSuffix(f.Name.Name, "_test"); slices.Contains(drawers(), p) {
		c.report("%s is in package %s; name the thing that it is about", name, p)
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			c.report("%s has a func init; call it where it is wanted", name)
		}
	}
	for _, spec := range f.Imports {
		imported := strings.Trim(spec.Path.Value, "\"`")
		switch {
		case imported == "C":
			c.report(`%s imports "C"; the binary is built without cgo`, name)
		case !isTest:
			c.imported(name, imported)
		}
	}
}

// imported checks one import of a file that is no test.
func (c *checker) imported(name, imported string) {
	dir := path.Dir(name)
	own, isOwn := strings.CutPrefix(imported, module+"/")
	row, _ := rowOf(dir)
	first, _, _ := strings.Cut(imported, "/")
	prefix, isHeavy := homeOf(imported)
	switch {
	case matches(testHelpers(), imported) && dir != "sdk/sdktest" && dir != "bench":
		c.report("%s imports %s; only tests may", name, strings.TrimPrefix(imported, module+"/"))
	case isOwn && !matches(row, own) && !slices.Contains(row, everything):
		c.report("%s imports %s; mayImport allows %s %s", name, own, dir, only(row))
	case !isOwn && strings.Contains(first, ".") && matches(standardAlone(), dir):
		c.report("%s imports %s; %s imports the standard library alone", name, imported, dir)
	case isHeavy && !matches(homes()[prefix], dir):
		c.report("%s imports %s; homes allows it in %s", name, imported, only(homes()[prefix]))
	}
}

// only says the list in words.
func only(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return `only "` + strings.Join(list, `", "`) + `"`
}

// TestArchitecture holds our own sources to the rules. That the rules find what
// breaks them is shown in arch_rules_test.go.
func TestArchitecture(t *testing.T) {
	sources := tree(t)
	if _, ok := sources["arch_test.go"]; !ok {
		t.Fatal("arch_test.go is not among the files read: the tests run in another folder")
	}
	for _, v := range violations(sources) {
		t.Error(v)
	}
}

// tree reads our Go files. tools and devcluster are modules of their own;
// testdata, and names with "." or "_" in front, are nothing to the go command.
func tree(t *testing.T) map[string]string {
	t.Helper()
	sources := map[string]string{}
	root := os.DirFS(".")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		base := path.Base(name)
		switch {
		case err != nil || name == ".":
			return err
		case d.IsDir() && (slices.Contains([]string{"tools", "devcluster", "charts/helm"}, name) || base == "testdata" || strings.ContainsAny(base[:1], "._")):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go" || strings.ContainsAny(base[:1], "._"):
			return nil
		}
		text, err := fs.ReadFile(root, name)
		sources[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}
