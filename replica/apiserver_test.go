package replica

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
)

// apiServer is as much of an API server as a replica asks for, over HTTP: lists,
// watches with resource versions, bookmarks and 410 Gone, and reports.
type apiServer struct {
	*httptest.Server

	mu        sync.Mutex
	changed   chan struct{} // closed when anything changes
	version   int           // resourceVersion of the last change
	objects   map[string]v1.Object
	events    []apiEvent
	compacted int // events up to this version are forgotten
	drops     int // how often all watches were dropped
	marks     int // how often bookmarks were asked for
	streams   bool
	log       []string // what was asked: "list policyservers", "report ready=true"

	reports map[string]v1alpha1.PolicyServerReplica
	applied []v1alpha1.PolicyServerReplica
	refuse  func(verb, resource string) int     // status code, 0 for none
	check   func(report v1alpha1.ReplicaStatus) // called before a report is taken
}

type apiEvent struct {
	version  int
	typ      string
	resource string
	object   v1.Object
}

func newAPIServer(t testing.TB) *apiServer {
	t.Helper()
	s := &apiServer{
		changed: make(chan struct{}), version: 100, objects: map[string]v1.Object{}, streams: true,
		reports: map[string]v1alpha1.PolicyServerReplica{}, refuse: func(_, _ string) int { return 0 },
		check: func(v1alpha1.ReplicaStatus) {},
	}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(t.Output(), nil), slog.LevelError)
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *apiServer) config() *rest.Config { return &rest.Config{Host: s.URL} }

// change does something to the server that its watches notice.
func (s *apiServer) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

func resourceOf(o v1.Object) string {
	if p, ok := v1.View(o); ok {
		return p.Kind.Resource()
	}
	return v1.ResourcePolicyServers
}

func keyOf(o v1.Object) string {
	return resourceOf(o) + "/" + o.GetNamespace() + "/" + o.GetName()
}

// put makes or changes an object, and returns it with its new resource version.
// The generation is the caller's, 1 by default.
func (s *apiServer) put(o v1.Object) v1.Object {
	o = o.DeepCopyObject().(v1.Object)
	s.change(func() {
		s.version++
		typ, old := "ADDED", s.objects[keyOf(o)]
		if old != nil {
			typ = "MODIFIED"
		}
		if o.GetGeneration() == 0 {
			o.SetGeneration(1)
		}
		if o.GetUID() == "" {
			o.SetUID(types.UID("uid-" + o.GetName()))
		}
		o.SetResourceVersion(strconv.Itoa(s.version))
		o.GetObjectKind().SetGroupVersionKind(v1.GroupVersion().WithKind(kindOf(o)))
		s.objects[keyOf(o)] = o
		s.events = append(s.events, apiEvent{s.version, typ, resourceOf(o), o})
	})
	return o
}

func kindOf(o v1.Object) string {
	if p, ok := v1.View(o); ok {
		return string(p.Kind)
	}
	return "PolicyServer"
}

func (s *apiServer) delete(o v1.Object) {
	s.change(func() {
		s.version++
		gone := s.objects[keyOf(o)].DeepCopyObject().(v1.Object)
		gone.SetResourceVersion(strconv.Itoa(s.version))
		delete(s.objects, keyOf(o))
		s.events = append(s.events, apiEvent{s.version, "DELETED", resourceOf(o), gone})
	})
}

// forget does what etcd's compaction does, and drops the watches: they have to
// list again.
func (s *apiServer) forget(do func()) {
	s.mu.Lock()
	s.refuse = func(verb, _ string) int {
		if verb == "watch" {
			return http.StatusServiceUnavailable
		}
		return 0
	}
	s.mu.Unlock()
	s.change(func() { s.drops++ })
	do()
	s.change(func() {
		s.compacted = s.version
		s.refuse = func(_, _ string) int { return 0 }
	})
}

// asked returns what was asked since the server started.
func (s *apiServer) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

func (s *apiServer) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

// report returns the replica's report, and whether there is one.
func (s *apiServer) report() (v1alpha1.PolicyServerReplica, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.reports["warder/r"]
	return r, ok
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	switch {
	case len(parts) == 7 && parts[1] == "policies.warder.dev" && parts[5] == v1alpha1.ResourceReplicas:
		s.serveReport(w, r, parts[4]+"/"+parts[6])
	case len(parts) == 4 && parts[1] == "policies.kubewarden.io" && r.Method == http.MethodGet && q.Get("watch") != "":
		s.serveWatch(w, r, parts[3])
	case len(parts) == 4 && parts[1] == "policies.kubewarden.io" && r.Method == http.MethodGet:
		s.serveList(w, r, parts[3])
	default:
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound)
	}
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: int32(code), Reason: reason, Message: http.StatusText(code),
	})
}

