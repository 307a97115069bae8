package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/sdk"
)

func newInspect() *cobra.Command {
	var output string
	var withSignatures bool
	var c sourcesConfig
	var v verificationFlags
	cmd := &cobra.Command{
		Use:   "inspect POLICY",
		Short: "Show what a policy says of itself",
		Long: `inspect shows the metadata of a policy: what it judges, what it reads from the
cluster, who has made it, and how it is used. POLICY is a path, builtin://NAME, the
first digits of the sha256 of a policy in the store, or a reference as pull takes
it; what is not in the store is pulled into it.

With --show-signatures it also lists what signatures the registry has, and what
they say of themselves. None of them is verified: see warder verify.`,
		Example: `  warder inspect policy.wasm
  warder inspect -o yaml ghcr.io/kubewarden/policies/pod-privileged:v1.0.0
  warder inspect --show-signatures ghcr.io/kubewarden/policies/pod-privileged:v1.0.0
  warder inspect builtin://pod-privileged`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) != 1:
				return usagef("%s takes one argument, the policy, have %q", cmd.CommandPath(), args)
			case output != "" && output != "yaml" && output != "json":
				return usagef("--output %q: want yaml or json", output)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if name, ok := strings.CutPrefix(args[0], "builtin://"); ok && !withSignatures {
				return inspectBuiltin(cmd.OutOrStdout(), name, output)
			}
			puller, err := newPuller(cmd, &c, &v)
			if err != nil {
				return err
			}
			var signatures *signaturesOf
			if withSignatures {
				if signatures, err = findSignatures(cmd.Context(), puller.Client, args[0]); err != nil {
					return hint(err)
				}
			}
			module, err := moduleAt(cmd.Context(), puller, args[0])
			if err != nil {
				return hint(err)
			}
			return inspect(cmd, inspected{args[0], module, signatures}, output)
		},
	}
	cmd.Flags().SortFlags = false
	c.addFlags(cmd.Flags())
	v.addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&withSignatures, "show-signatures", false, "also list the signatures that the registry has; with --output the metadata are under metadata then")
	cmd.Flags().StringVarP(&output, "output", "o", "", "yaml or json instead of tables for people")
	return cmd
}

// moduleAt returns the module that a person names, as kwctl understands it: a
// file that is there, the digits of one in the store, or a reference.
func moduleAt(ctx context.Context, puller *artifact.Puller, what string) ([]byte, error) {
	if info, err := os.Stat(what); err == nil && !info.IsDir() {
		return artifact.ReadFile(what)
	}
	if puller.Verify == nil { // a store has no signatures
		store, err := openStore()
		if err != nil {
			return nil, err
		}
		if !strings.ContainsAny(what, "/:") {
			stored, err := store.Find(what)
			if err == nil {
				return artifact.ReadFile(stored.File)
			}
			if !errors.Is(err, artifact.ErrNotFound) || strings.HasSuffix(what, ".wasm") {
				return nil, fmt.Errorf("%w, and there is no such file", err)
			}
		}
		puller.Store = store
	}
	m, err := puller.Pull(ctx, what)
	if err != nil {
		return nil, err
	}
	return m.Bytes, nil
}

// inspected is a policy that a person has named.
type inspected struct {
	what       string
	module     []byte
	signatures *signaturesOf // nil: nobody has asked
}

func inspect(cmd *cobra.Command, p inspected, output string) error {
	meta, err := artifact.ReadMetadata(p.module)
	if err != nil {
		return fmt.Errorf("%s: %w", p.what, err)
	}
	if meta == nil {
		return fmt.Errorf("No Kubewarden metadata found inside of '%s'.\n%sPolicies can be annotated with the `warder annotate` command.", p.what, guessOf(p.module)) //nolint:revive,staticcheck // upstream's text
	}
	if output != "" {
		text, err := meta.MarshalJSON()
		if err == nil && p.signatures != nil {
			text, err = json.Marshal(struct {
				Metadata   json.RawMessage           `json:"metadata"`
				Image      string                    `json:"image"`
				Signatures []artifact.FoundSignature `json:"signatures"`
			}{text, p.signatures.image, p.signatures.list})
		}
		if err != nil {
			return err
		}
		return printAs(cmd.OutOrStdout(), output, text)
	}
	text := describe(meta)
	if p.signatures != nil {
		text = append(text, p.signatures.describe()...)
	}
	_, err = cmd.OutOrStdout().Write(text)
	return err
}

