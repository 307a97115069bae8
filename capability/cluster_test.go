package capability

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
)

var (
	pods        = Resource{"v1", "Pod"}
	namespaces  = Resource{"v1", "Namespace"}
	deployments = Resource{"apps/v1", "Deployment"}
)

// pod returns a pod with labels such as "app":"web".
func pod(namespace, name, labels string) string {
	return fmt.Sprintf(`{"metadata":{"namespace":%q,"name":%q,"labels":{%s}},"spec":{"nodeName":"n-%s"}}`, namespace, name, labels, name)
}

// names returns the namespaces and names in a List.
func names(t *testing.T, list []byte) string {
	t.Helper()
	var found []string
	for item := range rawElements(rawLookup(list, "items")) {
		namespace, _ := rawText(rawLookup(item, "metadata", "namespace"))
		name, _ := rawText(rawLookup(item, "metadata", "name"))
		found = append(found, strings.TrimPrefix(namespace+"/"+name, "/"))
	}
	return strings.Join(found, " ")
}

func mustList(t *testing.T, c *Cluster, q listQuery) []byte {
	t.Helper()
	list, revision, err := c.list(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if revision == 0 {
		t.Error("a list without a revision")
	}
	return list
}

func TestAListIsNormalisedAndInOrder(t *testing.T) {
	for _, streams := range []bool{true, false} {
		s := newAPIServer(t)
		s.streams = streams
		s.put("pods", `{"metadata":{"name":"b","namespace":"x"},"spec":{"n":1.0,"s":"<\u0000>"}}`)
		s.put("pods", `{"metadata":{"name":"a","namespace":"x","managedFields":[{"manager":"m"}],"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","k":"v"}}}`)
		c := s.cluster(t, ClusterOptions{})
		want := `{"apiVersion":"v1","kind":"PodList","metadata":{},"items":[` +
			`{"apiVersion":"v1","kind":"Pod","metadata":{"annotations":{"k":"v"},"name":"a","namespace":"x","resourceVersion":"102","managedFields":[]}},` +
			`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b","namespace":"x","resourceVersion":"101","annotations":{},"managedFields":[]},"spec":{"n":1,"s":"\u003c\u0000\u003e"}}]}`
		if diff := cmp.Diff(want, string(mustList(t, c, listQuery{resource: pods, everywhere: true}))); diff != "" {
			t.Errorf("streamed %t: list (-want +have):\n%s", streams, diff)
		}
		if have := string(mustList(t, c, listQuery{resource: deployments, everywhere: true})); have != `{"apiVersion":"apps/v1","kind":"DeploymentList","metadata":{},"items":[]}` {
			t.Errorf("empty list = %s", have)
		}
	}
}

func TestAListThatIsNotStreamedComesInPages(t *testing.T) {
	s := newAPIServer(t)
	s.streams = false
	var want []string
	for i := range 1100 {
		s.put("pods", pod("x", fmt.Sprintf("p%04d", i), ""))
		want = append(want, fmt.Sprintf("x/p%04d", i))
	}
	c := s.cluster(t, ClusterOptions{})
	if diff := cmp.Diff(strings.Join(want, " "), names(t, mustList(t, c, listQuery{resource: pods, everywhere: true}))); diff != "" {
		t.Errorf("names (-want +have):\n%s", diff)
	}
	if have := s.count("page of 500 pods"); have != 3 {
		t.Errorf("%d pages of 500, want 3", have)
	}
}

func TestFiftyPoliciesMakeOneWatch(t *testing.T) {
	s := newAPIServer(t)
	for i := range 50 {
		s.put("pods", pod(fmt.Sprintf("ns%d", i%5), fmt.Sprintf("p%02d", i), fmt.Sprintf(`"n":"%d"`, i)))
	}
	c := s.cluster(t, ClusterOptions{})
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			q := listQuery{resource: pods, everywhere: i%2 == 0, namespace: fmt.Sprintf("ns%d", i%5), labelSelector: fmt.Sprintf("n=%d", i), masks: []string{fmt.Sprint(i)}}
			if have, want := names(t, mustList(t, c, q)), fmt.Sprintf("ns%d/p%02d", i%5, i); have != want {
				t.Errorf("policy %d gets %q, want %q", i, have, want)
			}
		})
	}
	group.Wait()
	if s.count("watch pods") != 1 || s.count("list pods") != 0 || s.count("discover v1") != 1 {
		t.Errorf("%d watches, %d lists, %d discoveries, want one watch, no list, one discovery", s.count("watch pods"), s.count("list pods"), s.count("discover v1"))
	}
}

