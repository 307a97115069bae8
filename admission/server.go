package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"
)

// Transport says how the API listener speaks.
type Transport int

const (
	// HTTPS speaks HTTP/2 and HTTP/1.1. Without a certificate one is made.
	HTTPS Transport = iota
	// PlainHTTP is for tests, and for something in front that speaks TLS.
	PlainHTTP
)

// ServerOptions are what Serve serves, and where.
type ServerOptions struct {
	// Handler answers. It is required.
	Handler *Handler

	// Listen is the host:port of the API listener. Default "0.0.0.0:3000",
	// Kubewarden's.
	Listen string
	// ListenProbes is the host:port of /readiness, /livez, /metrics and
	// /policies, in plain HTTP. Default: none but the API listener.
	ListenProbes string
	// ListenPprof is the host:port of /debug/pprof/, a loopback address: whoever
	// reads a heap profile reads the requests in it. Default: none.
	ListenPprof string

	Transport Transport
	// CertFile and KeyFile are PEM; the certificate may be followed by its
	// chain. They are loaded again when they change.
	CertFile, KeyFile string
	// ClientCAFiles are the CAs of whom clients have to have a certificate, one
	// of any of them. Default: clients need none.
	ClientCAFiles []string
	// ReloadEvery is how often these files are looked at. Default 1s.
	ReloadEvery time.Duration

	// Drain is how long requests are still accepted after /readiness has turned
	// 503: the time it takes until Kubernetes sends no more. Default 0.
	Drain time.Duration
	// Grace bounds what follows, until requests in flight are answered. Default
	// 30s, the longest that the API server waits for an answer.
	Grace time.Duration

	// Log is where the server says what it does. Default: nowhere.
	Log *slog.Logger

	// Started, if not nil, is called once all listeners accept connections.
	Started func(Addresses)
}

// Addresses are where a server listens; nil where it does not.
type Addresses struct {
	API, Probes, Pprof net.Addr
}

