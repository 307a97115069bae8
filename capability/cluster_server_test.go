package capability

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

// apiServer is as much of an API server as a cluster asks for: discovery, lists
// in pages, watches, objects and access reviews, over HTTP.
type apiServer struct {
	*httptest.Server

	mu       sync.Mutex
	changed  chan struct{} // closed when anything changes
	kinds    []*apiKind
	version  int // resourceVersion
	asked    map[string]int
	drops    int  // how often the watches were dropped
	marks    int  // how often bookmarks were asked for
	streams  bool // whether it streams lists
	refusals map[string]int
	hold     func(r *http.Request) // called before anything is answered
	review   string                // the answer to access reviews
	reviewed []string              // the bodies of those
}

// apiKind is a kind with its objects.
type apiKind struct {
	apiVersion, kind, plural string
	namespaced               bool
	objects                  map[string]apiObject
	events                   []apiEvent
	compacted                int // what is older is forgotten
}

type apiObject struct {
	namespace, name string
	text            []byte
}

type apiEvent struct {
	version int
	typ     string
	text    []byte
}

func newAPIServer(t testing.TB) *apiServer {
	t.Helper()
	s := &apiServer{
		changed: make(chan struct{}), version: 100, asked: map[string]int{}, streams: true, refusals: map[string]int{},
		kinds: []*apiKind{
			{apiVersion: "v1", kind: "Pod", plural: "pods", namespaced: true},
			{apiVersion: "v1", kind: "Namespace", plural: "namespaces"},
			{apiVersion: "v1", kind: "Node", plural: "nodes"},
			{apiVersion: "apps/v1", kind: "Deployment", plural: "deployments", namespaced: true},
			{apiVersion: "rbac.authorization.k8s.io/v1", kind: "RoleBinding", plural: "rolebindings", namespaced: true},
		},
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// cluster returns a cluster that asks the server, and retries quickly.
func (s *apiServer) cluster(t testing.TB, options ClusterOptions) *Cluster {
	t.Helper()
	c, err := NewCluster(&rest.Config{Host: s.URL}, options)
	if err != nil {
		t.Fatal(err)
	}
	c.backoff = wait.Backoff{Duration: time.Millisecond, Factor: 2, Steps: 5, Cap: 20 * time.Millisecond}
	t.Cleanup(c.Close)
	return c
}

func (s *apiServer) of(plural string) *apiKind {
	i := slices.IndexFunc(s.kinds, func(k *apiKind) bool { return k.plural == plural })
	if i < 0 {
		return nil
	}
	return s.kinds[i]
}

// change does something to the server that its watches notice.
func (s *apiServer) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

// put stores an object, and returns it as an item of a list.
func (s *apiServer) put(plural, object string) string {
	var o map[string]any
	if err := json.Unmarshal([]byte(object), &o); err != nil {
		panic(err)
	}
	m := o["metadata"].(map[string]any)
	namespace, _ := m["namespace"].(string)
	a := apiObject{namespace: namespace, name: m["name"].(string)}
	s.change(func() {
		k := s.of(plural)
		s.version++
		m["resourceVersion"] = strconv.Itoa(s.version)
		a.text, _ = json.Marshal(o)
		typ := "MODIFIED"
		if _, ok := k.objects[namespace+"/"+a.name]; !ok {
			typ = "ADDED"
		}
		if k.objects == nil {
			k.objects = map[string]apiObject{}
		}
		k.objects[namespace+"/"+a.name] = a
		k.events = append(k.events, apiEvent{s.version, typ, k.typed(a.text)})
	})
	return string(a.text)
}

func (s *apiServer) remove(plural, key string) {
	s.change(func() {
		k := s.of(plural)
		s.version++
		k.events = append(k.events, apiEvent{s.version, "DELETED", k.typed(k.objects[key].text)})
		delete(k.objects, key)
	})
}

// compact forgets the history of a kind, and its watches.
func (s *apiServer) compact(plural string) {
	s.change(func() {
		s.version++
		s.of(plural).compacted = s.version
		s.of(plural).events = nil
		s.drops++
	})
}

func (s *apiServer) dropWatches() { s.change(func() { s.drops++ }) }

// refuse answers a verb on a resource with a status from now on; 0 is none.
func (s *apiServer) refuse(verb, plural string, code int) {
	s.change(func() { s.refusals[verb+" "+plural] = code })
}

// count returns how often something was asked for: "list pods".
func (s *apiServer) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[what]
}

// typed adds what the items of a list lack.
func (k *apiKind) typed(text []byte) []byte {
	return fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,%s`, k.kind, k.apiVersion, text[1:])
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // a server does not notice that a client has gone before
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		hold(r)
	}
	w.Header().Set("Content-Type", "application/json")
	path := strings.Trim(r.URL.Path, "/")
	apiVersion, rest, ok := cutVersion(path)
	switch {
	case !ok:
		fail(w, 404, "NotFound", "no such path")
	case rest == "subjectaccessreviews":
		s.accessReview(w, r)
	case rest == "":
		s.discover(w, apiVersion)
	default:
		s.resource(w, r, apiVersion, rest)
	}
}

// cutVersion splits "apis/apps/v1/deployments" into "apps/v1" and the rest.
func cutVersion(path string) (apiVersion, rest string, ok bool) {
	parts := strings.Split(path, "/")
	switch {
	case len(parts) >= 2 && parts[0] == "api":
		return parts[1], strings.Join(parts[2:], "/"), true
	case len(parts) >= 3 && parts[0] == "apis":
		return parts[1] + "/" + parts[2], strings.Join(parts[3:], "/"), true
	}
	return "", "", false
}

func fail(w http.ResponseWriter, code int, reason, message string) {
	w.WriteHeader(code)
	fmt.Fprint(w, status(code, reason, message))
}

func status(code int, reason, message string) string {
	return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":%q,"reason":%q,"code":%d}`, message, reason, code)
}

