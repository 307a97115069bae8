package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newVerify() *cobra.Command {
	var v verificationFlags
	var c sourcesConfig
	cmd := &cobra.Command{
		Use:   "verify URI",
		Short: "Verify by whom a policy was signed",
		Long: `verify says whether the policy or image at a reference of a registry is signed by
whom it must be: by keys, by people or GitHub workflows without keys (Sigstore), or
as a file says. It reads the signatures of cosign, in both of its formats.

On success it prints the reference with its digest, which is what was signed. It
exits with status 1 when the signatures are not those that were asked for.`,
		Example: `  warder verify -k cosign.pub registry://ghcr.io/acme/policies/labels:v1.0.0
  warder verify --github-owner kubewarden ghcr.io/kubewarden/policies/pod-privileged:v1.0.0
  warder verify --verification-config-path verification.yml ghcr.io/acme/policies/labels:v1.0.0`,
		Args: wants("URI"),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := v.config()
			if err != nil {
				return err
			}
			if config == nil {
				return usagef("by whom must it be signed? Want --verification-key, --cert-email, --github-owner or --verification-config-path")
			}
			client, err := c.client(cmd)
			if err != nil {
				return err
			}
			verifier, err := v.verifier(client, speech(cmd))
			if err != nil {
				return err
			}
			digest, err := verifier.VerifyConfig(cmd.Context(), args[0], *config)
			if err != nil {
				return hint(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), withDigest(args[0], digest))
			return err
		},
	}
	cmd.Flags().SortFlags = false
	v.addFlags(cmd.Flags())
	c.addFlags(cmd.Flags())
	return cmd
}

// withDigest is a reference to an image with the digest that it has.
func withDigest(image, digest string) string {
	image = "registry://" + strings.TrimPrefix(image, "registry://")
	if strings.Contains(image, "@") {
		return image
	}
	return image + "@" + digest
}
