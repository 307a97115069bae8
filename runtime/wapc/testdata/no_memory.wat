;; wat2wasm no_memory.wat -o no_memory.wasm
;;
;; Has no memory.
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))
