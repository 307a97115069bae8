package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/warder-dev/warder/engine"
)

// logLines keeps what a server logs.
type logLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// count returns how many lines have all these words.
func (l *logLines) count(words ...string) int {
	n := 0
lines:
	for line := range strings.Lines(l.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		n++
	}
	return n
}

// eventually waits for what takes a moment.
func eventually(condition func() bool) bool {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if condition() {
			return true
		}
		<-time.After(10 * time.Millisecond)
	}
	return false
}

// server is a run of warder serve.
type server struct {
	t           *testing.T
	file        string // policies.yml
	api, probes string // host:port
	log         *logLines
	client      *http.Client
	stop        func() error // as SIGTERM does; returns what serve does
}

// serving finds the addresses in a server's log.
func serving() *regexp.Regexp {
	return regexp.MustCompile(`msg=serving api=(\S+) probes=(\S+)`)
}

// startServe runs warder serve in this process until the test ends, and waits
// until it is ready.
func startServe(t *testing.T, policies string, args ...string) *server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policies.yml")
	writeFile(t, file, policies)
	s := &server{t: t, file: file}
	s.start(append([]string{"--policies", file}, args...))
	return s
}

func (s *server) start(args []string) {
	s.t.Helper()
	s.log = &logLines{}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	s.client = &http.Client{Transport: transport}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	root := newRoot()
	root.SetErr(s.log)
	root.SetArgs(append([]string{
		"serve", "--addr", "127.0.0.1", "--port", "0", "--readiness-probe-port", "0",
		"--compilation-cache-dir", filepath.Join(s.t.TempDir(), "compiled"),
	}, args...))
	go func() { ended <- root.ExecuteContext(ctx) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	s.t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.stop(); err != nil {
			s.t.Errorf("serve = %v", err)
		}
	})
	if !eventually(func() bool { return serving().MatchString(s.log.String()) }) {
		s.t.Fatalf("the server does not serve:\n%s", s.log)
	}
	found := serving().FindStringSubmatch(s.log.String())
	s.api, s.probes = found[1], found[2]
	if !eventually(func() bool { return s.get("/readiness") == "200 " }) {
		s.t.Fatalf("the server does not become ready:\n%s", s.log)
	}
}

// get asks a probe and returns its status and its text.
func (s *server) get(path string) string {
	s.t.Helper()
	resp, err := s.client.Get("http://" + s.probes + path)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, text)
}

// ask sends a privileged pod to a policy and returns the status and the answer.
func (s *server) ask(path string) string {
	s.t.Helper()
	return s.send(path, strings.NewReader(privilegedReview))
}

func (s *server) send(path string, body io.Reader) string {
	resp, err := s.client.Post("https://"+s.api+path, "application/json", body)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, text)
}

const privilegedReview = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"group":"","version":"v1","kind":"Pod"},` +
	`"resource":{"group":"","version":"v1","resource":"pods"},"name":"web","namespace":"default","operation":"CREATE","userInfo":{"username":"jane"},` +
	`"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[{"name":"c","securityContext":{"privileged":true}}]}}}}`

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const (
	rejected = `"allowed":false,"status":{"message":"Privileged container is not allowed`
	allowed  = `"allowed":true`
)

// labels is a policy that wants one label.
func labels(id, label string) string {
	return fmt.Sprintf("%s:\n  module: builtin://safe-labels\n  settings: {mandatory_labels: [%s]}\n", id, label)
}

const privileged = "privileged:\n  module: builtin://pod-privileged\n"

func TestServeJudgesOverHTTPSAndReloadsOnlyWhatChanges(t *testing.T) {
	s := startServe(t, privileged+labels("labels", "one"))
	check := func(path, want string) {
		t.Helper()
		if have := s.ask(path); !strings.HasPrefix(have, "200 ") || !strings.Contains(have, want) {
			t.Errorf("%s: %s, want %s", path, have, want)
		}
	}
	loaded := func(id string) int { return s.log.count(`msg="policy loaded"`, "policy="+id) }
	check("/validate/privileged", rejected)
	check("/validate/labels", "one")

	writeFile(t, s.file, privileged+labels("labels", "two")) // in place
	if !eventually(func() bool { return strings.Contains(s.ask("/validate/labels"), "two") }) {
		t.Fatalf("the new settings do not arrive:\n%s", s.log)
	}
	writeFile(t, s.file+".new", privileged+labels("labels", "two")+labels("more", "three")) // as a careful writer does
	if err := os.Rename(s.file+".new", s.file); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return strings.Contains(s.ask("/validate/more"), "three") }) {
		t.Fatalf("the new policy does not arrive:\n%s", s.log)
	}
	if loaded("privileged") != 1 || loaded("labels") != 2 || loaded("more") != 1 {
		t.Errorf("loaded: privileged %d times, labels %d, more %d; want 1, 2 and 1:\n%s",
			loaded("privileged"), loaded("labels"), loaded("more"), s.log)
	}
	writeFile(t, s.file, privileged)
	if !eventually(func() bool { return strings.HasPrefix(s.ask("/validate/more"), "404 ") }) {
		t.Errorf("a policy that was removed still answers: %s", s.ask("/validate/more"))
	}
	if loaded("privileged") != 1 || s.log.count(`msg="policy unloaded"`) != 2 {
		t.Errorf("want two policies unloaded and none loaded:\n%s", s.log)
	}
}

