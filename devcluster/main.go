// Command devcluster is a Kubernetes control plane in one binary, for
// development and for tests. Its subcommands etcd, kube-apiserver and
// kube-controller-manager are what package cluster starts; they are not listed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/warder-dev/warder/devcluster/cluster"
)

const help = `devcluster runs a Kubernetes control plane on this machine: etcd, kube-apiserver
and kube-controller-manager, with TLS and RBAC. It has one node, which runs the
pods of warder as processes of this machine; all others stay Pending.

  devcluster up [--detach] [--port P] [--audit-log FILE] [--warder FILE]
                            start the cluster; ^C stops it. It finds what it
                            left behind the last time
      --detach              return when it is ready, and leave it running
      --port P              the API server's port; default: the last one, or a
                            free one
      --audit-log FILE      write who asked for what, a JSON object a line
      --warder FILE         the binary that warder's pods run; default:
                            bin/warder of this folder or one above
  devcluster down [--delete]
                            stop a cluster that was detached
      --delete              delete all that it knows, too
  devcluster status         say whether it is up; exit code 1 if not
  devcluster kubeconfig     print the path of its kubeconfig
  devcluster kubectl ...    kubectl, on this cluster if KUBECONFIG is not set;
                            so is devcluster itself when it is called kubectl
                            by way of a link

Every command takes --dir D, before kubectl's own arguments: the folder that
the cluster keeps its state in. Default: DEVCLUSTER_DIR, or else
%s.
`

// usageError is about how we were called.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text + `; see "devcluster --help"` }

// exitError ends the program with a code, and nothing more to say.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func main() {
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == "kubectl" {
		args = append([]string{"kubectl"}, args...)
	}
	err := run(args)
	var exit *exitError
	var usage *usageError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		os.Exit(exit.code)
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "devcluster:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "devcluster:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return &usageError{"no command"}
	}
	name, args := args[0], args[1:]
	switch cluster.Part(name) {
	case cluster.Etcd, cluster.APIServer, cluster.ControllerManager:
		return runComponent(cluster.Part(name), args)
	}
	switch name {
	case "up":
		return withSignals(up, args)
	case "down":
		return withSignals(down, args)
	case "status":
		return status(args)
	case "kubeconfig":
		return kubeconfig(args)
	case "kubectl":
		return kubectl(args)
	case "help", "-h", "--help":
		fmt.Printf(help, defaultDir())
		return nil
	default:
		return &usageError{fmt.Sprintf("no command is called %q", name)}
	}
}

// withSignals runs a command that ends in order on ^C. Kubernetes' components
// and kubectl have ways of their own.
func withSignals(command func(context.Context, []string) error, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return command(ctx, args)
}

// defaultDir is one for all folders that one works in, so that "go -C devcluster
// run ." and bin/devcluster mean the same cluster.
func defaultDir() string {
	if dir := os.Getenv("DEVCLUSTER_DIR"); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "warder-devcluster")
}

// flags are the flags of one command; each has --dir.
func flags(name string, dir *string) *flag.FlagSet {
	set := flag.NewFlagSet("devcluster "+name, flag.ContinueOnError)
	set.SetOutput(os.Stdout)
	set.Usage = func() { fmt.Printf(help, defaultDir()) }
	set.StringVar(dir, "dir", defaultDir(), "folder of the cluster's state")
	return set
}

// parse reads args, of which none may be left.
func parse(set *flag.FlagSet, args []string) error {
	err := parseFlags(set, args)
	if err == nil && set.NArg() > 0 {
		return &usageError{fmt.Sprintf("%s: what is %q for?", set.Name(), set.Arg(0))}
	}
	return err
}

func parseFlags(set *flag.FlagSet, args []string) error {
	usage := set.Usage
	set.Usage = func() {} // it is for those who ask for it
	set.SetOutput(discard{})
	err := set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage()
		return &exitError{0}
	case err != nil:
		return &usageError{set.Name() + ": " + err.Error()}
	}
	return nil
}

// discard is for what flag writes by itself: the error says it too.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