// Validate reports every option that cannot work, not only the first.
func (o ServerOptions) Validate() error {
	var errs []error
	if o.Handler == nil {
		errs = append(errs, errors.New("no handler is given"))
	}
	hasPair := o.CertFile != "" && o.KeyFile != ""
	switch {
	case len(o.ClientCAFiles) > 0 && !hasPair:
		errs = append(errs, errors.New("client CA certificate requires server certificate and key to be specified"))
	case (o.CertFile != "" || o.KeyFile != "") && !hasPair:
		errs = append(errs, errors.New("both certificate and key must be provided together"))
	case hasPair && o.Transport == PlainHTTP:
		errs = append(errs, errors.New("a certificate is given for plain HTTP, which has none; leave one of the two out"))
	}
	if o.Transport != HTTPS && o.Transport != PlainHTTP {
		errs = append(errs, fmt.Errorf("transport %d is neither HTTPS nor PlainHTTP", o.Transport))
	}
	if o.Drain < 0 || o.Grace < 0 {
		errs = append(errs, fmt.Errorf("drain of %s and grace of %s; they cannot be negative", o.Drain, o.Grace))
	}
	if o.ListenPprof != "" && !isLoopback(o.ListenPprof) {
		errs = append(errs, fmt.Errorf("pprof: %q is not a loopback address and port; want 127.0.0.1:6060, say", o.ListenPprof))
	}
	return errors.Join(errs...)
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (o ServerOptions) withDefaults() ServerOptions {
	if o.Listen == "" {
		o.Listen = "0.0.0.0:3000"
	}
	if o.Grace == 0 {
		o.Grace = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Serve serves until ctx is done, then lets requests in flight finish: first
// /readiness turns 503, after Drain no connection is accepted any more, and
// after Grace what is left is cut. It returns nil after that, an error when the
// options cannot work, when a listener cannot be opened or breaks, or when
// something had to be cut.
func Serve(ctx context.Context, opts ServerOptions) error {
	if err := opts.Validate(); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	s := &server{opts: opts.withDefaults(), broken: make(chan error, 3)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.background.Wait()
	defer cancel() // before Wait
	if err := s.listen(ctx); err != nil {
		s.close()
		return fmt.Errorf("server: %w", err)
	}
	if s.opts.Started != nil {
		s.opts.Started(s.addresses)
	}
	select {
	case err := <-s.broken:
		s.close()
		return fmt.Errorf("server: %w", err)
	case <-ctx.Done():
		return s.shutdown()
	}
}

// server is one run of Serve.
type server struct {
	opts       ServerOptions
	addresses  Addresses
	api        *http.Server
	others     []*http.Server
	broken     chan error // a listener that does not accept any more; one each fits
	background sync.WaitGroup
}

// listen opens all listeners before it serves any.
func (s *server) listen(ctx context.Context) error {
	var certs *certificates
	if s.opts.Transport == HTTPS {
		var err error
		if certs, err = loadCertificates(s.opts); err != nil {
			return err
		}
	}
	opened, err := open(ctx, s.opts.Listen, s.opts.ListenProbes, s.opts.ListenPprof)
	if err != nil {
		return err
	}
	s.serveAPI(opened[0], certs)
	if certs != nil {
		s.background.Go(func() { certs.follow(ctx, s.opts.ReloadEvery) })
	}
	if l := opened[1]; l != nil {
		s.addresses.Probes = l.Addr()
		s.servePlain(l, s.newServer(s.opts.Handler.Probes()))
	}
	if l := opened[2]; l != nil {
		s.addresses.Pprof = l.Addr()
		s.servePlain(l, s.newServer(profiles()))
	}
	return nil
}

// open opens a listener for each address, nil for none, or nothing at all.
func open(ctx context.Context, addresses ...string) ([]net.Listener, error) {
	listeners := make([]net.Listener, len(addresses))
	for i, address := range addresses {
		if address == "" {
			continue
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			for _, l := range listeners[:i] {
				if l != nil {
					_ = l.Close() // nothing was accepted
				}
			}
			return nil, err
		}
		listeners[i] = l
	}
	return listeners, nil
}

// newServer returns a server with the bounds that all have.
func (s *server) newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		// Longer than the 90 s after which Go's clients, the API server among
		// them, close an idle connection: who closes first must not be us, or a
		// request gets lost that is just being sent.
		IdleTimeout:    3 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelWarn),
	}
}

func (s *server) serveAPI(l net.Listener, certs *certificates) {
	s.addresses.API = l.Addr()
	s.api = s.newServer(s.opts.Handler)
	if certs == nil {
		s.background.Go(func() { s.report("API", s.api.Serve(l)) })
		return
	}
	s.api.TLSConfig = certs.config()
	s.background.Go(func() { s.report("API", s.api.ServeTLS(l, "", "")) })
}

func (s *server) servePlain(l net.Listener, srv *http.Server) {
	s.others = append(s.others, srv)
	s.background.Go(func() { s.report(l.Addr().String(), srv.Serve(l)) })
}

func (s *server) report(which string, err error) {
	if !errors.Is(err, http.ErrServerClosed) {
		s.broken <- fmt.Errorf("%s listener: %w", which, err)
	}
}

func (s *server) close() {
	for _, srv := range append(s.others, s.api) {
		if srv != nil {
			_ = srv.Close() // on the way out with another error
		}
	}
}

// shutdown is the end that nobody notices.
func (s *server) shutdown() error {
	s.opts.Handler.SetDraining()
	s.opts.Log.Info("shutting down", "drain", s.opts.Drain, "grace", s.opts.Grace)
	if s.opts.Drain > 0 {
		timer := time.NewTimer(s.opts.Drain)
		select {
		case <-timer.C:
		case err := <-s.broken:
			s.opts.Log.Error("listener lost while shutting down", "error", err)
		}
		timer.Stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Grace)
	defer cancel()
	err := s.api.Shutdown(ctx)
	s.close()
	if err != nil {
		return fmt.Errorf("server: requests were cut, not answered within %s: %w", s.opts.Grace, err)
	}
	return nil
}

// profiles serves Go's profiles, under the names of net/http/pprof and of
// Kubewarden's server.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index) // heap and all others by name
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/cpu", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Has("interval") {
			q.Set("seconds", q.Get("interval"))
			r.URL.RawQuery = q.Encode()
		}
		pprof.Profile(w, r)
	})
	return mux
}
