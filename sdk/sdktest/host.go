package sdktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/warder-dev/warder/sdk"
)

// Host answers the calls of a policy under test and records them:
//
//	host := sdktest.NewHost(t, sdktest.Answer{
//		Capability: "kubernetes/get_resource",
//		Payload:    json.RawMessage(`{"metadata": {"labels": {"team": "a"}}}`),
//	})
//	v, err := sdktest.Load(t, Policy(), nil)(sdk.WithHost(t.Context(), host), req)
//
// A call that it has no answer for fails the test. Log lines (tracing/log) need
// no answer. Safe for concurrent use.
type Host struct {
	t       testing.TB
	answers []Answer

	mu    sync.Mutex
	calls []sdk.HostCall
}

// Answer is what a Host says to a call, as often as it is asked.
type Answer struct {
	// Capability is the call's: "kubernetes/get_resource".
	Capability string
	// Question is the payload that this answers, compared as JSON; nil for
	// every payload.
	Question json.RawMessage
	// Payload is the answer.
	Payload json.RawMessage
	// Err is the answer when it is not nil.
	Err error
}

// NewHost returns a Host that gives these answers; the first that fits counts.
func NewHost(t testing.TB, answers ...Answer) *Host { return &Host{t: t, answers: answers} }

// Call implements sdk.Host.
func (h *Host) Call(ctx context.Context, call sdk.HostCall) ([]byte, error) {
	h.t.Helper()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	call.Payload = slices.Clone(call.Payload)
	h.calls = append(h.calls, call)
	h.mu.Unlock()
	payload, err := answer(h.answers, call)
	if errors.Is(err, errNoAnswer) {
		h.t.Errorf("unexpected call of %s: %s", call.Capability(), call.Payload)
	}
	return payload, err
}

// errNoAnswer says that a call was not expected.
var errNoAnswer = errors.New("the test has no answer")

// answer is what the first of the answers that fits says to the call.
func answer(answers []Answer, call sdk.HostCall) (json.RawMessage, error) {
	for _, a := range answers {
		fits := a.Question == nil || sameJSON(a.Question, call.Payload)
		if fits && a.Capability == call.Capability() && call.Binding == sdk.Binding {
			return slices.Clone(a.Payload), a.Err
		}
	}
	if call.Capability() == "tracing/log" {
		return nil, nil
	}
	return nil, fmt.Errorf("%s: %w to %s", call.Capability(), errNoAnswer, call.Payload)
}

// recorded answers the calls of a Case.
type recorded []Answer

// Call implements sdk.Host.
func (r recorded) Call(ctx context.Context, call sdk.HostCall) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return answer(r, call)
}

// Calls returns the calls so far, in their order.
func (h *Host) Calls() []sdk.HostCall {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}