func TestChangesAreSeen(t *testing.T) {
	for _, streams := range []bool{true, false} {
		s := newAPIServer(t)
		s.streams = streams
		s.put("pods", pod("x", "a", `"app":"web"`))
		c := s.cluster(t, ClusterOptions{})
		all := listQuery{resource: pods, everywhere: true}
		web := listQuery{resource: pods, everywhere: true, labelSelector: "app=web"}
		see := func(step, wantAll, wantWeb string) {
			t.Helper()
			until(t, step, func() bool {
				return names(t, mustList(t, c, all)) == wantAll && names(t, mustList(t, c, web)) == wantWeb
			})
		}
		see("the first list", "x/a", "x/a")
		s.put("pods", pod("x", "b", `"app":"web"`))
		see("an addition", "x/a x/b", "x/a x/b")
		s.put("pods", pod("x", "a", `"app":"db"`))
		see("a change of a label", "x/a x/b", "x/b")
		s.remove("pods", "x/b")
		see("a deletion", "x/a", "")
		_, before, _ := c.list(t.Context(), all)
		s.dropWatches()
		s.put("pods", pod("x", "c", `"app":"web"`))
		see("what happened while the watch was broken", "x/a x/c", "x/c")
		if _, after, _ := c.list(t.Context(), all); after <= before {
			t.Errorf("revision %d after %d, want a later one", after, before)
		}
		lists := s.count("list pods")
		s.compact("pods")
		s.remove("pods", "x/a")
		see("what happened before a version that is gone", "x/c", "x/c")
		if !streams && s.count("list pods") == lists {
			t.Error("after 410 Gone nothing is listed anew")
		}
	}
}

func TestAWatchThatBreaksGoesOnWhereItWas(t *testing.T) {
	s := newAPIServer(t)
	s.streams = false
	s.put("pods", pod("x", "a", ""))
	c := s.cluster(t, ClusterOptions{})
	all := listQuery{resource: pods, everywhere: true}
	mustList(t, c, all)
	until(t, "watched", func() bool { return s.count("watch pods") == 2 }) // the first asked for a stream
	s.put("pods", pod("x", "b", ""))
	until(t, "seen", func() bool { return names(t, mustList(t, c, all)) == "x/a x/b" })
	s.dropWatches()
	until(t, "watched again", func() bool { return s.count("watch pods") == 3 })
	// A bookmark moves the watch on: what is compacted before it is not missed.
	s.put("nodes", `{"metadata":{"name":"n"}}`)
	s.change(func() { s.marks++ })
	s.put("pods", pod("x", "c", ""))
	until(t, "seen", func() bool { return names(t, mustList(t, c, all)) == "x/a x/b x/c" })
	if have := s.count("list pods"); have != 1 {
		t.Errorf("%d lists, want the first alone", have)
	}
}

