package rego

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/warder-dev/warder/runtime/internal/guest"
)

// instance is one instance of a module.
type instance struct {
	in        *guest.Instance
	functions map[string]api.Function
	dead      bool // it trapped or was stopped: it may not be asked again

	// dump and parse name the functions for values that may be sets, which JSON
	// does not have; modules of the first ABI are left with JSON.
	dump, parse string

	// Of the evaluation under way.
	evaluation *evaluation // nil when the guest is not judging
	nested     bool        // a built-in has called back into the guest
}

// exports are the functions of OPA's ABI that the host calls. Source:
// https://www.openpolicyagent.org/docs/wasm.
func exports() []string {
	return []string{
		"builtins", "entrypoints", "eval", "opa_eval_ctx_get_result", "opa_eval_ctx_new", "opa_eval_ctx_set_data",
		"opa_eval_ctx_set_entrypoint", "opa_eval_ctx_set_input", "opa_heap_ptr_get", "opa_heap_ptr_set",
		"opa_json_dump", "opa_json_parse", "opa_malloc",
	}
}

// abiVersion is the only one there has been.
const abiVersion = 1

// link adds the host functions of OPA's ABI.
func link(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder("env")
	add := func(name string, params, results int, call func(i *instance, stack []uint64)) {
		b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(ctx context.Context, stack []uint64) {
			i, ok := guest.Current(ctx).Protocol.(*instance)
			if !ok {
				i = &instance{in: guest.Current(ctx)} // in its start function
			}
			call(i, stack)
		}), i32s(params), i32s(results)).Export(name)
	}
	add("opa_abort", 1, 0, (*instance).abort)
	add("opa_println", 1, 0, (*instance).println)
	for args := range 5 {
		add(fmt.Sprintf("opa_builtin%d", args), 2+args, 1, (*instance).builtin)
	}
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("host module env: %w", err)
	}
	return nil
}

func i32s(n int) []api.ValueType {
	types := make([]api.ValueType, n)
	for i := range types {
		types[i] = api.ValueTypeI32
	}
	return types
}

// abort ends the guest with its own words.
func (i *instance) abort(stack []uint64) {
	text, err := i.text(stack[0])
	if err != nil {
		panic(fmt.Errorf("opa_abort: %w", err))
	}
	i.log().Info("policy aborts", "text", valid(text))
	panic(fmt.Errorf("opa_abort: %s", valid(text)))
}

func (i *instance) println(stack []uint64) {
	text, err := i.text(stack[0])
	if err != nil {
		panic(err)
	}
	i.log().Info("policy says", "text", valid(text))
}

// valid is the text with U+FFFD for what is not UTF-8.
func valid(text []byte) string { return string(bytes.ToValidUTF8(text, []byte("\uFFFD"))) }

// log is where the guest's words go: to the policy's log while it judges.
func (i *instance) log() *slog.Logger {
	if i.evaluation != nil {
		return i.evaluation.log
	}
	return i.in.Log()
}

// call calls an exported function and returns its result, 0 if it has none.
func (i *instance) call(name string, args ...uint64) (uint64, error) {
	f, ok := i.functions[name]
	if !ok {
		if f = i.in.Function(name); f == nil {
			return 0, fmt.Errorf("the module does not export %s", name)
		}
		i.functions[name] = f
	}
	results, err := f.Call(i.in.Life(), args...)
	switch {
	case err != nil:
		return 0, i.in.Explain(err)
	case len(results) == 0:
		return 0, nil
	}
	return uint64(uint32(results[0])), nil
}