func TestServeKeepsItsPoliciesWhenTheFileIsBroken(t *testing.T) {
	s := startServe(t, privileged)
	for name, broken := range map[string]string{
		"not YAML": "a: [", "a policy that is none": privileged + "b: {modul: builtin://pod-privileged}\n", "empty": "",
	} {
		before := s.log.count("policies.yml not loaded: the policies stay as they are")
		writeFile(t, s.file, broken)
		if !eventually(func() bool { return s.log.count("policies.yml not loaded: the policies stay as they are") > before }) {
			t.Errorf("%s: the log does not say that the file is broken:\n%s", name, s.log)
		}
		if have := s.ask("/validate/privileged"); !strings.Contains(have, rejected) {
			t.Errorf("%s: %s, want the policy in its place", name, have)
		}
	}
	if err := os.Remove(s.file); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return s.log.count("no such file or directory") > 0 }) {
		t.Errorf("the log does not say that the file is missing:\n%s", s.log)
	}
	writeFile(t, s.file, privileged+labels("labels", "one"))
	if !eventually(func() bool { return strings.Contains(s.ask("/validate/labels"), "one") }) {
		t.Errorf("the file that is right again is not loaded:\n%s", s.log)
	}
	if n := s.log.count(`msg="policy loaded"`, "policy=privileged"); n != 1 {
		t.Errorf("the policy that never changed was loaded %d times", n)
	}
}

// TestHalfAPoliciesFileIsNotLoaded looks at the file as the server does, without
// its clock.
func TestHalfAPoliciesFileIsNotLoaded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policies.yml")
	whole := privileged + labels("labels", "one")
	writeFile(t, file, whole)
	eng, err := engine.New(engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = eng.Close() })
	l := &loader{config: &serveConfig{policies: file}, engine: eng, log: slog.New(slog.DiscardHandler)}
	if err := errors.Join(l.read(), eng.Apply(t.Context(), l.policies)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name, text string
		looks      int
		policies   int
	}{
		{"half of it", privileged, 1, 2},
		{"and then all of it", whole, 3, 2},
		{"fewer policies, for good", privileged, 2, 1},
	} {
		writeFile(t, file, step.text)
		for range step.looks {
			l.look(t.Context())
		}
		if n := len(eng.Statuses()); n != step.policies {
			t.Errorf("%s: %d policies, want %d", step.name, n, step.policies)
		}
	}
}

func TestServeSeesWhatKubernetesDoesToAVolume(t *testing.T) {
	volume := t.TempDir()
	publish := func(name, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(volume, name), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(volume, name, "policies.yml"), text)
		if err := os.Symlink(name, filepath.Join(volume, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("..2026_1", labels("labels", "one"))
	if err := os.Symlink("..data/policies.yml", filepath.Join(volume, "policies.yml")); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t}
	s.start([]string{"--policies", filepath.Join(volume, "policies.yml")})
	publish("..2026_2", labels("labels", "two"))
	if !eventually(func() bool { return strings.Contains(s.ask("/validate/labels"), "two") }) {
		t.Errorf("the new settings do not arrive:\n%s", s.log)
	}
}

func TestServeLoadsAModuleThatIsReplaced(t *testing.T) {
	module := filepath.Join(t.TempDir(), "policy.wasm")
	s := startServe(t, privileged+"guest:\n  module: file://"+module+"\n  settings: {teams: [a]}\n")
	if have := s.ask("/validate/guest"); !strings.Contains(have, "no such file or directory") || !strings.Contains(have, `"code":500`) {
		t.Errorf("a policy without its module: %s, want it refused with the reason", have)
	}
	if err := unpack(module); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return strings.Contains(s.ask("/validate/guest"), `has no \"team\"`) }) {
		t.Errorf("the module is not loaded: %s\n%s", s.ask("/validate/guest"), s.log)
	}
	if have := s.get("/policies"); !strings.Contains(have, `"id":"guest","state":"loaded"`) || !strings.Contains(have, `"isolation":"snapshot"`) {
		t.Errorf("policies = %s, want the guest loaded, with a snapshot", have)
	}
	if n := s.log.count(`msg="policy loaded"`, "policy=privileged"); n != 1 {
		t.Errorf("the policy that never changed was loaded %d times", n)
	}
}

