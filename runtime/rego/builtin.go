package rego

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/builtins"
	"github.com/open-policy-agent/opa/v1/topdown/print"
)

// builtin is a function that OPA leaves to the host: what it cannot compile.
type builtin struct {
	name string
	call topdown.BuiltinFunc
}

// refused are those that reach what a policy has no business with: the network,
// and the environment of the server. Source of the names: OPA's
// capabilities.json, where they are nondeterministic.
func refused() []string { return []string{"http.send", "net.lookup_ip_addr", "opa.runtime"} }

// builtinsOf finds what a module needs, by the numbers that it calls it by. The
// error names what the host lacks or refuses: a policy without it would not
// judge as it is written, and its author shall learn that before it is in use.
func builtinsOf(table map[string]uint32) (map[uint32]builtin, error) {
	found := make(map[uint32]builtin, len(table))
	var missing, unwanted []string
	for _, name := range slices.Sorted(maps.Keys(table)) {
		call := topdown.GetBuiltin(name)
		switch {
		case slices.Contains(refused(), name):
			unwanted = append(unwanted, name)
			missing = append(missing, name)
		case call == nil:
			missing = append(missing, name)
		case name == ast.JSONMatchSchema.Name || name == ast.JSONSchemaVerify.Name:
			found[table[name]] = builtin{name, withoutFiles(call)}
		default:
			found[table[name]] = builtin{name, call}
		}
	}
	switch {
	case len(unwanted) > 0:
		return nil, fmt.Errorf("Missing Rego builtins: %s (a policy may not use %s: it has neither network nor environment)", //nolint:staticcheck // upstream's text
			strings.Join(missing, ", "), strings.Join(unwanted, ", "))
	case len(missing) > 0:
		return nil, fmt.Errorf("Missing Rego builtins: %s", strings.Join(missing, ", ")) //nolint:staticcheck // upstream's text
	case len(found) < len(table):
		return nil, errors.New("builtins: two names have the same number")
	}
	return found, nil
}

// withoutFiles guards a built-in that takes JSON schemas: one that refers to
// "file:///…" would make OPA read that file of the server.
func withoutFiles(call topdown.BuiltinFunc) topdown.BuiltinFunc {
	return func(bctx topdown.BuiltinContext, args []*ast.Term, iter func(*ast.Term) error) error {
		for _, arg := range args {
			value := arg.Value
			if text, ok := value.(ast.String); ok {
				// OPA takes a schema as text too; what is no JSON is no schema.
				if decoded, err := ast.ValueFromReader(strings.NewReader(string(text))); err == nil {
					value = decoded
				}
			}
			if mentionsFile(value) {
				return errors.New("a JSON schema may not refer to files")
			}
		}
		return call(bctx, args, iter)
	}
}

func mentionsFile(value ast.Value) (found bool) {
	ast.WalkTerms(ast.NewTerm(value), func(t *ast.Term) bool {
		text, ok := t.Value.(ast.String)
		found = found || ok && len(text) >= 5 && strings.EqualFold(string(text[:5]), "file:")
		return found
	})
	return found
}

// evaluation is what belongs to one request while a guest judges it.
type evaluation struct {
	ctx      context.Context
	log      *slog.Logger
	builtins map[uint32]builtin
	strays   *atomic.Int32 // built-ins of the program that were given up and still run
	limit    int           // of a text, in bytes

	context *topdown.BuiltinContext // nil until a built-in is called
	stop    func() bool
}

// maxStrays bounds the built-ins of one program that run after their request is
// over. Nearly all take microseconds and none waits for anything, but some take
// as long as their input makes them (graph.reachable_paths is exponential), and
// Go code cannot be stopped from outside.
const maxStrays = 4

// end is called when the guest has judged.
func (e *evaluation) end() {
	if e.stop != nil {
		e.stop()
	}
}

