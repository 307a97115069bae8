// Package admission answers reviews over HTTPS: it is the policy server's face
// to the API server, and to whoever asks whether the server is well.
//
// A request is judged by POST /validate/{policy}, /audit/{policy} (the verdict
// as the policy gave it), /validate_raw/{policy} (any JSON) and
// /review/{bundle} (every policy of a bundle, one answer). A verdict is always
// HTTP 200; every other answer is {"message": …, "status": …}.
package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
)

// Options are what a Handler is made of.
type Options struct {
	// Engine judges. It is required.
	Engine *engine.Engine

	// Log is where panics and unexpected errors go. Default: nowhere.
	Log *slog.Logger

	// MaxBodyBytes bounds the body of one review. Default 7 MiB.
	MaxBodyBytes int64

	// MaxInFlight bounds the reviews that are read or judged at one time; more
	// are answered with 429 at once. Default 1024.
	MaxInFlight int

	// AlwaysAcceptNamespace is a namespace in which every request is accepted
	// before any policy is asked: the server's own, so that it can always be
	// repaired. Default: none.
	AlwaysAcceptNamespace string

	// Metrics is where the handler registers its metrics, and what /metrics
	// shows. Default: a registry of its own.
	Metrics interface {
		prometheus.Registerer
		prometheus.Gatherer
	}
}

// defaultMaxBodyBytes bounds the body of one review: two objects of 3 MiB
// (twice etcd's 1.5 MiB request limit, since JSON is larger than protobuf) and
// 1 MiB for the rest. Source: etcd embed/config.go, DefaultMaxRequestBytes.
const defaultMaxBodyBytes = 7 << 20

// defaultMaxInFlight is more than the API servers of one cluster ask at one
// time: each lets 200 mutating requests in (--max-mutating-requests-inflight),
// there are three, and with bundles a request is one or two calls at a time.
// The answer to what is above it comes within a millisecond, while a queue would
// answer after the API server has given up. At the usual 10 KiB a review they
// take 10 MiB.
const defaultMaxInFlight = 1024

// Handler is the HTTP handler of a policy server. It is safe for concurrent
// use. Make it with New.
type Handler struct {
	engine          *engine.Engine
	log             *slog.Logger
	maxBody         int64
	bodyTimeout     time.Duration
	acceptNamespace string
	maxInFlight     int64
	inFlight        atomic.Int64
	metrics         *metrics
	state           atomic.Int32 // a readiness
}

// New returns a handler that is not ready yet: see SetReady. The error says
// which option cannot work, or which metric is registered already.
func New(opts Options) (*Handler, error) {
	switch {
	case opts.Engine == nil:
		return nil, errors.New("admission: no engine is given")
	case opts.MaxBodyBytes < 0 || opts.MaxInFlight < 0:
		return nil, fmt.Errorf("admission: limits of %d bytes and %d requests in flight; they cannot be negative", opts.MaxBodyBytes, opts.MaxInFlight)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.MaxBodyBytes == 0 {
		opts.MaxBodyBytes = defaultMaxBodyBytes
	}
	if opts.MaxInFlight == 0 {
		opts.MaxInFlight = defaultMaxInFlight
	}
	if opts.Metrics == nil {
		opts.Metrics = prometheus.NewRegistry()
	}
	m, err := newMetrics(opts.Metrics, opts.Metrics)
	if err != nil {
		return nil, fmt.Errorf("admission: metrics: %w", err)
	}
	return &Handler{
		engine: opts.Engine, log: opts.Log, maxBody: opts.MaxBodyBytes, bodyTimeout: bodyTimeout, metrics: m,
		acceptNamespace: opts.AlwaysAcceptNamespace, maxInFlight: int64(opts.MaxInFlight),
	}, nil
}

// route is what stands before the policy or bundle in a path.
type route string

const (
	validate    route = "validate"
	validateRaw route = "validate_raw"
	audit       route = "audit"
	bundle      route = "review"
)

// ServeHTTP answers reviews and probes.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	first, id, ok := splitPath(r.URL)
	switch name := route(first); name {
	case validate, validateRaw, audit, bundle:
		if ok && id != "" {
			h.serveReview(w, r, target{name, id})
			return
		}
	}
	h.serveProbe(w, r)
}

