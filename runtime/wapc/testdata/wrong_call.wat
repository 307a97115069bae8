;; wat2wasm wrong_call.wat -o wrong_call.wasm
;;
;; Its __guest_call is of another type.
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i64 i32) (result i32) (i32.const 1)))
