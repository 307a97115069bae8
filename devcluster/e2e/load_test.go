package e2e

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/warder-dev/warder/devcluster/stage"
)

// loadRate is how many requests a second a load asks for.
const loadRate = 200

// shot is one request of a load.
type shot struct {
	began, ended time.Time
	err          error
}

// refused says whether a policy has refused it, and not something that failed.
func (s shot) refused() bool {
	return s.err != nil && strings.Contains(s.err.Error(), "denied the request") && strings.Contains(s.err.Error(), "kw.cap.")
}

// failed says whether there was no verdict.
func (s shot) failed() bool { return s.err != nil && !s.refused() }

// load asks for pods, as dry runs, at a rate that does not depend on how quick the
// answers are, until it is stopped.
type load struct {
	cancel context.CancelFunc
	began  time.Time
	wait   sync.WaitGroup
	mu     sync.Mutex
	shots  []shot
}

func startLoad(s *stage.Stage, pod *corev1.Pod) *load {
	ctx, cancel := context.WithCancel(s.T.Context())
	l := &load{cancel: cancel, began: time.Now()}
	due := make(chan struct{}, 100*loadRate)
	l.wait.Go(func() {
		defer close(due)
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for asked := 0; ; {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			for ; asked < int(time.Since(l.began).Seconds()*loadRate) && len(due) < cap(due); asked++ {
				due <- struct{}{}
			}
		}
	})
	for range 16 {
		client := kubernetes.NewForConfigOrDie(s.Admin)
		l.wait.Go(func() {
			for range due {
				if ctx.Err() != nil {
					return
				}
				l.fire(s, client, pod)
			}
		})
	}
	return l
}

// fire is not bound by the end of the load: what was asked is answered.
func (l *load) fire(s *stage.Stage, client *kubernetes.Clientset, pod *corev1.Pod) {
	one := shot{began: time.Now()}
	_, one.err = client.CoreV1().Pods("default").Create(s.T.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	one.ended = time.Now()
	l.mu.Lock()
	l.shots = append(l.shots, one)
	l.mu.Unlock()
}

// count is how many have been answered.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.shots)
}

// more waits until n more requests have been answered.
func (l *load) more(s *stage.Stage, n int) {
	s.T.Helper()
	want := l.count() + n
	s.Eventually(func() string {
		if have := l.count(); have < want {
			return fmt.Sprintf("%d requests are answered, want %d", have, want)
		}
		return ""
	})
}

// stop ends the load, prints its figures and returns its requests.
func (l *load) stop(t *testing.T, what string) []shot {
	t.Helper()
	took := time.Since(l.began)
	l.cancel()
	l.wait.Wait()
	var all []time.Duration
	for _, s := range l.shots {
		all = append(all, s.ended.Sub(s.began))
	}
	if len(all) == 0 {
		t.Fatalf("%s: not one request was answered", what)
	}
	slices.Sort(all)
	t.Logf("%s: %d requests in %s, %.0f a second of the %d asked for; latency at the median %s, 99%% %s, longest %s", what, len(all),
		took.Round(time.Millisecond), float64(len(all))/took.Seconds(), loadRate,
		all[len(all)/2].Round(time.Microsecond), all[len(all)*99/100].Round(time.Microsecond), all[len(all)-1].Round(time.Microsecond))
	return l.shots
}

// noneFailed fails the test for requests without a verdict.
func noneFailed(t *testing.T, shots []shot) {
	t.Helper()
	failed := slices.DeleteFunc(slices.Clone(shots), func(s shot) bool { return !s.failed() })
	for _, s := range failed[:min(len(failed), 5)] {
		t.Errorf("at %s, after %s: %v", s.began.Format(time.TimeOnly+".000"), s.ended.Sub(s.began), s.err)
	}
	if len(failed) > 0 {
		t.Errorf("%d of %d requests failed", len(failed), len(shots))
	}
}

// allRefused fails the test for requests that were not refused by a policy.
func allRefused(t *testing.T, shots []shot) {
	t.Helper()
	noneFailed(t, shots)
	through := slices.DeleteFunc(slices.Clone(shots), func(s shot) bool { return s.err != nil })
	for _, s := range through[:min(len(through), 5)] {
		t.Errorf("let through: began at %s, took %s", s.began.Format(time.TimeOnly+".000"), s.ended.Sub(s.began))
	}
	if len(through) > 0 {
		t.Errorf("%d of %d requests were let through", len(through), len(shots))
	}
}

// noRestarts fails the test if a process of warder has ended.
func noRestarts(s *stage.Stage) {
	s.T.Helper()
	for _, pod := range s.Pods("") {
		if n := pod.Status.ContainerStatuses[0].RestartCount; n != 0 {
			s.T.Errorf("%s has restarted %d times", pod.Name, n)
		}
	}
}

// in is the stage for a subtest.
func in(t *testing.T, s *stage.Stage) *stage.Stage {
	sub := *s
	sub.T = t
	return &sub
}

// change is what a step of a test does to a policy, when it began to and when the
// policy said that it was done.
type change struct {
	revision     int
	began, ready time.Time
}

func TestPoliciesChangeUnderLoad(t *testing.T) {
	t.Parallel()
	whole := stage.New(t)
	t.Run("settings", func(t *testing.T) { settingsUnderLoad(in(t, whole)) })
	t.Run("everything else", func(t *testing.T) { movesUnderLoad(in(t, whole)) })
	t.Run("monitor to protect", func(t *testing.T) { protectUnderLoad(in(t, whole)) })
	noRestarts(whole)
}

