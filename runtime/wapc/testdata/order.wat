;; wat2wasm order.wat -o order.wasm
;;
;; Notes the order in which it is initialised, and answers with it.
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 1)
  (global $at (mut i32) (i32.const 38))
  (data (i32.const 0) "{\"valid\":true,\"accepted\":true,\"message\":\"...\"}")
  (func $note (param i32)
    (i32.store8 (i32.add (global.get $at) (i32.const 3)) (local.get 0))
    (global.set $at (i32.add (global.get $at) (i32.const 1))))
  (func (export "_initialize") (call $note (i32.const 105)))
  (func (export "_start") (call $note (i32.const 115)))
  (func (export "wapc_init") (call $note (i32.const 119)))
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $response (i32.const 0) (i32.const 46))
    (i32.const 1)))
