package capability

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

var roleBindings = Resource{"rbac.authorization.k8s.io/v1", "RoleBinding"}

// roleBinding returns one of about a kilobyte, as the API server sends it.
func roleBinding(i int) string {
	return fmt.Sprintf(`{"metadata":{"name":"binding-%05d","namespace":"team-%03d","uid":"2d0cf8d6-6a1c-4b0e-9a38-%012d","creationTimestamp":"2026-01-01T00:00:00Z","labels":{"app.kubernetes.io/managed-by":"helm","team":"%03d"},"annotations":{"owner":"team-%03d@example.org"},"managedFields":[{"manager":"helm","operation":"Update","apiVersion":"rbac.authorization.k8s.io/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{}},"f:roleRef":{},"f:subjects":{}}}]},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"edit"},"subjects":[%s]}`,
		i, i%200, i, i%200, i%200, strings.TrimSuffix(strings.Repeat(`{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"somebody.with.a.name@example.org"},`, 5), ","))
}

// residentKiB returns the resident set of this process.
func residentKiB(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("there is no /proc here")
	}
	_, line, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(line)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

// TestTenThousandObjectsFitInMemory holds them in a process of their own, which
// is this test again with the address of the server in its environment.
func TestTenThousandObjectsFitInMemory(t *testing.T) {
	const variable, maxKiB = "WARDER_TEST_API_SERVER", 60 << 10
	if url := os.Getenv(variable); url != "" {
		holdRoleBindings(t, url)
		return
	}
	if testing.Short() {
		t.Skip("ten thousand objects take a second")
	}
	residentKiB(t)
	for _, streams := range []bool{true, false} {
		s := newAPIServer(t)
		s.streams = streams
		for i := range 10_000 {
			s.put("rolebindings", roleBinding(i))
		}
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		child.Env = append(os.Environ(), variable+"="+s.URL)
		text, err := child.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		for _, moment := range []string{"listed", "answered"} {
			_, line, ok := strings.Cut(string(text), moment+" ")
			kib, err := strconv.Atoi(strings.Fields(line + " 0")[0])
			t.Logf("streamed %t, %s: %d KiB above the idle process", streams, moment, kib)
			if !ok || err != nil || kib > maxKiB {
				t.Errorf("streamed %t, %s: %d KiB above the idle process, want at most %d\n%s", streams, moment, kib, maxKiB, text)
			}
		}
	}
}

func holdRoleBindings(t *testing.T, url string) {
	c, err := NewCluster(&rest.Config{Host: url}, ClusterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.discovery.find(t.Context(), roleBindings); err != nil { // TLS, HTTP, JSON: all there
		t.Fatal(err)
	}
	idle := residentKiB(t)
	if have := names(t, mustList(t, c, listQuery{resource: roleBindings, namespace: "team-007"})); strings.Count(have, "binding") != 50 {
		t.Errorf("list of a namespace = %s", have)
	}
	fmt.Printf("listed %d \n", residentKiB(t)-idle) //nolint:forbidigo // what the parent reads
	for range 20 {
		if list := mustList(t, c, listQuery{resource: roleBindings, everywhere: true}); len(list) < 8<<20 {
			t.Errorf("the list has %d bytes", len(list))
		}
	}
	fmt.Printf("answered %d \n", residentKiB(t)-idle) //nolint:forbidigo // what the parent reads
}

// benchmarkedStore holds 10,000 role bindings.
func benchmarkedStore(b *testing.B) (*Cluster, []string) {
	b.Helper()
	s := newAPIServer(b)
	c := s.cluster(b, ClusterOptions{})
	w := &kindWatch{cluster: c, resource: roleBindings, store: newStore(func() uint64 { return c.revision.Add(1) }), stop: func() {}, news: make(chan struct{})}
	p := newObjectParser(roleBindings)
	var list []any
	var texts []string
	for i := range 10_000 {
		o, err := p.parse([]byte(roleBinding(i)))
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, o)
		texts = append(texts, string(o.text))
	}
	if err := w.store.Replace(list, ""); err != nil {
		b.Fatal(err)
	}
	c.kinds[roleBindings] = w
	return c, texts
}

// BenchmarkFullList and BenchmarkDecodeAndEncode are a pair: a full list from
// the store, and what it would take to decode and encode the objects.
func BenchmarkFullList(b *testing.B) {
	c, _ := benchmarkedStore(b)
	for name, q := range map[string]listQuery{
		"all":       {resource: roleBindings, everywhere: true},
		"masked":    {resource: roleBindings, everywhere: true, masks: []string{"subjects.name"}},
		"namespace": {resource: roleBindings, namespace: "team-007"},
		"label":     {resource: roleBindings, everywhere: true, labelSelector: "team=007"},
		"set":       {resource: roleBindings, everywhere: true, labelSelector: "team in (007,008)"},
		"field":     {resource: roleBindings, everywhere: true, fieldSelector: "roleRef.name=none"},
	} {
		b.Run(name+"/assembled", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.kinds[roleBindings].assemble(q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("all/again", func(b *testing.B) {
		c.discovery.found[roleBindings] = apiResource{namespaced: true}
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := c.list(b.Context(), listQuery{resource: roleBindings, everywhere: true}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecodeAndEncode(b *testing.B) {
	_, texts := benchmarkedStore(b)
	list := []byte(`{"items":[` + strings.Join(texts, ",") + `]}`)
	b.ReportAllocs()
	for b.Loop() {
		var decoded map[string]any
		if err := json.Unmarshal(list, &decoded); err != nil {
			b.Fatal(err)
		}
		if _, err := json.Marshal(decoded); err != nil {
			b.Fatal(err)
		}
	}
}
