package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/install"
	"github.com/warder-dev/warder/manifest"
)

// imageRepository is where released images are.
const imageRepository = "ghcr.io/warder-dev/warder"

// installFlags are those of install.
type installFlags struct {
	opts        manifest.InstallOptions
	recommended bool
	mode        string
	workloads   string
	onlyCRDs    bool
	dryRun      bool
	wait        bool
	timeout     time.Duration
	replicas    int32
	servers     int32
}

func newInstall() *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install warder into a cluster",
		Long: `install sets up warder in the cluster that KUBECONFIG leads to: the kinds of
policies, the controller, and a policy server called "default". Installing again
changes what is different, so it is also how one upgrades.

Nothing is refused until you apply a policy. --set applies some to begin with, in
monitor mode: they refuse nothing, and log what they would. The sets are

  pod-security-baseline     the Pod Security Standard baseline
  pod-security-restricted   the Pod Security Standard restricted
  best-practices            what else makes workloads secure and reliable
  kubewarden-defaults       the policies that Kubewarden recommends

Installing without a set leaves its policies as they are, and "warder uninstall --set"
removes them. Installing with it makes them those of this version; one that somebody
has put into protect mode stays there.`,
		Example: `  warder install --wait
  warder install --dry-run > warder.yaml
  warder install --set pod-security-baseline,best-practices`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.opts.Namespace, "namespace", manifest.DefaultNamespace, "namespace of the installation")
	flags.StringVar(&f.opts.Image, "image", defaultImage(), "image of warder")
	flags.StringSliceVar(&f.opts.ImagePullSecrets, "image-pull-secrets", nil, "Secrets to pull the image with")
	flags.Int32Var(&f.replicas, "replicas", 2, "replicas of the controller")
	flags.Int32Var(&f.servers, "policy-server-replicas", 1, "replicas of the default policy server")
	flags.StringVar(&f.workloads, "workloads", string(v1.Ignore),
		`"Expand" makes policies about pods judge Deployments and other workloads, too, unless they say otherwise`)
	flags.StringSliceVar(&f.opts.Sets.Names, "set", nil, "apply the policies of this set, or of these: "+strings.Join(manifest.SetNames(), ", "))
	flags.BoolVar(&f.recommended, "recommended-policies", false, "the same as --set "+manifest.SetKubewardenDefaults)
	flags.StringVar(&f.mode, "policy-mode", string(v1.Monitor), `mode of the policies of sets: "monitor" or "protect"`)
	flags.StringSliceVar(&f.opts.Sets.SkipNamespaces, "skip-namespaces", manifest.SkipNamespaces(),
		"namespaces that the policies of sets do not judge")
	flags.StringVar(&f.opts.LogLevel, "log-level", "info", "trace, debug, info, warn or error")
	flags.BoolVar(&f.opts.HostNetwork, "host-network", false, "put the pods into the network of their nodes")
	flags.BoolVar(&f.onlyCRDs, "only-crds", false, "apply the kinds of policies alone; the Helm chart does it before an upgrade")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print what would be applied, as YAML, and ask no cluster")
	flags.BoolVar(&f.wait, "wait", false, "return when all of it is ready")
	flags.DurationVar(&f.timeout, "timeout", 5*time.Minute, "how long to wait for the cluster")
	return cmd
}

// defaultImage is the image of this version. A build without one has no image
// anywhere, and somebody has to say where theirs is.
func defaultImage() string { return imageRepository + ":" + imageTag(version()) }

// imageTag is a version as the tag of an image: "+" may be in a version and not
// in a tag.
func imageTag(version string) string {
	tag := []rune(version)
	for i, r := range tag {
		if r == '+' {
			tag[i] = '-'
		}
	}
	return string(tag)
}

