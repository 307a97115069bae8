package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	goruntime "runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/admission"
	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/runtime"
)

// serverEnv makes the program the server that the rows are measured with: the
// product's handler, beside the one that it is compared with. Its value is a
// serverConfig as JSON.
const serverEnv = "WARDER_BENCH_SERVER"

// serverConfig says what a server process serves.
type serverConfig struct {
	Policies  string // the file policies.yml
	CacheDir  string // of compiled code; "" for none
	Isolation runtime.Isolation
	CertFile  string
	KeyFile   string
}

// serverAddresses is the line that a server process writes to standard output
// once it listens.
type serverAddresses struct {
	API, Control string // host:port
}

// serverMain serves until standard input ends, so that no server is left when
// bench is gone. It returns the exit code.
func serverMain(config string) int {
	var c serverConfig
	err := json.Unmarshal([]byte(config), &c)
	if err == nil {
		err = c.serve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench server:", err)
		return 1
	}
	return 0
}

func (c serverConfig) serve() error {
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	eng, err := engine.New(engine.Options{
		Isolation: c.Isolation,
		Metrics:   registry,
		Guests:    runtime.Options{CacheDir: c.CacheDir},
	})
	if err != nil {
		return err
	}
	handler, err := admission.New(admission.Options{Engine: eng, Metrics: registry})
	if err != nil {
		return err
	}
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	broken := make(chan error, 2)
	go func() { broken <- newServer(allowAllOr{handler}, pair).ServeTLS(api, "", "") }()
	go func() { broken <- newServer(controlMux(), pair).Serve(control) }()
	if err := json.NewEncoder(os.Stdout).Encode(serverAddresses{api.Addr().String(), control.Addr().String()}); err != nil {
		return err
	}
	if err := c.load(eng); err != nil {
		return err
	}
	handler.SetReady()
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		broken <- err // nil at the end
	}()
	return <-broken
}

// load loads the policies as "warder serve" does.
func (c serverConfig) load(eng *engine.Engine) error {
	text, err := os.ReadFile(c.Policies)
	if err != nil {
		return err
	}
	policies, warnings, err := policy.ParseFile(c.Policies, text)
	if err != nil {
		return err
	}
	if len(warnings) > 0 {
		return errors.New(warnings[0].String())
	}
	return eng.Apply(context.Background(), policies)
}

// newServer returns a server with the bounds of admission.Serve, for what is
// measured and for what it is compared with.
func newServer(h http.Handler, pair tls.Certificate) *http.Server {
	return &http.Server{
		Handler:           h,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{pair}},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       3 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

// allowAllPath is the path of the row allow-all.
const allowAllPath = "/allow-all"

// allowAllOr is what warder is compared with: a handler that decodes the review
// and does nothing else with it. All other paths are warder's.
type allowAllOr struct{ warder http.Handler }

// ServeHTTP answers one review.
func (h allowAllOr) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != allowAllPath {
		h.warder.ServeHTTP(w, r)
		return
	}
	if r.ContentLength < 0 {
		http.Error(w, "no length", http.StatusLengthRequired)
		return
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	rev, err := review.Decode(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	answer := rev.AppendAnswer(nil, review.Response{UID: rev.Request.UID, Allowed: true})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer) // the client is gone: it fails there
}

// usage is what a server has used since it started.
type usage struct {
	Mallocs    uint64        // objects allocated
	TotalAlloc uint64        // bytes allocated
	CPU        time.Duration // of all threads, in the kernel too
}

// controlMux tells the parent what the server uses, in plain HTTP and apart
// from what is measured.
func controlMux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/usage", func(w http.ResponseWriter, _ *http.Request) {
		u, err := currentUsage()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(u) // the parent is gone
	})
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	return mux
}

func currentUsage() (usage, error) {
	var mem goruntime.MemStats
	goruntime.ReadMemStats(&mem)
	var cpu syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &cpu); err != nil {
		return usage{}, fmt.Errorf("getrusage: %w", err)
	}
	return usage{
		Mallocs: mem.Mallocs, TotalAlloc: mem.TotalAlloc,
		CPU: time.Duration(cpu.Utime.Nano() + cpu.Stime.Nano()),
	}, nil
}
