package runtime_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// BenchmarkEvaluate judges a Pod of 5 KB with a guest made with our SDK.
func BenchmarkEvaluate(b *testing.B) {
	pod, err := os.ReadFile("../sdk/testdata/pod.json")
	if err != nil {
		b.Fatal(err)
	}
	req := &sdk.Request{UID: "1", Operation: sdk.Create, Object: bytes.TrimSpace(pod)}
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		wasm := guest(b, "misbehave", form)
		for _, isolation := range []runtime.Isolation{runtime.Snapshot, runtime.Fresh} {
			b.Run(fmt.Sprint(form, "/", isolation), func(b *testing.B) {
				p := start(b, wasm, runtime.ProgramOptions{Isolation: isolation})
				b.ReportAllocs()
				for b.Loop() {
					v, err := p.Evaluate(b.Context(), req)
					if err != nil || v.Message != `cannot do ""` {
						b.Fatal(v, err)
					}
				}
			})
		}
	}
}
