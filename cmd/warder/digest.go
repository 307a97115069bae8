package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/warder-dev/warder/artifact"
)

func newDigest() *cobra.Command {
	var c sourcesConfig
	cmd := &cobra.Command{
		Use:   "digest URI",
		Short: "Print the reference of a policy by its digest",
		Long: `digest asks a registry for the digest of what is at URI, and prints the reference
by it: that never changes, whatever becomes of the tag. Nothing is downloaded.`,
		Example: `  warder digest ghcr.io/kubewarden/policies/pod-privileged:v1.0.0`,
		Args:    wants("URI"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := artifact.ParseReference(args[0])
			if err != nil {
				return err
			}
			if r.Scheme != artifact.Registry {
				return fmt.Errorf("%s: only what is in a registry has a digest there", r)
			}
			client, err := c.client(cmd)
			if err != nil {
				return err
			}
			digest, err := client.Digest(cmd.Context(), r.Image())
			if err != nil {
				return hint(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), r.Pinned(digest))
			return err
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}
