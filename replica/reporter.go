package replica

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/warder-dev/warder/api/v1alpha1"
)

// How long a report waits for more to say. One change is reported after a moment
// in which what belongs to it comes as well: a built-in is loaded in less. While
// many policies change at once reports get rarer, down to one a second; a change
// of statuses alone, which nobody waits for, is reported within two.
const (
	firstGap  = 20 * time.Millisecond
	shortGap  = 200 * time.Millisecond
	longGap   = time.Second
	minorGap  = 2 * time.Second
	firstWait = 200 * time.Millisecond // after a write that did not work, and twice as long each time

	// many is how much there is to say of more than two or three policies: each
	// begins to load, and is loaded.
	many = 8
)

// urgency is how soon something has to be reported.
type urgency int

const (
	minor urgency = iota
	matters
)

// reporter writes the report.
type reporter struct {
	opts   Options
	log    *slog.Logger
	api    *client
	keeper *keeper
	woken  chan struct{} // has one when there is something to say

	mu    sync.Mutex
	ready bool
	asked [2]time.Time  // when something was first to be said, by urgency; zero is never
	burst int           // how often that mattered since the last report
	wrote reportState   // the last report that the API server has taken
	news  chan struct{} // closed when wrote changes

	failure string    // of the last write, as it was logged
	failed  int       // writes in a row that did not work
	tried   time.Time // the last write
	gap     time.Duration
}

// reportState is a report that was written.
type reportState struct {
	ready  bool
	at     time.Time
	status v1alpha1.ReplicaStatus
}

func newReporter(o Options, api *client, k *keeper) *reporter {
	return &reporter{
		opts: o, log: o.Log, api: api, keeper: k, woken: make(chan struct{}, 1), news: make(chan struct{}), gap: shortGap,
	}
}

// tell says that there is something new.
func (r *reporter) tell(u urgency) {
	r.mu.Lock()
	if r.asked[u].IsZero() {
		r.asked[u] = time.Now()
	}
	if u == matters {
		r.burst++
	}
	r.mu.Unlock()
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// setReady makes the reports that follow say ready.
func (r *reporter) setReady() {
	r.mu.Lock()
	r.ready = true
	r.mu.Unlock()
	r.tell(matters)
}

// waitFor waits for a report that was written. It returns false when ctx is done
// before.
func (r *reporter) waitFor(ctx context.Context, holds func(reportState) bool) bool {
	for {
		r.mu.Lock()
		ok, news := holds(r.wrote), r.news
		r.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}

// run writes reports until ctx is done, and then deletes the report.
func (r *reporter) run(ctx context.Context) {
	r.tell(matters)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		if wait := time.Until(r.due()); wait > 0 {
			timer.Reset(wait)
			select {
			case <-r.woken:
			case <-timer.C:
			case <-ctx.Done():
			}
			continue
		}
		r.write(ctx)
	}
	if err := r.api.remove(context.WithoutCancel(ctx), r.opts.Namespace, r.opts.Name); err != nil {
		r.log.Warn("report not deleted: it counts until its lease is over", "error", err)
	}
}

// due is when the next report is to be written.
func (r *reporter) due() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := r.tried.Add(r.opts.Heartbeat)
	earlier := func(at time.Time) {
		if at.Before(due) {
			due = at
		}
	}
	if r.failed > 0 {
		earlier(r.tried.Add(min(firstWait<<min(r.failed-1, 10), r.opts.Heartbeat)))
		return due
	}
	if at := r.asked[matters]; !at.IsZero() {
		earlier(later(at.Add(firstGap), r.tried.Add(r.gap)))
	}
	if at := r.asked[minor]; !at.IsZero() {
		earlier(later(at.Add(firstGap), r.tried.Add(minorGap)))
	}
	return due
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// write writes the report, unless it would say what the last one did and is not
// due for the sake of its time.
func (r *reporter) write(ctx context.Context) {
	r.mu.Lock()
	now, ready, wrote := time.Now(), r.ready, r.wrote
	if r.burst > many {
		r.gap = min(2*r.gap, longGap)
	} else {
		r.gap = shortGap
	}
	r.burst, r.asked = 0, [2]time.Time{} // before the keeper is asked: what comes then is said again
	r.mu.Unlock()
	status := r.keeper.status()
	status.Ready, status.Version = ready, r.opts.Version
	if r.failed == 0 && now.Sub(wrote.at) < r.opts.Heartbeat && reflect.DeepEqual(status, wrote.status) {
		return
	}
	said := status
	said.RenewTime = metav1.NewMicroTime(now)
	err := r.api.apply(ctx, reportOf(r.opts, said))
	r.opts.Metrics.wrote(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried = now
	if err != nil {
		r.failed++
		if text := err.Error(); text != r.failure && ctx.Err() == nil {
			r.failure = text
			r.log.Error("report not written: new policies are not registered until it is", "report", r.opts.Namespace+"/"+r.opts.Name, "error", err)
		}
		return
	}
	if r.failure != "" {
		r.log.Info("report is written again", "report", r.opts.Namespace+"/"+r.opts.Name)
	}
	r.failed, r.failure = 0, ""
	r.wrote = reportState{ready: ready, at: now, status: status}
	close(r.news)
	r.news = make(chan struct{})
}
