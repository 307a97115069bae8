package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/warder-dev/warder/artifact"
)

func newPush() *cobra.Command {
	var c sourcesConfig
	var force bool
	var output string
	cmd := &cobra.Command{
		Use:   "push FILE URI",
		Short: "Push a policy to a registry",
		Long: `push puts a policy into a registry, in the format that kwctl and Kubewarden's
policy server pull. The annotations of the policy's metadata become those of the
manifest.`,
		Example: `  warder push policy.wasm ghcr.io/acme/policies/labels:v1.0.0`,
		Args:    wants("FILE", "URI"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usagef("--output %q: want text or json", output)
			}
			module, err := artifact.ReadFile(args[0])
			if err != nil {
				return err
			}
			meta, err := artifact.ReadMetadata(module)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if err := mayPush(args[0], module, meta, force); err != nil {
				return err
			}
			opts, err := c.options(cmd)
			if err != nil {
				return err
			}
			bar := newProgress(cmd.ErrOrStderr(), "pushing")
			opts.Pushed = bar.draw
			client, err := artifact.NewClient(opts)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "pushing %s, %s\n", args[0], bytesText(int64(len(module))))
			var annotations map[string]string
			if meta != nil {
				annotations = artifact.ManifestAnnotations(meta.Annotations)
			}
			reference, err := client.Push(cmd.Context(), module, args[1], annotations)
			bar.end()
			if err != nil {
				return hint(err)
			}
			if output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"immutable_ref": reference})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "Policy successfully pushed: %s\n", reference)
			return err
		},
	}
	c.addFlags(cmd.Flags())
	cmd.Flags().BoolVarP(&force, "force", "f", false, "push a policy without metadata")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// mayPush refuses a policy that nobody would know how to run: one without
// metadata, and of Rego even when it is insisted on, since nothing else says
// which of the two kinds it is.
func mayPush(file string, module []byte, meta *artifact.Metadata, force bool) error {
	if meta != nil {
		return nil
	}
	exports, err := artifact.Exports(module)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	mode, _ := artifact.DetectMode(exports) // one that is none of them may be pushed with --force
	switch {
	case mode == artifact.OPA:
		return fmt.Errorf("%s: a Rego policy without metadata: nothing says whether it is for opa or gatekeeper; annotate it first", file)
	case !force:
		return fmt.Errorf("%s: the policy has no metadata: annotate it first, or push it as it is with --force", file)
	}
	return nil
}
