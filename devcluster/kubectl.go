package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // how clouds log in
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	"github.com/warder-dev/warder/devcluster/cluster"
)

// kubectl takes --dir, and leaves all else to kubectl.
func kubectl(args []string) error {
	dir := defaultDir()
	if len(args) > 1 && args[0] == "--dir" {
		dir, args = args[1], args[2:]
	}
	return runKubectl(dir, args)
}

// runKubectl is kubectl, on the cluster in dir unless the environment names
// another one. It ends the program when kubectl fails, with kubectl's exit code.
func runKubectl(dir string, args []string) error {
	if err := setVersion(); err != nil {
		return err
	}
	if os.Getenv("KUBECONFIG") == "" {
		path := cluster.KubeconfigPath(dir)
		if _, err := os.Stat(path); err == nil {
			if err := os.Setenv("KUBECONFIG", path); err != nil {
				return err
			}
		}
	}
	// kubectl looks at os.Args itself: for -v, for plugins and for aliases.
	os.Args = append([]string{"kubectl"}, args...)
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args)) // kubectl itself does not mind either
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
	return nil
}
