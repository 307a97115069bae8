package native

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/sdk"
)

type settings struct {
	Word string `json:"word"`
}

func (s *settings) Validate() error {
	if s.Word == "" {
		return errors.New("word: must not be empty")
	}
	return nil
}

// patch sets the member "word".
func patch(word string) (p sdk.Patch) {
	p.Set("/word", word)
	return p
}

// policy does what the object says.
func policy() sdk.Policy {
	return sdk.Define(func(ctx context.Context, s *settings, req *sdk.Request) (sdk.Verdict, error) {
		switch do := sdk.View(req.Object).Get("do").String(); do {
		case "panic":
			panic("no more")
		case "error":
			return sdk.Accept(), errors.New("no opinion")
		case "mutate":
			return sdk.Verdict{Accepted: true, Patch: patch(s.Word)}, nil
		case "both":
			return sdk.Verdict{MutatedObject: json.RawMessage(`{}`), Patch: patch(s.Word)}, nil
		case "ask":
			found, err := sdk.LookupHost(ctx, s.Word)
			return sdk.Reject(strings.Join(found, " ")), err
		case "wait":
			<-ctx.Done()
			return sdk.Verdict{}, context.Cause(ctx)
		}
		return sdk.Reject("the word is " + s.Word), nil
	})
}

type dns struct{}

func (dns) Call(_ context.Context, call sdk.HostCall) ([]byte, error) {
	return []byte(`{"ips":["` + strings.Trim(string(call.Payload), `"`) + `"]}`), nil
}

func do(what string) *sdk.Request {
	return &sdk.Request{Object: json.RawMessage(`{"do":"` + what + `"}`)}
}

func load(t *testing.T, host sdk.Host) *Program {
	t.Helper()
	p, err := New(policy(), json.RawMessage(`{"word":"please"}`), host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestNewRefusesBadSettings(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:            "word: must not be empty",
		``:              "word: must not be empty",
		`{"wort":"a"}`:  "wort: unknown setting; did you mean word?",
		`{"word":1}`:    "word: want a string, have number",
		`{"word":"a"`:   "EOF while parsing an object",
		`{"word":"a"}1`: "more than one JSON value",
	} {
		if _, err := New(policy(), json.RawMessage(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
	if _, err := New(sdk.Policy{}, nil, nil); err == nil {
		t.Error("a policy that is not defined loads")
	}
}

func TestEvaluate(t *testing.T) {
	p := load(t, dns{})
	for what, want := range map[string]sdk.Verdict{
		"nothing": sdk.Reject("the word is please"),
		"ask":     sdk.Reject("please"),
		"mutate":  sdk.Mutate(json.RawMessage(`{"do":"mutate","word":"please"}`)),
	} {
		got, err := p.Evaluate(t.Context(), do(what))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: error %v, verdict (-want +got)\n%s", what, err, diff)
		}
	}
}

func TestWithoutVerdict(t *testing.T) {
	p := load(t, nil)
	for what, want := range map[string]string{
		"panic": "the policy panicked: no more",
		"error": "no opinion",
		"both":  "verdict: both a patch and a mutated object",
		"ask":   "net/v1/dns_lookup_host: " + sdk.ErrNoHost.Error(),
	} {
		got, err := p.Evaluate(t.Context(), do(what))
		if err == nil || err.Error() != want {
			t.Errorf("%s: verdict %+v, error %v; want error %s", what, got, err, want)
		}
		if what != "both" && got.Accepted {
			t.Errorf("%s: accepted, beside an error", what)
		}
	}
}

func TestContextReachesThePolicy(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("time is up")
	cancel(why)
	if _, err := load(t, nil).Evaluate(ctx, do("wait")); !errors.Is(err, why) {
		t.Errorf("error %v, want %v", err, why)
	}
}
