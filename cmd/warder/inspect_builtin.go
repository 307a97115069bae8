package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/runtime/celpolicy"
	"github.com/warder-dev/warder/sdk"
)

// findBuiltin returns the built-in of the name.
func findBuiltin(name string) (library.Builtin, error) {
	b, ok := engine.Builtin(name)
	if ok {
		return b, nil
	}
	if near := sdk.Nearest(name, engine.BuiltinNames()); near != "" {
		return b, fmt.Errorf("builtin://%s: no built-in policy has this name; did you mean %s?", name, near)
	}
	return b, fmt.Errorf("builtin://%s: no built-in policy has this name; there are %s", name, strings.Join(engine.BuiltinNames(), ", "))
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

// nativeMode is the execution mode of built-ins, which no module has.
const nativeMode artifact.ExecutionMode = "native"

// inspectBuiltin shows what there is to say of a built-in: what a module of it
// says of itself.
func inspectBuiltin(w io.Writer, name, output string) error {
	b, err := findBuiltin(name)
	if err != nil {
		return err
	}
	meta := builtinMetadata(b)
	meta.ExecutionMode, meta.ProtocolVersion = nativeMode, ""
	if output == "" {
		meta.ExecutionMode += ", built into warder"
		text := bytes.NewBuffer(describe(&meta))
		schema, err := b.Schema()
		if err == nil {
			err = describeSettings(text, schema)
		}
		if err != nil {
			return err
		}
		_, err = w.Write(text.Bytes())
		return err
	}
	text, err := meta.MarshalJSON()
	if err != nil {
		return err
	}
	return printAs(w, output, text)
}

// builtinMetadata are the metadata of a built-in as a WASI module.
func builtinMetadata(b library.Builtin) artifact.Metadata {
	const repository = "https://github.com/warder-dev/warder"
	source := "library/" + folderOf(b.Name)
	if b.Name == celpolicy.Name {
		source = "runtime/celpolicy" // which is made of more than the standard library
	}
	m := artifact.Metadata{
		ProtocolVersion: artifact.ProtocolUnknown, Mutating: b.Mutating, BackgroundAudit: b.JudgesExisting(),
		ExecutionMode: artifact.WASI, PolicyType: artifact.KubernetesPolicy,
		HostCapabilities: append([]string{}, b.Capabilities()...),
		Annotations: map[string]string{
			policyPrefix + "title": b.Name, policyPrefix + "description": b.Summary, policyPrefix + "license": "Apache-2.0",
			policyPrefix + "url": repository, policyPrefix + "source": repository + "/tree/main/" + source,
		},
	}
	for name, value := range map[string]string{"category": b.Category, "severity": b.Severity} {
		if value != "" {
			m.Annotations[policyPrefix+name] = value
		}
	}
	for _, r := range b.Rules() {
		m.Rules = append(m.Rules, artifact.Rule(r))
	}
	for _, r := range b.Reads() {
		m.ContextAwareResources = append(m.ContextAwareResources, artifact.Resource(r))
	}
	return m
}

// folderOf is the folder of a built-in of the library, below library.
func folderOf(name string) string { return strings.ReplaceAll(name, "-", "") }
