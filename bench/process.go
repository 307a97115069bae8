package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/warder-dev/warder/runtime"
)

// protocol is what a client speaks over TLS.
type protocol string

// HTTP/2 has one connection for all requests; HTTP/1.1 has one for each request
// at a time, and keeps them.
const (
	http1 protocol = "h1"
	http2 protocol = "h2"
)

func (p protocol) major() int {
	if p == http1 {
		return 1
	}
	return 2
}

// process is a server in a process of its own, and the client that asks it.
type process struct {
	serverAddresses
	cmd     *exec.Cmd
	end     func() error // makes the server end
	wait    func() error // until it has
	output  bytes.Buffer // what it says to people; to be read when it has ended
	started time.Time
	client  *http.Client
	major   int
}

// startServer starts this program as a server. It listens when this returns,
// but may not have its policies yet. The error has what the process said.
func (b *bench) startServer(ctx context.Context, config serverConfig) (*process, error) {
	config.CertFile, config.KeyFile = b.certFile, b.keyFile
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := b.newProcess(exec.CommandContext(ctx, self))
	p.cmd.Env = append(os.Environ(), serverEnv+"="+string(text))
	p.cmd.Stderr = &p.output
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.end, p.wait = stdin.Close, p.cmd.Wait
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &p.serverAddresses)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("server: address: %w", err), p.stop())
	}
	return p, nil
}

// startWarder is startServer for the program that users start. It says where it
// listens in its log.
func (b *bench) startWarder(ctx context.Context, config serverConfig) (*process, error) {
	p := b.newProcess(exec.CommandContext(ctx, b.warder, "serve", "--policies", config.Policies,
		"--compilation-cache-dir", config.CacheDir, "--isolation", string(config.Isolation), "--continue-on-errors=false",
		"--addr=127.0.0.1", "--port=0", "--readiness-probe-port=0", "--log-fmt=json", "--cert-file", b.certFile, "--key-file", b.keyFile))
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // KUBEWARDEN_… would be flags
	log, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	p.end = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	serving := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.readLog(log, serving)
	}()
	p.wait = func() error {
		<-read // all of it: Wait closes the pipe
		return p.cmd.Wait()
	}
	select {
	case p.API = <-serving:
		return p, nil
	case <-read:
		return nil, errors.Join(errors.New("warder: it ended before it served"), p.stop())
	}
}

// readLog keeps the log, and sends the address of the API when it says it.
func (p *process) readLog(log io.Reader, serving chan<- string) {
	lines := bufio.NewReader(log)
	for {
		text, err := lines.ReadBytes('\n')
		p.output.Write(text)
		var line struct{ Msg, API string }
		if json.Unmarshal(text, &line) == nil && line.Msg == "serving" {
			serving <- line.API
		}
		if err != nil {
			return
		}
	}
}

func (b *bench) newProcess(cmd *exec.Cmd) *process {
	return &process{cmd: cmd, started: time.Now(), client: b.newClient(), major: b.opts.protocol.major()}
}

// newClient returns a client that does as little as a client can.
func (b *bench) newClient() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(b.opts.protocol == http1)
	protocols.SetHTTP2(b.opts.protocol == http2)
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: b.roots, MinVersion: tls.VersionTLS12},
		Protocols:           protocols,
		MaxConnsPerHost:     maxConcurrency,
		MaxIdleConnsPerHost: maxConcurrency,
		DisableCompression:  true,
	}}
}

// stop ends the server and waits for it. The error has what it said.
func (p *process) stop() error {
	p.client.CloseIdleConnections()
	_ = p.end() // it may be gone already, and wait says why
	if err := p.wait(); err != nil {
		return fmt.Errorf("server: %w\n%s", err, p.output.Bytes())
	}
	return nil
}

// residentBytes returns VmRSS, which Linux alone tells.
func (p *process) residentBytes() (int64, error) {
	name := fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s: no VmRSS", name)
}

// pollEvery is how often a server that starts is asked whether it is ready:
// seldom enough not to slow it down.
const pollEvery = 2 * time.Millisecond

// waitReady waits until the server says that it has its policies.
func (p *process) waitReady(ctx context.Context) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		status, err := p.readiness(ctx)
		if err != nil {
			return errors.Join(fmt.Errorf("readiness: %w", err), p.stop())
		}
		if status == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

func (p *process) readiness(ctx context.Context) (int, error) {
	_, status, err := get(ctx, p.client, "https://"+p.API+"/readiness")
	return status, err
}

// checkIsolation makes sure that the policies in WebAssembly are run the way
// that the rows are named for: a module may fall back to new instances.
func (p *process) checkIsolation(ctx context.Context, want runtime.Isolation) error {
	text, _, err := get(ctx, p.client, "https://"+p.API+"/policies")
	if err != nil {
		return err
	}
	var policies []struct{ ID, Isolation string }
	if err := json.Unmarshal(text, &policies); err != nil {
		return fmt.Errorf("/policies: %w", err)
	}
	for _, have := range policies {
		mode, _, _ := strings.Cut(have.Isolation, " ") // the reason follows
		if mode != "" && mode != string(want) {
			return fmt.Errorf("policy %q: isolation is %s, want %s", have.ID, have.Isolation, want)
		}
	}
	return nil
}

// get gets a page, whatever its status is.
func get(ctx context.Context, client *http.Client, url string) (text []byte, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	return text, resp.StatusCode, err
}

// usage asks the server what it has used.
func (p *process) usage(ctx context.Context) (usage, error) {
	var u usage
	text, err := p.control(ctx, "/usage")
	if err == nil {
		err = json.Unmarshal(text, &u)
	}
	if err != nil {
		return u, fmt.Errorf("server: usage: %w", err)
	}
	return u, nil
}

// control gets a page of the server's control listener.
func (p *process) control(ctx context.Context, path string) ([]byte, error) {
	text, status, err := get(ctx, http.DefaultClient, "http://"+p.Control+path)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%d: %s", status, text)
	}
	return text, err
}
