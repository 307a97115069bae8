package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/devcluster/node"
)

const (
	// upTimeout is how long a start may take; on a busy machine it can be a
	// minute.
	upTimeout = 3 * time.Minute
	// downTimeout is longer than all that a cluster waits for when it stops.
	downTimeout = 90 * time.Second
	pollEvery   = 50 * time.Millisecond
)

func up(ctx context.Context, args []string) error {
	var opts cluster.Options
	set := flags("up", &opts.Dir)
	detach := set.Bool("detach", false, "return when the cluster is ready")
	set.IntVar(&opts.Port, "port", 0, "port of the API server")
	set.StringVar(&opts.AuditLog, "audit-log", "", "file for audit events")
	warder := set.String("warder", "", "binary that warder's pods run")
	if err := parse(set, args); err != nil {
		return err
	}
	if opts.Port < 0 || opts.Port > 65535 {
		return &usageError{fmt.Sprintf("up: port %d is not in 0 to 65535", opts.Port)}
	}
	var err error
	if opts.Binary, err = os.Executable(); err != nil {
		return err
	}
	if opts.Dir, err = filepath.Abs(opts.Dir); err != nil {
		return err
	}
	if opts.AuditLog != "" {
		if opts.AuditLog, err = filepath.Abs(opts.AuditLog); err != nil {
			return err
		}
	}
	if *warder, err = warderBinary(*warder); err != nil {
		return err
	}
	if state, err := cluster.ReadState(opts.Dir); err == nil && state.Running {
		fmt.Fprintln(os.Stderr, "The cluster is up already.")
		printUp(opts.Dir, stopByDown)
		return nil
	}
	if *detach {
		return upDetached(ctx, opts, *warder)
	}
	return upForeground(ctx, opts, *warder)
}

// How a cluster is stopped, for people to read.
const (
	stopByKey  = "^C stops it."
	stopByDown = `"devcluster down" stops it.`
)

// printUp prints what a shell can evaluate on standard output.
func printUp(dir, stop string) {
	path := cluster.KubeconfigPath(dir)
	fmt.Fprintf(os.Stderr, "The API server is ready. %s\n", stop)
	fmt.Printf("export KUBECONFIG=%s\n", path)
}

// warderBinary is what warder's pods run: what was asked for, or else bin/warder
// of the folder or one above. None is "": such pods stay Pending then.
func warderBinary(asked string) (string, error) {
	if asked != "" {
		if _, err := os.Stat(asked); err != nil {
			return "", &usageError{fmt.Sprintf("up: --warder: %v", err)}
		}
		return filepath.Abs(asked)
	}
	if found, err := cluster.Find("warder"); err == nil {
		return found, nil
	}
	fmt.Fprintln(os.Stderr, `There is no bin/warder: pods of warder stay Pending. "make build" makes it.`)
	return "", nil
}

func upForeground(ctx context.Context, opts cluster.Options, warder string) error {
	start, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	c, err := cluster.Start(start, opts)
	if err != nil {
		return err
	}
	stopNode, err := startNode(ctx, c, warder)
	if err != nil {
		return errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
	}
	defer stopNode()
	printUp(c.Dir(), stopByKey)
	var ended error
	select {
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr, "Stopping the cluster.")
	case ended = <-c.Ended():
	}
	stopNode()
	return errors.Join(ended, c.Stop(context.WithoutCancel(ctx)))
}

// startNode lets the pods of warder run, if there is a binary, and returns what
// ends them.
func startNode(ctx context.Context, c *cluster.Cluster, warder string) (func(), error) {
	if warder == "" {
		return func() {}, nil
	}
	config, err := c.Config()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	n, err := node.Start(ctx, node.Options{Config: config, Binary: warder, Dir: filepath.Join(c.Dir(), "pods"), Log: log})
	if err != nil {
		cancel()
		return nil, err
	}
	var running sync.WaitGroup
	running.Go(func() { n.Run(ctx) })
	return func() { cancel(); running.Wait() }, nil
}

// upDetached starts ourselves again, in a session of its own, and waits until
// the cluster is up.
func upDetached(ctx context.Context, opts cluster.Options, warder string) error {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return err
	}
	logFile := filepath.Join(opts.Dir, "devcluster.log")
	log, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	args := []string{"up", "--dir", opts.Dir, "--port", fmt.Sprint(opts.Port)}
	if warder != "" {
		args = append(args, "--warder", warder)
	}
	if opts.AuditLog != "" {
		args = append(args, "--audit-log", opts.AuditLog)
	}
	cmd := exec.Command(opts.Binary, args...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	// All that it prints there is one line, when everything is ready.
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(stdout).ReadString('\n') // none if it ended before
		line <- text
	}()
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	select {
	case text := <-line:
		if text != "" {
			printUp(opts.Dir, stopByDown)
			return nil
		}
		err := cmd.Wait()
		said, _ := os.ReadFile(logFile) // if it cannot be read there is err
		_, _ = os.Stderr.Write(said)
		return errors.Join(&exitError{1}, err)
	case <-ctx.Done():
		err := cmd.Process.Signal(syscall.SIGTERM)
		return errors.Join(fmt.Errorf("up: %w; the log is %s", ctx.Err(), logFile), err, cmd.Wait())
	}
}

func down(ctx context.Context, args []string) error {
	var dir string
	set := flags("down", &dir)
	remove := set.Bool("delete", false, "delete the cluster's data, too")
	if err := parse(set, args); err != nil {
		return err
	}
	state, err := cluster.ReadState(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(os.Stderr, "There is no cluster in %s.\n", dir)
		return nil
	case err != nil:
		return err
	case !state.Running:
		fmt.Fprintln(os.Stderr, "The cluster is down already.")
	default:
		if err := terminate(ctx, dir, state.PID); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "The cluster is down.")
	}
	if *remove {
		return cluster.Delete(dir)
	}
	return nil
}

// terminate asks the process to stop its cluster; when it does not in time, it
// is killed, and its components end with it.
func terminate(ctx context.Context, dir string, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	for {
		state, err := cluster.ReadState(dir)
		if err != nil || !state.Running {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("process %d: %w; it was killed", pid, ctx.Err()), syscall.Kill(pid, syscall.SIGKILL))
		case <-time.After(pollEvery):
		}
	}
}

func status(args []string) error {
	var dir string
	if err := parse(flags("status", &dir), args); err != nil {
		return err
	}
	state, err := cluster.ReadState(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fmt.Printf("There is no cluster in %s.\n", dir)
		return &exitError{1}
	case err != nil:
		return err
	case !state.Running:
		fmt.Printf("The cluster in %s is down.\n", dir)
		return &exitError{1}
	}
	fmt.Printf("The cluster in %s is up.\n", dir)
	fmt.Printf("%-24s https://127.0.0.1:%d\n%-24s %s\n", "API server", state.Port, "kubeconfig", cluster.KubeconfigPath(dir))
	fmt.Printf("%-24s pid %d\n", "devcluster", state.PID)
	for _, part := range []cluster.Part{cluster.Etcd, cluster.APIServer, cluster.ControllerManager} {
		if pid, ok := state.PIDs[part]; ok {
			fmt.Printf("%-24s pid %d\n", part, pid)
		}
	}
	return nil
}

func kubeconfig(args []string) error {
	var dir string
	if err := parse(flags("kubeconfig", &dir), args); err != nil {
		return err
	}
	path := cluster.KubeconfigPath(dir)
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf(`there is no cluster in %s; start one with "devcluster up"`, dir)
	}
	fmt.Println(path)
	return nil
}
