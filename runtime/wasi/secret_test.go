package wasi

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
	if err := sdktest.BuildFile("../testdata/guests/hoard", sdktest.WASI, out); err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// idle is a copy of the memory of the one instance of a program, which has been
// taken back.
func idle(t *testing.T, p *Program) []byte {
	t.Helper()
	w, err := p.pool.Get(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.pool.Put(w)
	memory, ok := w.in.Memory().Read(0, w.in.Memory().Size())
	if !ok {
		t.Fatal("memory cannot be read")
	}
	return append(bytes.Clone(memory), fmt.Sprint(w.current)...)
}

func TestNoSecretStaysInAParkedInstance(t *testing.T) {
	for name, wasm := range map[string][]byte{"go": build(t), "wat": read(t, "hoard")} {
		t.Run(name, func(t *testing.T) {
			m, err := compile(t, wasm)
			if err != nil {
				t.Fatal(err)
			}
			p := program(t, m, guest.ProgramOptions{Instances: 1, Settings: json.RawMessage(`{"seen":["a-setting"]}`)})
			isolated(t, p, guest.Snapshot)
			for range 20 {
				secret := fmt.Sprintf("secret-%x", rand.Uint64())
				object := json.RawMessage(`{"secret":"` + secret + `"}`)
				if _, err := p.Evaluate(bounded(t), &sdk.Request{UID: secret, Object: object}); err != nil {
					t.Fatal(err)
				}
				memory := idle(t, p)
				if bytes.Contains(memory, []byte(secret)) {
					t.Errorf("%s is in the memory of a parked instance", secret)
				}
				if !bytes.Contains(memory, []byte("a-setting")) {
					t.Error("not even the settings are found: the search is blind")
				}
			}
		})
	}
}