// guessOf says what a module without metadata seems to be.
func guessOf(module []byte) string {
	exports, err := artifact.Exports(module)
	if err != nil {
		return ""
	}
	switch mode, err := artifact.DetectMode(exports); {
	case err != nil:
		return "It does not look like a policy: it is " + err.Error() + ".\n"
	case mode == artifact.OPA:
		return "By its exports it was compiled from Rego (execution mode opa or gatekeeper).\n"
	default:
		return "By its exports its execution mode is " + string(mode) + ".\n"
	}
}

// printAs prints JSON as it is, or as YAML with the members in the same order.
func printAs(w io.Writer, output string, text []byte) error {
	if output == "json" {
		_, err := fmt.Fprintf(w, "%s\n", text)
		return err
	}
	block, err := yamlOf(text)
	if err != nil {
		return err
	}
	_, err = w.Write(block)
	return err
}

// yamlOf is JSON of our own as YAML for people.
func yamlOf(text []byte) ([]byte, error) {
	root, err := parseYAML(text)
	if err != nil {
		return nil, err
	}
	plainStyle(root)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(root), e.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// plainStyle takes away the braces and quotes of JSON where YAML needs none.
func plainStyle(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!str" {
		n.Style = 0
	}
	for _, inner := range n.Content {
		plainStyle(inner)
	}
}

// details are the annotations that are shown first, in this order.
func details() []string {
	return []string{"title", "description", "author", "url", "source", "license"}
}

const policyPrefix = "io.kubewarden.policy."

// describe shows metadata to a person. They are a stranger's: what a terminal
// would take for a command is shown as what it is.
func describe(m *artifact.Metadata) []byte {
	var b bytes.Buffer
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(key string, value any) {
		_, _ = fmt.Fprintf(table, "%s:\t%s\n", oneLine(key), oneLine(fmt.Sprint(value)))
	}
	rest := maps.Clone(m.Annotations)
	usage := rest[annotationUsage]
	delete(rest, annotationUsage)
	b.WriteString("Details\n")
	for _, name := range details() {
		if value, ok := rest[policyPrefix+name]; ok {
			row(name, value)
			delete(rest, policyPrefix+name)
		}
	}
	row("mutating", m.Mutating)
	row("background audit support", m.BackgroundAudit)
	row("context aware", len(m.ContextAwareResources) > 0)
	row("policy type", m.PolicyType)
	row("execution mode", m.ExecutionMode)
	if m.ExecutionMode == artifact.WaPC {
		row("protocol version", cmp.Or(strings.TrimPrefix(string(m.ProtocolVersion), "v"), "not said"))
	}
	if m.MinimumKubewardenVersion != "" {
		row("minimum kubewarden version", m.MinimumKubewardenVersion)
	}
	if m.HostCapabilities != nil {
		row("host capabilities", cmp.Or(strings.Join(m.HostCapabilities, ", "), "none"))
	}
	_ = table.Flush() // to memory, as all that follows
	if len(rest) > 0 {
		b.WriteString("\nAnnotations\n")
		for _, key := range slices.Sorted(maps.Keys(rest)) {
			row(key, rest[key])
		}
		_ = table.Flush()
	}
	block(&b, "Rules", m.Rules)
	if len(m.ContextAwareResources) > 0 {
		block(&b, "Context Aware\nThe policy requires access to the following Kubernetes resources at evaluation time:", m.ContextAwareResources)
		b.WriteString("To avoid abuses, review carefully what the policy requires access to.\n")
	}
	if usage != "" {
		_, _ = fmt.Fprintf(&b, "\nUsage\n%s\n", strings.TrimRight(printable(usage), "\n"))
	}
	return b.Bytes()
}

// block writes a value as YAML under a title.
func block(b *bytes.Buffer, title string, value any) {
	text, err := json.Marshal(value)
	if err == nil {
		text, err = yamlOf(text)
	}
	if err != nil { // these are lists of texts
		text = []byte(err.Error() + "\n")
	}
	_, _ = fmt.Fprintf(b, "\n%s\n%s", title, printable(string(text)))
}

// printable replaces what a terminal would obey, but for new lines and tabs.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// oneLine is printable for a cell of a table.
func oneLine(text string) string {
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(printable(strings.TrimSpace(text)))
}

// inspectBuiltin shows what there is to say of a built-in.
func inspectBuiltin(w io.Writer, name, output string) error {
	b, ok := engine.Builtin(name)
	if !ok {
		if near := sdk.Nearest(name, engine.BuiltinNames()); near != "" {
			return fmt.Errorf("builtin://%s: no built-in policy has this name; did you mean %s?", name, near)
		}
		return fmt.Errorf("builtin://%s: no built-in policy has this name; there are %s", name, strings.Join(engine.BuiltinNames(), ", "))
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
