package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Host answers what a policy asks of the server that runs it. Servers, recorded
// sessions and tests implement it; authors call the typed functions of this
// package (GetResource, LookupHost and so on), which find it in the context.
type Host interface {
	// Call returns the JSON answer to one call. The error is what the guest
	// is told. Call returns when ctx is done.
	Call(ctx context.Context, call HostCall) ([]byte, error)
}

// HostCall is one call of a capability.
type HostCall struct {
	// Binding is always "kubewarden".
	Binding string
	// Namespace and Operation name the capability: "kubernetes" and
	// "get_resource", "oci" and "v2/verify".
	Namespace, Operation string
	// Payload is the question, JSON in all capabilities there are.
	Payload []byte
}

// Capability is the name under which the call is granted:
// "kubernetes/get_resource".
func (c HostCall) Capability() string { return c.Namespace + "/" + c.Operation }

// Binding is the only binding that hosts answer.
const Binding = "kubewarden"

// ErrNoHost says that a policy asked the host where there is none.
var ErrNoHost = errors.New("this policy runs without a host to ask")

type hostKey struct{}

// WithHost returns a context in which the typed host functions ask host.
func WithHost(ctx context.Context, host Host) context.Context {
	return context.WithValue(ctx, hostKey{}, host)
}

// HostFrom returns the host of the context, nil if it has none.
func HostFrom(ctx context.Context) Host {
	host, _ := ctx.Value(hostKey{}).(Host)
	return host
}

// ask calls one capability and decodes its answer into Answer.
func ask[Answer any](ctx context.Context, namespace, operation string, question any) (Answer, error) {
	var answer Answer
	raw, err := askRaw(ctx, namespace, operation, question)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return answer, fmt.Errorf("%s/%s: answer: %w", namespace, operation, err)
	}
	return answer, nil
}

func askRaw(ctx context.Context, namespace, operation string, question any) (json.RawMessage, error) {
	host := HostFrom(ctx)
	if host == nil {
		return nil, fmt.Errorf("%s/%s: %w", namespace, operation, ErrNoHost)
	}
	payload, err := json.Marshal(question)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: question: %w", namespace, operation, err)
	}
	return host.Call(ctx, HostCall{Binding, namespace, operation, payload})
}
