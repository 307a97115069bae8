package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit statuses. Source: Kubewarden's policy server, for serve.
const (
	exitOK    = 0
	exitError = 1 // what was asked could not be done
	exitUsage = 2 // the command line cannot be understood
)

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// run runs the command line and returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var status *statusError
	if errors.As(err, &status) && status.err == nil {
		return status.status
	}
	_, _ = fmt.Fprintf(stderr, "warder: %v\n", err)
	if status != nil {
		return status.status
	}
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitError
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "warder",
		Short: "A Kubernetes policy engine",
		Long: `warder judges what is asked of a Kubernetes API server: it runs policies that
are built in or WebAssembly modules, and allows, denies or changes requests.

See it at work without a cluster:   warder demo
Run the policy server:              warder serve --policies policies.yml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; see warder --help", args[0])
			}
			return nil
		},
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
	}
	root.SetVersionTemplate("warder {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	addGroup(root, "server", "Server:", newServe(), newDemo())
	addGroup(root, "cluster", "Cluster:", newInstall(), newUninstall(), newController())
	addGroup(root, "policies", "Policies as artifacts:", newRun(), newPull(), newPush(), newDigest(), newPolicies(), newRm(), newSave(), newLoad(),
		newRegistry(), newAnnotate(), newInspect(), newBuildPolicies())
	addGroup(root, "signatures", "Signatures:", newVerify(), newSign(), newKeygen())
	addGroup(root, "other", "Other:", newScaffold(), newVersion())
	root.SetHelpCommandGroupID("other")
	return root
}

// addGroup adds commands that the help lists together, under a title.
func addGroup(root *cobra.Command, id, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, c := range commands {
		c.GroupID = id
	}
	root.AddCommand(commands...)
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version and what it was built from",
		Long:    `version prints the version of warder, the version of Go it was built with, and the platform.`,
		Example: `  warder version`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "warder %s, %s, %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, have %q", cmd.CommandPath(), args)
	}
	return nil
}

// version is the module's version, or the commit when there is none.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	commit, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if commit == "" {
		return "devel"
	}
	return "devel-" + commit + dirty
}
