package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newRm() *cobra.Command {
	return &cobra.Command{
		Use:   "rm URI|SHA256",
		Short: "Remove a policy from the store",
		Long: `rm removes a policy from the store, by its reference or by the first digits of its
sha256, as warder policies prints them. Registries are not touched.`,
		Example: `  warder rm registry://ghcr.io/kubewarden/policies/pod-privileged:v1.0.0
  warder rm 7bba5c`,
		Args: wants("URI|SHA256"),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := openStore()
			if err != nil {
				return err
			}
			m, err := store.Remove(args[0])
			if err != nil {
				return inStore(err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "removed %s\n", m.Reference)
			return nil
		},
	}
}
