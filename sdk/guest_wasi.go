//go:build wasip1 && !wapc

package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"unsafe"
)

func keepForReactor(Policy) bool { return false }

// readInput reads from standard input. The end is not final: after a host call
// there is more. An interrupted read is tried again, as every libc does.
func readInput(p []byte) (int, error) {
	for {
		n, err := syscall.Read(0, p)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// commandHost asks the host through the function that Kubewarden's WASI hosts
// bring: it answers on standard input.
func commandHost() Host { return wasiHost{} }

type wasiHost struct{}

//go:wasmimport host call
func hostCall(
	binding unsafe.Pointer, bindingLen uint32,
	namespace unsafe.Pointer, namespaceLen uint32,
	operation unsafe.Pointer, operationLen uint32,
	payload unsafe.Pointer, payloadLen uint32,
) uint32

func (wasiHost) Call(_ context.Context, c HostCall) ([]byte, error) {
	failed := hostCall(
		unsafe.Pointer(unsafe.StringData(c.Binding)), uint32(len(c.Binding)),
		unsafe.Pointer(unsafe.StringData(c.Namespace)), uint32(len(c.Namespace)),
		unsafe.Pointer(unsafe.StringData(c.Operation)), uint32(len(c.Operation)),
		unsafe.Pointer(unsafe.SliceData(c.Payload)), uint32(len(c.Payload)),
	)
	answer, err := io.ReadAll(readerFunc(readInput))
	if err != nil {
		return nil, fmt.Errorf("%s: answer: %w", c.Capability(), err)
	}
	if failed != 0 {
		return nil, errors.New(string(answer))
	}
	return answer, nil
}