// text is the NUL-terminated text at an address, a part of the guest's memory.
func (i *instance) text(at uint64) ([]byte, error) {
	memory, limit := i.in.Memory(), i.in.Options().OutputLimit
	size := memory.Size()
	if uint32(at) >= size {
		return nil, fmt.Errorf("out of bounds memory access: host function reads text at %d", uint32(at))
	}
	text, _ := memory.Read(uint32(at), uint32(min(uint64(size-uint32(at)), uint64(limit)+1))) // inside, as we have seen
	end := bytes.IndexByte(text, 0)
	switch {
	case end >= 0:
		return text[:end], nil
	case len(text) > limit:
		return nil, &guest.LimitError{What: "output", Limit: limit}
	}
	return nil, fmt.Errorf("out of bounds memory access: host function reads text at %d that does not end", uint32(at))
}

// put gives the guest a text and returns what the named function makes of it,
// an address.
func (i *instance) put(parse string, text []byte) (uint64, error) {
	at, err := i.call("opa_malloc", uint64(len(text)))
	if err != nil {
		return 0, err
	}
	if !i.in.Memory().Write(uint32(at), text) {
		return 0, fmt.Errorf("out of bounds memory access: host function writes %d bytes at %d", len(text), at)
	}
	value, err := i.call(parse, at, uint64(len(text)))
	if err == nil && value == 0 {
		return 0, fmt.Errorf("%s does not understand what the host says", parse)
	}
	return value, err
}

// get returns what the named function says of a value, as a part of the guest's
// memory.
func (i *instance) get(dump string, value uint64) ([]byte, error) {
	at, err := i.call(dump, value)
	if err != nil {
		return nil, err
	}
	return i.text(at)
}

// begin lets guest functions run until ctx is done or the returned function is
// called, which notes whether the instance still lives.
func (i *instance) begin(ctx context.Context) (end func()) {
	i.in.Begin(ctx, nil, nil)
	stop := i.in.Watch(ctx)
	return func() {
		if !stop() {
			i.dead = true
		}
	}
}

// table reads one of the tables of a module: names and their numbers.
func (i *instance) table(name string) (map[string]uint32, error) {
	value, err := i.call(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	text, err := i.get("opa_json_dump", value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var table map[string]uint32
	if err := json.Unmarshal(text, &table); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return table, nil
}

// headroom is the memory that the guest has after its documents before it must
// ask for more: an instance whose memory has grown cannot go back to its
// snapshot. A Pod of 5 KB takes OPA 50 KB; untouched pages cost nothing.
const headroom = 2 << 20

// widen makes room for what comes later.
func (i *instance) widen() error {
	at, err := i.call("opa_heap_ptr_get")
	if err != nil {
		return err
	}
	room := uint64(headroom)
	if size, limit := uint64(i.in.Memory().Size()), i.in.Options().MemoryLimit; size+2*room > limit {
		room = (limit - min(limit, size)) / 2
	}
	if _, err = i.call("opa_malloc", room); err != nil {
		return err
	}
	_, err = i.call("opa_heap_ptr_set", at)
	return err
}

// judge evaluates entrypoint 0 for an input document, and returns the result
// as JSON.
func (i *instance) judge(e *evaluation, d documents) ([]byte, error) {
	i.evaluation = e
	defer func() { i.evaluation = nil }()
	data, err := d.loaded, error(nil)
	if d.data != nil {
		if data, err = i.put("opa_json_parse", d.data); err != nil {
			return nil, fmt.Errorf("data: %w", err)
		}
	}
	value, err := i.put("opa_json_parse", d.input)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	at, err := i.call("opa_eval_ctx_new")
	if err != nil {
		return nil, err
	}
	for _, step := range []struct {
		name string
		args []uint64
	}{
		{"opa_eval_ctx_set_input", []uint64{at, value}},
		{"opa_eval_ctx_set_data", []uint64{at, data}},
		{"opa_eval_ctx_set_entrypoint", []uint64{at, 0}},
		{"eval", []uint64{at}},
	} {
		if _, err := i.call(step.name, step.args...); err != nil {
			return nil, err
		}
	}
	result, err := i.call("opa_eval_ctx_get_result", at)
	if err != nil {
		return nil, err
	}
	text, err := i.get("opa_json_dump", result)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(text), nil
}
