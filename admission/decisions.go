package admission

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/engine"
)

// DecisionLogOptions say what a decision log keeps.
type DecisionLogOptions struct {
	// To gets the log: a JSON object a line. It is required.
	To io.Writer
	// Accepted is the share of requests, 0 to 1, of which judgements are kept that
	// changed nothing and found nothing. The judgements of one request are kept
	// together, by the request's UID. What was refused, changed or not judged, and
	// what a policy in monitor mode would have refused, is always kept. Default 0.
	Accepted float64
	// Redact are fields that are left out: see Redactable. An object is never in
	// the log, and what is said of a Secret neither.
	Redact []string
	// Metrics is where the log registers its metrics. Default: nowhere.
	Metrics prometheus.Registerer
}

// Redactable are the fields of a decision that may be personal or telling.
func Redactable() []string { return []string{"message", "name", "namespace", "user"} }

// queueLength bounds the decisions that wait to be written: at 500 bytes each
// they take 4 MiB.
const queueLength = 8192

// maxLogged bounds the text of a field, in bytes.
const maxLogged = 1024

// Why a decision is lost.
const (
	lostInQueue   = "queue"
	lostInWriting = "write"
)

// DecisionLog writes what policies decide, without holding up an answer. It is
// safe for concurrent use. Make it with NewDecisionLog.
type DecisionLog struct {
	accepted uint64 // of 1<<32
	redact   map[string]bool
	queue    chan decisionRecord
	to       io.Writer
	written  prometheus.Counter
	dropped  *prometheus.CounterVec
	once     sync.Once
	ended    chan struct{}
	mu       sync.RWMutex // held to send to queue, and by Close alone
	closed   bool
	err      error
}

// NewDecisionLog starts a log. The error says which option cannot work.
func NewDecisionLog(opts DecisionLogOptions) (*DecisionLog, error) {
	var errs []error
	if opts.To == nil {
		errs = append(errs, errors.New("nowhere to write to"))
	}
	if !(opts.Accepted >= 0 && opts.Accepted <= 1) { // NaN is neither
		errs = append(errs, fmt.Errorf("a share of accepted requests of %v; want 0 to 1", opts.Accepted))
	}
	l := &DecisionLog{
		accepted: uint64(opts.Accepted * (1 << 32)), redact: map[string]bool{}, to: opts.To,
		queue: make(chan decisionRecord, queueLength), ended: make(chan struct{}),
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "warder_decisions_logged_total",
			Help: "Decisions written to the decision log.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warder_decisions_dropped_total",
			Help: "Decisions that the decision log lost, by reason: queue (it was written too slowly), write (writing failed).",
		}, []string{"reason"}),
	}
	for _, name := range opts.Redact {
		if !slices.Contains(Redactable(), name) {
			errs = append(errs, fmt.Errorf("%q cannot be left out; there are %s", name, strings.Join(Redactable(), ", ")))
		}
		l.redact[name] = true
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("decision log: %w", err)
	}
	if opts.Metrics != nil {
		if err := errors.Join(opts.Metrics.Register(l.written), opts.Metrics.Register(l.dropped)); err != nil {
			return nil, fmt.Errorf("decision log: metrics: %w", err)
		}
	}
	for _, reason := range []string{lostInQueue, lostInWriting} {
		l.dropped.WithLabelValues(reason) // a counter that is 0 is there
	}
	go l.write()
	return l, nil
}

// decisionRecord is a line of the log.
type decisionRecord struct {
	Time        time.Time `json:"time"`
	Policy      string    `json:"policy"`
	Bundle      string    `json:"bundle,omitempty"`
	Mode        string    `json:"mode,omitempty"`
	Outcome     string    `json:"outcome"`
	Allowed     bool      `json:"allowed"`
	Message     string    `json:"message,omitempty"`
	Code        int       `json:"code,omitempty"`
	Took        float64   `json:"took_ms"`
	Request     string    `json:"request"`
	Operation   string    `json:"operation,omitempty"`
	APIVersion  string    `json:"apiVersion,omitempty"`
	Kind        string    `json:"kind,omitempty"`
	Resource    string    `json:"resource,omitempty"`
	SubResource string    `json:"subresource,omitempty"`
	Namespace   string    `json:"namespace,omitempty"`
	Name        string    `json:"name,omitempty"`
	User        string    `json:"user,omitempty"`
	DryRun      bool      `json:"dryRun,omitempty"`
	Template    string    `json:"template,omitempty"`
}

