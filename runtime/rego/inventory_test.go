package rego

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/runtime/internal/guest"
	"github.com/warder-dev/warder/sdk"
)

// cluster is an inventory that a test can change.
type cluster struct {
	mu       sync.Mutex
	lists    map[Kind]string // the items
	revision uint64
	plural   map[Kind]string
	err      error
	asked    atomic.Int32
}

func (c *cluster) Inventory(_ context.Context, apiVersion, kind string) (string, json.RawMessage, uint64, error) {
	c.asked.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	k := Kind{apiVersion, kind}
	plural, ok := c.plural[k]
	if !ok {
		plural = strings.ToLower(kind) + "s"
	}
	return plural, json.RawMessage(`{"apiVersion":"v1","kind":"List","items":[` + c.lists[k] + `]}`), c.revision, c.err
}

// change makes the cluster another one.
func (c *cluster) change(k Kind, items string, revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists, c.revision = map[Kind]string{k: items}, revision
}

var (
	ingresses  = Kind{"networking.k8s.io/v1", "Ingress"}
	namespaces = Kind{"v1", "Namespace"}
)

// uniqueHost is a policy of Gatekeeper's library, nearly.
var uniqueHost = source{Gatekeeper, `
violation contains {"msg": msg} if {
	host := input.review.object.spec.rules[_].host
	some namespace, name
	other := data.inventory.namespace[namespace][version].Ingress[name]
	startswith(version, "networking.k8s.io/")
	other.spec.rules[_].host == host
	not same(other, input.review)
	msg := sprintf("ingress host conflicts with an existing ingress <%v> of %v", [host, namespace])
}

violation contains {"msg": sprintf("namespace %v has no team", [input.review.namespace])} if {
	data.inventory.cluster.v1.Namespace
	not data.inventory.cluster.v1.Namespace[input.review.namespace].metadata.labels.team
}

same(a, b) if {
	a.metadata.namespace == b.namespace
	a.metadata.name == b.name
}`}

func ingress(namespace, name, host string) string {
	return fmt.Sprintf(`{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":%q,"namespace":%q},"spec":{"rules":[{"host":%q}]}}`,
		name, namespace, host)
}

const wantsHost = `{"spec":{"rules":[{"host":"a.example"}]}}`

// seeing is options with a view of the cluster.
func seeing(i guest.Isolation, c Inventory, kinds ...Kind) Options {
	opts := isolated(i)
	opts.Inventory, opts.Kinds = c, kinds
	return opts
}

func message(t *testing.T, p *Program, req *sdk.Request) string {
	t.Helper()
	v, err := p.Evaluate(bounded(t), req)
	if err != nil {
		t.Fatal(err)
	}
	return v.Message
}

func TestGatekeeperSeesTheCluster(t *testing.T) {
	const conflict = "ingress host conflicts with an existing ingress <a.example> of other"
	for _, isolation := range isolations() {
		for _, known := range []uint64{0, 1} { // whether revisions are
			c := &cluster{revision: known}
			p := program(t, uniqueHost, seeing(isolation, c, ingresses))
			if got := message(t, p, request(wantsHost)); got != "" {
				t.Errorf("%s: an empty cluster: %q", isolation, got)
			}
			for n := range uint64(5) {
				c.change(ingresses, ingress("other", "x", "a.example")+","+ingress("prod", "web", "a.example"), known*(2*n+2))
				if got := message(t, p, request(wantsHost)); got != conflict {
					t.Errorf("%s: %q, want %q", isolation, got, conflict)
				}
				c.change(ingresses, ingress("prod", "web", "a.example"), known*(2*n+3))
				if got := message(t, p, request(wantsHost)); got != "" {
					t.Errorf("%s: after it was removed: %q", isolation, got)
				}
			}
		}
	}
	c := &cluster{revision: 1}
	p := program(t, uniqueHost, seeing(guest.Snapshot, c, ingresses, namespaces))
	c.change(namespaces, `{"metadata":{"name":"prod"}}`, 7)
	if got := message(t, p, request(wantsHost)); got != "namespace prod has no team" {
		t.Errorf("%q, want one about the namespace", got)
	}
}

