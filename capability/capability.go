// Package capability answers what policies ask of the host, one file for each
// capability. What a policy was not granted is refused here, in one place, for
// every runtime. A session of questions and answers can be recorded, and
// answered from again.
package capability

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/warder-dev/warder/sdk"
)

// Host answers the calls of one policy. It is safe for concurrent use.
type Host struct {
	// Policy is whose calls these are, for the log.
	Policy string
	// Allows says whether a capability ("net/v1/dns_lookup_host") is granted;
	// nil grants none. tracing/log needs no grant.
	Allows func(capability string) bool
	// Granted is what Allows grants, in words, for the log.
	Granted string
	// Resources are the kinds that it may read from the cluster.
	Resources []Resource
	// Namespace is that of a namespaced policy, whose reads of the cluster stay
	// in it; empty for one of the whole cluster.
	Namespace string
	// OwnNamespace lets a namespaced policy also get its Namespace itself, by
	// name. That kind must be among Resources.
	OwnNamespace bool
	// Log gets the policy's own lines, and what it was refused.
	Log *slog.Logger
	// Services are what is asked.
	Services Services
}

// operation answers one capability. Its error is a failure when the question
// was understood, and otherwise what is wrong with the question.
type operation func(h *Host, ctx context.Context, payload []byte) ([]byte, error)

// operationOf returns an operation. It is no map because it is on the way of every call. Source of the names:
// Kubewarden's host capabilities reference.
func operationOf(namespace, name string) (operation, error) {
	switch namespace {
	case "tracing":
		if name == "log" {
			return (*Host).log, nil
		}
	case "oci":
		switch name {
		case "v1/verify":
			return (*Host).verify1, nil
		case "v2/verify":
			return (*Host).verify2, nil
		case "v1/manifest_digest":
			return (*Host).manifestDigest, nil
		case "v1/oci_manifest":
			return (*Host).manifest, nil
		case "v1/oci_manifest_config":
			return (*Host).manifestConfig, nil
		}
	case "net":
		if name == "v1/dns_lookup_host" {
			return (*Host).lookupHost, nil
		}
	case "crypto":
		if name == "v1/is_certificate_trusted" {
			return (*Host).isCertificateTrusted, nil
		}
	case "kubernetes":
		switch name {
		case "get_resource":
			return (*Host).getResource, nil
		case "list_resources_all":
			return (*Host).listAll, nil
		case "list_resources_by_namespace":
			return (*Host).listByNamespace, nil
		case "can_i":
			return (*Host).canI, nil
		}
	default:
		return nil, fmt.Errorf("unknown namespace: %s", namespace)
	}
	return nil, fmt.Errorf("unknown operation: %s", name)
}

// Call answers one call. The order of the checks and the texts of the errors
// are Kubewarden's. It returns when ctx is done, even if what it asks does not;
// then that still reads the payload, which nobody may change.
func (h *Host) Call(ctx context.Context, c sdk.HostCall) ([]byte, error) {
	start := time.Now()
	answer, err := h.answer(ctx, c)
	h.Services.Metrics.answered(c, time.Since(start), err)
	return answer, err
}

func (h *Host) answer(ctx context.Context, c sdk.HostCall) ([]byte, error) {
	answer, err := h.admit(c)
	switch {
	case err != nil:
		return nil, err
	case c.Namespace == "tracing":
		return answer(h, ctx, c.Payload)
	}
	return attended(ctx, func(ctx context.Context) ([]byte, error) { return answer(h, ctx, c.Payload) })
}

// admit checks all of a call that needs no look at its payload.
func (h *Host) admit(c sdk.HostCall) (operation, error) {
	if c.Binding != sdk.Binding {
		return nil, fmt.Errorf("unknown binding: %s", c.Binding)
	}
	if c.Namespace != "tracing" {
		if err := h.mayAsk(c.Capability()); err != nil {
			return nil, err
		}
	}
	return operationOf(c.Namespace, c.Operation)
}

// mayAsk refuses a capability that the policy was not granted.
func (h *Host) mayAsk(capability string) error {
	if h.Allows != nil && h.Allows(capability) {
		return nil
	}
	h.Log.Error("capability refused", "policy", h.Policy, "capability", capability, "allowed_capabilities", h.Granted)
	return refuse("Policy has not been granted access to the '%s' host capability.", capability)
}

// attended is what ask returns, or the end of ctx if that comes first: then
// nobody waits for ask any more. A panic of ask costs this one call.
func attended(ctx context.Context, ask func(context.Context) ([]byte, error)) ([]byte, error) {
	type result struct {
		answer []byte
		err    error
	}
	if err := ctx.Err(); err != nil {
		return nil, evaluated(err)
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r = result{nil, evaluated(fmt.Errorf("panic: %v", p))}
			}
			done <- r
		}()
		r.answer, r.err = ask(ctx)
	}()
	select {
	case r := <-done:
		return r.answer, r.err
	case <-ctx.Done():
		return nil, evaluated(ctx.Err())
	}
}

// refusal says that a policy asks for what it was not granted.
type refusal struct{ text string }

// refuse makes a refusal, which ends as Kubewarden's do.
func refuse(format string, args ...any) error {
	return &refusal{fmt.Sprintf(format, args...) + " The violation has been reported."}
}

func (r *refusal) Error() string { return r.text }

// failure is why a question that was granted and understood has no answer.
type failure struct{ cause error }

// evaluated makes a failure of an error, and nothing of nil.
func evaluated(err error) error {
	if err == nil {
		return nil
	}
	return &failure{err}
}

func (f *failure) Error() string { return "Callback evaluation failure: " + f.cause.Error() }

func (f *failure) Unwrap() error { return f.cause }