func (s *apiServer) refuses(w http.ResponseWriter, verb, resource string) bool {
	s.mu.Lock()
	code := s.refuse(verb, resource)
	s.mu.Unlock()
	switch code {
	case 0:
		return false
	case http.StatusForbidden:
		fail(w, code, metav1.StatusReasonForbidden)
	case http.StatusNotFound:
		fail(w, code, metav1.StatusReasonNotFound)
	default:
		fail(w, code, metav1.StatusReasonServiceUnavailable)
	}
	return true
}

func (s *apiServer) serveReport(w http.ResponseWriter, r *http.Request, key string) {
	verb := map[string]string{http.MethodPatch: "patch", http.MethodDelete: "delete"}[r.Method]
	if s.refuses(w, verb, v1alpha1.ResourceReplicas) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if verb == "delete" {
		s.change(func() {
			delete(s.reports, key)
			s.log = append(s.log, "delete report")
		})
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Success"})
		return
	}
	text, err := io.ReadAll(r.Body)
	var report v1alpha1.PolicyServerReplica
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil || r.Header.Get("Content-Type") != "application/apply-patch+yaml" || r.URL.Query().Get("fieldManager") == "" {
		fail(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
		return
	}
	s.check(report.Status)
	s.change(func() {
		s.reports[key] = report
		s.applied = append(s.applied, report)
		s.log = append(s.log, fmt.Sprintf("report ready=%t", report.Status.Ready))
	})
	_ = json.NewEncoder(w).Encode(report)
}

// of returns the objects of a resource that the request selects. The lock is
// held.
func (s *apiServer) of(r *http.Request, resource string) []v1.Object {
	var all []v1.Object
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if o := s.objects[key]; resourceOf(o) == resource && selects(r, o) {
			all = append(all, o)
		}
	}
	return all
}

func selects(r *http.Request, o v1.Object) bool {
	name, ok := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	return !ok || name == o.GetName()
}

func (s *apiServer) serveList(w http.ResponseWriter, r *http.Request, resource string) {
	if s.refuses(w, "list", resource) {
		return
	}
	s.note("list %s", resource)
	s.mu.Lock()
	objects, version := s.of(r, resource), s.version
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"apiVersion": v1.GroupVersion().String(), "kind": strings.TrimSuffix(kindOf(newObject(resource).(v1.Object)), "List") + "List",
		"metadata": map[string]any{"resourceVersion": strconv.Itoa(version)}, "items": objects,
	})
}

// serveWatch streams events. It is the reflector's own way to list, too.
func (s *apiServer) serveWatch(w http.ResponseWriter, r *http.Request, resource string) {
	q := r.URL.Query()
	initial := q.Get("sendInitialEvents") == "true"
	if initial && !s.streams {
		fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid)
		return
	}
	if s.refuses(w, "watch", resource) {
		return
	}
	send := json.NewEncoder(w)
	event := func(typ string, object any) {
		if err := send.Encode(map[string]any{"type": typ, "object": object}); err != nil && r.Context().Err() == nil {
			s.Config.ErrorLog.Printf("event not sent: %v", err)
		}
		w.(http.Flusher).Flush()
	}
	bookmark := func(version int, end bool) {
		meta := map[string]any{"resourceVersion": strconv.Itoa(version), "creationTimestamp": nil}
		if end {
			meta["annotations"] = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
		}
		event("BOOKMARK", map[string]any{"apiVersion": v1.GroupVersion().String(), "kind": kindOf(newObject(resource).(v1.Object)), "metadata": meta})
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	s.mu.Lock()
	drops, marks := s.drops, s.marks
	at, _ := strconv.Atoi(q.Get("resourceVersion")) // "" is 0
	if initial {
		objects := s.of(r, resource)
		at = s.version
		s.log = append(s.log, "list "+resource)
		s.mu.Unlock()
		for _, o := range objects {
			event("ADDED", o)
		}
		bookmark(at, true)
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	for drops == s.drops && r.Context().Err() == nil {
		if at < s.compacted {
			event("ERROR", metav1.Status{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: http.StatusGone, Reason: metav1.StatusReasonExpired,
			})
			return
		}
		i, _ := slices.BinarySearchFunc(s.events, at+1, func(e apiEvent, version int) int { return cmp.Compare(e.version, version) })
		for _, e := range s.events[i:] {
			if at = e.version; e.resource == resource && selects(r, e.object) {
				event(e.typ, e.object)
			}
		}
		if marks != s.marks {
			marks = s.marks
			bookmark(s.version, false)
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-r.Context().Done():
		}
		s.mu.Lock()
	}
}

// eventually waits for what takes a moment.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if holds() {
			return
		}
		<-time.After(2 * time.Millisecond)
	}
	t.Fatalf("not within 20 s: %s", what)
}
