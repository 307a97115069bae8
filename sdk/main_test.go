package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reads returns a read function that gives the pieces one by one, and then the
// error.
func reads(last error, pieces ...string) func([]byte) (int, error) {
	return func(p []byte) (int, error) {
		for len(pieces) > 0 && pieces[0] == "" {
			pieces = pieces[1:]
		}
		if len(pieces) == 0 {
			return 0, last
		}
		n := copy(p, pieces[0])
		pieces[0] = pieces[0][n:]
		return n, nil
	}
}

// result is what a run of a command leaves.
type result struct {
	Status         int
	Stdout, Stderr string
}

func runCommand(policy Policy, read func([]byte) (int, error), args ...string) result {
	var stdout, stderr strings.Builder
	status := command{policy: policy, read: read}.run(args, &stdout, &stderr)
	return result{status, stdout.String(), stderr.String()}
}

func inputOf(name string) string {
	return strings.Replace(minimal, `"uid":""`, `"uid":"u","name":"`+name+`","namespace":"shop","object":{"a":{"x":1.50}}`, 1) + "}"
}

func TestCommandJudgesInEitherOrderHoweverItIsRead(t *testing.T) {
	request, settings := inputOf("web"), `{"mode":"strict"}`
	want := result{0, `{"accepted":false,"message":"shop/web in mode \"strict\""}`, ""}
	inputs := []string{
		`{"request":` + request + `,"settings":` + settings + `}`,
		`{"settings":` + settings + `,"request":` + request + `}`,
		` { "settings" : ` + settings + ` , "request" : ` + request + ` } `,
		"{\"settings\":\n" + settings + "\n,\"other\":1,\"request\":" + request + "}\n",
	}
	for _, input := range inputs {
		for cut := range len(input) + 1 {
			have := runCommand(testPolicy(), reads(io.EOF, input[:cut], input[cut:]), "validate")
			if have != want {
				t.Fatalf("cut at %d of %s: have %+v, want %+v", cut, input, have, want)
			}
		}
		if have := runCommand(testPolicy(), reads(io.EOF, strings.Split(input, "")...), "validate"); have != want {
			t.Errorf("byte by byte: have %+v, want %+v", have, want)
		}
	}
}

func TestCommandTakesInputOfAnySize(t *testing.T) {
	for _, size := range []int{inputBytes - 200, inputBytes, inputBytes + 1, 5 * inputBytes} {
		request := inputOf(strings.Repeat("n", size))
		for _, input := range []string{
			`{"request":` + request + `}`,
			`{"settings":{"mode":"` + strings.Repeat("m", size) + `"},"request":` + request + `}`,
		} {
			have := runCommand(testPolicy(), reads(io.EOF, input), "validate")
			if have.Status != 0 || !strings.Contains(have.Stdout, strings.Repeat("n", size)) || have.Stderr != "" {
				t.Errorf("%d bytes: status %d, %d bytes of output, %q", len(input), have.Status, len(have.Stdout), have.Stderr)
			}
		}
	}
}

// A host that keeps the policy after it has read its settings must find them
// loaded then, and no second time.
func TestCommandLoadsLeadingSettingsBeforeItReadsOn(t *testing.T) {
	var loads []string
	policy := Policy{load: func(settings json.RawMessage) (Judge, error) {
		loads = append(loads, string(settings))
		return testPolicy().Load(settings)
	}}
	pieces := []string{`{"settings":{"mode":"a"`, `},`, `"request":` + inputOf("web") + `}`}
	var seen []int
	next := reads(io.EOF, pieces...)
	have := runCommand(policy, func(p []byte) (int, error) {
		seen = append(seen, len(loads))
		return next(p)
	}, "validate")
	if have.Status != 0 {
		t.Fatalf("have %+v", have)
	}
	if diff := cmp.Diff([]int{0, 0, 1, 1}, seen); diff != "" {
		t.Errorf("loads before each read: want, have:\n%s", diff)
	}
	if diff := cmp.Diff([]string{`{"mode":"a"}`}, loads); diff != "" {
		t.Errorf("loads: want, have:\n%s", diff)
	}
}

func TestCommandResolvesThePatch(t *testing.T) {
	input := `{"settings":{"mode":"patch"},"request":` + inputOf("web") + `}`
	want := result{0, `{"accepted":true,"mutated_object":{"a":{"x":1.50,"b":1}}}`, ""}
	if have := runCommand(testPolicy(), reads(io.EOF, input), "validate"); have != want {
		t.Errorf("have %+v, want %+v", have, want)
	}
}

