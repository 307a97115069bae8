package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/warder-dev/warder/artifact"
)

func newPolicies() *cobra.Command {
	return &cobra.Command{
		Use:   "policies",
		Short: "List the policies in the store",
		Long: `policies lists what is in the store: what was pulled, loaded from an archive or
fetched for inspect. The store is the one of kwctl, in your cache folder.`,
		Example: `  warder policies`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := openStore()
			if err != nil {
				return err
			}
			list, err := store.List()
			if err != nil {
				return err
			}
			if len(list) == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "the store %s is empty; get a policy with warder pull\n", store.Root())
				return nil
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "POLICY\tMUTATING\tCONTEXT AWARE\tSHA-256\tSIZE")
			for _, m := range list {
				mutating, aware := facts(m)
				fmt.Fprintln(table, strings.Join([]string{m.Reference, mutating, aware, m.SHA256[:12], bytesText(m.Size)}, "\t"))
			}
			return table.Flush()
		},
	}
}

// facts are what the table says of a module's metadata.
func facts(m artifact.Stored) (mutating, aware string) {
	module, err := artifact.ReadFile(m.File)
	if err != nil {
		return "damaged", "damaged"
	}
	meta, err := artifact.ReadMetadata(module)
	switch {
	case err != nil:
		return "damaged", "damaged"
	case meta == nil:
		return "unknown", "unknown"
	}
	yes := map[bool]string{true: "yes", false: "no"}
	return yes[meta.Mutating], yes[len(meta.ContextAwareResources) > 0]
}

// inStore says how to see what is in the store.
func inStore(err error) error {
	if errors.Is(err, artifact.ErrNotFound) {
		return fmt.Errorf("%w; see warder policies", err)
	}
	return err
}
