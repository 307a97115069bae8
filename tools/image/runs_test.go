//go:build linux

package main

import (
	"bufio"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// policies are a built-in and a module, which is compiled and wants to be kept.
const policies = `
no-privileged: {module: "builtin://pod-privileged"}
team: {module: "file:///tmp/team.wasm", settings: {teams: [shop]}}
`

// testRuns runs warder with the image's files and nothing else, as the image's
// user, who can write to /tmp alone.
func testRuns(t *testing.T, index v1.ImageIndex) {
	if os.Getuid() != 0 {
		t.Skip("only root may chroot")
	}
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skipf("there is no image for %s", runtime.GOARCH)
	}
	image := imageOf(t, index, runtime.GOARCH)
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	extract(t, image, dir)
	if err := os.WriteFile(filepath.Join(dir, "tmp", "policies.yml"), []byte(policies), 0o644); err != nil {
		t.Fatal(err)
	}
	unzip(t, filepath.Join(root, "cmd/warder/demo/teamlabel.wasm.gz"), filepath.Join(dir, "tmp", "team.wasm"))
	before := outsideTmp(t, dir)

	warder := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), config.Config.Entrypoint[0], args...)
		cmd.Dir = config.Config.WorkingDir
		cmd.Env = config.Config.Env
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Credential: &syscall.Credential{Uid: user, Gid: user}}
		return cmd
	}
	said, err := warder("version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(said), "warder "+release+", go1.") {
		t.Fatalf("warder version = %v\n%s", err, said)
	}

	cmd := warder(append(config.Config.Cmd, "--policies", "/tmp/policies.yml",
		"--addr", "127.0.0.1", "--port", "0", "--readiness-probe-port", "0")...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serving := regexp.MustCompile(`msg=serving api=\S+ probes=(\S+)`)
	var probes string
	var log strings.Builder
	lines := bufio.NewScanner(stderr)
	for probes == "" && lines.Scan() {
		log.WriteString(lines.Text() + "\n")
		if found := serving.FindStringSubmatch(lines.Text()); found != nil {
			probes = found[1]
		}
	}
	if probes == "" {
		t.Fatalf("serve ended: %v\n%s", cmd.Wait(), &log)
	}
	rest := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(stderr) // the end of the process ends it
		rest <- string(text)
	}()
	ready := becomesReady(probes)
	listed := get("http://" + probes + "/policies")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	log.WriteString(<-rest)
	if err := cmd.Wait(); err != nil || !ready {
		t.Errorf("ready: %v; serve = %v\n%s", ready, err, &log)
	}
	if strings.Count(listed, `"state":"loaded"`) != 2 {
		t.Errorf("want two policies at work:\n%s\n%s", listed, &log)
	}
	if kept, err := os.ReadDir(filepath.Join(dir, "tmp/cache/warder/compiled")); err != nil || len(kept) == 0 {
		t.Errorf("the compiled module is not kept: %v\n%s", err, &log)
	}
	if diff := cmp.Diff(before, outsideTmp(t, dir)); diff != "" {
		t.Errorf("written outside /tmp (-before +after):\n%s", diff)
	}
}

// extract makes the files of an image, of which none but /tmp can be written
// to by another than root.
func extract(t *testing.T, image v1.Image, dir string) {
	t.Helper()
	for _, e := range entries(t, image) {
		path := filepath.Join(dir, filepath.FromSlash(e.header.Name))
		mode := e.header.FileInfo().Mode()
		var err error
		if mode.IsDir() {
			err = os.Mkdir(path, 0o755)
		} else {
			err = os.WriteFile(path, e.content, 0o644)
		}
		if err == nil {
			err = os.Chmod(path, mode) // whatever the umask is
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func unzip(t *testing.T, from, to string) {
	t.Helper()
	packed, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// outsideTmp lists what is not in /tmp.
func outsideTmp(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if path == "tmp" {
			return fs.SkipDir
		}
		found = append(found, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func becomesReady(probes string) bool {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		if strings.HasPrefix(get("http://"+probes+"/readiness"), "200 ") {
			return true
		}
	}
	return false
}

// get returns the status and the text of an answer.
func get(url string) string {
	resp, err := http.Get(url)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return resp.Status + "\n" + string(text)
}
