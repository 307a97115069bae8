//go:build !wasip1

package library_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/library/schema"
	"github.com/warder-dev/warder/runtime/celpolicy"
)

// The comments of settings are in descriptions.json as they are in the sources.
func TestDescriptionsAreCurrent(t *testing.T) {
	docs := schema.Docs{}
	packages := map[string]schema.Docs{}
	for _, b := range library.All() {
		collect(t, docs, packages, b.Policy.Settings())
	}
	collect(t, docs, packages, celpolicy.Policy().Settings()) // a built-in too, though no part of the library
	var want bytes.Buffer
	e := json.NewEncoder(&want)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(docs); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("descriptions.json", want.Bytes(), 0o644); err != nil { //nolint:gosec // everybody may read it
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("descriptions.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(have)); diff != "" {
		t.Errorf("descriptions.json is not current; run: go generate ./library (-want +have)\n%s", diff)
	}
}

// collect adds the comments of t, and of the types of its fields, to docs.
func collect(t *testing.T, docs schema.Docs, packages map[string]schema.Docs, typ reflect.Type) {
	t.Helper()
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		collect(t, docs, packages, typ.Elem())
		return
	}
	key := schema.Key(typ)
	if _, ok := docs[key]; ok || !strings.HasPrefix(typ.PkgPath(), "github.com/warder-dev/warder/") {
		return // it is known, or its comments are somebody else's
	}
	dir, _, _ := strings.Cut(key, "."+typ.Name())
	if packages[dir] == nil {
		packages[dir] = comments(t, dir)
	}
	docs[key] = packages[dir][key]
	if typ.Kind() != reflect.Struct {
		return
	}
	for f := range fields(typ) {
		if text := packages[dir][key+"."+f.Name]; text != "" {
			docs[key+"."+f.Name] = text
		}
		collect(t, docs, packages, f.Type)
	}
}

// fields yields what of a struct is in settings.
func fields(typ reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range typ.NumField() {
			if f := typ.Field(i); (f.IsExported() || f.Anonymous) && !yield(f) {
				return
			}
		}
	}
}

// comments reads the comments of the types of a package, and of their fields, as
// schema.Docs has them. Dir is below the module.
func comments(t *testing.T, dir string) schema.Docs {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no Go files, %v", dir, err)
	}
	docs := schema.Docs{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, spec := range gen.Specs {
				of := spec.(*ast.TypeSpec)
				doc := of.Doc
				if doc == nil {
					doc = gen.Doc
				}
				maps.Copy(docs, typeComments(dir+"."+of.Name.Name, doc, of.Type))
			}
		}
	}
	return docs
}

// typeComments returns the comment of a type and those of its fields. A field
// without one has that of the field above, if it is named there or if that one
// is about each of them.
func typeComments(key string, doc *ast.CommentGroup, expr ast.Expr) schema.Docs {
	docs := schema.Docs{key: reflow(doc.Text())}
	structure, ok := expr.(*ast.StructType)
	if !ok {
		return docs
	}
	last := ""
	for _, f := range structure.Fields.List {
		text := reflow(f.Doc.Text())
		if text == "" {
			text = reflow(f.Comment.Text())
		}
		if text != "" {
			last = text
		}
		for _, name := range f.Names {
			named := regexp.MustCompile(`\b` + name.Name + `\b`).MatchString(last)
			switch {
			case text != "":
				docs[key+"."+name.Name] = text
			case named || strings.HasPrefix(last, "Each of these "):
				docs[key+"."+name.Name] = last
			}
		}
	}
	return docs
}

// reflow makes one line of each paragraph. Where a text comes from is nothing to
// who uses it.
func reflow(text string) string {
	var paragraphs []string
	for p := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if p = strings.Join(strings.Fields(p), " "); p != "" && !strings.HasPrefix(p, "Source: ") {
			paragraphs = append(paragraphs, p)
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

// A setting that nobody explains is one that nobody uses.
func TestEverySettingHasADescription(t *testing.T) {
	for _, b := range library.All() {
		root := schemaOf(t, b)
		for path, property := range root.all("") {
			if property.Description == "" {
				t.Errorf("%s: %s has no description: write a comment above the field", b.Name, path)
			}
		}
	}
}
