package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/warder-dev/warder/artifact"
)

func newScaffold() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "scaffold",
		Short:   "Print files to start from",
		Long:    `scaffold prints files to start from, and what other files say in the words of warder.`,
		Example: `  warder scaffold verification-config > verification.yml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; see warder scaffold --help", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newScaffoldVerificationConfig(), newScaffoldVAP())
	return cmd
}

func newScaffoldVerificationConfig() *cobra.Command {
	return &cobra.Command{
		Use:   "verification-config",
		Short: "Print a verification.yml, which says by whom policies must be signed",
		Long: `verification-config prints a file for warder serve --verification-path, and for
the --verification-config-path of pull, verify and inspect. Change it before use:
as it is, it trusts the workflows of kubewarden on GitHub.`,
		Example: `  warder scaffold verification-config > verification.yml`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), artifact.DefaultVerificationConfig())
			return err
		},
	}
}
