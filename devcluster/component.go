package main

import (
	"io"
	"os"
	_ "time/tzdata" // CronJobs have time zones

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of clients
	_ "k8s.io/component-base/metrics/prometheus/version"  // metric of the version
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"

	"github.com/warder-dev/warder/devcluster/cluster"
)

// runComponent is the program of one component. It ends when its standard input
// does: when the process that started it is gone.
func runComponent(part cluster.Part, args []string) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, it has ended
		os.Exit(1)
	}()
	if err := setVersion(); err != nil {
		return err
	}
	var cmd *cobra.Command
	switch part {
	case cluster.Etcd:
		return runEtcd(args)
	case cluster.APIServer:
		// It runs in the cluster's folder.
		apiserver.SetServiceResolverForTests(newResolver("."))
		cmd = apiserver.NewAPIServerCommand()
	default:
		cmd = controllermanager.NewControllerManagerCommand()
	}
	cmd.SetArgs(args)
	if code := cli.Run(cmd); code != 0 {
		return &exitError{code}
	}
	return nil
}
