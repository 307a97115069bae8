package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	_ "embed" // the demo's files
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warder-dev/warder/admission"
	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime"
)

//go:generate sh demo/build.sh

// The demo's policies, its requests with the verdicts that are expected, and
// the WebAssembly policy, which is examples/teamlabel compiled.
var (
	//go:embed demo/policies.yml
	demoPolicies []byte
	//go:embed demo/reviews.json
	demoReviews []byte
	//go:embed demo/teamlabel.wasm.gz
	demoModule []byte
)

func newDemo() *cobra.Command {
	var d demo
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show warder at work, without a cluster",
		Long: `demo starts a policy server on a loopback port, with built-in policies and one
in WebAssembly, sends it the requests that an API server would send, and shows
what became of them. Then it stays up, so that you can send one of your own.

It needs nothing and leaves nothing behind but compiled code in your cache folder.`,
		Example: `  warder demo
  warder demo --once`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.isolation != string(runtime.Snapshot) && d.isolation != string(runtime.Fresh) {
				return usagef("--isolation %q: want snapshot or fresh", d.isolation)
			}
			d.out = cmd.OutOrStdout()
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&d.once, "once", false, "exit afterwards, with status 1 if any verdict was not the expected one")
	cmd.Flags().IntVar(&d.port, "port", 0, "loopback port to serve on (default: a free one)")
	cmd.Flags().StringVar(&d.isolation, "isolation", "snapshot", "snapshot, or fresh: a new WebAssembly instance for every request")
	return cmd
}

// demo is one run of the demo.
type demo struct {
	once      bool
	port      int
	isolation string
	out       io.Writer

	dir    string // of its own, removed afterwards
	url    string
	client *http.Client
}

// demoReview is one request of the demo and what should become of it.
type demoReview struct {
	Name      string          `json:"name"`
	Policy    string          `json:"policy"` // a policy or a bundle
	Operation string          `json:"operation"`
	Want      string          `json:"want"` // allowed, changed or denied
	Says      []string        `json:"says"` // what the reason or the patch contains
	Note      string          `json:"note"`
	Object    json.RawMessage `json:"object"`
}

func (d *demo) run(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "warder-demo-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
	eng, bundles, err := d.load(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, eng.Close()) }()
	handler, err := admission.New(admission.Options{Engine: eng})
	if err != nil {
		return err
	}
	handler.SetReady()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	started, ended := make(chan admission.Addresses, 1), make(chan error, 1)
	go func() {
		ended <- admission.Serve(ctx, admission.ServerOptions{
			Handler: handler, Listen: fmt.Sprintf("127.0.0.1:%d", d.port),
			Started: func(a admission.Addresses) { started <- a },
		})
	}()
	select {
	case err := <-ended:
		return err
	case a := <-started:
		d.url = "https://" + a.API.String()
	}
	if err := d.show(ctx, demoReviews, bundles); err != nil {
		stop()
		return errors.Join(err, <-ended)
	}
	if d.once {
		stop()
	}
	return <-ended
}

// load compiles the demo's policies and returns the names of their bundles.
func (d *demo) load(ctx context.Context) (*engine.Engine, map[string]bool, error) {
	module := filepath.Join(d.dir, "teamlabel.wasm")
	if err := unpack(module); err != nil {
		return nil, nil, err
	}
	text := bytes.ReplaceAll(demoPolicies, []byte("file://TEAMLABEL"), []byte("file://"+module))
	policies, _, err := policy.ParseFile("policies.yml", text)
	if err != nil {
		return nil, nil, err
	}
	cache, err := userCache()
	if err != nil {
		cache = "" // then nothing is kept
	}
	eng, err := engine.New(engine.Options{
		Isolation: runtime.Isolation(d.isolation),
		Guests:    runtime.Options{CacheDir: cache},
		Timeout:   10 * time.Second, // it is to show verdicts, on whatever machine
	})
	if err != nil {
		return nil, nil, err
	}
	start := time.Now()
	_, _ = fmt.Fprintf(d.out, "warder %s: loading %d policies, one of them WebAssembly (compiled once, then kept) … ", version(), len(policies))
	if err := eng.Apply(ctx, policies); err != nil {
		return nil, nil, errors.Join(err, eng.Close())
	}
	_, _ = fmt.Fprintf(d.out, "%s\n\n", time.Since(start).Round(time.Millisecond))
	bundles := map[string]bool{}
	for _, p := range policies {
		for _, name := range p.Bundles {
			bundles[name] = true
		}
	}
	return eng, bundles, nil
}