func TestServeFinishesWhatIsInFlightWhenItIsStopped(t *testing.T) {
	s := startServe(t, privileged)
	body, more := io.Pipe()
	answer := make(chan string, 1)
	go func() { answer <- s.send("/validate/privileged", body) }()
	if _, err := io.WriteString(more, privilegedReview[:20]); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return strings.Contains(s.get("/metrics"), "\nwarder_requests_in_flight 1\n") }) {
		t.Fatal("the request is not in flight")
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	if !eventually(func() bool { return s.log.count("shutting down") == 1 }) {
		t.Fatalf("the server does not shut down:\n%s", s.log)
	}
	if _, err := io.WriteString(more, privilegedReview[20:]); err != nil {
		t.Error(err)
	}
	if err := more.Close(); err != nil {
		t.Error(err)
	}
	if have := <-answer; !strings.HasPrefix(have, "200 ") || !strings.Contains(have, rejected) {
		t.Errorf("request in flight: %s, want its answer", have)
	}
	if err := <-stopped; err != nil {
		t.Errorf("serve = %v, want nil", err)
	}
}

func TestTheProcessEndsWithStatusZeroOnSIGTERM(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policies.yml")
	writeFile(t, file, privileged)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := &logLines{}
	cmd := exec.Command(self)
	cmd.Args = []string{"warder", "serve", "--policies", file, "--addr", "127.0.0.1", "--port", "0", "--readiness-probe-port", "0"}
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir())
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return log.count(`msg="policies loaded"`) == 1 && serving().MatchString(log.String()) }) {
		t.Errorf("the server does not start:\n%s", log)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil || strings.Contains(log.String(), "warder: ") {
		t.Errorf("serve = %v, want status 0 and no error:\n%s", err, log)
	}
}

func TestServeAcceptsAllInTheNamespaceThatItIsTold(t *testing.T) {
	s := startServe(t, privileged, "--always-accept-admission-reviews-on-namespace", "default", "--log-fmt", "text")
	if have := s.ask("/validate/privileged"); !strings.Contains(have, allowed) {
		t.Errorf("in the namespace: %s, want it accepted", have)
	}
	if have := s.ask("/audit/privileged"); !strings.Contains(have, rejected) {
		t.Errorf("audit: %s, want the verdict", have)
	}
}

// With --prefer-builtin nothing is pulled that a built-in stands for, also where
// verification.yml wants signatures: the registry of this test does not exist.
func TestServePrefersBuiltinsWhenItIsTold(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // there is no way out
	verification := filepath.Join(t.TempDir(), "verification.yml")
	writeFile(t, verification, "apiVersion: v1\nallOf: [{kind: githubAction, owner: acme}]\n")
	const policies = `
alone: {module: "registry://ghcr.io/kubewarden/policies/pod-privileged:v1.0.10"}
group:
  expression: member()
  message: not in this cluster
  policies:
    member: {module: "ghcr.io/kubewarden/policies/pod-privileged:v1.0.10"}
`
	s := startServe(t, policies, "--prefer-builtin", "--verification-path", verification, "--policies-download-dir", t.TempDir())
	for path, want := range map[string]string{"/validate/alone": rejected, "/validate/group": "not in this cluster"} {
		if have := s.ask(path); !strings.Contains(have, want) {
			t.Errorf("POST %s = %s, want %s", path, have, want)
		}
	}
	for path, want := range map[string]string{
		"/policies":          `"module":"registry://ghcr.io/kubewarden/policies/pod-privileged:v1.0.10","builtin":"pod-privileged"`,
		"/readiness?verbose": "alone: loaded, by builtin://pod-privileged",
	} {
		if have := s.get(path); !strings.Contains(have, want) {
			t.Errorf("GET %s = %s, want %s", path, have, want)
		}
	}
	if s.log.count("policy loaded", "policy=alone", "builtin=pod-privileged") != 1 || s.log.count("need no signature") != 1 {
		t.Errorf("the log does not say what answers, or why nothing is verified:\n%s", s.log)
	}
}
