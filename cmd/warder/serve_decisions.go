package main

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/warder-dev/warder/admission"
)

// decisionsConfig is what serve was asked to keep of decisions.
type decisionsConfig struct {
	file     string
	accepted float64
	redact   []string
}

func (c *decisionsConfig) addFlags(f *pflag.FlagSet) {
	f.StringVar(&c.file, "decision-log", "", "file that decisions are appended to, one JSON object a line; - is standard output ($WARDER_DECISION_LOG; default: no log)")
	f.Float64Var(&c.accepted, "decision-log-accepted", 0,
		"share of the accepted requests, 0 to 1, that are in the log; what is refused, changed or not judged always is ($WARDER_DECISION_LOG_ACCEPTED)")
	f.StringSliceVar(&c.redact, "decision-log-redact", nil,
		"fields that are left out: "+strings.Join(admission.Redactable(), ", ")+" ($WARDER_DECISION_LOG_REDACT)")
}

// open starts the log, nil when none is wanted. What it returns besides ends it.
func (c *decisionsConfig) open(stdout io.Writer, metrics prometheus.Registerer) (*admission.DecisionLog, func() error, error) {
	opts := admission.DecisionLogOptions{To: stdout, Accepted: c.accepted, Redact: c.redact, Metrics: metrics}
	closeFile := func() error { return nil }
	switch c.file {
	case "":
		if c.accepted != 0 || len(c.redact) > 0 {
			return nil, nil, usagef("--decision-log-accepted and --decision-log-redact: want --decision-log too")
		}
		return nil, closeFile, nil
	case "-":
	default:
		f, err := os.OpenFile(c.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, nil, err
		}
		opts.To, closeFile = f, f.Close
	}
	log, err := admission.NewDecisionLog(opts)
	if err != nil {
		return nil, nil, errors.Join(usagef("%w", err), closeFile())
	}
	return log, func() error { return errors.Join(log.Close(), closeFile()) }, nil
}
