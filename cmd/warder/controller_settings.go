package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/controller"
	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime"
)

// settingsChecker lets the modules that are at hand say whether they take their
// settings: built-ins, and what is in a store. It never asks a registry, and does
// not read files, which are those of another machine.
type settingsChecker struct {
	engine *engine.Engine
	store  *artifact.Store // nil when there is none
	log    *slog.Logger
	slots  chan struct{} // held by whoever asks a module

	mu    sync.Mutex
	known map[string]error // by module and settings
}

// maxChecks is how many modules are asked at the same time: a module that is
// compiled takes a processor and some 7 MB.
const maxChecks = 2

// maxKnownChecks is how many answers are kept. One is some 200 bytes.
const maxKnownChecks = 4096

// newSettingsChecker returns a checker over the built-ins and what is in the
// store, nil for none; compiled code is kept in cacheDir, "" for nowhere. Its
// method check is the controller's KindOptions.Settings.
func newSettingsChecker(store *artifact.Store, cacheDir string, log *slog.Logger) (*settingsChecker, error) {
	c := &settingsChecker{store: store, log: log, slots: make(chan struct{}, maxChecks), known: map[string]error{}}
	var err error
	c.engine, err = engine.New(engine.Options{
		Workers: maxChecks,
		Guests:  runtime.Options{CacheDir: cacheDir},
		Fetch: func(_ context.Context, uri string) (engine.Fetched, error) {
			m, err := c.stored(uri)
			if err != nil || m == nil {
				return engine.Fetched{}, errors.Join(err, artifact.ErrNotFound)
			}
			return engine.Fetched{Wasm: m.Bytes, Reference: m.Reference}, nil
		},
	})
	return c, err
}

// Close frees what the checker holds. No check may be under way.
func (c *settingsChecker) Close() error { return c.engine.Close() }

// stored returns the module of a reference if the store has it. What "latest" was
// when it was stored says nothing about what it is now.
func (c *settingsChecker) stored(uri string) (*artifact.Module, error) {
	if c.store == nil || strings.HasSuffix(uri, ":latest") {
		return nil, nil
	}
	return c.store.Module(uri)
}

// check asks the module of a policy that is no group. It answers as
// controller.KindOptions.Settings says.
func (c *settingsChecker) check(ctx context.Context, p policy.Policy) error {
	answers := engine.Answering(p).Module
	ref, err := artifact.ParseReference(answers)
	if err != nil {
		return &controller.ModuleError{Err: err}
	}
	content := p.Module
	switch ref.Scheme {
	case artifact.Builtin:
		content += "\x00" + answers
	case artifact.File:
		return nil
	default:
		m, err := c.stored(ref.String())
		if err != nil {
			c.log.Warn("settings not checked: the module cannot be read from the store", "policy", p.ID, "module", p.Module, "error", err)
		}
		if m == nil {
			return nil
		}
		content, p.Module = m.SHA256, ref.String()
	}
	sum := sha256.Sum256(append([]byte(content+"\x00"), p.Settings...))
	key := hex.EncodeToString(sum[:])
	c.mu.Lock()
	answer, ok := c.known[key]
	c.mu.Unlock()
	if ok {
		return answer
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() { // it goes on when nobody waits any more: the next time its answer is known
		defer func() { <-c.slots }()
		done <- c.ask(context.WithoutCancel(ctx), key, p)
	}()
	select {
	case answer := <-done:
		return answer
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask asks the module, and keeps the answer.
func (c *settingsChecker) ask(ctx context.Context, key string, p policy.Policy) (answer error) {
	defer func() {
		if r := recover(); r != nil {
			answer = fmt.Errorf("the module panicked: %v", r)
		}
		if errors.Is(answer, context.DeadlineExceeded) {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.known) >= maxKnownChecks {
			clear(c.known)
		}
		c.known[key] = answer
	}()
	return c.answerOf(p, c.engine.Check(ctx, p))
}

// answerOf is what an error of loading says about the settings.
func (c *settingsChecker) answerOf(p policy.Policy, err error) error {
	load, refused, failure := (*engine.LoadError)(nil), (*runtime.SettingsError)(nil), (*runtime.Failure)(nil)
	switch {
	case err == nil || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &refused):
		if refused.Message == "" {
			return errors.New("the policy does not take these settings")
		}
		return errors.New(refused.Message)
	case errors.As(err, &failure) || !errors.As(err, &load):
		// It may be otherwise where the policy has its host.
		c.log.Warn("settings not checked: the module did not answer", "policy", p.ID, "module", p.Module, "error", err)
		return nil
	}
	return &controller.ModuleError{Err: load.Err}
}
