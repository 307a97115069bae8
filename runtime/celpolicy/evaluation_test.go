package celpolicy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/warder-dev/warder/runtime/native"
	"github.com/warder-dev/warder/sdk"
)

// hostFunc is a host that is a function.
type hostFunc func(ctx context.Context, call sdk.HostCall) ([]byte, error)

func (f hostFunc) Call(ctx context.Context, call sdk.HostCall) ([]byte, error) { return f(ctx, call) }

func mustNew(t testing.TB, settings string, host sdk.Host) *native.Program {
	t.Helper()
	p, err := native.New(Policy(), json.RawMessage(settings), host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// validate returns settings with these validations and a failure policy.
func validate(policy FailurePolicy, expressions ...string) string {
	s := Settings{FailurePolicy: policy}
	for _, e := range expressions {
		s.Validations = append(s.Validations, Validation{Expression: e})
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings
	}
	return string(text)
}

func TestADeadlineEndsAnEvaluation(t *testing.T) {
	const ips = `{"ips":["10.0.0.1"]}`
	for _, tt := range []struct {
		name, expression string
		calls            int
	}{
		{"while the host is asked", "kw.net.lookupHost('wait').size() == 1", 1},
		{"whatever the other side of || is", "kw.net.lookupHost('wait').size() == 1 || true", 1},
		{"in a loop", "kw.net.lookupHost('cancel').size() == 1 ? (lists.range(1000).all(i, i >= 0) ? kw.net.lookupHost('never').size() == 1 : false) : false", 1},
		{"before another expression", "kw.net.lookupHost('cancel').size() == 1", 1},
	} {
		for _, policy := range []FailurePolicy{Fail, Ignore} {
			ctx, cancel := context.WithCancelCause(t.Context())
			late, calls := errors.New("too late"), 0
			p := mustNew(t, validate(policy, tt.expression, "kw.net.lookupHost('never').size() == 1"), hostFunc(func(ctx context.Context, call sdk.HostCall) ([]byte, error) {
				if call.Namespace == "tracing" {
					return nil, nil
				}
				calls++
				cancel(late)
				if string(call.Payload) == `"wait"` {
					<-ctx.Done()
					return nil, errors.New("the host was interrupted")
				}
				return []byte(ips), nil
			}))
			v, err := p.Evaluate(ctx, benchPod(t))
			if !errors.Is(err, late) || calls != tt.calls {
				t.Errorf("%s, %s: verdict %v, error %v after %d calls; want %v after %d", tt.name, policy, v, err, calls, late, tt.calls)
			}
			cancel(nil)
		}
	}
}

func TestAllExpressionsTogetherMayCostAsMuchAsTheAPIServerLetsThem(t *testing.T) {
	var expressions []string
	for range 14 { // of 900,000 each
		expressions = append(expressions, "lists.range(10).all(i, object.long.contains(object.long))")
	}
	req := &sdk.Request{Object: fmt.Appendf(nil, `{"long":%q}`, strings.Repeat("x", 3000))}
	_, err := mustNew(t, validate(Fail, expressions...), nil).Evaluate(t.Context(), req)
	if !errors.Is(err, errOutOfBudget) {
		t.Errorf("error %v, want %v", err, errOutOfBudget)
	}
	if err != nil && !strings.HasPrefix(err.Error(), "validations[11].expression: ") {
		t.Errorf("%v, want that of the twelfth expression", err)
	}
	v, err := mustNew(t, validate(Ignore, expressions...), nil).Evaluate(t.Context(), req)
	if err != nil || !v.Accepted {
		t.Errorf("with failurePolicy Ignore: verdict %v, error %v; want it to be covered", v, err)
	}
}

func TestALongMessageIsReplacedByTheText(t *testing.T) {
	p := mustNew(t, `{"validations": [{"expression": "false", "message": "short", "messageExpression": "lists.range(6000).map(i, 'x').join()"}]}`, nil)
	if v, err := p.Evaluate(t.Context(), benchPod(t)); err != nil || v.Message != "short" {
		t.Errorf("message of %d bytes, error %v; want the text", len(v.Message), err)
	}
}

// Programs are shared by requests: each has its own host, object and variables.
func TestRequestsDoNotSeeOneAnother(t *testing.T) {
	p := mustNew(t, `{
		"variables": [
			{"name": "found", "expression": "kw.net.lookupHost(object.metadata.name)"},
			{"name": "owner", "expression": "namespaceObject.metadata.labels.owner"}],
		"validations": [
			{"expression": "variables.found.size() == 2 && variables.found.all(ip, ip == object.metadata.name + '/' + request.uid)",
			 "messageExpression": "'have ' + variables.found.join()"},
			{"expression": "variables.owner == object.metadata.name"},
			{"expression": "false", "messageExpression": "variables.owner + ' ' + variables.found[0]"}]}`, nil)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 50 {
				name, uid := fmt.Sprintf("n%d", i), fmt.Sprintf("u%d", j)
				asked := 0
				ctx := sdk.WithHost(context.Background(), hostFunc(func(_ context.Context, call sdk.HostCall) ([]byte, error) {
					asked++
					if call.Namespace == "net" {
						return fmt.Appendf(nil, `{"ips":["%[1]s/%[2]s","%[1]s/%[2]s"]}`, strings.Trim(string(call.Payload), `"`), uid), nil
					}
					return fmt.Appendf(nil, `{"metadata":{"labels":{"owner":%q}}}`, name), nil
				}))
				req := &sdk.Request{UID: uid, Namespace: "shop", Object: fmt.Appendf(nil, `{"metadata":{"name":%q}}`, name)}
				v, err := p.Evaluate(ctx, req)
				if want := name + " " + name + "/" + uid; err != nil || v.Message != want || asked != 2 {
					t.Errorf("have %q, %v after %d calls; want %q after 2", v.Message, err, asked, want)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestAProgramWithoutAHostAsksThatOfTheContext(t *testing.T) {
	settings := validate(Fail, "kw.net.lookupHost('a').size() == 1")
	one := hostFunc(func(context.Context, sdk.HostCall) ([]byte, error) { return []byte(`{"ips":["1"]}`), nil })
	two := hostFunc(func(context.Context, sdk.HostCall) ([]byte, error) { return []byte(`{"ips":["1","2"]}`), nil })
	ctx := sdk.WithHost(t.Context(), two)
	if v, err := mustNew(t, settings, nil).Evaluate(ctx, benchPod(t)); err != nil || v.Accepted {
		t.Errorf("have %v, %v; want that the host of the context is asked", v, err)
	}
	if v, err := mustNew(t, settings, one).Evaluate(ctx, benchPod(t)); err != nil || !v.Accepted {
		t.Errorf("have %v, %v; want that the program's host is asked", v, err)
	}
}
