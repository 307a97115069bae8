package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// podReview is the review of a Pod as an API server sends it.
//
//go:embed testdata/review.json
var podReview []byte

// reviewUID is the UID in podReview; each client puts its own in its place.
const reviewUID = "705ab4f5-6393-11e8-b7cc-42010a800002"

// acceptedReview returns a review that every policy of the benchmark accepts,
// and its UID.
func acceptedReview(worker int) (body []byte, uid string) {
	uid = fmt.Sprintf("705ab4f5-6393-11e8-b7cc-%012d", worker)
	return bytes.Replace(podReview, []byte(reviewUID), []byte(uid), 1), uid
}

// refusedReview returns a review that every policy refuses: a privileged
// container, of nobody's team.
func refusedReview() (body []byte, uid string) {
	body = bytes.Replace(podReview, []byte(`"privileged":false`), []byte(`"privileged":true`), 1)
	return bytes.Replace(body, []byte(`"team":"payments"`), []byte(`"team":"paymnets"`), 1), reviewUID
}

// question is one thing to ask a server again and again.
type question struct {
	paths   []string // asked in turn
	refuses string   // what the message of a refusal has in it; "" when nothing is refused
}

// asker asks a server one thing after another.
type asker struct {
	p     *process
	buf   bytes.Buffer
	body  []byte
	check func(answer []byte) error
}

// ask asks once. The error is about the transport, or a wrong answer.
func (a *asker) ask(ctx context.Context, path string) error {
	// The API server adds the webhook's timeoutSeconds to the URL.
	url := "https://" + a.p.API + path + "?timeout=10s"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(a.body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	a.buf.Reset()
	if _, err := a.buf.ReadFrom(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != a.p.major {
		return fmt.Errorf("POST %s = %s %s: %s, want 200 by HTTP/%d", path, resp.Proto, resp.Status, a.buf.Bytes(), a.p.major)
	}
	if err := a.check(a.buf.Bytes()); err != nil {
		return fmt.Errorf("POST %s: wrong answer: %w", path, err)
	}
	return nil
}

// accepted checks that an answer lets the request of that UID through as it is.
func accepted(uid string) func([]byte) error {
	right := fmt.Appendf(nil, `"response":{"uid":%q,"allowed":true`, uid)
	return func(answer []byte) error {
		if !bytes.Contains(answer, right) || bytes.Contains(answer, []byte(`"patch"`)) || bytes.Contains(answer, []byte(`"warnings":[`)) {
			return fmt.Errorf("want %q allowed with neither patch nor warnings, have %s", uid, answer)
		}
		return nil
	}
}

// refused checks that an answer refuses the request for a reason.
func refused(uid, reason string) func([]byte) error {
	return func(answer []byte) error {
		var review struct {
			Response struct {
				UID     string `json:"uid"`
				Allowed bool   `json:"allowed"`
				Status  struct {
					Message string `json:"message"`
				} `json:"status"`
			} `json:"response"`
		}
		if err := json.Unmarshal(answer, &review); err != nil {
			return err
		}
		if r := review.Response; r.UID != uid || r.Allowed || !strings.Contains(r.Status.Message, reason) {
			return fmt.Errorf("want %q refused with %q, have %s", uid, reason, answer)
		}
		return nil
	}
}

// checkRefusal asks each path once for what it has to refuse.
func (p *process) checkRefusal(ctx context.Context, q question) error {
	if q.refuses == "" {
		return nil
	}
	body, uid := refusedReview()
	a := asker{p: p, body: body, check: refused(uid, q.refuses)}
	for _, path := range q.paths {
		if err := a.ask(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

// load asks the question for the given time, that many at once, and returns how
// long each answer took. All answers are right, or there is an error.
func (p *process) load(ctx context.Context, q question, concurrency int, d time.Duration) (took []time.Duration, elapsed time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	each := make([][]time.Duration, concurrency)
	start := time.Now()
	var wg sync.WaitGroup
	for worker := range concurrency {
		wg.Go(func() {
			body, uid := acceptedReview(worker)
			a := asker{p: p, body: body, check: accepted(uid)}
			for i, before := worker, start; before.Sub(start) < d; i++ {
				if err := a.ask(ctx, q.paths[i%len(q.paths)]); err != nil {
					cancel(err) // the first counts; the others fail because of it
					return
				}
				after := time.Now()
				each[worker] = append(each[worker], after.Sub(before))
				before = after
			}
		})
	}
	wg.Wait()
	elapsed = time.Since(start)
	if err := context.Cause(ctx); err != nil {
		return nil, 0, err
	}
	return slices.Concat(each...), elapsed, nil
}

// measure warms up, loads the server, and returns the figures of that.
func (p *process) measure(ctx context.Context, q question, concurrency int, d time.Duration) (figures, int, error) {
	if err := p.checkRefusal(ctx, q); err != nil {
		return figures{}, 0, err
	}
	if _, _, err := p.load(ctx, q, concurrency, d/4); err != nil {
		return figures{}, 0, err
	}
	before, err := p.usage(ctx)
	if err != nil {
		return figures{}, 0, err
	}
	took, elapsed, err := p.load(ctx, q, concurrency, d)
	if err != nil {
		return figures{}, 0, err
	}
	after, err := p.usage(ctx)
	if err != nil {
		return figures{}, 0, err
	}
	slices.Sort(took)
	n := float64(len(took))
	return figures{
		RPS:    n / elapsed.Seconds(),
		P50:    microseconds(percentile(took, 50)),
		P99:    microseconds(percentile(took, 99)),
		CPU:    microseconds(after.CPU-before.CPU) / n,
		Allocs: float64(after.Mallocs-before.Mallocs) / n,
		Bytes:  float64(after.TotalAlloc-before.TotalAlloc) / n,
	}, len(took), nil
}

// percentile returns the smallest of the sorted values that at least so many
// percent are not above.
func percentile(sorted []time.Duration, percent int) time.Duration {
	return sorted[(len(sorted)*percent+99)/100-1]
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// profile loads the server and returns its CPU profile meanwhile, which is
// taken in whole seconds.
func (p *process) profile(ctx context.Context, q question, concurrency int, d time.Duration) ([]byte, error) {
	seconds := int(max(d, time.Second).Seconds())
	var text []byte
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() { text, failed = p.control(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds)) })
	_, _, err := p.load(ctx, q, concurrency, time.Duration(seconds)*time.Second)
	wg.Wait()
	return text, errors.Join(err, failed)
}
