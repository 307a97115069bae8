package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/warder-dev/warder/install"
	"github.com/warder-dev/warder/manifest"
)

func newUninstall() *cobra.Command {
	var opts install.RemoveOptions
	var sets []string
	var yes bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove warder from a cluster",
		Long: `uninstall removes what install has made, from the cluster that KUBECONFIG leads
to. It leaves no webhook and no finalizer behind, and needs nothing of warder to
run: it is also the way out when the controller is broken and the cluster refuses
everything.

Policies are removed with their kinds, unless --keep-crds leaves them. With --set the
policies of a set are removed, and nothing else.`,
		Example: `  warder uninstall
  warder uninstall --set best-practices
  warder uninstall --keep-crds --yes`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := manifest.CheckSets(sets); err != nil {
				return usagef("uninstall: %v", err)
			}
			if len(sets) > 0 && (opts.KeepResources || opts.LeaveToHelm) {
				return usagef("uninstall: --set removes policies and leaves everything else: leave --keep-crds and --leave-to-helm out")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			out := newTeller(cmd.ErrOrStderr())
			client, err := newInstaller(out)
			if err != nil {
				return err
			}
			if len(sets) > 0 {
				defer out.clear()
				if err := client.RemoveSets(ctx, sets); err != nil {
					return fmt.Errorf("uninstall: %w", err)
				}
				out.clear()
				out.summary(cmd.OutOrStdout(), "No policy of "+strings.Join(sets, " or ")+" is there.")
				return nil
			}
			if !yes && !opts.KeepResources && !opts.LeaveToHelm {
				if err := confirmLoss(ctx, cmd, client); err != nil {
					return err
				}
			}
			defer out.clear()
			if err := client.Remove(ctx, opts); err != nil {
				return fmt.Errorf("uninstall: %w", err)
			}
			out.clear()
			out.summary(cmd.OutOrStdout(), "Nothing of warder is there.")
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.Namespace, "namespace", manifest.DefaultNamespace, "namespace of the installation")
	flags.StringSliceVar(&sets, "set", nil, "remove the policies of this set alone, or of these: "+strings.Join(manifest.SetNames(), ", "))
	flags.BoolVar(&opts.KeepResources, "keep-crds", false, "leave policies and their kinds where they are, enforced no more")
	flags.BoolVar(&opts.LeaveToHelm, "leave-to-helm", false, "leave what the Helm chart consists of to Helm, and policies where they are; its hook does it")
	flags.BoolVar(&yes, "yes", false, "do not ask")
	flags.DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait for the cluster")
	return cmd
}

// confirmLoss asks before policies are lost. Where nobody can answer, that is an
// error.
func confirmLoss(ctx context.Context, cmd *cobra.Command, client *install.Client) error {
	count, err := client.Resources(ctx)
	if err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	if len(count) == 0 {
		return nil
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%d %s", count[kind], kind))
	}
	loss := strings.Join(parts, ", ")
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usagef("uninstall: these would be removed: %s; say --yes to do it, or --keep-crds to keep them", loss)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "These are removed: %s. Go on? [y/N] ", loss)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil || !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
		return fmt.Errorf("uninstall: nothing was removed")
	}
	return nil
}
