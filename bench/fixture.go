package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/warder-dev/warder/sdk/sdktest"
)

// examplePackage is the policy that is measured in WebAssembly.
const examplePackage = "github.com/warder-dev/warder/examples/teamlabel"

// bench is what all measurements share: files in a temporary folder.
type bench struct {
	opts              options
	dir               string
	certFile, keyFile string
	roots             *x509.CertPool
	wasi, wapc        string // files of the example policy
	warder            string // the program, once it is built
}

// newBench makes a certificate and compiles the example policy, which needs the
// Go toolchain and the module's source.
func newBench(dir string, opts options) (*bench, error) {
	b := &bench{opts: opts, dir: dir, wasi: filepath.Join(dir, "wasi.wasm"), wapc: filepath.Join(dir, "wapc.wasm")}
	if err := b.makeCertificate(); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", examplePackage).Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", examplePackage, err)
	}
	source := strings.TrimSpace(string(out))
	if err := sdktest.BuildFile(source, sdktest.WASI, b.wasi); err != nil {
		return nil, err
	}
	return b, sdktest.BuildFile(source, sdktest.WaPC, b.wapc)
}

// makeCertificate makes the server's certificate, which the client trusts.
func (b *bench) makeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "warder bench"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true,
		IsCA:                  true,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	b.roots = x509.NewCertPool()
	b.roots.AddCert(cert)
	b.certFile, b.keyFile = filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	if err := os.WriteFile(b.certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(b.keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
}

// entry is one policy of a policies.yml.
type entry struct {
	Module          string `json:"module"`
	Settings        any    `json:"settings,omitempty"`
	AllowedToMutate bool   `json:"allowedToMutate,omitempty"`
	Bundle          string `json:"bundle,omitempty"`
}

// settings are the settings of one policy.
type settings map[string]any

// teamSettings have the team of podReview among others, and not that of a
// refused one.
func teamSettings() settings {
	return settings{"teams": []string{"checkout", "payments", "search", "platform"}}
}

// eightPolicies are every built-in and two WebAssembly policies. They look at
// all there is to look at in podReview and accept it without a change.
func eightPolicies(first, second string) map[string]entry {
	bounds := func(request, limit, most string) settings {
		return settings{"defaultRequest": request, "defaultLimit": limit, "maxLimit": most}
	}
	version := settings{"mandatory_labels": []string{"app.kubernetes.io/name"},
		"constrained_labels": settings{"app.kubernetes.io/version": `^[0-9]+\.[0-9]+\.[0-9]+$`}}
	all := map[string]entry{
		"capabilities": {Module: "builtin://capabilities-psp", AllowedToMutate: true,
			Settings: settings{"allowed_capabilities": []string{"NET_BIND_SERVICE"}, "required_drop_capabilities": []string{"ALL"}}},
		"resources": {Module: "builtin://container-resources", AllowedToMutate: true,
			Settings: settings{"cpu": bounds("100m", "1", "4"), "memory": bounds("64Mi", "256Mi", "4Gi")}},
		"namespaces": {Module: "builtin://host-namespaces-psp"},
		"privileged": {Module: "builtin://pod-privileged"},
		"labels":     {Module: "builtin://safe-labels", Settings: version},
		"repos": {Module: "builtin://trusted-repos",
			Settings: settings{"registries": settings{"allow": []string{"ghcr.io"}}, "tags": settings{"reject": []string{"latest"}}}},
		"team":     {Module: "file://" + first, Settings: teamSettings()},
		"template": {Module: "file://" + second, Settings: settings{"teams": []string{"7d9c5b6f4d"}, "label": "pod-template-hash"}},
	}
	for id, e := range all {
		e.Bundle = "eight"
		all[id] = e
	}
	return all
}

// writePolicies writes a policies.yml (JSON is YAML) and returns its name.
func (b *bench) writePolicies(name string, policies map[string]entry) (string, error) {
	text, err := json.MarshalIndent(policies, "", "  ")
	if err != nil {
		return "", err
	}
	file := filepath.Join(b.dir, name+".yml")
	return file, os.WriteFile(file, text, 0o600)
}

// variant writes a module that does what the WASI example does and has another
// digest, and returns its name.
func (b *bench) variant(n int) (string, error) {
	wasm, err := os.ReadFile(b.wasi)
	if err != nil {
		return "", err
	}
	wasm, err = vary(wasm, n)
	if err != nil {
		return "", err
	}
	file := filepath.Join(b.dir, fmt.Sprintf("variant-%d.wasm", n))
	return file, os.WriteFile(file, wasm, 0o600)
}

// varied is a text of the policy that no benchmark looks at. It is part of the
// module's data, so that a module with another one is another module to every
// cache; what is in custom sections never reaches the engine.
const varied = "so nobody knows whose this is"

// vary returns the module with the number in that text.
func vary(wasm []byte, n int) ([]byte, error) {
	other := fmt.Sprintf("%s%03d", varied[:len(varied)-3], n)
	if bytes.Count(wasm, []byte(varied)) != 1 || len(other) != len(varied) {
		return nil, fmt.Errorf("variant %d: the module does not have %q once", n, varied)
	}
	return bytes.Replace(wasm, []byte(varied), []byte(other), 1), nil
}
