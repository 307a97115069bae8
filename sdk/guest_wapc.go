//go:build wasip1 && wapc

package sdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"unsafe"
)

// reactor is the one policy of a waPC module, and the settings it has last
// loaded.
//
//nolint:gochecknoglobals // exported functions of a module have nowhere else to keep what they share
var reactor struct {
	asked    bool // the host has called: main is running for the reactor
	kept     bool
	policy   Policy
	settings []byte
	judge    Judge
	invalid  error
}

// keepForReactor takes the policy from the policy's main when main was called
// by the reactor and not by a host that runs commands.
func keepForReactor(p Policy) bool {
	if !reactor.asked {
		return false
	}
	reactor.policy, reactor.kept = p, true
	return true
}

func readInput([]byte) (int, error) { return 0, io.EOF }

func commandHost() Host { return nil }

// programMain is func main of the policy. A reactor's main is linked in but
// never called; it is where the policy says what it is.
//
//go:linkname programMain main.main
func programMain()

//go:wasmimport wapc __guest_request
func guestRequest(operation, payload unsafe.Pointer)

//go:wasmimport wapc __guest_response
func guestResponse(text unsafe.Pointer, length uint32)

//go:wasmimport wapc __guest_error
func guestError(text unsafe.Pointer, length uint32)

//go:wasmimport wapc __host_call
func hostCall(
	binding unsafe.Pointer, bindingLen uint32,
	namespace unsafe.Pointer, namespaceLen uint32,
	operation unsafe.Pointer, operationLen uint32,
	payload unsafe.Pointer, payloadLen uint32,
) uint32

//go:wasmimport wapc __host_response_len
func hostResponseLen() uint32

//go:wasmimport wapc __host_response
func hostResponse(to unsafe.Pointer)

//go:wasmimport wapc __host_error_len
func hostErrorLen() uint32

//go:wasmimport wapc __host_error
func hostError(to unsafe.Pointer)

// guestWarm tells warder that this module keeps the settings that it has
// validated, so that a snapshot taken after "validate_settings" has them in it.
// Other hosts do not look for it.
//
//go:wasmexport __warder_warm
func guestWarm() uint32 { return 1 }

// guestCall answers one operation of the host.
//
//go:wasmexport __guest_call
func guestCall(operationLen, payloadLen uint32) uint32 {
	operation := make([]byte, operationLen+1)
	payload := make([]byte, payloadLen+1) // one more: an empty slice has no address
	guestRequest(unsafe.Pointer(&operation[0]), unsafe.Pointer(&payload[0]))
	answer, err := answerCall(string(operation[:operationLen]), payload[:payloadLen])
	if err != nil {
		text := []byte(err.Error())
		guestError(unsafe.Pointer(unsafe.SliceData(text)), uint32(len(text)))
		return 0
	}
	guestResponse(unsafe.Pointer(unsafe.SliceData(answer)), uint32(len(answer)))
	return 1
}

func answerCall(operation string, payload []byte) ([]byte, error) {
	if !reactor.kept {
		reactor.asked = true
		programMain()
		if !reactor.kept {
			return nil, errors.New("the policy's func main does not call sdk.Main")
		}
	}
	switch operation {
	case "protocol_version":
		return []byte(`"v1"`), nil
	case "validate_settings":
		load(payload)
		return settingsAnswer(reactor.invalid), nil
	case "validate":
		request, settings, err := parseInput(payload)
		if err != nil {
			return nil, err
		}
		if load(settings); reactor.invalid != nil {
			return nil, fmt.Errorf("settings: %w", reactor.invalid)
		}
		return judgeInput(reactorHost{}, reactor.judge, request)
	}
	return nil, fmt.Errorf("Could not find function %q", operation) //nolint:staticcheck // the text of Kubewarden's Go SDK
}

// load gives the policy its settings, unless it has these already.
func load(settings []byte) {
	if len(settings) == 0 {
		settings = []byte("{}")
	}
	if reactor.settings != nil && bytes.Equal(reactor.settings, settings) {
		return
	}
	reactor.settings = bytes.Clone(settings)
	reactor.judge, reactor.invalid = reactor.policy.Load(reactor.settings)
}

type reactorHost struct{}

func (reactorHost) Call(_ context.Context, c HostCall) ([]byte, error) {
	ok := hostCall(
		unsafe.Pointer(unsafe.StringData(c.Binding)), uint32(len(c.Binding)),
		unsafe.Pointer(unsafe.StringData(c.Namespace)), uint32(len(c.Namespace)),
		unsafe.Pointer(unsafe.StringData(c.Operation)), uint32(len(c.Operation)),
		unsafe.Pointer(unsafe.SliceData(c.Payload)), uint32(len(c.Payload)),
	)
	if ok == 1 {
		answer := make([]byte, hostResponseLen()+1)
		hostResponse(unsafe.Pointer(&answer[0]))
		return answer[:len(answer)-1], nil
	}
	text := make([]byte, hostErrorLen()+1)
	hostError(unsafe.Pointer(&text[0]))
	return nil, errors.New(string(text[:len(text)-1]))
}
