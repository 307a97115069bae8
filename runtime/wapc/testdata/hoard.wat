;; wat2wasm hoard.wat -o hoard.wasm
;;
;; Answers with the sums of its request, of all memory besides, and of its
;; globals; then writes the request over all memory and into all globals.
(module
  (import "wapc" "__guest_request" (func $request (param i32 i32)))
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 3 3)
  (data (i32.const 0) "{\"valid\":true,\"accepted\":true,\"message\":\"12345678 12345678 12345678\"}")
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
  (func (export "__guest_call") (param $operation i32) (param $payload i32) (result i32)
    (local $at i32)
    (call $hex (i32.const 59) (call $globals))
    (call $hex (i32.const 50) (call $sum (i32.const 256) (i32.const 196608)))
    (call $request (i32.const 200) (i32.const 256))
    (call $hex (i32.const 41) (call $sum (i32.const 256) (i32.and (i32.add (i32.const 256) (local.get $payload)) (i32.const -4))))
    (call $response (i32.const 0) (i32.const 69))
    (if (i32.eq (local.get $operation) (i32.const 8)) (then
      (call $spoil (i32.load (i32.const 256)))
      (local.set $at (i32.const 65536))
      (loop $next
        (memory.copy (local.get $at) (i32.const 256) (i32.const 4096))
        (local.set $at (i32.add (local.get $at) (i32.const 4096)))
        (br_if $next (i32.lt_u (local.get $at) (i32.const 196608))))))
    (i32.const 1)))