// builtinContext is made once for an evaluation: time stands still, and what is
// random is so once.
func (e *evaluation) builtinContext() topdown.BuiltinContext {
	if e.context == nil {
		cancel := topdown.NewCancel()
		e.stop = context.AfterFunc(e.ctx, cancel.Cancel)
		e.context = &topdown.BuiltinContext{
			Context:      e.ctx,
			Metrics:      metrics.New(),
			Seed:         rand.Reader,
			Time:         ast.UIntNumberTerm(uint64(time.Now().UnixNano())),
			Cancel:       cancel,
			Cache:        make(builtins.Cache),
			TraceEnabled: true,
			QueryTracers: []topdown.QueryTracer{says{e.log}},
			PrintHook:    says{e.log},
			Capabilities: &ast.Capabilities{AllowNet: []string{}}, // nil would be every host
		}
	}
	return *e.context
}

// says passes on what a policy prints or traces.
type says struct{ log *slog.Logger }

// Print implements print.Hook.
func (s says) Print(_ print.Context, text string) error {
	s.log.Info("policy says", "text", text)
	return nil
}

// Enabled implements topdown.QueryTracer.
func (says) Enabled() bool { return true }

// TraceEvent implements topdown.QueryTracer.
func (s says) TraceEvent(event topdown.Event) { s.log.Debug("policy traces", "text", event.Message) }

// Config implements topdown.QueryTracer.
func (says) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// run calls a built-in, and leaves it alone when time is up. No value and no
// error is undefined, which OPA makes of all errors but those that halt it.
func (e *evaluation) run(b builtin, args []*ast.Term) (*ast.Term, error) {
	if e.strays.Load() >= maxStrays {
		return nil, fmt.Errorf("%s: %d built-ins of earlier requests have not stopped at their deadline", b.name, maxStrays)
	}
	type outcome struct {
		value *ast.Term
		err   error
	}
	bctx, done := e.builtinContext(), make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if r := recover(); r != nil {
				o.err = topdown.Halt{Err: fmt.Errorf("panic: %v", r)}
			}
			done <- o
		}()
		o.err = b.call(bctx, args, func(value *ast.Term) error {
			o.value = value
			return nil
		})
	}()
	select {
	case o := <-done:
		if halt := (topdown.Halt{}); errors.As(o.err, &halt) {
			return nil, fmt.Errorf("%s: %w", b.name, o.err)
		}
		if o.err != nil {
			e.log.Debug("built-in is undefined", "builtin", b.name, "err", o.err)
			return nil, nil
		}
		return o.value, nil
	case <-e.ctx.Done():
		e.strays.Add(1)
		go func() {
			<-done
			e.strays.Add(-1)
		}()
		return nil, context.Cause(e.ctx)
	}
}

// builtin answers opa_builtin0 to opa_builtin4: a number, a context that is not
// used, and the arguments. The answer is the address of a value, 0 for undefined.
func (i *instance) builtin(stack []uint64) {
	value, err := i.answer(uint32(stack[0]), stack[2:])
	if err != nil {
		panic(err)
	}
	stack[0] = value
}

func (i *instance) answer(number uint32, args []uint64) (uint64, error) {
	if i.evaluation == nil || i.nested {
		return 0, fmt.Errorf("built-in %d is called outside of an evaluation", number)
	}
	b, ok := i.evaluation.builtins[number]
	if !ok {
		return 0, fmt.Errorf("no built-in has the number %d", number)
	}
	i.nested = true
	defer func() { i.nested = false }()
	terms := make([]*ast.Term, len(args))
	for n, at := range args {
		text, err := i.get(i.dump, at)
		if err == nil {
			terms[n], err = parseValue(text)
		}
		if err != nil {
			return 0, fmt.Errorf("%s: argument %d: %w", b.name, n, err)
		}
	}
	value, err := i.evaluation.run(b, terms)
	if err != nil || value == nil {
		return 0, err
	}
	text, err := formatValue(value.Value, i.evaluation.limit)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", b.name, err)
	}
	at, err := i.put(i.parse, text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", b.name, err)
	}
	return at, nil
}