func TestARelistOfTheSameIsNoNewRevision(t *testing.T) {
	s := newAPIServer(t)
	s.put("pods", pod("x", "a", `"app":"web"`))
	c := s.cluster(t, ClusterOptions{})
	all := listQuery{resource: pods, everywhere: true}
	first, before, err := c.list(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	s.compact("pods")
	until(t, "watched anew", func() bool { return s.count("watch pods") > 1 })
	s.put("nodes", `{"metadata":{"name":"n"}}`)
	mustList(t, c, listQuery{resource: Resource{"v1", "Node"}, everywhere: true})
	if second, after, _ := c.list(t.Context(), all); after != before || &first[0] != &second[0] {
		t.Errorf("revision %d after %d; want the same answer again", after, before)
	}
}

func TestWhatTheServerMayNotReadIsNamed(t *testing.T) {
	s := newAPIServer(t)
	s.refuse("list", "pods", 403)
	s.refuse("watch", "pods", 403)
	s.refuse("get", "pods", 403)
	c := s.cluster(t, ClusterOptions{})
	want := `list v1/Pod: the ServiceAccount of this server needs the verb "list" on pods: pods is forbidden: User "system:serviceaccount:warder:server" cannot list resource "pods"`
	for range 2 {
		if _, _, err := c.list(t.Context(), listQuery{resource: pods, everywhere: true}); err == nil || err.Error() != want {
			t.Errorf("list: %v, want %s", err, want)
		}
	}
	namespace := "x"
	_, err := c.get(t.Context(), objectQuery{resource: pods, name: "a", namespace: &namespace})
	if want := strings.ReplaceAll(want, "list", "get"); err == nil || err.Error() != want {
		t.Errorf("get: %v, want %s", err, want)
	}
	// What somebody allows later is found.
	s.put("pods", pod("x", "a", ""))
	s.refuse("list", "pods", 0)
	until(t, "listed", func() bool {
		list, _, err := c.list(t.Context(), listQuery{resource: pods, everywhere: true})
		return err == nil && names(t, list) == "x/a"
	})
}

func TestAKindThatIsNotThereIsNamedAndFoundLater(t *testing.T) {
	s := newAPIServer(t)
	c := s.cluster(t, ClusterOptions{})
	q := listQuery{resource: Resource{"example.org/v1", "Widget"}, everywhere: true}
	_, _, err := c.list(t.Context(), q)
	if want := "error finding resource example.org/v1 / Widget: the server could not find the requested resource"; err == nil || err.Error() != want {
		t.Errorf("unknown group: %v, want %s", err, want)
	}
	for range 2 {
		_, _, err = c.list(t.Context(), listQuery{resource: Resource{"v1", "Widget"}, everywhere: true})
		if want := "Cannot find resource v1/Widget"; err == nil || err.Error() != want {
			t.Errorf("unknown kind: %v, want %s", err, want)
		}
	}
	if have := s.count("discover v1"); have != 1 {
		t.Errorf("asked %d times for a kind that is not there, want once in a while", have)
	}
	for _, apiVersion := range []string{"", "/", "/v1", "a/b/c", "apps/", "../v1", "a/..", "v1%2f"} {
		_, _, err := c.list(t.Context(), listQuery{resource: Resource{apiVersion, "Pod"}, everywhere: true})
		if want := "cannot determine group and version for " + apiVersion; err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", apiVersion, err, want)
		}
	}
	s.change(func() {
		s.kinds = append(s.kinds, &apiKind{apiVersion: "example.org/v1", kind: "Widget", plural: "widgets", namespaced: true}, &apiKind{apiVersion: "v1", kind: "Widget", plural: "things", namespaced: true})
	})
	s.put("widgets", `{"metadata":{"name":"w","namespace":"x"}}`)
	if have := names(t, mustList(t, c, q)); have != "x/w" {
		t.Errorf("list = %q, want the widget", have)
	}
	c.discovery.asked.forget("v1") // as if a while had passed
	mustList(t, c, listQuery{resource: Resource{"v1", "Widget"}, everywhere: true})
	// And one that is gone is missed.
	s.change(func() { s.kinds = s.kinds[:len(s.kinds)-2]; s.drops++ })
	until(t, "gone", func() bool { _, _, err := c.list(t.Context(), q); return err != nil })
}

func TestAClusterWideKindHasNoNamespaces(t *testing.T) {
	s := newAPIServer(t)
	c := s.cluster(t, ClusterOptions{})
	_, _, err := c.list(t.Context(), listQuery{resource: namespaces, namespace: "x"})
	if want := "resource v1/Namespace is cluster wide. Cannot search for it inside of a namespace"; err == nil || err.Error() != want {
		t.Errorf("list: %v, want %s", err, want)
	}
	s.put("namespaces", `{"metadata":{"name":"x"}}`)
	if have := names(t, mustList(t, c, listQuery{resource: namespaces, everywhere: true})); have != "x" {
		t.Errorf("list = %q", have)
	}
	if have := names(t, mustList(t, c, listQuery{resource: pods, namespace: ""})); have != "" {
		t.Errorf("list of no namespace = %q, want nothing", have)
	}
}

