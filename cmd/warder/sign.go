package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/warder-dev/warder/artifact"
)

func newSign() *cobra.Command {
	var key string
	var c sourcesConfig
	var annotations []string
	cmd := &cobra.Command{
		Use:   "sign --key FILE URI",
		Short: "Sign a policy with a key",
		Long: `sign signs the policy or image at a reference of a registry with a private key,
and pushes the signature beside it, as cosign does. Warder, kwctl and cosign verify
it with the public key. Signatures that are there already stay.

Nothing is written to a transparency log, so it works where there is no internet;
cosign then wants --insecure-ignore-tlog to verify it.

The key is one in PEM, or one that cosign has encrypted; its password is read from
the variable COSIGN_PASSWORD. See warder keygen.`,
		Example: `  warder sign --key warder.key registry.example.org/policies/labels:v1.0.0
  warder sign --key cosign.key -a env=prod registry.example.org/policies/labels:v1.0.0`,
		Args: wants("URI"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if key == "" {
				return usagef("--key: want the file of a private key; see warder keygen")
			}
			signed, err := keyValues("--annotation", annotations)
			if err != nil {
				return err
			}
			text, err := os.ReadFile(key)
			if err != nil {
				return fmt.Errorf("--key: %w", err)
			}
			private, err := artifact.ParsePrivateKey(text, password())
			if err != nil {
				return fmt.Errorf("--key %q: %w", key, err)
			}
			client, err := c.client(cmd)
			if err != nil {
				return err
			}
			digest, err := artifact.Sign(cmd.Context(), args[0], private, artifact.SignOptions{Annotations: signed, Reach: client.ReachForPush})
			if err != nil {
				return hint(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), withDigest(args[0], digest))
			return err
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&key, "key", "", "file of the private key")
	cmd.Flags().StringArrayVarP(&annotations, "annotation", "a", nil, "KEY=VALUE that is signed too; repeated")
	c.addFlags(cmd.Flags())
	return cmd
}

// password is that of private keys, nil when none is set.
func password() []byte {
	text, ok := os.LookupEnv("COSIGN_PASSWORD")
	if !ok {
		return nil
	}
	return []byte(text)
}