func TestCommandSaysWhyThereIsNoVerdict(t *testing.T) {
	good := inputOf("web")
	tests := []struct {
		name, input, want string
		last              error
	}{
		{"nothing", ``, "input: EOF while parsing a value at offset 0\n", io.EOF},
		{"no JSON", `{"request":`, "input: EOF while parsing a value at offset 11\n", io.EOF},
		{"no object", `[]`, "input: missing field `request`\n", io.EOF},
		{"no request", `{"settings":{}}`, "input: missing field `request`\n", io.EOF},
		{"bad settings last", `{"request":` + good + `,"settings":{"mod":1}}`, "settings: mod: unknown setting; did you mean mode?\n", io.EOF},
		{"bad settings first", `{"settings":{"mod":1},"request":` + good + `}`, "settings: mod: unknown setting; did you mean mode?\n", io.EOF},
		{"the policy fails", `{"settings":{"mode":"fail"},"request":` + good + `}`, "cannot judge\n", io.EOF},
		{"the patch does not apply", `{"settings":{"mode":"patch"},"request":[]}`, "patch operation 0: set \"/a/b\": \"a\" is not an index of a list\n", io.EOF},
		{"reading fails", `{"request":` + good + `}`, "input: broken pipe\n", errors.New("broken pipe")},
	}
	for _, tt := range tests {
		want := result{1, "", tt.want}
		if have := runCommand(testPolicy(), reads(tt.last, tt.input), "validate"); have != want {
			t.Errorf("%s: have %+v, want %+v", tt.name, have, want)
		}
	}
}

func TestCommandValidatesSettings(t *testing.T) {
	tests := []struct{ input, want string }{
		{`{}`, `{"valid":true}`},
		{``, `{"valid":true}`},
		{"null\n", `{"valid":true}`},
		{`{"mod":1}`, `{"valid":false,"message":"mod: unknown setting; did you mean mode?"}`},
		{`{"mode":"bad"}`, `{"valid":false,"message":"mode: no mode is called bad"}`},
	}
	for _, tt := range tests {
		have := runCommand(testPolicy(), reads(io.EOF, strings.Split(tt.input, "")...), "validate-settings")
		if want := (result{0, tt.want, ""}); have != want {
			t.Errorf("%s: have %+v, want %+v", tt.input, have, want)
		}
		var verdict SettingsVerdict
		if err := json.Unmarshal([]byte(have.Stdout), &verdict); err != nil || verdict.Valid == (verdict.Message != "") {
			t.Errorf("%s: have %+v, %v", tt.input, verdict, err)
		}
	}
	want := result{1, "", "input: broken pipe\n"}
	if have := runCommand(testPolicy(), reads(errors.New("broken pipe"), "{"), "validate-settings"); have != want {
		t.Errorf("have %+v, want %+v", have, want)
	}
}

func TestCommandWithoutAnArgumentSaysHowToUseIt(t *testing.T) {
	for _, args := range [][]string{nil, {"help"}, {"validate", "x"}} {
		have := runCommand(testPolicy(), reads(io.EOF), args...)
		if have.Status != 2 || have.Stdout != "" || !strings.Contains(have.Stderr, `"validate" or "validate-settings"`) {
			t.Errorf("%q: have %+v", args, have)
		}
	}
}

func TestCommandThatCannotWriteFails(t *testing.T) {
	var stderr bytes.Buffer
	c := command{policy: testPolicy(), read: reads(io.EOF, `{"request":`+inputOf("web")+`}`)}
	if status := c.run([]string{"validate"}, brokenWriter{}, &stderr); status != 1 || stderr.String() != "disk full\n" {
		t.Errorf("have %d, %q", status, stderr.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestCommandHandsRawDocumentsToThePolicy(t *testing.T) {
	policy := Define(func(_ context.Context, _ *struct{}, req *Request) (Verdict, error) {
		return Verdict{Accepted: true, Message: fmt.Sprintf("%s: %s", req.UID, req.Raw)}, nil
	})
	tests := []struct{ request, want string }{
		{`{"uid":"u","user": "alice"}`, `{"accepted":true,"message":"u: {\"uid\":\"u\",\"user\": \"alice\"}"}`},
		{`[1, 2]`, `{"accepted":true,"message":": [1, 2]"}`},
		{`"x"`, `{"accepted":true,"message":": \"x\""}`},
		{`null`, `{"accepted":true,"message":": null"}`},
	}
	for _, tt := range tests {
		have := runCommand(policy, reads(io.EOF, `{"request":`+tt.request+`}`), "validate")
		if want := (result{0, tt.want, ""}); have != want {
			t.Errorf("%s: have %+v, want %+v", tt.request, have, want)
		}
	}
}

func TestCommandGivesThePolicyItsHost(t *testing.T) {
	policy := Define(func(ctx context.Context, _ *struct{}, _ *Request) (Verdict, error) {
		ips, err := LookupHost(ctx, "example.org")
		return Verdict{Accepted: true, Warnings: ips}, err
	})
	input := `{"request":` + inputOf("web") + `}`
	var stdout, stderr strings.Builder
	host := &recorder{answer: `{"ips":["192.0.2.1"]}`}
	c := command{policy: policy, read: reads(io.EOF, input), host: host}
	if status := c.run([]string{"validate"}, &stdout, &stderr); status != 0 || stdout.String() != `{"accepted":true,"warnings":["192.0.2.1"]}` {
		t.Errorf("have %d, %s, %s", status, stdout.String(), stderr.String())
	}
	have := runCommand(policy, reads(io.EOF, input), "validate")
	if want := (result{1, "", "net/v1/dns_lookup_host: this policy runs without a host to ask\n"}); have != want {
		t.Errorf("without a host: have %+v, want %+v", have, want)
	}
}