// The outcomes of a record: what the policy said, whatever became of it.
const (
	accepted = "accepted"
	mutated  = "mutated"
	rejected = "rejected"
	errored  = "error"
)

// Judged keeps a judgement, if it is to be kept. It is what engine.Options.Judged
// wants, and waits for nothing: when decisions come faster than they are written,
// it counts what is lost.
func (l *DecisionLog) Judged(_ context.Context, j engine.Judgement) {
	outcome := accepted
	switch r := &j.Verdict.Response; {
	case j.Verdict.Err != nil:
		outcome = errored
	case !r.Allowed:
		outcome = rejected
	case r.Patch != nil:
		outcome = mutated
	}
	if outcome == accepted && !l.sampled(j.Request.UID) {
		return
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return
	}
	select {
	case l.queue <- l.record(j, outcome):
	default:
		l.dropped.WithLabelValues(lostInQueue).Inc()
	}
}

// sampled says whether a request is among those that are kept.
func (l *DecisionLog) sampled(uid string) bool {
	if l.accepted == 0 {
		return false
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid)) // a hash takes everything
	// FNV's high bits differ little between short texts that differ at the end:
	// a multiplication brings the low ones there.
	return uint64(h.Sum32()*2654435769) < l.accepted
}

func (l *DecisionLog) record(j engine.Judgement, outcome string) decisionRecord {
	req := j.Request
	out := decisionRecord{
		Time: time.Now().UTC(), Policy: string(j.Policy.ID), Bundle: j.Bundle, Mode: string(j.Policy.Mode), Outcome: outcome,
		Allowed: j.Decision.Response.Allowed, Took: float64(j.Verdict.Took.Microseconds()) / 1000,
		Request: shortened(req.UID), Operation: shortened(string(req.Operation)), Kind: shortened(req.Kind.Kind),
		Resource: shortened(req.Resource.Resource), SubResource: shortened(req.SubResource),
		Namespace: l.kept("namespace", req.Namespace), Name: l.kept("name", req.Name), User: l.kept("user", req.UserInfo.Username),
		Template: j.Verdict.Template, DryRun: req.DryRun != nil && *req.DryRun,
	}
	if out.Kind != "" {
		out.APIVersion = shortened(strings.TrimPrefix(req.Kind.Group+"/"+req.Kind.Version, "/"))
	}
	// What was said to the client comes before what the policy said itself: in
	// monitor mode nothing was said.
	if status := cmp.Or(j.Decision.Response.Status, j.Verdict.Response.Status); status != nil {
		out.Code = status.Code
		if secret := req.Kind.Group == "" && req.Kind.Kind == "Secret"; !secret {
			out.Message = l.kept("message", status.Message)
		}
	}
	return out
}

// kept is the text of a field, "" when the field is left out.
func (l *DecisionLog) kept(field, text string) string {
	if l.redact[field] {
		return ""
	}
	return shortened(text)
}

// shortened is text of at most maxLogged bytes, whose memory is its own:
// what it comes from is as large as a review.
func shortened(text string) string {
	if len(text) > maxLogged {
		end := maxLogged
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end]
	}
	return strings.Clone(text)
}

// write writes what is in the queue until it is closed.
func (l *DecisionLog) write() {
	defer close(l.ended)
	enc := json.NewEncoder(l.to)
	enc.SetEscapeHTML(false)
	for r := range l.queue {
		if err := enc.Encode(r); err != nil {
			l.err = err
			l.dropped.WithLabelValues(lostInWriting).Inc()
			continue
		}
		l.written.Inc()
	}
}

// Close writes what waits and ends the log; judgements after that are lost. The
// error is the last one of the writer.
func (l *DecisionLog) Close() error {
	l.once.Do(func() {
		l.mu.Lock()
		l.closed = true
		close(l.queue)
		l.mu.Unlock()
	})
	<-l.ended
	if l.err != nil {
		return fmt.Errorf("decision log: %w", l.err)
	}
	return nil
}
