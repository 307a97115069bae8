package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// proxy is the way from the API server to etcd. It keeps one address for as
// long as the cluster lives, while etcd has another each time that it starts;
// and it can be slow.
type proxy struct {
	listener net.Listener
	target   atomic.Pointer[string] // host:port; nil while there is none
	delay    atomic.Int64           // a time.Duration
	done     chan struct{}          // closed by close

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
	wg     sync.WaitGroup
}

func newProxy() (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, done: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// close ends every connection, and returns when nothing is left of the proxy.
// It is called once.
func (p *proxy) close() error {
	err := p.listener.Close()
	close(p.done)
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		_ = c.Close() // that is all that can be done about it
	}
	p.mu.Unlock()
	p.wg.Wait()
	return err
}

// track says whether the connection may live; close will end it then.
func (p *proxy) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.conns[c] = struct{}{}
	}
	return !p.closed
}

func (p *proxy) drop(c net.Conn) {
	_ = c.Close() // closed twice, as a rule
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // it gave up before we took it
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

func (p *proxy) serve(client net.Conn) {
	defer p.drop(client)
	target := p.target.Load()
	if target == nil || !p.track(client) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", *target)
	if err != nil {
		return // the client sees its connection end, as it would without us
	}
	defer p.drop(server)
	if !p.track(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		defer p.drop(client)
		_, _ = io.Copy(client, server) // an end is an end, whoever made it
	})
	p.late(server, client)
	p.drop(server)
	both.Wait()
}

// chunk is what was read at once, and when it is due.
type chunk struct {
	data []byte
	due  time.Time
}

// late copies with the delay that is set when a chunk comes in. What comes
// close together goes out close together: it adds latency, it does not narrow
// the way.
func (p *proxy) late(dst io.Writer, src io.Reader) {
	chunks := make(chan chunk, 64)
	dead := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		defer close(dead)
		for c := range chunks {
			if wait := time.Until(c.due); wait > 0 {
				select {
				case <-time.After(wait):
				case <-p.done:
					return
				}
			}
			if _, err := dst.Write(c.data); err != nil {
				return
			}
		}
	})
	defer writer.Wait()
	defer close(chunks)
	for {
		buf := make([]byte, 32<<10)
		n, err := src.Read(buf)
		if n > 0 {
			c := chunk{buf[:n], time.Now().Add(time.Duration(p.delay.Load()))}
			select {
			case chunks <- c:
			case <-dead:
				return
			}
		}
		if err != nil {
			return
		}
	}
}