func TestTheFirstListIsWaitedForAsLongAsTheCallMayTake(t *testing.T) {
	s := newAPIServer(t)
	s.put("pods", pod("x", "a", ""))
	open, held := make(chan struct{}), make(chan struct{}, 100)
	s.hold = func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/pods") {
			held <- struct{}{}
			<-open
		}
	}
	c := s.cluster(t, ClusterOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, _, err := c.list(ctx, listQuery{resource: pods, everywhere: true})
		failed <- err
	}()
	<-held
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || err.Error() != "context canceled, waiting for the first list of v1/Pod" {
		t.Errorf("list: %v, want it cancelled, and what it waited for", err)
	}
	close(open)
	if have := names(t, mustList(t, c, listQuery{resource: pods, everywhere: true})); have != "x/a" {
		t.Errorf("list = %q", have)
	}
}

func TestAServerThatIsAwayIsTheReason(t *testing.T) {
	s := newAPIServer(t)
	c := s.cluster(t, ClusterOptions{})
	s.refuse("list", "pods", 500)
	s.refuse("watch", "pods", 500)
	ctx, cancel := context.WithCancel(t.Context())
	w, done, err := c.use(pods)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	until(t, "failed", func() bool { _, _, failure := w.state(); return failure != nil })
	cancel()
	err = w.wait(ctx)
	if err == nil || err.Error() != "context canceled, waiting for the first list of v1/Pod: list v1/Pod: broken" {
		t.Errorf("wait: %v, want why there is no list", err)
	}
}

func TestWhatIsKnownIsServedForAWhile(t *testing.T) {
	s := newAPIServer(t)
	s.put("pods", pod("x", "a", ""))
	log := &syncWriter{}
	c := s.cluster(t, ClusterOptions{Log: slog.New(slog.NewTextHandler(log, nil)), MaxAge: time.Hour})
	all := listQuery{resource: pods, everywhere: true}
	mustList(t, c, all)
	s.refuse("watch", "pods", 500)
	s.refuse("list", "pods", 500)
	s.dropWatches()
	w := c.kinds[pods]
	until(t, "failed", func() bool { _, _, failure := w.state(); return failure != nil })
	if have := names(t, mustList(t, c, all)); have != "x/a" {
		t.Errorf("list = %q, want what is known", have)
	}
	w.mu.Lock()
	w.since = time.Now().Add(-90 * time.Minute)
	w.mu.Unlock()
	_, _, err := c.list(t.Context(), all)
	if err == nil || !strings.HasPrefix(err.Error(), "what is known of v1/Pod is 1h30m0s old: ") || !strings.HasSuffix(err.Error(), " v1/Pod: broken") {
		t.Errorf("list: %v, want how old it is, and why", err)
	}
	s.refuse("watch", "pods", 0)
	s.refuse("list", "pods", 0)
	until(t, "served again", func() bool { _, _, err := c.list(t.Context(), all); return err == nil })
	for _, want := range []string{"watch does not work; what is known is served meanwhile", "watch works again"} {
		until(t, "logged", func() bool { return strings.Contains(log.String(), want) })
	}
}

// syncWriter is a buffer that several goroutines may use.
type syncWriter struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *syncWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *syncWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func TestABrokenAnswerIsAnErrorAndNoPanic(t *testing.T) {
	for _, body := range []string{``, `{`, `[]`, `"x"`, `null`, `{}`, `{"metadata":{"resourceVersion":"1"},"items":{}}`, `{"metadata":{"resourceVersion":"1"},"items":[{}]}`, `<html>`,
		`{"metadata":{"resourceVersion":"1"},"items":[1]}`, `{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":1}}]}`, `{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a"}}`} {
		p, err := readPage(strings.NewReader(body), newObjectParser(pods))
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v, %v, want an error that is not the end of a stream", body, p, err)
		}
	}
	for _, body := range []string{`{"type":"ADDED"}`, `{"type":"ADDED","object":{}}`, `{"type":"SHOUTED","object":{}}`, `{"type":"ERROR","object":1}`, `{"type":"BOOKMARK","object":1}`, `x`} {
		if typ, o, err := newEventStream(io.NopCloser(strings.NewReader(body)), newObjectParser(pods)).Decode(); err == nil {
			t.Errorf("%s: %v %v, want an error", body, typ, o)
		}
	}
}

