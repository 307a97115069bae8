package engine

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestARequestThatFindsNoFreeWorkerSaysSo(t *testing.T) {
	e := newEngine(t, Options{Workers: 1})
	p := revision("p", 1)
	p.Timeout = 50 * time.Millisecond
	mustApply(t, e, p)
	e.state.Load().find("p").quick = false // as a built-in that asks the host, of which there is none yet
	e.permits <- struct{}{}                // somebody is at work
	d := evaluate(t, e, "p", plainPod(t))
	message := afterText().ReplaceAllString(messageOf(d.Response), ")")
	if want := timeoutText + ": it waited for a free worker (policy \"p\", stage queue)"; message != want {
		t.Errorf("message = %q, want %q", message, want)
	}
	var evaluation *EvaluationError
	if !errors.As(d.Err, &evaluation) || evaluation.Stage != "queue" || !errors.Is(d.Err, context.DeadlineExceeded) {
		t.Errorf("Err = %v, want stage queue and context.DeadlineExceeded", d.Err)
	}
	<-e.permits
	if n, err := revisionOf(evaluate(t, e, "p", plainPod(t))); n != 1 || err != nil {
		t.Errorf("afterwards: revision %d, %v", n, err)
	}
	if len(e.permits) != 0 {
		t.Errorf("%d permits are held by nobody", len(e.permits))
	}
}

// slowHost is a logger that keeps a host call waiting: the host says that it
// has refused a capability before it answers.
type slowHost struct {
	called chan struct{} // a policy waits for the host
	answer chan struct{} // closed to let it go on
}

func newSlowHost() *slowHost { return &slowHost{make(chan struct{}, 1), make(chan struct{})} }

func (h *slowHost) Enabled(context.Context, slog.Level) bool { return true }
func (h *slowHost) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *slowHost) WithGroup(string) slog.Handler            { return h }
func (h *slowHost) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "capability refused" {
		h.called <- struct{}{}
		<-h.answer
	}
	return nil
}

func TestAPolicyThatWaitsForTheHostLeavesItsWorkerToOthers(t *testing.T) {
	host := newSlowHost()
	e := newEngine(t, Options{Workers: 1, Log: slog.New(host)})
	mustApply(t, e, guestPolicy("asks", portable(t, sdktest.WaPC), script(`{"lookup":"example.org"}`)), revision("other", 1))
	asked := make(chan Decision, 1)
	go func() {
		d, _ := e.Evaluate(context.Background(), "asks", plainPod(t)) // it is there
		asked <- d
	}()
	<-host.called
	if n, err := revisionOf(evaluate(t, e, "other", plainPod(t))); n != 1 || err != nil {
		t.Errorf("the other policy: revision %d, %v", n, err)
	}
	close(host.answer)
	const want = "Policy has not been granted access to the 'net/v1/dns_lookup_host' host capability. The violation has been reported."
	if d := <-asked; !strings.Contains(messageOf(d.Response), want) {
		t.Errorf("message = %q, want %q", messageOf(d.Response), want)
	}
	if len(e.permits) != 0 {
		t.Errorf("%d permits are held by nobody", len(e.permits))
	}
}

func TestAPolicyWhoseTimeIsUpWhenTheHostAnswersGivesNoVerdict(t *testing.T) {
	host := newSlowHost()
	e := newEngine(t, Options{Workers: 1, Log: slog.New(host)})
	p := guestPolicy("asks", portable(t, sdktest.WaPC), script(`{"lookup":"example.org"}`))
	p.Timeout = 300 * time.Millisecond
	mustApply(t, e, p)
	asked := make(chan Decision, 1)
	go func() {
		d, _ := e.Evaluate(context.Background(), "asks", plainPod(t)) // it is there
		asked <- d
	}()
	<-host.called
	e.permits <- struct{}{} // somebody else took the worker meanwhile
	close(host.answer)
	d := <-asked
	if !errors.Is(d.Err, context.DeadlineExceeded) || !strings.HasPrefix(messageOf(d.Response), timeoutText) {
		t.Errorf("Err = %v, message %q, want context.DeadlineExceeded", d.Err, messageOf(d.Response))
	}
	<-e.permits // and it did not give away what it had not
}

func TestAPermitIsTakenAndGivenBackOnce(t *testing.T) {
	e := newEngine(t, Options{Workers: 1})
	p := &permit{engine: e}
	for range 2 {
		if err := p.take(t.Context()); err != nil || len(e.permits) != 1 {
			t.Errorf("take = %v with %d permits out, want 1", err, len(e.permits))
		}
	}
	for range 2 {
		if p.yield(); len(e.permits) != 0 {
			t.Errorf("%d permits are out, want none", len(e.permits))
		}
	}
}

func TestALogLineOfAPolicyIsWrittenUnderItsName(t *testing.T) {
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		lines := &logLines{}
		e := newEngine(t, Options{Log: lines.logger()})
		mustApply(t, e, guestPolicy("talks", portable(t, form), script(`{"accepted":true,"log":"I was here"}`)))
		before := lines.count("I was here") // where the policy was tried out
		req := plainPod(t)
		evaluate(t, e, "talks", req)
		if n := lines.count("level=WARN", `msg="I was here"`, "policy=talks", req.UID); n != before+1 {
			t.Errorf("%s: the line is there %d times, want %d:\n%s", form, n, before+1, lines)
		}
	}
}

func TestOutsideOfAnEvaluationAHostCallNeedsNoPermit(t *testing.T) {
	e := newEngine(t, Options{})
	h := e.hostFor(revision("p", 1), mustGrants(t, "net/*"))
	_, err := h.Call(t.Context(), sdk.HostCall{Binding: sdk.Binding, Namespace: "net", Operation: "v1/dns_lookup_host", Payload: []byte("null")})
	const want = "want a string, have null"
	if err == nil || err.Error() != want || len(e.permits) != 0 {
		t.Errorf("Call = %v with %d permits out, want %q with none", err, len(e.permits), want)
	}
}
