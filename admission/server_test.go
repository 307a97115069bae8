package admission

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func eventually(condition func() bool) bool {
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if condition() {
			return true
		}
		<-time.After(5 * time.Millisecond)
	}
	return false
}

// pending is a request whose body is not all there yet.
type pending struct {
	finish func() // sends the rest
	got    chan result
	err    chan error
}

func startRequest(c *http.Client, url string) pending {
	r, w := io.Pipe()
	p := pending{got: make(chan result, 1), err: make(chan error, 1)}
	go func() {
		got, err := send(c, url, r)
		p.got <- got
		p.err <- err
	}()
	_, _ = io.WriteString(w, plainPod[:10])
	p.finish = func() {
		_, _ = io.WriteString(w, plainPod[10:])
		_ = w.Close()
	}
	return p
}

func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	h := newHandler(t, Options{})
	h.SetReady()
	s := start(t, ServerOptions{Handler: h, ListenProbes: "127.0.0.1:0", Drain: 300 * time.Millisecond})
	url := "https://" + s.API.String() + "/validate/privileged"
	p := startRequest(client(t, nil), url)
	if !eventually(func() bool { return h.inFlight.Load() == 1 }) {
		t.Fatal("the request is not in flight")
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	probe := func() int {
		resp, err := http.Get("http://" + s.Probes.String() + "/readiness")
		if err != nil {
			return 0
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if !eventually(func() bool { return probe() == 503 }) {
		t.Errorf("readiness = %d, want 503", probe())
	}
	// Until the drain is over new requests are welcome.
	if got, err := send(client(t, nil), url, strings.NewReader(plainPod)); err != nil || got.status != 200 {
		t.Errorf("while draining: %+v, %v, want 200", got, err)
	}
	if !eventually(func() bool {
		conn, err := net.Dial("tcp", s.API.String())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}) {
		t.Error("the listener still accepts connections after the drain")
	}
	p.finish()
	if got, err := <-p.got, <-p.err; err != nil || got.status != 200 || !strings.Contains(got.body, `"allowed":true`) {
		t.Errorf("request in flight: %+v, %v, want its answer", got, err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

func TestADrainingServerGivesConnectionsUp(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		h := newHandler(t, Options{})
		h.SetReady()
		s := start(t, ServerOptions{Handler: h})
		c := client(t, nil)
		if !http2 {
			c.Transport.(*http.Transport).ForceAttemptHTTP2 = false
		}
		reused := func() bool {
			var info httptrace.GotConnInfo
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { info = i }})
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.API.String()+"/validate/privileged", strings.NewReader(plainPod))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || resp.ProtoAtLeast(2, 0) != http2 {
				t.Errorf("%s %d %s, %v", resp.Proto, resp.StatusCode, body, err)
			}
			return info.Reused
		}
		reused()
		if !reused() {
			t.Errorf("HTTP/2 %t: the connection was not kept while the server is ready", http2)
		}
		h.SetDraining()
		reused()
		if !eventually(func() bool { return !reused() }) {
			t.Errorf("HTTP/2 %t: the connection is kept while the server drains", http2)
		}
	}
}

func TestShutdownCutsWhatTakesLongerThanGrace(t *testing.T) {
	h := newHandler(t, Options{})
	s := start(t, ServerOptions{Handler: h, Grace: 50 * time.Millisecond})
	p := startRequest(client(t, nil), "https://"+s.API.String()+"/validate/privileged")
	if !eventually(func() bool { return h.inFlight.Load() == 1 }) {
		t.Fatal("the request is not in flight")
	}
	if err := s.stop(); err == nil || !strings.Contains(err.Error(), "requests were cut, not answered within 50ms") {
		t.Errorf("Serve = %v, want it to say that something was cut", err)
	}
	if _, err := <-p.got, <-p.err; err == nil {
		t.Error("the request was answered, want it cut")
	}
	p.finish()
}

func TestMoreThanMayBeInFlightIsRefusedAtOnce(t *testing.T) {
	h := newHandler(t, Options{MaxInFlight: 1})
	s := start(t, ServerOptions{Handler: h})
	url := "https://" + s.API.String() + "/validate/privileged"
	p := startRequest(client(t, nil), url)
	if !eventually(func() bool { return h.inFlight.Load() == 1 }) {
		t.Fatal("the request is not in flight")
	}
	resp, err := client(t, nil).Post(url, "application/json", strings.NewReader(plainPod))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	const want = `{"message":"1 requests are in flight already; try again","status":429}`
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "1" || string(body) != want {
		t.Errorf("answer = %d %s, Retry-After %q, want 429 %s after 1", resp.StatusCode, body, resp.Header.Get("Retry-After"), want)
	}
	p.finish()
	if got, err := <-p.got, <-p.err; err != nil || got.status != 200 {
		t.Errorf("request in flight: %+v, %v, want 200", got, err)
	}
	if got, err := send(client(t, nil), url, strings.NewReader(plainPod)); err != nil || got.status != 200 {
		t.Errorf("afterwards: %+v, %v, want 200", got, err)
	}
}

func TestAClientWithTooMuchToSayGetsItsAnswer(t *testing.T) {
	s := start(t, ServerOptions{})
	plain := start(t, ServerOptions{Transport: PlainHTTP})
	const size = 100 << 20
	targets := map[string]string{"HTTP/2": "https://" + s.API.String(), "HTTP/1.1": "http://" + plain.API.String()}
	for proto, base := range targets {
		for _, kind := range []string{"with its length", "in chunks"} {
			t.Run(proto+" "+kind, func(t *testing.T) {
				var connections atomic.Int64
				c := client(t, nil)
				c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					connections.Add(1)
					return new(net.Dialer).DialContext(ctx, network, addr)
				}
				for range 2 {
					r, err := http.NewRequest(http.MethodPost, base+"/validate/privileged", io.LimitReader(zeros{}, size))
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Content-Type", "application/json")
					if kind == "with its length" {
						r.ContentLength = size
					}
					resp, err := c.Do(r)
					if err != nil {
						t.Fatalf("POST of %d bytes: %v", size, err)
					}
					body, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					const want = `{"message":"Failed to buffer the request body: length limit exceeded","status":413}`
					if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge || string(body) != want || !strings.HasPrefix(resp.Proto, proto) {
						t.Errorf("answer over %s = %d %s, %v, want 413", resp.Proto, resp.StatusCode, body, err)
					}
				}
				if got, err := send(c, base+"/validate/privileged", strings.NewReader(plainPod)); err != nil || got.status != 200 {
					t.Errorf("afterwards: %+v, %v, want 200", got, err)
				}
			})
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestABodyThatWasNotAskedForIsNotWaitedFor(t *testing.T) {
	h := newHandler(t, Options{MaxBodyBytes: 10})
	s := start(t, ServerOptions{Handler: h, Transport: PlainHTTP})
	conn, err := net.Dial("tcp", s.API.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "POST /validate/privileged HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
		"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(maxDrainTime / 2))
	text, err := io.ReadAll(conn) // the server closes: what follows may be the body or not
	if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 413 ") || !strings.Contains(string(text), `"status":413`) {
		t.Errorf("answer = %q, %v, want 413 and the end of the connection", text, err)
	}
}

func TestABodyThatDoesNotArriveGivesItsPlaceBack(t *testing.T) {
	h := newHandler(t, Options{})
	h.bodyTimeout = 30 * time.Millisecond
	s := start(t, ServerOptions{Handler: h})
	p := startRequest(client(t, nil), "https://"+s.API.String()+"/validate/privileged")
	const want = `{"message":"Failed to buffer the request body: it did not arrive within 30ms","status":408}`
	if got, err := <-p.got, <-p.err; err != nil || got.status != 408 || got.body != want {
		t.Errorf("answer = %+v, %v, want 408 %s", got, err, want)
	}
	if !eventually(func() bool { return h.inFlight.Load() == 0 }) {
		t.Error("the place in flight is still taken")
	}
}

func TestPprofIsOnItsOwnListenerOnly(t *testing.T) {
	s := start(t, ServerOptions{Transport: PlainHTTP, ListenPprof: "127.0.0.1:0"})
	for url, want := range map[string]int{
		"http://" + s.Pprof.String() + "/debug/pprof/heap":           200,
		"http://" + s.Pprof.String() + "/debug/pprof/cpu?interval=1": 200,
		"http://" + s.API.String() + "/debug/pprof/heap":             404,
		"http://" + s.API.String() + "/livez":                        200,
	} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s = %d, want %d", url, resp.StatusCode, want)
		}
	}
}

func TestServerOptionsThatCannotWork(t *testing.T) {
	h := newHandler(t, Options{})
	dir := t.TempDir()
	garbage := write(t, filepath.Join(dir, "garbage"), []byte("no PEM"))
	certPEM, keyPEM, _, _ := issue(t, "a", nil)
	_, otherKey, _, _ := issue(t, "b", nil)
	cert, key, other := write(t, dir+"/c", certPEM), write(t, dir+"/k", keyPEM), write(t, dir+"/o", otherKey)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	tests := []struct {
		name string
		opts ServerOptions
		want string
	}{
		{"key without certificate", ServerOptions{KeyFile: key}, "both certificate and key must be provided together"},
		{"certificate without key", ServerOptions{CertFile: cert}, "both certificate and key must be provided together"},
		{"client CA alone", ServerOptions{ClientCAFiles: []string{cert}}, "client CA certificate requires server certificate and key to be specified"},
		{"client CA with half a pair", ServerOptions{ClientCAFiles: []string{cert}, KeyFile: key}, "client CA certificate requires server certificate and key to be specified"},
		{"certificate for plain HTTP", ServerOptions{CertFile: cert, KeyFile: key, Transport: PlainHTTP}, "a certificate is given for plain HTTP"},
		{"pprof for everybody", ServerOptions{ListenPprof: "0.0.0.0:6060"}, `pprof: "0.0.0.0:6060" is not a loopback address`},
		{"pprof without port", ServerOptions{ListenPprof: "127.0.0.1"}, `pprof: "127.0.0.1" is not a loopback address and port`},
		{"negative grace", ServerOptions{Grace: -1}, "they cannot be negative"},
		{"unknown transport", ServerOptions{Transport: 7}, "transport 7 is neither HTTPS nor PlainHTTP"},
		{"another's key", ServerOptions{CertFile: cert, KeyFile: other}, "private key does not match public key"},
		{"no such file", ServerOptions{CertFile: dir + "/nope", KeyFile: key}, "no such file or directory"},
		{"garbage for a CA", ServerOptions{CertFile: cert, KeyFile: key, ClientCAFiles: []string{garbage}}, "no certificate in PEM is in it"},
		{"a taken port", ServerOptions{Transport: PlainHTTP, ListenProbes: taken.Addr().String()}, "address already in use"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.Handler, tt.opts.Listen = h, "127.0.0.1:0"
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if err := Serve(ctx, tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Serve = %v, want …%s…", err, tt.want)
			}
		})
	}
	err = ServerOptions{KeyFile: "k", Grace: -1}.Validate()
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 3 {
		t.Errorf("Validate = %v, want all three problems", err)
	}
}
