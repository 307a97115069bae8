package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/sdk"
)

// Exit statuses of run, whose exit status is the verdict.
const (
	exitRejected = 1
	exitUnjudged = 2
)

// statusError ends the program with a status of its own; nothing is said when
// there is no error in it.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

// runFlags are those of run, which has the names of kwctl's.
type runFlags struct {
	request      string
	settingsPath string
	settingsJSON string
	mode         string
	raw          bool
	contextAware bool
	grants       []string
	record       string
	replay       string
	noCache      bool
	verbose      bool
	output       string
	timeout      time.Duration
	sources      sourcesConfig
	verification verificationFlags
}

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run POLICY --request FILE",
		Short: "Judge a request by a policy, without a server",
		Long: `run asks a policy about one request, and says what it answers. The exit status is
the verdict: 0 is allowed, 1 rejected, 2 not judged.

POLICY is builtin://NAME, the path of a module, the first digits of the sha256 of a
policy in the store, a reference as pull takes it, or a .yaml file with policies as
custom resources: each is asked, with its own settings, and the worst verdict
counts. What would keep them from being asked (rules, selectors, match conditions,
the mode) does not count.

The request is an AdmissionReview, an AdmissionRequest or an object, which is taken
to be created; JSON or YAML, "-" is the standard input.`,
		Example: `  warder run builtin://pod-security --settings-json '{"level": "restricted"}' --request pod.yaml
  warder run policy.wasm -s settings.yml -r review.json -o json
  warder run policies.yaml -r deployment.yaml
  warder run ghcr.io/kubewarden/policies/unique-ingress-policy:v1.0.0 -r ingress.yaml \
    --allow-context-aware --record-host-capabilities-interactions session.yml`,
		Args: wants("POLICY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			rejected, err := f.run(cmd, args[0])
			switch {
			case err != nil:
				return &statusError{exitUnjudged, err}
			case rejected:
				return &statusError{exitRejected, nil}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&f.request, "request-path", "r", "", `file of the request; "-" is the standard input`)
	flags.StringVar(&f.request, "request", "", "the same as --request-path")
	flags.StringVarP(&f.settingsPath, "settings-path", "s", "", "file of the settings, YAML or JSON")
	flags.StringVar(&f.settingsJSON, "settings-json", "", "the settings themselves, JSON")
	flags.StringVarP(&f.output, "output", "o", "", "json: the answer as the API server would get it, a line for each policy")
	flags.BoolVar(&f.raw, "raw", false, "the request is any JSON, for a policy that judges such")
	flags.StringVarP(&f.mode, "execution-mode", "e", "", "opa, gatekeeper, kubewarden or wasi, for a module that does not say it")
	flags.BoolVar(&f.contextAware, "allow-context-aware", false, "let the policy read the objects of the cluster that it names")
	flags.StringSliceVar(&f.grants, "allowed-host-capabilities", []string{"*"}, "what the policy may ask of the host")
	flags.StringVar(&f.record, "record-host-capabilities-interactions", "", "write to this file what the policy asks of the host and is told")
	flags.StringVar(&f.replay, "replay-host-capabilities-interactions", "", "answer the policy from such a file, and ask nobody")
	flags.BoolVar(&f.noCache, "disable-wasmtime-cache", false, "compile the module anew; the name is kwctl's")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long one policy may take")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "say on stderr what happens, and what policies log")
	f.sources.addFlags(flags)
	f.verification.addFlags(flags)
	return cmd
}

// check reports flags that do not go together.
func (f *runFlags) check(what string) error {
	resources := isResources(what)
	switch {
	case f.request == "":
		return errors.New("--request: say which file has the request")
	case f.settingsPath != "" && f.settingsJSON != "":
		return errors.New("--settings-path and --settings-json do not go together")
	case f.record != "" && f.replay != "":
		return errors.New("--record-host-capabilities-interactions and --replay-host-capabilities-interactions do not go together")
	case resources && (f.settingsPath != "" || f.settingsJSON != ""):
		return fmt.Errorf("%s: custom resources have their own settings: leave --settings-path and --settings-json out", what)
	case resources && f.raw:
		return fmt.Errorf("%s: custom resources are about objects of Kubernetes: leave --raw out", what)
	case f.output != "" && f.output != "json":
		return fmt.Errorf("--output %q: want json", f.output)
	case f.timeout <= 0:
		return fmt.Errorf("--timeout: want more than %s", f.timeout)
	}
	_, err := f.executionMode()
	return err
}

// executionMode is --execution-mode as metadata say it.
func (f *runFlags) executionMode() (artifact.ExecutionMode, error) {
	switch f.mode {
	case "":
		return "", nil
	case "kubewarden", string(artifact.WaPC):
		return artifact.WaPC, nil
	case string(artifact.OPA), string(artifact.Gatekeeper), string(artifact.WASI):
		return artifact.ExecutionMode(f.mode), nil
	}
	return "", fmt.Errorf("--execution-mode %q: want opa, gatekeeper, kubewarden or wasi", f.mode)
}

