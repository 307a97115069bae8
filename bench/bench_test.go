package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/runtime"
)

// TestMain makes the test binary the server when it is started as one.
func TestMain(m *testing.M) {
	if config := os.Getenv(serverEnv); config != "" {
		os.Exit(serverMain(config))
	}
	os.Exit(m.Run())
}

func TestRunMeasuresEveryRowAndStart(t *testing.T) {
	out := filepath.Join(t.TempDir(), "result.json")
	opts := options{out: out, protocol: http1, time: 20 * time.Millisecond, rounds: 1, starts: []int{2}, warm: 1}
	var printed bytes.Buffer
	if err := run(t.Context(), opts, &printed); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var res result
	if err := json.Unmarshal(text, &res); err != nil {
		t.Fatal(err)
	}
	var have []place
	for _, r := range res.Rows {
		have = append(have, place{r.Name, r.Concurrency})
		if r.Requests == 0 || r.RPS <= 0 || r.P50 <= 0 || r.P99 < r.P50 || r.Allocs <= 0 || r.Bytes <= 0 || r.ToAllowAll == nil {
			t.Errorf("row %+v: want more than 0 of everything, and a ratio to allow-all", r)
		}
		if compared := strings.HasPrefix(r.Name, "wasm-snapshot"); compared != (r.ToFresh != nil) {
			t.Errorf("%s: compared with a fresh instance: %t, want %t", r.Name, !compared, compared)
		}
	}
	if diff := cmp.Diff(everyPlace(), have, cmp.AllowUnexported(place{})); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	checkStarts(t, res)
	for _, j := range res.Judging {
		if j.Micros <= 0 || j.ToDecoding <= 0 {
			t.Errorf("judging %+v: want more than 0 of everything", j)
		}
	}
	checkKeys(t, text)
	for _, want := range []string{"allow-all", "eight-policies", "HTTPS by h1", "cel-ten-expressions", "warm start to cold, 2 policies"} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("printed %s, want %q in it", &printed, want)
		}
	}
}

func everyPlace() (all []place) {
	for _, c := range []int{1, 32} {
		for _, name := range []string{
			"allow-all", "native", "wasm-snapshot", "wasm-snapshot-wapc", "wasm-fresh", "wasm-fresh-wapc", "eight-policies",
		} {
			all = append(all, place{name, c})
		}
	}
	return all
}

func checkStarts(t *testing.T, res result) {
	t.Helper()
	type kind struct {
		Policies int
		Cache    string
	}
	var have []kind
	for _, s := range res.Start {
		have = append(have, kind{s.Policies, s.Cache})
		if s.MS <= 0 || s.ToCold <= 0 {
			t.Errorf("start %+v: want more than 0 of everything", s)
		}
	}
	if diff := cmp.Diff([]kind{{2, cold}, {2, warm}}, have); diff != "" {
		t.Errorf("starts (-want +got):\n%s", diff)
	}
	if res.RSS <= 0 || res.RSSPolicies != 2 || res.NativeRSS <= 0 {
		t.Errorf("memory of %g MiB with %d policies, %g MiB with a built-in; want some, with 2", res.RSS, res.RSSPolicies, res.NativeRSS)
	}
}

