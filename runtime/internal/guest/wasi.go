package guest

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// Errors of WASI. Source: wasi_snapshot_preview1, $errno.
const (
	errnoSuccess = 0
	errnoBadf    = 8
	errnoFault   = 21
	errnoIntr    = 27
	errnoInval   = 28
	errnoNotsup  = 58
)

// maxStderr bounds the diagnostic text that is kept of one evaluation, in
// bytes. More is a log, and there is a capability for that.
const maxStderr = 64 << 10

// linkWASI adds WASI under its two names. What has a state that would outlive
// a request (open files, exit) or that blocks (reading, sleeping) is ours; the
// rest is wazero's. There are no files but the three standard streams.
func linkWASI(ctx context.Context, r wazero.Runtime) error {
	for _, name := range []string{wasi_snapshot_preview1.ModuleName, "wasi_unstable"} {
		b := r.NewHostModuleBuilder(name)
		wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
		for _, f := range []struct {
			name   string
			params int
			call   func(in *Instance, ctx context.Context, stack []uint64) uint64
		}{
			{"fd_read", 4, (*Instance).fdRead},
			{"fd_write", 4, (*Instance).fdWrite},
			{"fd_close", 1, (*Instance).fdClose},
			{"fd_renumber", 2, func(*Instance, context.Context, []uint64) uint64 { return errnoNotsup }},
			{"fd_fdstat_set_flags", 2, (*Instance).fdSetFlags},
			{"poll_oneoff", 4, (*Instance).pollOneoff},
		} {
			call := f.call
			b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(ctx context.Context, stack []uint64) {
				stack[0] = call(Current(ctx), ctx, stack)
			}), i32s(f.params), i32s(1)).Export(f.name)
		}
		b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(ctx context.Context, stack []uint64) {
			code := uint32(stack[0])
			if in := Current(ctx); in.OnExit != nil {
				in.OnExit(ctx, code)
			}
			panic(sys.NewExitError(code))
		}), i32s(1), nil).Export("proc_exit")
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("host module %s: %w", name, err)
		}
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

// stream reports whether fd is a standard stream that is open.
func (in *Instance) stream(fd uint64) bool {
	return uint32(fd) < 3 && !in.closed[uint32(fd)]
}

// vector returns the i-th buffer of a list of buffers in the guest's memory.
func (in *Instance) vector(list uint32, i uint32) ([]byte, bool) {
	mem := in.Memory()
	entry, ok := mem.Read(list+i*8, 8)
	if !ok {
		return nil, false
	}
	return mem.Read(binary.LittleEndian.Uint32(entry), binary.LittleEndian.Uint32(entry[4:]))
}

// maxVectors bounds the buffers of one call. Source: IOV_MAX of Linux.
const maxVectors = 1024

func (in *Instance) fdRead(ctx context.Context, stack []uint64) uint64 {
	if uint32(stack[0]) != 0 || !in.stream(0) {
		return errnoBadf
	}
	list, count, result := uint32(stack[1]), uint32(stack[2]), uint32(stack[3])
	var to []byte
	for i := range min(count, maxVectors) {
		buffer, ok := in.vector(list, i)
		if !ok {
			return errnoFault
		}
		if len(buffer) > 0 {
			to = buffer
			break
		}
	}
	n := 0
	if in.stdin != nil && len(to) > 0 {
		read, restart := in.stdin.Read(ctx, to)
		if restart {
			return errnoIntr
		}
		n = read
	}
	if !in.Memory().WriteUint32Le(result, uint32(n)) {
		return errnoFault
	}
	return errnoSuccess
}

func (in *Instance) fdWrite(_ context.Context, stack []uint64) uint64 {
	fd, list, count, result := uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])
	if fd == 0 || !in.stream(uint64(fd)) {
		return errnoBadf
	}
	written := 0
	for i := range min(count, maxVectors) {
		buffer, ok := in.vector(list, i)
		if !ok {
			return errnoFault
		}
		in.write(fd, buffer)
		written += len(buffer)
	}
	if !in.Memory().WriteUint32Le(result, uint32(written)) {
		return errnoFault
	}
	return errnoSuccess
}

func (in *Instance) write(fd uint32, text []byte) {
	if fd == 2 {
		in.stderr = append(in.stderr, text[:min(len(text), maxStderr-len(in.stderr))]...)
		return
	}
	if len(in.stdout)+len(text) > in.module.opts.OutputLimit {
		panic(&LimitError{"output", in.module.opts.OutputLimit})
	}
	in.stdout = append(in.stdout, text...)
}

func (in *Instance) fdClose(_ context.Context, stack []uint64) uint64 {
	if !in.stream(stack[0]) {
		return errnoBadf
	}
	in.closed[uint32(stack[0])] = true
	return errnoSuccess
}

// fdSetFlags accepts flags for the standard streams and forgets them: reading
// never blocks a guest longer than its host wants, and writing never does.
func (in *Instance) fdSetFlags(_ context.Context, stack []uint64) uint64 {
	if !in.stream(stack[0]) {
		return errnoBadf
	}
	return errnoSuccess
}

// Layout of a subscription and an event. Source: wasi_snapshot_preview1,
// $subscription and $event.
const (
	subscriptionBytes = 48
	eventBytes        = 32
	maxSubscriptions  = 64
	clockMonotonic    = 1
)

// pollOneoff sleeps until the first of the clocks that it is given, or the end
// of the evaluation. A standard stream is always ready.
func (in *Instance) pollOneoff(_ context.Context, stack []uint64) uint64 {
	from, to, count, result := uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])
	if count == 0 || count > maxSubscriptions {
		return errnoInval
	}
	mem := in.Memory()
	asked, ok := mem.Read(from, count*subscriptionBytes)
	if !ok {
		return errnoFault
	}
	events, ok := mem.Read(to, count*eventBytes)
	if !ok {
		return errnoFault
	}
	wait, ready := time.Duration(-1), false
	for i := range count {
		s := asked[i*subscriptionBytes:]
		if s[8] != 0 {
			ready = true
			continue
		}
		if d := in.clockWait(s); wait < 0 || d < wait {
			wait = d
		}
	}
	if wait > 0 && !ready {
		in.sleep(wait)
	}
	answer := make([]byte, 0, len(events))
	for i := range count {
		s := asked[i*subscriptionBytes:]
		if ready && s[8] == 0 {
			continue // a stream is ready before the clock
		}
		event := make([]byte, eventBytes)
		copy(event, s[:8])
		event[10] = s[8]
		answer = append(answer, event...)
	}
	copy(events, answer)
	if !mem.WriteUint32Le(result, uint32(len(answer)/eventBytes)) {
		return errnoFault
	}
	return errnoSuccess
}

// clockWait is how long to wait for a clock subscription.
func (in *Instance) clockWait(s []byte) time.Duration {
	clock := binary.LittleEndian.Uint32(s[16:])
	timeout := binary.LittleEndian.Uint64(s[24:])
	if absolute := binary.LittleEndian.Uint16(s[40:])&1 == 1; absolute {
		now := uint64(time.Now().UnixNano())
		if clock == clockMonotonic {
			now = uint64(in.module.nanotime())
		}
		if timeout <= now {
			return 0
		}
		timeout -= now
	}
	return time.Duration(min(timeout, uint64(time.Hour)))
}

func (in *Instance) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-in.ctx.Done():
	}
}