// run asks every policy, and says whether one has rejected. The error is that
// something could not be judged.
func (f *runFlags) run(cmd *cobra.Command, what string) (rejected bool, err error) {
	if err := f.check(what); err != nil {
		return false, err
	}
	req, err := f.readRequest(cmd.InOrStdin())
	if err != nil {
		return false, err
	}
	policies, err := f.policies(cmd, what)
	if err != nil {
		return false, err
	}
	session, err := f.session()
	if err != nil {
		return false, err
	}
	eng, done, err := f.engine(cmd, session)
	if err != nil {
		return false, err
	}
	rejected, err = f.judge(cmd, eng, judged{policies, req})
	return rejected, errors.Join(err, done(), f.endSession(cmd, session))
}

// judged is who is asked, and about what.
type judged struct {
	policies []policy.Policy
	req      *sdk.Request
}

func (f *runFlags) judge(cmd *cobra.Command, eng *engine.Engine, j judged) (rejected bool, err error) {
	a := answers{out: cmd.OutOrStdout(), json: f.output == "json", several: len(j.policies) > 1}
	var errs []error
	for _, p := range j.policies {
		d, err := f.ask(cmd.Context(), eng, p, j.req)
		if err == nil {
			err = d.Err
			if err == nil || a.json {
				a.print(p, d)
			}
		}
		switch {
		case err == nil:
			rejected = rejected || !d.Response.Allowed
		case a.several:
			errs = append(errs, fmt.Errorf("%s: %w", p.ID, plainly(err)))
		default:
			errs = append(errs, plainly(err))
		}
	}
	return rejected, errors.Join(errs...)
}

// plainly is why there was no verdict, without the name of the policy.
func plainly(err error) error {
	var load *engine.LoadError
	var settings *runtime.SettingsError
	var evaluation *engine.EvaluationError
	switch {
	case errors.As(err, &settings):
		return fmt.Errorf("Provided settings are not valid: %s", settings.Message) //nolint:staticcheck // upstream's text
	case errors.As(err, &load):
		return hint(load.Err)
	case errors.As(err, &evaluation):
		return fmt.Errorf("no verdict: %w", evaluation.Err)
	}
	return err
}

// log is where the engine says what happens. What matters is in the answer.
func (f *runFlags) log(cmd *cobra.Command) *slog.Logger {
	if !f.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// ask loads one policy and asks it.
func (f *runFlags) ask(ctx context.Context, eng *engine.Engine, p policy.Policy, req *sdk.Request) (engine.Decision, error) {
	if err := eng.Load(ctx, p); err != nil {
		return engine.Decision{}, err
	}
	return eng.Evaluate(ctx, p.ID, req)
}

// engine makes an engine for the policies, and returns what ends it.
func (f *runFlags) engine(cmd *cobra.Command, session *capability.Session) (*engine.Engine, func() error, error) {
	mode, err := f.executionMode()
	if err != nil {
		return nil, nil, err
	}
	puller, err := newPuller(cmd, &f.sources, &f.verification)
	if err != nil {
		return nil, nil, err
	}
	opts := engine.Options{
		Fetch: func(ctx context.Context, uri string) (engine.Fetched, error) {
			wasm, err := moduleAt(ctx, puller, strings.TrimPrefix(uri, "file://"))
			return engine.Fetched{Wasm: wasm}, err
		},
		Timeout: f.timeout, Mode: mode, Log: f.log(cmd),
	}
	if !f.noCache {
		opts.Guests = runtime.Options{CacheDir: (&serveConfig{}).cacheDir(opts.Log)}
	}
	switch {
	case f.replay != "":
		opts.Replay = session
	case f.record != "":
		opts.Record = session
	}
	if f.replay == "" {
		if opts.Services, err = f.services(cmd); err != nil {
			return nil, nil, err
		}
	}
	end := func() {
		if opts.Services.Cluster != nil {
			opts.Services.Cluster.Close()
		}
	}
	eng, err := engine.New(opts)
	if err != nil {
		end()
		return nil, nil, err
	}
	return eng, func() error {
		defer end()
		return eng.Close()
	}, nil
}

// services are what policies ask: registries and signatures, and the cluster if
// that is allowed.
func (f *runFlags) services(cmd *cobra.Command) (capability.Services, error) {
	c := &serveConfig{
		sources: f.sources.sources, dockerConfig: f.sources.dockerConfig,
		trustConfig: f.verification.trustConfig, trustDigest: f.verification.trustDigest,
	}
	if c.sources == "" {
		c.sources = defaultSources()
	}
	o, err := newOrigin(c, f.log(cmd))
	if err != nil {
		return capability.Services{}, err
	}
	if f.contextAware {
		return o.services(nil)
	}
	return capability.Services{Images: o, Signatures: o, Cache: capability.NewCache()}, nil
}

// session is what is recorded to or replayed from, nil for neither.
func (f *runFlags) session() (*capability.Session, error) {
	switch {
	case f.record != "":
		return &capability.Session{}, nil
	case f.replay == "":
		return nil, nil
	}
	text, err := os.ReadFile(f.replay)
	if err != nil {
		return nil, err
	}
	session, err := capability.ParseSession(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.replay, err)
	}
	return session, nil
}

// endSession writes what was recorded, or says what was not asked for.
func (f *runFlags) endSession(cmd *cobra.Command, session *capability.Session) error {
	switch {
	case f.record != "":
		text, err := session.Encode()
		if err != nil {
			return err
		}
		return os.WriteFile(f.record, text, 0o644) //nolint:gosec // what its owner's policies have asked, to be committed as a test
	case f.replay != "":
		for _, question := range session.Unplayed() {
			speech(cmd).Warn("recorded and not asked for", "question", question)
		}
	}
	return nil
}