// settingsUnderLoad changes which label a policy wants. The message of a refusal
// names it, and so says which generation has judged.
func settingsUnderLoad(s *stage.Stage) {
	t := s.T
	revision := func(i int) change {
		c := change{revision: i, began: time.Now()}
		s.Ready(s.Apply(labelled("labels", fmt.Sprintf("rev-%d", i))))
		c.ready = time.Now()
		return c
	}
	changes := []change{revision(0)}
	l := startLoad(s, stage.Pod("p"))
	l.more(s, loadRate/2)
	for i := 1; i <= 20; i++ {
		changes = append(changes, revision(i))
		l.more(s, loadRate/4)
	}
	shots := l.stop(t, "20 changes of settings")
	allRefused(t, shots)

	names := regexp.MustCompile(`rev-(\d+)`)
	between, wrong := 0, 0
	for _, one := range shots {
		if !one.refused() {
			continue
		}
		found := names.FindStringSubmatch(one.err.Error())
		if found == nil {
			t.Fatalf("no revision in: %v", one.err)
		}
		judged, _ := strconv.Atoi(found[1])
		oldest, newest := 0, 0
		for _, c := range changes {
			if c.ready.Before(one.began) {
				oldest = c.revision
			}
			if c.began.Before(one.ended) {
				newest = c.revision
			}
		}
		if oldest != newest {
			between++
		}
		if judged < oldest || judged > newest {
			if wrong++; wrong <= 5 {
				t.Errorf("judged by revision %d, want %d to %d; began %s after %d was ready", judged, oldest, newest, one.began.Sub(changes[oldest].ready), oldest)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d requests were judged by a wrong generation", wrong, len(shots))
	}
	var took []time.Duration
	for _, c := range changes[1:] {
		took = append(took, c.ready.Sub(c.began))
	}
	slices.Sort(took)
	t.Logf("apply to Ready under load: median %s, longest %s; %d requests while a change was under way", took[len(took)/2], took[len(took)-1], between)
	s.Delete(s.Object(labelled("labels", "x")))
}

// movesUnderLoad changes what moves a policy between webhooks. It refuses the pods
// of the load in every one of its specs.
func movesUnderLoad(s *stage.Stage) {
	t := s.T
	spec := func(change string) string {
		return strings.Replace(capOf("moving", "builtin://pod-privileged", ""), "\n  mutating: false", "\n  "+change, 1)
	}
	wide := strings.ReplaceAll(spec("mutating: false"), "resources: [pods], operations: [CREATE]", "resources: [pods, services], operations: [CREATE, UPDATE]")
	s.Ready(s.Apply(spec("mutating: false")))
	l := startLoad(s, stage.Pod("p", stage.Privileged))
	l.more(s, loadRate/2)
	for _, step := range []struct{ what, text string }{
		{"rules widened", wide},
		{"rules narrowed", spec("mutating: false")},
		{"failurePolicy Ignore", spec("mutating: false\n  failurePolicy: Ignore")},
		{"failurePolicy Fail", spec("mutating: false\n  failurePolicy: Fail")},
		{"mutating", spec("mutating: true")},
		{"not mutating", spec("mutating: false")},
		{"another timeout and rules widened", strings.Replace(wide, "mutating: false", "mutating: false\n  timeoutSeconds: 7", 1)},
		{"all back", spec("mutating: false")},
	} {
		began := time.Now()
		s.Ready(s.Apply(step.text))
		took := time.Since(began)
		l.more(s, loadRate/4)
		s.Eventually(func() string { return moving(s.Get(s.Object(step.text))) })
		t.Logf("%s: Ready after %s, moved after %s", step.what, took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		l.more(s, loadRate/4)
	}
	allRefused(t, l.stop(t, "8 moves between webhooks"))
	s.Delete(s.Object(wide))
}

// moving complains while a policy is asked for elsewhere than its generation says.
func moving(o *unstructured.Unstructured) string {
	generation, _, _ := unstructured.NestedInt64(o.Object, "status", "enforced", "generation")
	if generation != o.GetGeneration() {
		return fmt.Sprintf("enforced is generation %d, want %d", generation, o.GetGeneration())
	}
	return ""
}

// protectUnderLoad makes a policy refuse that has only watched.
func protectUnderLoad(s *stage.Stage) {
	t := s.T
	mode := func(m string) string {
		return strings.Replace(capOf("modes", "builtin://pod-privileged", ""), "\n  mutating: false", "\n  mutating: false\n  mode: "+m, 1)
	}
	s.Ready(s.Apply(mode("monitor")))
	l := startLoad(s, stage.Pod("p", stage.Privileged))
	l.more(s, loadRate/2)
	began := time.Now()
	s.Ready(s.Apply(mode("protect")))
	ready := time.Now()
	l.more(s, loadRate/2)
	shots := l.stop(t, "monitor to protect")
	noneFailed(t, shots)
	early, late := 0, 0
	for _, one := range shots {
		if one.ended.Before(began) && one.err != nil {
			early++
		}
		if one.began.After(ready) && one.err == nil {
			late++
		}
	}
	if early != 0 || late != 0 {
		t.Errorf("%d requests were refused before protect, %d let through after it was ready", early, late)
	}
	t.Logf("protect is enforced %s after it was applied", ready.Sub(began).Round(time.Millisecond))
	s.Delete(s.Object(mode("protect")))
}
