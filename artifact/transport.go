package artifact

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// hosts is the transport of a client: it reaches every host the way that
// sources say, also those that a registry redirects to or sends for a token.
type hosts struct {
	trusted *http.Transport  // system CAs
	byHost  map[string]*host // those that sources name
	stall   time.Duration
}

// host is one that sources name.
type host struct {
	verified   *http.Transport // with its own CAs too
	unverified *http.Transport // nil unless the host is insecure
	way        atomic.Int32    // that worked last
}

// The ways to reach an insecure host, in the order in which they are tried.
const (
	wayVerified int32 = iota
	wayUnverified
	wayHTTP
	ways
)

// PlainHTTPError is a host that speaks HTTP, or was asked for over it, and is not
// listed as insecure.
type PlainHTTPError struct {
	Host string
	Err  error // why HTTPS has failed; nil where it was not asked for
}

func (e *PlainHTTPError) Error() string {
	return fmt.Sprintf("host %s: plain HTTP is refused: list %q under insecure_sources in sources.yml if it has no HTTPS", e.Host, e.Host)
}

// Unwrap returns why HTTPS has failed.
func (e *PlainHTTPError) Unwrap() error { return e.Err }

// errStalled is a host that sends and takes nothing any more.
var errStalled = errors.New("no byte has come or gone")

func newHosts(s Sources, stall time.Duration) (*hosts, error) {
	proxy := proxyOf(s.Proxies)
	system, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("CAs of the system: %w", err)
	}
	h := &hosts{trusted: newTransport(proxy, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: system}), byHost: map[string]*host{}, stall: stall}
	for name, certs := range s.Authorities {
		own := system.Clone()
		for _, cert := range certs {
			own.AddCert(cert)
		}
		h.named(name).verified = newTransport(proxy, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: own})
	}
	unverified := newTransport(proxy, &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}) // for insecure hosts alone
	for _, name := range s.Insecure {
		h.named(name).unverified = unverified
	}
	return h, nil
}

// named is the entry of a host, which is made when there is none.
func (h *hosts) named(name string) *host {
	key := hostKey(name)
	if h.byHost[key] == nil {
		h.byHost[key] = &host{verified: h.trusted}
	}
	return h.byHost[key]
}

// hostKey is a host as it is looked up: without the port of HTTPS, and Docker
// Hub by the name under which it is reached.
func hostKey(name string) string {
	name = strings.TrimSuffix(strings.ToLower(name), ":443")
	if name == "docker.io" {
		return "index.docker.io"
	}
	return name
}

// proxyOf prefers the proxies that are given to those of the environment.
func proxyOf(p Proxies) func(*http.Request) (*url.URL, error) {
	config := httpproxy.FromEnvironment()
	config.HTTPProxy = firstOf(p.HTTP, config.HTTPProxy)
	config.HTTPSProxy = firstOf(p.HTTPS, config.HTTPSProxy)
	config.NoProxy = firstOf(p.NoProxy, config.NoProxy)
	of := config.ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return of(r.URL) }
}

func newTransport(proxy func(*http.Request) (*url.URL, error), config *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: proxy, DialContext: dialer.DialContext, TLSClientConfig: config, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second, ExpectContinueTimeout: time.Second,
		MaxIdleConns: 64, MaxIdleConnsPerHost: 8, IdleConnTimeout: 90 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
}

// RoundTrip implements http.RoundTripper. A request on which nothing moves for
// a while is ended, however long it has taken until then.
func (h *hosts) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	w := &watch{stall: h.stall, cancel: cancel, cause: func() error { return context.Cause(ctx) }}
	stalled := fmt.Errorf("%s: %w in %s", req.URL.Host, errStalled, h.stall)
	w.timer = time.AfterFunc(h.stall, func() { cancel(stalled) })
	req = req.Clone(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &watched{req.Body, w, false}
	}
	resp, err := h.byWay(req)
	if err != nil {
		err = w.why(err)
		w.done()
		return nil, err
	}
	resp.Body = &watched{resp.Body, w, true}
	return resp, nil
}

// byWay sends the request the way that its host is reached.
func (h *hosts) byWay(req *http.Request) (*http.Response, error) {
	entry := h.byHost[hostKey(req.URL.Host)]
	if entry == nil {
		entry = &host{verified: h.trusted}
	}
	if entry.unverified == nil {
		if req.URL.Scheme != "https" {
			closeBody(req)
			return nil, &PlainHTTPError{Host: req.URL.Host}
		}
		resp, err := entry.verified.RoundTrip(req)
		var noTLS tls.RecordHeaderError
		if errors.As(err, &noTLS) && string(noTLS.RecordHeader[:]) == "HTTP/" {
			err = &PlainHTTPError{req.URL.Host, err}
		}
		return resp, err
	}
	return entry.anyWay(req)
}

// anyWay tries the ways to reach an insecure host, first the one that worked
// last. Any answer counts, be it an error of HTTP.
func (e *host) anyWay(req *http.Request) (*http.Response, error) {
	last := e.way.Load()
	order := []int32{last}
	for way := range ways {
		if way != last {
			order = append(order, way)
		}
	}
	var errs wayErrors
	for _, way := range order {
		attempt, err := again(req, len(errs))
		if err != nil {
			break
		}
		transport := e.verified
		attempt.URL.Scheme = "https"
		switch way {
		case wayUnverified:
			transport = e.unverified
		case wayHTTP:
			attempt.URL.Scheme = "http"
		}
		resp, err := transport.RoundTrip(attempt)
		if err == nil {
			e.way.Store(way)
			return resp, nil
		}
		errs = append(errs, wayError{way, err})
		if req.Context().Err() != nil {
			break
		}
	}
	return nil, errs
}

// wayErrors is why each way to reach an insecure host has failed.
type wayErrors []wayError

type wayError struct {
	way int32
	err error
}

func (e wayErrors) Error() string {
	names := [...]string{"HTTPS", "HTTPS without verification", "HTTP"}
	var all []string
	differ := false
	for _, one := range e {
		all = append(all, names[one.way]+": "+one.err.Error())
		differ = differ || one.err.Error() != e[0].err.Error()
	}
	if !differ && len(e) > 0 {
		return e[0].err.Error()
	}
	return strings.Join(all, "; ")
}

func (e wayErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one.err
	}
	return all
}

// again is the request for another attempt, with its body from the start.
func again(req *http.Request, attempt int) (*http.Request, error) {
	next := req.Clone(req.Context())
	if attempt == 0 || req.Body == nil || req.Body == http.NoBody {
		return next, nil
	}
	if req.GetBody == nil {
		return nil, errors.New("the body has been sent already")
	}
	body, err := req.GetBody()
	next.Body = body
	return next, err
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// watch ends a request on which nothing moves.
type watch struct {
	stall  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
	cause  func() error
	once   sync.Once
}

// why is the reason that the request was ended for, err when it was not.
func (w *watch) why(err error) error {
	if cause := w.cause(); cause != nil && !errors.Is(err, cause) {
		return cause
	}
	return err
}

func (w *watch) done() {
	w.once.Do(func() {
		w.timer.Stop()
		w.cancel(nil)
	})
}

// watched is a body whose every byte gives the request more time.
type watched struct {
	io.ReadCloser
	watch *watch
	last  bool // closing it ends the request
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.watch.timer.Reset(b.watch.stall)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.watch.why(err)
	}
	return n, err
}

func (b *watched) Close() error {
	err := b.ReadCloser.Close()
	if b.last {
		b.watch.done()
	}
	return err
}