// What a context-aware policy says is what the interpreter says of the same
// data.
func TestInventoryDocuments(t *testing.T) {
	const pods = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a\"b","namespace":"x<y"},"n":1.50},{"metadata":{"name":"c","namespace":"z"}}`
	pod, node, other := Kind{"v1", "Pod"}, Kind{"v1", "Node"}, Kind{"x/v1", "Other"}
	c := &cluster{revision: 1, lists: map[Kind]string{pod: pods, node: `{"metadata":{"name":"n1"}}`, other: `{"metadata":{"name":"o","namespace":"z"}}`},
		plural: map[Kind]string{other: "pods"}}
	tests := []struct {
		flavour  Flavour
		settings string
		kinds    []Kind
		want     string
	}{
		{Gatekeeper, ``, nil, `{}`},
		{Gatekeeper, `{"a":1}`, []Kind{pod, node}, `{"inventory":{"cluster":{"v1":{"Node":{"n1":{"metadata":{"name":"n1"}}}}},"namespace":{` +
			`"x<y":{"v1":{"Pod":{"a\"b":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a\"b","namespace":"x<y"},"n":1.50}}}},` +
			`"z":{"v1":{"Pod":{"c":{"metadata":{"name":"c","namespace":"z"}}}}}}}}`},
		{OPA, `{"a":1,"kubernetes":2}`, nil, `{"a":1,"kubernetes":2}`},
		{OPA, `{"a":1.0,"kubernetes":2}`, []Kind{node}, `{"a":1.0,"kubernetes":{"nodes":{"n1":{"metadata":{"name":"n1"}}}}}`},
		{OPA, ``, []Kind{pod, other}, `{"kubernetes":{"pods":{"x<y":{"a\"b":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a\"b","namespace":"x<y"},"n":1.50}},` +
			`"z":{"c":{"metadata":{"name":"c","namespace":"z"}},"o":{"metadata":{"name":"o","namespace":"z"}}}}}}`},
		{OPA, ``, []Kind{{"v1", "None"}}, `{"kubernetes":{}}`},
	}
	for _, tt := range tests {
		// The whole of data, but for the policy itself, as the policy sees it.
		s := source{tt.flavour, `
seen.a := data.a
seen.kubernetes := data.kubernetes
seen.inventory := data.inventory
main := seen
violation contains {"msg": json.marshal(seen)}`}
		opts := seeing(guest.Snapshot, c, tt.kinds...)
		opts.Settings = json.RawMessage(tt.settings)
		p := program(t, s, opts)
		input, err := tt.flavour.input(request(`{}`), p.opts.Settings)
		if err != nil {
			t.Fatal(err)
		}
		result, err := p.ask(bounded(t), input)
		if err != nil {
			t.Fatal(err)
		}
		got := result[len(`[{"result":`) : len(result)-len(`}]`)]
		if tt.flavour == Gatekeeper {
			var violations []struct{ Msg string }
			if err := json.Unmarshal(got, &violations); err != nil {
				t.Fatal(err)
			}
			got = []byte(violations[0].Msg)
		}
		i := interpreter{flavour: OPA}
		if diff := cmp.Diff(i.normal(t, []byte(tt.want)), i.normal(t, got)); diff != "" {
			t.Errorf("%s %s %v: (-want +got)\n%s", tt.flavour, tt.settings, tt.kinds, diff)
		}
	}
}

func TestWhyThereIsNoInventory(t *testing.T) {
	pod := Kind{"v1", "Pod"}
	namespaced, clusterwide := `{"metadata":{"name":"a","namespace":"b"}}`, `{"metadata":{"name":"a"}}`
	tests := []struct {
		name string
		c    Inventory
		want string
	}{
		{"nobody to ask", nil, "cannot build Rego context aware data: callback channel is not set"},
		{"who is asked fails", &cluster{err: errors.New("no such kind")}, "no such kind"},
		{"a namespaced object among others", &cluster{revision: 1, lists: map[Kind]string{pod: clusterwide + "," + namespaced}},
			"trying to add a namespaced resource to a list of clusterwide resources"},
		{"a clusterwide object among others", &cluster{lists: map[Kind]string{pod: namespaced + "," + clusterwide}},
			"trying to add a clusterwide resource to a list of namespaced resources"},
		{"no name", &cluster{lists: map[Kind]string{pod: `{}`}}, "inventory of v1 Pod: item 0 has no name"},
		{"no list", &cluster{lists: map[Kind]string{pod: `}`}}, "inventory of v1 Pod: invalid character '}'"},
		{"no object", &cluster{lists: map[Kind]string{pod: `1`}}, "inventory of v1 Pod: item 0: json: cannot unmarshal number"},
	}
	for _, isolation := range isolations() {
		for _, tt := range tests {
			p := program(t, answers, seeing(isolation, tt.c, pod))
			_, err := p.Evaluate(bounded(t), request(`{"answer":{"uid":"","allowed":true}}`))
			f := (*Failure)(nil)
			if !errors.As(err, &f) || f.At != guest.StageInstantiate || !strings.HasPrefix(f.Text, tt.want) {
				t.Errorf("%s, %s: error %v, want %s", tt.name, isolation, err, tt.want)
			}
		}
	}
}

func TestASettingThatIsHiddenIsWarnedOf(t *testing.T) {
	for kinds, want := range map[string]int{"none": 0, "one": 1} {
		l := &lines{}
		opts := Options{Log: slog.New(slog.NewTextHandler(l, nil))}
		opts.Settings = json.RawMessage(`{"kubernetes":1}`)
		if kinds == "one" {
			opts.Kinds = []Kind{{"v1", "Pod"}}
		}
		program(t, answers, opts)
		if n := strings.Count(l.buf.String(), `level=WARN msg="the setting kubernetes is hidden by what the policy sees of the cluster"`); n != want {
			t.Errorf("%s: %d warnings, want %d", kinds, n, want)
		}
	}
}

func TestAnEditionIsMadeOnceForEachRevision(t *testing.T) {
	c := &cluster{}
	p := program(t, uniqueHost, seeing(guest.Snapshot, c, ingresses))
	var mu sync.Mutex
	seen := map[*edition]bool{}
	for revision := range 3 {
		c.change(ingresses, ingress("other", "x", "a.example"), uint64(revision)+1)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 5 {
					if _, err := p.Evaluate(bounded(t), request(wantsHost)); err != nil {
						t.Error(err)
					}
					mu.Lock()
					p.mu.Lock()
					seen[p.current] = true
					p.mu.Unlock()
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if len(seen) != revision+1 {
			t.Errorf("%d editions for %d revisions", len(seen), revision+1)
		}
	}
	if p.current.users != 0 {
		t.Errorf("%d users are left", p.current.users)
	}
}

// restless is a cluster that is another one each time that it is looked at: its
// objects say how often.
type restless struct{ looks atomic.Uint64 }

func (r *restless) Inventory(context.Context, string, string) (string, json.RawMessage, uint64, error) {
	n := r.looks.Add(1)
	return "things", fmt.Appendf(nil, `{"items":[{"metadata":{"name":"n%d"}}]}`, n), n, nil
}

// Nobody is given less than what there was when they came, and a request that
// waited shares what was made meanwhile.
func TestAnInventoryThatChangesAllTheTime(t *testing.T) {
	s := source{OPA, `
