package sdk

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

// podJSON is a Pod of two containers as an API server sends it, about 5 KB.
func podJSON(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/pod.json")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(text)
}

func BenchmarkCheck(b *testing.B) {
	text := podJSON(b)
	b.Run("sdk", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			if err := Check(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if !json.Valid(text) {
				b.Fatal("not valid")
			}
		}
	})
}

// BenchmarkView reads what pod-privileged reads.
func BenchmarkView(b *testing.B) {
	text := podJSON(b)
	b.Run("sdk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			spec := View(text).Get("spec")
			for c := range spec.Containers() {
				if n++; c.Get("securityContext", "privileged").Bool() {
					b.Fatal("privileged")
				}
			}
			if n != 2 || spec.Err() != nil {
				b.Fatal(n, spec.Err())
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var pod map[string]any
			if err := json.Unmarshal(text, &pod); err != nil {
				b.Fatal(err)
			}
			containers := pod["spec"].(map[string]any)["containers"].([]any)
			for _, c := range containers {
				if c.(map[string]any)["securityContext"].(map[string]any)["privileged"].(bool) {
					b.Fatal("privileged")
				}
			}
		}
	})
}

func BenchmarkParseRequest(b *testing.B) {
	text := (&Request{UID: "u", Operation: Create, Object: podJSON(b)}).AppendJSON(nil)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRequest(text); err != nil {
			b.Fatal(err)
		}
	}
}
