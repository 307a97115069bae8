package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/warder-dev/warder/artifact"
)

func newKeygen() *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a pair of keys to sign policies with",
		Long: `keygen makes a key to sign policies with (ECDSA on P-256) and writes it to
PREFIX.key, and its public key, which verifies them, to PREFIX.pub. It replaces no
file. The private key is encrypted, as cosign does it, when the variable
COSIGN_PASSWORD has a password.`,
		Example: `  warder keygen
  warder sign --key warder.key registry.example.org/policies/labels:v1.0.0`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			private, public, err := artifact.GenerateKey(password())
			if err != nil {
				return err
			}
			if err := writeNew(prefix+".key", private, 0o600); err != nil {
				return err
			}
			if err := writeNew(prefix+".pub", public, 0o644); err != nil {
				return errors.Join(err, os.Remove(prefix+".key"))
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "wrote %s.key, which nobody else may have, and %s.pub, which verifies what it signs\n", prefix, prefix)
			return err
		},
	}
	cmd.Flags().StringVar(&prefix, "output-key-prefix", "warder", "files to write, without .key and .pub")
	return cmd
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and a key is not replaced: give another --output-key-prefix", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
