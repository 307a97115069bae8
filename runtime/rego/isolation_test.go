package rego

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/warder-dev/warder/runtime/internal/guest"
	"github.com/warder-dev/warder/sdk"
)

// hoard says all that it is told, some of it through built-ins of the host, and
// fills memory with it.
var hoard = source{OPA, `
main := {"response": {"uid": input.request.object.secret, "allowed": true, "warnings": said}, "copies": copies}

said := [sprintf("%v", [input.request.object]), yaml.marshal(input.request.object), concat("", [m | some m in data.seen])]

copies := count([c | some n in numbers.range(1, input.request.object.noise); c := sprintf("%s %d", [input.request.object.secret, n])])`}

const aSetting = `{"seen":["a-setting"]}`

// secrets makes requests with a secret each, of varied size.
func secrets(n int) (all []*sdk.Request) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		object := fmt.Sprintf(`{"secret":"secret-%d-%x","noise":%d,"list":%s}`, i, random.Uint64(), random.IntN(200),
			mustJSON(make([]int, random.IntN(300))))
		all = append(all, request(object))
	}
	return all
}

func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers
	}
	return text
}

// The result in an instance that was used before is that in a new one, byte for
// byte.
func TestNoRequestSeesAnother(t *testing.T) {
	options := func(i guest.Isolation) Options {
		opts := isolated(i)
		opts.Settings, opts.Instances = json.RawMessage(aSetting), 3
		return opts
	}
	fresh, kept := program(t, hoard, options(guest.Fresh)), program(t, hoard, options(guest.Snapshot))
	requests := secrets(80)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for n := worker; n < len(requests); n += 4 {
				input, err := OPA.input(requests[n], nil)
				if err != nil {
					t.Error(err)
				}
				want, err := fresh.ask(bounded(t), input)
				if err != nil {
					t.Error(err)
				}
				got, err := kept.ask(bounded(t), input)
				if err != nil || !bytes.Equal(want, got) {
					t.Errorf("%s: error %v\n%s\nand in a new instance\n%s", input, err, got, want)
				}
			}
		})
	}
	all.Wait()
}

// holds reports whether an instance has text somewhere in its memory.
func holds(t *testing.T, i *instance, text string) bool {
	t.Helper()
	memory, ok := i.in.Memory().Read(0, i.in.Memory().Size())
	if !ok {
		t.Fatal("memory cannot be read")
	}
	return bytes.Contains(memory, []byte(text))
}

func TestNoSecretStaysInAnIdleInstance(t *testing.T) {
	opts := isolated(guest.Snapshot)
	opts.Settings, opts.Instances = json.RawMessage(aSetting), 1
	p := program(t, hoard, opts)
	secret := ""
	for n := range 20 {
		secret = fmt.Sprintf("secret-%x", rand.Uint64())
		req := request(fmt.Sprintf(`{"secret":%q,"noise":%d}`, secret, n*100))
		if v, err := p.Evaluate(bounded(t), req); err != nil || len(v.Warnings) != 3 {
			t.Fatalf("%+v, error %v", v, err)
		}
		i, err := p.base.pool.Get(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		if holds(t, i, secret) {
			t.Errorf("%s is in the memory of an idle instance", secret)
		}
		if i.evaluation != nil || i.nested {
			t.Error("an evaluation is under way in an idle instance")
		}
		p.base.pool.Put(i)
	}
	// A secret is found where it is: in an instance that was not taken back.
	i, err := p.base.pool.Get(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	input, err := OPA.input(request(`{"secret":"`+secret+`","noise":1}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.judge(bounded(t), i, documents{loaded: p.base.data, input: input}); err != nil {
		t.Fatal(err)
	}
	if !holds(t, i, secret) {
		t.Error("a secret is not even found in the instance that was just told")
	}
	i.in.Close()
	p.base.pool.Lost()
}

// Thousands of requests go through one instance: its memory is never full.
func TestThousandsOfRequestsThroughOneInstance(t *testing.T) {
	opts := isolated(guest.Snapshot)
	opts.Instances = 1
	p := program(t, answers, opts)
	for n := range 3000 {
		uid := fmt.Sprintf("%d-%s", n, bytes.Repeat([]byte("x"), n%1000))
		v, err := p.Evaluate(bounded(t), request(fmt.Sprintf(`{"answer":{"uid":"","allowed":true,"warnings":[%q]}}`, uid)))
		if err != nil || len(v.Warnings) != 1 || v.Warnings[0] != uid {
			t.Fatalf("request %d: %+v, error %v", n, v, err)
		}
	}
}

// An instance that had to ask for memory is replaced; one of usual size is kept.
func TestRequestsOfUsualSizeFitTheHeadroom(t *testing.T) {
	opts := isolated(guest.Snapshot)
	opts.Instances = 1
	p := program(t, privileged, opts)
	size := func() uint32 {
		i, err := p.base.pool.Get(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		defer p.base.pool.Put(i)
		return i.in.Memory().Size()
	}
	before := size()
	object := `{"spec":{"containers":[` + string(bytes.Repeat([]byte(`{"name":"c","image":"registry.example/x","securityContext":{"privileged":false}},`), 100)) + `{}]}}`
	i, err := p.base.pool.Get(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	input, err := Gatekeeper.input(request(object), json.RawMessage(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.judge(bounded(t), i, documents{loaded: p.base.data, input: input}); err != nil {
		t.Fatal(err)
	}
	if after := i.in.Memory().Size(); after != before || before < headroom {
		t.Errorf("memory has %d bytes after %d bytes of input, and %d before", after, len(input), before)
	}
	i.in.Close()
	p.base.pool.Lost()
}
