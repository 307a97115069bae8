package wapc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/warder-dev/warder/runtime/internal/guest"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// build builds the guest that keeps what it can get hold of.
func build(t *testing.T) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "hoard.wasm")
	if err := sdktest.BuildFile("../testdata/guests/hoard", sdktest.WaPC, out); err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// holds reports whether an instance has text somewhere in its memory.
func holds(t *testing.T, i *instance, text string) bool {
	t.Helper()
	memory, ok := i.in.Memory().Read(0, i.in.Memory().Size())
	if !ok {
		t.Fatal("memory cannot be read")
	}
	return bytes.Contains(memory, []byte(text))
}

func TestNoSecretStaysInAnIdleInstance(t *testing.T) {
	for name, wasm := range map[string][]byte{"go": build(t), "wat": read(t, "hoard")} {
		t.Run(name, func(t *testing.T) {
			m, err := compile(t, wasm)
			if err != nil {
				t.Fatal(err)
			}
			p := program(t, m, guest.ProgramOptions{Instances: 1, Settings: json.RawMessage(`{"seen":["a-setting"]}`)})
			if mode, why := p.Isolation(); mode != guest.Snapshot {
				t.Fatalf("isolation %s: %s", mode, why)
			}
			secret := ""
			for range 20 {
				secret = fmt.Sprintf("secret-%x", rand.Uint64())
				object := json.RawMessage(`{"secret":"` + secret + `"}`)
				if _, err := p.Evaluate(bounded(t), &sdk.Request{UID: secret, Object: object}); err != nil {
					t.Fatal(err)
				}
				i, err := p.pool.Get(bounded(t))
				if err != nil {
					t.Fatal(err)
				}
				if holds(t, i, secret) {
					t.Errorf("%s is in the memory of an idle instance", secret)
				}
				if i.guestResponse != nil && bytes.Contains(i.payload, []byte(secret)) {
					t.Errorf("%s is beside the idle instance", secret)
				}
				p.pool.Put(i)
			}
			notBlind(t, p, secret)
		})
	}
}

// notBlind shows that a secret is found where it is: in an instance that was
// not taken back.
func notBlind(t *testing.T, p *Program, secret string) {
	t.Helper()
	i, err := p.pool.Get(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	payload := []byte(`{"request":{"secret":"` + secret + `"},"settings":{"seen":["a-setting"]}}`)
	if _, err := i.judge(bounded(t), nil, payload); err != nil {
		t.Fatal(err)
	}
	if !holds(t, i, secret) {
		t.Error("a secret is not even found in the instance that was just told")
	}
	i.in.Close()
	p.pool.Lost()
}
