package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func newSave() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "save -o FILE URI...",
		Short: "Save policies of the store to a tar.gz",
		Long: `save writes policies of the store to an archive that warder load and kwctl load
put into the store of another machine. They are named by URI or by the first
digits of their SHA-256; "-" is standard output.`,
		Example: `  warder save -o policies.tar.gz registry://ghcr.io/kubewarden/policies/pod-privileged:v1.0.0`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s wants the URI of a policy, or several; see %s --help", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" {
				return usagef("--output: say to which file")
			}
			store, err := openStore()
			if err != nil {
				return err
			}
			save := func(w io.Writer) error { return store.Save(w, args...) }
			if output == "-" {
				return inStore(save(cmd.OutOrStdout()))
			}
			if err := writeWhole(output, save); err != nil {
				return inStore(err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "saved %s to %s\n", count(len(args), "policy", "policies"), output)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "the archive to write")
	return cmd
}

func newLoad() *cobra.Command {
	var input string
	cmd := &cobra.Command{
		Use:     "load --input FILE",
		Short:   "Load policies from a tar.gz into the store",
		Long:    `load puts what warder save or kwctl save has written into the store, and prints what it was. "-" is standard input.`,
		Example: `  warder load --input policies.tar.gz`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && input == "" {
				return usagef("the archive is given as a flag: %s --input %s", cmd.CommandPath(), args[0])
			}
			return noArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if input == "" {
				return usagef("--input: say from which file")
			}
			in := cmd.InOrStdin()
			if input != "-" {
				f, err := os.Open(input)
				if err != nil {
					return err
				}
				defer f.Close() //nolint:errcheck // it was read alone
				in = f
			}
			return load(cmd, in)
		},
	}
	cmd.Flags().StringVarP(&input, "input", "i", "", "the archive to read")
	return cmd
}

func load(cmd *cobra.Command, in io.Reader) error {
	store, err := openStore()
	if err != nil {
		return err
	}
	loaded, err := store.Load(in)
	if err != nil {
		return err
	}
	for _, reference := range loaded {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), reference); err != nil {
			return err
		}
	}
	return nil
}

// count is a number of things.
func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