func (f *installFlags) run(cmd *cobra.Command) error {
	f.opts.Replicas, f.opts.ServerReplicas, f.opts.Workloads = f.replicas, f.servers, v1.Workloads(f.workloads)
	f.opts.Sets.Mode = v1.Mode(f.mode)
	if f.recommended {
		f.opts.Sets.Names = append(f.opts.Sets.Names, manifest.SetKubewardenDefaults)
	}
	if err := f.opts.Validate(); err != nil {
		return usagef("install: %v", err)
	}
	if f.dryRun && f.onlyCRDs {
		return usagef("install: --only-crds and --dry-run do not go together: the kinds are the first of what --dry-run prints")
	}
	if f.dryRun {
		return printObjects(cmd.OutOrStdout(), f.opts)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	out := newTeller(cmd.ErrOrStderr())
	client, err := newInstaller(out)
	if err != nil {
		return err
	}
	defer out.clear()
	if f.onlyCRDs {
		err = client.ApplyKinds(ctx)
	} else {
		err = client.Apply(ctx, f.opts)
	}
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if f.wait && !f.onlyCRDs {
		if err := client.Ready(ctx, f.opts); err != nil {
			return fmt.Errorf("install: %w", err)
		}
	}
	out.clear()
	out.summary(cmd.OutOrStdout(), "Everything is as it should be already.")
	return nil
}

// printObjects prints everything of an installation as one stream of YAML.
func printObjects(w io.Writer, opts manifest.InstallOptions) error {
	objects, err := install.Objects(opts)
	if err != nil {
		return err
	}
	for i, o := range objects {
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			return err
		}
		if i > 0 {
			text = append([]byte("---\n"), text...)
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return nil
}

func newInstaller(out *teller) (*install.Client, error) {
	config, err := clusterConfig("")
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("there is no cluster: set KUBECONFIG, or write ~/.kube/config")
	}
	if err != nil {
		return nil, err
	}
	client, err := install.NewClient(config)
	if err != nil {
		return nil, err
	}
	client.Say, client.Wait = out.say, out.wait
	return client, nil
}

// teller says what becomes of objects: a line for each that changes, and on a
// terminal one line that says what is waited for.
type teller struct {
	w        io.Writer
	terminal bool
	waiting  string
	since    time.Time
	said     bool // that it is waited for
	count    map[install.Outcome]int
}

// silence is how long something is waited for before that is said where there
// is no terminal.
const silence = 3 * time.Second

func newTeller(w io.Writer) *teller {
	f, ok := w.(*os.File)
	return &teller{w: w, terminal: ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb", count: map[install.Outcome]int{}}
}

func (t *teller) say(object string, o install.Outcome) {
	t.clear()
	t.count[o]++
	if o != install.Unchanged {
		_, _ = fmt.Fprintf(t.w, "%-9s %s\n", o, object)
	}
}

// wait shows what is waited for: on a terminal at once, and elsewhere once if it
// takes longer.
func (t *teller) wait(what string) {
	if what != t.waiting {
		t.clear()
		t.waiting, t.since = what, time.Now()
	}
	switch {
	case t.said || !t.terminal && time.Since(t.since) < silence:
	case t.terminal:
		t.said = true
		_, _ = fmt.Fprint(t.w, "Waiting for "+what)
	default:
		t.said = true
		_, _ = fmt.Fprintln(t.w, "Waiting for "+what)
	}
}

// clear takes the line away that says what is waited for.
func (t *teller) clear() {
	if t.terminal && t.waiting != "" {
		_, _ = fmt.Fprint(t.w, "\r\x1b[K")
	}
	t.waiting, t.said = "", false
}

// summary counts what was done, or says that it was nothing.
func (t *teller) summary(w io.Writer, nothing string) {
	created, changed, removed := t.count[install.Created], t.count[install.Changed]+t.count[install.Stopped], t.count[install.Removed]
	switch {
	case created+changed+removed == 0:
		_, _ = fmt.Fprintln(w, nothing)
	case removed > 0:
		_, _ = fmt.Fprintf(w, "%d objects removed.\n", removed)
	default:
		_, _ = fmt.Fprintf(w, "%d objects created, %d changed, %d left as they were.\n", created, changed, t.count[install.Unchanged])
	}
}
