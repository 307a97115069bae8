package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/library"
)

// policyBuild is what build-policies was asked to do.
type policyBuild struct {
	source string // the folder of warder's go.mod
	out    string // the folder for the modules
}

// newBuildPolicies is the command behind "make policies". It is hidden: it needs
// the source of warder, and who has that has make.
func newBuildPolicies() *cobra.Command {
	var b policyBuild
	cmd := &cobra.Command{
		Use:   "build-policies [NAME...]",
		Short: "Build the built-in policies as WebAssembly modules",
		Long: `build-policies compiles the built-in policies, or those that are named, from the
source of warder to WASI modules with Kubewarden's metadata, ready for warder push.
The same source and the same Go make the same bytes.`,
		Example: `  warder build-policies --source . --output-dir bin/policies pod-privileged`,
		Hidden:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			var policies []library.Builtin
			for _, name := range args {
				policy, err := findBuiltin(name)
				if err != nil {
					return err
				}
				policies = append(policies, policy)
			}
			if len(args) == 0 {
				policies = library.All()
			}
			return b.build(cmd.Context(), policies, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&b.source, "source", ".", "folder of warder's go.mod")
	cmd.Flags().StringVarP(&b.out, "output-dir", "o", filepath.Join("bin", "policies"), "folder for the modules")
	return cmd
}

// builtPackages is where the main packages of the modules are, below the module's
// root. There is no such folder: the go command is told what is in it.
const builtPackages = "library/.modules"

// build compiles the policies, and writes each with its metadata.
func (p policyBuild) build(ctx context.Context, policies []library.Builtin, stdout io.Writer) error {
	source, err := filepath.Abs(p.source)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(source, "library", "library.go")); err != nil {
		return fmt.Errorf("--source %s: it is not the source of warder: %w", p.source, err)
	}
	work, err := os.MkdirTemp("", "warder-policies-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := compilePolicies(ctx, source, work, policies); err != nil {
		return err
	}
	if err := os.MkdirAll(p.out, 0o755); err != nil { //nolint:gosec // as the go command makes folders
		return err
	}
	for _, b := range policies {
		file := filepath.Join(p.out, b.Name+".wasm")
		if err := annotateBuilt(b, source, filepath.Join(work, b.Name), file); err != nil {
			return fmt.Errorf("built-in %q: %w", b.Name, err)
		}
		_, _ = fmt.Fprintln(stdout, file)
	}
	return nil
}

// compilePolicies compiles each policy to a file of its name in work, all in one
// run of the go command: what they have in common is compiled once.
func compilePolicies(ctx context.Context, source, work string, policies []library.Builtin) error {
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", work + string(filepath.Separator),
		"-overlay", filepath.Join(work, "overlay.json")}
	for _, b := range policies {
		text := filepath.Join(work, b.Name+".go")
		if err := os.WriteFile(text, []byte(mainOf(b)), 0o600); err != nil {
			return err
		}
		overlay.Replace[filepath.Join(source, filepath.FromSlash(builtPackages), b.Name, "main.go")] = text
		args = append(args, "./"+builtPackages+"/"+b.Name)
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, "overlay.json"), text, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, said)
	}
	return nil
}

// mainOf is the program of a policy.
func mainOf(b library.Builtin) string {
	folder := folderOf(b.Name)
	return fmt.Sprintf(`// Command %s is the built-in policy of that name as a module.
package main

import (
	"github.com/warder-dev/warder/library/%s"
	"github.com/warder-dev/warder/sdk"
)

func main() { sdk.Main(%s.Policy()) }
`, b.Name, folder, folder)
}

// annotateBuilt writes the module with the metadata of the policy, of which its
// README is the usage. It fails when the policy asks other things of the host
// than asks.go says.
func annotateBuilt(b library.Builtin, source, built, out string) error {
	if _, err := os.Stat(built); errors.Is(err, os.ErrNotExist) {
		built += ".wasm" // as later versions of Go may call it
	}
	module, err := os.ReadFile(built)
	if err != nil {
		return err
	}
	readme, err := os.ReadFile(filepath.Join(source, "library", folderOf(b.Name), "README.md"))
	if err != nil {
		return err
	}
	meta := builtinMetadata(b)
	meta.Annotations[annotationUsage] = string(readme)
	if err := meta.Validate(); err != nil {
		return err
	}
	detected, err := artifact.DetectCapabilities(module)
	if err != nil {
		return err
	}
	if warnings := meta.CapabilityWarnings(withoutTwins(detected, meta.HostCapabilities)); len(warnings) > 0 {
		return errors.New(strings.Join(warnings, "; ") + "; see library/asks.go")
	}
	annotated, err := artifact.Annotate(module, meta)
	if err != nil {
		return err
	}
	return replaceFile(out, annotated)
}

// withoutTwins leaves out of two that sdk.ListResources chooses from, by whether
// it is given a namespace, the one that the policy does not declare: a module that
// uses it names both.
func withoutTwins(detected, declared []string) []string {
	twins := []string{"kubernetes/list_resources_all", "kubernetes/list_resources_by_namespace"}
	lists := slices.ContainsFunc(twins, func(twin string) bool { return slices.Contains(declared, twin) })
	return slices.DeleteFunc(slices.Clone(detected), func(capability string) bool {
		return lists && slices.Contains(twins, capability) && !slices.Contains(declared, capability)
	})
}
