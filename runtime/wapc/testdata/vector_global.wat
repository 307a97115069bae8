;; wat2wasm vector_global.wat -o vector_global.wasm
;;
;; Has a mutable global that is a vector.
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "{\"valid\":true,\"accepted\":true}")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $response (i32.const 0) (i32.const 30))
    (i32.const 1))
  (global $v (mut v128) (v128.const i32x4 0 0 0 0)))
