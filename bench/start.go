package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/warder-dev/warder/runtime"
)

// warderPackage is the program that is started.
const warderPackage = "github.com/warder-dev/warder/cmd/warder"

// What a server finds in its folder of compiled code.
const (
	cold = "cold" // nothing
	warm = "warm" // what the server before it has compiled
)

// measureStarts measures how long "warder serve" takes from the start of the process to
// the first right answer, and how much memory the one with the most policies
// takes under load.
func (b *bench) measureStarts(ctx context.Context, res *result) error {
	if len(b.opts.starts) == 0 {
		return nil
	}
	if err := b.buildWarder(ctx); err != nil {
		return err
	}
	for _, n := range b.opts.starts {
		if err := b.measureStart(ctx, n, res); err != nil {
			return fmt.Errorf("start with %d policies: %w", n, err)
		}
	}
	return nil
}

// buildWarder builds the program as "make build" does.
func (b *bench) buildWarder(ctx context.Context) error {
	b.warder = filepath.Join(b.dir, "warder")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", b.warder, warderPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", warderPackage, err, said)
	}
	return nil
}

// measureStart measures the start with n policies, each with its own module.
func (b *bench) measureStart(ctx context.Context, n int, res *result) error {
	config := serverConfig{Isolation: runtime.Snapshot, CacheDir: filepath.Join(b.dir, fmt.Sprintf("cache-%d", n))}
	if err := os.MkdirAll(config.CacheDir, 0o700); err != nil {
		return err
	}
	policies := map[string]entry{}
	every := question{refuses: `(did you mean "payments"?)`}
	for i := range n {
		file, err := b.variant(i)
		if err != nil {
			return err
		}
		id := fmt.Sprintf("team-%03d", i)
		policies[id] = entry{Module: "file://" + file, Settings: teamSettings()}
		every.paths = append(every.paths, "/validate/"+id)
	}
	var err error
	if config.Policies, err = b.writePolicies(fmt.Sprintf("start-%d", n), policies); err != nil {
		return err
	}
	first, err := b.timeStart(ctx, config, every, nil)
	if err != nil {
		return err
	}
	var later []time.Duration
	for i := range b.opts.warm {
		var loaded func(*process) error
		if i == b.opts.warm-1 && n == slices.Max(b.opts.starts) {
			loaded = func(p *process) error { return b.measureMemory(ctx, p, every, res) }
		}
		took, err := b.timeStart(ctx, config, every, loaded)
		if err != nil {
			return err
		}
		later = append(later, took)
	}
	slices.Sort(later)
	ms := milliseconds(later[len(later)/2])
	res.Start = append(res.Start,
		start{Policies: n, Cache: cold, MS: milliseconds(first), ToCold: 1},
		start{Policies: n, Cache: warm, MS: ms, ToCold: ms / milliseconds(first)})
	return nil
}

// timeStart starts a server, and returns how long it took until it gave its
// first answer. Every policy is then asked for a refusal, outside of that time;
// after, if not nil, is given the server before it is stopped.
func (b *bench) timeStart(ctx context.Context, config serverConfig, q question, after func(*process) error) (took time.Duration, err error) {
	p, err := b.startWarder(ctx, config)
	if err != nil {
		return 0, err
	}
	if err := p.waitReady(ctx); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	body, uid := acceptedReview(0)
	a := asker{p: p, body: body, check: accepted(uid)}
	if err := a.ask(ctx, q.paths[len(q.paths)-1]); err != nil {
		return 0, err
	}
	took = time.Since(p.started)
	if err := p.checkRefusal(ctx, q); err != nil || after == nil {
		return took, err
	}
	return took, after(p)
}

// measureMemory loads all policies of a server and notes its memory after that.
func (b *bench) measureMemory(ctx context.Context, p *process, q question, res *result) error {
	if _, _, err := p.load(ctx, q, maxConcurrency, 4*b.opts.time); err != nil {
		return err
	}
	rss, err := p.residentBytes()
	if err != nil {
		return err
	}
	res.RSS, res.RSSPolicies = mebibytes(rss), len(q.paths)
	return nil
}
