package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/sdk"
)

// findBuiltin returns the built-in of the name.
func findBuiltin(name string) (library.Builtin, error) {
	b, ok := library.Lookup(name)
	if ok {
		return b, nil
	}
	if near := sdk.Nearest(name, library.Names()); near != "" {
		return b, fmt.Errorf("builtin://%s: no built-in policy has this name; did you mean %s?", name, near)
	}
	return b, fmt.Errorf("builtin://%s: no built-in policy has this name; there are %s", name, strings.Join(library.Names(), ", "))
}

// printSchema prints the schema of a built-in's settings.
func printSchema(w io.Writer, name, output string) error {
	b, err := findBuiltin(name)
	if err != nil {
		return err
	}
	text, err := b.Schema()
	if err != nil {
		return err
	}
	return printAs(w, cmp.Or(output, "json"), json.RawMessage(strings.TrimSpace(string(text))))
}

// inspectBuiltin shows what there is to say of a built-in.
func inspectBuiltin(w io.Writer, name, output string) error {
	b, err := findBuiltin(name)
	if err != nil {
		return err
	}
	if output == "" {
		_, err := fmt.Fprintf(w, "Details\ntitle:           %s\ndescription:     %s\nmutating:        %t\nexecution mode:  native, built into warder\n", b.Name, b.Summary, b.Mutating)
		return err
	}
	text, err := json.Marshal(struct {
		Name     string `json:"name"`
		Summary  string `json:"summary"`
		Mutating bool   `json:"mutating"`
	}{b.Name, b.Summary, b.Mutating})
	if err != nil {
		return err
	}
	return printAs(w, output, text)
}
