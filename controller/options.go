package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/warder-dev/warder/manifest"
	"github.com/warder-dev/warder/policy"
)

// Options are what a controller is told. Namespace, Log and what Manifest says of
// the image are all that most need.
type Options struct {
	// Manifest is what all policy servers have in common. Its Namespace is where
	// the controller keeps its certificates and its lease, too.
	Manifest manifest.Options

	// WebhookService is the Service that leads to the webhooks of the controller.
	// Default manifest.WebhookService.
	WebhookService string

	// WebhookURL is where the API server reaches the webhooks of the controller
	// when that is not in the cluster.
	WebhookURL string

	// WebhookPort is where the webhooks listen. Default 9443; below zero they do
	// not.
	WebhookPort int

	// WebhookHost is the address on which they listen. Default: all.
	WebhookHost string

	// Probes and Metrics are the host:port on which the controller answers
	// health probes and shows metrics. Default: nowhere.
	Probes, Metrics string

	// WithoutElection makes the controller act without being the leader. Two
	// such controllers fight.
	WithoutElection bool

	// Lease is within what time of its last word another controller takes over
	// from a leader that was killed. Default 15 s.
	Lease time.Duration

	// Settings lets modules check their settings when a policy is applied.
	// Default: they are not asked.
	Settings func(context.Context, policy.Policy) error

	Log *slog.Logger
}

// Validate reports everything that cannot work.
func (o Options) Validate() error {
	var errs []error
	for name, text := range o.Manifest.URLs {
		if err := validURL(text); err != nil {
			errs = append(errs, fmt.Errorf("policy server URL: %s: %w", name, err))
		}
	}
	if o.WebhookURL != "" {
		if err := validURL(o.WebhookURL); err != nil {
			errs = append(errs, fmt.Errorf("webhook URL: %w", err))
		}
	}
	if o.Lease != 0 && o.Lease < 3*time.Second {
		errs = append(errs, fmt.Errorf("lease: %s is below 3s", o.Lease))
	}
	if o.Manifest.HostNetwork && o.Manifest.Telemetry.Sidecar {
		errs = append(errs, errors.New("host network and the OpenTelemetry sidecar exclude each other"))
	}
	return errors.Join(errs...)
}

func validURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return err
	case u.Scheme != "https" || u.Hostname() == "":
		return fmt.Errorf("%q: want https://HOST[:PORT]", text)
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.Manifest.Namespace == "" {
		o.Manifest.Namespace = manifest.DefaultNamespace
	}
	if o.WebhookService == "" {
		o.WebhookService = manifest.WebhookService
	}
	if o.WebhookPort == 0 {
		o.WebhookPort = 9443
	}
	if o.Probes == "" {
		o.Probes = "0"
	}
	if o.Metrics == "" {
		o.Metrics = "0"
	}
	if o.Lease == 0 {
		o.Lease = 15 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// hosts are the name under which the API server calls a Service of the
// namespace, and the host of the URL if there is one.
func (o Options) hosts(service, to string) []string {
	all := []string{service + "." + o.Manifest.Namespace + ".svc"}
	if u, err := url.Parse(to); err == nil && u.Hostname() != "" {
		all = append(all, u.Hostname())
	}
	return all
}
