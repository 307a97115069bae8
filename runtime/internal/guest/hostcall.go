package guest

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/warder-dev/warder/sdk"
)

// errNoHost is what a guest is told that may not ask anything.
var errNoHost = errors.New("Cannot process Wasm guest request: callback channel not provided") //nolint:staticcheck // upstream's text

// Read returns a copy of a piece of the guest's memory, never nil. A piece that
// is not all inside is a trap, as for the guest's own instructions.
func (in *Instance) Read(at, length uint64) []byte {
	text, ok := in.Memory().Read(uint32(at), uint32(length))
	if !ok {
		panic(fmt.Errorf("out of bounds memory access: host function reads %d bytes at %d", uint32(length), uint32(at)))
	}
	return append(make([]byte, 0, len(text)), text...)
}

// ReadAnswer is Read for the answer of an evaluation, which has a limit.
func (in *Instance) ReadAnswer(at, length uint64) []byte {
	if limit := in.module.opts.OutputLimit; uint64(uint32(length)) > uint64(limit) {
		panic(&LimitError{"output", limit})
	}
	return in.Read(at, length)
}

// ReadText is Read for what has to be UTF-8.
func (in *Instance) ReadText(at, length uint64) string {
	text := in.Read(at, length)
	if !utf8.Valid(text) {
		panic(errors.New("host function reads text that is not UTF-8"))
	}
	return string(text)
}

// Write copies text into the guest's memory. A place that is not all inside is
// a trap.
func (in *Instance) Write(at uint64, text []byte) {
	if !in.Memory().Write(uint32(at), text) {
		panic(fmt.Errorf("out of bounds memory access: host function writes %d bytes at %d", len(text), uint32(at)))
	}
}

// HostCall answers the call whose eight arguments (pointer and length of
// binding, namespace, operation and payload) are on the stack.
func (in *Instance) HostCall(stack []uint64) ([]byte, error) {
	call := sdk.HostCall{
		Binding:   in.ReadText(stack[0], stack[1]),
		Namespace: in.ReadText(stack[2], stack[3]),
		Operation: in.ReadText(stack[4], stack[5]),
		Payload:   in.Read(stack[6], stack[7]),
	}
	if in.host == nil {
		return nil, errNoHost
	}
	if err := in.ctx.Err(); err != nil {
		return nil, err
	}
	return in.host.Call(in.ctx, call)
}
