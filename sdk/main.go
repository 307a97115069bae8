package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Main runs the policy as the program it was compiled into. It is all that a
// policy's func main does.
//
// As a command (GOOS=wasip1, or natively to try a policy without a server) it
// takes one argument, "validate" or "validate-settings", reads its input from
// standard input and writes its answer to standard output; without a verdict it
// writes the reason to standard error and exits with status 1. As a reactor
// (-buildmode=c-shared -tags wapc) it keeps the policy for the calls to come
// and returns.
func Main(p Policy) {
	if keepForReactor(p) {
		return
	}
	c := command{policy: p, read: readInput, host: commandHost()}
	os.Exit(c.run(os.Args[1:], os.Stdout, os.Stderr))
}

// command is one run of a policy as a command.
type command struct {
	policy Policy
	read   func(p []byte) (int, error)
	host   Host // nil where there is none
}

func (c command) run(args []string, stdout, stderr io.Writer) int {
	var answer []byte
	var err error
	switch {
	case len(args) == 1 && args[0] == "validate":
		answer, err = c.validate()
	case len(args) == 1 && args[0] == "validate-settings":
		answer, err = c.validateSettings()
	default:
		_, _ = fmt.Fprintln(stderr, `want one argument, "validate" or "validate-settings", and the input on standard input`)
		return 2
	}
	if err == nil {
		_, err = stdout.Write(answer)
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// inputBytes is the first size of the input buffer. Most reviews fit; a larger
// one doubles it.
const inputBytes = 64 << 10

// validate reads {"request":R,"settings":S} and returns the verdict.
//
// When the settings come first, they are loaded as soon as they are there,
// before the rest is asked for. A host that keeps a snapshot of the policy from
// between two reads then has the settings in it, decoded and compiled.
func (c command) validate() ([]byte, error) {
	input := make([]byte, 0, inputBytes)
	var judge Judge
	var invalid error
	loaded := false
	for {
		if len(input) == cap(input) {
			input = append(make([]byte, 0, 2*cap(input)), input...)
		}
		n, err := c.read(input[len(input):cap(input)])
		input = input[:len(input)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("input: %w", err)
		}
		if settings := leadingSettings(input); !loaded && settings != nil {
			loaded = true
			judge, invalid = c.policy.Load(settings)
		}
	}
	request, settings, err := parseInput(input)
	if err != nil {
		return nil, err
	}
	if !loaded {
		judge, invalid = c.policy.Load(settings)
	}
	if invalid != nil {
		return nil, fmt.Errorf("settings: %w", invalid)
	}
	return judgeInput(c.host, judge, request)
}

// leadingSettings returns the settings when the input starts with them and has
// got as far as the next member.
func leadingSettings(input []byte) json.RawMessage {
	rest, ok := bytes.CutPrefix(input, []byte(`{"settings":`))
	if !ok || len(rest) == 0 {
		return nil
	}
	end, err := skipValue(rest, 0, nil)
	if err != nil || end == len(rest) || rest[end] != ',' {
		return nil
	}
	return rest[:end]
}

// judgeInput judges the request in text and returns the verdict as JSON.
func judgeInput(host Host, judge Judge, text json.RawMessage) ([]byte, error) {
	ctx := context.Background()
	if host != nil {
		ctx = WithHost(ctx, host)
	}
	req, err := parseChecked(text)
	if err != nil {
		req = rawRequest(text)
	}
	v, err := judge(ctx, req)
	if err != nil {
		return nil, err
	}
	if v, err = v.Resolve(req); err != nil {
		return nil, err
	}
	return v.AppendJSON(nil), nil
}

// rawRequest is the request of a raw policy: any JSON.
func rawRequest(text json.RawMessage) *Request {
	return &Request{UID: rawUID(text), Raw: text}
}

// rawUID returns the uid member of a raw request if it is a string.
func rawUID(text json.RawMessage) string {
	if v := View(text); v.Exists() && typeOf(v.raw) == "an object" {
		if uid := v.Get("uid"); uid.Exists() && typeOf(uid.raw) == "a string" {
			return uid.String()
		}
	}
	return ""
}

// RawRequest returns the request of a raw policy; its UID is that of the
// document if there is one. The text must be valid JSON.
func RawRequest(text json.RawMessage) *Request { return rawRequest(text) }

// validateSettings reads settings and says whether they are valid.
func (c command) validateSettings() ([]byte, error) {
	input, err := io.ReadAll(readerFunc(c.read))
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	_, invalid := c.policy.Load(input)
	return settingsAnswer(invalid), nil
}

// settingsAnswer is a SettingsVerdict as JSON.
func settingsAnswer(invalid error) []byte {
	if invalid == nil {
		return []byte(`{"valid":true}`)
	}
	e := encoder{dst: []byte(`{"valid":false`)}
	e.str("message", invalid.Error())
	return append(e.dst, '}')
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
