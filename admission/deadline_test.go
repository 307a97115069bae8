package admission

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
)

// endless is a waPC module with valid settings that never has a verdict:
//
//	(module
//	  (import "wapc" "__guest_response" (func $answer (param i32 i32)))
//	  (memory (export "memory") 1)
//	  (data (i32.const 0) "{\"valid\":true}")
//	  (func (export "__guest_call") (param $operation i32) (param i32) (result i32)
//	    (if (i32.eq (local.get $operation) (i32.const 8)) ;; the length of "validate"
//	      (then (loop (br 0))))
//	    (call $answer (i32.const 0) (i32.const 14))
//	    (i32.const 1)))
const endless = "\x00asm\x01\x00\x00\x00" +
	"\x01\x0c\x02\x60\x02\x7f\x7f\x00\x60\x02\x7f\x7f\x01\x7f" +
	"\x02\x19\x01\x04wapc\x10__guest_response\x00\x00" +
	"\x03\x02\x01\x01" +
	"\x05\x03\x01\x00\x01" +
	"\x07\x19\x02\x06memory\x02\x00\x0c__guest_call\x00\x01" +
	"\x0a\x19\x01\x17\x00\x20\x00\x41\x08\x46\x04\x40\x03\x40\x0c\x00\x0b\x0b\x41\x00\x41\x0e\x10\x00\x41\x01\x0b" +
	"\x0b\x14\x01\x00\x41\x00\x0b\x0e{\"valid\":true}"

func TestTheAnswerComesBeforeTheAPIServerGivesUp(t *testing.T) {
	module := write(t, filepath.Join(t.TempDir(), "endless.wasm"), []byte(endless))
	e, err := engine.New(engine.Options{Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, p := range []policy.Policy{
		{ID: "fails", Module: "file://" + module, Mode: policy.Protect, FailurePolicy: policy.Fail, Bundles: []string{"b"}},
		{ID: "ignored", Module: "file://" + module, Mode: policy.Protect, FailurePolicy: policy.Ignore},
	} {
		if err := e.Load(context.Background(), p); err != nil {
			t.Fatal(err)
		}
	}
	h, err := New(Options{Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/validate/fails":   `"allowed":false,"status":{"message":"Policy execution interrupted because it exceeded the allowed execution time`,
		"/review/b":         `"allowed":false,"status":{"message":"fails: Policy execution interrupted`,
		"/validate/ignored": `"allowed":true,"auditAnnotations":null,"warnings":["failurePolicy Ignore`,
	} {
		// The policy would have 20 s: how long the answer took on this machine is
		// only logged.
		const timeout = 2 * time.Second
		start := time.Now()
		w := post(h, path+"?timeout="+timeout.String(), plainPod)
		took := time.Since(start)
		t.Logf("%s: answered %s after the start of a timeout of %s", path, took, timeout)
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) || took >= 10*timeout {
			t.Errorf("%s = %d %s after %s, want 200 %s because of the timeout of %s", path, w.Code, w.Body, took, want, timeout)
		}
	}
}

func TestAClientThatGoesAwayGivesItsPlaceBack(t *testing.T) {
	module := write(t, filepath.Join(t.TempDir(), "endless.wasm"), []byte(endless))
	e, err := engine.New(engine.Options{Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := e.Load(context.Background(), policy.Policy{ID: "p", Module: "file://" + module}); err != nil {
		t.Fatal(err)
	}
	h, err := New(Options{Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/validate/p", strings.NewReader(plainPod))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	gone := make(chan error, 1)
	go func() {
		resp, err := server.Client().Do(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		gone <- err
	}()
	if !eventually(func() bool { return h.inFlight.Load() == 1 }) {
		t.Fatal("the request is not in flight")
	}
	cancel()
	if err := <-gone; err == nil {
		t.Error("the request was answered, want it given up")
	}
	if !eventually(func() bool { return h.inFlight.Load() == 0 }) {
		t.Error("the place in flight is still taken by somebody who has gone")
	}
}
