package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/warder-dev/warder/devcluster/cluster"
)

// devcluster is the command, in an environment without other clusters.
func devcluster(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := cluster.FindBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = append(os.Environ(), "DEVCLUSTER_DIR="+dir, "KUBECONFIG=", "HOME="+t.TempDir())
	return cmd
}

// output runs the command and returns what it printed, which must end with this
// exit code.
func output(t *testing.T, cmd *exec.Cmd, code int) (stdout, stderr string) {
	t.Helper()
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%v: exit code %d, want %d\n%s%s", cmd.Args[1:], got, code, &out, &log)
	}
	return out.String(), log.String()
}

func wantIn(t *testing.T, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("%q is not in:\n%s", want, text)
	}
}

// downAtEnd stops a detached cluster, also when the test fails half-way.
func downAtEnd(t *testing.T, dir string) {
	t.Helper()
	t.Cleanup(func() {
		binary, err := cluster.FindBinary()
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(binary, "down", "--dir", dir).CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
}

func TestUpDetachedAndDown(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	run := func(code int, args ...string) (string, string) {
		t.Helper()
		return output(t, devcluster(t, dir, args...), code)
	}
	stdout, _ := run(1, "status")
	wantIn(t, stdout, "There is no cluster in "+dir)
	_, stderr := run(1, "kubeconfig")
	wantIn(t, stderr, `start one with "devcluster up"`)
	_, stderr = run(0, "down")
	wantIn(t, stderr, "There is no cluster in "+dir)

	downAtEnd(t, dir)
	stdout, _ = run(0, "up", "--detach")
	want := "export KUBECONFIG=" + filepath.Join(dir, "kubeconfig") + "\n"
	if stdout != want {
		t.Errorf("up printed %q, want %q", stdout, want)
	}
	stdout, stderr = run(0, "up", "--detach")
	wantIn(t, stdout, want)
	wantIn(t, stderr, "up already")
	stdout, _ = run(0, "status")
	wantIn(t, stdout, "is up")
	stdout, _ = run(0, "kubeconfig")
	if got := strings.TrimSpace(stdout); got != filepath.Join(dir, "kubeconfig") {
		t.Errorf("kubeconfig printed %q", got)
	}
	run(0, "kubectl", "create", "configmap", "kept")
	stdout, _ = run(0, "kubectl", "version")
	wantIn(t, stdout, "Server Version: v1.37")
	_, stderr = run(1, "kubectl", "get", "configmap", "nobody")
	wantIn(t, stderr, `configmaps "nobody" not found`)

	link := filepath.Join(t.TempDir(), "kubectl")
	asKubectl := devcluster(t, dir, "get", "configmap", "kept", "-o", "name")
	if err := os.Symlink(asKubectl.Path, link); err != nil {
		t.Fatal(err)
	}
	asKubectl.Path, asKubectl.Args[0] = link, link
	stdout, _ = output(t, asKubectl, 0)
	wantIn(t, stdout, "configmap/kept")

	run(0, "down")
	stdout, _ = run(1, "status")
	wantIn(t, stdout, "is down")
	_, stderr = run(0, "down", "--delete")
	wantIn(t, stderr, "down already")
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("down --delete: the folder: %v", err)
	}
}

// TestDeathOfParentEndsAll kills what holds the cluster, as kill -9 does, and
// starts it again: nothing of it lives on, and nothing is lost.
func TestDeathOfParentEndsAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	downAtEnd(t, dir)
	output(t, devcluster(t, dir, "up", "--detach"), 0)
	output(t, devcluster(t, dir, "kubectl", "create", "configmap", "kept"), 0)
	state, err := cluster.ReadState(dir)
	if err != nil || !state.Running || len(state.PIDs) != 3 {
		t.Fatalf("state: %+v, %v; want three components that run", state, err)
	}
	parent, err := os.FindProcess(state.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Kill(); err != nil {
		t.Fatal(err)
	}
	for part, pid := range state.PIDs {
		eventually(t, string(part)+" ends", func(context.Context) error { return lives(pid) })
	}
	stdout, _ := output(t, devcluster(t, dir, "status"), 1)
	wantIn(t, stdout, "is down")
	output(t, devcluster(t, dir, "up", "--detach"), 0)
	output(t, devcluster(t, dir, "kubectl", "get", "configmap", "kept"), 0)
	again, err := cluster.ReadState(dir)
	if err != nil || again.Port != state.Port {
		t.Errorf("started again it listens on port %d, %v; want %d as before", again.Port, err, state.Port)
	}
}

// lives is an error as long as the process does. One that nobody has waited for
// does not.
func lives(pid int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	if err == nil && strings.HasPrefix(rest, "Z") {
		return nil
	}
	return errors.Join(fmt.Errorf("process %d lives: %s", pid, text), err)
}

func TestForegroundStopsOnSignal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := devcluster(t, dir, "up")
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if want := "export KUBECONFIG=" + cluster.KubeconfigPath(dir) + "\n"; line != want {
		t.Fatalf("up printed %q, %v; want %q\n%s", line, err, want, &log)
	}
	if _, err := clientcmd.LoadFromFile(cluster.KubeconfigPath(dir)); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("up ended with %v after ^C, want exit code 0\n%s", err, &log)
	}
	wantIn(t, log.String(), "^C stops it.")
}

func TestCommandSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args []string
		want string
	}{
		{nil, `devcluster: no command; see "devcluster --help"`},
		{[]string{"upp"}, `no command is called "upp"`},
		{[]string{"up", "--prot", "1"}, "devcluster up: flag provided but not defined: -prot"},
		{[]string{"up", "--port", "70000"}, "port 70000 is not in 0 to 65535"},
		{[]string{"down", "now"}, `devcluster down: what is "now" for?`},
	}
	for _, tt := range tests {
		_, stderr := output(t, devcluster(t, t.TempDir(), tt.args...), 2)
		wantIn(t, stderr, tt.want)
	}
	for _, args := range [][]string{{"--help"}, {"up", "--help"}} {
		stdout, _ := output(t, devcluster(t, t.TempDir(), args...), 0)
		wantIn(t, stdout, "devcluster down [--delete]")
	}
}
