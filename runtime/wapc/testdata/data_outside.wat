;; wat2wasm data_outside.wat -o data_outside.wasm
;;
;; Has a data segment that does not fit its memory.
(module
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "{\"valid\":true,\"accepted\":true}")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $response (i32.const 0) (i32.const 30))
    (i32.const 1))
  (data (i32.const 65530) "does not fit"))