func unpack(to string) error {
	z, err := gzip.NewReader(bytes.NewReader(demoModule))
	if err != nil {
		return fmt.Errorf("demo module: %w", err)
	}
	wasm, err := io.ReadAll(z)
	if err != nil {
		return fmt.Errorf("demo module: %w", err)
	}
	return os.WriteFile(to, wasm, 0o600)
}

// show sends the requests, prints what became of them, and says how to go on.
func (d *demo) show(ctx context.Context, text []byte, bundles map[string]bool) error {
	var reviews []demoReview
	if err := json.Unmarshal(text, &reviews); err != nil {
		return fmt.Errorf("demo reviews: %w", err)
	}
	d.client = &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		// The server has made its certificate a moment ago, and it is this process.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
	}}
	defer d.client.CloseIdleConnections()
	if err := d.warm(ctx); err != nil {
		return err
	}
	t := newTable(d.out)
	t.header()
	wrong := 0
	for _, r := range reviews {
		route := "validate"
		if bundles[r.Policy] {
			route = "review"
		}
		got, err := d.send(ctx, route, r)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		problem := r.problem(got)
		if problem != "" {
			wrong++
		}
		t.row(r, got, problem)
	}
	t.footer(len(reviews), wrong)
	if wrong > 0 && d.once {
		return fmt.Errorf("%d of %d verdicts were not the expected ones", wrong, len(reviews))
	}
	if !d.once {
		d.invite()
	}
	return nil
}

// warm makes the connection, so that no request shows the time of a handshake.
func (d *demo) warm(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/readiness", nil)
	if err != nil {
		return err
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// demoAnswer is what became of a request.
type demoAnswer struct {
	verdict  string // allowed, changed or denied
	reason   string
	patch    []demoOperation
	warnings []string
	took     time.Duration
}

type demoOperation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

// send posts the review and keeps it as a file for a try of one's own.
func (d *demo) send(ctx context.Context, route string, r demoReview) (demoAnswer, error) {
	body, err := r.review()
	if err != nil {
		return demoAnswer{}, err
	}
	if err := os.WriteFile(filepath.Join(d.dir, r.Name+".json"), body, 0o600); err != nil {
		return demoAnswer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+"/"+route+"/"+r.Policy+"?timeout=10s", bytes.NewReader(body))
	if err != nil {
		return demoAnswer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	start := time.Now()
	resp, err := d.client.Do(req)
	if err != nil {
		return demoAnswer{}, err
	}
	defer func() { _ = resp.Body.Close() }() // it is read to its end
	answer, err := io.ReadAll(resp.Body)
	took := time.Since(start)
	if err != nil {
		return demoAnswer{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return demoAnswer{}, fmt.Errorf("HTTP %d: %s", resp.StatusCode, answer)
	}
	got, err := readAnswer(answer)
	got.took = took
	return got, err
}

func readAnswer(text []byte) (demoAnswer, error) {
	var review struct {
		Response struct {
			Allowed  bool                      `json:"allowed"`
			Patch    string                    `json:"patch"`
			Status   *struct{ Message string } `json:"status"`
			Warnings []string                  `json:"warnings"`
		} `json:"response"`
	}
	if err := json.Unmarshal(text, &review); err != nil {
		return demoAnswer{}, fmt.Errorf("answer: %w", err)
	}
	got := demoAnswer{verdict: "denied", warnings: review.Response.Warnings}
	if review.Response.Status != nil {
		got.reason = review.Response.Status.Message
	}
	if review.Response.Allowed {
		got.verdict = "allowed"
	}
	if review.Response.Patch == "" {
		return got, nil
	}
	patch, err := base64.StdEncoding.DecodeString(review.Response.Patch)
	if err != nil {
		return got, fmt.Errorf("patch: %w", err)
	}
	if err := json.Unmarshal(patch, &got.patch); err != nil {
		return got, fmt.Errorf("patch: %w", err)
	}
	got.verdict = "changed"
	return got, nil
}

// problem says why an answer is not the expected one, "" if it is.
func (r demoReview) problem(got demoAnswer) string {
	if got.verdict != r.Want {
		return "expected " + r.Want
	}
	all := got.reason
	for _, op := range got.patch {
		all += " " + op.Op + " " + op.Path + " " + string(op.Value)
	}
	for _, text := range r.Says {
		if !strings.Contains(all, text) {
			return fmt.Sprintf("expected it to say %q", text)
		}
	}
	return ""
}
