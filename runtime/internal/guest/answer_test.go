package guest

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/sdk"
)

func TestDecodeVerdict(t *testing.T) {
	tests := []struct {
		name, text string
		want       sdk.Verdict
		err        string
	}{
		{name: "accepts", text: " {\"accepted\": true}\n", want: sdk.Verdict{Accepted: true}},
		{name: "all fields", text: `{"accepted":false,"message":"no","code":403,"mutated_object":{"a":1},"audit_annotations":{"k":"v"},"warnings":["w"]}`,
			want: sdk.Verdict{Message: "no", Code: 403, MutatedObject: json.RawMessage(`{"a":1}`),
				AuditAnnotations: map[string]string{"k": "v"}, Warnings: []string{"w"}}},
		{name: "null is nothing", text: `{"accepted":true,"message":null,"code":null,"mutated_object":null,"audit_annotations":null,"warnings":null}`,
			want: sdk.Verdict{Accepted: true}},
		{name: "unknown names are ignored", text: `{"accepted":true,"mood":"good"}`, want: sdk.Verdict{Accepted: true}},
		{name: "nothing", text: " \n", err: "the policy gave no answer"},
		{name: "accepted is missing", text: `{"message":"no"}`, err: "missing field `accepted`"},
		{name: "accepted is null", text: `{"accepted":null}`, err: "missing field `accepted`"},
		{name: "another type", text: `{"accepted":"yes"}`, err: "cannot unmarshal string"},
		{name: "a code that is too large", text: `{"accepted":false,"code":65536}`, err: "cannot unmarshal number 65536"},
		{name: "a code that is negative", text: `{"accepted":false,"code":-1}`, err: "cannot unmarshal number -1"},
		{name: "trailing text", text: `{"accepted":true} {`, err: "trailing characters at offset 19"},
		{name: "not an object", text: `true`, err: "cannot unmarshal bool"},
		{name: "cut off", text: `{"accepted":tr`, err: "unexpected EOF"},
		{name: "too deep", text: `{"mutated_object":` + strings.Repeat("[", 20_000), err: "exceeded max depth"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := DecodeVerdict([]byte(tt.text))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %s", err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("error %v, verdict (-want +got)\n%s", err, diff)
			}
		})
	}
}

func TestDecodeSettingsVerdict(t *testing.T) {
	for text, want := range map[string]sdk.SettingsVerdict{
		`{"valid":true,"message":null}`:  {Valid: true},
		`{"valid":false,"message":"no"}`: {Message: "no"},
	} {
		if got, err := DecodeSettingsVerdict([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %+v, error %v; want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		``:                  "the policy gave no answer",
		`{}`:                "missing field `valid`",
		`{"valid":1}`:       "cannot unmarshal number",
		`{"valid":true}{}`:  "trailing characters",
		`{"valid":true`:     "unexpected EOF",
		`{"message":false}`: "cannot unmarshal bool",
	} {
		if _, err := DecodeSettingsVerdict([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
}

func TestSettingsErrorSaysWhatThePolicySays(t *testing.T) {
	for message, want := range map[string]string{"": "Policy settings are invalid: no message", "a is wrong": "Policy settings are invalid: a is wrong"} {
		if got := (&SettingsError{message}).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestFailureIsSeenThrough(t *testing.T) {
	f := &Failure{At: StageCall, Text: "it left", Err: &Exit{3}}
	exit := (*Exit)(nil)
	if !errors.As(f, &exit) || exit.Error() != "exit status 3" || f.Stage() != "call" || f.Error() != "it left" {
		t.Errorf("failure %v of %v at %s", f, exit, f.Stage())
	}
}