// checkKeys looks for the names that readers of the file rely on.
func checkKeys(t *testing.T, text []byte) {
	t.Helper()
	var file struct {
		Rows, Start []map[string]any
		RSS         *float64 `json:"rss_mib"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"name", "concurrency", "rps", "p50_us", "p99_us", "allocs", "bytes", "to_allow_all"} {
		if _, ok := file.Rows[0][key]; !ok {
			t.Errorf("rows have no %q", key)
		}
	}
	for _, key := range []string{"policies", "cache", "ms"} {
		if _, ok := file.Start[0][key]; !ok {
			t.Errorf("start has no %q", key)
		}
	}
	if file.RSS == nil {
		t.Error("there is no rss_mib")
	}
}

func TestAWrongVerdictIsAnError(t *testing.T) {
	b, err := newBench(t.TempDir(), options{protocol: http2})
	if err != nil {
		t.Fatal(err)
	}
	policies := map[string]entry{
		"other-team":   {Module: "file://" + b.wasi, Settings: settings{"teams": []string{"search"}}},
		"no-privilege": {Module: "builtin://pod-privileged"},
	}
	file, err := b.writePolicies("wrong", policies)
	if err != nil {
		t.Fatal(err)
	}
	p, err := b.startServer(t.Context(), serverConfig{Policies: file, Isolation: runtime.Snapshot})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}()
	if err := p.waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.checkIsolation(t.Context(), runtime.Fresh); err == nil || !strings.Contains(err.Error(), "isolation is snapshot, want fresh") {
		t.Errorf("checkIsolation: %v, want an error about the snapshot", err)
	}
	tests := []struct {
		name string
		ask  question
		want string
	}{
		{"refused, and was to be accepted", question{paths: []string{"/validate/other-team"}}, "allowed with neither patch nor warnings, have"},
		{"accepted, and was to be refused", question{[]string{allowAllPath}, "Privileged"}, `refused with "Privileged", have`},
		{"refused for another reason", question{[]string{"/validate/no-privilege"}, "team"}, `refused with "team", have`},
		{"no such policy", question{paths: []string{"/validate/nobody"}}, "404 Not Found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := p.measure(t.Context(), tt.ask, 2, time.Millisecond)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("measure: %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestAServerThatDoesNotStartSaysWhy(t *testing.T) {
	b := &bench{dir: t.TempDir(), opts: options{protocol: http2}}
	if err := b.makeCertificate(); err != nil {
		t.Fatal(err)
	}
	file, err := b.writePolicies("wrong", map[string]entry{"p": {Module: "builtin://pod-privilege"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.buildWarder(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]func(context.Context, serverConfig) (*process, error){
		"bench": b.startServer, "warder": b.startWarder,
	} {
		p, err := start(t.Context(), serverConfig{Policies: file, CacheDir: t.TempDir(), Isolation: runtime.Snapshot})
		if err == nil {
			err = p.waitReady(t.Context())
		}
		if want := "did you mean pod-privileged?"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("start of %s: %v, want an error with %q", name, err, want)
		}
	}
}

func TestVariantsDifferInWhatTheEngineSees(t *testing.T) {
	have, err := vary([]byte("a "+varied+" b"), 7)
	if want := "a so nobody knows whose this007 b"; err != nil || string(have) != want {
		t.Errorf("vary = %q, %v, want %q", have, err, want)
	}
	for _, none := range []string{"", varied + varied} {
		if _, err := vary([]byte(none), 7); err == nil {
			t.Errorf("vary takes %q", none)
		}
	}
}

func TestReviewsAreWhatTheyAreSaidToBe(t *testing.T) {
	accepted, uid := acceptedReview(7)
	refused, _ := refusedReview()
	for name, ok := range map[string]bool{
		"the review is JSON":            json.Valid(accepted) && json.Valid(refused),
		"it has the worker's UID":       bytes.Contains(accepted, []byte(uid)) && len(uid) == len(reviewUID),
		"it has about 5 KB":             len(accepted) > 4500 && len(accepted) < 6000,
		"the refused one is privileged": bytes.Contains(refused, []byte(`"privileged":true`)),
		"the refused one has a slip":    bytes.Contains(refused, []byte(`"team":"paymnets"`)),
	} {
		if !ok {
			t.Errorf("%s: no", name)
		}
	}
}

func TestMedianAndPercentile(t *testing.T) {
	all := []figures{{RPS: 3, P50: 10}, {RPS: 1, P50: 30}, {RPS: 2, P50: 20}}
	if have, want := median(all), (figures{RPS: 2, P50: 20}); have != want {
		t.Errorf("median = %+v, want %+v", have, want)
	}
	if have, want := all[0].ratio(all[1]), (figures{RPS: 3, P50: 10.0 / 30}); have != want {
		t.Errorf("ratio = %+v, want %+v", have, want)
	}
	sorted := make([]time.Duration, 100)
	for i := range sorted {
		sorted[i] = time.Duration(i + 1)
	}
	for percent, want := range map[int]time.Duration{50: 50, 99: 99, 100: 100} {
		if have := percentile(sorted, percent); have != want {
			t.Errorf("percentile %d = %d, want %d", percent, have, want)
		}
	}
	if have := percentile(sorted[:1], 99); have != 1 {
		t.Errorf("percentile 99 of one = %d, want it", have)
	}
}

func TestFlagsThatCannotWorkAreNamed(t *testing.T) {
	tests := []struct{ args, want string }{
		{"-proto http3", `-proto: want h1 or h2, have "http3"`},
		{"-time 0s", "want more than 0 of each"},
		{"-start 1,none", `want numbers from 1 to 1000, have "none"`},
		{"-rows nativ", `there is no row "nativ"`},
		{"now", `argument "now": want flags only`},
	}
	for _, tt := range tests {
		_, err := parseFlags(strings.Fields(tt.args), io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.args, err, tt.want)
		}
	}
}