// refused counts what is asked, and answers it when it is refused.
func (s *apiServer) refused(w http.ResponseWriter, verb, plural string) bool {
	s.mu.Lock()
	s.asked[verb+" "+plural]++
	code := s.refusals[verb+" "+plural]
	s.mu.Unlock()
	switch code {
	case 0:
		return false
	case 403:
		fail(w, code, "Forbidden", fmt.Sprintf("%s is forbidden: User \"system:serviceaccount:warder:server\" cannot %s resource %q", plural, verb, plural))
	case 404:
		fail(w, code, "NotFound", "the server could not find the requested resource")
	default:
		fail(w, code, "InternalError", "broken")
	}
	return true
}

func (s *apiServer) discover(w http.ResponseWriter, apiVersion string) {
	if s.refused(w, "discover", apiVersion) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var resources []string
	for _, k := range s.kinds {
		if k.apiVersion == apiVersion {
			resources = append(resources,
				fmt.Sprintf(`{"name":"%s/status","kind":%q,"namespaced":%t}`, k.plural, k.kind, !k.namespaced),
				fmt.Sprintf(`{"name":%q,"kind":%q,"namespaced":%t,"verbs":["get","list","watch"]}`, k.plural, k.kind, k.namespaced),
				fmt.Sprintf(`{"name":"more%s","kind":%q,"namespaced":%t}`, k.plural, k.kind, !k.namespaced))
		}
	}
	if resources == nil {
		fail(w, 404, "NotFound", "the server could not find the requested resource")
		return
	}
	fmt.Fprintf(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":%q,"resources":[%s]}`, apiVersion, strings.Join(resources, ","))
}

func (s *apiServer) resource(w http.ResponseWriter, r *http.Request, apiVersion, rest string) {
	parts := strings.Split(rest, "/")
	namespace := ""
	if len(parts) >= 3 && parts[0] == "namespaces" {
		namespace, parts = parts[1], parts[2:]
	}
	s.mu.Lock()
	k := s.of(parts[0])
	s.mu.Unlock()
	verb := "list"
	switch {
	case k == nil || k.apiVersion != apiVersion || len(parts) > 2:
		fail(w, 404, "NotFound", "the server could not find the requested resource")
		return
	case len(parts) == 2:
		verb = "get"
	case r.FormValue("watch") != "":
		verb = "watch"
	}
	if s.refused(w, verb, k.plural) {
		return
	}
	switch verb {
	case "get":
		s.get(w, k, namespace+"/"+parts[1])
	case "watch":
		s.watch(w, r, k)
	default:
		s.list(w, r, k)
	}
}

func (s *apiServer) get(w http.ResponseWriter, k *apiKind, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := k.objects[key]
	if !ok {
		fail(w, 404, "NotFound", k.plural+" \""+key+"\" not found")
		return
	}
	fmt.Fprintf(w, "%s", k.typed(o.text))
}

// sorted returns the objects in the order of etcd.
func (k *apiKind) sorted() []apiObject {
	return slices.SortedFunc(maps.Values(k.objects), func(a, b apiObject) int {
		return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.name, b.name))
	})
}