main := {"response": {"uid": "", "allowed": true, "warnings": [name | data.kubernetes.things[name]]}}`}
	r := &restless{}
	p := program(t, s, seeing(guest.Snapshot, r, Kind{"v1", "Thing"}))
	var requests atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 10 {
				before := r.looks.Load()
				v, err := p.Evaluate(bounded(t), request(`{}`))
				if err != nil || len(v.Warnings) != 1 {
					t.Errorf("%+v, error %v", v, err)
					return
				}
				requests.Add(1)
				var seen uint64
				if _, err := fmt.Sscanf(v.Warnings[0], "n%d", &seen); err != nil || seen <= before {
					t.Errorf("a request that came after look %d was judged by %s", before, v.Warnings[0])
				}
			}
		})
	}
	all.Wait()
	if n := p.begun.Load(); n >= requests.Load() {
		t.Errorf("%d editions for %d requests that came together", n, requests.Load())
	}
}

// Whoever makes an edition may be out of time; the next one makes it.
func TestAnEditionThatIsGivenUpIsMadeByTheNext(t *testing.T) {
	c := &cluster{}
	c.change(ingresses, ingress("other", "x", "a.example"), 1)
	p := program(t, uniqueHost, seeing(guest.Snapshot, c, ingresses))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Evaluate(ctx, request(wantsHost)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	if got := message(t, p, request(wantsHost)); !strings.Contains(got, "conflicts") {
		t.Errorf("%q, want a conflict", got)
	}
	p.building <- struct{}{}
	c.change(ingresses, "", 2)
	if _, err := p.Evaluate(ctx, request(wantsHost)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v while somebody else makes an edition, want the context's", err)
	}
	<-p.building
}

// snapshots is how many snapshots this process holds, as files in memory.
func snapshots(t *testing.T) (n int) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system does not tell")
	}
	for _, f := range files {
		// A file that is closed meanwhile has no name.
		if name, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && strings.Contains(name, "warder-snapshot") {
			n++
		}
	}
	return n
}

func TestOldEditionsAreFreed(t *testing.T) {
	before := snapshots(t)
	p := program(t, answers, seeing(guest.Snapshot, &restless{}, Kind{"v1", "Thing"}))
	for range 20 {
		if _, err := p.Evaluate(bounded(t), request(`{"answer":{"uid":"","allowed":true}}`)); err != nil {
			t.Fatal(err)
		}
	}
	p.retired.Wait()
	if n := snapshots(t) - before; n != 2 {
		t.Errorf("%d snapshots after 20 editions, want the base and the current one", n)
	}
	p.Close()
	if n := snapshots(t) - before; n != 0 {
		t.Errorf("%d snapshots after Close", n)
	}
	p.base = nil // it is closed again when the test ends
}
