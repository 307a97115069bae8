package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/wasm"
)

// registryCommands are what scripts with a registry need:
//
//	awaitregistry DIR     waits for a registry that was started in the background, and sets $REGISTRY
//	module FILE [JSON]    makes a module, with metadata when there is any
//	certificate CERT KEY  makes a certificate for localhost that signs itself
func registryCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"awaitregistry": awaitRegistry,
		"module":        makeModule,
		"certificate":   makeCertificate,
	}
}

func awaitRegistry(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	host := regexp.MustCompile(`localhost:\d+`)
	for {
		text, err := os.ReadFile(filepath.Join(ts.MkAbs(args[0]), "sources.yml"))
		if err == nil {
			ts.Setenv("REGISTRY", string(host.Find(text))) // it listens before it writes
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("no registry in %s", args[0])
		case <-look.C:
		}
	}
}

func makeModule(ts *testscript.TestScript, _ bool, args []string) {
	module := []byte(wasm.Header)
	switch {
	case len(args) == 2 && args[1] == "rego":
		export := wasm.AppendU32(append(wasm.AppendName([]byte{1}, "opa_eval_ctx_new"), 0), 0)
		module = wasm.Append(module, wasm.Section{ID: wasm.SectionExport, Payload: export})
	case len(args) == 2:
		module = wasm.Append(module, wasm.Section{ID: wasm.SectionCustom, Payload: append(wasm.AppendName(nil, "io.kubewarden.metadata"), args[1]...)})
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), module, 0o600))
}

func makeCertificate(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	ts.Check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	for i, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: cert}, {Type: "PRIVATE KEY", Bytes: private}} {
		ts.Check(os.WriteFile(ts.MkAbs(args[i]), pem.EncodeToMemory(block), 0o600))
	}
}

// What policies ask about images is answered by the client that pulls them.
var _ capability.Images = (*artifact.Client)(nil)

func TestASizeIsReadable(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 3885969: "3.7 MiB"} {
		if have := bytesText(n); have != want {
			t.Errorf("bytesText(%d) = %q, want %q", n, have, want)
		}
	}
}

func TestTheKeyOfACertificateIsNotInTheSources(t *testing.T) {
	file := filepath.Join(t.TempDir(), "both.pem")
	both := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("key")})
	both = append(both, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("cert")})...)
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := (&registryConfig{certFile: file}).sources([]string{(&url.URL{Host: "localhost:1"}).Host})
	if err != nil || strings.Contains(text, "PRIVATE") || !strings.Contains(text, "BEGIN CERTIFICATE") {
		t.Errorf("sources = %s, %v, want the certificate alone", text, err)
	}
}