func (s *apiServer) list(w http.ResponseWriter, r *http.Request, k *apiKind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit, _ := strconv.Atoi(r.FormValue("limit"))
	from, _ := strconv.Atoi(r.FormValue("continue"))
	objects := k.sorted()
	next := ""
	objects = objects[min(from, len(objects)):]
	if limit > 0 && len(objects) > limit {
		objects, next = objects[:limit], strconv.Itoa(from+limit)
	}
	s.asked[fmt.Sprintf("page of %d %s", limit, k.plural)]++
	fmt.Fprintf(w, `{"kind":"%sList","apiVersion":%q,"metadata":{"resourceVersion":"%d","continue":%q},"items":[`, k.kind, k.apiVersion, s.version, next)
	for i, o := range objects {
		if i > 0 {
			fmt.Fprint(w, ",")
		}
		fmt.Fprintf(w, "%s", o.text)
	}
	fmt.Fprint(w, `]}`)
}

// watch sends the events after a version, first those that make up the list when
// they are asked for.
func (s *apiServer) watch(w http.ResponseWriter, r *http.Request, k *apiKind) {
	s.mu.Lock()
	if r.FormValue("sendInitialEvents") != "" && !s.streams {
		s.mu.Unlock()
		fail(w, 422, "Invalid", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
		return
	}
	sent, _ := strconv.Atoi(r.FormValue("resourceVersion"))
	send := func(typ, object string) { fmt.Fprintf(w, `{"type":%q,"object":%s}`+"\n", typ, object) }
	bookmark := func(annotations string) {
		send("BOOKMARK", fmt.Sprintf(`{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":"%d","annotations":{%s}}}`, k.kind, k.apiVersion, s.version, annotations))
	}
	if r.FormValue("sendInitialEvents") != "" {
		for _, o := range k.sorted() {
			send("ADDED", string(k.typed(o.text)))
		}
		sent = s.version
		bookmark(`"k8s.io/initial-events-end":"true"`)
	}
	drops, marks := s.drops, s.marks
	for {
		if sent < k.compacted {
			send("ERROR", status(410, "Expired", "too old resource version"))
			s.mu.Unlock()
			return
		}
		for _, e := range k.events {
			if e.version > sent {
				send(e.typ, string(e.text))
				sent = e.version
			}
		}
		if marks != s.marks {
			marks, sent = s.marks, s.version
			bookmark("")
		}
		changed, dropped := s.changed, drops != s.drops
		s.mu.Unlock()
		w.(http.Flusher).Flush()
		if dropped {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		s.mu.Lock()
	}
}

func (s *apiServer) accessReview(w http.ResponseWriter, r *http.Request) {
	if s.refused(w, "create", "subjectaccessreviews") {
		return
	}
	var body json.RawMessage
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&body) != nil {
		fail(w, 400, "BadRequest", "no review")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reviewed = append(s.reviewed, string(body))
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1","metadata":{}%s}`, s.review)
}

// until waits for something that another goroutine does.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 30_000 {
		if is() {
			return
		}
		<-tick.C
	}
	t.Fatalf("after half a minute: not yet %s", what)
}