// splitPath returns the two segments of a path, decoded one by one, so that an
// encoded slash does not make a third. It is false if there are more.
func splitPath(u *url.URL) (first, second string, ok bool) {
	first, second, _ = strings.Cut(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	if strings.Contains(second, "/") {
		return first, "", false
	}
	second, err := url.PathUnescape(second)
	return first, second, err == nil
}

// target is who is asked.
type target struct {
	route route
	id    string
}

// serveReview is judge with all that is around it: one place in flight, one
// observation, and an answer whatever happens.
func (h *Handler) serveReview(w http.ResponseWriter, r *http.Request, to target) {
	start := time.Now()
	out := &answer{w: w, r: r}
	if readiness(h.state.Load()) == draining {
		// The client is to take another connection next time, to another server:
		// one that it keeps could be closed just when it sends a request on it.
		// HTTP/2 makes GOAWAY of it, and answers what is under way.
		w.Header().Set("Connection", "close")
	}
	if h.inFlight.Add(1) <= h.maxInFlight {
		h.metrics.inFlight.Inc()
		h.judgeSafely(out, to, start)
		h.metrics.inFlight.Dec()
	} else {
		h.metrics.shed.Inc()
		w.Header().Set("Retry-After", "1")
		out.fail(http.StatusTooManyRequests, fmt.Sprintf("%d requests are in flight already; try again", h.maxInFlight))
	}
	h.inFlight.Add(-1)
	h.metrics.observe(to.route, out.status, time.Since(start))
	out.drain()
}

// judgeSafely is judge for a policy, or a server, that panics: one request is
// lost and not the connection with all others on it.
func (h *Handler) judgeSafely(out *answer, to target, start time.Time) {
	defer func() {
		if v := recover(); v != nil {
			h.log.Error("panic while a request was answered", "route", to.route, "id", to.id, "panic", v, "stack", string(debug.Stack()))
			out.fail(http.StatusInternalServerError, "Something went wrong")
		}
	}()
	h.judge(out, to, start)
}

// judge is the request path: body, review, verdict, answer.
func (h *Handler) judge(out *answer, to target, start time.Time) {
	if out.r.Method != http.MethodPost {
		out.w.Header().Set("Allow", http.MethodPost)
		out.fail(http.StatusMethodNotAllowed, out.r.Method+" is not allowed here; reviews are sent with POST")
		return
	}
	body, problem := h.readBody(out)
	if problem != nil {
		out.fail(problem.Status, problem.Message)
		return
	}
	rev, err := decode(to.route, body)
	if err != nil {
		out.fail(statusOf(err), err.Error())
		return
	}
	resp, err := h.evaluate(withDeadline(out.r, start), to, rev)
	if err != nil {
		out.fail(h.explain(to, err))
		return
	}
	resp.UID = rev.Request.UID
	out.send(http.StatusOK, rev.AppendAnswer(nil, resp))
}

func decode(name route, body []byte) (*review.Review, error) {
	if name == validateRaw {
		return review.DecodeRaw(body)
	}
	return review.Decode(body)
}

func statusOf(err error) int {
	var wrong *review.DecodeError
	if errors.As(err, &wrong) && wrong.Kind == review.Malformed {
		return http.StatusBadRequest
	}
	return http.StatusUnprocessableEntity
}

// errBadID is the error for an ID that can be neither a policy's nor that of a
// member of a group. The text is Kubewarden's.
var errBadID = errors.New("Something went wrong") //nolint:staticcheck // upstream's text

// evaluate asks the engine. A policy of the ID "a/b" is the member b of a group
// a, asked alone.
func (h *Handler) evaluate(ctx context.Context, to target, rev *review.Review) (review.Response, error) {
	id := policy.ID(to.id)
	if to.route != bundle && strings.Count(to.id, "/") > 1 {
		return review.Response{}, errBadID
	}
	if !h.knows(to) {
		return review.Response{}, &engine.UnknownPolicyError{ID: id}
	}
	if h.acceptsAll(to.route, rev) {
		return review.Response{Allowed: true}, nil
	}
	var d engine.Decision
	var err error
	switch to.route {
	case audit:
		d, err = h.engine.Audit(ctx, id, rev.Request)
	case bundle:
		d, err = h.engine.EvaluateBundle(ctx, to.id, rev.Request)
	default:
		d, err = h.engine.Evaluate(ctx, id, rev.Request)
	}
	return d.Response, err
}

func (h *Handler) acceptsAll(name route, rev *review.Review) bool {
	return (name == validate || name == bundle) && h.acceptNamespace != "" && rev.Request.Namespace == h.acceptNamespace
}

func (h *Handler) knows(to target) bool {
	if to.route == bundle {
		return h.engine.HasBundle(to.id)
	}
	return h.engine.Has(policy.ID(to.id))
}

// explain returns the answer to an error of the engine.
func (h *Handler) explain(to target, err error) (status int, message string) {
	var unknown *engine.UnknownPolicyError
	switch {
	case !errors.As(err, &unknown):
		h.log.Error("request not judged", "route", to.route, "id", to.id, "error", err)
		return http.StatusInternalServerError, err.Error()
	case to.route == bundle:
		return http.StatusNotFound, "unknown bundle: " + to.id
	}
	return http.StatusNotFound, "unknown policy: " + to.id
}

// maxMargin is enough for the way back of the answer, and for a garbage
// collection in between.
const maxMargin = 200 * time.Millisecond

// withDeadline returns the context in which the request is judged.
func withDeadline(r *http.Request, start time.Time) context.Context {
	deadline, ok := deadlineOf(r, start)
	if !ok {
		return r.Context()
	}
	return engine.WithDeadline(r.Context(), deadline)
}

// deadlineOf returns when the answer has to leave. The API server says in
// ?timeout= how long it waits; the answer goes a little before, or its failure
// policy speaks instead of ours. What is not a duration is ignored, like other
// parameters that nobody here knows.
func deadlineOf(r *http.Request, start time.Time) (time.Time, bool) {
	value, alone := strings.CutPrefix(r.URL.RawQuery, "timeout=") // all that the API server sends
	if !alone || strings.ContainsAny(value, "&%+;") {
		value = r.URL.Query().Get("timeout")
	}
	timeout, err := time.ParseDuration(value)
	if err != nil || timeout <= 0 {
		return time.Time{}, false
	}
	return start.Add(timeout - min(timeout/10, maxMargin)), true
}
