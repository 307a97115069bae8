package sdktest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Form is what a policy's source is compiled to.
type Form string

// A WASI command is the portable form; a waPC reactor keeps its settings
// between calls.
const (
	WASI Form = "wasi"
	WaPC Form = "wapc"
)

// Build compiles the policy whose func main is in the folder and returns the
// module. It needs the Go toolchain; the test fails when the source does not
// compile.
func Build(t testing.TB, dir string, form Form) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "policy.wasm")
	if err := BuildFile(dir, form, out); err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// BuildFile compiles the policy whose func main is in the folder to the file
// out. The error has what the compiler said.
func BuildFile(dir string, form Form, out string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out}
	if form == WaPC {
		args = append(args, "-buildmode=c-shared", "-tags=wapc")
	}
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s as %s: %w\n%s", dir, form, err, said)
	}
	return nil
}
