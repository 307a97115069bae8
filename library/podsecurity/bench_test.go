package podsecurity_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/warder-dev/warder/library/podsecurity"
	"github.com/warder-dev/warder/sdk"
)

// The pod of the SDK's benchmarks is allowed by baseline and refused by
// restricted, at several places. BenchmarkDecode decodes its JSON, for the ratio.
func BenchmarkBaseline(b *testing.B)   { benchmark(b, `{"level": "baseline"}`) }
func BenchmarkRestricted(b *testing.B) { benchmark(b, `{"level": "restricted"}`) }

func benchmark(b *testing.B, settings string) {
	b.Helper()
	judge, err := podsecurity.Policy().Load(json.RawMessage(settings))
	if err != nil {
		b.Fatal(err)
	}
	text := benchPod(b)
	for b.Loop() {
		req := &sdk.Request{Operation: sdk.Create, Kind: sdk.GroupVersionKind{Version: "v1", Kind: "Pod"}}
		req.SetObject(text)
		if _, err := judge(context.Background(), req); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	text := benchPod(b).View().Raw()
	for b.Loop() {
		var into any
		if err := json.Unmarshal(text, &into); err != nil {
			b.Fatal(err)
		}
	}
}

func benchPod(b *testing.B) *sdk.Text {
	b.Helper()
	raw, err := os.ReadFile("../../sdk/testdata/pod.json")
	if err != nil {
		b.Fatal(err)
	}
	text, err := sdk.CheckText(raw)
	if err != nil {
		b.Fatal(err)
	}
	return text
}
