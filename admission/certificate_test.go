package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestHTTP2IsNegotiatedWithASelfSignedCertificate(t *testing.T) {
	var log bytes.Buffer
	s := start(t, ServerOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	url := "https://" + s.API.String() + "/validate/privileged"
	got, err := send(client(t, nil), url, strings.NewReader(plainPod))
	if err != nil || got.proto != "HTTP/2.0" || got.status != 200 || !strings.Contains(got.body, `"allowed":true`) {
		t.Errorf("answer = %+v, %v, want an accepted review over HTTP/2.0", got, err)
	}
	old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}}}
	if got, err = send(old, url, strings.NewReader(plainPod)); err != nil || got.proto != "HTTP/1.1" || got.status != 200 {
		t.Errorf("answer = %+v, %v, want one over HTTP/1.1", got, err)
	}
	old.CloseIdleConnections()
	if err := s.stop(); err != nil {
		t.Errorf("Serve = %v", err)
	}
	if !strings.Contains(log.String(), "fingerprint=sha256:") || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("log = %s, want a warning with the fingerprint", log.String())
	}
}

func TestMutualTLS(t *testing.T) {
	ours, other, foreign := newAuthority(t, "ours"), newAuthority(t, "other"), newAuthority(t, "foreign")
	dir := t.TempDir()
	leaf, key, _, _ := issue(t, "server", &ours)
	s := start(t, ServerOptions{
		// A chain: the leaf and who signed it.
		CertFile: write(t, filepath.Join(dir, "tls.crt"), append(leaf, ours.pem...)),
		KeyFile:  write(t, filepath.Join(dir, "tls.key"), key),
		ClientCAFiles: []string{
			write(t, filepath.Join(dir, "ca1.crt"), ours.pem), write(t, filepath.Join(dir, "ca2.crt"), other.pem),
		},
	})
	url := "https://" + s.API.String() + "/validate/privileged"
	pair := func(a authority) tls.Certificate {
		certPEM, keyPEM, _, _ := issue(t, "client", &a)
		p, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for name, a := range map[string]authority{"first CA": ours, "second CA": other} {
		if got, err := send(client(t, pool(ours.cert), pair(a)), url, strings.NewReader(plainPod)); err != nil || got.status != 200 {
			t.Errorf("client of the %s: %+v, %v, want 200", name, got, err)
		}
	}
	if got, err := send(client(t, pool(ours.cert), pair(foreign)), url, strings.NewReader(plainPod)); err == nil {
		t.Errorf("client of another CA: %+v, want it refused", got)
	}
	if got, err := send(client(t, pool(ours.cert)), url, strings.NewReader(plainPod)); err == nil {
		t.Errorf("client without certificate: %+v, want it refused", got)
	}
}

func TestCertificatesAreReloadedWithoutALostRequest(t *testing.T) {
	first, second := newAuthority(t, "first"), newAuthority(t, "second")
	files := func(a authority) map[string][]byte {
		cert, key, _, _ := issue(t, "server", &a)
		return map[string][]byte{"tls.crt": cert, "tls.key": key}
	}
	v := newVolume(t, files(first))
	s := start(t, ServerOptions{CertFile: v.path("tls.crt"), KeyFile: v.path("tls.key"), ReloadEvery: 5 * time.Millisecond})
	url := "https://" + s.API.String() + "/validate/privileged"
	trustsBoth := pool(first.cert, second.cert)

	var answered, failed atomic.Int64
	done := make(chan struct{})
	var load sync.WaitGroup
	for i := range 4 {
		c := client(t, trustsBoth)
		load.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if i%2 == 0 {
					c.CloseIdleConnections() // half of the load makes new connections
				}
				if got, err := send(c, url, strings.NewReader(plainPod)); err != nil || got.status != 200 {
					failed.Add(1)
					t.Errorf("under load: %+v, %v", got, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	trusts := func(a authority) bool {
		got, err := send(client(t, pool(a.cert)), url, strings.NewReader(plainPod))
		return err == nil && got.status == 200
	}
	for i, a := range []authority{second, first, second} {
		v.put(t, files(a))
		if !eventually(func() bool { return trusts(a) }) {
			t.Fatalf("swap %d: the new certificate is not served", i)
		}
	}
	// A pair that does not fit together changes nothing.
	v.put(t, map[string][]byte{"tls.crt": files(first)["tls.crt"], "tls.key": files(first)["tls.key"]})
	before := answered.Load()
	if !eventually(func() bool { return answered.Load() > before+50 }) {
		t.Error("the load has stopped")
	}
	if !trusts(second) {
		t.Error("a broken pair has replaced the one that worked")
	}
	close(done)
	load.Wait()
	if failed.Load() > 0 || answered.Load() == 0 {
		t.Errorf("%d requests failed, %d were answered", failed.Load(), answered.Load())
	}
}

func TestClientCAsAreReloaded(t *testing.T) {
	ours, before, after := newAuthority(t, "ours"), newAuthority(t, "before"), newAuthority(t, "after")
	leaf, key, _, _ := issue(t, "server", &ours)
	server := newVolume(t, map[string][]byte{"tls.crt": leaf, "tls.key": key})
	cas := newVolume(t, map[string][]byte{"ca.crt": before.pem})
	s := start(t, ServerOptions{
		CertFile: server.path("tls.crt"), KeyFile: server.path("tls.key"), ClientCAFiles: []string{cas.path("ca.crt")},
		ReloadEvery: 5 * time.Millisecond,
	})
	accepts := func(a authority) bool {
		certPEM, keyPEM, _, _ := issue(t, "client", &a)
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			t.Fatal(err)
		}
		got, err := send(client(t, pool(ours.cert), pair), "https://"+s.API.String()+"/validate/privileged", strings.NewReader(plainPod))
		return err == nil && got.status == 200
	}
	if !accepts(before) || accepts(after) {
		t.Fatal("the first CA is not the one that counts")
	}
	cas.put(t, map[string][]byte{"ca.crt": after.pem})
	if !eventually(func() bool { return accepts(after) }) {
		t.Error("clients of the new CA are refused")
	}
	if accepts(before) {
		t.Error("clients of the old CA are still accepted")
	}
}

func TestAWatchSeesContentAndNothingElse(t *testing.T) {
	v := newVolume(t, map[string][]byte{"a": []byte("1"), "b": []byte("1")})
	var changes atomic.Int64
	w := newWatch([]string{v.path("a"), v.path("b"), v.path("later")})
	ctx, cancel := context.WithCancel(context.Background())
	var background sync.WaitGroup
	background.Go(func() { w.run(ctx, time.Millisecond, func() { changes.Add(1) }) })
	after := func(what string, want int64) {
		t.Helper()
		if !eventually(func() bool { return changes.Load() == want }) {
			t.Errorf("after %s: %d changes, want %d", what, changes.Load(), want)
		}
	}
	v.put(t, map[string][]byte{"a": []byte("1"), "b": []byte("2")})
	after("a swap of symlinks", 1)
	write(t, v.path("later"), nil)
	after("a new file, which is empty", 2)
	// The same content is no change: the next one is the third.
	v.put(t, map[string][]byte{"a": []byte("1"), "b": []byte("2")})
	if err := os.Remove(v.path("later")); err != nil {
		t.Fatal(err)
	}
	after("a file went away", 3)
	cancel()
	background.Wait()
	if n := changes.Load(); n != 3 {
		t.Errorf("%d changes, want 3", n)
	}
	newWatch(nil).run(ctx, 0, func() { t.Error("called after the context was done") })
}
