package capability

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// nameserver is a DNS server that knows example.org and answers nothing about
// slow.example.
type nameserver struct {
	asks atomic.Int64
	slow chan struct{} // a question about slow.example has come
}

// startNameserver returns a resolver that asks it alone.
func startNameserver(t *testing.T) (*nameserver, *net.Resolver) {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s := &nameserver{slow: make(chan struct{}, 100)}
	go s.serve(conn)
	return s, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (s *nameserver) serve(conn net.PacketConn) {
	packet := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(packet)
		if err != nil {
			return
		}
		s.asks.Add(1)
		if answer := s.answer(packet[:n]); answer != nil {
			_, _ = conn.WriteTo(answer, from)
		}
	}
}

// answer writes a response (RFC 1035, 4) to a question about one name.
func (s *nameserver) answer(question []byte) []byte {
	const header, pointer = 12, 0xc000 | 12 // the name is that of the question
	end := header
	var labels []string
	for n := int(question[end]); n > 0; n = int(question[end]) {
		labels = append(labels, string(question[end+1:end+1+n]))
		end += 1 + n
	}
	kind := binary.BigEndian.Uint16(question[end+1:])
	end += 5
	var addresses []net.IP
	code := byte(0)
	switch strings.Join(labels, ".") {
	case "example.org":
		addresses = []net.IP{net.ParseIP("192.0.2.7").To4(), net.ParseIP("192.0.2.1").To4(), net.ParseIP("2001:db8::1")}
	case "slow.example":
		s.slow <- struct{}{}
		return nil
	default:
		code = 3 // no such name
	}
	out := append(slices.Clone(question[:2]), 0x84, code, 0, 1, 0, 0, 0, 0, 0, 0)
	out = append(out, question[header:end]...)
	for _, ip := range addresses {
		of := uint16(1) // A
		if len(ip) == net.IPv6len {
			of = 28 // AAAA
		}
		if of != kind {
			continue
		}
		out[7]++
		out = binary.BigEndian.AppendUint16(out, pointer)
		out = binary.BigEndian.AppendUint16(out, of)
		out = append(out, 0, 1, 0, 0, 0, 60) // IN, one minute
		out = binary.BigEndian.AppendUint16(out, uint16(len(ip)))
		out = append(out, ip...)
	}
	return out
}

func TestANameIsLookedUp(t *testing.T) {
	_, resolver := startNameserver(t)
	h, _ := hostFor(everything)
	h.Services.Resolver = resolver
	want, err := resolver.LookupHost(t.Context(), "example.org")
	if err != nil {
		t.Fatal(err)
	}
	type answer struct{ IPs []string }
	have := ask[answer](t, h, "net/v1/dns_lookup_host", "example.org").IPs
	if !slices.Equal(have, want) {
		t.Errorf("ips = %q, want %q, as the resolver orders them", have, want)
	}
	slices.Sort(have)
	if want := []string{"192.0.2.1", "192.0.2.7", "2001:db8::1"}; !slices.Equal(have, want) {
		t.Errorf("ips = %q, want %q", have, want)
	}
	if have := ask[answer](t, h, "net/v1/dns_lookup_host", "192.0.2.3").IPs; !slices.Equal(have, []string{"192.0.2.3"}) {
		t.Errorf("ips of an address = %q, want itself", have)
	}
}

func TestANameThatIsNotThereIsAFailure(t *testing.T) {
	_, resolver := startNameserver(t)
	h, _ := hostFor(everything)
	h.Services.Resolver = resolver
	const start, end = "Callback evaluation failure: lookup nowhere.example", "no such host"
	_, err := h.Call(t.Context(), call("net", "v1/dns_lookup_host", `"nowhere.example"`))
	if err == nil || !strings.HasPrefix(err.Error(), start) || !strings.HasSuffix(err.Error(), end) {
		t.Errorf("Call = %v, want %q … %q", err, start, end)
	}
	for payload, want := range map[string]string{
		`{"host":"a"}`: "json: cannot unmarshal object into Go value of type string",
		`null`:         "want a string, have null",
		`example.org`:  "invalid character 'e' looking for beginning of value",
	} {
		if _, err := h.Call(t.Context(), call("net", "v1/dns_lookup_host", payload)); err == nil || err.Error() != want {
			t.Errorf("%s: Call = %v, want %q", payload, err, want)
		}
	}
}

func TestALookupEndsWithItsContext(t *testing.T) {
	server, resolver := startNameserver(t)
	for _, cache := range []*Cache{nil, NewCache()} {
		h, _ := hostFor(everything)
		h.Services = Services{Resolver: resolver, Cache: cache}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-server.slow; cancel() }()
		if _, err := h.Call(ctx, call("net", "v1/dns_lookup_host", `"slow.example."`)); !errors.Is(err, context.Canceled) {
			t.Errorf("Call = %v, want the end of its context", err)
		}
	}
}

func TestANameIsKeptForAShortWhile(t *testing.T) {
	server, resolver := startNameserver(t)
	h, _ := hostFor(everything)
	h.Services = Services{Resolver: resolver, Cache: NewCache()}
	for range 3 {
		_ = ask[any](t, h, "net/v1/dns_lookup_host", "example.org.")
	}
	if asks := server.asks.Load(); asks != 2 { // A and AAAA
		t.Errorf("%d questions to the server, want 2", asks)
	}
}