func TestKindsThatNobodyWantsAreDropped(t *testing.T) {
	s := newAPIServer(t)
	c := s.cluster(t, ClusterOptions{Idle: time.Hour})
	mustList(t, c, listQuery{resource: pods, everywhere: true})
	release := c.Watch([]Resource{deployments, {"example.org/v1", "Widget"}})
	until(t, "watched without being asked", func() bool { return s.count("watch deployments") == 1 })
	has := func(r Resource) bool { c.mu.Lock(); defer c.mu.Unlock(); _, ok := c.kinds[r]; return ok }
	c.drop(time.Now().Add(59 * time.Minute))
	if !has(pods) || !has(deployments) {
		t.Error("dropped too early")
	}
	c.drop(time.Now().Add(2 * time.Hour))
	if has(pods) || !has(deployments) {
		t.Errorf("pods are watched: %t, deployments: %t; want the declared kind alone", has(pods), has(deployments))
	}
	release()
	release()
	c.drop(time.Now().Add(59 * time.Minute))
	if !has(deployments) {
		t.Error("dropped as soon as it was released")
	}
	c.drop(time.Now().Add(2 * time.Hour))
	if len(c.kinds) != 0 {
		t.Errorf("%d kinds are watched, want none", len(c.kinds))
	}
	// A kind that was dropped and is asked for again has a new revision.
	mustList(t, c, listQuery{resource: pods, everywhere: true})
}

func TestNewClusterAsksNobodyAndSaysWhatIsWrong(t *testing.T) {
	s := newAPIServer(t)
	s.hold = func(r *http.Request) { t.Errorf("asked for %s", r.URL) }
	s.cluster(t, ClusterOptions{})
	if _, err := NewCluster(nil, ClusterOptions{}); err == nil || err.Error() != "cluster: no client configuration" {
		t.Errorf("NewCluster(nil) = %v", err)
	}
	if _, err := NewCluster(&rest.Config{Host: s.URL}, ClusterOptions{Idle: -1}); err == nil || err.Error() != "cluster: Idle is negative" {
		t.Errorf("NewCluster with a negative option = %v", err)
	}
	if _, err := NewCluster(&rest.Config{Host: "http://a b"}, ClusterOptions{}); err == nil {
		t.Error("NewCluster accepts a host that is none")
	}
}

func TestAClosedClusterAnswersWithAnError(t *testing.T) {
	s := newAPIServer(t)
	c := s.cluster(t, ClusterOptions{})
	mustList(t, c, listQuery{resource: pods, everywhere: true})
	c.Close()
	if _, _, err := c.list(t.Context(), listQuery{resource: pods, everywhere: true}); err == nil || err.Error() != "the client of the cluster is closed" {
		t.Errorf("list: %v, want that it is closed", err)
	}
	c.Watch([]Resource{pods})()
}

func TestAClusterIsSafeForConcurrentUse(t *testing.T) {
	s := newAPIServer(t)
	c := s.cluster(t, ClusterOptions{})
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := range 30 {
				s.put("pods", pod("x", fmt.Sprintf("p%d", n%7), fmt.Sprintf(`"i":"%d"`, i)))
				if n%10 == 9 {
					s.dropWatches()
				}
			}
		})
		group.Go(func() {
			for n := range 30 {
				list := mustList(t, c, listQuery{resource: pods, everywhere: n%2 == 0, namespace: "x", labelSelector: []string{"", "i=1", "i in (1,2)", "!i"}[n%4], masks: []string{"spec"}})
				if !strings.HasPrefix(string(list), `{"apiVersion":"v1","kind":"PodList"`) || !strings.HasSuffix(string(list), "]}") {
					t.Errorf("list = %s", list)
				}
				c.Watch([]Resource{pods, namespaces})()
				c.drop(time.Now())
			}
		})
	}
	group.Wait()
}
