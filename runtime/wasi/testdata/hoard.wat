;; wat2wasm hoard.wat -o hoard.wasm
;;
;; Answers with the sums of its request, of all memory besides, and of its
;; globals; then writes the request over all memory and into all globals, and
;; closes its standard streams.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (memory (export "memory") 3 3)
  (data (i32.const 0) "{\"valid\":true,\"accepted\":true,\"message\":\"12345678 12345678 12345678\"}")
  (func $readAll (result i32) ;; all of standard input to 8192, its length
    (local $length i32) (local $errno i32)
    (loop $next
      (i32.store (i32.const 256) (i32.add (i32.const 8192) (local.get $length)))
      (i32.store (i32.const 260) (i32.const 32768))
      (local.set $errno (call $read (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 264)))
      (br_if $next (i32.eq (local.get $errno) (i32.const 27))) ;; EINTR
      (if (local.get $errno) (then unreachable))
      (local.set $length (i32.add (local.get $length) (i32.load (i32.const 264))))
      (br_if $next (i32.load (i32.const 264))))
    (local.get $length))
  (func $say (param $fd i32) (param $at i32) (param $length i32)
    (i32.store (i32.const 256) (local.get $at))
    (i32.store (i32.const 260) (local.get $length))
    (if (call $write (local.get $fd) (i32.const 256) (i32.const 1) (i32.const 264)) (then unreachable)))
  (global $a (mut i32) (i32.const 1))
  (global $b (mut i64) (i64.const 2))
  (global $c (mut f32) (f32.const 3))
  (global $d (mut f64) (f64.const 4))
  (func $globals (result i32)
    (i32.add (i32.add (global.get $a) (i32.wrap_i64 (global.get $b)))
      (i32.add (i32.trunc_sat_f32_s (global.get $c)) (i32.trunc_sat_f64_s (global.get $d)))))
  (func $spoil (param $n i32)
    (global.set $a (local.get $n))
    (global.set $b (i64.extend_i32_u (local.get $n)))
    (global.set $c (f32.convert_i32_u (local.get $n)))
    (global.set $d (f64.convert_i32_u (local.get $n))))
  (func $sum (param $at i32) (param $end i32) (result i32)
    (local $sum i32)
    (loop $next
      (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 31)) (i32.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
    (local.get $sum))
  (func $hex (param $at i32) (param $n i32) ;; eight letters from a on
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (i32.const 8)))
    (loop $next
      (i32.store8 (local.get $at) (i32.add (i32.const 97) (i32.and (local.get $n) (i32.const 15))))
      (local.set $n (i32.shr_u (local.get $n) (i32.const 4)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end)))))
  (func (export "_start")
    (local $length i32) (local $at i32)
    (local.set $length (call $readAll))
    (i64.store (i32.const 256) (i64.const 0)) ;; the buffer of the last read
    (i32.store (i32.const 264) (i32.const 0))
    (call $hex (i32.const 59) (call $globals))
    (call $hex (i32.const 41) (call $sum (i32.const 8192) (i32.and (i32.add (i32.const 8192) (local.get $length)) (i32.const -4))))
    (call $hex (i32.const 50) (i32.add (call $sum (i32.const 80) (i32.const 8192)) (call $sum (i32.const 65536) (i32.const 196608))))
    (call $say (i32.const 1) (i32.const 0) (i32.const 69))
    (call $spoil (i32.load (i32.const 8230)))
    (local.set $at (i32.const 65536))
    (loop $next
      (memory.copy (local.get $at) (i32.const 8192) (i32.const 4096))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 196608))))
    (drop (call $close (i32.const 0)))
    (drop (call $close (i32.const 1)))
    (drop (call $close (i32.const 2)))
    (call $exit (i32.const 0))))
