package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/warder-dev/warder/artifact"
)

func newPull() *cobra.Command {
	var c sourcesConfig
	var v verificationFlags
	var output string
	cmd := &cobra.Command{
		Use:   "pull URI",
		Short: "Pull a policy from a registry into the store",
		Long: `pull gets a policy from a registry (registry://ghcr.io/kubewarden/policies/pod-privileged:v1.0.0,
with or without the scheme) or from https://, and keeps it in the store that kwctl
uses too. What is in the store is not pulled again, but for the tag latest. With
flags that say by whom it must be signed, nothing else is pulled.

It prints the reference by digest, which is the same policy for ever.`,
		Example: `  warder pull ghcr.io/kubewarden/policies/pod-privileged:v1.0.0
  warder pull -o policy.wasm https://example.com/policy.wasm`,
		Args: wants("URI"),
		RunE: func(cmd *cobra.Command, args []string) error {
			puller, err := newPuller(cmd, &c, &v)
			if err != nil {
				return err
			}
			return pull(cmd, puller, args[0], output)
		},
	}
	cmd.Flags().SortFlags = false
	c.addFlags(cmd.Flags())
	v.addFlags(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output-path", "o", "", "write the policy to this file or folder instead of the store")
	return cmd
}

// newPuller makes what pulls as these flags say. Its modules are not kept.
func newPuller(cmd *cobra.Command, c *sourcesConfig, v *verificationFlags) (*artifact.Puller, error) {
	config, err := v.config()
	if err != nil {
		return nil, err
	}
	client, err := c.client(cmd)
	if err != nil {
		return nil, err
	}
	puller := &artifact.Puller{Client: client}
	if config != nil {
		verifier, err := v.verifier(client, speech(cmd))
		if err != nil {
			return nil, err
		}
		gate := &artifact.Gate{Verifier: verifier, Config: *config}
		puller.Verify = gate.Verify
	}
	return puller, nil
}

func pull(cmd *cobra.Command, puller *artifact.Puller, uri, output string) error {
	bar := newProgress(cmd.ErrOrStderr(), "pulling")
	puller.Progress = bar.show
	if output == "" {
		store, err := openStore()
		if err != nil {
			return err
		}
		puller.Store = store
	}
	m, err := puller.Pull(cmd.Context(), uri)
	bar.end()
	if err != nil {
		return hint(err)
	}
	if m.Stale != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: this is what the store has; the registry could not be asked: %v\n", m.Stale)
	}
	if m.Unstored != nil {
		return m.Unstored
	}
	if output != "" {
		if output, err = writeModule(output, uri, m.Bytes); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "wrote %s, sha256 %s\n", output, m.SHA256)
	} else if m.Cached {
		fmt.Fprintf(cmd.ErrOrStderr(), "in the store already, sha256 %s\n", m.SHA256)
	} else {
		fmt.Fprintf(cmd.ErrOrStderr(), "pulled %s, sha256 %s\n", bytesText(int64(len(m.Bytes))), m.SHA256)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), m.Reference)
	return err
}

// writeModule writes a module to a file that is there whole or not at all; in a
// folder it has the name that the store would give it.
func writeModule(output, uri string, data []byte) (string, error) {
	if info, err := os.Stat(output); err == nil && info.IsDir() {
		r, err := artifact.ParseReference(uri)
		if err != nil {
			return "", err
		}
		name := path.Base(r.StorePath())
		if r.StorePath() == "" {
			name = filepath.Base(r.Path())
		}
		output = filepath.Join(output, name)
	}
	return output, replaceFile(output, data)
}

// replaceFile is writeWhole of what there is already.
func replaceFile(file string, data []byte) error {
	return writeWhole(file, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// writeWhole replaces a file at once, by what write writes. What is no file, such
// as /dev/stdout, is written to as it is.
func writeWhole(file string, write func(io.Writer) error) error {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".warder-*")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
