package admission

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// readiness is what /readiness says.
type readiness int32

const (
	loading readiness = iota
	ready
	draining
)

// SetReady makes /readiness answer 200: the engine has its policies. It has no
// effect after SetDraining.
func (h *Handler) SetReady() { h.state.CompareAndSwap(int32(loading), int32(ready)) }

// SetDraining makes /readiness answer 503 for good, so that no new request is
// sent here. Requests are still judged; the connections on which they came are
// closed after their answers.
func (h *Handler) SetDraining() { h.state.Store(int32(draining)) }

// Probes returns the handler without reviews: readiness, liveness, metrics and
// the list of policies. It may be served without TLS.
func (h *Handler) Probes() http.Handler { return http.HandlerFunc(h.serveProbe) }

func (h *Handler) serveProbe(w http.ResponseWriter, r *http.Request) {
	out := &answer{w: w, r: r}
	defer out.drain()
	probes := map[string]func(*answer){
		"/livez": func(out *answer) { out.w.WriteHeader(http.StatusOK) }, "/readiness": h.readiness,
		"/metrics": func(out *answer) { h.metrics.page.ServeHTTP(out.w, out.r) }, "/policies": h.policies,
	}
	probe, ok := probes[r.URL.Path]
	switch {
	case !ok:
		out.fail(http.StatusNotFound, "no such path: "+r.URL.Path)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		out.fail(http.StatusMethodNotAllowed, r.Method+" is not allowed here; want GET")
	default:
		probe(out)
	}
}

func (h *Handler) readiness(out *answer) {
	status, text := http.StatusOK, "ready"
	switch readiness(h.state.Load()) {
	case loading:
		status, text = http.StatusServiceUnavailable, "not ready: the policies are being loaded"
	case draining:
		status, text = http.StatusServiceUnavailable, "not ready: the server is shutting down"
	}
	switch {
	case out.r.URL.Query().Has("verbose"):
		out.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		out.w.WriteHeader(status)
		_, _ = fmt.Fprintf(out.w, "%s\n%s", text, h.describePolicies())
	case status != http.StatusOK:
		out.fail(status, text)
	default:
		out.w.WriteHeader(status)
	}
}

// describePolicies returns a line for each policy.
func (h *Handler) describePolicies() string {
	var b strings.Builder
	for _, s := range h.engine.Statuses() {
		fmt.Fprintf(&b, "%s: %v", s.ID, s.State)
		if s.Builtin != "" {
			fmt.Fprintf(&b, ", by builtin://%s", s.Builtin)
		}
		if s.Error != "" {
			fmt.Fprintf(&b, ": %s", strings.ReplaceAll(s.Error, "\n", "; "))
		}
		if s.Away != "" {
			fmt.Fprintf(&b, ", from the store since its host could not be asked: %s", strings.ReplaceAll(s.Away, "\n", "; "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// policies lists how every policy stands.
func (h *Handler) policies(out *answer) {
	text, err := json.Marshal(h.engine.Statuses())
	if err != nil {
		out.fail(http.StatusInternalServerError, err.Error())
		return
	}
	out.send(http.StatusOK, text)
}
