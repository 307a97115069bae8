package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/warder-dev/warder/runtime"
)

// maxConcurrency is the most requests in flight: what a busy API server has at
// one webhook.
const maxConcurrency = 32

// concurrencies are the numbers of requests in flight that rows are measured
// with: one is the latency that somebody waits for, many are the throughput.
func concurrencies() []int { return []int{1, maxConcurrency} }

// Names of rows that others are compared with.
const (
	allowAllRow = "allow-all"
	nativeRow   = "native"
	wasiRow     = "wasm-snapshot"
	wapcRow     = "wasm-snapshot-wapc"
	freshRow    = "wasm-fresh"
)

// subject is what one row measures.
type subject struct {
	name   string
	server string // which of the servers
	ask    question
	fresh  string // the row that this one is compared with as well; "" for none
}

// Servers that run at the same time; all but one wait.
const (
	nativeServer   = "native"
	snapshotServer = "snapshot"
	freshServer    = "fresh"
)

// allRows are the rows in their order. What is compared closely is asked of the
// same process.
func allRows() []subject {
	const privileged, team = "Privileged container is not allowed", `(did you mean "payments"?)`
	wasi, wapc := question{[]string{"/validate/wasi"}, team}, question{[]string{"/validate/wapc"}, team}
	return []subject{
		{name: allowAllRow, server: nativeServer, ask: question{paths: []string{allowAllPath}}},
		{name: nativeRow, server: nativeServer, ask: question{[]string{"/validate/privileged"}, privileged}},
		{name: wasiRow, server: snapshotServer, ask: wasi, fresh: freshRow},
		{name: wapcRow, server: snapshotServer, ask: wapc, fresh: freshRow + "-wapc"},
		{name: freshRow, server: freshServer, ask: wasi},
		{name: freshRow + "-wapc", server: freshServer, ask: wapc},
		{name: "eight-policies", server: snapshotServer, ask: question{[]string{"/review/eight"}, "2 policies refuse this request"}},
	}
}

// measureRows measures every row in every round and adds the medians to the
// result.
func (b *bench) measureRows(ctx context.Context, res *result) (err error) {
	subjects := slices.DeleteFunc(allRows(), func(s subject) bool {
		return len(b.opts.only) > 0 && !slices.Contains(b.opts.only, s.name)
	})
	servers, err := b.startServers(ctx, subjects)
	defer func() {
		for _, p := range servers {
			err = errors.Join(err, p.stop())
		}
	}()
	if err != nil {
		return err
	}
	rounds := make([]round, b.opts.rounds)
	for i := range rounds {
		if rounds[i], err = b.measureRound(ctx, servers, subjects); err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
	}
	for _, c := range concurrencies() {
		for _, s := range subjects {
			res.Rows = append(res.Rows, newRow(s, c, rounds))
		}
	}
	if p := servers[nativeServer]; p != nil {
		rss, err := p.residentBytes()
		if err != nil {
			return err
		}
		res.NativeRSS = mebibytes(rss)
	}
	return b.profileRows(ctx, servers, subjects)
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// startServers starts the servers that the rows need, and waits until they have
// their policies. Those that run are returned with the error too.
func (b *bench) startServers(ctx context.Context, subjects []subject) (map[string]*process, error) {
	second, err := b.variant(0)
	if err != nil {
		return nil, err
	}
	wasm := map[string]entry{
		"wasi": {Module: "file://" + b.wasi, Settings: teamSettings()},
		"wapc": {Module: "file://" + b.wapc, Settings: teamSettings()},
	}
	withEight := eightPolicies(b.wasi, second)
	for id, e := range wasm {
		withEight[id] = e
	}
	servers := map[string]*process{}
	cache := filepath.Join(b.dir, "cache-rows") // the servers share modules
	if err := os.Mkdir(cache, 0o700); err != nil {
		return nil, err
	}
	for _, kind := range []struct {
		name      string
		policies  map[string]entry
		isolation runtime.Isolation
	}{
		{nativeServer, map[string]entry{"privileged": {Module: "builtin://pod-privileged"}}, runtime.Snapshot},
		{snapshotServer, withEight, runtime.Snapshot},
		{freshServer, wasm, runtime.Fresh},
	} {
		if !slices.ContainsFunc(subjects, func(s subject) bool { return s.server == kind.name }) {
			continue
		}
		file, err := b.writePolicies(kind.name, kind.policies)
		if err != nil {
			return servers, err
		}
		p, err := b.startServer(ctx, serverConfig{Policies: file, CacheDir: cache, Isolation: kind.isolation})
		if err != nil {
			return servers, err
		}
		if err := p.waitReady(ctx); err != nil {
			return servers, err
		}
		servers[kind.name] = p // to be stopped, also after an error
		if err := p.checkIsolation(ctx, kind.isolation); err != nil {
			return servers, err
		}
	}
	return servers, nil
}

// place is a row of the table.
type place struct {
	name        string
	concurrency int
}

// round has the figures of one round.
type round map[place]measured

type measured struct {
	figures
	requests int
}

// measureRound measures every row once, one after the other.
func (b *bench) measureRound(ctx context.Context, servers map[string]*process, subjects []subject) (round, error) {
	r := round{}
	for _, c := range concurrencies() {
		for _, s := range subjects {
			f, n, err := servers[s.server].measure(ctx, s.ask, c, b.opts.time)
			if err != nil {
				return nil, fmt.Errorf("%s, %d at once: %w", s.name, c, err)
			}
			r[place{s.name, c}] = measured{f, n}
		}
	}
	return r, nil
}

// newRow is the median of the rounds, and of the rounds' ratios.
func newRow(s subject, concurrency int, rounds []round) row {
	here := place{s.name, concurrency}
	out := row{Name: s.name, Concurrency: concurrency}
	var own []figures
	for _, r := range rounds {
		own = append(own, r[here].figures)
		out.Requests += r[here].requests
	}
	out.figures = median(own)
	out.ToAllowAll = medianRatio(rounds, here, place{allowAllRow, concurrency})
	if s.fresh != "" {
		out.ToFresh = medianRatio(rounds, here, place{s.fresh, concurrency})
	}
	return out
}

// medianRatio returns nil when the other row was not measured.
func medianRatio(rounds []round, here, other place) *figures {
	var ratios []figures
	for _, r := range rounds {
		than, ok := r[other]
		if !ok {
			return nil
		}
		ratios = append(ratios, r[here].ratio(than.figures))
	}
	m := median(ratios)
	return &m
}

// profileRows writes a CPU profile for each row, when that is asked for. It
// comes after the rounds since a profile slows down what it shows.
func (b *bench) profileRows(ctx context.Context, servers map[string]*process, subjects []subject) error {
	if b.opts.profile == "" {
		return nil
	}
	if err := os.MkdirAll(b.opts.profile, 0o755); err != nil {
		return err
	}
	for _, s := range subjects {
		text, err := servers[s.server].profile(ctx, s.ask, maxConcurrency, 10*b.opts.time)
		if err != nil {
			return fmt.Errorf("profile of %s: %w", s.name, err)
		}
		if err := os.WriteFile(filepath.Join(b.opts.profile, s.name+".pprof"), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
